"""``moecap schema``: the JSON Schema of each file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["schema"]

FILES = {
    "result": "result.json of a run directory: configuration, provenance, every metric, digests of the observations",
    "run-config": "the YAML file of moecap run --config",
    "hardware": "a hardware profile, the YAML file of --hw",
}


def schema(name: Literal["result", "run-config", "hardware"] | None = None, /, *, json: bool = False) -> None:
    """Print the JSON Schema of a file; without a name, list the files that have one.

    Args:
        name: Which file: the result, the run configuration, or a hardware profile.
        json: Print the list as JSON; a schema is JSON in any case.
    """
    from moecap.cli.output import print_json, print_table

    if name is not None:
        print_json(_model(name).model_json_schema())
    elif json:
        print_json([{"name": file, "what": what} for file, what in FILES.items()])
    else:
        print_table(("schema", "of what"), list(FILES.items()))


def _model(name: str) -> type[BaseModel]:
    from moecap.config import RunConfig
    from moecap.hardware.profile import HardwareProfile
    from moecap.result import Result

    models: dict[str, type[BaseModel]] = {"result": Result, "run-config": RunConfig, "hardware": HardwareProfile}
    return models[name]
