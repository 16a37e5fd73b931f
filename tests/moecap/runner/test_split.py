"""Devices and ranks of a run: as asked, the fewest that hold the model, or a refusal that says what to do."""

from dataclasses import replace

import pytest

from moecap.config import RunConfig
from moecap.errors import BadInputError, NotAvailableError
from moecap.hardware.registry import load_profile
from moecap.hardware.resolve import ResolvedHardware
from moecap.models.parallelism import Parallelism
from moecap.models.registry import load_model
from moecap.runner.memory import memory_need
from moecap.runner.split import choose_split
from moecap_backends.openai import OpenaiBackend
from moecap_backends.transformers import TransformersBackend
from moecap_backends.vllm import VllmBackend

HOST = ResolvedHardware(load_profile("generic-vm-2vcpu"), 1, True, 1, "probed")


@pytest.fixture
def h100():
    """Eight H100 of 80 GB in this machine."""
    return ResolvedHardware(load_profile("h100"), 1, True, 8, "packaged")


@pytest.fixture
def said():
    return []


@pytest.fixture
def split(h100, said):
    """A function from options, a model and hardware to the split of the run."""

    def choose(model="mixtral", backend=VllmBackend, hardware=h100, **options):
        spec, _ = load_model(model)
        load = {"concurrency": 4, "prompt": 64, "context": 96, "scored": 0}

        def need(parallelism):
            return memory_need(spec, **load, activations="bf16", parallelism=parallelism)

        return choose_split(RunConfig(**options), backend, hardware, spec, need, said.append)

    return choose


def test_the_fewest_devices_that_hold_the_model_are_taken_and_named(split, said):
    # 93.4 GB of weights: not on one device of 80 GB, but on two
    chosen = split()
    assert (chosen.devices, chosen.parallelism) == (2, Parallelism(tensor=2))
    assert said == ["2 of 8 h100-sxm: the fewest that hold mistralai/Mixtral-8x7B-Instruct-v0.1 (--num-gpus)"]
    assert split("olmoe").devices == 1


def test_numbers_that_are_in_force_are_in_the_configuration_of_the_result(split):
    config = split().in_force(RunConfig())
    assert (config.num_gpus, config.tensor_parallel) == (2, 2)
    assert split("olmoe").in_force(RunConfig()) == RunConfig()


def test_one_number_gives_the_other_on_devices(split):
    assert split(num_gpus=4) == split(tensor_parallel=4) == split(num_gpus=4, tensor_parallel=4)
    assert split(num_gpus=4).parallelism.tensor == 4
    with pytest.raises(BadInputError, match=r"--num-gpus 4 and --tensor-parallel 2.*give the same number"):
        split(num_gpus=4, tensor_parallel=2)


def test_the_ranks_of_a_host_share_one_device(split):
    chosen = split(hardware=HOST, tensor_parallel=2)
    assert (chosen.devices, chosen.parallelism.devices) == (1, 2)
    assert split(hardware=HOST).parallelism == Parallelism()


def test_a_backend_that_runs_on_one_device_names_those_that_split(split):
    problem = "backend 'transformers' does not split a model over 2 ranks; backends that split one: .*openai.*vllm"
    with pytest.raises(NotAvailableError, match=problem):
        split(backend=TransformersBackend, tensor_parallel=2)
    with pytest.raises(NotAvailableError, match="does not split a model over 4 ranks"):
        split(backend=TransformersBackend, num_gpus=4)
    assert split(backend=TransformersBackend).devices == 1


def test_more_ranks_than_there_are_devices_are_refused(split):
    with pytest.raises(NotAvailableError, match="16 devices were asked for and this machine has 8 of h100-sxm"):
        split(tensor_parallel=16)
    assert split(backend=OpenaiBackend, tensor_parallel=16).devices == 16


def test_a_split_that_the_model_does_not_allow_is_refused(split):
    with pytest.raises(BadInputError, match="3 tensor-parallel ranks cannot share the 32 heads"):
        split(num_gpus=3)


def test_the_devices_of_a_server_are_the_users_to_say(split):
    with pytest.raises(BadInputError, match=r"say with --num-gpus how many the server has \(2 is the fewest"):
        split(backend=OpenaiBackend)
    assert split(backend=OpenaiBackend, num_gpus=8).parallelism == Parallelism(tensor=8)
    assert split("olmoe", backend=OpenaiBackend).devices == 1


def test_a_model_that_no_number_of_local_devices_holds_is_left_to_the_check_of_memory(split, h100):
    assert split(hardware=replace(h100, available=1)).devices == 1
