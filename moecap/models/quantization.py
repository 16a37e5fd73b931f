"""The number format of each matrix, from ``dtype`` and ``quantization_config``.

Routers and the input embedding are never quantised by the methods below, and the output projection only where the
configuration says so. Of what is quantised, the modules that the configuration excludes stay in the model's dtype.
A method that is not known is refused: its bytes would be a guess. Vectors are counted in the model's dtype, also the
score-correction bias of a router, which some checkpoints keep in fp32 (29,696 bytes more in DeepSeek-V3).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from moecap.dtypes import canonical_dtype
from moecap.errors import BadInputError, UnknownNameError
from moecap.models.fields import ConfigFields
from moecap.models.formats import GGUF_PREFIX, gguf_format
from moecap.models.spec import WeightFormat

__all__ = ["Modules", "Rule", "TensorClass", "Weights", "read_weights"]

TensorClass = str
"""One of ``attention``, ``router``, ``experts``, ``shared``, ``dense``, ``lm_head``, ``embedding``."""

_LINEAR = frozenset({"attention", "experts", "shared", "dense"})
_MOST_PATTERNS = 2000
_EXCLUSIONS = ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules")


@dataclass(frozen=True, slots=True)
class Modules:
    """The modules that a list of patterns names.

    A pattern is a regular expression after ``re:``, a glob, or whole components of a module path: ``lm_head``,
    ``self_attn``, ``model.layers.0.mlp``. A glob covers what lies under the modules that it names, too.
    """

    names: frozenset[str]
    globs: tuple[str, ...]
    expressions: tuple[re.Pattern[str], ...]

    @classmethod
    def read(cls, fields: ConfigFields, patterns: Iterable[str]) -> Modules:
        """Compile patterns of a configuration.

        Raises:
            BadInputError: If a regular expression is not valid, or could take for ever.
        """
        names, globs, expressions = [], [], []
        for pattern in patterns:
            if pattern.startswith("re:"):
                try:
                    expressions.append(_compile(pattern[3:]))
                except (re.error, ValueError, OverflowError):
                    raise fields.bad("quantization_config", pattern, "a simple regular expression") from None
            elif "*" in pattern:
                globs += [pattern, pattern + ".*"]
            else:
                names.append(pattern.strip("."))
        if len(globs) + len(expressions) > _MOST_PATTERNS:
            raise fields.bad("quantization_config", "...", f"at most {_MOST_PATTERNS} patterns")
        return cls(frozenset(names), tuple(globs), tuple(expressions))

    def cover(self, path: str) -> bool:
        """Whether the module at a path is one of them, also where a multimodal wrapper prefixes its language model."""
        wrapped = path.replace("model.", "model.language_model.", 1)
        return any(self._covers(name) for name in {path, f"language_model.{path}", wrapped})

    def _covers(self, path: str) -> bool:
        parts = path.split(".")
        runs = (".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1))
        return (
            (bool(self.names) and any(run in self.names for run in runs))
            or any(fnmatch.fnmatchcase(path, glob) for glob in self.globs)
            or any(expression.match(path) for expression in self.expressions)
        )


def _compile(pattern: str) -> re.Pattern[str]:
    """Compile an expression that a module path can be matched against in little time.

    Raises:
        ValueError: If it repeats a group or has many repetitions: such patterns can backtrack for ever.
        re.error: If it is not valid.
    """
    if re.search(r"\)[*+{]", pattern) or sum(pattern.count(mark) for mark in "*+{") > 4:
        raise ValueError(pattern)
    return re.compile(pattern)


@dataclass(frozen=True, slots=True)
class Rule:
    """One format with the classes and the modules that it covers; ``None`` for every module."""

    format: WeightFormat
    classes: frozenset[TensorClass]
    modules: Modules | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """Formats by class and module path.

    Attributes:
        dtype: The model's own dtype, for what is not quantised.
        kv_dtype: The dtype of the KV cache.
        rules: What is quantised; the first rule that covers a matrix holds.
        excluded: The modules that stay in the model's dtype all the same.
        assumption: What had to be assumed, or an empty string.
        overridden: Whether one format was asked for in place of all that the configuration says.
    """

    dtype: str
    kv_dtype: str
    rules: tuple[Rule, ...] = ()
    excluded: Modules | None = None
    assumption: str = ""
    overridden: bool = False

    def format(self, tensors: TensorClass, path: str) -> WeightFormat:
        """The format of the matrix at a module path such as ``model.layers.3.self_attn.q_proj``."""
        for rule in self.rules:
            if tensors in rule.classes and (rule.modules is None or rule.modules.cover(path)):
                if self.excluded is not None and self.excluded.cover(path):
                    break
                return rule.format
        return WeightFormat(self.dtype)


def read_weights(
    fields: ConfigFields, weights: str | None = None, kv: str | None = None, unquantised: str | None = None
) -> Weights:
    """Read the number formats of a model.

    Args:
        fields: The configuration.
        weights: A format that overrides ``quantization_config`` for every class, or ``gguf-NAME``: the matrices in that
            format, routers and vectors in fp32.
        kv: A format of the KV cache that overrides the configuration's.
        unquantised: A format that overrides ``dtype``, in which the engine holds what is not quantised.

    Raises:
        BadInputError: If the configuration's formats cannot be read.
        UnknownNameError: If an override is not a known format.
    """
    dtype = unquantised or fields.text("dtype") or fields.text("torch_dtype")
    assumption = "" if dtype else "no dtype in the config: bf16 assumed"
    try:
        dtype = canonical_dtype(dtype or "bf16")
    except UnknownNameError as unknown:
        raise BadInputError(f"the config of {fields.name!r} has an unknown dtype: {unknown}") from None
    cache = canonical_dtype(kv) if kv is not None else None
    if weights is not None and weights.startswith(GGUF_PREFIX):
        rule = Rule(gguf_format(weights.removeprefix(GGUF_PREFIX)), _LINEAR | {"lm_head", "embedding"})
        return Weights("fp32", cache or dtype, (rule,), assumption=assumption, overridden=True)
    if weights is not None:
        return Weights(canonical_dtype(weights), cache or dtype, assumption=assumption, overridden=True)
    quantized = ConfigFields(fields.table("quantization_config"), fields.name)
    if not quantized.config:
        return Weights(dtype, cache or dtype, assumption=assumption)
    rules, stored_cache = _read_method(quantized)
    excluded = Modules.read(fields, [pattern for key in _EXCLUSIONS for pattern in quantized.texts(key)])
    return Weights(dtype, cache or stored_cache or dtype, tuple(rules), excluded, assumption)


def _read_method(fields: ConfigFields) -> tuple[list[Rule], str | None]:
    method = fields.text("quant_method").lower()
    if method in ("fp8", "fbgemm_fp8"):
        return [Rule(_fp8(fields, method), _LINEAR)], None
    if method == "mxfp4":
        return [Rule(WeightFormat("fp4", (1, 32), 1.0), frozenset({"experts"}))], None
    if method in ("gptq", "awq"):
        return [Rule(_integer_groups(fields), _LINEAR | ({"lm_head"} if fields.flag("lm_head") else set()))], None
    if method == "compressed-tensors":
        return _compressed_tensors(fields)
    if method in ("modelopt", "modelopt_fp4"):
        cache = "fp8" if fields.text("kv_cache_quant_algo").upper() == "FP8" or fields.has("kv_cache_scheme") else None
        if fields.table("quantized_layers"):
            return _modelopt_layers(fields), cache
        return [Rule(_modelopt(fields, fields.text("quant_algo")), _LINEAR)], cache
    raise BadInputError(
        f"the config of {fields.name!r} has the quantization method {method!r}, which is not known here; "
        "say the format of its weights with --weight-dtype"
    )


def _block(fields: ConfigFields, key: str) -> tuple[int, int] | None:
    value = fields.config.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or any(type(v) is not int or not 0 < v < 2**31 for v in value):
        raise fields.bad(key, value, "two positive integers")
    return value[0], value[1]


def _fp8(fields: ConfigFields, method: str) -> WeightFormat:
    """Both methods quantise the inputs too, whatever the scheme of their scales (dynamic or static)."""
    block = _block(fields, "weight_block_size")
    if block is not None:
        return WeightFormat("fp8", block, 4.0, inputs="fp8")
    return WeightFormat("fp8", (1, 0) if method == "fbgemm_fp8" else (0, 0), 4.0, inputs="fp8")


def _integer_groups(fields: ConfigFields) -> WeightFormat:
    """GPTQ and AWQ: a half-precision scale and a packed zero point for each group of inputs of each output."""
    bits = fields.size("bits", "w_bit")
    if bits not in (4, 8):
        raise fields.bad("bits", bits, "4 or 8")
    group = fields.config.get("group_size", fields.config.get("q_group_size", 128))
    if type(group) is not int or not (group == -1 or 0 < group < 2**31):
        raise fields.bad("group_size", group, "-1 or a positive integer")
    return WeightFormat(f"int{bits}", (1, max(group, 0)), 2.0 + bits / 8)


_MODELOPT = {
    "FP8": WeightFormat("fp8", (0, 0), 4.0, inputs="fp8"),
    "FP8_PB_WO": WeightFormat("fp8", (128, 128), 4.0),
    "MXFP8": WeightFormat("fp8", (1, 32), 1.0, inputs="fp8"),
    "NVFP4": WeightFormat("fp4", (1, 16), 1.0, 4, inputs="fp4"),
    "FP4": WeightFormat("fp4", (1, 16), 1.0, 4, inputs="fp4"),
    "W4A16_NVFP4": WeightFormat("fp4", (1, 16), 1.0, 4),
}
"""Formats of NVIDIA's ModelOpt by ``quant_algo``; NVFP4 has a scale of 8 bits for 16 elements, one of 32 a matrix.

WO and W4A16 are weight-only, the others quantise the inputs too."""


def _modelopt(fields: ConfigFields, algorithm: str) -> WeightFormat:
    if algorithm.upper() not in _MODELOPT:
        raise fields.bad("quant_algo", algorithm, f"one of {', '.join(_MODELOPT)}")
    return _MODELOPT[algorithm.upper()]


def _modelopt_layers(fields: ConfigFields) -> list[Rule]:
    """Mixed precision: the algorithm of each module that is quantised, by its path."""
    modules: dict[str, list[str]] = {}
    for path, settings in fields.table("quantized_layers").items():
        if not isinstance(settings, dict):
            raise fields.bad("quantized_layers", settings, "an object of objects")
        modules.setdefault(ConfigFields(settings, fields.name).text("quant_algo"), []).append(path)
    classes = _LINEAR | {"lm_head"}
    return [Rule(_modelopt(fields, name), classes, Modules.read(fields, paths)) for name, paths in modules.items()]


def _compressed_tensors(fields: ConfigFields) -> tuple[list[Rule], str | None]:
    rules = []
    for group in fields.table("config_groups").values():
        if not isinstance(group, dict):
            raise fields.bad("config_groups", group, "an object of objects")
        inner = ConfigFields(group, fields.name)
        form = _scheme(ConfigFields(inner.table("weights"), fields.name))
        given = ConfigFields(inner.table("input_activations"), fields.name)
        form = replace(form, inputs=_elements(given) if given.config else None)
        targets = inner.texts("targets")
        if not targets or "Linear" in targets:
            rules.append(Rule(form, _LINEAR | {"lm_head"}))
        else:
            rules.append(Rule(form, _LINEAR | {"lm_head"}, Modules.read(fields, targets)))
    if not rules:
        raise fields.bad("config_groups", {}, "an object with at least one group")
    cache: Mapping[str, Any] = fields.table("kv_cache_scheme")
    return rules, ("fp8" if cache.get("num_bits") == 8 else None)


def _elements(fields: ConfigFields) -> str:
    """The number format of quantised weights or inputs."""
    bits, kind = fields.size("num_bits"), fields.text("type", "int")
    if (bits, kind) not in {(4, "int"), (8, "int"), (4, "float"), (8, "float")}:
        raise fields.bad("num_bits", bits, "4 or 8 bits of type int or float")
    return f"{'fp' if kind == 'float' else 'int'}{bits}"


def _scheme(fields: ConfigFields) -> WeightFormat:
    bits, kind, dtype = fields.size("num_bits"), fields.text("type", "int"), _elements(fields)
    strategy = fields.text("strategy", "tensor")
    zero_point = bits / 8 if kind == "int" and not fields.flag("symmetric", True) else 0.0
    if strategy == "block":
        return WeightFormat(dtype, _block(fields, "block_structure") or (128, 128), 4.0)
    if strategy in ("group", "tensor_group"):
        scale = 1.0 if dtype == "fp4" else 2.0 + zero_point
        return WeightFormat(dtype, (1, fields.size("group_size")), scale, 4 if strategy == "tensor_group" else 0)
    if strategy == "channel":
        return WeightFormat(dtype, (1, 0), 2.0 + zero_point)
    return WeightFormat(dtype, (0, 0), 4.0)
