"""RULER: whoever reads a prompt with care finds the answer in it, and no prompt could be longer."""

import json
import re
from collections import Counter

import pytest

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.tasks.ruler.documents import document_puzzle, read_documents
from moecap.tasks.ruler.needles import NEEDLES, needle_puzzle
from moecap.tasks.ruler.puzzle import Puzzle, largest_size
from moecap.tasks.ruler.task import ANSWER_TOKENS, Ruler

ESSAY = ("Some people think so. Others do not! Why is that? Nobody knows it well. " * 40).split()
LENGTH = 12000


@pytest.fixture(scope="module")
def made(byte_tokenizer):
    """Two questions of each task that needs no data, with their prompts."""
    from moecap.tasks.base import TaskOptions

    task = Ruler()
    arguments = {"tasks": "synthetic", "length": str(LENGTH), "samples": "2"}
    items = task.items(TaskOptions(None, None, arguments, lambda _line: None))
    return task, items, {item.id: task.text(item, byte_tokenizer) for item in items}


def _last_question(prompt):
    """The part after the solved example, where there is one."""
    return prompt[prompt.rindex("Below is a numbered list") :] if "Below is a numbered list" in prompt else prompt


def _solved(kind, prompt):
    """The answer, found in the text alone."""
    if kind.startswith("niah"):
        asked = re.search(r"for ([\w-]+(?:, (?:and )?[\w-]+)*) mentioned in the provided text\?", prompt)[1]
        keys = re.split(r", (?:and )?", asked)
        values = re.findall(r"One of the special magic \w+ for ([\w-]+) is: ([\w-]+)\.", prompt)
        return {value for key, value in values if key in keys}
    if kind == "vt":
        prompt = prompt[prompt.rindex("Memorize and track") :]
        wanted = {re.search(r"assigned the value (\d+) in the text", prompt)[1]}
        for new, old in re.findall(r"VAR (\w+) = (?:VAR )?(\w+)", prompt):
            if old in wanted:
                wanted.add(new)
        return {name for name in wanted if not name.isdecimal()}
    if kind == "cwe":
        words = re.findall(r"\d+\. ([\w'-]+)", _last_question(prompt))
        return {word for word, _ in Counter(words).most_common(10)}
    coded = re.search(r"coded words\. (.*)\nQuestion", prompt)[1].split()
    return {word for word, _ in Counter(coded).most_common(4)} - {"..."}


def test_the_answers_follow_from_the_prompts_alone(made):
    _, items, prompts = made
    assert len(items) == 12
    for item in items:
        assert _solved(item.about["kinds"][0], prompts[item.id]) == set(item.gold), item.id


def test_each_prompt_fits_and_one_unit_more_would_not(made, byte_tokenizer):
    task, items, prompts = made
    for item in items:
        kind, puzzle = item.about["kinds"][0], task._puzzles[item.id]
        room = LENGTH - ANSWER_TOKENS[kind]
        size = largest_size(puzzle, room, lambda text: len(byte_tokenizer.encode(text)), None)
        assert puzzle.prompt(size) == prompts[item.id]
        assert (
            len(byte_tokenizer.encode(prompts[item.id])) <= room < len(byte_tokenizer.encode(puzzle.prompt(size + 1)))
        )


def test_the_same_seed_gives_the_same_questions_and_another_gives_others(made, byte_tokenizer):
    from dataclasses import replace

    from moecap.backend import NATURAL
    from moecap.tasks.base import TaskOptions

    _, items, _ = made
    arguments = {"tasks": "synthetic", "length": str(LENGTH), "samples": "2"}
    same = Ruler().items(TaskOptions(None, None, arguments, print))
    other = Ruler().items(TaskOptions(None, None, arguments, print, sampling=replace(NATURAL, seed=1)))
    assert [item.gold for item in same] == [item.gold for item in items]
    assert all(a.gold != b.gold for a, b in zip(items, other, strict=True))


@pytest.mark.parametrize("name", NEEDLES)
def test_every_needle_is_hidden_once_in_a_haystack_of_its_kind(name):
    needle = NEEDLES[name]
    puzzle = needle_puzzle(needle, ESSAY, 0, name, 0)
    prompt = puzzle.prompt(200)
    assert len(puzzle.golds) == needle.asked * needle.each
    assert all(prompt.count(gold) == 1 for gold in puzzle.golds)
    assert _solved("niah", prompt) == set(puzzle.golds)
    hidden = len(re.findall("One of the special magic", prompt))
    assert hidden == needle.pairs * needle.each + (200 if needle.haystack == "needle" else 0)


def test_the_size_is_found_from_any_beginning():
    puzzle = Puzzle((), lambda size: "x" * (7 * size), least=2, most=90)
    for near in (None, 1, 3, 28, 29, 57, 80, 1000):
        assert largest_size(puzzle, 200, len, near) == 28
    assert largest_size(puzzle, 10_000, len, None) == 90
    with pytest.raises(BadInputError, match="too short for its question"):
        largest_size(puzzle, 13, len, None)


def test_questions_of_documents_are_read_in_their_published_formats(tmp_path):
    asked = {"question": "Where is Rome?", "answers": [{"text": "on the Tiber"}, {"text": "Tiber"}]}
    without = {"question": "Who?", "answers": [], "is_impossible": True}
    rome = [
        {"context": "Rome lies on the Tiber.", "qas": [asked | {"is_impossible": False}, without]},
        {"context": "Rome was not built in a day.", "qas": []},
    ]
    squad = {"data": [{"paragraphs": rome}, {"paragraphs": [{"context": "Oslo lies on a fjord.", "qas": []}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(squad))
    documents = read_documents("squad", tmp_path)
    assert len(documents.questions) == 1
    puzzle = document_puzzle(documents, 7, "seed")
    assert puzzle.golds == ("on the Tiber", "Tiber")
    assert "Rome lies" in puzzle.prompt(1)
    assert "not built" in puzzle.prompt(2)  # of the same article before any other
    assert "fjord" not in puzzle.prompt(2)
    assert puzzle.prompt(3).count("Document ") == 3
    hotpot = [{"question": "Q?", "answer": "A", "context": [["T", ["One. ", "Two."]], ["U", ["Three."]]]}]
    (tmp_path / "hotpotqa.json").write_text(json.dumps(hotpot))
    puzzle = document_puzzle(read_documents("hotpotqa", tmp_path), 0, "seed")
    assert (puzzle.golds, puzzle.least) == (("A",), 2)
    assert "T\nOne. Two." in puzzle.prompt(2)


def test_the_share_of_the_right_words_is_the_score_and_a_cut_answer_keeps_it(byte_tokenizer, options, answered):
    task = Ruler()
    items = task.items(options(None, tasks="vt,vt", length=3000, samples=1, max_tokens=99))
    assert [(item.id, item.output_tokens) for item in items] == [("vt/0", 30)]  # the authors' length of an answer
    three = ", ".join(name.lower() for name in items[0].gold[:3])
    (whole,) = answered(task, items, [three], byte_tokenizer)
    (cut,) = answered(task, items, [(three, "length")], byte_tokenizer)
    (failed,) = answered(task, items, [("", "failed")], byte_tokenizer)
    assert whole["scores"] == cut["scores"] == {"accuracy": 0.6, "vt": 0.6}
    assert (whole["outcome"], cut["outcome"], failed["outcome"]) == ("answered", "truncated", "failed")
    assert failed["scores"] == {"accuracy": 0, "vt": 0}


def test_what_cannot_be_made_is_refused(options, tmp_path):
    with pytest.raises(NotAvailableError, match=r"RULER needs PaulGrahamEssays\.json.*tasks=synthetic"):
        Ruler().items(options(5))
    with pytest.raises(UnknownNameError, match="did you mean 'niah_single_1'"):
        Ruler().items(options(5, tasks="niah_single1"))
    with pytest.raises(BadInputError, match="length=x: not a whole number from 1"):
        Ruler().items(options(5, tasks="vt", length="x"))
    (tmp_path / "PaulGrahamEssays.json").write_text('{"text": ""}')
    with pytest.raises(BadInputError, match="no text in it"):
        Ruler().items(options(5, data=tmp_path, tasks="niah_single_2"))
