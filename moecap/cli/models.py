"""``moecap models``: what a model is made of and what one decode step of it reads and computes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from moecap.cli.output import print_json, print_table
from moecap.errors import BadInputError

if TYPE_CHECKING:
    from moecap.metrics.tiers import PlacedStep
    from moecap.models.fit import Fit
    from moecap.models.summary import ModelSummary

__all__ = ["app"]

app = cyclopts.App(name="models", help="Parameters, cache, FLOPs and bytes of models, from their config.json alone.")

Json = Annotated[bool, Parameter(name="--json", negative="")]


@app.command(name="list")
def list_models(*, json: Json = False) -> None:
    """List the models that have short names; any hub id, model folder or config.json goes too.

    Args:
        json: Print JSON.
    """
    from moecap.models.accounting import count_parameters
    from moecap.models.registry import EMBEDDED, load_model, packaged_models

    names: list[tuple[str, list[str]]] = [(EMBEDDED, [])]
    names += [(model.name, list(model.names)) for model in packaged_models()]
    rows: list[dict[str, object]] = []
    table: list[list[str]] = []
    for name, others in names:
        spec, ref = load_model(name)
        parameters = count_parameters(spec)
        rows.append(
            {
                "name": name,
                "short_names": others,
                "id": ref.id,
                "architecture": spec.architecture,
                "total_params": parameters.total,
                "active_params": parameters.active,
                "source": ref.source,
            }
        )
        size = [f"{parameters.total / 1e9:.2f} B", f"{parameters.active / 1e9:.2f} B"]
        table.append([name, ", ".join(others), ref.id, *size])
    if json:
        print_json(rows)
    else:
        columns = ["short name", "also", "id", "parameters", "active"]
        print_table(columns, table, title="Models with short names", right=columns[3:])


@app.command
def show(
    model: str,
    /,
    *,
    context: int | None = None,
    batch: int = 1,
    experts: int | None = None,
    weight_dtype: str | None = None,
    kv_dtype: str | None = None,
    tensor_parallel: int | None = None,
    hw: str | None = None,
    num_gpus: int = 1,
    layout: Path | None = None,
    json: Json = False,
) -> None:
    """Show the accounting of one model and of one decode step.

    Args:
        model: A short name, a hub id, a local model folder or a config.json.
        context: Entries in each sequence's cache after the step, own token included; 1024 by default, or the
            model's longest context where that is shorter.
        batch: Sequences in the step.
        experts: Distinct routed experts that the step reads in each MoE layer; by default what uniform routing of
            the batch would give.
        weight_dtype: Number format of all weights, in place of the config's formats (bf16, fp8, int4, ...).
        kv_dtype: Number format of the KV cache.
        tensor_parallel: Devices that share every layer; the bytes of the step are then those that all of them read,
            what each keeps a copy of (norms, routers, latent caches, few key and value heads) once a copy. 1 by
            default, and for the fit all devices.
        hw: A hardware profile: whether the model fits in its memory, and the largest batch at the context.
        num_gpus: Devices of that profile, copies on them included; more than the tensor-parallel ones are stages.
        layout: A YAML file that says which tensors live in which memory: what the step takes from each, the tier that
            binds, and the purchase price of the whole.
        json: Print JSON.
    """
    from moecap.models.registry import load_model
    from moecap.models.summary import summarise

    spec, ref = load_model(model, weights=weight_dtype, kv=kv_dtype)
    ranks = 1 if tensor_parallel is None else tensor_parallel
    summary = summarise(spec, context=context, batch=batch, experts=experts, tensor_parallel=ranks)
    placed = None if hw is None else _fit(summary, hw, num_gpus, tensor_parallel)
    tiers = None if layout is None else _tiers(summary, layout)
    if json:
        record = summary.as_json() | {"source": ref.source}
        record |= {"fit": placed.as_json()} if placed else {}
        print_json(record | ({"layout": tiers.as_json()} if tiers else {}))
    else:
        _print(summary)
        if placed:
            _print_fit(placed)
        if tiers:
            _print_tiers(tiers)


def _fit(summary: ModelSummary, hw: str, devices: int, tensor: int | None) -> Fit:
    from moecap.hardware.registry import load_profile
    from moecap.models.fit import fit

    profile = load_profile(hw)
    return fit(
        summary.spec,
        device=profile.id,
        memory_bytes=profile.memory_bytes,
        devices=devices,
        context=summary.context,
        tensor=tensor,
    )


def _print_fit(placed: Fit) -> None:
    print_table(
        ["memory", f"{placed.devices} x {placed.device}"],
        [
            ["of the devices", _size(placed.memory)],
            [f"weights, of {placed.tensor} tensor-parallel ranks", _size(placed.weights)],
            [f"cache of a sequence at {placed.context:,}", _size(placed.sequence)],
            ["fits", "yes" if placed.fits else "no"],
            ["largest batch (without buffers of an engine)", f"{placed.largest_batch:,}"],
        ],
    )


def _tiers(summary: ModelSummary, path: Path) -> PlacedStep:
    from moecap.hardware.registry import load_profile
    from moecap.metrics.memory_layout import read_layout
    from moecap.metrics.tiers import place_step

    if summary.parallelism.devices > 1:
        raise BadInputError("--layout accounts for a model that is not split; leave --tensor-parallel out")
    layout = read_layout(path)
    profile = None if layout.hardware is None else load_profile(layout.hardware)
    return place_step(summary.spec, summary.step, layout, profile, context=summary.context, batch=summary.batch)


def _print_tiers(placed: PlacedStep) -> None:
    columns = ["tier", "lives there", "a step takes", "peak", "least time", "source of the peak"]
    print_table(
        columns,
        [
            [
                tier.name,
                _size(tier.stored),
                _size(tier.bytes),
                "" if tier.bytes_per_second is None else f"{tier.bytes_per_second / 1e9:,.4g} GB/s",
                f"{tier.seconds * 1e3:,.4g} ms",
                tier.source,
            ]
            for tier in placed.tiers
        ],
        right=columns[1:5],
    )
    purchase = placed.purchase
    print_table(
        ["in this layout", "value"],
        [
            ["binding tier", placed.binding.name],
            ["a step takes at least", f"{placed.seconds * 1e3:,.4g} ms"],
            ["output tokens a second at most", f"{placed.batch / placed.seconds:,.4g}"],
            ["purchase", purchase.reason or "" if purchase.value is None else f"${purchase.value:,.0f}"],
            *([f"  {c.name}", f"${c.value:,.0f} ({c.source})"] for c in placed.constants if c.value is not None),
        ],
    )


def _print(summary: ModelSummary) -> None:
    spec, parameters, step, flops = summary.spec, summary.parameters, summary.step, summary.flops
    formats = ", ".join(f"{tensors} {dtype}" for tensors, dtype in spec.weight_dtypes.items())
    rows = [
        ["architecture", f"{spec.architecture}, read as {spec.reading}"],
        ["number formats", f"{formats}; KV cache {spec.kv_dtype}"],
        ["layers", f"{parameters.moe_layers} MoE, {parameters.dense_layers} dense"],
        ["attention", ", ".join(summary.attention_kinds)],
    ]
    if spec.is_moe:
        first = spec.moe_layers[0]
        each = f"{parameters.expert:,} parameters each"
        zero = f" and {first.zero_experts} that compute nothing" if first.zero_experts else ""
        rows.append(["routed experts", f"{first.top_k} of {first.experts}{zero} a token, {each}"])
    rows += [
        ["parameters", f"{parameters.total:,}"],
        ["active parameters", f"{parameters.active:,}"],
        ["  with the embedding", f"{parameters.active_with_embedding:,}"],
        ["  without lm_head", f"{parameters.active_without_lm_head:,}"],
    ]
    if spec.mtp_params:
        rows.append(["multi-token prediction", f"{spec.mtp_params:,} parameters, in no other number"])
    rows += [
        ["checkpoint", _size(summary.checkpoint)],
        ["KV cache of a token", f"{summary.kv_per_token:,} bytes"],
        [f"KV cache at {summary.context}", _size(summary.kv_sequence)],
    ]
    print_table(["model", spec.name], rows)
    print_table(
        ["one decode step", "value"],
        [
            ["sequences", f"{summary.batch:,}"],
            ["context of each", f"{summary.context:,}"],
            [f"distinct experts a MoE layer ({summary.experts_source})", f"{summary.experts:,.4g}"],
            ["FLOPs a token, linear", f"{flops.linear / 1e9:,.3f} GFLOP"],
            ["FLOPs a token, attention", f"{flops.attention / 1e9:,.3f} GFLOP"],
            ["FLOPs a token", f"{flops.total / 1e9:,.3f} GFLOP"],
            ["weights without routed experts", _size(step.non_expert_weights)],
            ["weights of routed experts", _size(step.expert_weights)],
            ["KV cache read", _size(step.kv_read)],
            ["bytes read", _size(step.total)],
            *_shares(summary),
        ],
        right=("value",),
    )


def _shares(summary: ModelSummary) -> list[list[str]]:
    if summary.parallelism.devices == 1:
        return []
    return [[f"bytes read by each of {summary.parallelism.devices} devices", _size(summary.step_bytes_per_device)]]


def _size(size: float) -> str:
    return f"{size / 1e9:,.3f} GB"
