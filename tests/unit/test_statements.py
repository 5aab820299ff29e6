"""Statements: one reading, one spelling, and nothing trusted before it verified."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.timestamp_pb2 import Timestamp

from onward.core.errors import MalformedError, Reason, VerificationError
from onward.core.keys import ALGORITHMS, StatementPrivateKey
from onward.core.statements import (
    MAX_STATEMENT_SIZE,
    POSSESSION_TYPE,
    STATEMENT_TYPE,
    SignedStatement,
    new_statement_id,
    parse_statement,
    sign_jws,
    sign_statement,
    statement_digest,
    verify_jws,
)
from onward.v1.statement_pb2 import Decline, Referral, Seen, Statement, Taking

REFERRAL_ID = "018bcfe5-6800-7d84-923e-8c394b87c2cc"
STATEMENT_ID = "018bcfe5-6801-7000-8000-000000000001"
KEYS = {algorithm: StatementPrivateKey.generate(algorithm) for algorithm in ALGORITHMS}
KEY = KEYS["EdDSA"]
DECLINE = 26
TAKING = 25


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def statement(**fields: Any) -> Statement:
    """A Decline, with fields replaced; those given as None are left out."""
    values = {
        "id": STATEMENT_ID,
        "issuer": "spiffe://fl.example/agency/fdle",
        "made_time": Timestamp(seconds=1_700_000_000, nanos=5),
        "seen": Seen(origin="fl.example/log", size=7, root=bytes(32)),
        "previous": b"p" * 32,
        "referral_id": REFERRAL_ID,
        "decline": Decline(suggested_agency="spiffe://fl.example/agency/a"),
        **fields,
    }
    return Statement(**{key: value for key, value in values.items() if value})


def signed_payload(
    payload: bytes, key: StatementPrivateKey = KEY, typ: str = STATEMENT_TYPE
) -> str:
    return sign_jws(payload, typ, key)


def signed_header(
    header: str | bytes, payload: bytes | None = None, key: StatementPrivateKey = KEY
) -> str:
    """A JWS whose header is whatever is given, truly signed."""
    header = header.encode() if isinstance(header, str) else header
    payload = statement().SerializeToString() if payload is None else payload
    signing_input = f"{b64(header)}.{b64(payload)}"
    return f"{signing_input}.{b64(key.sign(signing_input.encode()))}"


def header(**members: object) -> str:
    good = {"alg": "EdDSA", "kid": KEY.key_id, "typ": STATEMENT_TYPE}
    return json.dumps({**good, **members})


def refused(jws: str) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        parse_statement(jws)
    return caught.value


# --- what a statement is -------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signed_statement_is_read_back_and_verified(algorithm: str) -> None:
    key = KEYS[algorithm]
    signed = sign_statement(statement(), key)
    unverified = parse_statement(signed.jws)
    assert unverified.message == statement()
    assert unverified.body_kind == "decline"
    assert (unverified.algorithm, unverified.key_id) == (algorithm, key.key_id)
    assert unverified.digest == sha256(signed.jws.encode()).digest()
    assert unverified.digest == statement_digest(signed.jws)

    verified = unverified.verify(key.public)
    assert isinstance(verified, SignedStatement)
    assert verified == signed
    assert not isinstance(unverified, SignedStatement)
    assert verified.message == statement()


def test_the_compact_form_is_what_the_contract_says() -> None:
    jws = sign_statement(statement(), KEY).jws
    first, second, third = jws.split(".")
    assert json.loads(unb64(first)) == {
        "alg": "EdDSA",
        "kid": KEY.key_id,
        "typ": "onward-statement+jws",
    }
    assert unb64(second) == statement().SerializeToString()
    KEY.public.verify(unb64(third), f"{first}.{second}".encode())


def with_lower_s(jws: str, algorithm: str) -> str:
    """Returns a JWS of another library as a client has to send it."""
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}
    if algorithm not in curves:
        return jws
    signing_input, _, encoded = jws.rpartition(".")
    signature, order = unb64(encoded), curves[algorithm].group_order
    size = len(signature) // 2
    s = int.from_bytes(signature[size:], "big")
    lower = min(s, order - s).to_bytes(size, "big")
    return f"{signing_input}.{b64(signature[:size] + lower)}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_jose_library_verifies_ours_and_signs_for_us(algorithm: str) -> None:
    key = KEYS[algorithm]
    theirs = jwt.PyJWS(algorithms=[algorithm])
    public = jwt.PyJWK(json.loads(key.public.jwk), algorithm=algorithm)
    signed = sign_statement(statement(), key)
    assert theirs.decode(signed.jws, public, algorithms=[algorithm]) == unb64(
        signed.jws.split(".")[1]
    )

    jws = theirs.encode(
        statement().SerializeToString(),
        key.to_pem(),
        algorithm=algorithm,
        headers={"kid": key.key_id, "typ": STATEMENT_TYPE},
    )
    jws = with_lower_s(jws, algorithm)
    assert parse_statement(jws).verify(key.public).message == statement()


def test_header_members_come_in_any_order_and_spacing() -> None:
    members = json.loads(header())
    text = json.dumps(dict(reversed(members.items())), indent=1)
    verified = parse_statement(signed_header(text)).verify(KEY.public)
    assert verified.message == statement()


def test_a_later_versions_fields_are_kept_in_the_signed_bytes() -> None:
    later = statement().SerializeToString() + bytes([0xC2, 0x3E, 2]) + b"hi"  # 1000
    jws = signed_payload(later)
    verified = parse_statement(jws).verify(KEY.public)
    assert verified.jws == jws
    assert verified.message.SerializeToString() == later


# --- signatures ----------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_statement_does_not_verify_with_another_key(algorithm: str) -> None:
    unverified = parse_statement(sign_statement(statement(), KEYS[algorithm]).jws)
    others = [StatementPrivateKey.generate(algorithm), *KEYS.values()]
    for other in others:
        if other is not KEYS[algorithm]:
            with pytest.raises(VerificationError) as caught:
                unverified.verify(other.public)
            assert caught.value.reason == Reason.ERROR_REASON_SIGNATURE_INVALID


def test_a_signature_of_another_statement_does_not_verify() -> None:
    one, two = (
        sign_statement(statement(id=name), KEY).jws.split(".")
        for name in (STATEMENT_ID, REFERRAL_ID)
    )
    swapped = ".".join((*one[:2], two[2]))
    with pytest.raises(VerificationError):
        parse_statement(swapped).verify(KEY.public)
    replayed = ".".join((one[0], two[1], one[2]))
    with pytest.raises(VerificationError):
        parse_statement(replayed).verify(KEY.public)


def test_a_key_id_may_not_name_another_key_than_the_one_that_signed() -> None:
    other = StatementPrivateKey.generate("EdDSA")
    jws = signed_header(header(kid=other.key_id))
    with pytest.raises(VerificationError):
        parse_statement(jws).verify(KEY.public)
    with pytest.raises(VerificationError):
        parse_statement(jws).verify(other.public)


def test_the_algorithm_is_the_keys_not_the_headers() -> None:
    jws = signed_header(header(alg="ES256"))
    with pytest.raises(VerificationError):
        parse_statement(jws).verify(KEY.public)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384"])
@pytest.mark.parametrize("size", [0, 1, 63, 65, 72, 95, 97])
def test_an_ecdsa_signature_of_another_length_does_not_verify(
    algorithm: str, size: int
) -> None:
    signing_input = sign_statement(statement(), KEYS[algorithm]).jws.rpartition(".")[0]
    jws = f"{signing_input}.{b64(bytes(size))}"
    with pytest.raises(VerificationError):
        parse_statement(jws).verify(KEYS[algorithm].public)


# --- the one spelling ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(header(alg="none"), id="none"),
        pytest.param(header(alg="None"), id="None"),
        pytest.param(header(alg="HS256"), id="hs256"),
        pytest.param(header(alg="RS256"), id="rs256"),
        pytest.param(header(alg="ES512"), id="es512"),
        pytest.param(header(alg="eddsa"), id="alg-case"),
        pytest.param(header(alg=None), id="alg-null"),
        pytest.param(header(alg=["EdDSA"]), id="alg-list"),
        pytest.param(header(alg={}), id="alg-object"),
        pytest.param(header(kid=""), id="kid-empty"),
        pytest.param(header(kid=7), id="kid-number"),
        pytest.param(header(kid=KEY.key_id + "A"), id="kid-long"),
        pytest.param(header(kid=KEY.key_id[:-1] + "="), id="kid-padding"),
        pytest.param(header(kid="k\u00e9y" * 14 + "k"), id="kid-not-ascii"),
        pytest.param(header(typ="JWT"), id="typ-jwt"),
        pytest.param(header(typ=POSSESSION_TYPE), id="typ-possession"),
        pytest.param(header(typ="ONWARD-STATEMENT+JWS"), id="typ-case"),
        pytest.param(header(typ=[STATEMENT_TYPE]), id="typ-list"),
        pytest.param(header(crit=["exp"], exp=1), id="crit"),
        pytest.param(header(crit=[]), id="crit-empty"),
        pytest.param(header(b64=False), id="b64"),
        pytest.param(header(jwk=json.loads(KEY.public.jwk)), id="jwk"),
        pytest.param(header(x5u="https://example.org"), id="x5u"),
        pytest.param('{"alg":"EdDSA","typ":"onward-statement+jws"}', id="no-kid"),
        pytest.param(header()[:-1] + ',"alg":"EdDSA"}', id="alg-twice"),
        pytest.param('{"alg":"none",' + header()[1:], id="alg-none-then-eddsa"),
        pytest.param(header()[:-1] + ',"\\u0061lg":"EdDSA"}', id="alg-twice-escaped"),
        pytest.param(header() + header(), id="two-objects"),
        pytest.param(header() + "\0", id="trailing-zero"),
        pytest.param(f"[{header()}]", id="in-a-list"),
        pytest.param("", id="empty"),
        pytest.param("null", id="null"),
        pytest.param("{", id="open"),
        pytest.param('{"alg":' * 50, id="nested-objects"),
        pytest.param("[" * 380, id="nested-lists"),
        pytest.param(header().encode("utf-16"), id="utf-16"),
        pytest.param(header().encode("utf-32"), id="utf-32"),
        pytest.param(b"\xef\xbb\xbf" + header().encode(), id="byte-order-mark"),
        pytest.param(b"\xff\xfe", id="not-utf-8"),
    ],
)
def test_a_header_has_exactly_alg_kid_and_typ(text: str | bytes) -> None:
    refused(signed_header(text))


def test_a_huge_header_is_refused_before_it_is_read() -> None:
    huge = header(kid="k" * 20_000)
    error = refused(signed_header(huge))
    assert error.reason == Reason.ERROR_REASON_TOO_LARGE
    nested = '{"alg":' + "[" * 20_000 + "]" * 20_000 + "}"
    assert refused(signed_header(nested)).reason == Reason.ERROR_REASON_TOO_LARGE


def respell(part: str) -> list[str]:
    """Other texts that a lenient decoder reads as the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [part + "=", part + "==", part + "\n", " " + part, part + "*"]
    spellings += [part[:4] + "\r\n" + part[4:], part[:4] + "=" + part[4:]]
    spare = {0: 0, 2: 4, 3: 2}[len(part) % 4]
    last = alphabet.index(part[-1])
    spellings += [part[:-1] + alphabet[last ^ bits] for bits in range(1, 1 << spare)]
    return spellings


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("issuer", ["a", "aa", "aaa"])
def test_no_part_has_a_second_spelling(position: int, issuer: str) -> None:
    message = statement(issuer=f"spiffe://fl.example/agency/{issuer}")
    parts = sign_statement(message, KEY).jws.split(".")
    for spelling in respell(parts[position]):
        refused(".".join((*parts[:position], spelling, *parts[position + 1 :])))


def test_the_standard_alphabet_is_refused() -> None:
    jws = signed_payload(statement(previous=b"\xff\xfb" * 16).SerializeToString())
    standard = jws.replace("-", "+").replace("_", "/")
    assert standard != jws
    refused(standard)


@pytest.mark.parametrize("change", ["{}.", ".{}", "{}.{}", "{} ", "{}\n", "\u00e9{}"])
def test_nothing_may_stand_around_it(change: str) -> None:
    jws = sign_statement(statement(), KEY).jws
    refused(change.replace("{}", jws))


@pytest.mark.parametrize(
    "text", ["", ".", "..", "...", "a.b", "a.b.c", "{}", "\ud800.a.b"]
)
def test_what_is_no_jws_is_refused(text: str) -> None:
    assert refused(text).reason == Reason.ERROR_REASON_MALFORMED


def test_a_statement_has_at_most_64_kib() -> None:
    def message(size: int) -> Statement:
        return statement(
            id=REFERRAL_ID, decline=None, referral=Referral(urgency_reason="x" * size)
        )

    overhead = len(sign_statement(message(1000), KEY).jws) - 1000 * 4 // 3
    largest = (MAX_STATEMENT_SIZE - overhead) * 3 // 4 - 8
    jws = sign_statement(message(largest), KEY).jws
    assert MAX_STATEMENT_SIZE - 32 < len(jws) <= MAX_STATEMENT_SIZE
    parse_statement(jws).verify(KEY.public)

    with pytest.raises(MalformedError) as caught:
        sign_statement(message(largest + 32), KEY)
    assert caught.value.reason == Reason.ERROR_REASON_TOO_LARGE
    padded = jws + "A" * (MAX_STATEMENT_SIZE + 1 - len(jws))
    assert refused(padded).reason == Reason.ERROR_REASON_TOO_LARGE
    assert caught.value.metadata["limit"] == "65536"


# --- the one reading -----------------------------------------------------------------

BAD_FIELDS = [
    ("id", {"id": None}),
    ("id", {"id": "1"}),
    ("id", {"id": STATEMENT_ID.upper().replace("B", "b")}),
    ("id", {"id": STATEMENT_ID.replace("-", "")}),
    ("id", {"id": f"{{{STATEMENT_ID}}}"}),
    ("id", {"id": STATEMENT_ID + "\n"}),
    ("id", {"id": "018bcfe5-6801-4000-8000-000000000001"}),
    ("id", {"id": "018bcfe5-6801-7000-c000-000000000001"}),
    ("issuer", {"issuer": None}),
    ("issuer", {"issuer": "fdle"}),
    ("issuer", {"issuer": "spiffe://fl.example/hotline/nh"}),
    ("made_time", {"made_time": None}),
    ("made_time", {"made_time": Timestamp(seconds=253_402_300_800)}),
    ("made_time", {"made_time": Timestamp(seconds=-62_135_596_801)}),
    ("made_time", {"made_time": Timestamp(seconds=1, nanos=1_000_000_000)}),
    ("made_time", {"made_time": Timestamp(seconds=1, nanos=-1)}),
    ("previous", {"previous": b"p" * 31}),
    ("previous", {"previous": b"p" * 33}),
    ("referral_id", {"referral_id": "NH-0001"}),
    ("referral_id", {"referral_id": REFERRAL_ID.upper()}),
    ("referral_id", {"decline": None, "referral": Referral()}),
    ("referral_id", {"decline": None, "referral": Referral(), "referral_id": None}),
    ("seen.origin", {"seen": Seen(size=1, root=bytes(32))}),
    ("seen.origin", {"seen": Seen(origin="o" * 256, size=1, root=bytes(32))}),
    ("seen.origin", {"seen": Seen(origin="\u00e9" * 128, size=1, root=bytes(32))}),
    ("seen.size", {"seen": Seen(origin="o", size=-1, root=bytes(32))}),
    ("seen.root", {"seen": Seen(origin="o", size=1, root=bytes(31))}),
    ("seen.root", {"seen": Seen(origin="o", size=1)}),
]


@pytest.mark.parametrize(("name", "fields"), BAD_FIELDS)
def test_a_field_of_the_wrong_shape_is_named(
    name: str, fields: dict[str, object]
) -> None:
    message = statement(**fields)
    error = refused(signed_payload(message.SerializeToString()))
    assert error.field == name
    assert name in error.message
    with pytest.raises(MalformedError) as caught:
        sign_statement(message, KEY)
    assert caught.value.field == name


@pytest.mark.parametrize(
    "fields",
    [
        {"previous": None},
        {"referral_id": None},
        {"seen": None},
        {"seen": Seen(origin="o", size=0, root=bytes(32))},
        {"made_time": Timestamp(seconds=-62_135_596_800)},
        {"made_time": Timestamp(seconds=253_402_300_799, nanos=999_999_999)},
        {"decline": None, "referral": Referral(), "referral_id": STATEMENT_ID},
        {"issuer": "spiffe://fl.example/exchange"},
    ],
)
def test_a_field_may_be_absent_or_at_its_limit(fields: dict[str, object]) -> None:
    assert sign_statement(statement(**fields), KEY).message == statement(**fields)


def field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field; data under 128 bytes."""
    tag = number << 3 | 2
    return bytes([tag & 0x7F | 0x80, tag >> 7, len(data)]) + data


BODILESS = statement(decline=None).SerializeToString()


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        pytest.param(b"", "one body", id="none"),
        pytest.param(field(21, b""), "21", id="reserved-for-later"),
        pytest.param(field(63, b"x"), "63", id="of-a-later-version"),
        pytest.param(field(TAKING, b"") * 2, "one body", id="same-twice"),
        pytest.param(
            field(TAKING, b"") + field(DECLINE, b""), "one body", id="two-known"
        ),
        pytest.param(
            field(21, b"") + field(TAKING, b""), "one body", id="later-then-known"
        ),
        pytest.param(
            field(TAKING, b"") + field(63, b""), "one body", id="known-then-later"
        ),
        pytest.param(field(15, b""), "one body", id="no-body-number"),
        pytest.param(field(64, b""), "one body", id="no-body-number-either"),
    ],
)
def test_a_statement_says_exactly_one_thing_that_we_can_read(
    body: bytes, hint: str
) -> None:
    assert hint in refused(signed_payload(BODILESS + body)).message


def test_one_body_is_enough() -> None:
    parsed = parse_statement(signed_payload(BODILESS + field(TAKING, b"")))
    assert parsed.message.taking == Taking()
    assert parsed.body_kind == "taking"


@pytest.mark.parametrize(
    "extra",
    [
        Statement(id=REFERRAL_ID),
        Statement(issuer="spiffe://fl.example/agency/other"),
        Statement(made_time=Timestamp(seconds=1)),
        Statement(seen=Seen(size=9)),
        Statement(previous=b"q" * 32),
        Statement(referral_id=STATEMENT_ID),
    ],
)
def test_a_field_that_is_said_twice_is_refused(extra: Statement) -> None:
    payload = statement().SerializeToString()
    refused(signed_payload(payload + extra.SerializeToString()))
    refused(signed_payload(extra.SerializeToString() + payload))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff", id="not-protobuf"),
        pytest.param(b"\x0a\xff\xff\xff\xff\x0f", id="length-past-the-end"),
        pytest.param(b"\x0a\x02\xc3\x28", id="string-not-utf-8"),
        pytest.param(BODILESS + b"\xcb\x01\xcc\x01", id="group"),
        pytest.param(statement().SerializeToString()[:-1], id="truncated"),
        pytest.param(json.dumps({"id": STATEMENT_ID}).encode(), id="json"),
        pytest.param(b"\xa3\x06" * 5000 + b"\xa4\x06" * 5000, id="nested-groups"),
    ],
)
def test_a_payload_that_is_no_statement_is_refused(payload: bytes) -> None:
    refused(signed_payload(payload))


def test_what_was_signed_does_not_change_with_the_message_it_was_made_from() -> None:
    message = statement()
    signed = sign_statement(message, KEY)
    message.decline.suggested_agency = "changed"
    assert signed.message == statement()


# --- ids -----------------------------------------------------------------------------


def test_the_example_of_rfc_9562() -> None:
    # Appendix A.6.
    random = (0xCC3 << 62 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    identifier = new_statement_id(0x017F22E279B0, random)
    assert identifier == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_ids_are_uuids_in_the_order_of_time() -> None:
    ids = [
        new_statement_id(ms, random)
        for ms in (0, 1, 1_700_000_000_000, (1 << 48) - 1)
        for random in (bytes(10), b"\xff" * 10)
    ]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    for text in ids:
        assert (UUID(text).version, str(UUID(text))) == (7, text)
        sign_statement(statement(id=text), KEY)


@pytest.mark.parametrize(
    ("unix_ms", "random"), [(-1, 10), (1 << 48, 10), (0, 9), (0, 11), (0, 0)]
)
def test_an_id_needs_a_time_and_ten_random_bytes(unix_ms: int, random: int) -> None:
    with pytest.raises(MalformedError):
        new_statement_id(unix_ms, bytes(random))


# --- proofs of possession ------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_any_payload_can_be_signed_as_what_it_is(algorithm: str) -> None:
    key = KEYS[algorithm]
    jws = sign_jws(b"answer", POSSESSION_TYPE, key)
    assert verify_jws(jws, POSSESSION_TYPE, key.public) == b"answer"


def test_one_type_never_passes_for_another() -> None:
    jws = sign_jws(statement().SerializeToString(), POSSESSION_TYPE, KEY)
    refused(jws)
    with pytest.raises(MalformedError):
        verify_jws(sign_statement(statement(), KEY).jws, POSSESSION_TYPE, KEY.public)


def test_a_proof_of_another_key_is_refused() -> None:
    jws = sign_jws(b"answer", POSSESSION_TYPE, KEY)
    for other in (StatementPrivateKey.generate("EdDSA"), KEYS["ES256"]):
        with pytest.raises(VerificationError) as caught:
            verify_jws(jws, POSSESSION_TYPE, other.public)
        assert caught.value.reason == Reason.ERROR_REASON_SIGNATURE_INVALID
    first, _, third = jws.split(".")
    with pytest.raises(VerificationError):
        verify_jws(f"{first}.{b64(b'answes')}.{third}", POSSESSION_TYPE, KEY.public)


def test_a_proof_is_bounded_too() -> None:
    with pytest.raises(MalformedError) as caught:
        sign_jws(bytes(MAX_STATEMENT_SIZE), POSSESSION_TYPE, KEY)
    assert caught.value.reason == Reason.ERROR_REASON_TOO_LARGE
    with pytest.raises(MalformedError) as caught:
        verify_jws("." * (MAX_STATEMENT_SIZE + 1), POSSESSION_TYPE, KEY.public)
    assert caught.value.reason == Reason.ERROR_REASON_TOO_LARGE
