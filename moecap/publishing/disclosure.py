"""What must not leave this machine with a result, and whether a file holds it: names, places, addresses, keys."""

from __future__ import annotations

import getpass
import ipaddress
import os
import re
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError
from moecap.runner.places import without_places
from moecap.strict_json import parse_json

__all__ = ["Finding", "Private", "find_private", "machine_private", "without_private"]

SHORTEST = 2
"""A name of one character is in every text."""

SHORTEST_IN_BINARY = 6
"""Shorter texts are in large binary files by chance; what is text in them is searched decoded."""

SHORTEST_KEY = 8

EVERYBODYS_NAMES = {"root", "user", "ubuntu", "debian", "admin", "runner", "app", "moecap", "localhost", "nobody"}
"""Names of users and hosts that tell one machine from none."""

SYSTEM_FOLDERS = ("/sys/", "/proc/", "/dev/", "/usr/", "/v1/")
"""Starts of paths that are alike on every machine, and of those of URLs without their host."""

OF_OTHERS = ("samples.jsonl",)
"""Files whose texts are data sets' and models': paths and addresses in them are not of this machine unless equal."""

_KEY_NAME = re.compile(r"(?:^|_)(?:TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?|PAT)(?:_|$)")
_KEYS = re.compile(
    r"(?<![\w-])(?:"
    r"moecap_\w+_[\w-]{16,}"
    r"|hf_[A-Za-z0-9]{20,}"
    r"|sk-[\w-]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{35}|xox[abeprs]-[\w-]{10,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"
    r"|[Bb]earer [\w.~+/=-]{16,}"
    r")"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?<=://)[^\s/:@'\"]+:[^\s/@'\"]+(?=@)"
)
_HOMES = re.compile(r"(?<![\w.-])(?:/home|/Users|/root|[A-Za-z]:\\Users)[/\\][\w.-]+")
_PATHS = re.compile(r"(?:(?<=file://)|(?<![\w/.<>~-]))/(?!/)[\w.+@-]+(?:/[\w.+@-]+)+")
_HOSTS = re.compile(
    r"\b(?:https?|wss?|tcp|grpc|ssh|s?ftp|nfs|smb|redis)://(?:[^\s/@]*@)?(?!localhost\b|endpoint\b)"
    r"(?P<host>[A-Za-z][\w-]*(?:(?:\.[\w-]+)*\.(?:internal|local|lan|corp|intranet))?)(?![\w.-])"
)
"""Names that no public machine has: of one word, or under a private domain."""
_IPV4 = re.compile(r"(?<![\w.+-])\d{1,3}(?:\.\d{1,3}){3}(?![\w+-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_IPV6_NETS = tuple(ipaddress.ip_network(net) for net in ("2000::/3", "fc00::/7", "fe80::/10"))
_BINARY = (".parquet", ".npz")
_VERSION_KEYS = {"version", "software", "environment"}
"""Keys of JSON under which four numbers with points are a version and not an address."""


@dataclass(frozen=True, slots=True)
class Private:
    """A text that tells which machine this is or whose, or that opens something.

    Attributes:
        what: What it is, as a noun with its article.
        text: The text.
        secret: Whether it must not be shown either.
    """

    what: str
    text: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A private text in a file; ``shown`` is as much of it as may be printed."""

    file: str
    what: str
    shown: str


def machine_private() -> tuple[Private, ...]:
    """Host names, user name, home folder and own addresses of this machine, and the keys in this environment."""
    host = socket.gethostname()
    names = [(name, "this machine's name") for name in dict.fromkeys([host, host.partition(".")[0]])]
    with suppress(OSError, KeyError):  # a user without an entry: a container with an arbitrary number
        names.append((getpass.getuser(), "this user's name"))
    found = [
        Private(what, name)
        for name, what in names
        if len(name) >= SHORTEST and name.lower() not in EVERYBODYS_NAMES and not name.isdigit()
    ]
    home = Path.home().as_posix()
    if home != "/":
        found.append(Private("this user's home folder", home))
    for name, value in os.environ.items():
        if _KEY_NAME.search(name.upper()) and len(value) >= SHORTEST_KEY and not value.startswith("/"):
            found.append(Private(f"the value of {name}", value, secret=True))
    return tuple(found)


def find_private(
    path: Path, private: Collection[Private], allowed: Collection[str] = (), *, name: str | None = None
) -> list[Finding]:
    """What a file holds that must not leave; in Parquet and npz also in compressed text.

    Args:
        path: The file.
        private: What is of this machine; forms of keys, home folders, paths and addresses are looked for besides.
        allowed: Texts that may leave all the same.
        name: What the file is called where it goes; by default its own name.

    Raises:
        BadInputError: If the file cannot be read as what its name says, so that it cannot be searched.
    """
    name = name or path.name
    own = [(item, _pattern(item)) for item in private if item.text not in allowed]
    found: dict[tuple[str, str], Finding] = {}
    content = path.read_bytes()
    if name.endswith(_BINARY):
        for item, pattern in own:
            if len(item.text) >= SHORTEST_IN_BINARY and re.search(pattern.encode(), content, re.IGNORECASE):
                found[item.what, item.text] = Finding(name, item.what, _shown(item.text, item.secret))
    for text, versions in _texts(path, name, content):
        for item, pattern in own:
            if re.search(pattern, text, re.IGNORECASE):
                found[item.what, item.text] = Finding(name, item.what, _shown(item.text, item.secret))
        for what, part, secret in _forms(text, versions, name in OF_OTHERS):
            if part not in allowed:
                found.setdefault((what, part), Finding(name, what, _shown(part, secret)))
    return list(found.values())


def without_private(text: str) -> str:
    """A line for others to read: without places, names of this machine and keys."""
    text = without_places(text)
    for item in machine_private():
        text = re.sub(_pattern(item), "…", text, flags=re.IGNORECASE)
    for what, part, _ in list(_forms(text, versions=False, of_others=False)):
        text = text.replace(part, f"({what.split()[-1]})")
    return text


def _pattern(item: Private) -> str:
    """A secret is found anywhere, a name as a word, a folder whatever stands before it."""
    text = re.escape(item.text)
    if item.secret:
        return text
    return rf"{'' if item.text.startswith('/') else '(?<![a-zA-Z0-9_-])'}{text}(?![a-zA-Z0-9_-])"


def _forms(text: str, versions: bool, of_others: bool) -> Iterator[tuple[str, str, bool]]:
    """Everything in a text that has the form of a key, a place or an address: what it is, the part, whether secret."""
    for match in _KEYS.finditer(text):
        yield "a key or password", match[0], True
    if of_others:
        return
    for match in _HOMES.finditer(text):
        yield "a home folder", match[0], False
    for match in _PATHS.finditer(text):
        if not match[0].startswith(SYSTEM_FOLDERS):
            yield "a path", match[0], False
    for match in _HOSTS.finditer(text):
        yield "a machine's name", match["host"], False
    for pattern in () if versions else (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            if _is_address(match[0]):
                yield "a network address", match[0], False


def _is_address(text: str) -> bool:
    """Whether it is the address of a machine among others; 127.0.0.1 and the like are those of any."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return any(address in net for net in _IPV6_NETS)
    return not (address.is_loopback or address.is_multicast or address.packed[0] in (0, 255))


def _texts(path: Path, name: str, content: bytes) -> Iterator[tuple[str, bool]]:
    """Every text in a file, and whether numbers with points in it are versions.

    Raises:
        BadInputError: If the file is not what its name says.
    """
    try:
        if name.endswith(".parquet"):
            yield from ((text, False) for text in _parquet_texts(path))
        elif name.endswith(".npz"):
            yield from ((text, False) for text in _npz_texts(path))
        elif name.endswith(".jsonl"):
            for line in content.splitlines():
                yield from _json_texts(parse_json(line))
        elif name.endswith(".json"):
            yield from _json_texts(parse_json(content))
        else:
            yield content.decode(errors="replace"), False
    except Exception as error:  # each format raises its own
        raise BadInputError(
            f"{name} cannot be searched for names and keys ({type(error).__name__}); the run has to be repeated"
        ) from None


def _json_texts(value: Any, versions: bool = False) -> Iterator[tuple[str, bool]]:
    if isinstance(value, str):
        yield value, versions
    elif isinstance(value, list):
        for item in value:
            yield from _json_texts(item, versions)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key, versions
            yield from _json_texts(item, versions or key in _VERSION_KEYS)


def _parquet_texts(path: Path) -> Iterator[str]:
    """Different texts of every column at any depth, and the file's own metadata."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from moecap.packed_files import open_table

    with open_table(path) as file:
        schema = file.schema_arrow
        yield from (text.decode(errors="replace") for pair in (file.metadata.metadata or {}).items() for text in pair)
        for field in schema:
            yield field.name
            yield from (text.decode(errors="replace") for pair in (field.metadata or {}).items() for text in pair)
        for group in range(file.num_row_groups):
            for column in file.read_row_group(group).columns:
                for array in column.chunks:
                    for leaf in _leaves(array):
                        values = leaf.dictionary if pa.types.is_dictionary(leaf.type) else leaf
                        for value in pc.unique(values).to_pylist():
                            if value is not None:
                                yield value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _leaves(array: Any) -> Iterator[Any]:
    """The arrays of text inside an array of lists or structures."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        for child in array.flatten():
            yield from _leaves(child)
    elif pa.types.is_map(kind):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(array.flatten())
    elif any(is_text(kind) for is_text in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)):
        yield array


def _npz_texts(path: Path) -> Iterator[str]:
    import numpy as np

    from moecap.packed_files import read_arrays

    for key, array in read_arrays(path).items():
        yield key
        if array.dtype.kind in "US":
            yield from (str(value) for value in np.unique(array))


def _shown(text: str, secret: bool) -> str:
    return f"{text[:4]}… ({len(text)} characters)" if secret else text
