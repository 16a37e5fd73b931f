"""What does not fit is refused before anything is loaded; what fits is not."""

import pytest

from moecap.config import RunConfig
from moecap.errors import NotAvailableError
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model
from moecap.models.registry import load_model, load_model_config
from moecap.runner.memory import memory_need, refuse_memory
from moecap.runner.plan import _scored_batch
from moecap.tasks.base import load_task

GB = 10**9


@pytest.fixture(scope="module", params=["bf16", "fp32"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module")
def embedded(dtype):
    config, model = load_model_config("smollm2-moe", None)
    return read_model(config, model.id, weights=dtype, kv=dtype)


def _refuse(config, spec, dtype, scored, free):
    context = config.input_len + config.output_len
    load = {"concurrency": config.concurrency, "prompt": config.input_len, "context": context, "scored": scored}
    refuse_memory(memory_need(spec, **load, activations=dtype), spec, dtype, free, shared=True)


def test_the_default_run_fits_in_four_gigabytes(embedded, dtype):
    config = RunConfig()
    scored = _scored_batch([load_task(name) for name in config.task], {})
    assert scored == 16
    _refuse(config, embedded, dtype, scored, 4 * GB)


def test_the_prefill_of_many_long_prompts_is_refused_though_weights_and_cache_would_fit(embedded, dtype):
    config = RunConfig(concurrency=64, num_requests=64, input_len=4096, output_len=1)
    # a token keeps 18,244 elements (two rows of 576; attention 3,840; router 580; two experts of 6,336)
    width = {"bf16": 2, "fp32": 4}[dtype]
    prefill = 64 * 4096 * 18_244 * width + 64 * 49_152 * 4
    cache = 64 * 4097 * 30 * 2 * 3 * 64 * width
    weights = 373_462_848 * width
    needed = prefill + cache + weights + GB
    assert needed > 14 * GB
    _refuse(config, embedded, dtype, 0, needed + 10**7)
    with pytest.raises(NotAvailableError, match=rf"activations {prefill / GB:.1f}.*fewer or shorter requests"):
        _refuse(config, embedded, dtype, 0, needed - 10**7)


def test_a_large_batch_of_answers_to_score_is_refused(embedded, dtype):
    config = RunConfig(engine_arg=("score_batch_size=1000",))
    scored = _scored_batch([load_task("arc_easy")], {"score_batch_size": "1000"})
    assert scored == 1000
    logits = 1000 * 64 * 49_152 * 4  # 12.6 GB
    with pytest.raises(NotAvailableError, match="activations"):
        _refuse(config, embedded, dtype, scored, logits)
    _refuse(config, embedded, dtype, 0, logits)


def test_a_run_without_a_scored_task_scores_nothing():
    assert _scored_batch([], {"score_batch_size": "1000"}) == 0


def _qwen(ranks):
    """Qwen3-30B-A3B in bf16: 48 layers with 4 KV heads of 128; one request of 1000 tokens."""
    spec, _ = load_model("qwen3-30b-a3b")
    load = {"concurrency": 1, "prompt": 900, "context": 1000, "scored": 0}
    return spec, memory_need(spec, **load, activations="bf16", parallelism=Parallelism(tensor=ranks))


def test_ranks_hold_copies_of_key_and_value_heads_that_they_cannot_share():
    cache = 48 * 2 * 4 * 128 * 2 * 1000
    assert [_qwen(ranks)[1].cache for ranks in (1, 2, 4, 8, 16)] == [cache, cache, cache, 2 * cache, 4 * cache]
    _, one = _qwen(1)
    _, eight = _qwen(8)
    # twice the projections of keys and values, eight times routers and norms (of layers, queries, keys and the last)
    copied = 48 * 2 * (2 * 4 * 128 * 2048) + 7 * 2 * (48 * (2048 * 128 + 2 * 2048 + 2 * 128) + 2048)
    assert eight.weights - one.weights == copied


def test_each_device_holds_its_share_and_a_host_holds_all():
    spec, four = _qwen(4)
    each = (four.weights + four.cache) // 4 + four.activations + GB
    assert four.of_a_device == each
    assert four.total == four.weights + four.cache + 4 * (four.activations + GB)
    refuse_memory(four, spec, "bf16", each, shared=False)
    with pytest.raises(NotAvailableError, match="on each of 4 devices in bf16"):
        refuse_memory(four, spec, "bf16", each - 1, shared=False)
    with pytest.raises(NotAvailableError, match="with 4 ranks in bf16"):
        refuse_memory(four, spec, "bf16", four.total - 1, shared=True)
