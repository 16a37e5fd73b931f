"""What a document has to teach: chunks, and the lessons of each objective."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.tasks.knowledge_module.texts import LABEL_SHARE, SUMMARISE, chunks, lessons


@given(length=st.integers(1, 300), tokens=st.integers(16, 90))
def test_chunks_hold_the_whole_document_and_overlap_by_a_tenth(byte_tokenizer, length, tokens):
    text = "".join(chr(97 + (i * i) % 23) for i in range(length))
    found = chunks(byte_tokenizer, text, tokens)
    overlap = int(0.1 * tokens)
    whole = byte_tokenizer.encode(text)
    assert found[0] + tuple(token for piece in found[1:] for token in piece[overlap:]) == whole
    assert all(before[-overlap:] == after[:overlap] for before, after in pairwise(found) if overlap)
    assert all(0 < len(piece) <= tokens for piece in found)


def _decoded(tokenizer, tokens):
    return tokenizer.decode(tokens)


def test_a_summary_is_read_after_the_chunk_by_the_teacher_and_without_it_by_the_student(byte_tokenizer, story):
    pieces = chunks(byte_tokenizer, story, 80)
    said = [[byte_tokenizer.encode(f"s{n}{i}") for i in range(2)] for n in range(len(pieces))]
    made = lessons("sdcd", byte_tokenizer, pieces, said, 64, 0)
    assert [_decoded(byte_tokenizer, m.target) for m in made] == [
        f"s{n}{i}" for n in range(len(pieces)) for i in (0, 1)
    ]
    for lesson in made:
        chunk = _decoded(byte_tokenizer, pieces[lesson.chunk])
        assert _decoded(byte_tokenizer, lesson.teacher) == f"{chunk}\n\n{SUMMARISE}\n"
        assert _decoded(byte_tokenizer, lesson.student) == f"{SUMMARISE}\n"


def test_the_end_of_a_window_follows_its_beginning_in_the_document(byte_tokenizer, story):
    pieces = chunks(byte_tokenizer, story, 120)
    made = lessons("ddcd", byte_tokenizer, pieces, [], 40, 3)
    assert made
    assert (
        made == lessons("ddcd", byte_tokenizer, pieces, [], 40, 3) != lessons("ddcd", byte_tokenizer, pieces, [], 40, 4)
    )
    for lesson in made:
        assert len(lesson.target) == int(LABEL_SHARE * 40) == 9
        assert len(lesson.teacher) + len(lesson.target) == 40
        assert lesson.student == lesson.teacher[-1:]
        assert _decoded(byte_tokenizer, lesson.teacher + lesson.target) in story


def test_the_language_model_learns_every_token_of_a_window_but_its_first(byte_tokenizer, story):
    made = lessons("lm", byte_tokenizer, chunks(byte_tokenizer, story, 500), [], 50, 0)
    assert "".join(_decoded(byte_tokenizer, m.student + m.target) for m in made) == story
    assert {(m.teacher, len(m.student)) for m in made} == {(None, 1)}


def test_a_paragraph_follows_its_summary(byte_tokenizer):
    (made,) = lessons(
        "pit", byte_tokenizer, [byte_tokenizer.encode("Geese.")], [[byte_tokenizer.encode("Birds")]], 9, 0
    )
    assert _decoded(byte_tokenizer, made.target) == "Summary:\nBirds\nDocument:\nGeese."
    assert made.teacher is None


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_document_of_a_few_tokens_gives_no_window_that_is_empty(byte_tokenizer, length):
    for objective in ("ddcd", "lm"):
        made = lessons(objective, byte_tokenizer, [byte_tokenizer.encode("abc"[:length])], [], 16, 0)
        assert all(m.target and m.student for m in made)
