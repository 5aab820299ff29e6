"""What the files of a configuration must hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA65PrivateKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from onward.core.errors import MalformedError
from onward.core.notes import Cosigner
from onward.core.tlog_policy import Policy
from onward_server.exchange.issuing import trust_file
from onward_server.material import load_log_cosigner, load_witnesses

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
VKEY = Cosigner("w.example", KEY).vkey.format()


def pem(key: Ed25519PrivateKey | MLDSA44PrivateKey | MLDSA65PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


# --- the log's second key


def test_the_second_key_is_read(tmp_path: Path) -> None:
    key = MLDSA44PrivateKey.generate()
    (tmp_path / "key").write_bytes(pem(key))
    cosigner = load_log_cosigner(tmp_path / "key", "national.example/log")
    assert cosigner is not None
    assert cosigner.vkey.public_key == key.public_key().public_bytes_raw()
    assert cosigner.vkey.name == "national.example/log"


def test_without_the_file_there_is_none(tmp_path: Path) -> None:
    assert load_log_cosigner(tmp_path / "key", "national.example/log") is None


@pytest.mark.parametrize(
    "content", [b"", b"no key", pem(KEY), pem(MLDSA65PrivateKey.generate())]
)
def test_another_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(MalformedError, match="must be ML-DSA-44"):
        load_log_cosigner(tmp_path / "key", "national.example/log")


def test_a_trust_file_lists_the_keys_that_there_are(tmp_path: Path) -> None:
    first = "log.example+0a0b0c0d+AU"
    one = trust_file("spiffe://e/exchange", first).splitlines()
    assert one[1:] == [f"log {first}", "quorum none"]
    two = trust_file("spiffe://e/exchange", first, "https://e", "second").splitlines()
    assert two[1:] == [f"log {first} https://e", "log second https://e", "quorum none"]


# --- the policy of witnesses


def test_nobody_witnesses_without_a_policy() -> None:
    assert load_witnesses(None) == Policy(())


def test_a_policy_names_witnesses_and_their_quorum(tmp_path: Path) -> None:
    path = tmp_path / "policy"
    path.write_text(f"# ours\nwitness w {VKEY} https://w.example/at\nquorum w\n")
    policy = load_witnesses(path)
    assert [witness.url for witness in policy.witnesses] == ["https://w.example/at"]
    assert policy.quorum == "w"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (f"witness w {VKEY}\nquorum w\n", "the witness w needs the URL"),
        (f"witness w {VKEY} w.example\nquorum w\n", "the witness w needs the URL"),
        (f"witness w {VKEY} ftp://w\nquorum w\n", "the witness w needs the URL"),
        (f"witness w {VKEY} https://w\n", "no quorum line"),
        (f"witness w {VKEY} https://w\nquorum v\n", "line 2: v is not defined"),
        ("witness w no+key https://w\nquorum w\n", "line 1: "),
        (b"\xff\n", "is not UTF-8"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str | bytes, rule: str
) -> None:
    path = tmp_path / "policy"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MalformedError, match=rule) as error:
        load_witnesses(path)
    assert str(path) in error.value.message


def test_a_policy_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="cannot be read"):
        load_witnesses(tmp_path / "none")
