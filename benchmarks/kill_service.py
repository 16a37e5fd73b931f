"""A leaderboard that is killed by SIGKILL in the middle of many submissions at once, and what it has afterwards.

usage: python benchmarks/kill_service.py [--kills 20] [--submissions 1000] [--imported 0] [--db URL] [--seed 0]
           [--keep DIR]

The service is `moecap serve`, a fresh process each time, on a file of SQLite or on the empty database of --db. All
submissions are in flight at once, a connection each: runs of the package with other identities and their observations,
examined in full (with --imported so many of them are results of another tool, of which little is examined). After a
random number of acknowledgements and a random while, the service is killed, in turns alone and with all its processes,
and started again on the same port and store; then everything is sent again, what was acknowledged too. After each start
are checked: every acknowledged submission is there in the state that was answered, none is there twice, the store
passes `moecap serve --check`, the pages come back, nothing of the killed processes runs or lies about. After the last
kill everything is acknowledged. With --keep the folder is kept, and a benchmark that was broken off goes on where it
was. Anything that does not hold ends it with exit status 1. Printed: a line for each kill, and the sums.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "moecap_leaderboard"))

from killed_service import KilledService, Parcel, fresh_process, moments, parcels, send_all

from moecap.result import write_result
from moecap_leaderboard.rederivation import rederived

RUN = "llamacpp-q8_0"


def carried_run(folder: Path) -> Path:
    """A run of the package with the numbers of this version, made once."""
    target = folder / RUN
    if not target.exists():
        target.mkdir()
        for entry in (files("moecap_leaderboard") / "demo_data" / "runs" / RUN).iterdir():
            (target / entry.name).write_bytes(entry.read_bytes())
        write_result(target, rederived(target))
    return target


class Progress:
    """What was acknowledged, in a file."""

    def __init__(self, path: Path, sent: list[Parcel]) -> None:
        self._path, self._sent, self.kills = path, sent, 0
        if path.exists():
            content = json.loads(path.read_text())
            self.kills = content["kills"]
            for parcel in sent:
                found = content["answers"].get(parcel.result)
                parcel.answer = (found[0], found[1]) if found else None

    def keep(self, kills: int) -> None:
        """Note that there were so many kills."""
        self.kills = kills
        answers = {parcel.result: parcel.answer for parcel in self._sent if parcel.answer}
        self._path.write_text(json.dumps({"kills": kills, "answers": answers}))


def main() -> None:
    """Kill, start, check and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--submissions", type=int, default=1000)
    parser.add_argument("--imported", type=int, default=0)
    parser.add_argument("--db")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moecap-benchmark-") as name:
        folder = (chosen.keep or Path(name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        run(folder, chosen)


def run(folder: Path, chosen: argparse.Namespace) -> None:
    """All kills in a folder."""
    sent = parcels(carried_run(folder), chosen.submissions - chosen.imported, chosen.imported)
    random.Random(chosen.seed).shuffle(sent)
    progress = Progress(folder / "progress.json", sent)
    url = chosen.db or f"sqlite:///{folder / 'board.sqlite'}"
    service = KilledService(folder / "service", url, fresh_process)
    begin, own = time.perf_counter(), psutil.Process().cpu_times()
    most = max(1, chosen.submissions // (chosen.kills + 1))
    try:
        for number, moment in enumerate(moments(chosen.seed, chosen.kills, most), 1):
            if number <= progress.kills:
                continue
            service.start()
            service.check(sent)
            new = send_all(service, sent, moment)
            progress.keep(number)
            who = "all its processes" if moment.group else "it alone"
            known = sum(parcel.answer is not None for parcel in sent)
            print(f"kill {number} of {who}: {new} acknowledged, {known} in all", flush=True)
        service.start()
        service.check(sent)
        before = sum(parcel.answer is not None for parcel in sent)
        send_all(service, sent, None)
        states = service.check(sent)
        service.end()
    finally:
        service.close()
    spent = psutil.Process().cpu_times()
    here = spent.user + spent.system - own.user - own.system
    print(
        f"{url.partition(':')[0]}: {chosen.kills} kills, {len(sent)} submissions in flight, {before} acknowledged "
        f"before; one of these was looked for {service.looked_for} times and found {service.found} times; in the end "
        f"{sum(states.values())} submissions ({dict(states)}) of {len(sent)} results; processors: "
        f"{service.cpu_seconds:.0f} s of the service, {here:.0f} s of clients and checks; "
        f"{time.perf_counter() - begin:.0f} s in all, load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"it does not hold: {error}")
