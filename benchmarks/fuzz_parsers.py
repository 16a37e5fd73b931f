"""Every reader of a stranger's bytes under a fuzzer that is guided by coverage (Atheris, libFuzzer).

Each reader may give a value or raise moecap's own error of one line. Anything else is a finding: it is printed once for
each kind and place, with the file that led to it. Atheris is no dependency of moecap; in an environment of its own:

    python -m venv fuzz && fuzz/bin/pip install -c constraints.txt atheris -e '.[transformers,leaderboard,methods]'
    fuzz/bin/python benchmarks/fuzz_parsers.py --seconds 60 [--parser NAME]... [--found FOLDER]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "faults"))

LONGEST_SECONDS = 20
LONGEST_INPUT = 200_000


def example_run(folder: Path) -> Path:
    """The directory of a projected run."""
    words = ["run", "--model", "mixtral", "--hw", "a100", "--task", "none", "--output", str(folder / "run")]
    words += ["--num-requests", "4", "--concurrency", "2", "--input-len", "16", "--output-len", "4"]
    subprocess.run([sys.executable, "-m", "moecap", *words], check=True, capture_output=True)
    return folder / "run"


def fuzz_one(name: str, run: Path, found: Path, options: list[str]) -> None:
    """Fuzz a reader in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["moecap", "moecap_backends", "moecap_leaderboard"]):
        from hostile import all_parsers

        from moecap.errors import MoecapError

        parser = next(parser for parser in all_parsers(run) if parser.name == name)
        work = Path(tempfile.mkdtemp(prefix="fuzz-"))
        for example in parser.examples:  # modules that are imported when they are needed
            parser.read(parser.place(work, example))
            shutil.rmtree(work)
    corpus = found / name / "corpus"
    corpus.mkdir(parents=True)
    for number, example in enumerate(parser.examples):
        (corpus / str(number)).write_bytes(example)
    seen: set[str] = set()

    def one(data: bytes) -> None:
        try:
            parser.read(parser.place(work, data))
            return
        except MoecapError as error:
            if "\n" not in str(error):
                return
            problem: BaseException = error
        except Exception as error:
            problem = error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        frames = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename.startswith(str(TOP / "moecap"))]
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "elsewhere"
        kind = f"{type(problem).__name__} {place.removeprefix(f'{TOP}/')}"
        if kind not in seen:
            seen.add(kind)
            (found / name / f"finding-{len(seen)}").write_bytes(data)
            with (found / name / "findings.jsonl").open("a") as file:
                file.write(
                    json.dumps({"kind": kind, "text": str(problem)[:200], "file": f"finding-{len(seen)}"}) + "\n"
                )

    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={found / name}/ended-", str(corpus)], one)
    atheris.Fuzz()


def fuzz_apart(name: str, run: Path, found: Path, seconds: int) -> dict[str, Any]:
    """Fuzz a reader in a process of its own, since damage may end it, and say what came of it."""
    options = [f"-max_total_time={seconds}", f"-timeout={LONGEST_SECONDS}", f"-max_len={LONGEST_INPUT}"]
    options += ["-rss_limit_mb=2000", "-print_final_stats=1"]
    words = [sys.executable, __file__, "--child", name, str(run), str(found), *options]
    ended = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", ended.stderr))
    lines = found / name / "findings.jsonl"
    findings = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    if ended.returncode:
        said = next((line for line in ended.stderr.splitlines() if "ERROR" in line or "terminate" in line), "")
        findings.append(
            {"kind": f"the process ended with status {ended.returncode}", "text": said or ended.stderr[-300:]}
        )
    return {"parser": name, "inputs": int(stats.get("number_of_executed_units", 0)), "findings": findings} | {
        "peak_mb": int(stats.get("peak_rss_mb", 0))
    }


def main() -> int:
    """Fuzz each reader in turn and print a line for each."""
    if sys.argv[1:2] == ["--child"]:
        name, run, found, *options = sys.argv[2:]
        fuzz_one(name, Path(run), Path(found), options)
        return 0
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seconds", type=int, default=60, help="of each reader")
    asked.add_argument("--parser", action="append", default=[], help="a reader; all by default")
    asked.add_argument("--found", type=Path, help="where corpora and findings are kept; nowhere by default")
    options = asked.parse_args()
    from hostile import all_parsers

    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        found = options.found or Path(scratch, "found")
        run = example_run(Path(scratch))
        names = [parser.name for parser in all_parsers(run)]
        if unknown := set(options.parser) - set(names):
            raise SystemExit(f"fuzz_parsers: no reader {min(unknown)!r}; known: {', '.join(names)}")
        total = 0
        for name in options.parser or names:
            told = fuzz_apart(name, run, found, options.seconds)
            total += len(told["findings"])
            print(f"{name:24s} {told['inputs']:9,d} inputs  {told['peak_mb']:5d} MB  {len(told['findings'])} findings")
            for finding in told["findings"]:
                print(f"    {finding['kind']}: {finding['text']}", flush=True)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
