"""The filters of lists as query parameters; one that is not known is refused and not passed over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from moecap_leaderboard.listing import MAX_LIMIT, Filters
from moecap_leaderboard.metrics import SORTABLE

__all__ = ["MAX_COMPARED", "ComparedQuery", "ExportQuery", "ListQuery", "ParetoQuery"]

Count = Annotated[int | None, Field(ge=0, le=2**31 - 1)]
Names = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=50)]
Numbers = Annotated[list[Annotated[int, Field(ge=1, le=2**31 - 1)]], Field(max_length=50)]

Sortable = Annotated[str, Field(max_length=100, json_schema_extra={"pattern": f"^({SORTABLE})$"})]

MAX_COMPARED = 8
"""Results that are compared at once."""

_IDS = f"^[0-9a-f]{{64}}(,[0-9a-f]{{64}}){{1,{MAX_COMPARED - 1}}}$"


class _Filtered(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["measured", "projected", "imported", "all"] = "measured"
    state: Literal["published", "withdrawn", "invalidated"] = "published"
    versions: Literal["newest", "all"] = "newest"
    ranked: Literal["true", "false", "any"] = "any"
    tier: Literal["self_reported", "signed", "recomputed", "reproduced"] | None = None
    q: Annotated[str | None, Field(max_length=100)] = None
    model: Names = []
    family: Names = []
    hardware: Names = []
    engine: Names = []
    precision: Names = []
    task: Names = []
    owner: Names = []
    configuration: Names = []
    devices: Numbers = []
    concurrency_min: Count = None
    concurrency_max: Count = None
    input_len_min: Count = None
    input_len_max: Count = None
    output_len_min: Count = None
    output_len_max: Count = None

    def filters(self) -> Filters:
        """The filters."""
        given = {name: getattr(self, name) for name in Filters.__dataclass_fields__}
        frozen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        return Filters(**frozen)


class ExportQuery(_Filtered):
    """Which rows, in which order."""

    sort: Annotated[str, Field(max_length=101, json_schema_extra={"pattern": f"^-?(published|{SORTABLE})$"})] = (
        "-published"
    )


class ListQuery(ExportQuery):
    """Which rows, in which order, from where, and how many."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50
    cursor: Annotated[str | None, Field(max_length=500)] = None


class ParetoQuery(_Filtered):
    """Which rows, and the two metrics; the main ranking alone by default."""

    ranked: Literal["true", "false", "any"] = "true"
    x: Sortable
    y: Sortable


class ComparedQuery(BaseModel):
    """Which results are compared: their ids with commas between them."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[str, Field(max_length=600, json_schema_extra={"pattern": _IDS})]
