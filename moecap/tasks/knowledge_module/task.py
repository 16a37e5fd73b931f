"""Knowledge modules (Caccia et al. 2025, arXiv 2503.08727) as a task: a document as an adapter, not as a prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from moecap.backend import Engine
from moecap.data.documents import Document
from moecap.data.packages import fetch
from moecap.data.qasper import load_qasper
from moecap.data.quality import load_quality
from moecap.dtypes import dtype_bytes
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.metrics.value import Metric
from moecap.models.activations import training_bytes
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskFacts, TaskOptions, prompts_digest
from moecap.tasks.knowledge_module.figures import choices, method_figures
from moecap.tasks.knowledge_module.parameters import ARGUMENTS, SIZES, Parameters
from moecap.tasks.knowledge_module.questions import (
    SETTINGS,
    Item,
    asked_settings,
    best_option,
    continuations,
    ordered,
    prompt,
)
from moecap.tasks.knowledge_module.retrieval import ENCODER
from moecap.tasks.knowledge_module.tables import TABLES
from moecap.tasks.method import MethodTask, Passes, Tables
from moecap.tasks.parts import Parts
from moecap.tokenizer import Tokenizer

if TYPE_CHECKING:
    from moecap.report.section import Section

__all__ = ["KnowledgeModule"]

MARGIN = 128
"""Tokens of a request for a summary around the chunk and the summary, its chat template included."""

BESIDE = 16
"""Tokens around a passage in a prompt, with what it grows by when it is encoded anew."""


class KnowledgeModule(MethodTask):
    """Questions about a document, with its module in place of its text."""

    name: ClassVar[str] = "knowledge_module"
    title: ClassVar[str] = "Knowledge modules: a document distilled into a LoRA, against context and retrieval"
    requires: ClassVar[frozenset[str]] = frozenset({"hidden_states", "gradients", "prompt_logprobs"})
    metric: ClassVar[str] = "accuracy (with the module alone; task.knowledge_module_accuracy_* has the other settings)"
    paper: ClassVar[str] = "arXiv 2503.08727"
    source: ClassVar[str] = "allenai/qasper-yesno (data=qasper), or QuALITY with --data (data=quality)"
    arguments: ClassVar[tuple[str, ...]] = ARGUMENTS
    narrowing: ClassVar[tuple[str, ...]] = ("documents", "document", "chunks")
    tables = TABLES
    sizes = SIZES

    def __init__(self) -> None:
        self._parameters: Parameters | None = None
        self._train: tuple[Document, ...] = ()
        self._options: TaskOptions | None = None

    def items(self, options: TaskOptions) -> Sequence[Item]:
        """The questions, those of one document after each other."""
        parameters = Parameters.read(self.arguments_in_force(options))
        known = ordered(self._documents(parameters, options, "dev"))
        chosen = _chosen(known, parameters)
        if parameters.extractor != "off":
            self._train = self._training(parameters, options, known, chosen)
        questions = [Item(q.id, document, q) for document in chosen for q in document.questions]
        self._parameters, self._options = parameters, options
        found = list(islice(questions, options.limit))
        self.limited = len(found) < sum(len(document.questions) for document in known)
        return found

    def _documents(self, parameters: Parameters, options: TaskOptions, split: str) -> tuple[Document, ...]:
        if parameters.data == "qasper":
            self.data_source = "allenai/qasper-yesno" + (", in a folder of the user's" if options.data else "")
            return load_qasper(options.data)
        if options.data is None:
            raise NotAvailableError("the data set QuALITY is in no package; give its folder or file with --data")
        self.data_source = "QuALITY, in a folder of the user's"
        return load_quality(options.data, split)

    def _training(
        self, parameters: Parameters, options: TaskOptions, known: Sequence[Document], chosen: Sequence[Document]
    ) -> tuple[Document, ...]:
        """The documents on which the extractor is trained, none of which is asked about."""
        asked = {document.id for document in chosen}
        pool = known
        if parameters.data == "quality" and options.data is not None and options.data.is_dir():
            pool = ordered(self._documents(parameters, options, "train"))
        found = tuple(islice((one for one in pool if one.id not in asked), parameters.train_documents))
        if not found:
            raise BadInputError(
                f"--task-arg extractor={parameters.extractor}: no document is left to train it on; take fewer documents"
            )
        return found

    def lengths(self, items: Sequence[Item], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        """Each question with at least the tokens of its longest prompt and of the chunks that are taught.

        Raises:
            NotAvailableError: If a package or the encoder of passages is not here.
        """
        p = self._given
        _refuse_unready(p)
        wanted = [SETTINGS[name] for name in ("base", *p.compare) if name != "rag"]
        for item in items:
            texts = [prompt(item.question.question, setting, item.document.text, ()) for setting in wanted]
            pairs = [c for text in texts for c in continuations(tokenizer, item.id, text, item.question.choices)]
            shown = p.passages * (p.passage_tokens + BESIDE) if "rag" in p.compare else 0
            taught = min(p.chunk, len(tokenizer.encode(item.document.text))) + p.summary_tokens
            yield item.id, max(taught + MARGIN, *(len(c.context) + len(c.target) + shown for c in pairs))

    def training_bytes(self, items: Sequence[Item], tokenizer: Tokenizer, spec: ModelSpec, dtype: str) -> int:
        """A step of the module's training through all layers, and what is kept of the teacher."""
        p = self._given
        windows = p.objective in ("lm", "ddcd")
        taught = p.window if windows else p.summary_tokens + (p.chunk if p.objective == "pit" else 0)
        matrices = [matrix for layer in spec.layers for matrix in layer.attention.matrices]
        modules = 1 + (len(self._train) + 1 if p.extractor != "off" else 0)
        step = training_bytes(
            spec,
            tokens=p.batch * (taught + MARGIN),
            logits_rows=2 * p.batch * taught,  # of the student and of its teacher
            layers=len(spec.layers),
            trained=modules * p.rank * sum(matrix.rows + matrix.columns for matrix in matrices),
            dtype=dtype,
        )
        longest = max((len(tokenizer.encode(text)) for text in {item.document.text for item in items}), default=0)
        pieces = min(p.chunks or longest, math.ceil(longest / (0.9 * p.chunk)))  # chunks overlap by a tenth
        told = {"sdcd": pieces * p.summaries * p.summary_tokens, "ddcd": longest}.get(p.objective, 0)
        states = (1 + len(spec.layers)) * spec.hidden_size + spec.vocab_size
        kept = math.ceil(told * states * dtype_bytes(dtype))
        return step + min(p.teacher_bytes, kept)

    def facts(self, items: Sequence[Item], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these questions."""
        texts = [prompt(item.question.question, SETTINGS["base"], "", ()) for item in items]
        chat = tokenizer.chat_template is not None
        return TaskFacts(len(items), prompts_digest(texts), chat=chat, source=self.data_source, limited=self.limited)

    def restated(self, item: Item, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The question with its options and the right one."""
        return _asked(item)

    def run(
        self,
        items: Sequence[Item],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Ask, teach each document, and ask again."""
        from moecap.tasks.knowledge_module.experiment import Experiment

        assert self._options is not None, "the questions are loaded before they are asked"
        seed, progress = self._options.sampling.seed, self._options.progress
        experiment = Experiment(self._given, engine, tokenizer, recorder, seed, progress)
        for number, (item, scores) in enumerate(experiment.run(items, self._train), 1):
            experiment.rows["questions"].append((item.id, item.document.id, item.question.answer_index))
            for name, rows in experiment.rows.items():
                kept = rows if name not in ("answers", "queries") else _of_finished(rows, experiment.rows["questions"])
                columns = zip(*kept, strict=True) if kept else ((),) * len(self.tables[name].names)
                self.leave(recorder, name, dict(zip(self.tables[name].names, map(list, columns), strict=True)))
            chosen = best_option(*scores["km"])
            yield {
                "task": self.name,
                "kind": self.name,
                "id": item.id,
                **_asked(item),
                "log_likelihoods": {setting: likelihoods for setting, (likelihoods, _) in scores.items()},
                "answer": item.question.choices[chosen],
                "scores": {"accuracy": int(chosen == item.question.answer_index)},
            }
            done(number)

    @property
    def _given(self) -> Parameters:
        assert self._parameters is not None, "the questions are loaded before they are asked"
        return self._parameters

    @classmethod
    def metrics(cls, tables: Tables, passes: Passes | None) -> dict[str, Metric]:
        """Accuracy, tokens and seconds by setting, the losses of the training, and the cost of a module."""
        return method_figures(tables, passes)

    def parts(self, options: TaskOptions, tables: Tables) -> Iterable[Parts]:
        """Every question in each setting, and a module of each document."""
        p, questions = Parameters.read(self.arguments_in_force(options)), tables["questions"]
        settings = asked_settings(p.compare, extractor=p.extractor != "off")
        yield Parts("questions", (), [()])
        for table in ("answers", "queries"):
            yield Parts.of_each(table, question=questions["question"], setting=settings)
        trained_on = tables["modules"].loc[tables["modules"]["role"] == "extractor", "document"]
        pairs = [(document, "asked") for document in questions["document"].unique()]
        pairs += [(document, "extractor") for document in trained_on] if p.extractor != "off" else []
        yield Parts("modules", ("document", "role"), pairs)
        yield Parts.of_each("training", document=dict.fromkeys(document for document, _ in pairs))

    @classmethod
    def contradiction(cls, tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
        """A sample whose likelihoods, answer or score are not those of the tables; empty where all are."""
        found = choices(tables)
        km = found[found["setting"] == "km"]
        chosen = {name: (int(n), int(right)) for name, n, right in km[["question", "chosen", "right"]].to_numpy()}
        likelihoods: dict[str, dict[str, list[float]]] = {}
        options = tables["answers"].sort_values("option", kind="stable")
        for question, setting, value in options[["question", "setting", "log_likelihood"]].to_numpy():
            likelihoods.setdefault(question, {}).setdefault(setting, []).append(float(value))
        if len(chosen) != len(samples):
            return f"{len(samples)} samples of {len(chosen)} questions"
        for sample in samples:
            name = sample.get("id")
            if not isinstance(name, str) or name not in chosen:
                return f"the question {name!r} is in no table"
            if sample.get("log_likelihoods") != likelihoods[name]:
                return f"the log-likelihoods of {name!r} are not those of its table"
            answers, (number, right) = sample.get("answers"), chosen[name]
            if not isinstance(answers, list) or answers[number : number + 1] != [sample.get("answer")]:
                return f"the answer to {name!r} is not the likeliest"
            if sample.get("scores") != {"accuracy": right}:
                return f"the score of {name!r} is not that of its answer"
        return ""

    @classmethod
    def section(cls, tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
        """Accuracy against tokens of the prompt by setting, the losses, and the cost."""
        from moecap.tasks.knowledge_module.section import module_section

        return module_section(tables, metrics)


def _refuse_unready(parameters: Parameters) -> None:
    """Refuse, before anything starts, what would fail only once the model is loaded."""
    rag = "rag" in parameters.compare
    needed = ["peft"] + ["sklearn"] * (rag and parameters.retriever == "tfidf")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise NotAvailableError(f'knowledge_module needs {", ".join(missing)}; pip install "moecap[methods]"')
    if rag and parameters.retriever == "minilm":
        fetch(ENCODER)


def _chosen(known: Sequence[Document], parameters: Parameters) -> list[Document]:
    if not parameters.document:
        return list(islice(known, parameters.documents))
    by_id = {document.id: document for document in known}
    for name in parameters.document:
        if name not in by_id:
            raise UnknownNameError("document", name, by_id)
    return [by_id[name] for name in dict.fromkeys(parameters.document)]


def _asked(item: Item) -> dict[str, Any]:
    return {
        "document": item.document.id,
        "prompt": prompt(item.question.question, SETTINGS["base"], "", ()),
        "answers": list(item.question.choices),
        "gold": item.question.answer_index,
    }


def _of_finished(rows: Sequence[tuple[Any, ...]], questions: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows of the questions that were asked in every setting."""
    finished = {question for question, *_ in questions}
    return [row for row in rows if row[0] in finished]
