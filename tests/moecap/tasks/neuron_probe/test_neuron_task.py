"""The method as a task: vectors from a file are probed, tables are left, and its numbers follow from them."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from scipy.stats import t as student

from moecap.errors import BadInputError, MoecapError, NotAvailableError, UnknownNameError
from moecap.metrics.accuracy import wilson
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskOptions, load_task
from moecap.tasks.method import method_metrics, method_tables
from moecap.tasks.neuron_probe.task import NeuronProbe

D, K, PER_LANGUAGE = 30, 5, 240
PLANTED = {"es": (1, 2), "it": (1, 2), "de": (20, 21)}
"""Units that tell the number in each language; Spanish and Italian share theirs."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Vectors of words whose number stands in two units of their language, and whose case stands nowhere."""
    folder = tmp_path_factory.mktemp("states")
    random = np.random.default_rng(0)
    rows, vectors = [], []
    for language, units in PLANTED.items():
        for i in range(PER_LANGUAGE):
            vector = random.normal(size=D)
            number = "SG" if vector[list(units)].sum() > 0 else "PL"
            feats = {"Number": number, "Case": str(random.choice(["NOM", "ACC"])), "Mood": "IND" if i % 50 else "IMP"}
            rows.append(
                {"id": f"{language}{i}", "lang": language, "form": f"w{i}", "lemma": f"l{i // 2}", "feats": feats}
                | {"row": len(rows)}
            )
            vectors.append(vector)
    order = random.permutation(len(rows))
    np.savez(folder / "states.npz", X=np.array(vectors, np.float32))
    (folder / "words.jsonl").write_text("\n".join(json.dumps(rows[i]) for i in order))  # row, not place, is what counts
    return folder


def options(files, limit=None, **arguments):
    given = {"states": str(files / "states.npz"), "k": str(K), "least": "5", "seeds": "2"}
    return TaskOptions(
        limit, files / "words.jsonl", {**given, "size": "gpu", "epochs": "60", **arguments}, lambda _: None
    )


def ran(folder, chosen):
    task, recorder, told = load_task("neuron_probe"), Recorder(), []
    items = task.items(chosen)
    samples = list(task.run(items, None, None, recorder, told.append))
    assert told == sorted(told)
    assert told[-1] == len(items)
    folder.mkdir(exist_ok=True)
    recorder.write(folder)
    return samples, read_observations(folder).tables, task


@pytest.fixture(scope="module")
def small(files, tmp_path_factory):
    return ran(tmp_path_factory.mktemp("small") / "run", options(files, batch="64", rate="0.03", patience="0"))


def own(tables):
    ((_, found),) = method_tables(tables)
    return dict(found)


def test_units_that_tell_the_number_are_found_and_shared_where_they_are_the_same(small):
    tables, metrics = own(small[1]), method_metrics(small[1], None)
    selected = tables["selected"]
    for language, units in PLANTED.items():
        for seed in (0, 1):
            of = selected[(selected["language"] == language) & (selected["attribute"] == "Number")]
            first = of[(of["seed"] == seed) & (of["rank"] <= 2)]
            assert set(first["unit"]) == set(units)
        assert metrics[f"task.neuron_probe_{language}_number_acc"].value > 0.85
        assert metrics[f"task.neuron_probe_{language}_number_nmi"].value > 0.4
        assert metrics[f"task.neuron_probe_{language}_case_nmi"].value < 0.15
    same, other = (metrics[f"task.neuron_probe_number_overlap_{genus}_genus"].value for genus in ("same", "other"))
    assert same >= 0.4 > other
    assert metrics["task.neuron_probe_overlap_chance"].value == pytest.approx(K / D)


def test_what_cannot_be_probed_is_said_with_its_reason(small, files):
    skipped = own(small[1])["skipped"]
    assert set(skipped["attribute"]) == {"Mood"}
    assert skipped["reason"].iloc[0] == "1 value has 5 words in each split; two are needed"
    lines = []
    chosen = options(files)
    load_task("neuron_probe").items(TaskOptions(None, chosen.data, chosen.arguments, lines.append))
    assert "Mood of de is not probed: 1 value has 5 words in each split; two are needed" in lines


def test_two_runs_give_the_same_tables_but_for_times(small, files, tmp_path):
    samples, tables, _ = ran(tmp_path / "again", options(files, batch="64", rate="0.03", patience="0"))
    assert samples == small[0]
    for name, table in own(tables).items():
        times = [column for column in table if column.endswith("seconds")]
        pd.testing.assert_frame_equal(table.drop(columns=times), own(small[1])[name].drop(columns=times))


def test_metrics_are_shares_and_bits_counted_by_hand(small):
    tables, metrics = own(small[1]), method_metrics(small[1], None)
    answers, values, selected = tables["answers"], tables["values"], tables["selected"]
    shares, told = [], []
    for seed in (0, 1):
        mine = [
            t[(t["language"] == "es") & (t["attribute"] == "Number") & (t["seed"] == seed)] for t in (answers, values)
        ]
        counts = mine[1][mine[1]["split"] == "test"]["n"].to_numpy()
        shares.append((mine[0]["gold"] == mine[0]["answer"]).mean())
        p = counts / counts.sum()
        entropy = -(p * np.log2(p)).sum()
        of = selected[(selected["language"] == "es") & (selected["attribute"] == "Number") & (selected["seed"] == seed)]
        told.append(1 - of["test_bits"].iloc[-1] / counts.sum() / entropy)
    assert metrics["task.neuron_probe_es_number_acc"].value == pytest.approx(np.mean(shares))
    assert metrics["task.neuron_probe_es_number_acc"].n == 2
    assert metrics["task.neuron_probe_es_number_nmi"].value == pytest.approx(np.mean(told))


def test_samples_are_of_the_first_seed_and_follow_from_the_tables(small):
    samples, tables, _ = small
    assert NeuronProbe.contradiction(own(tables), samples) == ""
    answers = own(tables)["answers"]
    assert len(samples) == (answers["seed"] == 0).sum()
    forged = [samples[0] | {"scores": {"accuracy": 1 - samples[0]["scores"]["accuracy"]}}, *samples[1:]]
    assert samples[0]["id"] in NeuronProbe.contradiction(own(tables), forged)


def test_a_limit_is_of_each_language_and_attribute_and_leaves_the_tables_whole(files):
    task = load_task("neuron_probe")
    items = task.items(options(files, limit=3))
    assert len(items) == 3 * 6  # three languages, number and case
    assert task.limited
    form = task.words[items[0].word].form
    assert task.restated(items[0], {}) == {"prompt": form, "word": form, "gold": items[0].gold}
    assert items[0].id.startswith(task.words[items[0].word].id)


def test_the_report_has_a_chart_for_each_attribute(small):
    tables = own(small[1])
    metrics = {n.removeprefix("task.neuron_probe_"): m for n, m in method_metrics(small[1], None).items()}
    section = NeuronProbe.section(tables, metrics)
    assert [chart.label[-4:] for chart in section.charts] == ["Case", "mber"]
    json.dumps([chart.data for chart in section.charts], allow_nan=False)
    body = str(section.body)
    assert "5 of 30 numbers of the given vectors selected" in body
    assert repr(metrics["es_number_acc"].value) in body
    assert "What was not probed" in body
    shared = metrics["number_overlap"]
    assert f"share {shared.value:.3f} ({shared.low:.3f} to {shared.high:.3f} over the splits)" in body
    z = np.array(section.charts[1].data[0]["z"], float)
    assert np.array_equal(z, z.T, equal_nan=True)
    assert NeuronProbe.section({name: table.iloc[:0] for name, table in tables.items()}, {}) is None


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("setting", {"units": 4}, r"neuron_probe\.setting\.parquet: column selected is 5"),
        ("setting", {"layers": 7}, "column layers is 7"),
        ("setting", {"unit": "soul"}, "column unit is 'soul'"),
        ("values", {"value": "<b>"}, "column value of .* is '<b>'"),
        ("values", {"language": "<b>"}, r"neuron_probe\.(values|selected)\.parquet"),
        ("values", {"split": "more"}, "column split of .* is 'more'"),
        ("values", {"n": 0}, "does not have two or more values with words in each split"),
        ("selected", {"rank": 2}, "column rank of .* does not count from 1 to 5"),
        ("selected", {"unit": 30}, "column unit of .* is not of 5 different ones of 30"),
        ("selected", {"test_right": 1000}, "does not fit"),
        ("selected", {"dev_bits": -1.0}, "column dev_bits of .* is below 0"),
        ("selected", {"attribute": "Mood"}, "column rank|which the table of values does not have"),
        ("controls", {"kind": "random"}, "are not one of all units and some of random ones"),
        ("answers", {"item": "es1"}, r"neuron_probe\.answers\.parquet"),
        ("answers", {"answer": "DU"}, "not of its test words"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(small, table, change, words):
    tables = {name: frame.copy() for name, frame in own(small[1]).items()}
    if "item" in change:
        change = {"item": tables["answers"].loc[1, "item"]}
    for column, value in change.items():
        tables[table].loc[0, column] = value
    with pytest.raises(BadInputError, match=words):
        method_metrics({"neuron_probe": tables}, None)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"unit": "soul"}, BadInputError, "--task-arg unit=soul: not neuron, expert or chosen"),
        ({"unit": "expert", "layer": "3"}, BadInputError, "experts are taken from all layers"),
        ({"layer": "-1"}, BadInputError, "--task-arg layer=-1: give last, all or a layer's number"),
        ({"masks": "1"}, BadInputError, "--task-arg masks=1: not a whole number from 2"),
        ({"rate": "nan"}, BadInputError, "--task-arg rate=nan: give a number from 0 on"),
        ({"scheme": "binomial"}, BadInputError, "--task-arg scheme=binomial: not poisson or conditional"),
        ({"k": "1001"}, BadInputError, "--task-arg k=1001: not a whole number from 1 to 1000"),
        ({"languages": "es"}, BadInputError, "words of es alone: the overlap is of two languages"),
        ({"states": "x.npz"}, MoecapError, "x.npz cannot be read"),
        ({"size": "huge"}, UnknownNameError, "no size of neuron_probe named 'huge'"),
        ({"attributes": "Voice", "count": "30"}, BadInputError, "no attribute can be probed, such as Voice"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_starts(files, arguments, error, words):
    given = {"size": "ci"} | arguments
    with pytest.raises(error, match=words):
        load_task("neuron_probe").items(TaskOptions(None, None, given, lambda _: None))


def test_states_that_do_not_fit_are_refused(files):
    with pytest.raises(BadInputError, match="--task-arg k=31: a word's vector has 30 units; select fewer"):
        load_task("neuron_probe").items(options(files, k="31"))
    wide = files / "wide.npz"
    np.savez(wide, X=np.ones((2, 4097), np.float32))
    with pytest.raises(BadInputError, match="--task-arg scheme=conditional takes 4096 units at most, not 4097"):
        load_task("neuron_probe").items(options(files, states=str(wide), scheme="conditional"))
    with pytest.raises(BadInputError, match="needs the words of its rows: --data"):
        chosen = options(files)
        load_task("neuron_probe").items(TaskOptions(None, None, chosen.arguments, lambda _: None))
    with pytest.raises(BadInputError, match="brings its own vectors; leave unit and layer out"):
        load_task("neuron_probe").items(options(files, unit="expert"))
    task = load_task("neuron_probe")
    assert task.needs({"states": "x"}) == frozenset()
    assert task.needs({}) == {"hidden_states"}


def scored(path, lines, **arguments):
    path.write_text("\n".join(json.dumps(line) for line in lines))
    chosen = TaskOptions(None, None, {"dim": "40", "k": "3", **arguments}, lambda _: None)
    return load_task("neuron_probe").score(chosen, path, None)


def test_selections_that_were_made_elsewhere_are_scored(tmp_path):
    lines = [
        {"lang": language, "attribute": "Case", "dims": dims}
        for language, dims in (("fi", [1, 2, 3]), ("et", [3, 2, 1]), ("hu", [1, 30, 31]))
    ]
    samples, metrics = scored(tmp_path / "sel.jsonl", lines)
    by_id = {sample["id"]: sample for sample in samples}
    assert by_id["et-fi-Case"]["overlap"] == 1
    assert by_id["et-fi-Case"]["probability"] == pytest.approx(hypergeom.sf(2, 40, 3, 3))
    assert by_id["fi-hu-Case"]["shared"] == 1
    assert metrics["case_overlap"].value == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert metrics["significant"].value == pytest.approx(1 / 3)
    assert metrics["overlap_same_genus"].value == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dims": [1, 2, 2]}, "line 2: dim 2 comes twice"),
        ({"dims": [1, 2, 40]}, "line 2: dims are not whole numbers from 0 to 39"),
        ({"dims": [1, 2]}, "line 2: 2 dims in place of 3"),
        ({"dims": "1 2 3"}, "line 2: dims are not"),
        ({"lang": "<b>"}, "line 2: no lang"),
        ({"lang": "fi"}, "line 2: a second line for Case of 'fi'"),
        ({"attribute": "Number"}, "no attribute of two languages"),
        ({"seed": -1}, "line 2: seed -1"),
    ],
)
def test_a_line_of_selections_that_is_wrong_is_named(tmp_path, change, words):
    line = {"lang": "fi", "attribute": "Case", "dims": [1, 2, 3]}
    with pytest.raises(BadInputError, match=words):
        scored(tmp_path / "sel.jsonl", [line, line | {"lang": "et"} | change])


def test_selections_need_the_number_of_units(tmp_path):
    with pytest.raises(BadInputError, match="--task-arg dim=D"):
        load_task("neuron_probe").score(TaskOptions(None, None, {}, lambda _: None), tmp_path, None)
    with pytest.raises(BadInputError, match="--task-arg dim=2: 3 units cannot be selected of so few"):
        scored(tmp_path / "sel.jsonl", [], dim="2")
    with pytest.raises(BadInputError, match="no such file"):
        chosen = TaskOptions(None, None, {"dim": "60"}, lambda _: None)
        load_task("neuron_probe").score(chosen, tmp_path / "none", None)


def test_no_language_attribute_seed_or_random_draw_can_be_left_out(small, files, unseen):
    asked = options(files, languages="de,es,it", attributes="Case,Mood,Number")
    assert unseen(load_task("neuron_probe"), asked, own(small[1]), "language", "attribute", "seed", "draw") == []


def test_data_of_the_users_own_have_all_their_languages_and_attributes(files):
    """The languages and attributes of a size are those of the packaged verb forms."""
    task = load_task("neuron_probe")
    task.items(options(files, size="default"))
    assert {cell.language for cell in task.cells} == {"de", "es", "it"}
    assert {cell.attribute for cell in task.cells} == {"Case", "Number"}
    with pytest.raises(NotAvailableError, match="holds no word of language 'pt'; it has"):
        task.items(options(files, languages="es,pt"))


def test_words_of_a_lemma_count_as_alike_where_there_is_one_seed(small):
    tables = {name: table[table["seed"] == 0] if "seed" in table else table for name, table in own(small[1]).items()}
    metric = method_metrics({"neuron_probe": tables}, None)["task.neuron_probe_es_number_acc"]
    answers = tables["answers"].query("language == 'es' and attribute == 'Number'")
    right = answers["gold"] == answers["answer"]
    p, lemmas = right.mean(), right.groupby(answers["lemma"])
    assert lemmas.size().tolist() == [2] * lemmas.ngroups  # two words a lemma
    beyond = lemmas.sum() - lemmas.size() * p
    g, n = lemmas.ngroups, len(right)
    n = min(n, p * (1 - p) / (g / (g - 1) * (beyond**2).sum() / n**2))
    assert (metric.low, metric.high) == pytest.approx(wilson(n * p, n, student.ppf(0.975, g - 1)))


def test_languages_whose_names_differ_by_a_sign_alone_are_two(small):
    tables = {
        name: table.assign(language=table["language"].replace({"es": "pt-br", "it": "pt_br"}))
        if "language" in table
        else table
        for name, table in own(small[1]).items()
    }
    metrics = method_metrics({"neuron_probe": tables}, None)
    found = [name for name in metrics if name.startswith("task.neuron_probe_pt_br_number_") and name.endswith("_acc")]
    assert len(found) == 2
    before = method_metrics(small[1], None)
    values = {before[f"task.neuron_probe_{language}_number_acc"].value for language in ("es", "it")}
    assert {metrics[name].value for name in found} == values
    section = NeuronProbe.section(tables, {n.removeprefix("task.neuron_probe_"): m for n, m in metrics.items()})
    assert all(repr(value) in str(section.body) for value in values)
