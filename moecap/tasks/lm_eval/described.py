"""What every lm-eval task says of itself in moecap, and the door by which it is found: ``lm_eval:NAME``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from moecap.chat_template import told_date
from moecap.errors import BadInputError, NotAvailableError
from moecap.tasks.base import Task, TaskFacts, TaskFamily
from moecap.tasks.lm_eval.catalogue import Leaf, harness_version, leaves, paper_of, require_harness
from moecap.tasks.lm_eval.data import copy_of

__all__ = ["LmEvalFamily", "joined_sources", "shared_facts"]

GENERATED = "generate_until"


class LmEvalFamily(TaskFamily):
    """Every task, group and tag of the Language Model Evaluation Harness."""

    name: ClassVar[str] = "lm_eval:NAME"
    title: ClassVar[str] = "any task, group or tag of lm-eval (lm-eval ls tasks): lm_eval:mmlu"
    requires: ClassVar[frozenset[str]] = frozenset({"prompt_logprobs", "generate"})
    metric: ClassVar[str] = "the task's own, by lm-eval's code"
    paper: ClassVar[str] = "doi 10.5281/zenodo.12608602"
    source: ClassVar[str] = "by task: a package, --data DIR, or the hub"
    example: ClassVar[str] = "arc_easy"

    def member(self, name: str) -> Task:
        """The task of that name."""
        require_harness()
        found = leaves(name)
        kinds = {leaf.output_type for leaf in found}
        if not found:
            raise BadInputError(f"lm-eval's {name} has no tasks; take another")
        if GENERATED in kinds and len(kinds) > 1:
            apart = sorted(leaf.name for leaf in found if leaf.output_type == GENERATED)
            raise NotAvailableError(
                f"lm-eval's {name} holds tasks that generate ({apart[0]}, {len(apart)} in all) and tasks that score "
                "given answers, which are different parts of a run; name its tasks one by one"
            )
        base: type[Task]
        if kinds == {GENERATED}:
            from moecap.tasks.lm_eval.generation import LmEvalGeneration

            base = LmEvalGeneration
        else:
            from moecap.tasks.lm_eval.likelihood import LmEvalLikelihood

            base = LmEvalLikelihood
        task: Task = type(f"LmEval_{name}", (base,), _described(name, found))(name, found)
        return task


def _described(name: str, found: Sequence[Leaf]) -> dict[str, Any]:
    """The class variables of a task."""
    first = found[0]
    versions = sorted({leaf.version for leaf in found})
    generated = first.output_type == GENERATED
    what = f"{len(found)} tasks of lm-eval" if len(found) > 1 else "lm-eval"
    return {
        "name": f"lm_eval:{name}",
        "title": f"{name} of {what}, {'generated' if generated else 'by log-likelihood'}",
        "requires": frozenset({"generate"} if generated else {"prompt_logprobs"}),
        "metric": ", ".join(_metrics(found)),
        "paper": paper_of(first),
        "source": "; ".join(dict.fromkeys(map(_source, found[:3]))) + ("; ..." if len(found) > 3 else ""),
        "version": f"lm-eval {harness_version()}, task {', '.join(versions)}",
        "__doc__": _about(found),
    }


def _metrics(found: Sequence[Leaf]) -> list[str]:
    """Names of the metrics, the filters of each after a comma."""
    names = []
    for leaf in found:
        filters = [entry["name"] for entry in leaf.config.get("filter_list") or []]
        for entry in leaf.config.get("metric_list") or [{"metric": "the kind's own"}]:
            metric = str(entry["metric"]).rpartition(".")[2]
            names += [f"{metric},{each}" for each in filters] or [metric]
    return list(dict.fromkeys(names))


def _source(leaf: Leaf) -> str:
    path, name = leaf.config.get("dataset_path"), leaf.config.get("dataset_name")
    if not isinstance(path, str):
        return "given by the task's own code"
    shown = f"{path} {name}" if name else path
    copied = copy_of(path, name)
    if copied is None:
        return f"{shown} (hub, or --data DIR)"
    return f"{shown} ({', '.join(copied[0].splits)} in {copied[0].files.package}; else hub, or --data DIR)"


def _about(found: Sequence[Leaf]) -> str:
    lines = [_line(leaf) for leaf in found[:60]]
    more = [f"and {len(found) - 60} more"] if len(found) > 60 else []
    return "\n".join([*lines, *more])


def _line(leaf: Leaf) -> str:
    shots = f"{leaf.shots} examples" + (f" from {leaf.example_split}" if leaf.shots and leaf.example_split else "")
    split = f"split {leaf.eval_split}" if leaf.eval_split else "its own split"
    return f"{leaf.name}: {leaf.output_type}, version {leaf.version}, {split}, {shots}"


def shared_facts(facts: TaskFacts, items: Sequence[Any], seed: int, dated: bool) -> TaskFacts:
    """The facts of items of the harness: their examples, the seed, the sources, and the date in the prompts.

    Args:
        facts: The number of items and the digest of the prompts.
        items: The items.
        seed: Seed of the drawing of examples.
        dated: Whether the chat template was told the date.
    """
    shots = {item.shots for item in items}
    few_shot = shots.pop() if len(shots) == 1 else None
    drawn = any(item.shots for item in items)
    date = told_date("%Y-%m-%d") if dated else None
    return replace(
        facts, few_shot=few_shot, few_shot_seed=seed if drawn else None, source=joined_sources(items), chat_date=date
    )


def joined_sources(items: Sequence[Any]) -> str:
    """Where the documents come from, each place once."""
    return "; ".join(dict.fromkeys(item.source for item in items))
