"""The scripted leaderboard for each test."""

from collections.abc import Iterator

import pytest
from scripted_board import Board


@pytest.fixture
def board() -> Iterator[Board]:
    """A server whose script is empty."""
    with Board() as running:
        yield running
