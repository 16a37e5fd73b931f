"""What somebody may ask of another's machine: keys of the run configuration that reach no place, address or program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from moecap.config import TASKS_AS_LOAD, RunConfig
from moecap.errors import MoecapError
from moecap.hardware.registry import names_file, packaged_id
from moecap.models.registry import EMBEDDED, short_names
from moecap.result import Result
from moecap.settings import first_problem

__all__ = ["REQUESTABLE", "request_difference", "request_problem"]

REQUESTABLE = frozenset(
    "model revision hw num_gpus tensor_parallel precision backend task limit dataset texts lengths concurrency rate "
    "arrival rate_start burstiness num_requests input_len output_len preset length_spread shared_prefix_len turns "
    "turn_wait temperature top_p stop n natural_end seed allow_prefix_cache warmup".split()
)
"""Keys that a request may set; arguments of engines and tasks are none, since some of them run what they name."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_NAME = re.compile(r"\w[\w-]*", re.ASCII)
_TASK = re.compile(r"\w[\w:.-]*", re.ASCII)
_REVISION = re.compile(r"\w(?:[\w-]|[./](?=[\w-]))*", re.ASCII)

MOST_REQUESTS = 100_000
"""Requests, of which as many may be in flight."""
MOST_TOKENS = 1_000_000_000
"""Tokens of all prompts and answers: they are drawn before the load, in the memory of the machine that runs it."""


def request_problem(config: Mapping[str, Any]) -> str:
    """Why no machine takes a request; empty where one may.

    Args:
        config: The run configuration that it asks for.
    """
    if strange := sorted(config.keys() - REQUESTABLE):
        return f"it sets {', '.join(strange)}, which no request may; leave it out"
    try:
        wanted = RunConfig.model_validate(dict(config))
    except ValidationError as error:
        return first_problem(error)
    except MoecapError as error:
        return str(error)
    return _strange_name(wanted) or _too_much(wanted)


def _strange_name(wanted: RunConfig) -> str:
    """What is no name, and so may be a place on the machine that runs it; empty where all are."""
    known = wanted.model.lower() in (EMBEDDED, *short_names())
    if not known and not (_HUB_ID.fullmatch(wanted.model) and not names_file(wanted.model.rpartition("/")[2])):
        return f"its model {wanted.model[:80]!r} is neither a short name nor a hub id; give one"
    values = [(name, _NAME, str(getattr(wanted, name))) for name in ("dataset", "texts", "hw", "backend")]
    values += [("precision", _TASK, wanted.precision), *(("task", _TASK, task) for task in wanted.task)]
    values += [] if wanted.revision is None else [("revision", _REVISION, wanted.revision)]
    for name, form, value in values:
        if not form.fullmatch(value):
            return f"its {name} {value[:80]!r} is no name; paths are of one machine"
    return ""


def _too_much(wanted: RunConfig) -> str:
    """What is more than a machine draws before the load; empty where nothing is."""
    tokens = wanted.num_requests * (wanted.input_len + wanted.output_len * wanted.n)
    if wanted.num_requests <= MOST_REQUESTS and tokens <= MOST_TOKENS:
        return ""
    asked = f"{wanted.num_requests} requests and {tokens} tokens"
    return f"it asks for {asked}; {MOST_REQUESTS} and {MOST_TOKENS} are the most"


def request_difference(config: Mapping[str, Any], result: Result) -> str:
    """In what a result is of another run than a request asked for; empty where it is of that run.

    What the request leaves to the machine (``auto``, nothing) may have come to anything; so may the lengths that the
    data or the tasks decide. Of other keys that it does not set it asks for the default.

    Args:
        config: A configuration in which :func:`request_problem` finds nothing.
        result: The result.
    """
    if result.kind != "measured":
        return f"it is {result.kind}, and a request is for a measurement"
    wanted, run = RunConfig.model_validate(dict(config)), result.workload
    decided: tuple[str, ...] = ()
    if run.lengths == "data" or run.dataset == TASKS_AS_LOAD:
        decided = ("num_requests", "input_len", "output_len")
    for name in sorted(REQUESTABLE):
        asked, had = getattr(wanted, name), getattr(run, name)
        left_open = asked in ("auto", None) and name != "limit"  # no limit is all items
        if left_open or asked == had or name in decided or _came_to(name, asked, result):
            continue
        return f"{name} is {_shown(had)} there, and {_shown(asked)} was asked for"
    return ""


def _came_to(name: str, asked: Any, result: Result) -> bool:
    """Whether what ran is what was asked for, by another name or by default."""
    if name == "hw":
        return packaged_id(asked) == result.hardware.id
    ran: dict[str, tuple[Any, ...]] = {
        "model": (result.model.id, result.model.name),
        "backend": (result.backend.name,),
        "num_gpus": (result.hardware.count,),
    }
    return asked in ran.get(name, ())


def _shown(value: Any) -> str:
    """A value of a configuration in words."""
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value)
