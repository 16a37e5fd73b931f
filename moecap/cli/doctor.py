"""``moecap doctor``: what is wrong with this installation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["doctor"]

MIN_FREE_BYTES = 4_000_000_000
"""Room that the embedded model, its source and one data set take while they are made."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``remedy`` is empty where it is well."""

    what: str
    found: str
    remedy: str = ""


def doctor(*, json: bool = False) -> int:
    """Look at this installation and say what is wrong and what mends it; exit 1 if something is.

    Args:
        json: Print JSON.
    """
    from moecap.cli.output import print_json, print_table

    findings = list(_findings())
    well = all(not f.remedy for f in findings)
    if json:
        rows = [{"what": f.what, "found": f.found, "ok": not f.remedy, "remedy": f.remedy or None} for f in findings]
        print_json({"ok": well, "findings": rows})
    else:
        print_table(("", "found", "what to do"), [(f.what, f.found, f.remedy or "ok") for f in findings])
    return 0 if well else 1


def _findings() -> Iterator[Finding]:
    import platform
    import shutil

    import moecap
    from moecap.data.cache import cache_root
    from moecap.errors import MoecapError
    from moecap.hardware.detect import detect
    from moecap.hardware.host import available_memory
    from moecap.plugins import BACKENDS, load_plugin, plugin_names

    yield Finding("moecap", moecap.__version__)
    yield Finding("python", platform.python_version())
    machine = detect()
    host = machine.host
    yield Finding("processor", f"{host.cpu_model}, {host.cores} usable cores ({', '.join(host.flags) or 'no flags'})")
    for device in machine.devices:
        place = "hidden from processes" if device.ordinal is None else f"cuda:{device.ordinal}"
        facts = [device.name, place, device.profile_id, device.remark if device.profile_id else None]
        remedy = "" if device.profile_id else device.remark or ""
        yield Finding(f"{device.vendor} board {device.index}", ", ".join(filter(None, facts)), remedy)
    for vendor, remedy in machine.missing.items():
        yield Finding(f"{vendor} device", "in this machine, and nothing answers for it", remedy)
    memory = available_memory()
    yield Finding(
        "free memory", f"{memory / 1e9:.1f} GB", "" if memory > MIN_FREE_BYTES else "free some: 4 GB are needed"
    )
    try:
        root = cache_root()
        free = shutil.disk_usage(root).free
        room = "" if free > MIN_FREE_BYTES else "make room, or set MOECAP_CACHE to a folder with 4 GB free"
        yield Finding("cache", f"{root}, {free / 1e9:.1f} GB free", room)
    except MoecapError as error:
        yield Finding("cache", "not usable", str(error))
    engines = []
    for name in plugin_names(BACKENDS):
        try:
            backend = load_plugin(BACKENDS, name)
            reason, own = backend.unavailable(), not backend.attaches
        except MoecapError as error:
            reason, own = str(error), True
        engines += [name] if reason is None and own else []
        yield Finding(f"backend {name}", "usable" if reason is None else f"not in use: {reason}")
    if not engines:
        yield Finding("engines", "none is installed", 'pip install "moecap[transformers]"')
    yield _harness()
    yield from _grading()


def _grading() -> Iterator[Finding]:
    """Whether the libraries with which some tasks make or grade their questions are here."""
    from importlib.util import find_spec

    for module, tasks in (("math_verify", "math"), ("rouge", "longbench"), ("wonderwords", "ruler")):
        found = "installed" if find_spec(module) else 'not in use: pip install "moecap[eval]"'
        yield Finding(f"{module} for {tasks}", found)


def _harness() -> Finding:
    """Whether the tasks of lm-eval can be had."""
    from moecap.errors import MoecapError
    from moecap.tasks.lm_eval.catalogue import harness_version, require_harness

    try:
        require_harness()
    except MoecapError as error:
        return Finding("tasks lm_eval:NAME", f"not in use: {error}")
    return Finding("tasks lm_eval:NAME", f"lm-eval {harness_version()}")
