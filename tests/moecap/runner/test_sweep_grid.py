"""What the lists of a file multiply to, and what is refused in it."""

import itertools

import pytest

from moecap.errors import BadInputError
from moecap.sweep.grid import read_sweep


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "s.yaml"
        path.write_text(text)
        return path

    return write


def test_lists_multiply_with_the_last_one_fastest(file):
    sweep = read_sweep(file("model: mixtral\nnum-requests: 64\ngrid:\n  hw: [a100, h100]\n  concurrency: [1, 8, 32]\n"))
    assert [(c.config.hw, c.config.concurrency) for c in sweep.cells] == list(
        itertools.product(["a100", "h100"], [1, 8, 32])
    )
    assert [c.number for c in sweep.cells] == [1, 2, 3, 4, 5, 6]
    assert {(c.config.model, c.config.num_requests) for c in sweep.cells} == {("mixtral", 64)}
    assert sweep.axes == ("hw", "concurrency")
    assert str(sweep.folder) == "runs/sweep-s"


def test_names_with_commas_change_together_and_names_with_dots_are_nested(file):
    text = (
        "output: elsewhere\ncost: {years: 3}\ngrid:\n  input_len, output_len: [[128, 32], [16, 64]]\n"
        "  cost.usd_per_hour: [1.5]\n  engine_arg: [[], [a=1, b=2]]\n"
    )
    sweep = read_sweep(file(text))
    assert [(c.config.input_len, c.config.output_len) for c in sweep.cells] == [(128, 32)] * 2 + [(16, 64)] * 2
    assert [c.config.engine_arg for c in sweep.cells] == [(), ("a=1", "b=2")] * 2
    assert {(c.config.cost.years, c.config.cost.usd_per_hour) for c in sweep.cells} == {(3, 1.5)}
    assert str(sweep.folder) == "elsewhere"


def test_what_is_excluded_is_left_out_and_the_others_keep_their_names(file):
    grid = "grid:\n  hw: [a100, l40s]\n  concurrency: [1, 4]\n"
    whole = read_sweep(file(grid))
    part = read_sweep(file(grid + "exclude: [{hw: l40s, concurrency: 4}]\n"))
    assert len(part.cells) == 3
    assert [c.name for c in part.cells] == [
        c.name for c in whole.cells if c.settings != {"hw": "l40s", "concurrency": 4}
    ]


def test_the_name_of_a_cell_tells_its_settings_and_depends_on_all_of_its_configuration(file):
    one, other = (read_sweep(file(f"seed: {seed}\ngrid: {{model: [org/some-moe]}}\n")).cells[0] for seed in (1, 2))
    assert one.name.startswith("model-some-moe-")
    assert one.name != other.name
    assert len(one.name.rsplit("-", 1)[1]) == 8


def test_a_file_without_lists_is_one_run(file):
    (cell,) = read_sweep(file("model: mixtral\n")).cells
    assert cell.settings == {}
    assert cell.name == f"run-{cell.digest}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("grid: {hww: [a100]}", "grid: 'hww' is no option that a list can change"),
        ("grid: {output: [a, b]}", "grid: 'output' is no option"),
        ("grid: {hw: a100}", "hw is no list of values"),
        ("grid: {hw: []}", "hw is no list of values"),
        ("grid: [hw]", "grid is no mapping"),
        ("grid:\n  hw: [a100]\n  hw,seed: [[h100, 1]]", "'hw' is in it twice"),
        ("grid: {'hw,seed': [[a100]]}", "each entry of hw,seed is a list of 2 values"),
        ("grid: {concurrency: [1, 0]}", "(run 2: concurrency=0): concurrency: Input should be greater than 0"),
        ("grid: {concurrency: [1, 1]}", "concurrency=1 is in it twice (run 1, too)"),
        ("grid: {hw: [a100]}\nexclude: [{model: x}]", "no mapping of options of the grid (hw)"),
        ("grid: {hw: [a100]}\nexclude: [{hw: a100}]", "its exclusions leave no run"),
        ("grid: {seed: [1, 2], limit: " + str(list(range(1, 6000))) + "}", "11,998 runs are more than 10,000"),
        ("model: [a, b]", "model: Input should be a valid string"),
        ("models: x", "did you mean 'model'"),
        ("output: [a]", "output is ['a'] and no folder"),
        ("seed: 1\nseed: 2", "seed is given twice"),
        ("a: [", "not YAML"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(file, text, problem):
    with pytest.raises(BadInputError) as caught:
        read_sweep(file(text))
    assert problem in str(caught.value)
    assert str(caught.value).startswith("sweep ")
    assert "\n" not in str(caught.value)
