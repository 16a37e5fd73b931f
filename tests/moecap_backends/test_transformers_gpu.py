"""The transformers backend on an accelerator: device times, and the same routing as on the CPU."""

import dataclasses

import numpy as np
import pytest

from moecap.backend import Prompt
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap_backends.transformers import TransformersEngine

pytestmark = [pytest.mark.gpu, pytest.mark.engine]


def test_an_accelerator_gives_device_times_and_the_same_routing(tiny_model, job_for, tmp_path):
    outcomes = {}
    job = job_for(tiny_model("mixtral"))
    prompts = [Prompt(str(i), tuple(range(i, i + 16)), 6) for i in range(4)]
    for device in ("cpu", "cuda"):
        folder = tmp_path / device
        folder.mkdir()
        recorder = Recorder(stage="load")
        with TransformersEngine(dataclasses.replace(job, device=device)) as engine:
            answers = engine.generate(prompts, 2, recorder, lambda _done: None)
            timer = engine.info.timer
        recorder.write(folder)
        outcomes[device] = (answers, read_observations(folder), timer)
    assert outcomes["cuda"][2] == "device"
    assert outcomes["cuda"][0] == outcomes["cpu"][0]
    assert np.array_equal(outcomes["cuda"][1].routing.experts, outcomes["cpu"][1].routing.experts)
