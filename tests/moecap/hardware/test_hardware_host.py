import socket
from pathlib import Path

import pytest

from moecap.hardware.host import host_profile, read_host, usable_processors

GIB = 2**30


def machine(
    root: Path,
    *,
    model: str = "Intel(R) Xeon(R) Platinum 8480C CPU @ 2.00GHz",
    flags: str = "fpu avx2 avx512f avx512_bf16 amx_bf16",
    siblings: dict[int, str] | None = None,
    files: dict[str, str] | None = None,
) -> Path:
    """A /proc and a /sys with 64 GiB, two threads a core, 1 MiB of level 2 and one level-3 cache of 32 MiB."""
    contents = {
        "proc/cpuinfo": f"processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: {model}\nflags\t\t: {flags}\n",
        "proc/meminfo": f"MemTotal:       {64 * GIB // 1024} kB\nMemFree: 1 kB\n",
        "proc/self/cgroup": "0::/pod/container\n",
    }
    for cpu, group in (
        siblings or {0: "0,4", 1: "1,5", 2: "2,6", 3: "3,7", 4: "0,4", 5: "1,5", 6: "2,6", 7: "3,7"}
    ).items():
        folder = f"sys/devices/system/cpu/cpu{cpu}"
        contents[f"{folder}/topology/thread_siblings_list"] = group + "\n"
        for index, (level, kind, size, shared) in enumerate(
            [
                (1, "Data", "48K", group),
                (1, "Instruction", "32K", group),
                (2, "Unified", "1024K", group),
                (3, "Unified", "32M", "0-7"),
            ]
        ):
            cache = f"{folder}/cache/index{index}"
            contents |= {f"{cache}/level": f"{level}\n", f"{cache}/type": f"{kind}\n"}
            contents |= {f"{cache}/size": f"{size}\n", f"{cache}/shared_cpu_list": f"{shared}\n"}
    for name, text in (contents | (files or {})).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_cores_are_physical_and_vcpus_logical(tmp_path):
    host = read_host(machine(tmp_path), cpus=set(range(8)))
    assert (host.cores, host.core_cpus, host.vcpus) == (4, (0, 1, 2, 3), 8)
    assert host.memory_bytes == 64 * GIB
    assert host.flags == ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    assert host.vendor == "Intel"


def test_affinity_takes_cores_away(tmp_path):
    host = read_host(machine(tmp_path), cpus={2, 5, 6})
    assert (host.cores, host.core_cpus, host.vcpus) == (2, (2, 5), 3)


def test_caches_are_counted_once(tmp_path):
    host = read_host(machine(tmp_path), cpus=set(range(8)))
    assert host.level2_cache_bytes == 2**20
    assert host.last_level_cache_bytes == 32 * 2**20


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 4), ("200000 100000", 2), ("250000 100000", 2), ("5000 100000", 1)]
)
def test_a_quota_of_the_control_group_limits_the_cores(tmp_path, quota, cores):
    root = machine(tmp_path, files={"sys/fs/cgroup/pod/container/cpu.max": quota + "\n"})
    assert read_host(root, cpus=set(range(8))).cores == cores


@pytest.mark.parametrize(("quota", "at_once"), [("max 100000", 8.0), ("250000 100000", 2.5), ("1600000 100000", 8.0)])
def test_processors_that_may_be_used_at_once_are_not_always_a_whole_number(tmp_path, quota, at_once):
    root = machine(tmp_path, files={"sys/fs/cgroup/pod/container/cpu.max": quota + "\n"})
    assert usable_processors(root, cpus=set(range(8))) == (set(range(8)), at_once)


def test_the_tightest_limit_among_the_parents_counts(tmp_path):
    files = {
        "sys/fs/cgroup/pod/cpu.max": "100000 100000",
        "sys/fs/cgroup/pod/container/cpu.max": "max 100000",
        "sys/fs/cgroup/pod/memory.max": str(8 * GIB),
        "sys/fs/cgroup/pod/container/memory.max": str(16 * GIB),
    }
    host = read_host(machine(tmp_path, files=files), cpus=set(range(8)))
    assert (host.cores, host.memory_bytes) == (1, 8 * GIB)


def test_control_groups_of_version_1_are_understood(tmp_path):
    files = {
        "proc/self/cgroup": "4:memory:/job\n1:cpu,cpuacct:/job\n0::/\n",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "300000",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",  # no limit
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(4 * GIB),
    }
    host = read_host(machine(tmp_path, files=files), cpus=set(range(8)))
    assert (host.cores, host.memory_bytes) == (3, 4 * GIB)


def test_a_machine_that_says_nothing_still_has_one_core(tmp_path):
    host = read_host(tmp_path, cpus={0})
    assert (host.cores, host.vcpus, host.memory_bytes, host.last_level_cache_bytes) == (1, 1, None, None)
    assert host_profile(host).memory_bytes is None


@pytest.mark.parametrize(
    ("model", "identifier"),
    [
        ("AMD EPYC", "host-amd-epyc-4c"),
        ("AMD EPYC 9654 96-Core Processor", "host-amd-epyc-9654-4c"),
        ("Intel(R) Xeon(R) Platinum 8480C CPU @ 2.00GHz", "host-intel-xeon-platinum-8480c-4c"),
        ("AMD Ryzen 7 PRO with Radeon Graphics", "host-amd-ryzen-7-pro-4c"),
        ("\x1b[2J/../", "host-2j-4c"),
        ("()", "host-cpu-4c"),
    ],
)
def test_the_id_is_made_of_the_processor_and_its_cores(tmp_path, model, identifier):
    assert (
        host_profile(read_host(machine(tmp_path, model=model.replace("\x1b", "")), cpus=set(range(8)))).id == identifier
    )


def test_the_price_is_the_generic_one_scaled_by_vcpu_and_says_so(tmp_path):
    profile = host_profile(read_host(machine(tmp_path), cpus=set(range(8))))
    price = profile.default_price
    assert price is not None
    assert price.usd_per_hour == pytest.approx(4 * 0.1008)  # 8 vCPU at 0.1008 USD for 2
    assert price.provider.startswith("default: generic virtual machine scaled from 2 to 8 vCPU; AWS m7i.large")
    assert price.date == "2026"
    assert profile.tdp_watts is None
    assert profile.memory_bandwidth is None


def test_the_profile_of_this_machine_has_no_host_name():
    text = host_profile(read_host()).model_dump_json()
    assert socket.gethostname() not in text
    assert read_host().cores >= 1
