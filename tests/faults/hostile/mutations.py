"""Changes of valid files as damage, mistakes and malice make them."""

from __future__ import annotations

import json
import random
from typing import Any

ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    0.5,
    2**31,
    2**63,
    -(2**63) - 1,
    2**64,
    10**400,
    1e308,
    -1e308,
    5e-324,
    float("nan"),
    float("inf"),
    "",
    "a",
    "nan",
    "1e999",
    "\ud800",
    "\x00",
    "../../etc/passwd",
    "/dev/zero",
    "\u202e\n\r\t",
    "<script>alert(1)</script>",
    "x" * 5000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": []}},
)
"""Values that few readers expect."""


def damaged(content: bytes, seed: int) -> bytes:
    """A content with one to three changes of its bytes."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        content = chance.choice(BYTES)(content, chance)
    return content


def altered(content: bytes, seed: int) -> bytes:
    """A JSON text, or lines of it, or YAML that is JSON, with one to three of its values changed; else damaged."""
    chance = random.Random(seed)
    lines = content.split(b"\n")
    number = chance.randrange(len(lines)) if len(lines) > 1 and lines[0].startswith(b"{") else None
    try:
        value = json.loads(content if number is None else lines[number])
    except ValueError:
        return damaged(content, seed)
    for _ in range(chance.randint(1, 3)):
        value = _changed(value, chance)
    text = json.dumps(value).encode("utf-8", "surrogatepass")
    if chance.random() < 0.05:
        text = text.replace(b"{", b'{"a": 1, "a": 2, ', 1).replace(b", }", b"}")
    if number is None:
        return text
    return b"\n".join([*lines[:number], text, *lines[number + 1 :]])


def _changed(value: Any, chance: random.Random) -> Any:
    """A value with one part of it changed, wherever it stands."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        return _changed_object(value, chance)
    if isinstance(value, list) and value and chance.random() < 0.9:
        return _changed_list(value, chance)
    if isinstance(value, int | float) and not isinstance(value, bool) and chance.random() < 0.3:
        return chance.choice([-value, value + 1, value * 1000, str(value), value * 1e300 if abs(value) < 1e9 else 0])
    return chance.choice(ODD)


def _changed_object(value: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    key = chance.choice(sorted(value))
    action = chance.random()
    if action < 0.1:
        return {name: item for name, item in value.items() if name != key}
    if action < 0.15:
        return value | {chance.choice(["x", "\ud800", "__class__", "k" * 3000]): chance.choice(ODD)}
    return value | {key: _changed(value[key], chance)}


def _changed_list(value: list[Any], chance: random.Random) -> list[Any]:
    place = chance.randrange(len(value))
    action = chance.random()
    if action < 0.1:
        return value[:place] + value[place + 1 :]
    if action < 0.15:
        return value[:place] + [value[place]] * 3 + value[place:]
    return [*value[:place], _changed(value[place], chance), *value[place + 1 :]]


def _flip(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return b"\xff"
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _without(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    return content[:place] + content[place + chance.randint(1, 40) :]


def _twice(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    length = chance.randint(1, 200)
    return content[: place + length] + content[place:]


def _number(content: bytes, chance: random.Random) -> bytes:
    """Some bytes as another number, as sizes and counts of binary formats stand."""
    place = chance.randrange(len(content) + 1)
    width = chance.choice([1, 2, 4, 8])
    value = chance.choice(
        [0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1, chance.getrandbits(8 * width)]
    )
    return content[:place] + value.to_bytes(width, chance.choice(["little", "big"])) + content[place + width :]


def _token(content: bytes, chance: random.Random) -> bytes:
    """A piece of text put in."""
    place = chance.randrange(len(content) + 1)
    piece = chance.choice(PIECES)
    return content[:place] + piece + content[place + (len(piece) if chance.random() < 0.3 else 0) :]


PIECES = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000, b"null", b"true", b"0x10", b"1:30", b".inf", b".nan"),
    *(b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc2\x85", b'"\\ud800"', b"\n", b"\r\n", b"\t", b" "),
    *(b"{}", b"[]", b'{"a":', b"[" * 200, b",", b":", b'"', b"'", b"\\", b"#", b"%", b"../", b"/etc/passwd"),
    *(b"- ", b"? ", b"&a ", b"*a", b"<<: ", b"!!python/object:os.system x", b"!!binary x", b"!!set {a}", b"|"),
    *(b"2024-13-99", b"2024-01-01", b"data: ", b"data: [DONE]\n\n", b"{{ x.y.z }}", b"{% for %}"),
)

BYTES = (_flip, _flip, _cut, _without, _twice, _number, _token, _token)
