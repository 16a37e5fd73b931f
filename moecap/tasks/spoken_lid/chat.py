"""A model that hears, behind an OpenAI-compatible endpoint: it is sent a recording and the names of the languages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from moecap.attachment import Attachment
from moecap.backend import Engine, Generation, Prompt, Sampling
from moecap.data.audio import RATE, wav_bytes
from moecap.data.languages import LANGUAGES
from moecap.errors import BadInputError, RunError
from moecap.observations.recorder import Recorder
from moecap.tasks.answers.thinking import without_thinking
from moecap.tasks.spoken_lid.features import CROP_S
from moecap.tasks.spoken_lid.tables import ANSWERED, FAILED, UNPARSED
from moecap.tasks.spoken_lid.utterances import Utterance
from moecap.tokenizer import Tokenizer

__all__ = ["Heard", "answers_by_chat", "named_language", "question"]


class Heard(NamedTuple):
    """What a model answered to an utterance.

    Attributes:
        outcome: What became of it.
        language: The language that was answered; an empty text for none.
        said: The model's words.
    """

    outcome: str
    language: str
    said: str


def question(labels: Sequence[str]) -> str:
    """What a model is asked with each recording."""
    names = ", ".join(_name(code) for code in labels)
    return f"Which language is spoken in this recording? Answer with one of these and nothing else: {names}."


def named_language(answer: str, labels: Sequence[str]) -> str:
    """The one language that an answer names; an empty text where it names none or several.

    An answer that is nothing but a code (``hin``, ``hi``) counts too; within a sentence only names do, since codes such
    as ``sun`` are words.

    Args:
        answer: The model's words.
        labels: Languages that can be answered.
    """
    said = without_thinking(answer).casefold()
    bare = said.strip().strip("\"'`*.:;,!()[]")
    for code in labels:
        if bare in {code, LANGUAGES[code].short if code in LANGUAGES else code} - {""}:
            return code
    by_name = {_name(code).casefold(): code for code in labels}
    longest_first = "|".join(map(re.escape, sorted(by_name, key=len, reverse=True)))  # Low German is no German
    named = set(re.findall(rf"\b({longest_first})\b", said))
    return by_name[named.pop()] if len(named) == 1 else ""


def answers_by_chat(
    experiment: str,
    labels: Sequence[str],
    utterances: Sequence[Utterance],
    engine: Engine,
    tokenizer: Tokenizer,
    recorder: Recorder,
    concurrency: int,
    max_tokens: int,
    sampling: Sampling,
) -> list[Heard]:
    """What the engine's model answers to each utterance.

    Args:
        experiment: Its name, which begins the ids of the requests.
        labels: Languages that can be answered.
        utterances: What is sent, the first eight seconds of each as a WAV file at 16 kHz.
        engine: The engine.
        tokenizer: The model's tokenizer, which counts the words of the question; what the recording takes only the
            server knows.
        recorder: Keeps the requests.
        concurrency: Requests in flight.
        max_tokens: Most tokens of an answer.
        sampling: How answers are drawn.

    Raises:
        BadInputError: If an utterance is features without a sound.
        RunError: If no request is answered.
    """
    asked = question(labels)
    tokens, how = tokenizer.encode_prompt(asked), replace(sampling, stop=(), n=1, exact=False)
    prompts = [
        Prompt(
            f"spoken_lid/{experiment}/{utterance.id}",
            tokens,
            max_tokens,
            how,
            messages=(("user", asked),),
            attachments=(Attachment("audio/wav", _sound(utterance)),),
        )
        for utterance in utterances
    ]
    found = engine.generate(prompts, concurrency, recorder, lambda _number: None)
    if found and all(one.error is not None for one in found):
        raise RunError(f"no recording was answered ({found[0].error}); ask a server whose model takes input_audio")
    return [_heard(one, labels, tokenizer) for one in found]


def _heard(found: Generation, labels: Sequence[str], tokenizer: Tokenizer) -> Heard:
    if found.error is not None:
        return Heard(FAILED, "", "")
    said = found.text if found.text is not None else tokenizer.decode(found.tokens)
    language = named_language(said, labels)
    return Heard(ANSWERED if language else UNPARSED, language, said)


def _sound(utterance: Utterance) -> bytes:
    if utterance.samples is None:
        raise BadInputError(f"{utterance.id}: features of an utterance cannot be sent to a model; give sounds")
    return wav_bytes(utterance.samples[: round(CROP_S * RATE)])


def _name(code: str) -> str:
    return LANGUAGES[code].name if code in LANGUAGES else code
