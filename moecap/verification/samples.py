"""What the samples of tasks say, against themselves, the requests that they came from, and the result."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from moecap.errors import BadInputError, MoecapError
from moecap.observations.reader import Observations
from moecap.result import Result, TaskRecord
from moecap.runner.task_load import load_digest
from moecap.tasks.base import load_task, prompts_digest
from moecap.tasks.generative import GenerativeTask, OpenQuestion
from moecap.tasks.method import MethodTask, Tables, method_tables
from moecap.tasks.multiple_choice import MultipleChoiceTask, choice_scores

__all__ = ["check_samples", "task_pairs"]

Stated = float | str | None
Row = dict[str, Any]

PROMPTED = ("multiple_choice", "generative", "lm_eval")
"""Kinds of samples whose prompts are those of which a task's record has the digest."""


def check_samples(observations: Observations, tasks: Sequence[TaskRecord]) -> None:
    """Refuse samples that do not follow from themselves or from their requests, and items that count twice.

    The answers of multiple choice must be those of the highest log-likelihood. A generated answer must have a request
    that ended as the sample says; it is graded again where its task is here in the same version. The samples of a
    method must be those of its tables.

    Raises:
        BadInputError: With the first sample that is concerned.
    """
    seen: set[tuple[Any, Any]] = set()
    asked: set[int] = set()
    records = {record.name: record for record in tasks}
    requests = observations.requests.set_index("request")
    generated = {str(sample.get("task")) for sample in observations.samples if sample.get("kind") == "generative"}
    graders = {name: _grader(records[name]) for name in generated & records.keys()}
    kinds = {name: _kinds(name) for name in {str(sample.get("task")) for sample in observations.samples}}
    for sample in observations.samples:
        item = (sample.get("task"), sample.get("id"))
        if item[1] is not None and item in seen:
            raise BadInputError(f"samples.jsonl holds {item[1]!r} of {item[0]} twice; the run has to be repeated")
        seen.add(item)
        kind, allowed = sample.get("kind"), kinds[str(item[0])]
        problem = ""
        if allowed and kind not in allowed:
            problem = f"the kind is {kind!r} and not {' or '.join(allowed)}"
        elif kind == "multiple_choice":
            problem = _choice_problem(sample)
        elif kind == "lm_eval":
            problem = _likelihood_problem(sample)
        elif kind == "generative":
            problem = _request_problem(sample, requests, asked, records.get(str(item[0])))
            problem = problem or _grade_problem(sample, requests, graders.get(str(item[0])))
        if problem:
            raise BadInputError(f"samples.jsonl: {problem} in {item[1]!r} of {item[0]}; the run has to be repeated")
    for method, tables in method_tables(observations.tables):
        of_method = [sample for sample in observations.samples if sample.get("task") == method.name]
        if of_method and (problem := _method_problem(method, tables, of_method)):
            raise BadInputError(f"samples.jsonl: {problem} in {method.name}; the run has to be repeated")


def task_pairs(result: Result, samples: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Stated, Stated]]:
    """Statements of a result about its tasks with what its samples and its workload say; a pair that differs is wrong.

    Args:
        result: The result.
        samples: Its samples.
    """
    records = {record.name for record in result.tasks}
    unrecorded = {str(sample.get("task")) for sample in samples} - records
    pairs: dict[str, tuple[Stated, Stated]] = {f"tasks.{name}": (None, "samples of it") for name in unrecorded}
    loads = [record for record in result.tasks if record.in_load]
    by_tasks = result.workload.dataset == "tasks"
    if by_tasks or loads:
        pairs["workload.dataset"] = (result.workload.dataset, "tasks" if loads else "a data set")
        pairs["workload.dataset_sha256"] = (result.workload.dataset_sha256, load_digest(loads))
        pairs["workload.num_requests"] = (result.workload.num_requests, sum(record.items for record in loads))
    if result.status != "complete":
        return pairs
    counts: Counter[str] = Counter()
    prompts: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        if sample.get("kind") in PROMPTED:
            counts[str(sample.get("task"))] += 1
            prompts[str(sample.get("task"))] += _texts(sample)
    for record in result.tasks:
        if record.name in prompts:
            digest = prompts_digest(prompts[record.name])
            pairs[f"tasks.{record.name}.items"] = (record.items, counts[record.name])
            pairs[f"tasks.{record.name}.prompts_sha256"] = (record.prompts_sha256, digest)
    return pairs


def _texts(sample: Mapping[str, Any]) -> list[str]:
    """What was sent for an item, as the digest of its task takes it: of lm-eval's each context with its answer."""
    prompt, answers = str(sample.get("prompt")), sample.get("answers")
    if sample.get("kind") != "lm_eval" or not isinstance(answers, list):
        return [prompt]
    contexts = sample.get("prompts", [prompt] * len(answers))
    return [str(text) for pair in zip(contexts, answers, strict=False) for text in pair]


def _kinds(name: str) -> tuple[str, ...]:
    """Kinds that samples of a task have; empty for a task that is not here, or is of another kind."""
    if name.startswith("lm_eval:"):
        return "lm_eval", "generative"
    try:
        task = load_task(name)
    except MoecapError:
        return ()
    if isinstance(task, GenerativeTask):
        return ("generative",)
    return ("multiple_choice",) if isinstance(task, MultipleChoiceTask) else ()


def _grader(record: TaskRecord) -> GenerativeTask | None:
    """The task, if it is here in the version of the record and grades alike anywhere."""
    try:
        task = load_task(record.name)
    except MoecapError:
        return None
    same = isinstance(task, GenerativeTask) and task.regradable and task.version == record.version
    return task if same and isinstance(task, GenerativeTask) else None


def _request_problem(sample: Row, requests: pd.DataFrame, asked: set[int], record: TaskRecord | None) -> str:
    """What does not hold between a sample and its request; empty where all does."""
    number = sample.get("request")
    if type(number) is not int or number not in requests.index:
        return f"its request {number!r} is none of requests.parquet"
    if number in asked:
        return f"request {number} is the answer to another item too"
    asked.add(number)
    request = requests.loc[number]
    failed, cut_off = _ending(request)
    outcome, scores = sample.get("outcome"), sample.get("scores")
    reason = request["finish_reason"] if pd.notna(request["finish_reason"]) else None
    stage = request["stage"] if record is None else "load" if record.in_load else "score"
    problems = {
        f"its request was sent in the stage {request['stage']}": request["stage"] != stage,
        "the finish_reason is not that of its request": sample.get("finish_reason") != reason,
        f"the outcome {outcome!r} is not that of its request": (
            (outcome == "failed", outcome == "truncated") != (failed, cut_off and not failed)
        ),
        "a question without an answer has a score": (
            not isinstance(scores, dict)
            or (outcome not in ("answered", _scored_cut_off(sample)) and any(scores.values()))
        ),
    }
    return next((problem for problem, found in problems.items() if found), "")


def _scored_cut_off(sample: Row) -> str | None:
    """The outcome of which an answer keeps its score though it was cut off, in tasks that fix the answers' length."""
    return "truncated" if sample.get("scored_when_truncated") is True else None


def _grade_problem(sample: Row, requests: pd.DataFrame, task: GenerativeTask | None) -> str:
    """What another grading finds; empty where it finds the same, or the task is not here."""
    if task is None:
        return ""
    failed, cut_off = _ending(requests.loc[sample["request"]])
    try:
        question = OpenQuestion(sample["id"], sample["prompt"], sample["gold"], 0, about=sample.get("about", {}))
        again = task.graded(question, sample["answer"], failed=failed, cut_off=cut_off)
        again.setdefault("scored_when_truncated", None)
        differing = [name for name, value in again.items() if sample.get(name) != value]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return f"something is missing or malformed ({type(error).__name__})"
    return f"{differing[0]} is not what grading the answer again gives" if differing else ""


def _ending(request: Any) -> tuple[bool, bool]:
    """Whether a request failed, and whether its answer ended at its most tokens."""
    tokens, most = request["output_tokens"], request["output_tokens_asked"]
    reason = request["finish_reason"]
    cut_off = reason == "length" if pd.notna(reason) else bool(pd.notna(tokens) and tokens >= most)
    return bool(request["status"] == "failed"), cut_off


def _likelihood_problem(sample: Row) -> str:
    """What does not hold in a sample of lm-eval's by log-likelihood; empty where all does."""
    try:
        likelihoods, answers, gold = sample["log_likelihoods"], sample.get("answers"), sample["gold"]
        if not all(type(value) in (int, float) and math.isfinite(value) for value in likelihoods):
            return "a log-likelihood is not a number"
        if answers is None:
            return ""
        best = max(range(len(answers)), key=lambda i: likelihoods[i])
        if sample["answer"] != answers[best]:
            return "the answer is not the one of the highest log-likelihood"
        checked = sample.get("accuracy_is") == "acc" and len(answers) > 1 and type(gold) is int
        if checked and sample["scores"]["accuracy"] != int(best == gold):
            return "the accuracy is not that of the log-likelihoods"
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return f"something is missing or malformed ({type(error).__name__})"
    return ""


def _method_problem(method: type[MethodTask], tables: Tables, samples: Sequence[Row]) -> str:
    """What does not hold between the samples and the tables of a method; empty where all does."""
    try:
        return method.contradiction(tables, samples)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return f"something is missing or malformed ({type(error).__name__})"


def _choice_problem(sample: Row) -> str:
    """What does not hold in a multiple-choice sample; empty where all does."""
    try:
        likelihoods, answers, gold = sample["log_likelihoods"], sample["answers"], sample["gold"]
        if not all(type(value) in (int, float) and math.isfinite(value) and value <= 0 for value in likelihoods):
            return "a log-likelihood is not a number up to zero"
        if type(gold) is not int or not 0 <= gold < len(answers):
            return "gold is not the number of an answer"
        if sample["answer"] != answers[max(range(len(answers)), key=lambda i: likelihoods[i])]:
            return "the answer is not the one of the highest log-likelihood"
        if choice_scores(likelihoods, answers, gold) != sample["scores"]:
            return "the scores are not those of the log-likelihoods"
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        return f"something is missing or malformed ({type(error).__name__})"
    return ""
