"""What a report says of the probe of an accelerator, which ran on no thread of the host."""

from moecap.hardware.profile import KernelRate, Probe, ProbedDevice
from moecap.hardware.registry import load_profile
from moecap.report.provenance import _profile

COPY = KernelRate(
    kernel="torch.copy",
    kind="bandwidth",
    unit="bytes/s",
    best=270e9,
    median=268e9,
    spread=0.02,
    repeats=9,
    threads=None,
    pinned=False,
    dtype="fp32",
    library="torch 2.9.0+cu128",
    counted="read + written bytes; 3 calls a repeat",
    work=6 * 2**30,
)
PROBE = Probe(
    version=2,
    date="2026-11-24T00:00:00+00:00",
    seconds=9,
    cpu_model="AMD EPYC",
    threads=None,
    memory_bytes=23 * 10**9,
    last_level_cache_bytes=48 * 2**20,
    array_bytes=2**30,
    loadavg_before=0.5,
    loadavg_after=0.5,
    busy_before=None,
    steal=None,
    flags=(),
    versions={"torch": "2.9.0+cu128"},
    environment={},
    kernels=(COPY,),
    absent={},
    warnings=(),
    device=ProbedDevice(
        name="NVIDIA L4",
        driver_version="580.65.06",
        architecture="sm_89",
        toolkit="CUDA 12.8",
        processors=58,
        memory_free_bytes=23 * 10**9,
        busy_before=0.0,
    ),
)


def test_a_probed_accelerator_is_named_and_no_threads_are_claimed():
    page = str(_profile(load_profile("l4").model_copy(update={"probe": PROBE})))
    assert "on NVIDIA L4" in page
    assert "on the accelerator" in page
    assert "None" not in page
    assert "270 GB/s" in page
