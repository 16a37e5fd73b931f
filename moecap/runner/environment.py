"""The software under which a run happened; no host name, user name, path or key is ever read."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from moecap.runner.places import without_places

__all__ = ["environment", "software"]

PACKAGES = (
    "moecap",
    "numpy",
    "pandas",
    "pyarrow",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)
VARIABLES = (
    "KMP_AFFINITY",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "OPENBLAS_NUM_THREADS",
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
)


def software() -> dict[str, str]:
    """Versions of Python, the kernel and the packages that matter."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, dict[str, str]]:
    """What ``environment.json`` holds: software, and the variables that change an engine's speed."""
    return {
        "software": software(),
        "variables": {n: without_places(os.environ[n]) for n in VARIABLES if n in os.environ},
    }
