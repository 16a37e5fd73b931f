"""Programs against plain arithmetic, rules written out, and other implementations of the cheapest way."""

import itertools

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.nesydm.driving import driving, driving_released
from moecap.tasks.nesydm.programs import PROGRAMS, Program, program_of
from moecap.tasks.nesydm.shortest_path import COSTS, path_cost, shortest_paths

PRODUCT = Program("product", lambda a, b: (a * b,), concepts=2, values=3, outputs=1, output_values=5)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=36).filter(lambda digits: len(digits) % 2 == 0))
def test_addition_gives_the_digits_of_the_sum(digits):
    n = len(digits) // 2
    first, second = ("".join(map(str, part)) for part in (digits[:n], digits[n:]))
    label = program_of("addition", n)(np.array(digits))
    assert "".join(map(str, label)) == str(int(first) + int(second)).zfill(n + 1)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "shortest_path"])
def test_programs_give_the_same_for_numbers_arrays_and_tensors(name):
    program = program_of(name, 2)
    concepts = np.random.default_rng(0).integers(0, program.values, (20, program.concepts))
    labels = program(concepts)
    assert labels.tolist() == program(torch.from_numpy(concepts)).tolist()
    assert labels.tolist() == [[int(value) for value in program.function(*row)] for row in concepts.tolist()]
    assert labels.min() >= 0
    assert labels.max() < program.output_values


def test_xor_and_sums_of_pairs():
    pairs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert program_of("xor", 0)(pairs).tolist() == [[0], [1], [1], [0]]
    assert program_of("half", 0)(np.array([[2, 4], [4, 4]])).tolist() == [[6], [8]]
    assert program_of("even_odd", 0)(np.array([[9, 9]])).tolist() == [[18]]


def _ahead_by_cases(green, follow, clear, red, sign, *obstacles):
    obstacle = any(obstacles)
    if (green and red) or (clear and obstacle):
        return 0
    if red or sign or obstacle:
        return 2
    return 1 if green or follow or clear else 3


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=21, max_size=21))
def test_rules_of_the_road_are_those_written_out(seen):
    ahead = _ahead_by_cases(*seen[:9])
    left = any(seen[18:21]) and not any(seen[9:12])
    right = any(seen[12:15]) and not any(seen[15:18])
    assert driving(*seen) == (ahead, left, right)
    right_released = any(seen[15:18]) and not any(seen[18:21])
    assert driving_released(*seen) == (ahead, any(seen[9:12]), right_released)


@pytest.mark.parametrize("name", ["driving", "driving_released"])
@settings(deadline=None)
@given(st.data())
def test_outputs_of_a_group_depend_on_its_concepts_alone(name, data):
    program = program_of(name, 0)
    seen = np.array(data.draw(st.lists(st.integers(0, 1), min_size=21, max_size=21)))
    others = np.array(data.draw(st.lists(st.integers(0, 1), min_size=21, max_size=21)))
    for concepts, outputs in program.parts():
        changed = others.copy()
        changed[list(concepts)] = seen[list(concepts)]
        assert (program(changed)[list(outputs)] == program(seen)[list(outputs)]).all()


def _cheapest_by_trying_all(costs):
    """Least cost over all ways that enter no cell twice, of a small map."""
    edge = len(costs)

    def onward(cell, been):
        if cell == (edge - 1, edge - 1):
            return costs[cell]
        row, column = cell
        near = {(row + i, column + j) for i, j in itertools.product((-1, 0, 1), repeat=2)} - been
        inside = [(r, c) for r, c in near if 0 <= r < edge and 0 <= c < edge]
        return costs[cell] + min((onward(n, been | {n}) for n in inside), default=np.inf)

    return onward((0, 0), {(0, 0)})


def test_cheapest_ways_of_small_maps_cost_the_least_of_all_ways():
    ground = np.random.default_rng(1).integers(0, 5, (12, 3, 3))
    costs = np.asarray(COSTS)[ground]
    ways = shortest_paths(costs)
    for cost, way in zip(costs, ways, strict=True):
        assert (cost * way).sum() == pytest.approx(_cheapest_by_trying_all(cost))
        assert way[0, 0]
        assert way[-1, -1]


def test_cheapest_ways_of_whole_maps_cost_what_networkx_finds():
    ground = np.random.default_rng(2).integers(0, 5, (5, 12, 12))
    costs = np.asarray(COSTS)[ground]
    labels = program_of("shortest_path", 12)(ground.reshape(5, 144))
    for cost, label in zip(costs, labels, strict=True):
        graph = networkx.grid_2d_graph(12, 12, create_using=networkx.DiGraph)
        graph.add_edges_from(
            ((r, c), (r + i, c + j)) for r, c in graph for i, j in ((1, 1), (1, -1), (-1, 1), (-1, -1))
            if 0 <= r + i < 12 and 0 <= c + j < 12
        )  # fmt: skip
        least = networkx.dijkstra_path_length(graph, (0, 0), (11, 11), weight=lambda _, cell, __, cost=cost: cost[cell])
        assert (cost.ravel() * label).sum() == pytest.approx(least + cost[0, 0])


def test_the_first_cell_costs_too():
    ground = np.array([4, 0, 0, 0])
    way = program_of("shortest_path", 2)(ground)
    assert path_cost(way, ground) == pytest.approx(9.2 + 0.8)


def test_another_way_of_the_same_cost_is_right():
    program = program_of("shortest_path", 3)
    ground = np.array([[0, 0, 0, 0, 4, 0, 0, 0, 0]])
    above, below = np.array([[1, 1, 0, 0, 0, 1, 0, 0, 1]]), np.array([[1, 0, 0, 1, 0, 0, 0, 1, 1]])
    dear = np.array([[1, 0, 0, 0, 1, 0, 0, 0, 1]])
    assert program.agrees(above, below, ground).all()
    assert not program.agrees(dear, below, ground).any()


def test_a_program_of_the_users_own_is_found_by_its_module():
    assert program_of(f"{__name__}:PRODUCT", 2) is PRODUCT


@pytest.mark.parametrize(
    ("name", "size", "error", "words"),
    [
        ("multiplication", 2, UnknownNameError, "no program named 'multiplication'; known: addition"),
        ("addition", 19, BadInputError, "give a number from 1 to 18"),
        ("no_such_module:X", 2, BadInputError, "MODULE:NAME of a Program that can be imported"),
        (f"{__name__}:itertools", 2, BadInputError, "is a module; make it a"),
    ],
)
def test_a_program_that_is_none_is_refused(name, size, error, words):
    with pytest.raises(error, match=words):
        program_of(name, size)
