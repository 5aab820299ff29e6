"""Timestamps: tokens that an authority which is not ours gave."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from onward.core.errors import MalformedError, OnwardError, VerificationError
from onward.core.timestamps import (
    MAX_TOKEN_SIZE,
    Authorities,
    Token,
    parse_response,
    timestamp_request,
)
from tests.support.tsa import OTHER_POLICY, POLICY, TimestampAuthority

TEXT = "national.example/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TimestampAuthority:
    return TimestampAuthority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def token(authority: TimestampAuthority) -> bytes:
    return authority.stamp(TEXT, NOON)


def trust(*authorities: TimestampAuthority) -> Authorities:
    return Authorities.parse("\n".join(item.root for item in authorities))


def refusal(token: bytes, authorities: Authorities, **asked: object) -> str:
    with pytest.raises(VerificationError) as error:
        Token.parse(token).verify(TEXT, authorities, **asked)  # type: ignore[arg-type]
    assert error.value.reason_name == "TIMESTAMP_UNTRUSTED"
    return error.value.message


def test_an_authority_answers_our_request(authority: TimestampAuthority) -> None:
    nonce = int.from_bytes(b"\xff" + os.urandom(7), "big")
    before = datetime.now(UTC)
    token = parse_response(authority.reply(timestamp_request(TEXT, nonce)))
    seen = token.verify(TEXT, trust(authority), nonce=nonce, policy=POLICY)
    # A second for what genTime leaves out, and one of accuracy.
    assert before <= seen <= datetime.now(UTC) + timedelta(seconds=2)
    assert authority.accepts(token.data, TEXT)


@pytest.mark.parametrize("nonce", [0, 1, 127, 128, 255, 256, 2**63, 2**64 - 1])
def test_every_nonce_comes_back(authority: TimestampAuthority, nonce: int) -> None:
    token = parse_response(authority.reply(timestamp_request(TEXT, nonce)))
    token.verify(TEXT, trust(authority), nonce=nonce)
    assert "nonce" in refusal(token.data, trust(authority), nonce=nonce + 1)


def test_a_policy_can_be_asked_for(authority: TimestampAuthority) -> None:
    answer = authority.reply(timestamp_request(TEXT, 1, OTHER_POLICY))
    token = parse_response(answer)
    token.verify(TEXT, trust(authority), policy=OTHER_POLICY)
    assert "policy" in refusal(token.data, trust(authority), policy=POLICY)


def test_certificates_may_come_in_any_order(tmp_path: Path) -> None:
    authority = TimestampAuthority(tmp_path, chain=True)
    answer = authority.reply(timestamp_request(TEXT, 1))
    root, signer = (
        load_pem_x509_certificate((tmp_path / name).read_bytes()).public_bytes(
            Encoding.DER
        )
        for name in ("root.pem", "signer.pem")
    )
    found = signer + root if signer + root in answer else root + signer
    tokens = {
        parse_response(answer.replace(found, order)).data
        for order in (signer + root, root + signer)
    }
    (token,) = tokens
    Token.parse(token).verify(TEXT, trust(authority))
    assert authority.accepts(token, TEXT)


def test_a_refusal_is_no_token(authority: TimestampAuthority) -> None:
    answer = authority.reply(timestamp_request(TEXT, 1, "1.2.3.4"))
    with pytest.raises(MalformedError, match="refused"):
        parse_response(answer)


def test_the_bound_has_the_accuracy_in_it(
    authority: TimestampAuthority, token: bytes
) -> None:
    seen = Token.parse(token).verify(TEXT, trust(authority))
    assert seen == NOON + timedelta(seconds=2)
    assert authority.accepts(token, TEXT)


def test_a_token_says_whom_it_is_by(
    authority: TimestampAuthority, token: bytes
) -> None:
    assert Token.parse(token).signer == "Public Time"
    assert trust(authority).know(Token.parse(token))


def test_a_token_is_about_one_text(authority: TimestampAuthority, token: bytes) -> None:
    assert Token.parse(token).stamps(TEXT)
    with pytest.raises(VerificationError, match="something else"):
        Token.parse(token).verify(TEXT + "\n", trust(authority))


def test_nobody_is_trusted_without_a_certificate(token: bytes) -> None:
    assert "no authority" in refusal(token, Authorities.parse(" \n"))


def test_a_stranger_is_not_trusted(tmp_path: Path, token: bytes) -> None:
    stranger = TimestampAuthority(tmp_path, "Somebody Else")
    assert not trust(stranger).know(Token.parse(token))
    refusal(token, trust(stranger))


def test_who_only_has_the_name_is_not_trusted(tmp_path: Path, token: bytes) -> None:
    namesake = TimestampAuthority(tmp_path)
    assert trust(namesake).know(Token.parse(token))
    refusal(token, trust(namesake))


def test_several_authorities_can_be_trusted(
    tmp_path: Path, authority: TimestampAuthority, token: bytes
) -> None:
    both = trust(TimestampAuthority(tmp_path, "Somebody Else"), authority, authority)
    Token.parse(token).verify(TEXT, both)


def test_a_chain_is_judged_at_the_time_of_the_token(tmp_path: Path) -> None:
    ended = TimestampAuthority(tmp_path, end=NOON)
    early = ended.stamp(TEXT, NOON - timedelta(hours=1))
    Token.parse(early).verify(TEXT, trust(ended))
    refusal(ended.stamp(TEXT, NOON + timedelta(hours=1)), trust(ended))


def test_a_certificate_is_not_valid_before_its_time(tmp_path: Path) -> None:
    begun = TimestampAuthority(tmp_path, begin=NOON)
    refusal(begun.stamp(TEXT, NOON - timedelta(days=2)), trust(begun))


@pytest.mark.parametrize(
    ("usages", "critical"),
    [
        ([ExtendedKeyUsageOID.TIME_STAMPING], False),
        ([ExtendedKeyUsageOID.SERVER_AUTH], True),
        ([ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING], True),
    ],
)
def test_a_certificate_is_for_timestamps_alone(
    tmp_path: Path, usages: list[ExtendedKeyUsageOID], *, critical: bool
) -> None:
    faulty = TimestampAuthority(tmp_path, usages=usages, critical=critical)  # type: ignore[arg-type]
    refusal(faulty.stamp(TEXT, NOON), trust(faulty))


def test_no_byte_of_what_is_signed_can_be_another(
    authority: TimestampAuthority, token: bytes
) -> None:
    accepted = []
    for place in range(len(token)):
        altered = bytearray(token)
        altered[place] ^= 1
        try:
            seen = Token.parse(bytes(altered)).verify(TEXT, trust(authority))
        except OnwardError:
            continue
        assert seen == NOON + timedelta(seconds=2)
        accepted.append(place)
    # What is left are names of algorithms outside of the signed bytes.
    assert len(accepted) < len(token) / 50


@given(st.data())
def test_an_answer_that_was_altered_is_refused_or_holds(
    authority: TimestampAuthority, token: bytes, data: st.DataObject
) -> None:
    answer = bytearray(b"\x30\x82\x00\x00\x30\x03\x02\x01\x00" + token)
    answer[2:4] = (len(answer) - 4).to_bytes(2, "big")
    assert parse_response(bytes(answer)).data == token
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(answer) - 1))
        answer[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(answer)))
    try:
        found = parse_response(bytes(answer[:end]))
        assert found.verify(TEXT, trust(authority)) == NOON + timedelta(seconds=2)
    except OnwardError:
        pass


@given(st.binary(max_size=64))
def test_bytes_of_any_kind_are_refused(data: bytes) -> None:
    for read in (Token.parse, parse_response):
        with pytest.raises(MalformedError):
            read(data)


def test_a_token_has_a_limit() -> None:
    for read in (Token.parse, parse_response):
        with pytest.raises(MalformedError, match="at most"):
            read(bytes(MAX_TOKEN_SIZE + 1))


@pytest.mark.parametrize(
    "text",
    ["no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "é"],
)
def test_certificates_must_be_readable(text: str) -> None:
    with pytest.raises(MalformedError, match="authorities"):
        Authorities.parse(text)
