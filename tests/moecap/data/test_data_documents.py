"""Documents with questions: QASPER's papers out of the package, and QuALITY's published format."""

import gzip
import json
from collections import Counter

import pytest

from moecap.data.qasper import load_qasper
from moecap.data.quality import load_quality
from moecap.data.sets import fetch_data_set
from moecap.errors import BadInputError, NotAvailableError


def _article(**changes):
    question = {"question": " Who? ", "question_unique_id": "q1", "options": ["a", "b", "c", "d"], "gold_label": 4}
    return {"article_id": "7", "title": "T", "article": "Text.", "questions": [question | changes]}


def _written(folder, *rows, name="QuALITY.v1.0.1.htmlstripped.dev"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_qasper_has_its_papers_once_with_all_their_questions():
    papers = load_qasper()
    questions = [question for paper in papers for question in paper.questions]
    assert (len(papers), len(questions)) == (260, 319)
    path = fetch_data_set("qasper_yesno")["train"]
    with gzip.open(path, "rt", encoding="utf-8") as file:
        docs = {doc["question_id"]: doc for doc in (json.loads(line)["doc"] for line in file)}
    assert {q.id: q.choices[q.answer_index] for q in questions} == {key: doc["answer"] for key, doc in docs.items()}
    assert Counter(q.choices[q.answer_index] for q in questions) == {"Yes": 215, "No": 104}
    one = next(paper for paper in papers if paper.id == "1809.08652")
    assert one.text.startswith(
        "Mind Your Language: Abuse and Offense Detection for Code-Switched Languages\n\nIn multi"
    )
    assert len(one.questions) == 3


def test_a_row_of_qasper_from_a_folder_is_named_where_it_is_wrong(tmp_path):
    row = {
        "id": "1.2_0",
        "title": "T",
        "abstract": "A",
        "full_text": {"section_name": ["S", None], "paragraphs": [["p", "q"], ["r"]]},
        "question": "Is it?",
        "question_id": "x",
        "answer": "Yes",
    }
    _written(tmp_path, row, name="train.jsonl")
    (paper,) = load_qasper(tmp_path)
    assert (paper.id, paper.text) == ("1.2", "T\n\nA\n\nS\np\nq\n\nr")
    _written(tmp_path, row, {**row, "answer": "Maybe"}, name="train.jsonl")
    with pytest.raises(BadInputError, match=r"train\.jsonl, line 2: not a question of QASPER"):
        load_qasper(tmp_path)


def test_an_article_of_quality_keeps_the_questions_of_all_its_lines(tmp_path):
    path = _written(tmp_path, _article(), _article(question_unique_id="q2", gold_label=1))
    for place in (path, tmp_path):
        (article,) = load_quality(place)
        assert article.text == "T\n\nText."
        assert [(q.id, q.question, q.answer_index) for q in article.questions] == [("q1", "Who?", 3), ("q2", "Who?", 0)]


def test_the_file_without_html_is_taken(tmp_path):
    _written(tmp_path, {**_article(), "article": "<p>"}, name="QuALITY.v1.0.1.dev")
    _written(tmp_path, _article())
    assert load_quality(tmp_path)[0].text == "T\n\nText."
    with pytest.raises(NotAvailableError, match="no train split of QuALITY"):
        load_quality(tmp_path, "train")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (_article(gold_label=5), "answer 4 of 4 choices"),
        (_article(gold_label="1"), "not an article"),
        (_article(options=["a", "b"]), "four options"),
        (_article(question=None), "four options"),
        ({**_article(), "article": " "}, "must be text"),
        ({"article_id": 1}, "no 'title'"),
        (_article(), "stands there twice"),
        ({**_article(question_unique_id="q2"), "article": "Other."}, "another text than before"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path, row, told):
    path = _written(tmp_path, _article(), row)
    with pytest.raises(BadInputError, match=rf"{path}, line 2: .*{told}"):
        load_quality(path)
