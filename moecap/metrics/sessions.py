"""Where the time of sessions of several turns goes: first tokens, decoding, tools, and the client's own delay."""

from __future__ import annotations

import numpy as np
import pandas as pd

from moecap.metrics.latency import PERCENTILES, percentile
from moecap.metrics.value import Metric, absent, measured

__all__ = ["session_metrics", "session_spans", "turn_times"]

SHARES = ("prefill", "decode", "tool", "client")
NO_SESSION = "no request of the load is a turn of a session"


def session_spans(requests: pd.DataFrame) -> pd.DataFrame:
    """One row a session, or a single request: from when its first turn was to be sent to the end of its last.

    Args:
        requests: Rows of the load with ``scheduled_ns`` and ``ended_ns``; ``session`` is null for a single request.

    Returns:
        ``scheduled_ns`` and ``ended_ns``; the end is null where a turn has none.
    """
    if "session" not in requests or requests["session"].isna().all():
        return requests[["scheduled_ns", "ended_ns"]]
    grouped = requests.groupby("session", sort=True)
    ended = grouped["ended_ns"].max().where(grouped["ended_ns"].count() == grouped.size())
    return pd.DataFrame({"scheduled_ns": grouped["scheduled_ns"].min(), "ended_ns": ended})


def session_metrics(requests: pd.DataFrame) -> dict[str, Metric]:
    """How long sessions take and what they spend their time on.

    Args:
        requests: Rows of the load.

    Returns:
        ``session.e2e`` percentiles, from when the first turn was to be sent to the last token of the last turn, and the
        shares of that time over all sessions that completed, ratios of sums that add up to 1:
        ``session.prefill_share`` (from sending a turn to its first token: waiting in the server and prefill),
        ``session.decode_share`` (first to last token), ``session.tool_share`` (the waits between turns that were
        asked for) and ``session.client_share`` (what the client was late, and the ends of replies after their last
        token). ``session.turns_mean`` is the mean number of turns of these sessions.
    """
    names = {f"session.e2e.p{p}": "s" for p in PERCENTILES}
    names |= {f"session.{name}_share": "1" for name in SHARES} | {"session.turns_mean": "turns"}
    if "session" not in requests or requests["session"].isna().all():
        return {name: absent(unit, NO_SESSION) for name, unit in names.items()}
    done = _completed(requests)
    if done.empty:
        return {name: absent(unit, "no session completed") for name, unit in names.items()}
    grouped = done.groupby("session", sort=True)
    first, last = grouped["scheduled_ns"].min(), grouped["last_token_ns"].max()
    seconds = (last - first).to_numpy(np.float64) * 1e-9
    total = float(seconds.sum())
    spent = {
        "prefill": float((done["first_token_ns"] - done["sent_ns"]).sum()) * 1e-9,
        "decode": float((done["last_token_ns"] - done["first_token_ns"]).sum()) * 1e-9,
        "tool": float(done["wait_ns"].fillna(0).sum()) * 1e-9,
    }
    spent["client"] = total - sum(spent.values())
    metrics = {f"session.e2e.p{p}": percentile(seconds, p) for p in PERCENTILES}
    metrics |= {
        f"session.{name}_share": measured(spent[name] / total, "1", len(seconds))
        if total > 0
        else absent("1", "the sessions took no time")
        for name in SHARES
    }
    metrics["session.turns_mean"] = measured(len(done) / len(seconds), "turns", len(seconds))
    return metrics


def turn_times(requests: pd.DataFrame) -> pd.DataFrame:
    """What each turn of the sessions that completed takes, a mean over them.

    Args:
        requests: Rows of the load.

    Returns:
        A row a turn: ``tool`` (the wait before it), ``prefill`` (from sending it to its first token) and ``decode``
        (first to last token) in seconds, ``input_tokens`` of its prompt, and ``sessions`` that have it; no row where
        no session completed.
    """
    if "session" not in requests or requests["session"].isna().all():
        return pd.DataFrame()
    done = _completed(requests)
    times = pd.DataFrame(
        {
            "turn": done["turn"],
            "tool": done["wait_ns"].fillna(0) * 1e-9,
            "prefill": (done["first_token_ns"] - done["sent_ns"]) * 1e-9,
            "decode": (done["last_token_ns"] - done["first_token_ns"]) * 1e-9,
            "input_tokens": done["input_tokens"].fillna(done["input_tokens_asked"]),
        }
    ).astype(np.float64)
    grouped = times.groupby("turn", sort=True)
    return grouped.mean().assign(sessions=grouped.size())


def _completed(requests: pd.DataFrame) -> pd.DataFrame:
    """The turns of the sessions of which every turn completed."""
    turns = requests[requests["session"].notna()]
    whole = turns.groupby("session")["status"].transform(lambda status: (status == "completed").all())
    return turns[whole.astype(bool)]
