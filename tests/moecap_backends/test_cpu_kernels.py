"""Which CPU kernel serves the passes over a single token."""

import time

import pytest
import torch

from moecap.backend import Prompt
from moecap.errors import BadInputError
from moecap.observations.recorder import Recorder
from moecap_backends.cpu_kernels import OneTokenKernel
from moecap_backends.transformers import TransformersEngine

pytestmark = pytest.mark.engine


def _feeds(with_onednn, without):
    def feed():
        time.sleep(with_onednn if torch.backends.mkldnn.enabled else without)

    return feed


@pytest.mark.parametrize(
    ("with_onednn", "without", "inside"), [(0.02, 0.005, False), (0.005, 0.02, True), (0.02, 0.0195, True)]
)
def test_the_faster_kernel_serves_single_tokens_and_a_near_tie_keeps_onednn(with_onednn, without, inside):
    kernel = OneTokenKernel("auto", _feeds(with_onednn, without), reduced=True)
    with kernel.around(1):
        assert torch.backends.mkldnn.enabled is inside
    with kernel.around(2):
        assert torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled
    assert "ms a pass with it" in kernel.note


def test_full_precision_is_not_timed_and_a_wish_is_followed():
    def never():
        raise AssertionError

    assert OneTokenKernel("auto", never, reduced=False).note == "oneDNN on"
    with OneTokenKernel("off", never, reduced=True).around(1):
        assert not torch.backends.mkldnn.enabled
    with OneTokenKernel("on", never, reduced=True).around(1):
        assert torch.backends.mkldnn.enabled


def test_onednn_is_on_again_after_a_pass_that_fails():
    with pytest.raises(RuntimeError), OneTokenKernel("off", lambda: None, reduced=True).around(1):
        raise RuntimeError
    assert torch.backends.mkldnn.enabled


def test_another_word_is_refused():
    with pytest.raises(BadInputError, match="onednn=maybe: not one of auto, on, off"):
        OneTokenKernel("maybe", lambda: None, reduced=True)


def test_both_kernels_give_the_same_answer(tiny_model, job_for):
    prompt = Prompt("p", tuple(range(3, 12)), 8)
    answers = []
    for choice in ("on", "off"):
        with TransformersEngine(job_for(tiny_model("mixtral"), onednn=choice)) as engine:
            assert engine.info.details["one_token_passes"] == f"oneDNN {choice}, as asked"
            answers.append(engine.generate([prompt], 1, Recorder(stage="load"), lambda _done: None))
    assert answers[0] == answers[1]
