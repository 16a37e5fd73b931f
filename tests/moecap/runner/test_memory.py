"""What does not fit is refused before anything is loaded; what fits is not."""

import pytest

from moecap.config import RunConfig
from moecap.errors import NotAvailableError
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config
from moecap.runner.plan import _refuse_memory, _scored_batch
from moecap.tasks.base import load_task

GB = 10**9


@pytest.fixture(scope="module", params=["bf16", "fp32"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module")
def embedded(dtype):
    config, model = load_model_config("smollm2-moe", None)
    return read_model(config, model.id, weights=dtype, kv=dtype)


def test_the_default_run_fits_in_four_gigabytes(embedded, dtype):
    config = RunConfig()
    scored = _scored_batch([load_task(name) for name in config.task], {})
    assert scored == 16
    _refuse_memory(config, embedded, dtype, scored, 4 * GB)


def test_the_prefill_of_many_long_prompts_is_refused_though_weights_and_cache_would_fit(embedded, dtype):
    config = RunConfig(concurrency=64, num_requests=64, input_len=4096, output_len=1)
    # a token keeps 18,244 elements (two rows of 576; attention 3,840; router 580; two experts of 6,336)
    width = {"bf16": 2, "fp32": 4}[dtype]
    prefill = 64 * 4096 * 18_244 * width + 64 * 49_152 * 4
    cache = 64 * 4097 * 30 * 2 * 3 * 64 * width
    weights = 373_462_848 * width
    needed = prefill + cache + weights + GB
    assert needed > 14 * GB
    _refuse_memory(config, embedded, dtype, 0, needed + 10**7)
    with pytest.raises(NotAvailableError, match=rf"activations {prefill / GB:.1f}.*fewer or shorter requests"):
        _refuse_memory(config, embedded, dtype, 0, needed - 10**7)


def test_a_large_batch_of_answers_to_score_is_refused(embedded, dtype):
    config = RunConfig(engine_arg=("score_batch_size=1000",))
    scored = _scored_batch([load_task("arc_easy")], {"score_batch_size": "1000"})
    assert scored == 1000
    logits = 1000 * 64 * 49_152 * 4  # 12.6 GB
    with pytest.raises(NotAvailableError, match="activations"):
        _refuse_memory(config, embedded, dtype, scored, logits)
    _refuse_memory(config, embedded, dtype, 0, logits)


def test_a_run_without_a_scored_task_scores_nothing():
    assert _scored_batch([], {"score_batch_size": "1000"}) == 0
