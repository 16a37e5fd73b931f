"""What to serve a model on, ranked by projected cost."""

import json

import pytest

from moecap.cli import main
from moecap.errors import BadInputError, UnknownNameError
from moecap.hardware.registry import load_profile
from moecap.models.registry import load_model
from moecap.projection.coefficients import calibrated
from moecap.projection.recommendation import offers
from moecap.projection.service_level import read_service_levels


def test_service_levels_are_read_in_seconds():
    assert read_service_levels("ttft=2s, tpot=80ms,itl=500us") == pytest.approx(
        {"ttft": 2.0, "tpot": 0.08, "itl": 0.0005}
    )
    assert read_service_levels(None) == {}


@pytest.mark.parametrize("text", ["ttft=2", "ttft=", "ttft", "ttft=0s", "ttft=-1s", "ttft=1s,ttft=2s"])
def test_a_service_level_without_a_time_is_refused(text):
    with pytest.raises(BadInputError, match="ttft"):
        read_service_levels(text)


def test_an_unknown_service_level_is_refused():
    with pytest.raises(UnknownNameError, match="no service level named 'latency'"):
        read_service_levels("latency=1s")


def _offers(levels, budget=None):
    spec, _ = load_model("mixtral")
    profiles = [load_profile(name) for name in ("a100", "h100", "l4", "epyc-9654-1s")]
    return offers(
        spec, profiles, calibrated(), input_tokens=1000, output_tokens=250, levels=levels, usd_per_hour=budget
    )


def test_the_cheapest_tokens_come_first_and_cost_what_rent_and_rate_make():
    found, _ = _offers({})
    costs = [offer.usd_per_million for offer in found]
    assert costs == sorted(costs)
    for offer in found:
        rent = offer.devices * load_profile(offer.hardware).default_price.usd_per_hour
        assert offer.usd_per_million == pytest.approx(rent / 3600 / offer.output_throughput * 1e6)
        assert offer.low < offer.usd_per_million < offer.high


def test_offers_keep_the_service_levels_and_the_budget():
    levels = {"ttft": 1.0, "tpot": 0.03}
    found, refused = _offers(levels, budget=12.0)
    assert found
    assert all(o.ttft <= 1.0 and o.tpot <= 0.03 and o.usd_per_hour <= 12.0 for o in found)
    assert all(offer.hardware != "epyc-9654-1s" for offer in found)
    reasons = {(r.hardware, r.devices): r.reason for r in refused}
    assert reasons["h100-sxm", 8] == "it costs more than the budget"
    assert reasons["h100-sxm", 1] == "the model does not fit"  # 93 GB in 80 GB
    assert reasons["epyc-9654-1s", 1] == "no engine is projected on it"


def test_stricter_levels_never_make_tokens_cheaper():
    loose, _ = _offers({"tpot": 0.05})
    strict, _ = _offers({"tpot": 0.02})
    cheapest = {(o.hardware, o.devices, o.engine): o.usd_per_million for o in loose}
    for offer in strict:
        assert offer.usd_per_million >= cheapest[offer.hardware, offer.devices, offer.engine] - 1e-9


def test_the_command_says_that_nothing_was_measured(capsys):
    arguments = ["recommend", "--model", "mixtral", "--slo", "ttft=2s,tpot=80ms", "--budget", "10", "--hw", "a100"]
    assert main([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("nothing here was measured")
    answer = json.loads(captured.out)
    assert answer["kind"] == "projected"
    assert {offer["hardware"] for offer in answer["offers"]} == {"a100-sxm4-80gb"}
    assert main(arguments) == 0
    assert "$/M output" in capsys.readouterr().out


def test_lengths_beyond_the_model_are_refused(capsys):
    assert main(["recommend", "--model", "mixtral", "--input-len", "40000"]) == 2
    assert "are more than the 32768" in capsys.readouterr().err
