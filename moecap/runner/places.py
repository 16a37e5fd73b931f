"""What a result may say of places: names of files, never where on this machine they lie or whose they are."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["public_argument", "public_config", "public_endpoint", "without_places"]

_SECRET = re.compile(r"(?<=://)[^/\s@'\"]+@")
_HOMES = re.compile(r"/(?:home|Users)/[^/\s'\",:;]+|/root(?=/|\b)")
_PATH = re.compile(
    r"""(?P<quote>['"`])(?P<quoted>(?:file://)?(?:~[^/'"`\n]*)?/(?!/)[^'"`\n]+)(?P=quote)"""  # may hold blanks
    r"""|(?<![\w/.<~-])(?:file://)?(?P<bare>(?:~[\w.-]*)?/(?!/)[^\s'"`<>|,;:()\[\]{}=]+)"""  # no path in a URL
)

_URLS = ("http://", "https://")

_CONFIG_PLACES = ("_name_or_path",)
"""Keys of a config.json that hold where it was loaded from."""


def without_places(text: str) -> str:
    """The text with the last component in place of each absolute path, without home folders, users and passwords.

    A path with blanks is recognised between quotes or below this user's home folder; a URL keeps its path and loses
    its user and password.
    """
    home = Path.home().as_posix()
    if home.count("/") > 1 or home == "/root":
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    text = _HOMES.sub("~", _SECRET.sub("", text))
    text = _PATH.sub(_last_component, text)
    user = _user()
    return re.sub(rf"(?<![\w.-]){re.escape(user)}(?![\w-])", "user", text) if user else text


def public_endpoint(url: str) -> str:
    """A server's URL: on this machine as it is, elsewhere with ``endpoint`` in place of the machine's name."""
    parts = urlsplit(without_places(url if "://" in url else f"http://{url}"))
    if parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return parts.geturl()
    return f"{parts.scheme}://endpoint{parts.path}"


def public_argument(pair: str) -> str:
    """``KEY=VALUE`` without places; of a value that is a URL, the machine's name is left out."""
    key, equals, value = pair.partition("=")
    return f"{key}={public_endpoint(value)}" if equals and value.startswith(_URLS) else without_places(pair)


def public_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A ``config.json`` at any depth without the key that says where it lay, and with names for absolute paths."""
    return {key: _public(value) for key, value in config.items() if key not in _CONFIG_PLACES}


def _public(value: Any) -> Any:
    if isinstance(value, dict):
        return public_config(value)
    if isinstance(value, list):
        return [_public(item) for item in value]
    if isinstance(value, str) and value.startswith(("/", "~/", "file:/")):
        return without_places(value)
    return value


def _last_component(match: re.Match[str]) -> str:
    quote = match["quote"] or ""
    return quote + (match["bare"] or match["quoted"]).rstrip("/").rpartition("/")[2] + quote


def _user() -> str | None:
    """The user's name, unless it is one that every machine has."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without an entry: a container with an arbitrary number
        return None
    return None if name == "root" else name
