"""Multiple choice: scores, the split of prompt and answer, and the registry of tasks."""

import pytest

from moecap.backend import Scored
from moecap.errors import NotAvailableError, RunError, UnknownNameError
from moecap.observations.recorder import Recorder
from moecap.tasks.arc import ArcEasy
from moecap.tasks.base import TaskOptions, load_task, refuse_mismatch
from moecap.tasks.multiple_choice import (
    Question,
    choice_lengths,
    choice_scores,
    continuation,
    run_multiple_choice,
)
from moecap.tokenizer import Tokenizer, exact_length_prompts


def test_the_likelier_answer_wins_and_length_is_normalised_per_character():
    scores = choice_scores([-4.0, -6.0], [" no", " certainly"], gold=1)
    assert scores == {"accuracy": 0, "norm": 1}  # -4/2 against -6/9


def test_the_first_of_equal_answers_wins():
    assert choice_scores([-1.0, -1.0], [" a", " b"], gold=0)["accuracy"] == 1


@pytest.fixture
def tokenizer(tmp_path):
    from tokenizers import Tokenizer as Raw
    from tokenizers import decoders, models, pre_tokenizers

    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary["Ġy"] = len(vocabulary)
    raw = Raw(models.BPE(vocabulary, [("Ġ", "y")]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.save(str(tmp_path / "tokenizer.json"))
    return Tokenizer(tmp_path)


def test_prompt_and_answer_are_encoded_together_and_split_where_the_prompt_ends(tokenizer):
    pair = continuation(tokenizer, "q", "Answer:", " yes")
    assert tokenizer.decode(pair.context) == "Answer:"
    assert tokenizer.decode(pair.target) == " yes"
    assert len(pair.target) == 3  # " y" is one token


class LongestFirst:
    """An engine that counts how it is asked and can be interrupted."""

    def __init__(self, interrupted_at=None):
        self.asked, self.interrupted_at = [], interrupted_at

    def score(self, continuations, recorder, done):
        if len(self.asked) == self.interrupted_at:
            raise KeyboardInterrupt
        self.asked.append(len(continuations))
        done(len(continuations))
        return [Scored(-float(len(c.target)), False) for c in continuations]


def _questions(count):
    return [Question(str(i), "Answer:", (" yes", " certainly not"), 0) for i in range(count)]


def test_a_sequence_begins_as_the_tokenizer_begins_one(byte_tokenizer, tmp_path):
    from tokenizers import Tokenizer as Raw
    from tokenizers.processors import TemplateProcessing

    raw = Raw.from_file(str(byte_tokenizer.folder / "tokenizer.json"))
    raw.add_special_tokens(["<s>"])
    begin = raw.token_to_id("<s>")
    raw.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    raw.save(str(tmp_path / "tokenizer.json"))
    made = continuation(Tokenizer(tmp_path), "q", "Two and two is", " four")
    plain = continuation(byte_tokenizer, "q", "Two and two is", " four")
    assert (made.context, made.target) == ((begin, *plain.context), plain.target)
    assert byte_tokenizer.decode(plain.target) == " four"


def test_an_interruption_loses_no_group_of_questions_that_was_scored(tokenizer):
    engine, samples = LongestFirst(interrupted_at=2), []
    with pytest.raises(KeyboardInterrupt):
        samples.extend(run_multiple_choice("t", _questions(100), engine, tokenizer, Recorder(), lambda _n: None))
    assert engine.asked == [64, 64]
    assert [s["id"] for s in samples] == [str(i) for i in range(64)]


def test_every_question_is_scored_once_and_progress_counts_questions(tokenizer):
    heard, engine = [], LongestFirst()
    samples = list(run_multiple_choice("t", _questions(70), engine, tokenizer, Recorder(), heard.append))
    assert [s["id"] for s in samples] == [str(i) for i in range(70)]
    assert heard == [32, 64, 70]
    assert {s["answer"] for s in samples} == {" yes"}


def test_the_length_of_a_question_is_that_of_its_longest_answer_but_for_the_last_token(tokenizer):
    longest = len(b"Answer: certainly not") - 1  # this tokenizer has one token a byte, but for " y"
    assert list(choice_lengths(_questions(2), tokenizer)) == [("0", longest), ("1", longest)]


def test_prompts_have_exactly_the_length_and_share_no_text(tokenizer):
    texts = [f"text number {i} of many" for i in range(40)]
    prompts = exact_length_prompts(tokenizer, texts, 5, 40)
    assert [len(p) for p in prompts] == [40] * 5
    assert len({p[:20] for p in prompts}) == 5


def test_a_task_that_a_backend_cannot_serve_is_refused_with_those_that_can():
    class Blind:
        name = "blind"
        capabilities = frozenset({"generate"})

    with pytest.raises(NotAvailableError, match=r"needs prompt_logprobs, which backend 'blind' lacks; .*transformers"):
        refuse_mismatch(ArcEasy(), Blind)


def test_unknown_tasks_and_task_arguments_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'arc_easy'"):
        load_task("arc_eazy")
    with pytest.raises(UnknownNameError, match="shots"):
        ArcEasy().items(TaskOptions(1, None, {"shots": "5"}, lambda _line: None))


@pytest.mark.parametrize("likelihood", [float("nan"), float("-inf")])
def test_a_likelihood_that_is_no_number_ends_the_run_and_picks_no_answer(likelihood):
    with pytest.raises(RunError, match=r"gives (nan|-inf) as the log-likelihood of an answer.*another --precision"):
        Scored(likelihood, False)
