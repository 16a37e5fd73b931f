"""What a system costs an hour, against hand calculation, and which constants decide it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.config import CostConfig
from moecap.errors import BadInputError
from moecap.hardware.profile import HardwareProfile, ListPrice
from moecap.hardware.registry import load_profile
from moecap.metrics.constants import Constant, constant_value, constants_in_force
from moecap.metrics.ownership import owning_usd_per_hour, purchase_usd, rent_usd_per_hour
from moecap.settings import with_settings

PARTS = {"board_usd": 20_000, "dram_usd": 10_000, "ssd_usd": 5_000, "links_usd": 15_000}


def constants(hw: str, devices: int = 1, **cost: object) -> tuple[Constant, ...]:
    return constants_in_force(CostConfig(**cost), None, load_profile(hw), devices)


def named(found: tuple[Constant, ...], name: str) -> Constant:
    return next(c for c in found if c.name == name)


def test_rent_is_that_of_all_devices():
    assert rent_usd_per_hour(3.29, 8).value == pytest.approx(26.32)


def test_no_rent_has_no_value_and_says_how_to_give_one():
    metric = rent_usd_per_hour(None, 8)
    assert metric.value is None
    assert "--price" in metric.reason


def test_owning_eight_h100_pays_the_purchase_off_and_the_electricity():
    found = constants("h100", 8, **PARTS)
    # 8 x 38,000 + 7,214 + 20,000 + 10,000 + 5,000 + 15,000
    assert purchase_usd(found, 8).value == 361_214
    # 4 years are 35,040 hours; 8 x 1.73 kW at the meter for 10 cents
    assert owning_usd_per_hour(found, 8).value == pytest.approx(361_214 / 35_040 + 13.84 * 0.1)


def test_every_constant_of_owning_can_be_set():
    found = constants(
        "h100", 8, capital=300_000, years=5, availability=0.9, kw=10, pue=1.2, usd_per_kwh=0.2, utilisation=0.5
    )
    assert owning_usd_per_hour(found, 8).value == pytest.approx(300_000 / (5 * 8760 * 0.9) + 10 * 1.2 * 0.2)
    given_by_user = {c.name for c in found if c.given}
    assert given_by_user == {"capital", "years", "availability", "kw", "pue", "usd_per_kwh", "utilisation"}


def test_the_pue_is_not_counted_twice_in_a_power_that_has_the_site_in_it():
    for pue in (1.0, 1.3, 2.0):
        found = constants("h100", 8, pue=pue)
        assert constant_value(found, "kw") * pue == pytest.approx(8 * 1.73)


def test_without_a_published_power_the_design_power_and_the_host_count():
    found = constants("rtx-a5000", 2)
    assert constant_value(found, "kw") == pytest.approx((2 * 230 + 350) / 1000)
    assert named(found, "kw").date == "2026-11-24"


def test_a_part_without_a_price_leaves_the_whole_without_one_and_is_named():
    found = constants("h100", 8, board_usd=20_000, ssd_usd=5_000)
    for metric in (purchase_usd(found, 8), owning_usd_per_hour(found, 8)):
        assert metric.value is None
        assert "the memory of the host, the links between the devices" in metric.reason
        assert metric.reason.endswith("give --set cost.dram_usd, cost.links_usd, or cost.capital for all")


def test_a_part_that_the_user_has_for_nothing_costs_nothing():
    found = constants("h100", 1, device_usd=30_000, cpu_usd=0, board_usd=0, dram_usd=0, ssd_usd=0)
    assert purchase_usd(found, 1).value == 30_000


def test_one_device_needs_no_link_and_a_host_no_second_processor():
    assert {c.name for c in constants("h100", 1)} >= {"device_usd", "cpu_usd", "board_usd"}
    assert "links_usd" not in {c.name for c in constants("h100", 1)}
    assert "cpu_usd" not in {c.name for c in constants("epyc-9654-1s")}


def test_a_device_without_a_design_power_asks_for_the_kilowatts():
    found = constants("tpu-v5e", 1, capital=1000)
    metric = owning_usd_per_hour(found, 1)
    assert metric.value is None
    assert metric.reason.endswith("--set cost.kw")


def test_defaults_name_their_source_date_and_grade_and_are_not_the_users():
    found = constants("h100")
    assert named(found, "years").value == 4
    assert named(found, "pue").value == 1.3
    carbon = named(found, "gco2_per_kwh")
    assert (carbon.value, carbon.date, carbon.evidence, carbon.given) == (475, "2019", "B", False)
    assert "codecarbon" in carbon.source
    rent = named(found, "usd_per_hour")
    assert (rent.value, rent.source, rent.date) == (3.29, "RunPod secure", "2026-08-27")
    device = named(found, "device_usd")
    assert (device.value, device.date) == (38_000, "late 2024/early 2025")
    assert "MoE-CAP" in device.source
    for constant in found:
        assert constant.source


def test_a_constant_of_the_user_says_so():
    found = constants_in_force(CostConfig(years=3), 2.5, load_profile("h100"), 1)
    assert named(found, "usd_per_hour") == Constant(
        name="usd_per_hour", value=2.5, unit="USD/h", source="given by the user", given=True
    )
    assert named(found, "years").given


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("cost.years=0", "cost.years: Input should be greater than 0"),
        ("cost.years=-1", "cost.years: Input should be greater than 0"),
        ("cost.availability=1.2", "cost.availability: Input should be less than or equal to 1"),
        ("cost.utilisation=0", "cost.utilisation: Input should be greater than 0"),
        ("cost.utilisation=60", "cost.utilisation: Input should be less than or equal to 1"),
        ("cost.pue=0.9", "cost.pue: Input should be greater than or equal to 1"),
        ("cost.usd_per_kwh=-0.1", "cost.usd_per_kwh: Input should be greater than or equal to 0"),
        ("cost.kw=0", "cost.kw: Input should be greater than 0"),
        ("cost.kw=.nan", "cost.kw: Input should be"),
        ("cost.capital=.inf", "cost.capital: Input should be"),
        ("cost.years=true", "a number is needed"),
        ("cost.basis=lease", "cost.basis: Input should be 'rent' or 'own'"),
        ("cost.wacc=0.1", "no setting named 'cost.wacc'"),
    ],
)
def test_a_constant_outside_its_range_is_refused_with_the_range(setting, text):
    with pytest.raises(BadInputError) as caught:
        with_settings({}, (setting,))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_capital_and_the_price_of_a_part_exclude_each_other():
    with pytest.raises(BadInputError, match="give it or the prices of the parts"):
        with_settings({}, ("cost.capital=1000", "cost.ssd_usd=100"))


@given(
    capital=st.floats(0, 1e9),
    years=st.floats(0.1, 50),
    availability=st.floats(0.01, 1),
    kw=st.floats(0.001, 1e4),
)
def test_owning_falls_with_years_and_availability_and_never_below_the_electricity(capital, years, availability, kw):
    chip = load_profile("h100")

    def hour(**cost: float) -> float:
        found = constants_in_force(CostConfig(**cost), None, chip, 1)
        value = owning_usd_per_hour(found, 1).value
        assert value is not None
        return value

    base = {"capital": capital, "years": years, "availability": availability, "kw": kw}
    value = hour(**base)
    assert math.isfinite(value)
    assert value >= kw * 1.3 * 0.1 * (1 - 1e-12)
    assert hour(**{**base, "years": min(50, 2 * years)}) <= value
    assert hour(**{**base, "availability": 1}) <= value


def test_a_utility_power_without_its_source_is_no_profile():
    with pytest.raises(ValueError, match="not among sources"):
        HardwareProfile.model_validate(
            {
                **load_profile("h100").model_dump(),
                "utility_power": {"watts": 1730, "source": "nobody", "date": None},
            }
        )


def test_a_list_price_names_the_device_and_the_full_source():
    chip = load_profile("h100").model_copy(update={"list_price_usd": ListPrice(usd=1.0, source="a bill", date="2026")})
    line = named(constants_in_force(CostConfig(), None, chip, 1), "device_usd")
    assert (line.value, line.source, line.date) == (1.0, "H100 SXM5 80GB: a bill", "2026")
