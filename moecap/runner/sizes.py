"""How long the requests of a run get, before a token of them is made; and the refusal of those that no model holds."""

from __future__ import annotations

from moecap.config import RunConfig
from moecap.data.recording import Recording
from moecap.errors import BadInputError
from moecap.models.spec import ModelSpec
from moecap.runner.task_load import TaskLoad
from moecap.runner.workload import longest_request

__all__ = ["refuse_context", "sized_by_lengths", "sized_by_tasks"]


def sized_by_lengths(config: RunConfig, recording: Recording) -> RunConfig:
    """The configuration with the length of its longest prompt, and with what is left for the longest request."""
    asked, whole = longest_request(config, recording)
    return config.model_copy(update={"input_len": max(asked, 1), "output_len": max(whole - asked, 1)})


def sized_by_tasks(load: TaskLoad) -> RunConfig:
    """The configuration with the lengths of the longest of the tasks' prompts and of the longest conversation."""
    asked = max(len(prompt.tokens) for prompt in load.workload.prompts)
    rest = load.workload.longest - asked
    return load.config.model_copy(update={"input_len": asked, "output_len": max(rest, 1)})


def refuse_context(config: RunConfig, sized: RunConfig, spec: ModelSpec) -> None:
    """Refuse requests that are longer than the model's context.

    Args:
        config: What was asked for.
        sized: The same with the lengths of the longest request.
        spec: The model.

    Raises:
        BadInputError: With the tokens of the longest one.
    """
    asked, answered = sized.input_len, sized.output_len
    wanted = asked + answered
    if wanted <= spec.max_context:
        return
    if (asked, answered) == (config.input_len, config.output_len):
        raise BadInputError(
            f"--input-len {asked} + --output-len {answered} = {wanted} tokens, the model holds {spec.max_context}; "
            "shorten them"
        )
    raise BadInputError(
        f"the longest request takes {wanted} tokens with its answer, the model holds {spec.max_context}; take shorter "
        "ones, fewer turns, or lengths=asked"
    )
