"""Makes the prompts of a load: by the lengths that are asked for, or as a data set recorded them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moecap.backend import Prompt, Sampling
from moecap.config import RunConfig
from moecap.data.blank_words import BlankWords
from moecap.data.recording import RecordedSession, RecordedTurn
from moecap.data.words import Words
from moecap.errors import BadInputError
from moecap.runner.asked import asked_sessions
from moecap.tokenizer import Tokenizer

__all__ = ["PromptMaker", "asked_sampling"]


def asked_sampling(config: RunConfig) -> Sampling:
    """How the answers of a run are drawn."""
    return Sampling(config.temperature, config.top_p, config.stop, config.n, not config.natural_end, config.seed)


class PromptMaker:
    """Numbers prompts over a run and gives each its tokens.

    Args:
        config: What was asked for.
        words: Where tokens come from.
        tokenizer: The model's tokenizer; ``None`` where it is not here, which no load of given lengths needs.
        source: Name of the data set, for the ids of prompts.
    """

    def __init__(self, config: RunConfig, words: Words | BlankWords, tokenizer: Tokenizer | None, source: str) -> None:
        self._config, self._words, self._tokenizer = config, words, tokenizer
        self._source = source
        self._sampling = asked_sampling(config)
        self._made = 0

    def single(self, lengths: Sequence[tuple[int, int]], count: int) -> Iterator[Prompt]:
        """Single requests of these lengths, used again from the start where there are fewer."""
        for number in range(count):
            asked, answered = lengths[number % len(lengths)]
            yield self._prompt(self._opening(asked), answered)

    def asked(self, lengths: Sequence[tuple[int, int]]) -> Iterator[Prompt]:
        """The load by its lengths alone, in sessions where the configuration has turns."""
        turns = iter(lengths)
        for session, count in enumerate(asked_sessions(self._config)):
            number = None if (self._config.turns or 1) == 1 else session
            for turn in range(count):
                asked, answered = next(turns)
                tokens = self._words.cut(asked) if turn else self._opening(asked)
                yield self._prompt(tokens, answered, number, turn, self._config.turn_wait)

    def recorded(self, sessions: Sequence[RecordedSession], block_tokens: int, single: bool) -> Iterator[Prompt]:
        """The load as it was recorded.

        Args:
            sessions: Recorded sessions, cut to the turns that are wanted.
            block_tokens: Tokens of a block.
            single: Whether each session is a single request.
        """
        for number, session in enumerate(sessions):
            for place, turn in enumerate(session.turns):
                tokens = self._recorded_tokens(turn, place, block_tokens)
                answered = turn.output_tokens or self._answer_tokens(turn)
                wait = self._config.turn_wait if turn.wait is None else turn.wait
                yield self._prompt(tokens, answered, None if single else number, place, wait)

    def recorded_lengths(self, sessions: Sequence[RecordedSession]) -> list[tuple[int, int]]:
        """Tokens of each session's first request and of its answer, [sessions]."""
        firsts = [session.turns[0] for session in sessions]
        return [
            (t.input_tokens or len(self._encode(t.text or "")), t.output_tokens or self._answer_tokens(t))
            for t in firsts
        ]

    def _prompt(
        self,
        tokens: tuple[int, ...],
        answered: int,
        session: int | None = None,
        turn: int | None = None,
        wait: float = 0.0,
    ) -> Prompt:
        name = f"{self._source}-{self._config.seed}-{self._made}"
        self._made += 1
        if session is None:
            return Prompt(name, tokens, answered, self._sampling)
        return Prompt(name, tokens, answered, self._sampling, session, turn, wait if turn else 0.0)

    def _opening(self, length: int) -> tuple[int, ...]:
        """A first prompt: what all share, then a text of its own."""
        shared = self._config.shared_prefix_len
        prefix = self._words.block("shared", shared) if shared else ()
        return (*prefix, *self._words.marked(str(self._made), self._words.cut(length - shared)))

    def _recorded_tokens(self, turn: RecordedTurn, place: int, block_tokens: int) -> tuple[int, ...]:
        if turn.text is not None:
            tokens = self._encode(turn.text)
            if not tokens:
                raise BadInputError("a text of the data set has no token; take it out, or say lengths=asked")
            return tokens if place else (*self._words.mark(str(self._made)), *tokens)
        length = turn.input_tokens or 0
        if turn.blocks:
            blocks = (self._words.block(str(block), block_tokens) for block in turn.blocks)
            return tuple(token for block in blocks for token in block)[:length]
        tokens = self._words.cut(length)
        return tokens if place else self._words.marked(str(self._made), tokens)

    def _answer_tokens(self, turn: RecordedTurn) -> int:
        """Tokens of an answer that is recorded in words; of one that is not recorded what was asked for."""
        return self._config.output_len if turn.answer is None else max(1, len(self._encode(turn.answer)))

    def _encode(self, text: str) -> tuple[int, ...]:
        if self._tokenizer is None:
            raise BadInputError(
                "the data set has words, whose tokens only the model's tokenizer can count: give the checkpoint's "
                "folder as --model, or say lengths=asked"
            )
        return self._tokenizer.encode(text)
