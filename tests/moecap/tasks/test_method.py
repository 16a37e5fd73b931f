"""The frame of methods: tables go out with a run, come back checked, and give its metrics again."""

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.metrics.value import measured
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.observations.task_tables import column
from moecap.publishing.withholding import scored_by_samples
from moecap.report.markup import element
from moecap.report.section import Section
from moecap.tasks import method as frame
from moecap.tasks.method import MethodTask, PublishedFigure, method_metrics
from moecap.tasks.parts import Parts

COINS = pa.schema([column("throw", pa.int32(), "number of the throw"), column("heads", pa.bool_(), "whether heads")])


class Coins(MethodTask):
    """Throws of a coin."""

    name = "coins"
    title = metric = paper = source = "coins"
    requires = frozenset()
    arguments = ("throws", "bias")
    tables: ClassVar = {"throws": COINS}
    sizes: ClassVar = {"default": {"throws": "20", "bias": "0.5"}, "ci": {"throws": "2", "bias": "0.5"}}

    def items(self, options):
        return []

    def run(self, items, engine, tokenizer, recorder, done):
        yield from ()

    @classmethod
    def metrics(cls, tables, passes):
        throws = tables["throws"]
        if throws["throw"].duplicated().any():
            raise BadInputError("coins.throws.parquet: a throw comes twice")
        return {"heads": measured(throws["heads"].mean(), "1", len(throws))}

    def parts(self, options, tables):
        yield Parts.of_each("throws", throw=range(int(self.arguments_in_force(options)["throws"])))

    @classmethod
    def section(cls, tables, metrics):
        return Section("coins", "Coins", element("p", f"{metrics['heads'].value:.2f} of {len(tables['throws'])}"))

    @classmethod
    def contradiction(cls, tables, samples):
        return "" if len(samples) == len(tables["throws"]) else "there are more or fewer samples than throws"


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(frame, "load_plugin", lambda group, name: {"coins": Coins, "quiz": object}[name])
    monkeypatch.setattr(frame, "plugin_names", lambda group: ["coins", "quiz"])


def left(folder, **columns):
    recorder = Recorder()
    Coins().leave(recorder, "throws", {"throw": [0, 1, 2, 3], "heads": [True, False, True, True]} | columns)
    assert "coins.throws.parquet" in recorder.write(folder)
    return folder


def test_a_table_comes_back_as_it_was_left_and_gives_the_metrics(tmp_path, registered):
    tables = read_observations(left(tmp_path)).tables
    assert tables["coins"]["throws"]["heads"].tolist() == [True, False, True, True]
    (metric,) = method_metrics(tables, None).items()
    assert (metric[0], metric[1].value, metric[1].n) == ("task.coins_heads", 0.75, 4)
    described = pq.read_schema(tmp_path / "coins.throws.parquet").field("heads").metadata
    assert described == {b"description": b"whether heads"}


@pytest.mark.parametrize("columns", [{"more": [1]}, {"heads": [True, None, True, True]}])
def test_a_task_cannot_leave_other_columns_or_empty_entries(tmp_path, columns):
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        left(tmp_path, **columns)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"throw": [0, 0], "heads": [True, True]}, "comes twice"),
        ({"throw": [0, 1]}, "'heads' is not as the method coins declares it"),
        ({"throw": [0, 1], "heads": ["yes", "no"]}, "'heads' is not as"),
        ({"throw": [0, 1], "heads": [True, False], "odds": [0.5, 0.5]}, "'odds' is not as"),
        ({"throw": [0, None], "heads": [True, False]}, "column throw has an empty entry"),
        ({"throw": [[0], [1]], "heads": [True, False]}, "of type list"),
        ({"throw": [0.5, float("nan")], "heads": [True, False]}, "no finite number"),
        (None, "cannot be read as Parquet"),
    ],
)
def test_a_table_of_a_stranger_is_refused_in_one_line(tmp_path, registered, table, said):
    path = left(tmp_path) / "coins.throws.parquet"
    if table is None:
        path.write_bytes(b"PAR1 no PAR1")
    else:
        pq.write_table(pa.table(table), path)
    with pytest.raises(BadInputError, match=said) as raised:
        method_metrics(read_observations(tmp_path).tables, None)
    assert str(raised.value).startswith("coins.throws.parquet") and "\n" not in str(raised.value)


def test_a_table_of_no_method_is_refused(tmp_path, registered):
    (left(tmp_path) / "coins.throws.parquet").rename(tmp_path / "quiz.throws.parquet")
    with pytest.raises(BadInputError, match=r"quiz\.throws\.parquet: no method 'quiz'"):
        method_metrics(read_observations(tmp_path).tables, None)


def test_what_breaks_the_method_is_bad_input(registered, monkeypatch):
    monkeypatch.setattr(Coins, "metrics", classmethod(lambda cls, tables, passes: 1 / 0))
    frame_ = pa.table({"throw": np.arange(2, dtype=np.int32), "heads": [True, False]}).to_pandas()
    with pytest.raises(BadInputError, match=r"coins\.throws\.parquet: .*ZeroDivisionError"):
        method_metrics({"coins": {"throws": frame_}}, None)


def test_the_arguments_of_a_size_go_under_those_of_the_user(options):
    assert Coins().arguments_in_force(options()) == {"throws": "20", "bias": "0.5"}
    assert Coins().arguments_in_force(options(size="ci", bias="0.9")) == {"throws": "2", "bias": "0.9"}
    with pytest.raises(UnknownNameError, match="size of coins"):
        Coins().arguments_in_force(options(size="huge"))
    with pytest.raises(UnknownNameError, match="argument of task coins"):
        Coins().arguments_in_force(options(coins="2"))


def test_metrics_of_a_method_do_not_rest_on_samples(registered):
    assert not scored_by_samples("task.coins_heads")
    assert scored_by_samples("task.quiz_f1") and scored_by_samples("accuracy.coins")
    assert not scored_by_samples("ttft.p50")


def test_a_figure_says_how_it_is_known():
    figure = {
        "metric": "accuracy",
        "setting": "k = 10",
        "value": 1,
        "unit": "%",
        "source": "table 1",
        "mark": "hearsay",
    }
    with pytest.raises(ValueError, match="mark"):
        PublishedFigure(**figure)


def test_a_method_scores_no_predictions_unless_it_says_so(tmp_path):
    with pytest.raises(NotAvailableError, match="moecap run --task coins"):
        Coins().score(None, tmp_path / "predictions.jsonl", None)
