"""The options of a run as a search takes them."""

from __future__ import annotations

from pydantic import model_validator

from moecap.config import RunConfig

__all__ = ["SearchOptions"]


class SearchOptions(RunConfig):
    """Options of a run without its load, which the search sets: what has to fit the load is checked with each of them.

    The validators here take the place of those of the same names.
    """

    @model_validator(mode="after")
    def _requests_fill_the_concurrency(self) -> SearchOptions:
        return self

    @model_validator(mode="after")
    def _processes_share_the_load(self) -> SearchOptions:
        return self

    @model_validator(mode="after")
    def _arrivals_fit(self) -> SearchOptions:
        return self
