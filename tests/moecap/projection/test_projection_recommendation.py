"""What to serve a model on, ranked by projected cost."""

import json

import pytest

from moecap.cli import main
from moecap.errors import BadInputError, UnknownNameError
from moecap.hardware.registry import load_profile
from moecap.models.registry import load_model
from moecap.projection.coefficients import calibrated
from moecap.projection.recommendation import offers, price_of
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


def test_a_rent_comes_before_what_an_operator_pays():
    gb200 = load_profile("gb200")
    assert "TCO" in price_of(gb200, 4).provider
    b200 = load_profile("b200")
    owned_first = b200.model_copy(update={"prices": (b200.prices[-1], *b200.prices[:-1])})
    assert "TCO" in owned_first.prices[0].provider
    assert price_of(owned_first, 1) == b200.prices[0]


def test_a_price_for_one_device_is_no_price_for_eight():
    gh200 = load_profile("gh200-96gb")
    assert price_of(gh200, 1).provider == "Lambda 1x"
    assert price_of(gh200, 8) is None


def test_devices_that_do_not_hold_the_model_are_offered_with_experts_in_the_host():
    spec, _ = load_model("mixtral")
    found, refused = offers(
        spec, [load_profile("h100")], calibrated(), input_tokens=1000, output_tokens=250, levels={}, usd_per_hour=4.0
    )
    (offer,) = found  # 93 GB in one device of 80
    assert offer.engine == "offload: host memory, host computes"
    assert offer.layout["experts"] == "dram"
    assert 0.5 < offer.layout["hit_rate"] < 0.9  # of 90 GB of experts, what 77 GB hold beside the rest
    assert offer.binding == "dram"
    assert {r.reason for r in refused if r.devices == 1} == {"the model does not fit"}


def test_no_level_is_met_by_moving_experts_that_a_level_forbids():
    spec, _ = load_model("mixtral")
    found, _ = offers(
        spec,
        [load_profile("h100")],
        calibrated(),
        input_tokens=1000,
        output_tokens=250,
        levels={"tpot": 0.02},
        usd_per_hour=4.0,
    )
    assert not found


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


def test_a_margin_keeps_the_upper_end_of_the_interval_within_the_level():
    spec, _ = load_model("mixtral")
    more = {"input_tokens": 1000, "output_tokens": 250, "levels": {"tpot": 0.05}}
    found, _ = offers(spec, [load_profile("a100")], calibrated(), margin=True, **more)
    factor = calibrated().interval("tpot", load_profile("a100"))
    assert found
    assert all(offer.tpot * factor <= 0.05 for offer in found)
    plain, _ = offers(spec, [load_profile("a100")], calibrated(), **more)
    assert any(offer.tpot * factor > 0.05 for offer in plain)


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
    out = capsys.readouterr().out
    assert "$/M output" in out
    assert "RunPod secure, 2026-08-27" in out


def test_prices_that_are_no_rent_are_marked(capsys):
    assert main(["recommend", "--model", "mixtral", "--hw", "gb200", "--hw", "b200", "--budget", "7"]) == 0
    out = capsys.readouterr().out
    rented, marked = out.index("b200-sxm"), out.index("* SemiAnalysis TCO")
    assert rented < marked
    assert "* what an operator pays for the device, less than any rent" in out


def test_lengths_beyond_the_model_are_refused(capsys):
    assert main(["recommend", "--model", "mixtral", "--input-len", "40000"]) == 2
    assert "are more than the 32768" in capsys.readouterr().err
