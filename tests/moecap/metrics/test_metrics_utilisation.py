"""Bytes, FLOPs and utilisation of steps, against arithmetic that is written out for one small Mixtral."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.errors import BadInputError
from moecap.hardware.registry import load_profile
from moecap.metrics.steps import StepBytes, StepWork, step_work
from moecap.metrics.summary import RunFacts
from moecap.metrics.utilisation import Peaks, utilisation
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model
from moecap.observations.reader import Ragged, Steps

CONFIG = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 2,
    "vocab_size": 32,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
ATTENTION = 8 * 8 + 2 * 8 * 4 + 8 * 8  # q; k and v of two heads; o
ROUTER = 8 * 4
EXPERT = 3 * 8 * 16
HEAD = 8 * 32
LAYERS = 3


def _ragged(rows):
    return Ragged(np.array([x for row in rows for x in row], np.int64), np.cumsum([0, *map(len, rows)]))


def _steps(rows):
    """rows: (start, new, phase, logits_tokens, distinct, ns) with lists for the first three and the fifth."""
    start, new, phase, logits, distinct, ns = zip(*rows, strict=True)
    return Steps(
        stage=np.array(["load"] * len(rows)),
        start_ns=np.arange(len(rows), dtype=np.int64) * 10**9,
        duration_ns=np.array(ns, np.int64),
        seq_request=_ragged([range(len(s)) for s in start]),
        seq_start=_ragged(start),
        seq_new=_ragged(new),
        seq_phase=_ragged(phase),
        logits_tokens=np.array(logits, np.int64),
        distinct_experts=_ragged(distinct),
    )


@pytest.fixture(scope="module")
def spec():
    return read_model(CONFIG, "small")


def test_a_decode_step_reads_the_selected_experts_and_every_sequences_cache(spec):
    steps = _steps([([5, 9], [1, 1], [1, 1], 2, [3, 2, 4], 1000)])
    work = step_work(spec, steps)
    kv = LAYERS * (6 + 10) * 2 * 2 * 2  # contexts 6 and 10, K and V, 2 heads of 2
    weights = LAYERS * (ATTENTION + ROUTER + 2 * 8) + (3 + 2 + 4) * EXPERT + 8 + HEAD + 2 * 8
    assert work.bytes.total()[0] == 2 * (weights + kv)
    assert work.paper_bytes[0] == 2 * (LAYERS * ATTENTION + 9 * EXPERT + kv)
    assert work.dense_bytes[0] - work.bytes.total()[0] == 2 * 3 * EXPERT
    pairs = LAYERS * (6 + 10) * 2 * 4 * (2 + 2)
    assert work.flops[0] == 2 * LAYERS * 2 * (ATTENTION + ROUTER + 2 * EXPERT) + 2 * 2 * HEAD + pairs
    assert work.dense_flops[0] - work.flops[0] == 2 * LAYERS * 2 * 2 * EXPERT


def test_a_prefill_step_counts_its_pairs_exactly_and_reads_the_head_only_for_finished_prompts(spec):
    steps = _steps([([0], [7], [0], 0, [4, 4, 4], 1000), ([0], [7], [0], 1, [4, 4, 4], 1000)])
    work = step_work(spec, steps)
    pairs = 7 * 8 // 2
    expected = 7 * LAYERS * 2 * (ATTENTION + ROUTER + 2 * EXPERT) + LAYERS * pairs * 2 * 4 * 4
    assert work.flops.tolist() == [expected, expected + 2 * HEAD]
    assert work.bytes.lm_head.tolist() == [0, 2 * HEAD]
    assert work.prefill.all()


def test_utilisation_is_a_ratio_of_sums_and_never_a_mean_of_ratios(spec):
    rows = [([0], [60], [0], 1, [4, 4, 4], 40_000_000), ([60], [1], [1], 1, [2, 2, 2], 4_000_000)]
    steps = _steps(rows)
    work = step_work(spec, steps)
    peaks = Peaks(1e6, "datasheet", None, {"bf16": 1e9})
    metrics = utilisation("all", work, steps, np.array([True, True]), peaks, True)
    assert metrics["all.s_mbu"].value == pytest.approx(work.bytes.total().sum() / (0.044 * 1e6), rel=1e-12)
    assert metrics["all.s_mfu"].value == pytest.approx(work.flops.sum() / (0.044 * 1e9), rel=1e-12)
    assert metrics["all.s_mbu_probed"].value is None
    assert "not probed" in metrics["all.s_mbu_probed"].reason


def test_sixty_gigabytes_and_ten_aggregate_to_their_ratio_of_sums():
    # 60 GB in 40 ms and 10 GB in 4 ms at 3.35 TB/s: 70 / (0.044 * 3350) = 0.4749; a mean of ratios would give 0.5970
    zero, kv, yes = np.zeros(2), np.array([60e9, 10e9]), np.array([True, True])
    read = StepBytes(zero, zero, zero, zero, zero, zero, zero, kv)
    work = StepWork(read, kv, kv, {"bf16": kv}, {"bf16": kv}, np.array([1, 1]), ~yes, yes, ~yes, ~yes)
    steps = _steps([([0], [1], [1], 1, [], 40_000_000), ([0], [1], [1], 1, [], 4_000_000)])
    metrics = utilisation("decode", work, steps, yes, Peaks(3.35e12, "datasheet", None, {"bf16": 1.0}), True)
    assert metrics["decode.s_mbu"].value == pytest.approx(0.474898236092266, rel=1e-12)


def test_mixed_steps_are_neither_prefill_nor_decode(spec):
    steps = _steps([([0, 5], [4, 1], [0, 1], 2, [4, 3, 2], 1000)])
    work = step_work(spec, steps)
    assert (work.mixed.tolist(), work.prefill.tolist(), work.decode.tolist()) == ([True], [False], [False])


def test_more_distinct_experts_than_exist_are_refused(spec):
    with pytest.raises(BadInputError, match="5 distinct experts in a layer that has 4"):
        step_work(spec, _steps([([0], [1], [1], 1, [5, 2, 2], 1000)]))


def test_another_number_of_moe_layers_than_the_model_has_is_refused(spec):
    with pytest.raises(BadInputError, match="3 MoE layers"):
        step_work(spec, _steps([([0], [1], [1], 1, [2, 2], 1000)]))


def test_unknown_routing_gives_no_s_mbu_but_mbu_and_s_mfu(spec):
    steps = _steps([([4], [1], [1], 1, [], 1000)])
    work = step_work(spec, steps)
    metrics = utilisation("decode", work, steps, np.array([True]), Peaks(1e9, "probed", 1e9, {"bf16": 1e9}), False)
    assert metrics["decode.s_mbu"].value is None
    assert metrics["decode.mbu"].value > 0
    assert metrics["decode.s_mfu"].value > 0


def test_a_format_that_the_chip_lacks_gives_no_s_mfu(spec):
    steps = _steps([([4], [1], [1], 1, [2, 2, 2], 1000)])
    metrics = utilisation(
        "decode",
        step_work(spec, steps),
        steps,
        np.array([True]),
        Peaks(1e9, "probed", 1e9, {"fp8": None}),
        True,
    )
    assert metrics["decode.s_mfu"].value is None
    assert "no native rate for fp8" in metrics["decode.s_mfu"].reason


def test_two_ranks_read_router_and_norms_twice_and_four_the_two_key_heads_too(spec):
    steps = _steps([([5, 9], [1, 1], [1, 1], 2, [3, 2, 4], 1000)])
    alone, two, four = (step_work(spec, steps, Parallelism(tensor=ranks)) for ranks in (1, 2, 4))
    copied = 2 * (LAYERS * (ROUTER + 2 * 8) + 8)
    key_heads = 2 * LAYERS * 2 * 8 * 4 + LAYERS * (6 + 10) * 2 * 2 * 2 * 2  # projections, cache
    assert two.bytes.total()[0] == alone.bytes.total()[0] + copied
    assert four.bytes.total()[0] == alone.bytes.total()[0] + 3 * copied + key_heads
    assert (two.paper_bytes[0], four.paper_bytes[0]) == (alone.paper_bytes[0], alone.paper_bytes[0] + key_heads)
    assert four.dense_bytes[0] - four.bytes.total()[0] == 2 * 3 * EXPERT
    assert alone.flops == two.flops == four.flops


def test_devices_without_a_part_in_the_split_are_refused(spec):
    profile = load_profile("h100")
    RunFacts(spec, profile, 2, "bf16", 1, None, parallelism=Parallelism(tensor=2))
    with pytest.raises(BadInputError, match="split over 1 of 2 devices"):
        RunFacts(spec, profile, 2, "bf16", 1, None)


decode_rows = st.lists(
    st.tuples(
        st.lists(st.integers(0, 60), min_size=1, max_size=6), st.lists(st.integers(2, 4), min_size=3, max_size=3)
    ),
    min_size=1,
    max_size=8,
)


splits = st.builds(Parallelism, tensor=st.sampled_from([1, 2, 4]), data=st.sampled_from([1, 2]))


@given(decode_rows, splits)
def test_selected_never_exceeds_all_and_steps_add_up(rows, split):
    spec = read_model(CONFIG, "small")
    steps = _steps([(s, [1] * len(s), [1] * len(s), len(s), d, 1000) for s, d in rows])
    work = step_work(spec, steps, split)
    total = work.bytes.total()
    assert (total <= work.dense_bytes).all()
    assert (work.flops <= work.dense_flops).all()
    one_by_one = [
        step_work(spec, _steps([(s, [1] * len(s), [1] * len(s), len(s), d, 1000)]), split).bytes.total()[0]
        for s, d in rows
    ]
    assert total.tolist() == one_by_one


@given(decode_rows, st.randoms(), splits)
def test_the_order_of_sequences_does_not_matter(rows, random, split):
    spec = read_model(CONFIG, "small")
    start, distinct = rows[0]
    shuffled = random.sample(start, len(start))
    works = [
        step_work(spec, _steps([(s, [1] * len(s), [1] * len(s), len(s), distinct, 1000)]), split)
        for s in (start, shuffled)
    ]
    assert works[0].bytes.total() == works[1].bytes.total()
    assert works[0].flops == works[1].flops


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), splits)
def test_one_more_sequence_reads_and_computes_more(start, split):
    spec = read_model(CONFIG, "small")
    rows = [start, [*start, 3]]
    work = step_work(spec, _steps([(s, [1] * len(s), [1] * len(s), len(s), [2, 3, 4], 1000) for s in rows]), split)
    assert work.bytes.total()[1] > work.bytes.total()[0]
    assert work.flops[1] > work.flops[0]


@given(decode_rows, splits)
def test_a_model_that_selects_all_its_experts_equals_a_dense_one(rows, split):
    spec = read_model(CONFIG | {"num_experts_per_tok": 4}, "all")
    steps = _steps([(s, [1] * len(s), [1] * len(s), len(s), [4, 4, 4], 1000) for s, _ in rows])
    work = step_work(spec, steps, split)
    assert (work.bytes.total() == work.dense_bytes).all()
    assert (work.flops == work.dense_flops).all()


@given(decode_rows)
def test_more_ranks_never_read_less_and_one_is_no_split(rows):
    spec = read_model(CONFIG, "small")
    steps = _steps([(s, [1] * len(s), [1] * len(s), len(s), d, 1000) for s, d in rows])
    one, two, four = (step_work(spec, steps, Parallelism(tensor=ranks)) for ranks in (1, 2, 4))
    assert (step_work(spec, steps).bytes.total() == one.bytes.total()).all()
    assert (one.bytes.total() < two.bytes.total()).all()
    assert (two.bytes.total() < four.bytes.total()).all()
    assert (one.paper_bytes <= two.paper_bytes).all()
    assert (two.paper_bytes <= four.paper_bytes).all()
