"""Which Python has SGLang: this one, or one that the environment names, as other engines need other packages."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["VARIABLE", "sglang_interpreter", "sglang_missing"]

VARIABLE = "MOECAP_SGLANG_PYTHON"
QUESTION = "import importlib.util as u, sys; s = u.find_spec('sglang'); sys.exit(not (s and s.origin))"
SECONDS = 30.0


def sglang_interpreter() -> str | None:
    """The Python to start SGLang with: this one if it has SGLang, else the one that ``MOECAP_SGLANG_PYTHON`` names."""
    found = importlib.util.find_spec("sglang")
    if found is not None and found.origin is not None:
        return sys.executable
    return os.environ.get(VARIABLE) or None


def sglang_missing() -> str | None:
    """Why SGLang cannot be started, with the remedy; ``None`` where it can."""
    python = sglang_interpreter()
    if python is None:
        return (
            f'SGLang not installed; pip install "moecap[sglang]" (GPU), or set {VARIABLE} to the Python of an '
            "environment that has it (in a checkout, make sglang makes one for a CPU)"
        )
    if python == sys.executable:
        return None
    if not (Path(python).is_file() and os.access(python, os.X_OK)):
        return f"{VARIABLE} names {python}, which is no program; name the Python of an environment with SGLang"
    try:
        asked = subprocess.run([python, "-I", "-c", QUESTION], capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{VARIABLE} names {python}, which does not run ({type(error).__name__}); name a Python with SGLang"
    if asked.returncode:
        return f"{VARIABLE} names {python}, which has no SGLang; install it there (pip install sglang)"
    return None
