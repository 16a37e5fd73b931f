"""Generated answers: which count, what stands apart, and that GSM8K's published solutions are right."""

import hashlib
from dataclasses import replace

import pytest

from moecap.backend import NATURAL
from moecap.data.gsm8k import gsm8k_examples, load_gsm8k
from moecap.errors import BadInputError, UnknownNameError
from moecap.observations.recorder import RequestRecord
from moecap.tasks.answers.number import stated_number
from moecap.tasks.base import TaskOptions, prompts_digest
from moecap.tasks.generative import GenerativeTask, Grade, OpenQuestion
from moecap.tasks.gsm8k import Gsm8k


class Letters:
    """A tokenizer whose tokens are the characters of a text, with a chat template and a token that begins a text."""

    def encode(self, text):
        return tuple(map(ord, text))

    def encode_prompt(self, text):
        return (1, *self.encode(text))

    def decode(self, tokens):
        return "".join(map(chr, tokens))

    chat_date = None

    def chat(self, messages):
        return "".join(f"<{role}>{content}" for role, content in messages) + "<model>"


class Sums(GenerativeTask):
    """Two questions."""

    name, title, metric, paper, source = "sums", "Sums", "accuracy", "none", "none"
    scores = ("accuracy", "near")

    def questions(self, options):
        made = [OpenQuestion(str(n), f"{n} + {n} =", str(2 * n), 8, ("\n",)) for n in range(2, 6)]
        return made[: options.limit]

    def grade(self, question, text):
        number = stated_number(text)
        if number is None:
            return Grade({"accuracy": 0, "near": 0}, None)
        gold = int(question.gold)
        return Grade({"accuracy": int(number == gold), "near": 1 / (1 + abs(float(number) - gold))}, str(number))


def _options(limit=None, context=None, output_len=None, **arguments):
    return TaskOptions(limit, None, arguments, lambda _line: None, 2, output_len, context)


def _sums(**options):
    task = Sums()
    items = task.items(_options(**options))
    return task, items, task.prompts(items, Letters())


def _ended(prompt, number, text, reason="stop", status="completed", tokens=3):
    record = RequestRecord(number, "load", prompt.id, 0, 0, len(prompt.tokens), prompt.output_tokens)
    record.status, record.finish_reason, record.text, record.output_tokens = status, reason, text, tokens
    return record


def _samples(*answers, **options):
    task, items, prompts = _sums(**options)
    records = [_ended(prompt, 7 + i, *answer) for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=False))]
    return list(task.samples(items, prompts, records, Letters()))


def test_an_answer_is_graded_up_to_its_stop_text_with_its_request():
    (sample,) = _samples((" 4\n3 + 3 = 6",))
    assert (sample["answer"], sample["extracted"], sample["outcome"]) == (" 4", "4", "answered")
    assert sample["scores"] == {"accuracy": 1, "near": 1.0}
    assert (sample["request"], sample["prompt"], sample["gold"], sample["id"]) == (7, "2 + 2 =", "4", "2")


def test_a_wrong_answer_keeps_its_share():
    (sample,) = _samples((" 7",))
    assert sample["scores"] == {"accuracy": 0, "near": 0.25}


@pytest.mark.parametrize(
    ("answer", "outcome", "extracted"),
    [
        ((" 4", "length"), "truncated", "4"),
        ((" 4", None, "completed", 8), "truncated", "4"),
        ((" 4", None, "failed"), "failed", None),
        ((" no idea",), "unanswered", None),
        (("",), "unanswered", None),
        (("<think>it is 4",), "unanswered", None),
        (("<think>it is 4</think> unsure",), "unanswered", None),
    ],
)
def test_what_is_no_whole_answer_counts_as_wrong_and_says_why(answer, outcome, extracted):
    (sample,) = _samples(answer)
    assert (sample["outcome"], sample["extracted"]) == (outcome, extracted)
    assert sample["scores"] == {"accuracy": 0, "near": 0}


def test_reasoning_before_the_answer_does_not_count_and_the_answer_does():
    (sample,) = _samples(("<think>perhaps 5</think> It is 4",))
    assert (sample["extracted"], sample["scores"]["accuracy"]) == ("4", 1)


def test_an_answer_in_token_ids_is_read_by_the_tokenizer():
    task, items, prompts = _sums(limit=1)
    record = _ended(prompts[0], 0, None)
    record.answer = tuple(map(ord, " 4"))
    (sample,) = task.samples(items, prompts, [record], Letters())
    assert sample["extracted"] == "4"


def test_a_request_that_has_not_ended_gives_no_sample():
    samples = _samples((" 4",), (" 6", None, "unfinished"), (" 8",))
    assert [sample["id"] for sample in samples] == ["2", "4"]


def test_questions_become_natural_requests_with_their_stop_texts_and_no_more_tokens_than_allowed():
    _, _, prompts = _sums(output_len=5)
    assert {(p.output_tokens, p.sampling.exact, p.sampling.stop) for p in prompts} == {(5, False, ("\n",))}
    assert {p.output_tokens for p in _sums(output_len=100)[2]} == {8}
    assert {p.output_tokens for p in _sums(max_tokens="100")[2]} == {100}
    assert {p.output_tokens for p in _sums(max_tokens="100", output_len=50)[2]} == {50}
    assert prompts[0].tokens == (1, *map(ord, "2 + 2 ="))
    assert NATURAL.needs == {"natural_end"}


def test_the_chat_template_is_applied_where_it_is_asked_for():
    task, items, prompts = _sums(chat="true", limit=1)
    assert Letters().decode(prompts[0].tokens) == "<user>2 + 2 =<model>"
    assert prompts[0].messages == (("user", "2 + 2 ="),)
    assert task.facts(items, Letters()).chat is True
    assert _sums(limit=1)[2][0].messages == ()


def test_a_prompt_that_the_model_does_not_hold_is_cut_on_the_left_and_its_sample_says_so():
    task, items, prompts = _sums(context=14, limit=2)
    assert [len(p.tokens) for p in prompts] == [6, 6]
    assert Letters().decode(prompts[0].tokens) == " + 2 ="
    (sample,) = task.samples(items[:1], prompts[:1], [_ended(prompts[0], 0, " 4")], Letters())
    assert sample["cut"] is True
    assert "cut" not in _samples((" 4",))[0]


def _shown(context):
    """What two solved examples and a question of ten letters become in a context, chat template applied."""

    class Talk(Sums):
        def questions(self, options):
            solved = (("user", "aa"), ("assistant", "AA"), ("user", "bb"), ("assistant", "BB"))
            return [OpenQuestion("1", "plain", "1", 8, messages=(*solved, ("user", "0123456789")))]

    task = Talk()
    items = task.items(_options(context=context, chat="true"))
    (prompt,) = task.prompts(items, Letters())
    text = Letters().decode(prompt.tokens)
    assert text == Letters().chat(prompt.messages)
    assert len(prompt.tokens) <= context - 8
    (sample,) = task.samples(items, [prompt], [_ended(prompt, 0, "1")], Letters())
    return text, sample.get("cut", False)


@pytest.mark.parametrize(
    ("context", "text", "cut"),
    [
        (73, "<user>aa<assistant>AA<user>bb<assistant>BB<user>0123456789<model>", False),  # 65 letters, 8 of the answer
        (72, "<user>bb<assistant>BB<user>0123456789<model>", True),
        (50, "<user>0123456789<model>", True),
        (28, "<user>3456789<model>", True),  # 20 letters
    ],
)
def test_a_conversation_that_the_model_does_not_hold_loses_examples_and_then_a_part_of_the_question(context, text, cut):
    assert _shown(context) == (text, cut)


def test_a_chat_template_that_leaves_no_room_for_a_question_is_refused():
    with pytest.raises(BadInputError, match="the model's chat template leaves no room for a question in 13 tokens"):
        _shown(21)


def test_a_context_without_room_for_the_question_is_refused():
    with pytest.raises(BadInputError, match="answers of 8 tokens leave no room for a question in the model's 8"):
        _sums(context=8)


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        ({"shots": "2"}, UnknownNameError, "no argument of task sums named 'shots'"),
        ({"chat": "perhaps"}, BadInputError, "chat=perhaps: not true or false"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, problem):
    with pytest.raises(error, match=problem):
        Sums().items(_options(**arguments))


def test_the_digest_of_prompts_is_that_of_their_bytes_with_a_zero_after_each():
    task, items, _ = _sums(limit=2)
    expected = hashlib.sha256(b"2 + 2 =\x003 + 3 =\x00").hexdigest()
    assert task.facts(items, Letters()).prompts_sha256 == prompts_digest(["2 + 2 =", "3 + 3 ="]) == expected


def test_gsm8k_has_1319_problems_whose_published_solutions_are_graded_right():
    task, problems = Gsm8k(), load_gsm8k()
    items = task.items(_options())
    assert len(problems) == len(items) == 1319
    for problem, item in zip(problems, items, strict=True):
        assert task.grade(item, problem.solution).scores == {"accuracy": 1}, problem
        assert task.grade(item, "The answer is 0.123.").scores == {"accuracy": 0}


def test_gsm8k_from_a_folder_without_examples_needs_no_package(tmp_path, monkeypatch):
    (tmp_path / "test.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    monkeypatch.setattr("moecap.data.gsm8k.fetch", lambda *_args, **_options: pytest.fail("the package is fetched"))
    task = Gsm8k()
    (item,) = task.items(replace(_options(shots="0"), data=tmp_path))
    assert task.facts([item], Letters()).source == f"{task.source}, in a folder of the user's"
    assert (item.prompt, item.gold) == ("Question: 1 + 1?\nAnswer:", "2")


def test_gsm8k_shows_as_many_solved_problems_as_asked_for():
    shown = gsm8k_examples()
    assert len(shown) == 8
    assert all(answer.rstrip(".").split()[-1].isdecimal() for _, answer in shown)
    task = Gsm8k()
    (item,) = task.items(_options(limit=1, shots="2"))
    assert item.prompt.count("Question: ") == 3
    assert item.prompt.endswith("\nAnswer:")
    assert [role for role, _ in item.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert task.shots == 2
    assert task.items(_options(limit=1, shots="8"))[0].prompt.count("Question: ") == 9
    with pytest.raises(BadInputError, match="shots=9: not a whole number from 0 to 8"):
        Gsm8k().items(_options(shots="9"))
