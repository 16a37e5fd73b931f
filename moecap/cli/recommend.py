"""``moecap recommend``: hardware, engine and devices for a model, by projected cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

__all__ = ["recommend"]

_COLUMNS = (
    "hardware",
    "devices",
    "engine",
    "concurrency",
    "TTFT s",
    "TPOT ms",
    "tokens/s",
    "$/h",
    "$/M output",
    "80 %",
    "price",
)
_SHOWN = 20


def recommend(
    *,
    model: str,
    slo: str | None = None,
    budget: float | None = None,
    hw: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    input_len: int = 1024,
    output_len: int = 256,
    precision: str = "auto",
    host_memory: float = 1000.0,
    margin: bool = False,
    json: bool = False,
) -> None:
    """Rank hardware, engines and numbers of devices by projected dollars for a million output tokens.

    Devices that do not hold the model are projected with its experts in a host's memory or on its drive. Rents come
    first; where a profile has only what an operator pays for a device, its offers follow, with a star.

    Args:
        model: The model to serve.
        slo: Service levels, such as ttft=2s,tpot=80ms (also itl); each is a mean or, of itl, a median.
        budget: Most dollars an hour for all devices.
        hw: Hardware to choose from; all accelerators with a price by default. May be repeated.
        input_len: Mean tokens of a prompt.
        output_len: Mean tokens of an answer.
        precision: Number format of the weights; auto is the checkpoint's own.
        host_memory: GB of memory in the host of devices that do not hold the model; the host is 2 x Xeon Gold 6454S.
        margin: Let the upper ends of the 80 % intervals meet the service levels, not the projected values alone.
        json: Print JSON, with what is not offered and why.
    """
    from moecap.cli.output import print_json, print_line, print_table, remark
    from moecap.errors import BadInputError
    from moecap.hardware.registry import list_profiles, load_profile
    from moecap.models.registry import load_model
    from moecap.projection.coefficients import calibrated
    from moecap.projection.offloading import default_host
    from moecap.projection.recommendation import offers
    from moecap.projection.service_level import read_service_levels

    if min(input_len, output_len) < 1 or (budget is not None and not budget > 0) or not host_memory > 0:
        raise BadInputError(
            "--input-len and --output-len need 1 or more, --budget and --host-memory more than 0; give such"
        )
    levels = read_service_levels(slo)
    spec, ref = load_model(model, weights=None if precision == "auto" else precision)
    if input_len + output_len > spec.max_context:
        raise BadInputError(
            f"{input_len} + {output_len} tokens are more than the {spec.max_context} of {ref.id}; shorten them"
        )
    host = default_host(host_memory * 1e9)
    found, refused = offers(
        spec,
        [load_profile(name) for name in hw] or list_profiles(),
        calibrated(),
        input_tokens=input_len,
        output_tokens=output_len,
        levels=levels,
        usd_per_hour=budget,
        host=host,
        margin=margin,
    )
    remark("nothing here was measured: these are projections; moecap validate and docs/projection.md say how far off")
    if json:
        answer = {"kind": "projected", "model": ref.id, "input_len": input_len, "output_len": output_len, "slo": levels}
        answer |= {"host": host.described, "margin": margin}
        print_json(answer | {"offers": [asdict(o) for o in found], "not_offered": [asdict(r) for r in refused]})
        return
    rows = [
        (
            offer.hardware,
            str(offer.devices),
            offer.engine,
            str(offer.concurrency),
            f"{offer.ttft:.2f}",
            f"{offer.tpot * 1e3:.1f}",
            f"{offer.output_throughput:.0f}",
            f"{offer.usd_per_hour:.2f}",
            f"{offer.usd_per_million:.3f}",
            f"{offer.low:.3f} to {offer.high:.3f}",
            offer.priced if offer.rented else f"* {offer.priced}",
        )
        for offer in found[:_SHOWN]
    ]
    title = f"{ref.id}, {spec.formats}, {input_len} tokens in and {output_len} out, projected"
    print_table(_COLUMNS, rows, title=title, right=_COLUMNS[1:2] + _COLUMNS[3:9])
    if len(found) > _SHOWN:
        print_line(f"and {len(found) - _SHOWN} more (--json shows all)")
    if levels and found and not margin:
        print_line("the values meet the levels, their intervals need not: --margin asks for that")
    if any(not offer.rented for offer in found[:_SHOWN]):
        print_line("* what an operator pays for the device, less than any rent: no price to buy at")
    if any(offer.layout is not None for offer in found[:_SHOWN]):
        print_line(f"offload: the host is {host.described}; the layout is in --json")
    for reason, count in Counter(item.reason for item in refused).most_common(8):
        print_line(f"{count} not offered: {reason}")
