"""The command line that repeats a run, from its configuration alone."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import join

from moecap.config import TASKS_AS_LOAD, RunConfig
from moecap.hardware.profile import ProfileSource
from moecap.hardware.registry import names_file

__all__ = ["public_hardware", "reproduction_command"]


def public_hardware(hw: str, source: ProfileSource) -> str:
    """What a result says of ``--hw``: a file's own name, without the folders of the machine on which it lay.

    Args:
        hw: What the user gave.
        source: Where the profile came from.
    """
    if source != "file":
        return hw
    name = Path(hw).name
    return name if names_file(name) else f"./{name}"  # without an ending it would read as the name of a profile


def reproduction_command(config: RunConfig) -> str:
    """The command line that gives this configuration."""
    words = ["moecap", "run"]
    default = RunConfig()
    for name in RunConfig.model_fields:
        value = getattr(config, name)
        bounds_answers = name == "output_len" and config.dataset == TASKS_AS_LOAD  # left out, the tasks say how long
        if value == getattr(default, name) and not bounds_answers:
            continue
        option = f"--{name.replace('_', '-')}"
        if name == "layout":  # its content: the file is on the machine of the run
            words += ["--set", f"layout={json.dumps(value.model_dump(mode='json', exclude_defaults=True))}"]
        elif name in ("warmup", "cost"):
            fields = type(value).model_fields
            changed = {f: getattr(value, f) for f in fields if getattr(value, f) != getattr(getattr(default, name), f)}
            for field, setting in changed.items():
                words += ["--set", f"{name}.{field}={setting}"]
        elif name == "task" and value == ():
            words += [option, "none"]
        elif name == "limit" and value is None:
            words += [option, "0"]
        elif isinstance(value, tuple):
            for item in value:
                words += [f"{option}={item}"] if item.startswith("-") else [option, item]
        elif isinstance(value, bool):
            words.append(option)
        else:
            words += [option, str(value)]
    return join(words)
