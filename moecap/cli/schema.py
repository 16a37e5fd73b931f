"""``moecap schema``: the JSON Schema of each file."""

from __future__ import annotations

from typing import Literal

__all__ = ["schema"]


def schema(name: Literal["result", "run-config", "hardware"], /, *, json: bool = True) -> None:
    """Print the JSON Schema of a file.

    Args:
        name: Which file: the result, the run configuration, or a hardware profile.
        json: The schema is JSON in any case.
    """
    from pydantic import BaseModel

    from moecap.cli.output import print_json
    from moecap.config import RunConfig
    from moecap.hardware.profile import HardwareProfile
    from moecap.result import Result

    models: dict[str, type[BaseModel]] = {"result": Result, "run-config": RunConfig, "hardware": HardwareProfile}
    print_json(models[name].model_json_schema())
