"""Becoming a member: keys stay at home, and only the token's exchange is believed."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from onward.client import Client
from onward.core.errors import (
    ConflictError,
    OnwardError,
    Reason,
    UnauthenticatedError,
    UnavailableError,
    VerificationError,
)
from onward.core.keys import StatementPublicKey
from onward.core.sealing import ContentPublicKey, seal_secret
from onward.core.statements import POSSESSION_TYPE, verify_jws
from onward.enroll import Token, enroll
from onward.home import Home
from onward.v1 import (
    directory_pb2,
    enrollment_pb2,
    enrollment_pb2_grpc,
    statement_pb2,
    vocabulary_pb2,
)
from tests.support.chain_builder import ChainBuilder, Party, established, statement_key
from tests.support.fake_exchange import Authority, to_proto

MEMBER = "spiffe://national.example/agency/new-agency"
AUDITOR = "spiffe://national.example/auditor/inspector-general"
NOW = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)


@dataclass
class Enrollment(enrollment_pb2_grpc.EnrollmentServiceServicer):
    """An enrolment service that checks what it gets, and can be told to lie."""

    builder: ChainBuilder = field(default_factory=established)
    authority: Authority = field(default_factory=Authority.make)
    address: str = ""
    name_in_certificate: str = ""
    tamper: Callable[[enrollment_pb2.CompleteEnrollmentResponse], None] | None = None
    lose_answers: int = 0
    requests: list[enrollment_pb2.CompleteEnrollmentRequest] = field(
        default_factory=list
    )

    def token(self, member: str = MEMBER, **changes: object) -> str:
        """Issues a token; nobody can check its signature yet."""
        claims = {
            "iss": self.builder.exchange,
            "sub": member,
            "aud": "onward-enroll",
            "jti": "1",
            "iat": int(NOW.timestamp()),
            "exp": int((NOW + timedelta(days=1)).timestamp()),
            "enroll": self.address,
            "api": "127.0.0.1:1",
            "server_name": "localhost",
            "ca": self.authority.certificate.fingerprint(hashes.SHA256()).hex(),
        }
        return jwt.encode(claims | changes, "k" * 32, algorithm="HS256")

    async def StartEnrollment(self, request: Any, context: Any) -> Any:
        return enrollment_pb2.StartEnrollmentResponse(
            challenges=[
                seal_secret(_answer(key), _public(key), b"onward-possession-v1")
                for key in request.offer.content_keys
            ]
        )

    async def CompleteEnrollment(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        member = jwt.decode(request.token, options={"verify_signature": False})["sub"]
        keys = [
            StatementPublicKey.from_jwk(jwk) for jwk in request.offer.statement_jwks
        ]
        for jws, key in zip(request.possessions, keys, strict=True):
            proof = directory_pb2.Possession.FromString(
                verify_jws(jws, POSSESSION_TYPE, key)
            )
            assert proof.member == member
            assert proof.token_digest == sha256(request.token.encode()).digest()
            assert proof.csr_digest == sha256(request.csr).digest()
            assert list(proof.answers) == [
                _answer(key) for key in request.offer.content_keys
            ]
        if self.lose_answers:
            self.lose_answers -= 1
            await context.abort(grpc.StatusCode.INTERNAL, "the answer got lost")
        response = enrollment_pb2.CompleteEnrollmentResponse(
            certificate_chain=self._certify(request.csr, member),
            server_ca=self.authority.pem.decode(),
            change=self._register(member, request.offer),
            trust=self.builder.trust(),
        )
        if self.tamper:
            self.tamper(response)
        return response

    def _certify(self, csr: bytes, member: str) -> str:
        key = x509.load_der_x509_csr(csr).public_key()
        name = x509.UniformResourceIdentifier(self.name_in_certificate or member)
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.certificate.subject)
            .public_key(key)
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=90))
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .sign(self.authority.key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
            .decode()
        )

    def _register(self, member: str, offer: directory_pb2.KeyOffer) -> Any:
        active = vocabulary_pb2.KEY_STATUS_ACTIVE
        template = statement_key(self.builder.parties[self.builder.exchange].key)
        entry = directory_pb2.Member(name=member)
        for jwk in offer.statement_jwks:
            public = StatementPublicKey.from_jwk(jwk)
            entry.statement_keys.add(
                key_id=public.key_id,
                jwk=jwk,
                status=active,
                not_before_time=template.not_before_time,
                not_after_time=template.not_after_time,
            )
        for key in offer.content_keys:
            entry.content_keys.add(
                key_id=_public(key).key_id,
                suite=key.suite,
                public_key=key.public_key,
                status=active,
            )
        exchange = self.builder.parties[self.builder.exchange].key
        self.builder.parties[member] = Party(entry, exchange)
        kind = statement_pb2.DIRECTORY_CHANGE_KIND_ENROLLED
        return to_proto(self.builder.change(member, kind))


def _public(key: directory_pb2.ContentKey) -> ContentPublicKey:
    return ContentPublicKey.from_proto(key)


def _answer(key: directory_pb2.ContentKey) -> bytes:
    return sha256(key.public_key).digest()


@pytest.fixture
async def service() -> AsyncIterator[Enrollment]:
    service = Enrollment()
    server = grpc.aio.server()
    enrollment_pb2_grpc.add_EnrollmentServiceServicer_to_server(service, server)
    key, chain = service.authority.issue("localhost")
    credentials = grpc.ssl_server_credentials([(key, chain + service.authority.pem)])
    service.address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    yield service
    await server.stop(None)


async def join(service: Enrollment, path: Path, **changes: object) -> Home:
    """Enrols with a token of the service."""
    token = service.token(**changes)  # type: ignore[arg-type]
    return await enroll(token, path, clock=lambda: NOW)


async def test_a_token_makes_a_home(service: Enrollment, tmp_path: Path) -> None:
    home = await join(service, tmp_path / "home")
    settings = Home.open(home.path).settings
    assert settings.member == MEMBER
    assert settings.exchange == service.builder.exchange
    assert settings.address == "127.0.0.1:1"
    assert settings.server_name == "localhost"
    assert home.trust == service.builder.trust()
    assert home.server_ca == service.authority.pem
    assert home.checkpoint() == service.builder.checkpoint()
    entry = service.builder.parties[MEMBER].entry
    assert set(home.statement_keys()) == {key.key_id for key in entry.statement_keys}
    assert set(home.content_keys()) == {key.key_id for key in entry.content_keys}
    async with Client.open(home, clock=lambda: NOW) as client:
        assert client.member == MEMBER


async def test_private_keys_never_leave_the_home(
    service: Enrollment, tmp_path: Path
) -> None:
    home = await join(service, tmp_path / "home")
    (request,) = service.requests
    sent = request.SerializeToString()
    tls_key = serialization.load_pem_private_key(home.tls_key, None)
    secret = tls_key.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
    assert secret not in sent
    for key in home.statement_keys().values():
        assert key.to_pem() not in sent
    for path in (home.path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert home.tls_key.decode() not in home.attempt()


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "ES384"])
async def test_keys_are_of_the_kinds_asked_for(
    service: Enrollment, tmp_path: Path, algorithm: str
) -> None:
    home = await enroll(
        service.token(),
        tmp_path / "home",
        statement_algorithm=algorithm,
        suite=vocabulary_pb2.SEALING_SUITE_P384,
        clock=lambda: NOW,
    )
    assert [key.algorithm for key in home.statement_keys().values()] == [algorithm]
    assert [key.public.suite for key in home.content_keys().values()] == [
        vocabulary_pb2.SEALING_SUITE_P384
    ]


async def test_who_receives_nothing_has_no_content_key(
    service: Enrollment, tmp_path: Path
) -> None:
    home = await join(service, tmp_path / "home", member=AUDITOR)
    assert home.content_keys() == {}


async def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(
    service: Enrollment, tmp_path: Path
) -> None:
    service.lose_answers = 1
    with pytest.raises(OnwardError, match="lost"):
        await join(service, tmp_path / "home")
    assert not Home.create(tmp_path / "home").is_enrolled
    home = await join(service, tmp_path / "home")
    first, second = service.requests
    assert (first.csr, first.offer) == (second.csr, second.offer)
    assert len(home.statement_keys()) == 1
    again = await join(service, tmp_path / "home")
    assert again.settings == home.settings
    assert len(service.requests) == 2


async def test_another_token_makes_new_keys(
    service: Enrollment, tmp_path: Path
) -> None:
    home = await join(service, tmp_path / "home")
    before = home.tls_key
    await join(service, tmp_path / "home", jti="2")
    first, second = service.requests
    assert first.offer.statement_jwks != second.offer.statement_jwks
    assert home.tls_key != before


async def test_two_members_do_not_share_a_home(
    service: Enrollment, tmp_path: Path
) -> None:
    await join(service, tmp_path / "home")
    with pytest.raises(ConflictError, match="choose another"):
        await join(service, tmp_path / "home", member=AUDITOR)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"aud": "something-else"}, "something else"),
        ({"exp": int(NOW.timestamp())}, "expired"),
        ({"ca": "no hex"}, "cannot be read"),
        ({"sub": 7}, "cannot be read"),
        ({"enroll": None}, "cannot be read"),
    ],
)
async def test_a_token_that_is_none_is_refused_before_anything_is_made(
    service: Enrollment, tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    with pytest.raises(UnauthenticatedError, match=why) as caught:
        await join(service, tmp_path / "home", **changes)
    assert caught.value.reason == Reason.ERROR_REASON_TOKEN_INVALID
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "é.é.é", "eyJhbGciOiJub25lIn0.e30."]
)
def test_text_that_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        Token.parse(token)


async def test_a_server_of_another_authority_gets_nothing(
    service: Enrollment, tmp_path: Path
) -> None:
    other = Authority.make().certificate.fingerprint(hashes.SHA256()).hex()
    with pytest.raises(VerificationError, match="authority") as caught:
        await join(service, tmp_path / "home", ca=other)
    assert caught.value.reason == Reason.ERROR_REASON_NOT_AUTHENTICATED
    assert not service.requests


async def test_nobody_there_is_said(service: Enrollment, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        await join(service, tmp_path / "home", enroll="127.0.0.1:1")


def wrong_authority(response: enrollment_pb2.CompleteEnrollmentResponse) -> None:
    response.server_ca = Authority.make().pem.decode()


def wrong_trust(response: enrollment_pb2.CompleteEnrollmentResponse) -> None:
    response.trust = ChainBuilder(domain="other.example").trust()


def wrong_certificate(response: enrollment_pb2.CompleteEnrollmentResponse) -> None:
    response.certificate_chain = Authority.make().issue(MEMBER)[1].decode()


def no_certificate(response: enrollment_pb2.CompleteEnrollmentResponse) -> None:
    response.certificate_chain = "none"


def wrong_change(response: enrollment_pb2.CompleteEnrollmentResponse) -> None:
    builder = established()
    response.change.CopyFrom(to_proto(builder.directory()[-1]))


def no_proof(response: enrollment_pb2.CompleteEnrollmentResponse) -> None:
    response.change.receipt = response.change.receipt.replace("index ", "index 1")


@pytest.mark.parametrize(
    "lie",
    [
        wrong_authority,
        wrong_trust,
        wrong_certificate,
        no_certificate,
        wrong_change,
        no_proof,
    ],
)
async def test_an_answer_that_is_not_ours_makes_no_home(
    service: Enrollment,
    tmp_path: Path,
    lie: Callable[[enrollment_pb2.CompleteEnrollmentResponse], None],
) -> None:
    service.tamper = lie
    with pytest.raises(VerificationError):
        await join(service, tmp_path / "home")
    assert not Home.create(tmp_path / "home").is_enrolled
    service.tamper = None
    assert (await join(service, tmp_path / "home")).is_enrolled


async def test_a_certificate_for_another_name_makes_no_home(
    service: Enrollment, tmp_path: Path
) -> None:
    service.name_in_certificate = AUDITOR
    with pytest.raises(VerificationError, match="certificate"):
        await join(service, tmp_path / "home")
    assert not Home.create(tmp_path / "home").is_enrolled


async def test_keys_that_were_not_registered_make_no_home(
    service: Enrollment, tmp_path: Path
) -> None:
    service._register = lambda member, offer: Enrollment._register(  # type: ignore[method-assign]
        service, member, type(offer)()
    )
    with pytest.raises(VerificationError, match="new keys"):
        await join(service, tmp_path / "home")


def test_a_token_does_not_show_in_logs() -> None:
    text = Enrollment(address="localhost:1").token()
    assert text not in repr(Token.parse(text))
