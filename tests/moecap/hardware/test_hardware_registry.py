import math
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.errors import BadInputError, UnknownNameError
from moecap.hardware.profile import FORMATS
from moecap.hardware.registry import list_profiles, load_profile, profile_aliases, profile_names

GOOD = """\
id: my-chip
name: My chip
vendor: Me
kind: accelerator
memory_bytes: 8000000000
memory_bandwidth: 1.0e+12
tdp_watts: 100
dense_flops: {bf16: 2.0e+14}
"""

# id: GB, GB/s, W, dense TFLOP/s of bf16, fp8, int8, as the vendors' datasheets print them
DATASHEETS = {
    "a100-sxm4-80gb": (80, 2039, 400, 312, None, 624),
    "a100-pcie-40gb": (40, 1555, 250, 312, None, 624),
    "h100-sxm": (80, 3350, 700, 989.4, 1978.9, 1978.9),
    "h100-pcie": (80, 2000, 350, 756.5, 1513, 1513),
    "h200-sxm": (141, 4800, 700, 989.4, 1978.9, 1978.9),
    "b200-sxm": (180, 8000, 1000, 2250, 4500, 4500),
    "mi300x": (192, 5300, 750, 1307.4, 2614.9, 2614.9),
    "mi355x": (288, 8000, 1400, 2516.6, 5033.2, 5033.2),
    "rtx-4090": (24, 1008, 450, 165.2, 330.3, 660.6),
    "l4": (24, 300, 72, 121, 242, 242),
    "tpu-v5e": (16, 819, None, 197, None, 394),
    "v100-sxm2": (32, 900, 300, None, None, 62.8),
}


@pytest.mark.parametrize("identifier", DATASHEETS)
def test_profiles_say_what_the_datasheet_says(identifier):
    gigabytes, bandwidth, watts, bf16, fp8, int8 = DATASHEETS[identifier]
    profile = load_profile(identifier)
    assert profile.memory_bytes == gigabytes * 10**9
    assert profile.memory_bandwidth == bandwidth * 1e9
    assert profile.tdp_watts == watts
    for name, teraflops in (("bf16", bf16), ("fp8", fp8), ("int8", int8)):
        peak = profile.peak_flops(name)
        assert (peak.value / 1e12 if peak else None) == (pytest.approx(teraflops) if teraflops else None), name


def test_there_are_45_accelerators_and_7_hosts():
    kinds = [profile.kind for profile in list_profiles()]
    assert (kinds.count("accelerator"), kinds.count("host")) == (45, 7)


@pytest.mark.parametrize(
    ("alias", "identifier"),
    [
        ("a100", "a100-sxm4-80gb"),
        ("A100", "a100-sxm4-80gb"),
        ("h100", "h100-sxm"),
        ("H100-SXM-80GB", "h100-sxm"),
        ("h200_sxm", "h200-sxm"),
        ("h200", "h200-sxm"),
        ("b200", "b200-sxm"),
        ("RTX-PRO-6000-Blackwell-Server", "rtx-pro-6000-bw-server"),
        ("rtx4090", "rtx-4090"),
        ("RTX 4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("MI300X", "mi300x"),
        ("L40S", "l40s"),
    ],
)
def test_short_names_are_stable(alias, identifier):
    assert load_profile(alias).id == identifier


def test_every_name_stands_for_one_profile():
    ids, aliases = set(profile_names()), profile_aliases()
    assert not ids & set(aliases)
    assert set(aliases.values()) <= ids
    assert sum(len(profile.aliases) for profile in list_profiles()) == len(aliases)


def test_every_driver_name_stands_for_one_profile():
    names = [name for profile in list_profiles() for name in {known.lower() for known in profile.driver_names}]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("profile", list_profiles(), ids=lambda profile: profile.id)
def test_every_profile_is_sourced_and_its_file_is_named_after_it(profile):
    assert profile.id in profile_names()
    assert set(profile.dense_flops) == set(FORMATS)
    assert profile.sources
    for price in profile.prices:
        assert price.source is None or price.source in profile.sources
    if profile.kind == "accelerator":
        assert profile.evidence in ("A", "B", "C")
        assert profile.peak_bandwidth is not None


@pytest.mark.parametrize("profile", list_profiles(), ids=lambda profile: profile.id)
def test_sparse_rates_lie_apart_above_the_dense_ones(profile):
    for name, sparse in profile.sparse_flops.items():
        dense = profile.dense_flops[name]
        assert sparse is None or dense is None or sparse >= 1.3 * dense, name  # Blackwell Ultra fp4: 4 to 3


def test_disagreements_are_carried_over():
    assert any("3072 GB/s" in text and "3430" in text for text in load_profile("h100").conflicts)
    assert load_profile("xeon-6454s").measured_flops == {"bf16": 21e12, "int8": 35e12}
    assert load_profile("xeon-6454s").peak_flops("bf16") is None


def test_prices_are_dated_and_of_one_device():
    first = load_profile("h100").default_price
    assert first is not None
    assert (first.usd_per_hour, first.provider, first.date) == (3.29, "RunPod secure", "2026-08-27")


def test_an_unknown_name_offers_near_ones_in_one_line():
    with pytest.raises(UnknownNameError, match=r"no hardware profile named 'h10'.*did you mean 'h100'") as caught:
        load_profile("h10")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b", "a\nb", "💥", "..", "~"])
def test_strange_names_are_refused_politely(name):
    with pytest.raises((UnknownNameError, BadInputError)) as caught:
        load_profile(name)
    assert "\n" not in str(caught.value)


def test_a_saved_file_is_a_profile(tmp_path):
    file = tmp_path / "chip.yaml"
    file.write_text(GOOD)
    assert load_profile(str(file)).peak_bandwidth.value == 1e12
    assert load_profile(file) == load_profile(str(file))


@pytest.mark.parametrize("identifier", ["h100-sxm", "mi300x", "epyc-9654-1s"])
def test_a_profile_survives_being_saved(tmp_path, identifier):
    file = tmp_path / "saved.yaml"
    file.write_text(yaml.safe_dump(load_profile(identifier).model_dump(mode="json")))
    assert load_profile(file) == load_profile(identifier)


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)

HOSTILE = {
    "empty": b"",
    "scalar": b"42",
    "list": b"- 1\n- 2\n",
    "missing keys": b"id: x\n",
    "unknown key": GOOD.encode() + b"surprise: 1\n",
    "nan": GOOD.replace("1.0e+12", ".nan").encode(),
    "inf": GOOD.replace("1.0e+12", ".inf").encode(),
    "inf as text": GOOD.replace("1.0e+12", "1e999").encode(),
    "negative": GOOD.replace("1.0e+12", "-1.0e+12").encode(),
    "truth value": GOOD.replace("1.0e+12", "yes").encode(),
    "endless number": GOOD.replace("8000000000", "9" * 5000).encode(),
    "huge number": GOOD.replace("8000000000", "9" * 400).encode(),
    "escape sequence": GOOD.replace("My chip", '"\\e[2J"').encode(),
    "newline in key": GOOD.encode() + b'"a\\nb": 1\n',
    "too large": GOOD.encode() + b"#" * 100_000,
    "too deep": b"[" * 30_000,
    "deep but small": GOOD.encode() + b"notes: " + b"[" * 40 + b"]" * 40,
    "alias bomb": BOMB.encode(),
    "python object": b"!!python/object/apply:os.system ['true']",
    "binary": bytes(range(256)),
    "bad utf-8": b"id: \xff\xfe\xfa",
    "open quote": b'id: "x',
    "unhashable key": b"? [a]\n: 1\n",
    "two documents": GOOD.encode() + b"---\n" + GOOD.encode(),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_ends_in_one_line(tmp_path, case):
    file = tmp_path / "hostile.yaml"
    file.write_bytes(HOSTILE[case])
    with pytest.raises(BadInputError) as caught:
        load_profile(file)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 900
    assert "hostile.yaml" in text


@given(content=st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_no_bytes_end_in_anything_else(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("bytes") / "any.yaml"
    file.write_bytes(content)
    with pytest.raises(BadInputError):
        load_profile(file)


@given(value=st.floats() | st.integers())
@settings(max_examples=100, deadline=None)
def test_a_bandwidth_is_positive_and_finite_or_refused(tmp_path_factory, value):
    file = tmp_path_factory.mktemp("value") / "chip.yaml"
    file.write_text(GOOD.replace("1.0e+12", yaml.safe_dump(value).split("\n")[0]))
    if math.isfinite(value) and 0 < value <= 1e24:
        assert load_profile(file).memory_bandwidth == pytest.approx(value)
    else:
        with pytest.raises(BadInputError):
            load_profile(file)


def test_folders_and_missing_files_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(BadInputError, match="no hardware profile file"):
            load_profile(path)


def test_hardware_loads_no_engine():
    code = (
        "import sys, moecap.hardware.resolve, moecap.cli.hw; moecap.hardware.resolve.load_profile('a100');"
        "heavy = ('torch', 'transformers', 'numpy', 'pynvml', 'moecap.hardware.kernels');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
