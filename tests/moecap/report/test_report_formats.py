"""A page about a model that computes in several number formats, on several ranks."""

import pytest

from moecap.report.page import run_page
from moecap.report.reported_run import read_run
from moecap.result import read_result, write_result


@pytest.fixture
def page_of(make_run):
    """A function from the chip's peaks to the page of a run in fp8 with the rest in bf16, over two ranks."""

    def make(**peaks):
        directory = make_run()
        result = read_result(directory)
        config = result.model.config | {"quantization_config": {"quant_method": "fp8"}}
        formats = {"attention": "fp8", "lm_head": "bf16"}
        model = result.model.model_copy(
            update={"config": config, "quantised": True, "weight_dtypes": formats, "compute_dtypes": formats}
        )
        profile = result.hardware.profile.model_copy(update={"dense_flops": peaks})
        hardware = result.hardware.model_copy(update={"profile": profile, "count": 2})
        workload = result.workload.model_copy(update={"num_gpus": 2, "tensor_parallel": 2})
        changed = {"model": model, "hardware": hardware, "workload": workload}
        write_result(directory, result.model_copy(update=changed).identified())
        run = read_run(directory)
        return run_page(run), run.evidence

    return make


def test_each_format_has_its_peak_and_the_load_the_peak_of_its_mix(page_of):
    text, evidence = page_of(bf16=1e9, fp8=2e9)
    load = evidence.masks["all"]
    fp8, bf16 = (evidence.work.flops_by_format[name][load].sum() for name in ("fp8", "bf16"))
    mixed = (fp8 + bf16) / (fp8 / 4e9 + bf16 / 2e9)  # two devices
    for words in ("dense fp8 peak", "dense bf16 peak", "peak of the load's mix", f"{fp8 / (fp8 + bf16):.0%} fp8"):
        assert words.replace("'", "&#x27;") in text or words in text, words
    assert 2e9 < mixed < 4e9
    assert f"{mixed / 1e9:.3g} GFLOP/s" in text


def test_a_format_without_a_rate_leaves_no_roofline_and_is_named(page_of):
    text, _ = page_of(bf16=1e9)
    assert "No roofline: this hardware has no native rate for fp8." in text


def test_stored_and_computed_formats_and_the_split_are_on_the_page(page_of):
    text, _ = page_of(bf16=1e9, fp8=2e9)
    assert "attention fp8, lm_head bf16" in text
    assert "computed in fp8 and bf16" in text
    assert "2 tensor-parallel ranks, each on a device of its own" in text
