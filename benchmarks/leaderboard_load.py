"""A leaderboard with 100,000 results under an open load of 50 reads and 2 submissions a second, and where it saturates.

usage: python benchmarks/leaderboard_load.py --store DIR [--size 100000] [--reads 50] [--writes 2] [--connections 110]
           [--seconds 300] [--full-exports 60] [--alone 20] [--steps 60 70 80 100] [--step-seconds 30] [--seed 0]

DIR keeps the filled store; what is measured is a copy of it. The service is `moecap serve` as a process of its own with
one examiner; the generator, one more process of one thread, shares the processors with both. All requests come from one
address, so the limits of one client are lifted (MOECAP_READS_PER_SECOND, MOECAP_READS_AT_ONCE and
MOECAP_WRITES_PER_MINUTE), as an operator would for a load test; nothing else is set.

Arrivals are a seeded Poisson process; a time counts from when a request was due to the end of its answer. Besides, the
whole board is exported every so many seconds. Of ten answers one is read and checked; exports of the whole board are
checked before. Printed: for each kind n, the median, the 99th percentile and the longest time, bytes over the wire, and
processor time of the service for one answer, asked alone before, one after the other; the memory of the service and of
its examiner, with the slope over time; then the same at higher rates, until the 99th percentile of reads passes 250 ms
or something fails.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from board_requests import BASE, FORMS, Asker, Kind, exported, reads, submissions
from filled_board import carried_runs, fill, processor_seconds, service
from open_load import Answer, Asked, OpenLoad, most_at_once, poisson
from scipy import stats

BOUND = 0.25
"""What the 99th percentile of reads may take, in seconds."""
WARM_SECONDS = 30.0
BLOCK_SECONDS = 10.0
FIRST_SENT = 24
WRITE = "submission, recomputed"


@dataclass(frozen=True, slots=True)
class Load:
    """How often each comes.

    Attributes:
        reads: Reads a second.
        writes: Submissions a second.
        whole_seconds: Seconds between two exports of the whole board; 0 for none.
    """

    reads: float
    writes: float
    whole_seconds: float


class Machine:
    """Processor time and memory of the service, of what it started, and of this generator.

    Args:
        process: The service.
    """

    def __init__(self, process: psutil.Process) -> None:
        self.service, self.generator = process, psutil.Process()
        self.samples: dict[str, list[tuple[float, float]]] = {}

    def spent(self) -> tuple[float, float]:
        """Processor seconds of the service with what it started, and of the generator, so far."""
        own = self.generator.cpu_times()  # the service is a child of it, and not counted here
        return processor_seconds(self.service), own.user + own.system

    async def sample(self) -> None:
        """Note the memory once a second, until cancelled."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        self.samples = {"service, resident": [], "service, in no file": [], "what it started, in no file": []}
        resident, own, started = self.samples.values()
        while True:
            at, info = loop.time() - start, self.service.memory_info()
            resident.append((at, info.rss))
            own.append((at, info.rss - info.shared))
            children = 0
            for child in self.service.children(recursive=True):
                try:
                    children += child.memory_info().rss - child.memory_info().shared
                except psutil.NoSuchProcess:
                    continue
            started.append((at, children))
            await asyncio.sleep(1.0)


def schedule(
    kinds: Sequence[Kind], sent: list[Asked], whole: Sequence[Asked], load: Load, seconds: float, seed: int
) -> list[tuple[float, Asked]]:
    """What is due when: reads by their shares, submissions, and exports of the whole board at fixed times.

    Args:
        kinds: The kinds of reads.
        sent: Submissions, each once; taken away from the end.
        whole: Exports of everything, in turns.
        load: How often each comes.
        seconds: For how long.
        seed: Of the arrivals and of the choice among them.
    """
    rng, chooser = np.random.default_rng(seed), random.Random(seed)
    times = poisson(load.reads, seconds, rng)
    chosen = chooser.choices(kinds, [kind.share for kind in kinds], k=len(times))
    found = [(float(at), chooser.choice(kind.asked)) for at, kind in zip(times, chosen, strict=True)]
    found += [(float(at), sent.pop()) for at in poisson(load.writes, seconds, rng)]
    if load.whole_seconds:
        exports = np.arange(load.whole_seconds / 2, seconds, load.whole_seconds)
        found += [(float(at), whole[number % len(whole)]) for number, at in enumerate(exports)]
    return sorted(found, key=lambda pair: pair[0])


def percentiles(answers: Sequence[Answer]) -> tuple[float, float, float]:
    """Median, 99th percentile and longest time of those that were answered, in milliseconds."""
    times = np.array([answer.done - answer.due for answer in answers if not answer.error]) * 1e3
    return (*np.percentile(times, (50, 99)), float(times.max())) if len(times) else (float("nan"),) * 3


def report(answers: Sequence[Answer], alone: Mapping[str, float]) -> None:
    """Print a line a kind, and one of all reads."""
    print(f"  {'kind':34} {'n':>6} {'median':>8} {'99th':>8} {'longest':>8} {'bytes':>10} {'processor':>10}   (ms)")
    reads_alone = [answer for answer in answers if answer.kind != WRITE]
    lines = {kind: [a for a in answers if a.kind == kind] for kind in dict.fromkeys(a.kind for a in answers)}
    for kind, found in [*sorted(lines.items()), ("ALL READS", reads_alone)]:
        middle, high, longest = percentiles(found)
        size = np.mean([answer.bytes for answer in found])
        cost = f"{alone[kind] * 1e3:10.1f}" if kind in alone else f"{'':10}"
        print(f"  {kind:34} {len(found):6,} {middle:8.1f} {high:8.1f} {longest:8.1f} {size:10,.0f} {cost}")
    firsts = [1e3 * (a.first - a.due) for a in answers if a.kind.startswith("whole board") and a.first]
    if firsts:
        print(f"  first byte of an export of the whole board: {', '.join(f'{ms:.0f}' for ms in firsts)} ms")
    late = 1e3 * np.percentile([max(0.0, a.sent - a.due) for a in answers if a.sent], (50, 99))
    print(f"  sent late by {late[0]:.1f} ms (median), {late[1]:.1f} ms (99th); at most {most_at_once(answers)} at once")
    errors = Counter(f"{a.kind}: {a.error}" for a in answers if a.error)
    print(f"  {sum(errors.values())} errors", flush=True)
    for text, count in errors.most_common(10):
        print(f"    {count} x {text}")


def report_memory(machine: Machine) -> None:
    """Print the memory and its slope, of means over blocks of ten seconds."""
    for name, samples in machine.samples.items():
        at, values = np.array(samples).T
        blocks = at // BLOCK_SECONDS
        means = np.array([values[blocks == block].mean() for block in np.unique(blocks)])
        text = f"  memory, {name:26} {values[0] / 1e6:8.1f} MB at first, {values[-1] / 1e6:8.1f} MB at last"
        if len(means) > 2:
            line = stats.linregress(np.arange(len(means)) * BLOCK_SECONDS / 60, means / 1e6)
            half = stats.t.ppf(0.975, len(means) - 2) * line.stderr
            text += f", slope {line.slope:+.2f} MB a minute ({line.slope - half:+.2f} to {line.slope + half:+.2f})"
        print(text)


async def measured(load: OpenLoad, due: Sequence[tuple[float, Asked]], machine: Machine) -> list[Answer]:
    """Put a load on the service, note its memory meanwhile, and print who spent how much processor time."""
    before, sampling, start = machine.spent(), asyncio.create_task(machine.sample()), time.monotonic()
    answers = await load.run(due)
    seconds = time.monotonic() - start
    sampling.cancel()
    service_s, generator_s = (after - start for after, start in zip(machine.spent(), before, strict=True))
    each = 1e3 * service_s / len(answers)
    print(
        f"  processor: service and what it started {service_s / seconds:.2f} cores, {each:.1f} ms an answer; "
        f"generator {generator_s / seconds:.2f} cores; load average {os.getloadavg()[0]:.1f}"
    )
    return answers


async def run(
    asker: Asker, address: str, kinds: Sequence[Kind], sent: list[Asked], machine: Machine, asked: Any
) -> None:
    """Each kind alone, the load, and the steps."""
    whole = [
        asker.get(f"whole board, {form}", [f"{BASE}/export.{form}"], exported(form, asked.size))[0] for form in FORMS
    ]
    one, alone = OpenLoad(address, 1), {}
    for name, requests in [
        *((kind.name, kind.asked) for kind in kinds),
        *((w.kind, [w]) for w in whole if asked.full_exports),
    ]:
        count = 1 if name.startswith("whole") else asked.alone
        chosen = [(0.0, requests[number % len(requests)]) for number in range(count)]
        before = machine.spent()[0]
        answers = await one.run(chosen)
        alone[name] = (machine.spent()[0] - before) / max(1, count)
        for text in {answer.error for answer in answers if answer.error}:
            print(f"  {name}: {text}", file=sys.stderr)
    whole = [replace(export, check=None) for export in whole]  # a check of so much would hold up the generator
    load = OpenLoad(address, asked.connections)
    rates = Load(asked.reads, asked.writes, asked.full_exports)
    await load.run(schedule(kinds, sent, whole, rates, WARM_SECONDS, asked.seed + 1))
    print(
        f"\n{asked.size:,} results; {asked.reads:g} reads and {asked.writes:g} submissions a second over "
        f"{asked.connections} connections for {asked.seconds:g} s; load average {os.getloadavg()[0]:.1f}"
    )
    answers = await measured(load, schedule(kinds, sent, whole, rates, asked.seconds, asked.seed), machine)
    report(answers, alone)
    report_memory(machine)
    for number, reads_a_second in enumerate(asked.steps):
        rates = Load(reads_a_second, asked.writes, 0)
        due = schedule(kinds, sent, whole, rates, asked.step_seconds, asked.seed + 2 + number)
        print(f"\n{reads_a_second:g} reads a second for {asked.step_seconds:g} s")
        answers = await measured(load, due, machine)
        middle, high, longest = percentiles([answer for answer in answers if answer.kind != WRITE])
        errors = sum(bool(answer.error) for answer in answers)
        print(f"  reads: median {middle:.1f}, 99th {high:.1f}, longest {longest:.1f} ms; {errors} errors", flush=True)
        if errors or high > BOUND * 1e3:
            break


def main() -> None:
    """Fill, serve, ask and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--reads", type=float, default=50.0)
    parser.add_argument("--writes", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=110)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--full-exports", type=float, default=60.0, help="seconds between two; 0 for none")
    parser.add_argument("--alone", type=int, default=20, help="questions of each kind that are asked alone")
    parser.add_argument("--steps", type=float, nargs="*", default=[60, 70, 80, 100])
    parser.add_argument("--step-seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    served = asked.store / "served"
    shutil.rmtree(served, ignore_errors=True)
    served.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="moecap-benchmark-") as name:
        runs = carried_runs(Path(name))
        filled = asked.store / f"filled-{asked.size}.sqlite"
        fill(f"sqlite:///{filled}", runs, asked.size)
        shutil.copyfile(filled, served / "board.sqlite")
        with service(served, f"sqlite:///{served / 'board.sqlite'}", examiners=1) as (address, process):
            asker, rng = Asker(address), random.Random(asked.seed)
            together = asked.seconds + WARM_SECONDS + asked.step_seconds * len(asked.steps)
            sent = list(submissions(asker, runs, FIRST_SENT + int(asked.writes * together * 1.3) + 20))
            results = [str(asker.post(sent.pop())["result"]) for _ in range(FIRST_SENT)]
            kinds = reads(asker, results, rng)
            asyncio.run(run(asker, address, kinds, sent, Machine(process), asked))
    shutil.rmtree(served)


if __name__ == "__main__":
    main()
