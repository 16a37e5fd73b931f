"""Ed25519 signatures of results (RFC 8032), and the keys that make them.

A signature is of the canonical JSON (RFC 8785) of ``result.json`` without ``signature``, in UTF-8. It is written
``ed25519:PUBLIC_KEY:SIGNATURE``, both in base64url without padding (RFC 4648), so that a result says by itself which
key has signed it. Whose key that is, a leaderboard knows with which it is registered.
"""

from __future__ import annotations

import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from moecap.errors import BadInputError, NotAvailableError, VerificationError
from moecap.result import Result

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["DEFAULT_KEY", "SigningKey", "config_root", "load_key", "new_key", "saved_keys", "sign_result", "signer"]

DEFAULT_KEY = "default"
SCHEME = "ed25519"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SIGNATURE = re.compile(rf"{SCHEME}:(?P<public>[\w-]{{43}}):(?P<signature>[\w-]{{86}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key on this machine.

    Attributes:
        name: Its name, which never leaves this machine.
        path: Its file, PKCS #8 in PEM.
        public: The public key: its 32 bytes in 43 characters of base64url.
        private: The private key.
    """

    name: str
    path: Path
    public: str
    private: Ed25519PrivateKey = field(repr=False, compare=False)


def config_root() -> Path:
    """The folder of this user's settings: ``$MOECAP_CONFIG``, ``$XDG_CONFIG_HOME/moecap`` or ``~/.config/moecap``."""
    if own := os.environ.get("MOECAP_CONFIG"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return (Path(base).expanduser() / "moecap").absolute()


def new_key(name: str = DEFAULT_KEY) -> SigningKey:
    """Make a key and keep it in a file that this user alone may read; one that is there already stays.

    Raises:
        BadInputError: If the name is taken or cannot be that of a file.
        NotAvailableError: If the file cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = _path(name)
    private = Ed25519PrivateKey.generate()
    content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadInputError(
            f"a signing key named {name!r} is at {path} and is never overwritten; give another --name"
        ) from None
    except OSError as error:
        raise NotAvailableError(
            f"the signing key cannot be kept at {path} ({error.strerror}); set MOECAP_CONFIG to a folder of yours"
        ) from None
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return SigningKey(name, path, _public(private), private)


def load_key(name: str = DEFAULT_KEY) -> SigningKey:
    """Read a key.

    Raises:
        NotAvailableError: If there is none of that name.
        BadInputError: If others may read its file, or it holds no Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = _path(name)
    if not path.is_file():
        raise NotAvailableError(f"no signing key named {name!r} in {path.parent}; moecap keys new makes one")
    if path.stat().st_mode & 0o077:
        raise BadInputError(f"{path}: others may read this signing key; make it yours alone with chmod 600")
    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise BadInputError(f"{path}: no Ed25519 key without a password; moecap keys new --name N makes another")
    return SigningKey(name, path, _public(private), private)


def saved_keys() -> list[SigningKey]:
    """Every key of this user, by name.

    Raises:
        BadInputError: If one of them cannot be used.
    """
    return [load_key(path.stem) for path in sorted((config_root() / "keys").glob("*.pem"))]


def sign_result(result: Result, key: SigningKey) -> Result:
    """The same result with a signature."""
    signature = _text(key.private.sign(_canonical(result)))
    return result.model_copy(update={"signature": f"{SCHEME}:{key.public}:{signature}"})


def signer(result: Result) -> str | None:
    """The public key that has signed a result, as ``SigningKey.public``; ``None`` where none has.

    Raises:
        VerificationError: If what it carries is no signature of this result.
    """
    if result.signature is None:
        return None
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    parts = _SIGNATURE.fullmatch(result.signature)
    if parts is None:
        raise VerificationError("the signature is not written ed25519:PUBLIC_KEY:SIGNATURE; sign the result again")
    try:
        public = Ed25519PublicKey.from_public_bytes(_bytes(parts["public"]))
        public.verify(_bytes(parts["signature"]), _canonical(result))
    except (InvalidSignature, ValueError):
        raise VerificationError(
            "the signature is not of this result: it was changed after signing; sign it again"
        ) from None
    return parts["public"]


def _canonical(result: Result) -> bytes:
    import rfc8785

    return rfc8785.dumps(result.model_dump(mode="json", exclude_unset=True, exclude={"signature"}))


def _public(private: Ed25519PrivateKey) -> str:
    return _text(private.public_key().public_bytes_raw())


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """The bytes of a text that is the only one of them.

    Raises:
        ValueError: If another text would give the same bytes.
    """
    content = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _text(content) != text:
        raise ValueError("the last character has bits that no byte holds")
    return content


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise BadInputError(f"{name!r} cannot name a signing key; take letters, digits, '.', '_' and '-'")
    return config_root() / "keys" / f"{name}.pem"
