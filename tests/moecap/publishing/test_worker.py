"""A worker takes requests of its own hardware that name no place of the machine and no argument of a program."""

import dataclasses

import pytest

from moecap.config import RunConfig
from moecap.hardware.registry import load_profile
from moecap.hardware.resolve import ResolvedHardware
from moecap.publishing.requested import REQUESTABLE
from moecap.publishing.worker import unfit

MACHINE = ResolvedHardware(load_profile("h100"), 1, True, 2, "packaged")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model": "mixtral", "hw": "h100", "num_gpus": 2, "precision": "fp8"},
        {"model": "allenai/OLMoE-1B-7B-0924", "hw": "auto", "task": ["gsm8k"], "limit": 100},
        {"model": "smollm2-moe", "hw": "H100_SXM", "dataset": "arc_easy", "rate": 4.0, "arrival": "poisson"},
    ],
)
def test_what_this_machine_can_run_is_taken(config):
    assert unfit(config, MACHINE) == ""


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"hw": "a100"}, "it is for a100, and this machine is h100-sxm"),
        ({"hw": "host"}, "it is for host, and this machine is h100-sxm"),
        ({"hw": "profile.yaml"}, "its hw 'profile.yaml' is no name"),
        ({"num_gpus": 4}, "it needs 4 devices, and this machine has 2"),
        ({"num_gpus": "4"}, "it needs 4 devices"),
        ({"model": "/models/x"}, "is neither a short name nor a hub id"),
        ({"model": "../x/y"}, "is neither a short name nor a hub id"),
        ({"model": "~/x"}, "is neither a short name nor a hub id"),
        ({"model": "x.json"}, "is neither a short name nor a hub id"),
        ({"dataset": "/etc/passwd"}, "is no name; paths are of one machine"),
        ({"texts": "prompts.jsonl"}, "is no name; paths are of one machine"),
        ({"endpoint": "http://inside.example"}, "it sets endpoint, which no request may"),
        ({"engine_arg": ["trust-remote-code=true"]}, "it sets engine_arg, which no request may"),
        ({"task_arg": ["judge=http://x"], "output": "/tmp/x"}, "it sets output, task_arg, which no request may"),
        ({"data": "/srv"}, "it sets data, which no request may"),
        ({"no_such_key": 1}, "it sets no_such_key, which no request may"),
        ({"concurrency": -1}, "concurrency: Input should be greater than 0"),
        ({"num_requests": 2, "concurrency": 4}, "2 requests never reach a concurrency of 4"),
        ({"model": "org/model.json"}, "is neither a short name nor a hub id"),
    ],
)
def test_anything_else_is_left_alone_with_the_reason(config, why):
    assert why in unfit(config, MACHINE)


def test_a_hub_id_that_leads_out_of_its_folder_is_none():
    assert unfit({"model": "../.."}, MACHINE)
    assert unfit({"model": "./model"}, MACHINE)


def test_a_host_takes_requests_for_itself_by_each_of_its_names():
    host = dataclasses.replace(MACHINE, profile=MACHINE.profile.model_copy(update={"kind": "host", "id": "host-x"}))
    assert [unfit({"hw": name}, host) for name in ("auto", "host", "cpu", "host-x")] == [""] * 4


def test_every_key_that_may_be_set_is_one_of_the_configuration_and_none_is_a_place():
    assert RunConfig.model_fields.keys() >= REQUESTABLE
    assert not REQUESTABLE & {"data", "output", "endpoint", "engine_arg", "task_arg", "layout", "price", "cost"}
