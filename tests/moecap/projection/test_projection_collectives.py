"""Bytes of messages between devices, and which kernels the host launches."""

import dataclasses

import numpy as np
import pytest

from moecap.hardware.registry import load_profile
from moecap.models.parallelism import Parallelism
from moecap.models.registry import load_model
from moecap.projection.collectives import reduced_bytes
from moecap.projection.deployment import Deployment
from moecap.projection.work import StepShape, WorkModel


@pytest.mark.parametrize(
    ("message", "ranks", "engine", "sent"),
    [
        (100_000, 2, "vllm", 100_000),  # one stage or two: 1 = 2 * 1/2
        (100_000, 4, "vllm", 300_000),  # to all three others at once
        (600_000, 4, "vllm", 900_000),  # over 512 KiB: 2 * 3/4
        (600_000, 4, "trtllm", 1_800_000),  # up to 1 MB
        (300_000, 8, "sglang", 525_000),  # over 256 KiB: 2 * 7/8
        (300_000, 8, "trtllm-before-1.0", 2_100_000),  # up to 500 KB
        (100_000, 16, "vllm", 187_500),  # more ranks than one stage is written for
        (100_000, 4, "", 150_000),  # over the host's bus
    ],
)
def test_small_messages_are_reduced_in_one_stage(message, ranks, engine, sent):
    assert reduced_bytes(np.array([float(message)]), ranks, engine)[0] == pytest.approx(sent)


@pytest.mark.parametrize(("engine", "width"), [("trtllm", 0.5 + 1 / 16), ("sglang", 2.0)])
def test_tensorrt_llm_gathers_rows_in_the_format_of_the_experts(engine, width):
    quantised = {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}
    from moecap.models.reading import read_model
    from moecap.models.registry import load_model_config

    spec = read_model({**load_model_config("qwen3-30b-a3b")[0], "quantization_config": quantised}, "qwen")
    split = Parallelism(data=4, expert=4, whole_replicas=True)
    work = WorkModel(Deployment(spec, load_profile("b200"), split, engine)).work(StepShape.of(400, 100))
    assert work.wire_bytes[0] == pytest.approx(48 * 400 * 2048 * (width + 2.0) * 3 / 4)


def test_bridges_join_two_devices_and_the_bus_more(mixtral):
    def link(devices):
        return WorkModel(Deployment(mixtral, load_profile("h100-nvl"), Parallelism(tensor=devices)))._link

    profile = load_profile("h100-nvl")
    assert link(2) == profile.interconnect.bytes_per_second_per_direction
    assert link(4) == profile.pcie.bytes_per_second_per_direction


def test_graphs_replay_short_steps_with_prompts_but_for_the_attention():
    spec = load_model("gpt-oss-120b")[0]
    usual = Deployment(spec, load_profile("h200"), engine="vllm")
    told = dataclasses.replace(usual, replayed_tokens=2048)
    shape = StepShape.of(8, 1000, [0, 400, 1000, 4000])
    few, every = 36 * 3, WorkModel(usual).work(shape).kernels
    assert WorkModel(usual).work(shape).eager.tolist() == [0, few, every, every]  # 512 tokens by default
    assert WorkModel(told).work(shape).eager.tolist() == [0, few, few, every]
    other = dataclasses.replace(usual, engine="sglang")
    assert WorkModel(other).work(shape).eager.tolist() == [0, every, every, every]
