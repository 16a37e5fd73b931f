"""A signature holds for one result and one key, can be checked without moecap, and its key stays private."""

import json
import shutil
from base64 import urlsafe_b64decode

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from moecap.cli import main
from moecap.errors import BadInputError, VerificationError
from moecap.publishing.signing import load_key, new_key, sign_result, signer
from moecap.result import read_result, write_result
from moecap.verification.recomputation import verify_run


@pytest.fixture(autouse=True)
def own_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("MOECAP_CONFIG", str(tmp_path / "settings"))


@pytest.fixture
def signed(measured_run):
    return sign_result(read_result(measured_run), new_key())


@pytest.mark.engine
def test_a_signature_can_be_checked_with_the_file_and_the_public_key_alone(signed, tmp_path):
    write_result(tmp_path, signed)
    content = json.loads((tmp_path / "result.json").read_text())
    scheme, public, signature = content.pop("signature").split(":")
    assert (scheme, len(public), len(signature)) == ("ed25519", 43, 86)
    key = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(public + "="))
    key.verify(urlsafe_b64decode(signature + "=="), rfc8785.dumps(content))
    content["provenance"]["seconds"]["load"] += 1
    with pytest.raises(InvalidSignature):
        key.verify(urlsafe_b64decode(signature + "=="), rfc8785.dumps(content))


@pytest.mark.engine
def test_a_signed_result_has_the_same_id_and_verifies(signed, measured_run, tmp_path):
    shutil.copytree(measured_run, tmp_path / "run")
    write_result(tmp_path / "run", signed)
    found = read_result(tmp_path / "run")
    assert (found.id, signer(found)) == (read_result(measured_run).id, load_key().public)
    assert verify_run(tmp_path / "run").ok


@pytest.mark.engine
def test_a_change_after_signing_is_seen_even_if_the_id_is_made_anew(signed):
    forged = signed.model_copy(update={"kind": "imported"}).identified()
    with pytest.raises(VerificationError, match="changed after signing"):
        signer(forged.model_copy(update={"signature": signed.signature}))


@pytest.mark.engine
def test_the_signature_of_another_key_or_result_does_not_do(signed):
    other = sign_result(signed.model_copy(update={"signature": None}), new_key("other"))
    scheme, public, _ = signed.signature.split(":")
    crossed = f"{scheme}:{public}:{other.signature.split(':')[2]}"
    with pytest.raises(VerificationError, match="changed after signing"):
        signer(signed.model_copy(update={"signature": crossed}))


@pytest.mark.engine
@pytest.mark.parametrize(
    "text", ["", "x", "ed25519:abc:def", "rsa:{1}:{2}", "{0}:{1}", "{0}:{1}:{2}\n", "{0}:{1}:{2}A"]
)
def test_what_is_no_signature_is_refused(signed, text):
    parts = signed.signature.split(":")
    with pytest.raises(VerificationError, match="is not written ed25519:PUBLIC_KEY:SIGNATURE"):
        signer(signed.model_copy(update={"signature": text.format(*parts)}))


@pytest.mark.engine
def test_a_signature_has_one_spelling(signed):
    """86 characters hold 516 bits and a signature has 512: the last character has four that must be 0."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(signed.signature[-1])
    assert last % 16 == 0
    with pytest.raises(VerificationError):
        signer(signed.model_copy(update={"signature": signed.signature[:-1] + alphabet[last + 1]}))


@pytest.mark.engine
def test_a_result_without_a_signature_is_nobodys(measured_run):
    assert signer(read_result(measured_run)) is None


def test_a_private_key_is_its_users_alone_and_never_overwritten(tmp_path):
    key = new_key()
    assert key.path.stat().st_mode & 0o777 == 0o600
    assert key.path.parent.stat().st_mode & 0o777 == 0o700
    content = key.path.read_bytes()
    with pytest.raises(BadInputError, match="is never overwritten; give another --name"):
        new_key()
    assert key.path.read_bytes() == content
    assert "PrivateKey" not in repr(key)


def test_a_key_that_others_may_read_is_refused():
    key = new_key()
    key.path.chmod(0o640)
    with pytest.raises(BadInputError, match="others may read this signing key; make it yours alone with chmod 600"):
        load_key()


@pytest.mark.parametrize("content", [b"", b"no key", "rsa"])
def test_a_file_that_holds_no_ed25519_key_is_refused(content):
    key = new_key()
    if content == "rsa":
        from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        content = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key.path.write_bytes(content)
    with pytest.raises(BadInputError, match="no Ed25519 key without a password"):
        load_key()


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a" * 65])
def test_a_name_that_is_no_file_is_refused(name):
    with pytest.raises(BadInputError, match="cannot name a signing key"):
        new_key(name)


def test_keys_are_made_listed_and_shown_from_the_command_line(capsys):
    assert main(["keys", "new"]) == 0
    made = capsys.readouterr()
    public = made.out.strip()
    assert len(urlsafe_b64decode(public + "=")) == 32
    assert "moecap keys register --url URL" in made.err
    assert main(["keys", "new"]) == 2
    assert main(["keys", "new", "--name", "lab"]) == 0
    capsys.readouterr()
    assert main(["keys", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(key["name"], key["public_key"] == public) for key in listed] == [("default", True), ("lab", False)]
    assert main(["keys", "show", "lab", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == listed[1]
    assert main(["keys", "show", "nobody"]) == 2
    assert "no signing key named 'nobody'" in capsys.readouterr().err
