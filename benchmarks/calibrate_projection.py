"""Fit the coefficients of the projection to published rows and write ``moecap/projection/coefficients.yaml``.

    python benchmarks/calibrate_projection.py POINTS.json [--write]

Only rows with ``"split": "calibration"`` are used. The least-squares fit is on log(projected / published), robust
(soft L1), each group of rows of one model, engine, chip and metric weighted by n^(-1/4) a row, times to the first token
by a half, around priors that are written below. Intervals are conformal: the ceil(0.8 (n + 1))-th
smallest of n values of |log error| on what the fit has not seen, the largest of three: one model left out at a time,
one family of engines (which then falls back on the priors) and, for chips of a generation without rows, one chip.
Power is fitted after that, by least squares on what the fitted steps read and compute; its rows are of one chip,
so no chip is left out of it. Hosts that compute experts are fitted last, on rows of one model and one kind of host;
since neither can be left out, their intervals are those of TTFT and TPOT on chips without rows. Needs scipy.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from scipy.optimize import least_squares, lsq_linear

from moecap.projection.coefficients import Coefficients, Fit, HostCosts, PowerShares, generation
from moecap.projection.evaluation import Group, group_points, projected_values
from moecap.projection.points import Point, read_points, resolve
from moecap.projection.power import activity
from moecap.projection.routing import Popularity
from moecap.projection.steady import steady_state

Floats = npt.NDArray[np.float64]

TARGET = Path(__file__).parent.parent / "moecap" / "projection" / "coefficients.yaml"
EXPONENTS = (0.0, 0.5, 1.0, 1.25, 1.5)
ENGINES = ("vllm", "vllm-before-0.14", "sglang", "trtllm", "trtllm-before-1.0")
# Priors. Large all-reduces over NVLink reach about 0.8 of the link in NCCL's own tests; the rows hardly tell. Kernels
# for MXFP4 experts in bf16 read 2.3 to 2.7 TB/s on H100 and H200 in AIConfigurator 0.12's tables of measured kernels.
SHARES = {
    "weight_bandwidth": 0.75,
    "cache_bandwidth": 0.60,
    "grouped": 0.70,
    "scores": 0.40,
    "link_bandwidth": 0.80,
    "bus_bandwidth": 0.50,
    "compute.bf16": 0.75,
    "compute.fp8": 0.70,
    "compute.fp8_block": 0.30,
    "compute.widened": 0.40,
}
COSTS = {
    "unpacking": 2.4e12,
    "activation_passes": 2.0,
    "kernel": 2.5e-6,
    "prompt_kernel": 3e-5,
    "link_latency": 8e-6,
    "link_latency_rank": 1e-6,
    "bus_latency": 20e-6,
}
ENGINE = {
    "step": 1e-3,
    "sequence": 10e-6,
    "prompt": 0.02,
    "prompt_token": 2e-6,
    "products": 0.7,
}
WIDTHS = {"unpacking": 0.15}
POWER = ("gpu_power_avg_sum", "energy_per_output_token")
HOST = {"prefill_speed": "ttft", "decode_speed": "tpot"}
COVERED = 0.8
FP4_OF_FP8 = 0.8
"""No calibration row multiplies in fp4: its share of the peak is declared as this part of fp8's."""
NAMES = [*SHARES, *COSTS, *(f"{engine}.{cost}" for engine in ENGINES for cost in ENGINE)]


def prior() -> tuple[Floats, Floats]:
    """Where each parameter is expected, on the scale of the fit, and how far it may be off."""
    centre, width = [], []
    for name in NAMES:
        short = name.split(".")[-1]
        value = SHARES.get(name, COSTS.get(name, ENGINE.get(short, 0.0)))
        reference = name == "trtllm-before-1.0.products"  # shares of peaks are those of the fastest kernels
        if reference or name in SHARES or short == "products":
            value = 0.98 if reference else value
            centre.append(np.log(value / (1.0 - value)))
            width.append(0.02 if reference else WIDTHS.get(name, 0.6))
        else:
            centre.append(np.log(value))
            width.append(WIDTHS.get(name, 0.7))
    return np.array(centre), np.array(width)


def values_of(x: Floats) -> dict[str, float]:
    """The parameters by name."""
    shares = {name for name in NAMES if name in SHARES or name.endswith(".products")}
    return {n: float(1.0 / (1.0 + np.exp(-a)) if n in shares else np.exp(a)) for n, a in zip(NAMES, x, strict=True)}


def coefficients_of(x: Floats, exponent: float) -> Coefficients:
    """Coefficients from the parameters of the fit."""
    v = values_of(x)
    compute = {name.split(".")[1]: v[name] for name in SHARES if name.startswith("compute.")}
    compute |= {"fp4": FP4_OF_FP8 * compute["fp8"], "int8": compute["fp8"], "fp32": compute["bf16"]}
    shared = {n: v[n] for n in (*SHARES, *COSTS) if "." not in n} | {"compute": compute, "popularity": exponent}
    engines = {engine: {cost: v[f"{engine}.{cost}"] for cost in ENGINE} for engine in ENGINES}
    engines["default"] = engines["vllm"]
    fit = {"rows": 0, "source": "", "date": "", "error": 0.0}
    host = {"memory": 1.0, "compute": 1.0, "further_socket": 1.0, "fit": fit}
    power = {"idle": 0.0, "memory": 0.0, "compute": 0.0}
    later = {"host": host, "power": power, "spread": {}, "spread_elsewhere": {}}
    return Coefficients.model_validate({"shared": shared, "engines": engines, "generations": (), "fit": fit, **later})


def doubtful(point: Point) -> bool:
    """Rows of gpt-oss on TensorRT-LLM with expert parallelism 2, 4 or 8 over 4, 16 or 64 devices.

    Their times agree load by load with rows of a half, a quarter or an eighth of the devices (16 with 4, 64 with 8, 4
    with 2), so the devices they name seem to be counted twice.
    """
    split = point.deployment.parallelism
    return point.engine.startswith("trtllm") and split.expert > 1 and split.tensor in (4, 16, 64)


def log_errors(groups: list[Group], coefficients: Coefficients) -> Floats:
    """log(projected / published) of every point; a model that does not fit counts as e³ off."""
    published = np.array([p.value for g in groups for p in g.points])
    with np.errstate(divide="ignore"):
        return np.nan_to_num(np.log(projected_values(groups, coefficients) / published), nan=3.0, neginf=-3.0)


def fit(groups: list[Group], exponent: float) -> tuple[Coefficients, float]:
    """The coefficients and the cost of the fit; power is fitted last, on what the others make of it."""
    served = _served(groups)
    centre, width = prior()
    keys = [(p.model, p.metric, p.deployment.engine, p.deployment.hardware.id) for g in served for p in g.points]
    count = Counter(keys)
    weight = np.array([count[key] ** -0.25 * (0.5 if key[1] == "ttft" else 1.0) for key in keys])

    def residuals(x: Floats) -> Floats:
        errors = log_errors(served, coefficients_of(x, exponent))
        return np.concatenate([weight * errors / 0.1, (x - centre) / width])

    found = least_squares(residuals, centre, loss="soft_l1", max_nfev=40)
    coefficients = coefficients_of(found.x, exponent)
    return coefficients.model_copy(update={"power": power_shares(groups, coefficients)}), float(found.cost)


def _served(groups: list[Group]) -> list[Group]:
    """The groups without the rows of power."""
    return [g for g in (_only(group, lambda p: p.metric not in POWER) for group in groups) if g.points]


def _only(group: Group, keep: Callable[[Point], bool]) -> Group:
    """The points of a group that are kept, with their plan."""
    return next(iter(group_points(p for p in group.points if keep(p))), Group((), group.plan))


def power_shares(groups: list[Group], coefficients: Coefficients) -> PowerShares:
    """Shares of the design power by least squares on the relative error, each between 0 and 1."""
    rows, drawn = [], []
    for group in (_only(g, lambda p: p.metric == "gpu_power_avg_sum") for g in groups):
        if not group.points:
            continue
        deployment = group.points[0].deployment
        busy = activity(group.plan, steady_state(group.plan, coefficients, deployment.engine))
        design = deployment.devices * (deployment.hardware.tdp_watts or np.nan)
        rows += np.stack([np.ones_like(busy.memory), busy.memory, busy.compute], axis=1).tolist()
        drawn += [p.value / design for p in group.points]
    if not rows:
        return coefficients.power
    share = np.array(drawn)[:, None]
    idle, memory, compute = lsq_linear(np.array(rows) / share, np.ones(len(rows)), bounds=(0.0, 1.0)).x.tolist()
    return PowerShares(idle=round(idle, 4), memory=round(memory, 4), compute=round(compute, 4))


def host_costs(groups: list[Group], coefficients: Coefficients, date: str) -> HostCosts:
    """What processors that compute experts reach, by least squares on log errors; shares between 0 and 1."""
    names = ("memory", "compute", "further_socket")

    def fitted(x: Floats) -> Coefficients:
        shares = dict(zip(names, (1.0 / (1.0 + np.exp(-x))).tolist(), strict=True))
        return coefficients.model_copy(update={"host": coefficients.host.model_copy(update=shares)})

    found = fitted(least_squares(lambda x: log_errors(groups, fitted(x)), np.zeros(3)).x)
    errors = np.abs(np.expm1(log_errors(groups, found)))
    source = "published rows marked calibration: KTransformers, DeepSeek-V3 on one or two Xeon Gold 6454S"
    fit = Fit(rows=len(errors), source=source, date=date, error=round(float(np.median(errors)), 4))
    return found.host.model_copy(update={"fit": fit})


def conformal(logs: list[float]) -> float:
    """The half-width of the interval: the ceil(0.8 (n + 1))-th smallest absolute error."""
    ordered = np.sort(np.abs(logs))
    return float(ordered[min(len(ordered), math.ceil(COVERED * (len(ordered) + 1))) - 1])


def _half(left: dict[str, list[float]], metric: str) -> tuple[float, float]:
    """The half-width for a metric that was left out so, and 0 in its place where there is none."""
    return 0.0, conformal(left[metric]) if metric in left else 0.0


def grouped(points: list[Point], exponent: float) -> list[Group]:
    """The points with experts chosen by a power law of this exponent."""
    cast: dict[int, object] = {}
    out = []
    for point in points:
        key = id(point.deployment)
        if key not in cast:
            cast[key] = dataclasses.replace(point.deployment, popularity=Popularity(exponent))
        out.append(dataclasses.replace(point, deployment=cast[key]))
    return group_points(out)


def summary(title: str, errors: dict[str, list[float]]) -> None:
    """Print a line for each metric."""
    for metric, logs in sorted(errors.items()):
        absolute = np.abs(np.expm1(np.array(logs)))
        shown = f"median {np.median(absolute):.3f}  p90 {np.percentile(absolute, 90):.3f}"
        print(f"{title:24} {metric:40} n {len(logs):4}  {shown}  bias {np.median(logs):+.3f}")


def left_out(groups: list[Group], key: Callable[[Point], str], exponent: float, title: str) -> dict[str, list[float]]:
    """Log errors by metric on the rows of each key, by a fit on all others."""
    unseen: dict[str, list[float]] = defaultdict(list)
    for name in sorted({key(g.points[0]) for g in groups}):
        rest = [g for g in groups if key(g.points[0]) != name]
        left = [g for g in groups if key(g.points[0]) == name]
        found, _ = fit(rest, exponent)
        own: dict[str, list[float]] = defaultdict(list)
        metrics = [p.metric for g in left for p in g.points]
        for metric, error in zip(metrics, log_errors(left, found), strict=True):
            own[metric].append(float(error))
            unseen[metric].append(float(error))
        summary(title, {f"{metric} {name}": logs for metric, logs in own.items()})
    summary(f"{title}, all", unseen)
    return unseen


def main() -> None:
    """Fit, report, and write the coefficients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", type=Path)
    parser.add_argument("--write", action="store_true", help="write moecap/projection/coefficients.yaml")
    asked = parser.parse_args()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    rows = [row for row in read_points(asked.points) if row.get("split") == "calibration"]
    resolved = [point for point in map(resolve, rows) if isinstance(point, Point)]
    points = [point for point in resolved if not doubtful(point) and point.metric not in HOST]
    hosted = group_points(point for point in resolved if point.metric in HOST)
    doubted = sum(map(doubtful, resolved))
    print(
        f"{len(rows)} rows, {len(resolved)} can be projected, {doubted} doubtful, {len(points)} in the fit of devices"
    )

    fits = {exponent: fit(grouped(points, exponent), exponent) for exponent in EXPONENTS}
    for exponent, (_, cost) in fits.items():
        print(f"exponent {exponent}: cost {cost:.2f}")
    exponent = min(fits, key=lambda e: fits[e][1])
    groups = grouped(points, exponent)
    coefficients = fits[exponent][0]
    errors = log_errors(groups, coefficients)
    metrics = [p.metric for g in groups for p in g.points]
    seen: dict[str, list[float]] = defaultdict(list)
    for metric, error in zip(metrics, errors, strict=True):
        seen[metric].append(float(error))
    summary("calibration rows", seen)

    models = left_out(groups, lambda p: p.model, exponent, "model left out")
    chips = left_out(_served(groups), lambda p: p.deployment.hardware.id, exponent, "chip left out")

    engines = left_out(_served(groups), lambda p: p.deployment.engine, exponent, "engine left out")

    coefficients = coefficients.model_copy(update={"host": host_costs(hosted, coefficients, date)})
    own: dict[str, list[float]] = defaultdict(list)
    metrics = [p.metric for g in hosted for p in g.points]
    for metric, error in zip(metrics, log_errors(hosted, coefficients), strict=True):
        own[metric].append(float(error))
    summary("hosts, calibration rows", own)

    table = _rounded(coefficients.model_dump())
    known = {metric: max(conformal(logs), *_half(engines, metric)) for metric, logs in sorted(models.items())}
    elsewhere = {metric: max(half, *_half(chips, metric)) for metric, half in known.items()}
    for metric, like in HOST.items():
        known[metric] = elsewhere[metric] = elsewhere[like]
    table["spread"] = {metric: round(float(np.exp(half)), 3) for metric, half in known.items()}
    table["spread_elsewhere"] = {metric: round(float(np.exp(half)), 3) for metric, half in elsewhere.items()}
    table["generations"] = sorted({generation(p.deployment.hardware) for p in points})
    table["fit"] = {
        "rows": len(points),
        "source": "published rows marked calibration: vLLM, SGLang and TensorRT-LLM on H100, H200 and L40S",
        "date": date,
        "error": round(float(np.median(np.abs(np.expm1(errors)))), 4),
    }
    text = yaml.safe_dump(table, sort_keys=False)
    if asked.write:
        TARGET.write_text("# Written by benchmarks/calibrate_projection.py. Shares of peaks; seconds.\n" + text)
    else:
        print(text)


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
