"""Bearer keys: shown once, kept as hashes, with scopes; and the public keys with which owners sign."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, get_args

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from moecap_leaderboard.database import Database
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.tables import Key, SigningKey, now_us
from moecap_leaderboard.times import rfc3339

__all__ = ["OWNER", "PUBLIC_KEY", "SCOPES", "Caller", "Keys", "Scope", "allowed"]

Scope = Literal["submit", "work", "moderate", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

OWNER = "[a-z0-9][a-z0-9-]{0,38}"
PUBLIC_KEY = "[A-Za-z0-9_-]{43}"

_KEY = re.compile(r"moecap_(?P<id>[0-9a-f]{16})_(?P<secret>[\w-]{43})", re.ASCII)
_RESERVED = ("server",)

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        key: Id of the key.
        owner: In whose name it acts.
        scopes: What it may do.
    """

    key: str
    owner: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the key has a scope; ``admin`` has all."""
        return scope in self.scopes or "admin" in self.scopes


def allowed(caller: Caller | None, scope: str) -> Caller:
    """The caller, who must have a scope.

    Raises:
        ProblemError: If there is none, or it has not the scope.
    """
    if caller is None:
        raise ProblemError("no-key", f"a key with the scope {scope} is needed: Authorization: Bearer KEY", scope=scope)
    if not caller.may(scope):
        raise ProblemError("no-scope", f"the key of {caller.owner} has not the scope {scope}", scope=scope)
    return caller


class Keys:
    """All keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def new(self, owner: str, scopes: Sequence[str], expires: datetime | None = None) -> tuple[dict[str, Any], str]:
        """Make a key; what the server says of it, and the key itself, which is kept nowhere.

        Raises:
            ProblemError: If the owner, a scope or the expiry cannot be.
        """
        key = f"moecap_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"
        return self.add(key, owner, scopes, expires), key

    def add(self, key: str, owner: str, scopes: Sequence[str], expires: datetime | None = None) -> dict[str, Any]:
        """Take a key that was made elsewhere; one that is there already stays as it is.

        Raises:
            ProblemError: If it is no key, or the owner, a scope or the expiry cannot be.
        """
        parts = _KEY.fullmatch(key)
        if parts is None:
            raise ProblemError("bad-request", "a key is moecap_ID_SECRET with 16 hexadecimal digits and 43 characters")
        if not re.fullmatch(OWNER, owner) or owner in _RESERVED:
            raise ProblemError("bad-request", f"no owner {owner[:60]!r}; take up to 39 of a to z, 0 to 9 and -")
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            asked = repr(unknown[0][:40]) if unknown else "''"
            raise ProblemError("bad-request", f"no scope {asked}; known: {', '.join(SCOPES)}")
        if expires is not None and (expires.tzinfo is None or expires <= datetime.now(UTC)):
            raise ProblemError(
                "bad-request", "expires is no time to come with its zone; give 2030-01-01T00:00:00Z or null"
            )
        row = Key(
            id=parts["id"],
            owner=owner,
            secret_sha256=_hash(parts["secret"]),
            scopes=",".join(scope for scope in SCOPES if scope in scopes),
            created_us=now_us(),
            expires_us=None if expires is None else int(expires.timestamp() * 1e6),
            revoked_us=None,
        )
        with self._database.writing() as session:
            return _key(session.get(Key, row.id) or _added(session, row))

    def caller(self, authorization: str | None) -> Caller | None:
        """Who a header ``Authorization`` is; ``None`` without one.

        Raises:
            ProblemError: If the key is unknown, revoked or expired.
        """
        if not authorization:
            return None
        scheme, _, text = authorization.partition(" ")
        parts = _KEY.fullmatch(text.strip())
        row = None
        if scheme.lower() == "bearer" and parts is not None:
            with self._database.reading() as session:
                row = session.get(Key, parts["id"])
        expected = row.secret_sha256 if row else _hash("")
        same = hmac.compare_digest(_hash(parts["secret"] if parts else "?"), expected)
        ended = row is not None and row.expires_us is not None and row.expires_us <= now_us()
        if row is None or not same or row.revoked_us is not None or ended:
            raise ProblemError(
                "no-key", "the key is not known, was revoked or has expired; ask an administrator for one"
            )
        return Caller(row.id, row.owner, frozenset(row.scopes.split(",")))

    def get(self, identifier: str) -> dict[str, Any]:
        """What the server says of a key."""
        with self._database.reading() as session:
            return _key(_found(session, Key, identifier))

    def listed(self) -> list[dict[str, Any]]:
        """All keys, the newest first."""
        with self._database.reading() as session:
            return [_key(row) for row in session.scalars(select(Key).order_by(Key.created_us.desc(), Key.id))]

    def revoke(self, identifier: str) -> None:
        """End a key.

        Raises:
            ProblemError: If there is none.
        """
        with self._database.writing() as session:
            row = _found(session, Key, identifier)
            row.revoked_us = row.revoked_us or now_us()

    def register(self, public_key: str, owner: str) -> tuple[dict[str, Any], bool]:
        """Take a public key for an owner's signatures, and say whether it is new.

        Raises:
            ProblemError: If it is no key, or another's.
        """
        if not re.fullmatch(PUBLIC_KEY, public_key):
            raise ProblemError("bad-request", "public_key is not the 43 characters that moecap keys new prints")
        try:
            with self._database.writing() as session:
                if row := session.get(SigningKey, public_key):
                    if row.owner != owner or row.revoked_us is not None:
                        raise ProblemError(
                            "conflict", "this public key was registered before; make another: moecap keys new"
                        )
                    return _signing_key(row), False
                row = SigningKey(public_key=public_key, owner=owner, created_us=now_us(), revoked_us=None)
                return _signing_key(_added(session, row)), True
        except IntegrityError:  # at the same time
            return self.register(public_key, owner)

    def registered(self, owner: str | None) -> list[dict[str, Any]]:
        """Public keys, of one owner or all."""
        chosen = select(SigningKey).order_by(SigningKey.created_us.desc(), SigningKey.public_key)
        with self._database.reading() as session:
            rows = session.scalars(chosen.where(SigningKey.owner == owner) if owner else chosen)
            return [_signing_key(row) for row in rows]

    def unregister(self, public_key: str, caller: Caller) -> None:
        """End a public key of the caller, or as an administrator anybody's.

        Raises:
            ProblemError: If there is none, or it is another's.
        """
        with self._database.writing() as session:
            row = _found(session, SigningKey, public_key)
            if row.owner != caller.owner and not caller.may("admin"):
                raise ProblemError(
                    "no-scope", f"this public key is of {row.owner}; its owner or an administrator can end it"
                )
            row.revoked_us = row.revoked_us or now_us()


def _hash(secret: str) -> str:
    """SHA-256; a secret of 32 random bytes needs no slower one."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _added(session: Session, row: R) -> R:
    session.add(row)
    session.flush()
    return row


def _found(session: Session, table: type[R], identifier: str) -> R:
    row = session.get(table, identifier)
    if row is None:
        raise ProblemError("not-found", f"no key {identifier[:60]}; GET lists them")
    return row


def _key(row: Key) -> dict[str, Any]:
    return {
        "id": row.id,
        "owner": row.owner,
        "scopes": row.scopes.split(","),
        "created": rfc3339(row.created_us),
        "expires": rfc3339(row.expires_us),
        "revoked": rfc3339(row.revoked_us),
    }


def _signing_key(row: SigningKey) -> dict[str, Any]:
    return {
        "public_key": row.public_key,
        "owner": row.owner,
        "created": rfc3339(row.created_us),
        "revoked": rfc3339(row.revoked_us),
    }
