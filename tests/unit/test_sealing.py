"""Sealing: each recipient opens, and nobody else, nowhere else, nothing altered."""

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    Suite,
)

from onward.core.errors import MalformedError, Reason, VerificationError
from onward.core.sealing import (
    MAX_SEALED_SIZE,
    ContentPrivateKey,
    ContentPublicKey,
    key_seal_info,
    open_content,
    open_content_with_info,
    open_secret,
    parse_sealed,
    seal_content,
    seal_secret,
)
from onward.v1.content_pb2 import SealedContent, SealedKey
from onward.v1.directory_pb2 import ContentKey
from onward.v1.vocabulary_pb2 import SealingSuite

HYBRID = SealingSuite.SEALING_SUITE_MLKEM768_X25519
P384 = SealingSuite.SEALING_SUITE_P384
SUITES = [HYBRID, P384]
UNSTATED = SealingSuite.SEALING_SUITE_UNSPECIFIED
UNKNOWN = cast("SealingSuite.ValueType", 99)
REFERRAL_ID = "018bcfe5-6800-7d84-923e-8c394b87c2cc"
OTHER_ID = "018bcfe5-6801-7000-8000-000000000001"
OHIO = "spiffe://national.example/agency/ohio"
TEXAS = "spiffe://national.example/agency/texas"
NEVADA = "spiffe://nv.example/agency/state-police"
CONTENT = b"a motel clerk says"
KEYS = {suite: ContentPrivateKey.generate(suite) for suite in SUITES}


def seal(
    recipients: dict[str, ContentPublicKey] | None = None,
    content: bytes = CONTENT,
    referral_id: str = REFERRAL_ID,
) -> bytes:
    recipients = recipients or {OHIO: KEYS[HYBRID].public}
    return seal_content(content, referral_id, recipients, os.urandom)


def cannot_open(
    sealed: bytes,
    key: ContentPrivateKey,
    referral_id: str = REFERRAL_ID,
    recipient: str = OHIO,
) -> str:
    with pytest.raises(VerificationError) as caught:
        open_content(sealed, key, referral_id, recipient)
    assert caught.value.reason == Reason.ERROR_REASON_CANNOT_OPEN
    return caught.value.message


# --- content -------------------------------------------------------------------------


def test_each_recipient_opens_with_its_own_key() -> None:
    nevada = ContentPrivateKey.generate(HYBRID)
    keys = {OHIO: KEYS[HYBRID], TEXAS: KEYS[P384], NEVADA: nevada}
    sealed = seal({name: key.public for name, key in keys.items()})
    for name, key in keys.items():
        assert open_content(sealed, key, REFERRAL_ID, name) == CONTENT
        for other in keys.keys() - {name}:
            cannot_open(sealed, key, recipient=other)


@pytest.mark.parametrize("suite", SUITES)
def test_nobody_else_opens_and_nothing_opens_elsewhere(
    suite: SealingSuite.ValueType,
) -> None:
    key = KEYS[suite]
    sealed = seal({OHIO: key.public})
    assert open_content(sealed, key, REFERRAL_ID, OHIO) == CONTENT
    messages = {
        cannot_open(sealed, ContentPrivateKey.generate(suite)),
        cannot_open(sealed, key, referral_id=OTHER_ID),
        cannot_open(sealed, key, referral_id=""),
        cannot_open(sealed, key, recipient=TEXAS),
        cannot_open(sealed[:-1], key),
        cannot_open(b"", key),
        cannot_open(b"\xff", key),
    }
    assert len(messages) == 1, "the error tells which step failed"


@pytest.mark.parametrize("suite", SUITES)
def test_the_exchange_cannot_move_a_seal_to_another_name_or_referral(
    suite: SealingSuite.ValueType,
) -> None:
    """Relabelling what was sealed for one does not make it open for another."""
    key = KEYS[suite]
    message = parse_sealed(seal({OHIO: key.public}))
    message.keys[0].recipient = TEXAS
    cannot_open(message.SerializeToString(), key, recipient=TEXAS)
    message.keys[0].recipient = OHIO

    other = parse_sealed(seal({OHIO: key.public}, referral_id=OTHER_ID))
    message.keys[0].sealed = other.keys[0].sealed
    for referral_id in (REFERRAL_ID, OTHER_ID):
        cannot_open(message.SerializeToString(), key, referral_id)


@pytest.mark.parametrize("suite", SUITES)
def test_a_recipient_cannot_pass_off_other_content_under_the_same_key(
    suite: SealingSuite.ValueType,
) -> None:
    """Whoever knows the content key can encrypt again; the seal names the first."""
    key = KEYS[suite]
    message = parse_sealed(seal({OHIO: key.public}))
    info = key_seal_info(REFERRAL_ID, OHIO, message.ciphertext)
    content_key = AESGCM(open_secret(message.keys[0].sealed, key, info))
    message.ciphertext = content_key.encrypt(
        message.nonce, b"another story", b"onward-content-v1\0" + REFERRAL_ID.encode()
    )
    forged = message.SerializeToString()
    cannot_open(forged, key)
    with pytest.raises(VerificationError):
        open_content_with_info(forged, key, info)


@pytest.mark.parametrize("suite", SUITES)
def test_a_content_key_that_is_too_short_does_not_open(
    suite: SealingSuite.ValueType,
) -> None:
    key, weak = KEYS[suite], bytes(16)
    aad = b"onward-content-v1\0" + REFERRAL_ID.encode()
    ciphertext = AESGCM(weak).encrypt(bytes(12), CONTENT, aad)
    info = key_seal_info(REFERRAL_ID, OHIO, ciphertext)
    entry = SealedKey(
        recipient=OHIO,
        key_id=key.public.key_id,
        suite=suite,
        sealed=seal_secret(weak, key.public, info),
    )
    message = SealedContent(nonce=bytes(12), ciphertext=ciphertext, keys=[entry])
    cannot_open(message.SerializeToString(), key)


@pytest.mark.parametrize("suite", SUITES)
def test_every_byte_counts(suite: SealingSuite.ValueType) -> None:
    key = KEYS[suite]
    message = parse_sealed(seal({OHIO: key.public}))
    for name in ("nonce", "ciphertext"):
        data = getattr(message, name)
        for at in range(len(data)):
            altered = SealedContent.FromString(message.SerializeToString())
            setattr(altered, name, flip(data, at))
            cannot_open(altered.SerializeToString(), key)
    data = message.keys[0].sealed
    for at in (*range(0, len(data), 37), *range(len(data) - 48, len(data))):
        altered = SealedContent.FromString(message.SerializeToString())
        altered.keys[0].sealed = flip(data, at)
        cannot_open(altered.SerializeToString(), key)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("suite", SUITES)
def test_the_form_is_the_one_of_the_contract(suite: SealingSuite.ValueType) -> None:
    """Opened here by the words of content.proto alone."""
    key = KEYS[suite]
    sealed = SealedContent.FromString(seal({OHIO: key.public}))
    (entry,) = sealed.keys
    assert (entry.recipient, entry.suite) == (OHIO, suite)
    named = {HYBRID: b"MLKEM768_X25519\0", P384: b"P384\0"}[suite] + key.public.raw
    key_id = urlsafe_b64encode(sha256(named).digest()).rstrip(b"=").decode()
    assert entry.key_id == key.public.key_id == key_id

    info = b"\0".join(
        (
            b"onward-seal-v1",
            REFERRAL_ID.encode(),
            OHIO.encode(),
            sha256(sealed.ciphertext).digest(),
        )
    )
    if suite == HYBRID:
        content_key = HYBRID_HPKE.decrypt(entry.sealed, hybrid_private(key), info)
    else:
        content_key = P384_HPKE.decrypt(entry.sealed, p384_private(key), info)
    aad = b"onward-content-v1\0" + REFERRAL_ID.encode()
    opened = AESGCM(content_key).decrypt(sealed.nonce, sealed.ciphertext, aad)
    assert opened == CONTENT
    assert len(content_key) == 32


HYBRID_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
P384_HPKE = Suite(KEM.P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM)


def hybrid_private(key: ContentPrivateKey) -> MLKEM768X25519PrivateKey:
    raw = private_raw(key)
    return MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(raw[:64]),
        x25519.X25519PrivateKey.from_private_bytes(raw[64:]),
    )


def p384_private(key: ContentPrivateKey) -> ec.EllipticCurvePrivateKey:
    scalar = int.from_bytes(private_raw(key), "big")
    return ec.derive_private_key(scalar, ec.SECP384R1())


def private_raw(key: ContentPrivateKey) -> bytes:
    text = json.loads(key.to_bytes())["private_key"]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_two_seals_of_the_same_content_have_nothing_in_common() -> None:
    one, two = parse_sealed(seal()), parse_sealed(seal())
    assert one.nonce != two.nonce
    assert one.ciphertext != two.ciphertext
    assert one.keys[0].sealed != two.keys[0].sealed


def test_the_nonce_is_what_the_caller_gave() -> None:
    asked: list[int] = []

    def random(size: int) -> bytes:
        asked.append(size)
        return b"n" * size

    sealed = seal_content(CONTENT, REFERRAL_ID, {OHIO: KEYS[P384].public}, random)
    assert parse_sealed(sealed).nonce == b"n" * 12
    assert asked == [12]


def test_large_and_empty_content() -> None:
    key = KEYS[HYBRID]
    for content in (b"", bytes(2 * 1024 * 1024)):
        sealed = seal(content=content)
        assert open_content(sealed, key, REFERRAL_ID, OHIO) == content


def test_content_is_sealed_to_1_to_16_recipients() -> None:
    public = KEYS[P384].public
    names = [f"spiffe://national.example/agency/a{n}" for n in range(17)]
    sealed = seal(dict.fromkeys(names[:16], public))
    assert len(parse_sealed(sealed).keys) == 16
    assert open_content(sealed, KEYS[P384], REFERRAL_ID, names[15]) == CONTENT
    for recipients in ({}, dict.fromkeys(names, public)):
        with pytest.raises(MalformedError):
            seal_content(CONTENT, REFERRAL_ID, recipients, os.urandom)


def test_a_seal_needs_proper_names() -> None:
    public = KEYS[P384].public
    with pytest.raises(MalformedError):
        seal(recipients={"ohio": public})
    for referral_id in ("", "NH-0001", REFERRAL_ID + "\0"):
        with pytest.raises(MalformedError):
            seal_content(CONTENT, referral_id, {OHIO: public}, os.urandom)


def test_a_suite_that_is_new_to_us_does_not_keep_us_from_our_own_seal() -> None:
    message = SealedContent.FromString(seal())
    message.keys.insert(
        0, SealedKey(recipient=TEXAS, key_id="k", suite=UNKNOWN, sealed=b"s")
    )
    opened = open_content(message.SerializeToString(), KEYS[HYBRID], REFERRAL_ID, OHIO)
    assert opened == CONTENT


# --- with the info given -------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
def test_content_opens_with_the_info_that_it_was_sealed_with(
    suite: SealingSuite.ValueType,
) -> None:
    key = KEYS[suite]
    sealed = seal({OHIO: key.public})
    info = key_seal_info(REFERRAL_ID, OHIO, parse_sealed(sealed).ciphertext)
    assert open_content_with_info(sealed, key, info) == CONTENT


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda info: info[:-1],
        lambda info: info + b"\0",
        lambda info: info.replace(b"seal-v1", b"seal-v2"),
        lambda info: info.replace(b"ohio", b"iowa"),
        lambda info: info.replace(REFERRAL_ID.encode(), OTHER_ID.encode()),
        lambda info: info.replace(b"spiffe", b"\xff\xff"),
        lambda info: info[:-32] + bytes(32),
        lambda info: b"onward-seal-v1",
        lambda info: b"\0\0\0\0\0",
    ],
)
def test_content_does_not_open_with_another_info(
    change: Callable[[bytes], bytes],
) -> None:
    sealed = seal()
    info = key_seal_info(REFERRAL_ID, OHIO, parse_sealed(sealed).ciphertext)
    with pytest.raises(VerificationError) as caught:
        open_content_with_info(sealed, KEYS[HYBRID], change(info))
    assert caught.value.reason == Reason.ERROR_REASON_CANNOT_OPEN


def test_an_info_whose_digest_holds_zero_bytes_is_read_right() -> None:
    for _ in range(500):
        sealed = seal({OHIO: KEYS[P384].public})
        info = key_seal_info(REFERRAL_ID, OHIO, parse_sealed(sealed).ciphertext)
        if b"\0" in info[-32:]:
            assert open_content_with_info(sealed, KEYS[P384], info) == CONTENT
            break
    else:
        pytest.fail("no digest with a zero byte in 500 seals")


# --- shape ---------------------------------------------------------------------------


Change = Callable[[SealedContent], object]


def altered(change: Change) -> bytes:
    message = SealedContent.FromString(seal())
    change(message)
    return message.SerializeToString()


def set_first_key(**fields: object) -> Change:
    def change(message: SealedContent) -> None:
        for name, value in fields.items():
            setattr(message.keys[0], name, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.ClearField("nonce"),
        lambda m: setattr(m, "nonce", bytes(11)),
        lambda m: setattr(m, "nonce", bytes(13)),
        lambda m: m.ClearField("ciphertext"),
        lambda m: setattr(m, "ciphertext", bytes(15)),
        lambda m: m.ClearField("keys"),
        lambda m: m.keys.append(m.keys[0]),
        set_first_key(recipient=""),
        set_first_key(recipient="ohio"),
        set_first_key(suite=UNSTATED),
        set_first_key(suite=UNKNOWN),
        set_first_key(suite=P384),
        set_first_key(sealed=b""),
        set_first_key(sealed=bytes(1167)),
        set_first_key(sealed=bytes(1169)),
        set_first_key(key_id=""),
        set_first_key(key_id="k" * 42),
        set_first_key(key_id="k" * 42 + "l"),
    ],
)
def test_sealed_content_of_another_shape_is_refused(change: Change) -> None:
    parse_sealed(altered(lambda m: None))
    with pytest.raises(MalformedError):
        parse_sealed(altered(change))


def test_sealed_content_has_at_most_16_keys() -> None:
    def more(message: SealedContent) -> None:
        for number in range(16):
            key = message.keys.add()
            key.CopyFrom(message.keys[0])
            key.recipient = f"{OHIO}-{number}"

    with pytest.raises(MalformedError):
        parse_sealed(altered(more))


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x0a", b"\x1a" * 100, seal()[:-1]])
def test_bytes_that_are_no_sealed_content_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_sealed(data)


def test_sealed_content_is_bounded() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_sealed(bytes(MAX_SEALED_SIZE + 1))
    assert caught.value.reason == Reason.ERROR_REASON_TOO_LARGE
    sealed = seal()
    parse_sealed(sealed, max_size=len(sealed))
    with pytest.raises(MalformedError) as caught:
        parse_sealed(sealed, max_size=len(sealed) - 1)
    assert caught.value.reason == Reason.ERROR_REASON_TOO_LARGE


# --- secrets -------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
def test_a_secret_opens_with_its_key_and_info_only(
    suite: SealingSuite.ValueType,
) -> None:
    key, info = KEYS[suite], b"onward-possession-v1"
    secret = bytes(range(32))
    sealed = seal_secret(secret, key.public, info)
    assert open_secret(sealed, key, info) == secret
    for other, other_sealed, other_info in [
        (ContentPrivateKey.generate(suite), sealed, info),
        (KEYS[P384 if suite == HYBRID else HYBRID], sealed, info),
        (key, sealed, b""),
        (key, sealed, info + b"\0"),
        (key, flip(sealed, len(sealed) - 1), info),
        (key, flip(sealed, 40), info),
        (key, sealed[:-1], info),
        (key, sealed[:32], info),
        (key, b"", info),
    ]:
        with pytest.raises(VerificationError) as caught:
            open_secret(other_sealed, other, other_info)
        assert caught.value.reason == Reason.ERROR_REASON_CANNOT_OPEN


# --- keys ----------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SUITES)
def test_a_private_key_survives_its_bytes(suite: SealingSuite.ValueType) -> None:
    key = KEYS[suite]
    again = ContentPrivateKey.from_bytes(key.to_bytes())
    assert again.public == key.public
    assert again.to_bytes() == key.to_bytes()
    sealed = seal({OHIO: key.public})
    assert open_content(sealed, again, REFERRAL_ID, OHIO) == CONTENT


def test_the_encoding_of_a_private_key_says_what_it_is() -> None:
    for suite, name, size in ((HYBRID, "MLKEM768_X25519", 96), (P384, "P384", 48)):
        text = KEYS[suite].to_bytes()
        assert json.loads(text).keys() == {"format", "suite", "private_key"}
        assert json.loads(text)["format"] == "onward-content-key-v1"
        assert json.loads(text)["suite"] == name
        assert len(private_raw(KEYS[suite])) == size
        assert text.endswith(b"}\n")


@pytest.mark.parametrize("suite", SUITES)
def test_a_private_key_does_not_show(suite: SealingSuite.ValueType) -> None:
    key = KEYS[suite]
    secret = json.loads(key.to_bytes())["private_key"]
    for text in (repr(key), str(key)):
        assert key.public.key_id in text
        assert secret[:8] not in text
    assert not hasattr(key, "__dict__")


def test_the_default_is_the_hybrid() -> None:
    assert ContentPrivateKey.generate().public.suite == HYBRID


def encoded(**members: object) -> bytes:
    return json.dumps({**json.loads(KEYS[P384].to_bytes()), **members}).encode()


def scalar(number: int, size: int = 48) -> str:
    return urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()


P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
    "581a0db248b0a77aecec196accc52973",
    16,
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 1024,
        encoded(format="onward-content-key-v2"),
        encoded(suite="P256"),
        encoded(suite=2),
        encoded(suite=["P384"]),
        encoded(suite="MLKEM768_X25519"),
        encoded(private_key=5),
        encoded(private_key=""),
        encoded(private_key=scalar(1) + "="),
        encoded(private_key=scalar(1, 47)),
        encoded(private_key=scalar(1, 49)),
        encoded(private_key=scalar(0)),
        encoded(private_key=scalar(P384_ORDER)),
        encoded(extra="member"),
        encoded().replace(b"{", b'{"suite": "P384", '),
        encoded() + b" " * 1024,
    ],
)
def test_bytes_that_are_no_private_key_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        ContentPrivateKey.from_bytes(data)
    assert json.loads(KEYS[P384].to_bytes())["private_key"] not in caught.value.message


def test_other_suites_have_no_keys() -> None:
    for suite in (UNSTATED, UNKNOWN):
        with pytest.raises(MalformedError):
            ContentPrivateKey.generate(suite)
        with pytest.raises(MalformedError):
            ContentPublicKey(suite, bytes(97))


@pytest.mark.parametrize("suite", SUITES)
def test_a_public_key_survives_the_directory(suite: SealingSuite.ValueType) -> None:
    public = KEYS[suite].public
    entry = public.to_proto()
    assert (entry.suite, entry.key_id) == (suite, public.key_id)
    assert ContentPublicKey.from_proto(entry) == public
    entry.ClearField("key_id")
    assert ContentPublicKey.from_proto(entry) == public
    assert len({public, ContentPublicKey(suite, public.raw)}) == 1


def test_a_public_key_under_another_keys_id_is_refused() -> None:
    entry = KEYS[HYBRID].public.to_proto()
    entry.key_id = KEYS[P384].public.key_id
    with pytest.raises(MalformedError):
        ContentPublicKey.from_proto(entry)


HYBRID_RAW = KEYS[HYBRID].public.raw
P384_RAW = KEYS[P384].public.raw


@pytest.mark.parametrize(
    ("suite", "raw"),
    [
        pytest.param(HYBRID, b"", id="hybrid-empty"),
        pytest.param(HYBRID, HYBRID_RAW[:-1], id="hybrid-short"),
        pytest.param(HYBRID, HYBRID_RAW + b"\0", id="hybrid-long"),
        pytest.param(HYBRID, b"\xff" * 1184 + HYBRID_RAW[1184:], id="mlkem-modulus"),
        pytest.param(HYBRID, HYBRID_RAW[:1184] + bytes(32), id="x25519-small-order"),
        pytest.param(
            HYBRID, HYBRID_RAW[:1184] + b"\1" + bytes(31), id="x25519-small-order-too"
        ),
        pytest.param(HYBRID, P384_RAW, id="hybrid-is-p384"),
        pytest.param(P384, b"", id="p384-empty"),
        pytest.param(P384, P384_RAW[:-1], id="p384-short"),
        pytest.param(P384, b"\2" + P384_RAW[1:49], id="p384-compressed"),
        pytest.param(P384, b"\6" + P384_RAW[1:], id="p384-hybrid-form"),
        pytest.param(P384, flip(P384_RAW, 96), id="p384-off-curve"),
        pytest.param(P384, b"\4" + bytes(96), id="p384-zero"),
        pytest.param(P384, b"\0", id="p384-infinity"),
        pytest.param(P384, HYBRID_RAW, id="p384-is-hybrid"),
    ],
)
def test_a_public_key_that_nobody_could_seal_to_is_refused(
    suite: SealingSuite.ValueType, raw: bytes
) -> None:
    with pytest.raises(MalformedError):
        ContentPublicKey.from_proto(ContentKey(suite=suite, public_key=raw))
