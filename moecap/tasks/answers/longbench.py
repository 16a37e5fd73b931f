"""How LongBench scores an answer, by data set (Bai et al. 2023, arXiv 2308.14508)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence

from moecap.tasks.answers.chinese import chinese_f1, chinese_rouge_l, require_jieba
from moecap.tasks.answers.overlap import f1, require_rouge, rouge_l

__all__ = ["LANGUAGES", "METRICS", "longbench_score", "require_libraries"]

_FIRST_LINE = frozenset({"trec", "triviaqa", "samsum", "lsht"})
"""Data sets of which only the first line of an answer counts."""


def _count(answer: str, gold: str, _classes: Sequence[str]) -> float:
    """Share of the answer's numbers that are the right one."""
    numbers = re.findall(r"\d+", answer)
    return numbers.count(gold) / len(numbers) if numbers else 0.0


def _paragraph(answer: str, gold: str, classes: Sequence[str]) -> float:
    number = re.search(r"(?:Paragraph |\u6bb5\u843d)(\d+)", gold)
    return _count(answer, number[1], classes) if number else 0.0


def _similarity(answer: str, gold: str, _classes: Sequence[str]) -> float:
    """Likeness of the first line of code that is no comment and no markup, rounded to a hundredth."""
    lines = answer.lstrip("\n").split("\n")
    code = next((line for line in lines if not any(mark in line for mark in ("`", "#", "//"))), "")
    return round(100 * difflib.SequenceMatcher(None, code, gold).ratio()) / 100


def _class(answer: str, gold: str, classes: Sequence[str]) -> float:
    """One over the number of classes that the answer names, if the right one is among them."""
    named = [name for name in classes if name in answer]
    for name in named:  # as LongBench does it, a removal skips the next name
        if name in gold and name != gold:
            named.remove(name)
    return 1 / len(named) if gold in named else 0.0


def _words(answer: str, gold: str, _classes: Sequence[str]) -> float:
    return f1(answer, gold)


def _summary(answer: str, gold: str, _classes: Sequence[str]) -> float:
    return rouge_l(answer, gold)


def _chinese_words(answer: str, gold: str, _classes: Sequence[str]) -> float:
    return chinese_f1(answer, gold)


def _chinese_summary(answer: str, gold: str, _classes: Sequence[str]) -> float:
    return chinese_rouge_l(answer, gold)


METRICS: dict[str, Callable[[str, str, Sequence[str]], float]] = {
    "narrativeqa": _words,
    "qasper": _words,
    "multifieldqa_en": _words,
    "hotpotqa": _words,
    "2wikimqa": _words,
    "musique": _words,
    "gov_report": _summary,
    "qmsum": _summary,
    "multi_news": _summary,
    "trec": _class,
    "triviaqa": _words,
    "samsum": _summary,
    "passage_count": _count,
    "passage_retrieval_en": _paragraph,
    "lcc": _similarity,
    "repobench-p": _similarity,
    "multifieldqa_zh": _chinese_words,
    "dureader": _chinese_summary,
    "vcsum": _chinese_summary,
    "lsht": _class,
    "passage_retrieval_zh": _paragraph,
}
"""The data sets of LongBench and how each is scored, 0 to 1."""

CODE = ("lcc", "repobench-p")
CHINESE = ("multifieldqa_zh", "dureader", "vcsum", "lsht", "passage_retrieval_zh")
LANGUAGES = {
    "english": tuple(name for name in METRICS if name not in CODE + CHINESE),
    "code": CODE,
    "chinese": CHINESE,
}
"""The data sets of each language."""


def require_libraries(names: Iterable[str]) -> None:
    """Refuse where a library is not installed with which one of the data sets is scored.

    Raises:
        NotAvailableError: With the command that installs it.
    """
    metrics = {METRICS[name] for name in names}
    if metrics & {_summary, _chinese_summary}:
        require_rouge()
    if metrics & {_chinese_words, _chinese_summary}:
        require_jieba()


def longbench_score(name: str, answer: str, golds: Sequence[str], classes: Sequence[str]) -> float:
    """The best score of an answer over the right ones.

    Args:
        name: The data set.
        answer: The answer.
        golds: The right answers.
        classes: The classes among which an answer is to choose; empty where there are none.
    """
    if name in _FIRST_LINE:
        answer = answer.lstrip("\n").split("\n")[0]
    return max((METRICS[name](answer, gold, classes) for gold in golds), default=0.0)
