"""The keys of a ``config.json``, read with their types: every wrong value is one line that names its key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moecap.errors import BadInputError

__all__ = ["ConfigFields"]

_LARGEST = 2**31
_MOST_LAYERS = 4096


@dataclass(frozen=True, slots=True)
class ConfigFields:
    """Typed access to a configuration.

    A key whose value is ``null`` counts as absent, as it does in transformers. Where several keys are given, the
    first that is present is taken.

    Attributes:
        config: The parsed JSON object.
        name: The model's name, for messages.
    """

    config: Mapping[str, Any]
    name: str

    def has(self, *keys: str) -> bool:
        """Whether any of the keys is present and not null."""
        return any(self.config.get(key) is not None for key in keys)

    def require(self, *keys: str | tuple[str, ...]) -> None:
        """Refuse a configuration that lacks keys, naming all of them at once.

        Args:
            keys: Names, or tuples of names of which one is enough.

        Raises:
            BadInputError: If any is missing.
        """
        wanted = [(key,) if isinstance(key, str) else key for key in keys]
        missing = [" or ".join(names) for names in wanted if not self.has(*names)]
        if missing:
            raise BadInputError(
                f"the config of {self.name!r} (model_type {self.text('model_type', 'none')!r}) lacks "
                f"{', '.join(missing)}; give a config.json that has them"
            )

    def size(self, *keys: str, default: int | None = None) -> int:
        """A positive integer.

        Raises:
            BadInputError: If it is absent and has no default, or is not a positive integer.
        """
        for key in keys:
            if self.config.get(key) is not None:
                return self._integer(key, self.config[key], least=1)
        if default is None:
            self.require(keys)
            raise AssertionError(keys)
        return default

    def optional_size(self, *keys: str) -> int | None:
        """A positive integer, or ``None`` where it is absent, null or 0."""
        for key in keys:
            if self.config.get(key) is not None:
                return self._integer(key, self.config[key], least=0) or None
        return None

    def count(self, *keys: str, default: int = 0) -> int:
        """An integer of 0 or more."""
        for key in keys:
            if self.config.get(key) is not None:
                return self._integer(key, self.config[key], least=0)
        return default

    def sizes(self, layers: int, *keys: str, default: int | None = None, least: int = 1) -> tuple[int, ...]:
        """One integer a layer, from a list of them or from a single one for all.

        Raises:
            BadInputError: If it is absent and has no default, or is anything else.
        """
        for key in keys:
            value = self.config.get(key)
            if isinstance(value, list):
                if len(value) != layers:
                    raise self.bad(key, len(value), f"an integer or {layers} of them")
                return tuple(self._integer(key, item, least) for item in value)
            if value is not None:
                return (self._integer(key, value, least),) * layers
        if default is None:
            self.require(keys)
            raise AssertionError(keys)
        return (default,) * layers

    def layer_count(self, *keys: str) -> int:
        """The number of layers."""
        keys = keys or ("num_hidden_layers",)
        layers = self.size(*keys)
        if layers > _MOST_LAYERS:
            raise self.bad(keys[0], layers, f"at most {_MOST_LAYERS}")
        return layers

    def flag(self, key: str, default: bool = False) -> bool:
        """A truth value.

        Raises:
            BadInputError: If the value is neither true nor false.
        """
        value = self.config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.bad(key, value, "true or false")
        return value

    def text(self, key: str, default: str = "") -> str:
        """A short printable string.

        Raises:
            BadInputError: If the value is anything else.
        """
        value = self.config.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value.isprintable() or len(value) > 200:
            raise self.bad(key, value, "a short printable string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty where it is absent."""
        value = self.config.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(v, str) and v.isprintable() for v in value):
            raise self.bad(key, value, "a list of strings")
        return tuple(value)

    def indices(self, key: str) -> frozenset[int]:
        """A list of layer numbers; empty where it is absent."""
        value = self.config.get(key)
        if value is None:
            return frozenset()
        if not isinstance(value, list):
            raise self.bad(key, value, "a list of layer numbers")
        return frozenset(self._integer(key, item, least=0) for item in value)

    def table(self, key: str) -> Mapping[str, Any]:
        """A JSON object; empty where it is absent."""
        value = self.config.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.bad(key, value, "an object")
        return value

    def bad(self, key: str, value: object, wanted: str) -> BadInputError:
        """The error for a value that cannot be used."""
        shown = ascii(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return BadInputError(f"the config of {self.name!r} has {key} = {shown}; it must be {wanted}")

    def unless(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that are present and neither null, false, 0 nor empty."""
        return [key for key in keys if self.config.get(key)]

    def _integer(self, key: str, value: object, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
            raise self.bad(key, value, f"an integer from {least} to {_LARGEST}")
        return value
