"""The harness's model interface on a moecap engine: every request is sent, timed and recorded as any other.

Texts become tokens as in the harness's own ``hf`` model (``lm_eval.models.huggingface.HFLM``), so that the same
weights give the same scores: the border of context and continuation, the beginning-of-sequence token, truncation from
the left, the windows of a rolling log-likelihood, and where an answer ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    has_bos_prefix,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from moecap.backend import Continuation, Engine, Generation, Prompt, Sampling, Scored
from moecap.chat_template import told_date
from moecap.errors import BadInputError
from moecap.observations.recorder import Recorder

__all__ = ["AnswerSettings", "EngineModel", "load_tokenizer"]

MAX_ANSWER_TOKENS = 256
"""Most tokens of an answer where a task does not say, as in the harness."""

KNOWN_SETTINGS = frozenset({"until", "max_gen_toks", "do_sample", "temperature", "top_p"})
"""Settings of a generation that an engine is asked for; a task with another one is refused and not bent."""


def load_tokenizer(folder: Path) -> Any:
    """The model's tokenizer as transformers reads it, with its chat template and its special tokens.

    Args:
        folder: A checkpoint folder.

    Raises:
        BadInputError: If it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        read = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInputError(f"{folder}: its tokenizer cannot be read ({reason}); save it beside the weights") from None
    if read.eos_token_id is None:
        raise BadInputError(
            f"{folder}: its tokenizer names no end-of-sequence token, which lm-eval's tasks need; add eos_token to "
            "tokenizer_config.json"
        )
    return read


Score = Callable[[Sequence[Continuation]], Iterable[Scored]]
Generate = Callable[[Sequence[Prompt]], Iterable[Generation]]


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How a task wants its answers.

    Attributes:
        output_tokens: Most tokens of an answer.
        stop: Texts at which an answer ends; the model's end-of-sequence token ends it, too.
        temperature: 0 is greedy.
        top_p: Share of the probability from which tokens are drawn.
    """

    output_tokens: int
    stop: tuple[str, ...]
    temperature: float
    top_p: float

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> AnswerSettings:
        """Read ``until``, ``max_gen_toks``, ``do_sample``, ``temperature`` and ``top_p`` as the harness's tasks say.

        Raises:
            BadInputError: If they ask for what no engine is asked for.
        """
        known = dict(normalize_gen_kwargs(dict(settings), MAX_ANSWER_TOKENS))
        if unknown := sorted(known.keys() - KNOWN_SETTINGS):
            raise BadInputError(
                f"the task's answers are drawn with {unknown[0]}={known[unknown[0]]!r}, for which moecap asks no "
                "engine; take another task"
            )
        stop = tuple(text for text in handle_stop_sequences(known["until"], eos=None) if text)
        drawn = bool(known["do_sample"])
        temperature, top_p = float(known.get("temperature", 0.0)), float(known.get("top_p", 1.0))
        return cls(known["max_gen_toks"], stop, temperature if drawn else 0.0, top_p if drawn and temperature else 1.0)

    def sampling(self, seed: int) -> Sampling:
        """The same for an engine."""
        return Sampling(self.temperature, self.top_p, self.stop, exact=False, seed=seed)


class EngineModel(TemplateLM):  # type: ignore[misc]  # the harness is not typed
    """``LM`` of the harness that asks a moecap engine.

    Args:
        tokenizer: The model's tokenizer (:func:`load_tokenizer`).
        max_length: Tokens that the model holds; longer contexts are cut on the left, as ``hf`` does.
        score: Gives log-likelihoods of continuations, in their order.
        generate: Answers prompts, in their order.
        seed: Seed of what is drawn.

    Attributes:
        cut: Requests so far whose context was cut.
        cut_last: Whether each of the last continuations that were scored had its context cut.
        dated: Whether the chat template was told the date.
    """

    def __init__(self, tokenizer: Any, max_length: int, *, score: Score, generate: Generate, seed: int = 0) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.cut = 0
        self.cut_last: list[bool] = []
        self.dated = False
        self._score, self._generate, self._seed = score, generate, seed
        self._named = 0

    @classmethod
    def of(
        cls,
        engine: Engine,
        tokenizer: Any,
        recorder: Recorder,
        *,
        max_length: int,
        concurrency: int = 1,
        seed: int = 0,
        done: Callable[[int], None] = lambda _done: None,
    ) -> EngineModel:
        """The model behind an open engine.

        Args:
            engine: Gives ``prompt_logprobs`` and ``generate``, as the tasks need them.
            tokenizer: The model's tokenizer.
            recorder: Keeps the facts; its stage is that of the requests.
            max_length: Tokens that the model holds.
            concurrency: Answers in flight.
            seed: Seed of what is drawn.
            done: Hears how many requests of a call are complete.
        """
        return cls(
            tokenizer,
            max_length,
            score=lambda continuations: engine.score(continuations, recorder, done),
            generate=lambda prompts: engine.generate(prompts, concurrency, recorder, done),
            seed=seed,
        )

    def _date(self, form: str) -> str:
        self.dated = True
        return told_date(form)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        token: int = self.tokenizer.eos_token_id
        return token

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context: beginning of sequence, else end of text."""
        begin: int | None = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else begin

    @property
    def max_gen_toks(self) -> int:
        """Most tokens of an answer where a task does not say."""
        return MAX_ANSWER_TOKENS

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, as the harness keys its caches."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_kwargs: Any) -> list[int]:
        """Token ids with what the tokenizer puts before a text, once."""
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        tokens: list[int] = self.tokenizer.encode(string, **options)
        return tokens

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the model's chat template writes it; without a system turn where it knows none.

        Raises:
            BadInputError: If the model has no chat template, or it refuses the conversation.
        """
        from jinja2 import TemplateError

        options = {
            "tokenize": False,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": not add_generation_prompt,
            "strftime_now": self._date,
        }
        try:
            try:
                text: str = self.tokenizer.apply_chat_template(chat_history, **options)
            except TemplateError:
                spoken = [turn for turn in chat_history if turn["role"] != "system"]
                text = self.tokenizer.apply_chat_template(spoken, **options)
        except (TemplateError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BadInputError(f"the chat template of the model cannot be used ({reason}); take chat=false") from None
        return text

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Score continuations of contexts, both token ids; ``requests`` begin with the texts."""
        self.cut_last = []
        continuations = [self._continuation(context, target) for _, context, target in requests]
        return [(s.log_likelihood, s.is_greedy) for s in self._score(continuations)]

    def _continuation(self, context: Sequence[int], target: Sequence[int]) -> Continuation:
        """A continuation whose context is cut on the left to what the model holds; the last token is never fed."""
        room = self.max_length + 1 - len(target)
        if room < 1:
            raise BadInputError(
                f"a continuation of {len(target)} tokens leaves no room for its context in the model's "
                f"{self.max_length}; take a model with a longer context"
            )
        self.cut_last.append(len(context) > room)
        self.cut += self.cut_last[-1]
        self._named += 1
        return Continuation(f"continuation-{self._named}", tuple(context[-room:]), tuple(target))

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, each in windows of the model's context whose targets do not overlap."""
        windows, owners = [], []
        for number, request in enumerate(requests):
            pieces = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for context, target in map(make_disjoint_window, pieces):
                windows.append((None, context, target))
                owners.append(number)
        totals = [0.0] * len(requests)
        for owner, (log_likelihood, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += log_likelihood
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers that end at the model's end token, at a stop text (however many tokens it has) or at their length."""
        prompts = []
        for request in requests:
            self._named += 1
            context, settings = request.args[:2]
            asked = AnswerSettings.of(settings)
            tokens = self.fitted(self.tok_encode(context), asked.output_tokens)
            prompts.append(Prompt(f"prompt-{self._named}", tokens, asked.output_tokens, asked.sampling(self._seed)))
        answers = self._generate(prompts)
        return [self.answer(a, p.sampling.stop) for a, p in zip(answers, prompts, strict=True)]

    def fitted(self, tokens: Sequence[int], output_tokens: int) -> tuple[int, ...]:
        """A prompt cut on the left, so that the model holds it with its answer.

        Raises:
            BadInputError: If it does not even hold the answer.
        """
        room = self.max_length - output_tokens
        if room < 1:
            raise BadInputError(
                f"answers of {output_tokens} tokens leave no room for a question in the model's {self.max_length}; "
                "shorten them with --task-arg max_tokens=N"
            )
        self.cut += len(tokens) > room
        return tuple(tokens[-room:])

    def answer(self, generation: Generation, stop: Sequence[str]) -> str:
        """The text of an answer, up to the first text that ends it."""
        text = generation.text
        if text is None:
            text = self.tokenizer.decode(list(generation.tokens), skip_special_tokens=True)
        ends = [*stop, self.tokenizer.decode(self.eot_token_id, skip_special_tokens=False)]
        cut: str = postprocess_generated_text(text, ends, None)
        return cut
