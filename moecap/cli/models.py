"""``moecap models``: what a model is made of and what one decode step of it reads and computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from moecap.cli.output import print_json, print_table

if TYPE_CHECKING:
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
    hw: str | None = None,
    num_gpus: int = 1,
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
        hw: A hardware profile: whether the model fits in its memory, and the largest batch at the context.
        num_gpus: Devices of that profile.
        json: Print JSON.
    """
    from moecap.models.registry import load_model
    from moecap.models.summary import summarise

    spec, ref = load_model(model, weights=weight_dtype, kv=kv_dtype)
    summary = summarise(spec, context=context, batch=batch, experts=experts)
    placed = None if hw is None else _fit(summary, hw, num_gpus)
    if json:
        print_json(summary.as_json() | {"source": ref.source} | ({"fit": placed.as_json()} if placed else {}))
    else:
        _print(summary)
        if placed:
            _print_fit(placed)


def _fit(summary: ModelSummary, hw: str, devices: int) -> Fit:
    from moecap.hardware.registry import load_profile
    from moecap.models.fit import fit

    profile = load_profile(hw)
    return fit(
        summary.spec,
        device=profile.id,
        memory_bytes=profile.memory_bytes,
        devices=devices,
        context=summary.context,
    )


def _print_fit(placed: Fit) -> None:
    print_table(
        ["memory", f"{placed.devices} x {placed.device}"],
        [
            ["of the devices", _size(placed.memory)],
            ["weights", _size(placed.weights)],
            [f"cache of a sequence at {placed.context:,}", _size(placed.sequence)],
            ["fits", "yes" if placed.fits else "no"],
            ["largest batch (without buffers of an engine)", f"{placed.largest_batch:,}"],
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
        rows.append(["routed experts", f"{first.top_k} of {first.experts} a token, {each}"])
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
        ],
        right=("value",),
    )


def _size(size: int) -> str:
    return f"{size / 1e9:,.3f} GB"
