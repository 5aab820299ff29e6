"""Statements: whatever is signed is read back; whatever else is read is refused."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core.errors import MalformedError, OnwardError, VerificationError
from onward.core.identity import SpiffeId
from onward.core.keys import ALGORITHMS, StatementPrivateKey, StatementPublicKey
from onward.core.statements import (
    STATEMENT_TYPE,
    new_statement_id,
    parse_statement,
    sign_jws,
    sign_statement,
)
from onward.v1.statement_pb2 import Statement

KEYS = [StatementPrivateKey.generate(algorithm) for algorithm in ALGORITHMS]
BODIES = [f.name for f in Statement.DESCRIPTOR.oneofs_by_name["body"].fields]

names = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True)
domains = st.from_regex(r"[a-z0-9._-]{1,30}", fullmatch=True)
issuers = st.one_of(
    st.builds("spiffe://{}/exchange".format, domains),
    st.builds(
        "spiffe://{}/{}/{}".format,
        domains,
        st.sampled_from(["agency", "auditor", "operator"]),
        names,
    ),
)
ids = st.builds(
    new_statement_id, st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10)
)
digests = st.binary(min_size=32, max_size=32)


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    message = Statement(id=draw(ids), issuer=draw(issuers))
    message.made_time.seconds = draw(st.integers(-62_135_596_800, 253_402_300_799))
    message.made_time.nanos = draw(st.integers(0, 999_999_999))
    message.previous = draw(st.one_of(st.just(b""), digests))
    if draw(st.booleans()):
        message.seen.origin = draw(st.text(min_size=1, max_size=60))
        message.seen.size = draw(st.integers(0, 2**63 - 1))
        message.seen.root = draw(digests)
    body = draw(st.sampled_from(BODIES))
    getattr(message, body).SetInParent()
    message.referral_id = message.id if body == "referral" else draw(ids)
    return message


@given(statements(), st.sampled_from(KEYS))
def test_what_is_signed_is_read_back(
    message: Statement, key: StatementPrivateKey
) -> None:
    signed = sign_statement(message, key)
    unverified = parse_statement(signed.jws)
    assert unverified.message == message
    assert unverified.verify(key.public) == signed


@given(issuers)
def test_a_name_is_written_as_it_was_read(text: str) -> None:
    assert str(SpiffeId.parse(text)) == text


@given(statements(), st.data())
def test_one_changed_character_never_verifies(
    message: Statement, data: st.DataObject
) -> None:
    key = KEYS[0]
    jws = sign_statement(message, key).jws
    at = data.draw(st.integers(0, len(jws) - 1))
    character = data.draw(st.characters(codec="ascii").filter(lambda c: c != jws[at]))
    changed = jws[:at] + character + jws[at + 1 :]
    with pytest.raises((MalformedError, VerificationError)):
        parse_statement(changed).verify(key.public)


@given(st.text(max_size=300))
def test_any_text_is_refused_in_the_one_way(text: str) -> None:
    for parse in (parse_statement, SpiffeId.parse, StatementPublicKey.from_jwk):
        with pytest.raises(OnwardError):
            parse(text)


@given(statements(), st.binary(max_size=60), st.integers(0, 400))
def test_any_payload_is_a_statement_or_refused_in_the_one_way(
    message: Statement, noise: bytes, at: int
) -> None:
    """The scan of the wire must agree with the parser, whatever the bytes are."""
    payload = message.SerializeToString()
    payload = payload[:at] + noise + payload[at:]
    jws = sign_jws(payload, STATEMENT_TYPE, KEYS[0])
    try:
        parsed = parse_statement(jws)
    except MalformedError:
        return
    assert parsed.body_kind in BODIES
    assert parsed.message == Statement.FromString(payload)


@given(st.binary(max_size=384))
def test_any_header_is_refused_in_the_one_way(header: bytes) -> None:
    first = urlsafe_b64encode(header).rstrip(b"=").decode()
    with pytest.raises(MalformedError):
        parse_statement(f"{first}.AAAA.AAAA")
