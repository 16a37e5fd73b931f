"""Deployments that the tests of the projection share."""

import pytest

from moecap.hardware.registry import load_profile
from moecap.models.parallelism import Parallelism
from moecap.models.registry import load_model
from moecap.projection.deployment import Deployment
from moecap.projection.routing import UNIFORM


@pytest.fixture(scope="session")
def mixtral():
    return load_model("mixtral", weights="bf16")[0]


@pytest.fixture(scope="session")
def on_a100(mixtral):
    """Mixtral-8x7B in bf16 on so many A100s, experts chosen evenly."""

    def deploy(tensor=1, **more):
        split = Parallelism(tensor=tensor)
        return Deployment(mixtral, load_profile("a100-sxm4-80gb"), split, **({"popularity": UNIFORM} | more))

    return deploy
