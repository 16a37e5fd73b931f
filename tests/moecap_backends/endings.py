"""Why answers of an engine ended, which every engine has to say in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from moecap.backend import Engine, Generation, Prompt, Sampling
from moecap.observations.recorder import Recorder


def check_endings(engine: Engine, prompts: Sequence[Prompt]) -> None:
    """Answers of an exact length end by their length; those with a stop text before it, with their text alone."""

    def answers(sampling: Sampling) -> tuple[list[Generation], Recorder]:
        recorder = Recorder(stage="load")
        asked = [replace(prompt, sampling=sampling) for prompt in prompts]
        return engine.generate(asked, 2, recorder, lambda _done: None), recorder

    exact, recorder = answers(Sampling())
    assert {record.finish_reason for record in recorder.requests} == {"length"}
    assert {record.status for record in recorder.requests} == {"completed"}
    said = [answer.text or "" for answer in exact]
    letters = [[c for c in text[1:] if c.isascii() and c.isalnum()] for text in said]
    place = next(number for number, found in enumerate(letters) if found)
    stop = letters[place][0]
    ended, recorder = answers(Sampling(stop=(stop,), exact=False))
    by_request = {record.request: record for record in recorder.requests}
    assert ended[place].finish_reason == "stop"
    assert ended[place].text == said[place][: said[place].index(stop)]
    for answer in ended:
        record = by_request[answer.request]
        assert record.finish_reason == answer.finish_reason
        assert record.output_tokens is not None
        if answer.finish_reason == "length":
            assert record.output_tokens == record.output_tokens_asked, answer
        else:
            assert record.output_tokens <= record.output_tokens_asked, answer
