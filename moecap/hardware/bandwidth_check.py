"""The memory bandwidth of a probed host at one moment of a run, measured by a kernel of its own probe.

The bandwidth that a virtual machine gets moves with what its neighbours do, within minutes and by as much as half. A
probe of another time does not show that; this check is made right beside the load, in the process that runs it.
"""

from __future__ import annotations

import sys
from typing import Any

from moecap.hardware.host import HostFacts, available_memory
from moecap.hardware.probe import REPEATS
from moecap.hardware.profile import HardwareProfile, KernelRate

__all__ = ["check_bandwidth"]


def check_bandwidth(host: HostFacts, profile: HardwareProfile) -> KernelRate | None:
    """Run the best bandwidth kernel of the probe again, on every usable core; it takes 0.1 to 0.5 s.

    The kernel is the fastest of those that the check can run as the probe did: one pinned thread a core, so none whose
    threads are a BLAS library's, and with torch only where this process has loaded it already. Arrays are as large as
    the probe's. The threads end with the check, and the number of torch's threads is put back.

    Args:
        host: The host, as ``read_host`` gives it.
        profile: The hardware of the run.

    Returns:
        The rate; ``None`` where the peak is not a probed one, no kernel can be run, or too little memory is free.
    """
    peak = profile.peak_bandwidth
    if profile.kind != "host" or profile.probe is None or peak is None or peak.source != "probed":
        return None
    from moecap.hardware.kernels import Workbench, cache_block, pinned_kernels, pinned_rate

    size = min(profile.probe.array_bytes, available_memory() // 8)
    if 2 * size < profile.probe.array_bytes:  # half of the probe's arrays still is twice the last-level caches
        return None
    torch: Any | None = sys.modules.get("torch")
    bench = Workbench(host.core_cpus, size, cache_block(host.level2_cache_bytes), host.flags, REPEATS)
    able = pinned_kernels(bench, torch)
    kernels = [k for k in profile.probe.kernels if k.pinned and k.kernel in able]
    if not kernels:
        return None
    threads = torch.get_num_threads() if torch else 0
    try:
        return pinned_rate(max(kernels, key=lambda k: k.best).kernel, bench, torch)
    except (MemoryError, RuntimeError, OSError):  # numpy, torch, or a processor that was taken away: no run ends here
        return None
    finally:
        if torch:
            torch.set_num_threads(threads)
