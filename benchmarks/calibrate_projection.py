"""Fit the coefficients of the projection to published rows and write ``moecap/projection/coefficients.yaml``.

    python benchmarks/calibrate_projection.py POINTS.json [--write]

Only rows with ``"split": "calibration"`` are used. The least-squares fit is on log(projected / published), robust
(soft L1), each group of rows of one model, engine, chip and metric weighted by n^(-1/4) a row, times to the first token
by a half, around priors that are written below. Intervals are the 80 % quantile of |log error| on models that the fit
has not seen (leave one model out); engines that only that model has fall back on the priors, which widens them. On
chips of a generation without rows, the same of chips left out is added to it in quadrature. Power is fitted last, by
least squares on what the fitted steps read and compute; its rows are of one chip, so leaving that out fits no power,
and the quantile of models counts twice instead. Needs scipy.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from scipy.optimize import least_squares, lsq_linear

from moecap.projection.coefficients import Coefficients, PowerShares, generation
from moecap.projection.evaluation import Group, group_points, projected_values
from moecap.projection.points import Point, read_points, resolve
from moecap.projection.power import activity
from moecap.projection.routing import Popularity
from moecap.projection.steady import steady_state

Floats = npt.NDArray[np.float64]

TARGET = Path(__file__).parent.parent / "moecap" / "projection" / "coefficients.yaml"
EXPONENTS = (0.0, 0.5, 1.0)
ENGINES = ("vllm", "vllm-before-0.14", "sglang", "trtllm", "trtllm-before-1.0")
# Priors. Large all-reduces over NVLink reach about 0.8 of the link in NCCL's own tests; the rows hardly tell.
SHARES = {
    "weight_bandwidth": 0.75,
    "unpacked_bandwidth": 0.80,
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
POWER = ("gpu_power_avg_sum", "energy_per_output_token")
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
            width.append(0.02 if reference else 0.6)
        else:
            centre.append(np.log(value))
            width.append(0.7)
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
    later = {"power": {"idle": 0.0, "memory": 0.0, "compute": 0.0}, "spread": {}, "spread_elsewhere": {}}
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
    rows = [row for row in read_points(asked.points) if row.get("split") == "calibration"]
    resolved = [point for point in map(resolve, rows) if isinstance(point, Point)]
    points = [point for point in resolved if not doubtful(point)]
    doubted = len(resolved) - len(points)
    print(f"{len(rows)} rows, {len(resolved)} can be projected, {doubted} doubtful, {len(points)} used")

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

    table = coefficients.model_dump()
    table = _rounded(table)
    half = {metric: float(np.quantile(np.abs(models[metric]), 0.8)) for metric in sorted(models)}
    chip = {m: h if m in POWER else float(np.quantile(np.abs(chips[m]), 0.8)) for m, h in half.items()}
    table["spread"] = {metric: round(float(np.exp(h)), 3) for metric, h in half.items()}
    table["spread_elsewhere"] = {
        metric: round(float(np.exp(np.hypot(h, chip[metric]))), 3) for metric, h in half.items()
    }
    table["generations"] = sorted({generation(p.deployment.hardware) for p in points})
    table["fit"] = {
        "rows": len(points),
        "source": "published rows marked calibration: vLLM, SGLang and TensorRT-LLM on H100, H200 and L40S",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
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
