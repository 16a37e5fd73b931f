"""Which groups of tests can run here, the last lines that name those that cannot, and tiny checkpoints for all."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import ssl
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SGLANG = Path(__file__).parents[1] / ".venv-sglang" / "bin" / "python"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _no_browser() -> str | None:
    found = os.environ.get("MOECAP_CHROMIUM") or next((b for b in BROWSERS if shutil.which(b)), None)
    return None if found else "no Chromium here; install Debian's package chromium or set MOECAP_CHROMIUM"


def _no_gpu() -> str | None:
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return None if torch.cuda.is_available() else "no accelerator here"


def _no_vllm() -> str | None:
    return None if importlib.util.find_spec("vllm") else "vLLM is not installed here; make vllm installs its CPU build"


def _no_sglang() -> str | None:
    from moecap_backends.sglang_interpreter import VARIABLE, sglang_missing

    if VARIABLE not in os.environ and SGLANG.exists():
        return None
    return sglang_missing()


def _no_postgres() -> str | None:
    return None if _postgres_folder() else "no PostgreSQL server here; install Debian's package postgresql"


def _no_recordings() -> str | None:
    found = Path("/usr/share/klettres").is_dir()
    return None if found else "no recorded speech here; install Debian's package klettres-data"


def _postgres_folder() -> Path | None:
    """Where PostgreSQL's programs are; Debian keeps them outside of the path."""
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def pytest_configure() -> None:
    """Let what the tests start be interrupted, also where a shell without jobs has told this process to ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


MISSING = {
    "browser": _no_browser,
    "gpu": _no_gpu,
    "postgres": _no_postgres,
    "recordings": _no_recordings,
    "sglang": _no_sglang,
    "vllm": _no_vllm,
}
OPTIONAL_IN_CI = ("gpu",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the groups that cannot run here; where all must run, only `gpu` may be left out."""
    left_out: dict[str, tuple[str, int]] = {}
    for group, missing in MISSING.items():
        members = [item for item in items if item.get_closest_marker(group)]
        if not members or (reason := missing()) is None:
            continue
        if os.environ.get("MOECAP_REQUIRE_ALL") and group not in OPTIONAL_IN_CI:
            raise pytest.UsageError(f"the tests of group {group!r} cannot run: {reason}")
        left_out[group] = (reason, len(members))
        config.hook.pytest_deselected(items=members)
        items[:] = [item for item in items if item not in members]
    config.stash[LEFT_OUT] = left_out


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs."""
    found = _postgres_folder()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sglang_python() -> Iterator[str]:
    """The Python that has SGLang, which moecap finds for as long as a module's tests run."""
    from moecap_backends.sglang_interpreter import VARIABLE, sglang_interpreter

    with pytest.MonkeyPatch.context() as patch:
        if VARIABLE not in os.environ and SGLANG.exists():
            patch.setenv(VARIABLE, str(SGLANG))
        python = sglang_interpreter()
        assert python is not None
        yield python


LEFT_OUT = pytest.StashKey[dict[str, tuple[str, int]]]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that prints, where the tests run in several, which groups did not run."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["left_out"] = session.config.stash.get(LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process of tests tells."""
    told = getattr(node, "workeroutput", {})  # none of a process that was killed
    node.config.stash[LEFT_OUT] = {group: tuple(of) for group, of in told.get("left_out", {}).items()}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the groups that did not run."""
    for group, (reason, count) in config.stash.get(LEFT_OUT, {}).items():
        terminalreporter.write_line(f"not run: {count} tests of group {group!r}: {reason}", yellow=True)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Key and self-signed certificate of ``localhost``, and the server's side of TLS."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from the name of a family to a tiny checkpoint folder, made once a session."""
    from tiny_models import make_model

    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[family] = make_model(family, tmp_path_factory.mktemp("tiny") / f"tiny-{family}")
        return made[family]

    return make


@pytest.fixture(scope="session")
def measured_run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Path:
    """The directory of a real run of a tiny model on this machine, with four questions; tests copy what they change."""
    from moecap.runner.reporter import Reporter
    from moecap.runner.run import run
    from moecap.settings import with_settings

    options = {
        "model": str(tiny_model("mixtral")),
        "backend": "transformers",
        "precision": "fp32",
        "num_requests": 10,
        "concurrency": 2,
        "input_len": 16,
        "output_len": 6,
        "limit": 4,
        "output": str(tmp_path_factory.mktemp("measured") / "run"),
    }
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.error is None
    return outcome.directory
