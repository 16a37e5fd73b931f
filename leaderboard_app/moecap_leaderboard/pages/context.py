"""What every page reads: rows of the board, one row with all its evidence, and the values that filters can take."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from moecap_leaderboard.api.filters import ListQuery
from moecap_leaderboard.facets import spreads
from moecap_leaderboard.listing import Filters, Page, page
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.reports import published, result_report
from moecap_leaderboard.service import Service

__all__ = ["Item", "Options", "PageContext", "query_of"]

Item = dict[str, Any]
"""A row as the API gives it (docs/api.md)."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the rows on the board are of, whatever their kind.

    Attributes:
        model: Rows of each model by its id, the most frequent first.
        hardware_names: Names of hardware by id.
    """

    model: dict[str, int]
    hardware_names: dict[str, str]


T = TypeVar("T")


def query_of(given: Mapping[str, object]) -> ListQuery:
    """A query of the API from the filters that are given; see docs/api.md for their names.

    Raises:
        ProblemError: If a filter is not known, or a value of one cannot be.
    """
    try:
        return ListQuery.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProblemError("bad-request", f"{where}: {first['msg']}; open the page without it") from None


@dataclass(frozen=True, slots=True)
class PageContext:
    """The service behind the pages, asked directly and not through its own API.

    Attributes:
        service: The store and everything that works on it.
    """

    service: Service

    def page(self, query: ListQuery) -> Page:
        """Rows that are filtered, sorted and cut on the server, and where the next ones begin."""
        filters = query.filters()
        among = self.service.columns.few(filters)
        with self.service.database.reading() as session:
            return page(session, filters, query.sort, query.limit, query.cursor, among=among)

    def rows(self, query: ListQuery) -> list[Item]:
        """The rows of :meth:`page`."""
        return self.page(query).items

    def one(self, identifier: str) -> Item:
        """A row with its result, its recomputation, the report of the rules and its history.

        Raises:
            ProblemError: ``not-found``, or ``gone`` with the history of a row that was taken off the board.
        """
        with self.service.database.reading() as session:
            return result_report(session, self.service.blobs, published(session, identifier))

    def opened(self, key: Hashable, make: Callable[[], T]) -> T:
        """What a page shows when it is opened; of a large board it may be three minutes old (:class:`KeptAnswers`)."""
        return self.service.answers.dated(key, make)

    def spreads(self, filters: Filters) -> dict[str, dict[str, int]]:
        """Rows of each value of each facet, under all filters but the facet's own (:func:`facets.spreads`)."""
        return spreads(self.service.columns, filters)

    def options(self) -> Options:
        """The values that filters can take."""
        found = self.spreads(Filters(kind="all"))
        return Options(found["model"], self.service.columns.hardware_names(found["hardware"]))
