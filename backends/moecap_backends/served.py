"""What all engines behind HTTP share: prompts go through the load generator, answers become requests and chunks."""

from __future__ import annotations

import itertools
import json
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any

from moecap.backend import Engine, EngineJob, Generation, Prompt, Sampling
from moecap.errors import RunError
from moecap.load.answers import Answer, decode_answer, error_text
from moecap.load.calibration import calibrate
from moecap.load.connection import Reply, Target
from moecap.load.connection_pool import ConnectionPool
from moecap.load.driver import Exchange, Session, Turn, drive_closed, drive_open, undisturbed
from moecap.load.loop import run_loop
from moecap.load.processes import drive_processes
from moecap.observations.recorder import Glimpse, Recorder, RequestRecord
from moecap.observations.schema import BEARING
from moecap.runner.places import without_places
from moecap.tokenizer import Tokenizer
from moecap_backends.conversation import Conversation
from moecap_backends.server_metrics import ServerMetrics

__all__ = ["ServedEngine", "explained", "fetch", "key_headers", "sampling_fields"]

KEY_VARIABLES = ("MOECAP_API_KEY", "OPENAI_API_KEY")
DONE_EVERY_SECONDS = 0.2


def key_headers() -> dict[str, str]:
    """The authorisation header from the environment, if there is a key; keys come from nowhere else."""
    key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
    return {"Authorization": f"Bearer {key}"} if key else {}


def fetch(target: Target, path: str, content: Mapping[str, Any] | None = None, timeout: float = 30.0) -> Reply:
    """One request outside the load: GET, or POST with JSON."""

    async def ask() -> Reply:
        body = None if content is None else json.dumps(content).encode()
        async with ConnectionPool(target, timeout) as pool:
            return await pool.ask(target.request(path, body), lambda _reply: None)

    return run_loop(ask())


def sampling_fields(sampling: Sampling) -> dict[str, Any]:
    """How an answer is drawn, in the fields of OpenAI's API; what is as the API has it by itself is left out."""
    fields: dict[str, Any] = {"temperature": sampling.temperature}
    if sampling.temperature > 0:
        fields["seed"] = sampling.seed
    if sampling.top_p < 1:
        fields["top_p"] = sampling.top_p
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.n > 1:
        fields["n"] = sampling.n
    return fields


class ServedEngine(Engine):
    """An engine behind HTTP.

    Args:
        job: What it is opened for, for which the client is calibrated.
        target: The server.
        model: The name under which it serves the model.
        timeout: Seconds after which a request has failed.
    """

    def __init__(self, job: EngineJob, target: Target, model: str, timeout: float) -> None:
        self.target = target
        self.model = model
        self.client = calibrate(job.streams, job.client_processes, job.sampling.n)
        self.tokenizer: Tokenizer | None = None
        """Reads answers that come without token ids, so that a next turn can follow them; subclasses set it."""
        self._timeout = timeout
        self._keys = itertools.count()

    @abstractmethod
    def render(self, prompt: Prompt, key: str) -> bytes:
        """The whole streaming request for a prompt.

        Args:
            prompt: What to answer, and how (``prompt.sampling``); of a later turn the whole conversation.
            key: An id of the request, unique in this engine's life.
        """

    def decode(self, reply: Reply) -> Answer:
        """What a reply says; by default as OpenAI-compatible servers say it."""
        return decode_answer(reply)

    def keep_experts(self, record: RequestRecord, answer: Answer, recorder: Recorder) -> None:
        """Hand over the routed experts that came with an answer; by default nothing.

        Args:
            record: The request.
            answer: Its answer, whole or not.
            recorder: Keeps the facts.
        """

    def observe(self, records: Mapping[str, RequestRecord], recorder: Recorder) -> None:
        """Fetch what the engine itself observed during the load that has just ended; by default nothing.

        Args:
            records: The requests of the load by their key.
            recorder: Keeps the facts.
        """

    def generate(
        self,
        prompts: Sequence[Prompt],
        concurrency: int,
        recorder: Recorder,
        done: Callable[[int], None],
        arrivals: Sequence[float] | None = None,
    ) -> list[Generation]:
        """Send the prompts and record what comes back, whatever ends the load."""
        keys = [f"moecap-{next(self._keys)}" for _ in prompts]
        conversations = [
            Conversation(
                [prompts[i] for i in turns], [keys[i] for i in turns], self.render, self.decode, self.tokenizer
            )
            for turns in _sessions(prompts)
        ]
        sessions = [conversation.turns() for conversation in conversations]
        log: list[Exchange] = []
        watched = ServerMetrics(self.target, wanted=recorder.stage == "load")
        try:
            watched.before()
            with undisturbed():
                watcher = _Watcher(done, prompts, recorder)
                run_loop(self._drive(sessions, concurrency, arrivals, log, watcher, watched))
            watched.after()
        except OSError as error:
            raise _unreachable(error) from None
        finally:
            watched.record(recorder)
            answers = self._record(prompts, keys, conversations, log, recorder)
        done(len(log))
        return [answers.get(i, Generation(p.id, ())) for i, p in enumerate(prompts)]

    async def _drive(
        self,
        sessions: Sequence[Session],
        concurrency: int,
        arrivals: Sequence[float] | None,
        log: list[Exchange],
        ended: Callable[[Exchange], None],
        watched: ServerMetrics | None = None,
    ) -> None:
        processes = min(self.client.processes, concurrency if arrivals is None else len(sessions)) if watched else 1
        async with watched.watched() if watched else nullcontext():
            if processes > 1:
                how = (sessions, concurrency, arrivals, processes)
                await drive_processes(self.target, self._timeout, *how, log, ended)
                return
            async with ConnectionPool(self.target, self._timeout) as pool:
                if arrivals is None:
                    await drive_closed(pool, sessions, concurrency, log, ended)
                else:
                    await drive_open(pool, sessions, arrivals, log, ended)

    def _replies(self, requests: Sequence[tuple[str, bytes]], at_once: int, done: Callable[[int], None]) -> list[Reply]:
        """The replies to requests that are no load, in their order.

        Args:
            requests: A name and the whole request of each.
            at_once: How many are in flight.
            done: Hears how many have ended.

        Raises:
            RunError: If the server cannot be reached.
        """
        log: list[Exchange] = []
        ended = itertools.count(1)
        sessions = [(_fixed_turn(name, request),) for name, request in requests]
        try:
            run_loop(self._drive(sessions, at_once, None, log, lambda _exchange: done(next(ended))))
        except OSError as error:
            raise _unreachable(error) from None
        replies = {exchange.session: exchange.reply for exchange in log if exchange.reply is not None}
        return [replies[i] for i in range(len(requests))]

    def _record(
        self,
        prompts: Sequence[Prompt],
        keys: Sequence[str],
        conversations: Sequence[Conversation],
        log: Sequence[Exchange],
        recorder: Recorder,
    ) -> dict[int, Generation]:
        places = _sessions(prompts)
        answers: dict[int, Generation] = {}
        records: dict[str, RequestRecord] = {}
        for exchange in log:
            reply = exchange.reply
            if reply is None:
                continue
            place, turn, known = places[exchange.session][exchange.turn], exchange.turn, conversations[exchange.session]
            prompt = known.sent[turn]
            answer = known.answers[turn] if turn < len(known.answers) else self.decode(reply)
            record = _send(recorder, prompt, exchange.scheduled_ns, reply.sent_ns)
            records[keys[place]] = record
            _fill(record, reply, answer)
            answers[place] = Generation.of(record)
            choices = answer.choices if prompt.sampling.n > 1 and answer.choices else None
            recorder.chunks(record.request, answer.times, answer.tokens, answer.kinds, choices)
            self.keep_experts(record, answer, recorder)
        for turns in places:
            _give_up([(prompts[place], records.get(keys[place])) for place in turns], recorder)
        self.observe(records, recorder)
        return answers


def _sessions(prompts: Sequence[Prompt]) -> list[list[int]]:
    """The places of the prompts of each session, in the order of their turns; a single request is one of its own."""
    sessions: list[list[int]] = []
    for place, prompt in enumerate(prompts):
        if prompt.turn:
            sessions[-1].append(place)
        else:
            sessions.append([place])
    return sessions


def _send(recorder: Recorder, prompt: Prompt, scheduled_ns: int, sent_ns: int) -> RequestRecord:
    asked = prompt.output_tokens * prompt.sampling.n
    record = recorder.send(prompt.id, len(prompt.tokens), asked, scheduled_ns, sent_ns)
    record.session, record.turn = prompt.session, prompt.turn
    record.choices = prompt.sampling.n if prompt.sampling.n > 1 else None
    record.wait_ns = round(prompt.wait * 1e9) if prompt.turn else None
    return record


def _give_up(turns: Sequence[tuple[Prompt, RequestRecord | None]], recorder: Recorder) -> None:
    """Turns that were not sent since one before them failed have failed too; one that was interrupted leaves them."""
    before: RequestRecord | None = None
    for prompt, record in turns:
        unsent = record is None and before is not None and before.status == "failed"
        before = _unsent(recorder, prompt, before) if unsent and before is not None else record


def _unsent(recorder: Recorder, prompt: Prompt, before: RequestRecord) -> RequestRecord:
    at = before.ended_ns or before.sent_ns
    record = _send(recorder, prompt, at, at)
    record.status, record.ended_ns, record.error = "failed", at, "not sent: the turn before it has failed"
    return record


def _unreachable(error: OSError) -> RunError:
    return RunError(f"the server cannot be reached ({error.strerror or type(error).__name__})")


def _fixed_turn(name: str, request: bytes) -> Turn:
    return Turn(name, lambda _replies: request)


def _fill(record: RequestRecord, reply: Reply, answer: Answer) -> None:
    bearing = [t for t, kind in zip(answer.times, answer.kinds, strict=True) if kind in BEARING]
    if bearing:
        record.first_token_ns, record.last_token_ns = bearing[0], bearing[-1]
    record.input_tokens, record.output_tokens = answer.input_tokens, answer.output_tokens
    record.cached_tokens, record.first_logprobs = answer.cached_tokens, answer.first_logprobs
    record.ended_ns = reply.ended_ns or None
    if answer.error is not None:
        interrupted = answer.error in ("interrupted", "not finished when the run ended")
        record.status, record.error = ("unfinished", None) if interrupted else ("failed", without_places(answer.error))
    elif not bearing:
        record.status, record.error = "failed", "the answer has no token"
    else:
        text = None if answer.token_ids and not answer.text else answer.text  # some servers give token ids alone
        record.complete(answer.token_ids or None, reply.ended_ns, answer.finish_reason, text)


class _Watcher:
    """Tells how many requests have ended, a few times a second, and what is seen of each without decoding it."""

    def __init__(self, done: Callable[[int], None], prompts: Sequence[Prompt], recorder: Recorder) -> None:
        self._done, self._ended, self._told = done, 0, 0.0
        self._prompts, self._places, self._recorder = prompts, _sessions(prompts), recorder

    def __call__(self, exchange: Exchange) -> None:
        self._ended += 1
        reply = exchange.reply
        if reply is not None:
            self._recorder.glimpses.append(self._glimpse(exchange, reply))
        now = time.monotonic()
        if now - self._told > DONE_EVERY_SECONDS:
            self._told = now
            self._done(self._ended)

    def _glimpse(self, exchange: Exchange, reply: Reply) -> Glimpse:
        """A request that asks for exactly so many tokens has them; of another, as many as it had reads at least."""
        prompt = self._prompts[self._places[exchange.session][exchange.turn]]
        asked = prompt.output_tokens * prompt.sampling.n
        tokens = asked if prompt.sampling.exact else min(asked, len(reply.reads))
        failed = reply.error is not None or reply.status != HTTPStatus.OK
        times = (reply.reads[0][0], reply.reads[-1][0]) if reply.reads else (reply.ended_ns, reply.ended_ns)
        return Glimpse(reply.sent_ns, *times, 0 if failed else tokens, failed)


def explained(reply: Reply) -> str:
    """Why a reply is no answer, in one line."""
    return reply.error or f"HTTP {reply.status}: {error_text(reply.body)}"
