"""The load of a run: what a data set and a configuration say, as prompts, sessions and times of arrival."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

from moecap.backend import Backend, Prompt
from moecap.config import RunConfig
from moecap.data.blank_words import BlankWords
from moecap.data.recording import RecordedSession, Recording
from moecap.data.texts import TEXT_SETS, read_recording
from moecap.data.words import Words
from moecap.errors import BadInputError, NotAvailableError
from moecap.load.arrivals import replay
from moecap.load.calibration import streams_of
from moecap.runner.asked import asked_arrivals, asked_lengths, asked_sessions
from moecap.runner.prompts import PromptMaker, asked_sampling
from moecap.tokenizer import Tokenizer

__all__ = [
    "Workload",
    "longest_conversation",
    "longest_request",
    "make_workload",
    "read_load",
    "refuse_idle_processes",
    "refuse_unable",
]


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent.

    Attributes:
        warmup: Single requests for the warm-up, as many batches as it may take.
        prompts: The load; the turns of a session one after the other.
        arrivals: Seconds at which each prompt or session is sent; ``None`` in a closed loop.
        longest: Tokens of the longest conversation, prompts and answers.
        lengths: Who said how long requests are, as the result states it.
    """

    warmup: tuple[Prompt, ...]
    prompts: tuple[Prompt, ...]
    arrivals: tuple[float, ...] | None
    longest: int
    lengths: Literal["auto", "asked", "data"]

    def streams(self, concurrency: int) -> int:
        """Requests whose answers arrive at once: ``concurrency``, or what the times of arrival lead to."""
        if self.arrivals is None:
            return concurrency
        conversations = (turns for _, turns in groupby(enumerate(self.prompts), key=_conversation))
        return streams_of(self.arrivals, [sum(p.output_tokens for _, p in turns) for turns in conversations])


def read_load(config: RunConfig, *, words: bool = True) -> Recording:
    """The data set of a run, checked against what is asked of it.

    Args:
        config: What was asked for.
        words: Whether its texts are needed; a data set that is nothing but texts is then not read.

    Raises:
        UsageError: If the data set is unknown, malformed, another file than asked for, or does not fit the options.
    """
    if config.dataset in TEXT_SETS and not words:
        recording = Recording("texts", ())
    else:
        recording = read_recording(config.dataset, config.data, config.seed, config.num_requests)
    if config.dataset_sha256 not in (None, recording.sha256):
        raise BadInputError(
            f"--dataset {config.dataset}: its SHA-256 is {recording.sha256}, asked for is {config.dataset_sha256}; "
            "give the file that was meant"
        )
    if config.lengths == "data" and recording.format == "texts":
        raise BadInputError(f"lengths=data: {config.dataset} gives no lengths; give a file, or say lengths=asked")
    if config.arrival == "trace" and not recording.has_times:
        raise BadInputError(
            f"arrival=trace: {config.dataset} has no times of arrival; give a trace, or sessions with start"
        )
    if _by_data(config, recording):
        given = {"input_len", "length_spread", "shared_prefix_len"} & config.model_fields_set
        given |= {"output_len"} & config.model_fields_set if recording.has_lengths else set()
        changed = sorted(name for name in given if getattr(config, name) != RunConfig.model_fields[name].default)
        if changed:
            raise BadInputError(
                f"{changed[0]}: the data set says how long requests are; leave it out, or say lengths=asked"
            )
    return recording


def longest_request(config: RunConfig, recording: Recording) -> tuple[int, int]:
    """Tokens of the longest prompt, the conversation before it included, and of the longest prompt with its answer.

    The two need not be of the same request. What a data set has in words is not counted: that needs a tokenizer.
    """
    if not _by_data(config, recording):
        turns = min(config.turns or 1, config.num_requests)
        asked, answered = config.longest(config.input_len), config.longest(config.output_len)
        return asked * turns + answered * (turns - 1), (asked + answered) * turns
    sessions = _taken(config, recording)
    counts = [[(turn.input_tokens or 0, turn.output_tokens or 0) for turn in session.turns] for session in sessions]
    whole = [sum(map(sum, turns)) for turns in counts]
    return max(tokens - turns[-1][1] for tokens, turns in zip(whole, counts, strict=True)), max(whole)


def refuse_unable(config: RunConfig, recording: Recording, backend: type[Backend]) -> None:
    """Refuse a load that a backend cannot send, before anything starts.

    Raises:
        NotAvailableError: With what it cannot do.
    """
    if config.load == "open" and not backend.open_loop:
        option = "--rate" if config.rate is not None else "arrival=trace"
        raise NotAvailableError(
            f"{option}: backend {backend.name!r} answers in batches and has no arrivals; use --concurrency or a server"
        )
    if config.client_processes not in (1, "auto") and not backend.served:
        raise NotAvailableError(
            f"client_processes {config.client_processes}: backend {backend.name!r} answers in this process and nothing "
            "is sent; leave it out, or take a backend that is a server"
        )
    missing = sorted(asked_sampling(config).needs - backend.sampling)
    if missing:
        raise NotAvailableError(
            f"{missing[0]}: backend {backend.name!r} cannot do that; leave it out, or take another backend"
        )
    if _most_turns(config, recording) != 1 and not backend.sessions:
        raise NotAvailableError(
            f"turns: backend {backend.name!r} answers single requests only; set turns=1, or take one that is a server"
        )


def refuse_idle_processes(config: RunConfig, sessions: int) -> None:
    """Refuse more client processes than an open loop has requests or sessions, of which each process gets one at least.

    Raises:
        BadInputError: With the most that can share it.
    """
    asked = config.client_processes
    if config.load == "open" and asked != "auto" and asked > sessions:
        raise BadInputError(f"client_processes {asked} cannot share a load of {sessions}; take at most {sessions}")


def make_workload(
    config: RunConfig, recording: Recording, backend: type[Backend], tokenizer: Tokenizer | None, max_context: int
) -> Workload:
    """The load as tokens.

    Args:
        config: What was asked for.
        recording: The data set.
        backend: Who gets it; a server that others use gets prompts that begin with a mark of this run.
        tokenizer: The model's tokenizer; ``None`` only for a projection, whose prompts have lengths and no words.
        max_context: Tokens that the model holds.

    Raises:
        BadInputError: If the data set has too few requests for what shall send them, or one is too long.
    """
    words: Words | BlankWords
    if tokenizer is None or backend.projects:
        words = BlankWords(shared=config.allow_prefix_cache)
    else:
        marked = backend.attaches and not config.allow_prefix_cache
        words = Words(tokenizer, _texts(config, recording), secrets.token_hex(4) if marked else "")
    maker = PromptMaker(config, words, tokenizer, Path(config.dataset).name)
    warm = config.warmup.max_batches * config.concurrency
    if _by_data(config, recording):
        sessions = _taken(config, recording)
        warmup = tuple(maker.single(maker.recorded_lengths(sessions), warm))
        single = _most_turns(config, recording) == 1
        prompts = tuple(maker.recorded(sessions, recording.block_tokens, single))
        count = len(sessions)
    else:
        lengths = asked_lengths(config, config.num_requests)
        warmup = tuple(maker.single(lengths, warm))
        prompts = tuple(maker.asked(lengths))
        count = len(asked_sessions(config))
    if config.load == "closed" and count < config.concurrency:
        raise BadInputError(
            f"{count} requests or sessions never reach a concurrency of {config.concurrency}; ask for more or less "
            "concurrency"
        )
    refuse_idle_processes(config, count)
    return Workload(
        warmup=warmup,
        prompts=prompts,
        arrivals=_arrivals(config, recording, count),
        longest=longest_conversation(warmup, prompts, max_context),
        lengths="data" if _by_data(config, recording) else "auto" if config.lengths == "auto" else "asked",
    )


def _by_data(config: RunConfig, recording: Recording) -> bool:
    """Whether the data set says how long requests are."""
    return config.lengths == "data" or (config.lengths == "auto" and recording.has_lengths)


def _most_turns(config: RunConfig, recording: Recording) -> int | None:
    """Most turns of a session; ``None`` for all that are recorded."""
    if config.turns is not None:
        return config.turns
    recorded = recording.format == "sessions" and _by_data(config, recording)
    return None if recorded and any(len(session.turns) > 1 for session in recording.sessions) else 1


def _taken(config: RunConfig, recording: Recording) -> list[RecordedSession]:
    """The first sessions that have the requests asked for, each cut to the turns that are wanted."""
    most, left = _most_turns(config, recording), config.num_requests
    taken: list[RecordedSession] = []
    for session in recording.sessions:
        turns = session.turns[: min(left, most or left)]
        taken.append(replace(session, turns=turns))
        left -= len(turns)
        if not left:
            return taken
    raise BadInputError(
        f"--dataset {config.dataset} has {config.num_requests - left} requests, {config.num_requests} are asked for; "
        "lower --num-requests"
    )


def _texts(config: RunConfig, recording: Recording) -> Sequence[str]:
    if recording.texts:
        return recording.texts
    texts = read_recording(config.texts, config.data, config.seed, config.num_requests).texts
    if not texts:
        raise BadInputError(f"texts {config.texts}: it has no words to make prompts of; give texts or prompts")
    return texts


def _arrivals(config: RunConfig, recording: Recording, count: int) -> tuple[float, ...] | None:
    if config.arrival == "trace":
        if len(recording.sessions) < count:
            raise BadInputError(
                f"--dataset {config.dataset} has {len(recording.sessions)} arrivals, {count} are asked for; "
                "lower --num-requests"
            )
        times = [session.at or 0.0 for session in recording.sessions[:count]]
        return tuple(float(seconds) for seconds in replay(times, config.trace_speed))
    due = asked_arrivals(config, count)
    return None if due is None else tuple(float(seconds) for seconds in due)


def longest_conversation(warmup: Sequence[Prompt], prompts: Sequence[Prompt], max_context: int) -> int:
    """Tokens of the longest conversation.

    Raises:
        BadInputError: If the model does not hold it, with the prompt.
    """
    longest = 0
    for _, turns in groupby(enumerate([*warmup, *prompts]), key=_conversation):
        asked = [prompt for _, prompt in turns]
        tokens = sum(len(prompt.tokens) + prompt.output_tokens for prompt in asked)
        if tokens > max_context:
            of = f" in {len(asked)} turns" if len(asked) > 1 else ""
            raise BadInputError(
                f"prompt {asked[0].id!r} takes {tokens} tokens{of} with what is to be answered, the model holds "
                f"{max_context}; shorten it, or take lengths=asked or fewer turns"
            )
        longest = max(longest, tokens)
    return longest


def _conversation(entry: tuple[int, Prompt]) -> tuple[str, int]:
    number, prompt = entry
    return ("request", number) if prompt.session is None else ("session", prompt.session)
