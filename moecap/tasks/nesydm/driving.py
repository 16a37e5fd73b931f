"""The rules of the road of BDD-OIA: from 21 things that are seen to what may be done.

Concepts, in the order in which the data names them (https://github.com/unitn-sml/rsbench-code): 0 green light, 1
traffic to follow, 2 clear road, 3 red light, 4 stop sign, 5 car, 6 person, 7 rider, 8 other obstacle, 9 no lane to
the left, 10 obstacle there, 11 solid line there, 12 lane to the right, 13 green light there, 14 traffic to follow
there, 15 no lane to the right, 16 obstacle there, 17 solid line there, 18 lane to the left, 19 green light there, 20
traffic to follow there.

Outputs: 0 for what cannot be (green and red, or clear with an obstacle), 1 forward, 2 stop, 3 neither; 0 or 1 for left;
0 or 1 for right.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ACTIONS", "driving", "driving_released"]

ACTIONS = ("forward", "stop", "left", "right")


def _any(*seen: Any) -> Any:
    none = 1
    for one in seen:
        none = none * (1 - one)
    return 1 - none


def _ahead(green: Any, follow: Any, clear: Any, red: Any, sign: Any, *obstacles: Any) -> Any:
    obstacle, go = _any(*obstacles), _any(green, follow, clear)
    impossible = _any(green * red, clear * obstacle)
    stop = _any(red, sign, obstacle)
    return (1 - impossible) * (2 * stop + (1 - stop) * (go + 3 * (1 - go)))


def driving(*seen: Any) -> tuple[Any, Any, Any]:
    """The rules by the meaning of the concepts: a turn needs a reason for it and nothing against it."""
    left = _any(*seen[18:21]) * (1 - _any(*seen[9:12]))
    right = _any(*seen[12:15]) * (1 - _any(*seen[15:18]))
    return _ahead(*seen[:9]), left, right


def driving_released(*seen: Any) -> tuple[Any, Any, Any]:
    """The rules as the authors' code reads the columns, which the published figures rest on.

    Left is decided by columns 9 to 14 and right by 15 to 20, the first three of each for the turn and the last three
    against it; against a turn to the left nothing counts.
    """
    return _ahead(*seen[:9]), _any(*seen[9:12]), _any(*seen[15:18]) * (1 - _any(*seen[18:21]))
