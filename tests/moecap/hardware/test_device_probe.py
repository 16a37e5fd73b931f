"""The probe of an accelerator: on the processor the same code runs that runs on a GPU, with the host's clock."""

import dataclasses
import importlib.util
import json
import time

import pytest

from moecap.errors import NotAvailableError, RunError
from moecap.hardware import device_probe as device_probe_module
from moecap.hardware.detect import detect
from moecap.hardware.device import Device
from moecap.hardware.device_kernels import DeviceBench, missing_format
from moecap.hardware.device_probe import array_size, device_profile, known_probe, measure_device, probe_device
from moecap.hardware.host import read_host
from moecap.hardware.kernels import kernel_rate
from moecap.hardware.probe import unsteadiness
from moecap.hardware.profile import HardwareProfile, Peak

torch = pytest.importorskip("torch")

H100 = Device(
    vendor="NVIDIA",
    index=0,
    name="NVIDIA H100 80GB HBM3",
    memory_bytes=81559 * 2**20,
    driver_version="580.65.06",
    part=False,
    ordinal=0,
    profile_id="h100-sxm",
    remark=None,
)
ARRAY = 8_000_000
SIDE = 256


@pytest.fixture(scope="module")
def measured():
    """Every kernel, once, on this processor."""
    return measure_device(torch, "cpu", repeats=5, array_bytes=ARRAY, side=SIDE)


@pytest.fixture
def rates(measured):
    return {kernel.kernel: kernel for kernel in measured.kernels}


def as_gpu(probe, **device):
    """The processor's probe under the name that torch gives an H100."""
    found = probe.device.model_copy(update={"name": H100.name, "driver_version": H100.driver_version, **device})
    kernels = tuple(k.model_copy(update={"spread": 0.1, "threads": None}) for k in probe.kernels)
    return probe.model_copy(update={"device": found, "memory_bytes": 85 * 10**9, "threads": None, "kernels": kernels})


def test_every_kernel_is_repeated_and_named_with_its_format(rates):
    bandwidth = {"torch.copy", "torch.triad", "torch.sum"}
    products = {f"torch.matmul.{dtype}" for dtype in ("fp32", "bf16", "fp16", "fp8", "int8")}
    assert set(rates) == bandwidth | products
    for name, kernel in rates.items():
        assert kernel.repeats == 5
        assert kernel.best >= kernel.median > 0
        assert kernel.kind == ("bandwidth" if name in bandwidth else "matmul")
        assert kernel.unit == ("bytes/s" if name in bandwidth else "FLOP/s")
        assert kernel.dtype == ("fp32" if name in bandwidth else name.rpartition(".")[2])
        assert kernel.library == f"torch {torch.__version__}"


@pytest.mark.parametrize(
    ("name", "one_call"),
    [
        ("torch.copy", 2 * ARRAY),  # read and written
        ("torch.triad", 3 * ARRAY),  # two arrays read, one written
        ("torch.sum", ARRAY),
        ("torch.matmul.bf16", 2 * SIDE**3),  # a multiply and an add each
        ("torch.matmul.fp8", 2 * SIDE**3),
        ("torch.matmul.int8", 2 * SIDE**3),
    ],
)
def test_work_is_what_the_calls_of_a_repeat_must_move_or_compute(rates, name, one_call):
    calls = int(rates[name].counted.split("; ")[1].removesuffix(" calls a repeat"))
    assert rates[name].work == calls * one_call


def test_a_repeat_lasts_as_long_as_all_of_its_calls():
    """A kernel that sleeps for 5 ms is never seen to do its work more than 200 times a second."""
    from moecap.hardware.device_kernels import _measured

    calls = []

    def kernel():
        calls.append(None)
        time.sleep(0.005)

    bench = DeviceBench(torch, "cpu", "cpu", (0, 0), "", ARRAY, SIDE, repeats=5, seconds=0.02, warm_seconds=0.01)
    rate = _measured(bench, "torch.copy", kernel, 1000, "bytes", "bandwidth", "fp32")
    assert rate.best <= 200 * 1000
    a_repeat = int(rate.work / 1000)
    assert 1 <= a_repeat <= 4  # what fills 20 ms
    assert len(calls) - 5 * a_repeat in (3, 4)  # one loads it, one is for the estimate, one or two warm it up


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp8"])
def test_flops_are_those_that_torch_counts_itself(dtype):
    from torch.utils.flop_counter import FlopCounterMode

    from moecap.hardware.device_kernels import _product

    kernel = _product(DeviceBench(torch, "cpu", "cpu", (0, 0), "", ARRAY, SIDE, 1), dtype)
    with FlopCounterMode(display=False) as counter:
        kernel()
    assert counter.get_total_flops() == 2 * SIDE**3


def test_best_median_and_spread_of_known_times():
    rate = kernel_rate(
        "torch.triad",
        kind="bandwidth",
        times=[0.5, 0.25, 1.0],
        work=12,
        counted="three arrays",
        dtype="fp32",
        threads=None,
        torch=torch,
        pinned=False,
    )
    assert (rate.best, rate.median, rate.spread, rate.repeats) == (48.0, 24.0, (48 - 12) / 24, 3)


def test_the_triad_computes_what_it_is_named_after():
    from moecap.hardware.device_kernels import _triad

    made = []

    def array(value):
        made.append(torch.full((4,), value))
        return made[-1]

    _triad(torch, array)()
    left, right, out = made
    assert torch.equal(out, left + 3 * right)
    assert out.tolist() == [7.0] * 4


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16", "fp8", "int8"])
def test_a_product_is_the_product_of_its_matrices(dtype):
    """Against float64; the eight bits of fp8 (e4m3: 3 of the mantissa) carry a relative error of up to 1/16 each."""
    from moecap.hardware.device_kernels import _product

    bench = DeviceBench(torch, "cpu", "cpu", (0, 0), "", ARRAY, SIDE, 1)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=generator).double() for _ in range(2))
    result = _product(bench, dtype)().double()
    if dtype in ("fp8", "int8"):
        right = right.t()  # kernels of eight bits want the second matrix by columns
    scale = 32**2 if dtype == "int8" else 1
    error = (result / scale - left @ right).norm() / (left @ right).norm()
    assert error < {"fp32": 1e-5, "bf16": 1e-2, "fp16": 1e-3, "fp8": 0.06, "int8": 0.02}[dtype]


def test_formats_without_a_kernel_are_absent_with_the_reason(measured):
    assert measured.absent["torch.matmul.tf32"] == "processors have no tf32"
    assert "no kernel" in measured.absent["torch.matmul.fp4"]
    assert not set(measured.absent) & {kernel.kernel for kernel in measured.kernels}


def test_a_product_that_torch_refuses_is_absent_with_its_words(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("torch._scaled_mm is only supported on\ncompute capability >= 8.9")

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    probe = measure_device(torch, "cpu", repeats=1, array_bytes=1_000_000, side=64)
    assert probe.absent["torch.matmul.fp8"].startswith(
        "torch refused it: torch._scaled_mm is only supported on compute"
    )
    assert probe.best_matmul("int8") is not None


@pytest.mark.parametrize(
    ("platform", "capability", "architecture", "missing"),
    [
        ("cuda", (9, 0), "sm_90", set()),
        ("cuda", (8, 9), "sm_89", set()),
        ("cuda", (8, 0), "sm_80", {"fp8"}),  # A100
        ("cuda", (7, 5), "sm_75", {"tf32", "bf16", "fp8"}),  # T4
        ("cuda", (7, 0), "sm_70", {"tf32", "bf16", "fp8", "int8"}),  # V100
        ("rocm", (0, 0), "gfx942", {"tf32"}),
        ("rocm", (0, 0), "gfx950", {"tf32"}),
        ("rocm", (0, 0), "gfx90a", {"tf32", "fp8"}),  # MI250X
    ],
)
def test_a_device_is_asked_only_for_formats_that_it_has(platform, capability, architecture, missing):
    reasons = {d: missing_format(d, platform, capability, architecture) for d in ("fp32", "tf32", "bf16", "fp16")}
    reasons |= {d: missing_format(d, platform, capability, architecture) for d in ("fp8", "int8")}
    assert {dtype for dtype, reason in reasons.items() if reason} == missing


def test_the_reason_names_what_is_needed_and_what_is_there():
    reason = missing_format("fp8", "cuda", (8, 0), "sm_80")
    assert reason == "fp8 needs compute capability 8.9 and this device has 8.0"


def test_the_precision_of_products_is_put_back(measured):
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(
    ("free", "cache", "size"),
    [
        (80 * 2**30, 50 * 2**20, 2**30),
        (80 * 2**30, 512 * 2**20, 2 * 2**30),  # four caches
        (2 * 2**30, 50 * 2**20, 2**29),  # a quarter of what is free
        (80 * 2**30, None, 2**30),
    ],
)
def test_an_array_is_four_caches_and_a_gibibyte_where_memory_allows(free, cache, size):
    assert array_size(free, cache) == size


@pytest.mark.parametrize(("free", "cache"), [(40_000_000, None), (2**30, 128 * 2**20)])
def test_too_little_memory_for_four_caches_is_refused(free, cache):
    with pytest.raises(NotAvailableError, match="end what holds it"):
        array_size(free, cache)


def test_the_device_and_its_conditions_stand_beside_the_figures(measured):
    host = read_host()
    assert measured.device.name == host.cpu_model
    assert measured.device.busy_before is None  # no counter: unknown, never zero
    assert measured.array_bytes == ARRAY
    assert measured.versions == {"torch": torch.__version__}
    assert measured.seconds < 60


def test_a_busy_device_makes_a_probe_unsteady(measured):
    assert unsteadiness(as_gpu(measured, busy_before=0.0)) == []
    (remark,) = unsteadiness(as_gpu(measured, busy_before=0.6))
    assert "60%" in remark


def test_the_probe_is_kept_by_name_memory_and_driver(measured, tmp_path, monkeypatch):
    probe, told = as_gpu(measured), []
    monkeypatch.setattr(device_probe_module, "run_apart", lambda *_: probe)
    assert probe_device(H100, cache_dir=tmp_path, progress=told.append) == probe
    assert told == ["measuring the peaks of cuda:0 (NVIDIA H100 80GB HBM3): about 10 s"]
    monkeypatch.setattr(device_probe_module, "run_apart", lambda *_: pytest.fail("measured again"))
    assert probe_device(H100, cache_dir=tmp_path) == probe
    assert known_probe(dataclasses.replace(H100, ordinal=3), tmp_path) == probe  # its place does not matter
    for change in ({"name": "NVIDIA H200"}, {"memory_bytes": 1}, {"driver_version": "1"}):
        assert known_probe(dataclasses.replace(H100, **change), tmp_path) is None


def test_the_child_counts_devices_as_the_driver_does(measured, tmp_path, monkeypatch):
    asked = []

    def run(module, variables, name):
        asked.append((module, variables))
        return as_gpu(measured)

    monkeypatch.setattr(device_probe_module, "run_apart", run)
    probe_device(dataclasses.replace(H100, ordinal=2), cache_dir=tmp_path)
    expected = ["moecap.hardware.device_probe", "cuda:2", "580.65.06"], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert asked == [expected]


@pytest.mark.parametrize("other", [{"name": "NVIDIA L4"}, {"memory_bytes": 24 * 10**9}])
def test_a_probe_that_torch_made_of_another_device_is_refused(measured, tmp_path, monkeypatch, other):
    probe = as_gpu(measured)
    if "name" in other:
        probe = probe.model_copy(update={"device": probe.device.model_copy(update=other)})
    else:
        probe = probe.model_copy(update=other)
    monkeypatch.setattr(device_probe_module, "run_apart", lambda *_: probe)
    with pytest.raises(RunError, match="CUDA_VISIBLE_DEVICES"):
        probe_device(H100, cache_dir=tmp_path)
    assert known_probe(H100, tmp_path) is None


def test_without_torch_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotAvailableError, match="needs torch, which is not installed; install torch"):
        probe_device(H100, cache_dir=tmp_path)


@pytest.mark.skipif(
    torch.version.cuda is not None or torch.version.hip is not None, reason="this torch has a GPU build"
)
def test_a_torch_for_the_processor_alone_says_so_in_one_line(tmp_path):
    """Through the real clean process."""
    with pytest.raises(RunError, match=r"is built for the processor alone; install the build of torch") as caught:
        probe_device(H100, cache_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_known_device_keeps_its_datasheet_beside_the_probe(measured):
    profile = device_profile(H100, as_gpu(measured))
    assert profile.id == "h100-sxm"
    assert profile.peak_bandwidth.source == "datasheet"
    assert profile.probe.device.name == H100.name


def test_a_part_of_a_board_gets_a_profile_of_its_own_probe(measured):
    part = dataclasses.replace(
        H100, name="NVIDIA H100 80GB HBM3 MIG 1g.10gb", profile_id=None, part=True, remark="a MIG slice"
    )
    profile = device_profile(part, as_gpu(measured))
    assert (profile.id, profile.kind) == ("nvidia-h100-80gb-hbm3-mig-1g-10gb", "accelerator")
    best = measured.best_bandwidth()
    assert profile.peak_bandwidth == Peak(best.best, "probed", best.kernel)
    assert profile.peak_flops("fp4") is None
    assert HardwareProfile.model_validate(json.loads(profile.model_dump_json())) == profile


@pytest.mark.gpu
def test_a_gpu_reaches_half_of_its_datasheet_and_never_more_than_all(tmp_path):
    machine = detect()
    device = machine.visible[0]
    probe = probe_device(device, cache_dir=tmp_path)
    assert probe.device.name == torch.cuda.get_device_name(0)
    for kernel in probe.kernels:
        assert kernel.repeats >= 5
    profile = device_profile(device, probe)
    if device.profile_id is None:
        pytest.skip(f"no datasheet: {device.remark}")
    assert 0.5 < probe.best_bandwidth().best / profile.memory_bandwidth <= 1.0
    for kernel in probe.kernels:
        datasheet = profile.dense_flops.get(kernel.dtype) if kernel.kind == "matmul" else None
        assert datasheet is None or kernel.best <= 1.05 * datasheet


@pytest.mark.gpu
def test_arrays_on_a_gpu_are_four_caches_and_a_gibibyte():
    probe = measure_device(torch, "cuda:0", repeats=5)
    assert probe.array_bytes >= min(2**30, probe.device.memory_free_bytes // 4)
    assert probe.array_bytes >= 4 * (probe.last_level_cache_bytes or 0)
    assert probe.threads is None
