"""How often each client may ask: so many a second, so many at once."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

__all__ = ["Buckets", "client_of"]

_CLIENTS = 20_000
"""Clients that are remembered; the one that was quiet for longest is forgotten first."""


def client_of(scope: Mapping[str, Any]) -> str:
    """The address that a request comes from; the server takes a proxy's word for it where it is told to.

    Of IPv6 the network of 64 bits, which is one client's as a rule, who would have as many limits as addresses.
    """
    said: str = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(said.partition("%")[0])
    except ValueError:
        return said
    if address.version == 4:
        return said
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 64), strict=False))


class Buckets:
    """Tokens of each client: so many a second, so many at once."""

    def __init__(self, rate: float, size: int) -> None:
        self._rate, self._size = rate, size
        self._state: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str) -> tuple[int, int]:
        """Take a token: how many are left, and the seconds to wait where there was none."""
        now = time.monotonic()
        with self._lock:
            tokens, since = self._state.pop(client, (float(self._size), now))
            tokens = min(self._size, tokens + (now - since) * self._rate)
            wait = 0 if tokens >= 1 else int((1 - tokens) / self._rate) + 1
            tokens -= not wait
            self._state[client] = (tokens, now)
            if len(self._state) > _CLIENTS:
                self._state.popitem(last=False)
        return int(tokens), wait
