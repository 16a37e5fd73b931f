# ruff: noqa: RUF001  (Chinese has marks that look like others)
"""LongBench's Chinese data sets: scores by hand, and those of another implementation."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import lm_eval.tasks
import pytest

from moecap.tasks.answers.chinese import _PUNCTUATION
from moecap.tasks.answers.longbench import longbench_score


@pytest.fixture
def theirs(monkeypatch):
    """LongBench's metrics as lm-eval has them."""
    monkeypatch.setitem(sys.modules, "fuzzywuzzy", SimpleNamespace(fuzz=None))  # imported for what is not asked here
    path = Path(lm_eval.tasks.__file__).parent / "longbench" / "metrics.py"
    spec = importlib.util.spec_from_file_location("longbench_metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "answer", "golds", "score"),
    [
        # jieba cuts 我来到北京清华大学 into 我, 来到, 北京, 清华大学
        ("multifieldqa_zh", "我来到北京清华大学。", ["我来到北京清华大学"], 1.0),
        ("multifieldqa_zh", "我来到清华大学", ["我来到北京清华大学"], 2 * 3 / (3 + 4)),
        ("multifieldqa_zh", "《》！", ["北京"], 0.0),
        ("multifieldqa_zh", "ABC 公司", ["abc公司"], 1.0),
        ("dureader", "我来到北京清华大学", ["我来到清华大学"], pytest.approx(2 * 3 / (3 + 4), abs=1e-6)),
        ("vcsum", "", ["我来到清华大学"], 0.0),
        ("lsht", "\n科技\n体育", ["科技"], 1.0),
        ("lsht", "科技和体育", ["体育"], 0.5),
        ("passage_retrieval_zh", "段落7", ["段落7"], 1.0),
        ("passage_retrieval_zh", "段落7或段落8", ["段落8"], 0.5),
        ("passage_retrieval_zh", "段落17", ["段落7"], 0.0),
    ],
)
def test_scores_of_chinese_answers_by_hand(name, answer, golds, score):
    assert longbench_score(name, answer, golds, ("科技", "体育", "财经")) == score


CHINESE = (
    "小明硕士毕业于中国科学院计算所，后在日本京都大学深造！",
    "北京的“故宫”——建于1420年；（明朝）",
    "Apple公司在2024年《发布》了iPhone 16…",
    "段落12、段落3",
    "他来到了网易杭研大厦\n财经 体育",
    " 。，、 ",
)


def test_scores_are_those_of_lm_evals_copy_of_longbench(theirs):
    for answer in CHINESE:
        for gold in CHINESE:
            ours = [longbench_score(name, answer, [gold], ()) for name in ("multifieldqa_zh", "dureader")]
            wanted = [theirs.qa_f1_zh_score(answer, gold), theirs.rouge_zh_score(answer, gold)]
            assert ours == pytest.approx(wanted, abs=1e-12), (answer, gold)


def test_the_marks_that_are_no_part_of_a_word_are_those_of_longbench(theirs):
    letters = [chr(point) for point in range(0x10000) if not chr(point).isspace()]
    assert {ord(letter) for letter in letters if not theirs.normalize_zh_answer(letter)} == set(_PUNCTUATION)
