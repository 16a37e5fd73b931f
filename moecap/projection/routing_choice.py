"""How tokens choose experts in a projection, as a user says it: calibrated, uniform, a power law, or as in a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moecap.errors import BadInputError
from moecap.models.spec import ModelSpec
from moecap.projection.coefficients import Coefficients
from moecap.projection.routing import UNIFORM, Popularity

__all__ = ["chosen_routing", "is_measured_run"]

MOST_EXPONENT = 8.0


def chosen_routing(text: str, spec: ModelSpec, coefficients: Coefficients) -> tuple[Popularity, str]:
    """The popularity of experts and where it comes from, in words.

    Args:
        text: ``auto``, ``uniform``, the exponent of a power law, or a run directory with captured routing.
        spec: The model that is projected.
        coefficients: Whose exponent ``auto`` takes.

    Raises:
        BadInputError: If it is none of these, or the run captured no routing of as many experts.
    """
    if not spec.is_moe:
        return UNIFORM, "none: the model is dense"
    if text == "auto":
        exponent = coefficients.shared.popularity
        return Popularity(exponent), f"a power law with exponent {exponent:g}, fitted with the coefficients"
    if text == "uniform":
        return UNIFORM, "uniform, as asked for"
    if is_measured_run(text):
        return Popularity(histogram=_measured(Path(text), spec)), f"measured in the run {Path(text).name}"
    exponent = float(text)
    if not 0.0 <= exponent <= MOST_EXPONENT:
        raise BadInputError(f"routing={text}: an exponent is 0 to {MOST_EXPONENT:g}; give one inside")
    return Popularity(exponent), f"a power law with exponent {exponent:g}, as asked for"


def is_measured_run(text: str) -> bool:
    """Whether a choice of routing names a run, whose routing only that run can give."""
    try:
        float(text)
    except ValueError:
        return text not in ("auto", "uniform")
    return False


def _measured(directory: Path, spec: ModelSpec) -> tuple[float, ...]:
    """The shares of the selections that a layer's experts got in a run, the busiest first: the mean over its layers.

    Only the shape of the load matters to a projection, and the busiest expert is another one in each layer.
    """
    from moecap.observations.reader import Routing, read_observations

    if not directory.is_dir():
        raise BadInputError(
            f"routing={directory}: no such run directory; give one, auto, uniform or the exponent of a power law"
        )
    observed = read_observations(directory)
    told = observed.routing or observed.request_routing
    if told is None:
        raise BadInputError(
            f"routing={directory}: that run captured no routing (routing.npz); give one that did, or auto"
        )
    kinds = {ffn.experts for ffn in spec.moe_layers}
    layers = told.experts.shape[1]
    if len(kinds) != 1 or layers != len(spec.moe_layers):
        raise BadInputError(
            f"routing={directory}: its model has {layers} MoE layers and {spec.name!r} has {len(spec.moe_layers)}; "
            "give a run of the same model"
        )
    experts = kinds.pop()
    if int(told.experts.max(initial=0)) >= experts + max(ffn.zero_experts for ffn in spec.moe_layers):
        raise BadInputError(
            f"routing={directory}: its model has more than the {experts} experts of {spec.name!r}; give a run of the "
            "same model"
        )
    chosen = told.experts.astype(np.int64)
    if isinstance(told, Routing):
        chosen = chosen[(observed.steps.stage == "load")[told.token_step]]
    flat = (chosen + np.arange(layers)[None, :, None] * experts)[chosen < experts]
    counts = np.bincount(flat, minlength=layers * experts).reshape(layers, experts)
    if not counts.sum(1).all():
        raise BadInputError(f"routing={directory}: no expert was selected in its load; give another run")
    shares = np.sort(counts / counts.sum(1, keepdims=True), axis=1)[:, ::-1].mean(0)
    return tuple(float(share) for share in shares)
