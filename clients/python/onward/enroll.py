"""Becoming a member: from the operator's one-time token to a home that works.

1. The token is read. It is trusted as it was handed over: its signature is the
   exchange's, whose keys nobody has yet. It names the exchange, the member, and by its
   fingerprint the authority whose servers are the exchange's.
2. The keys are made and kept. The same token with the same home goes on with the same
   keys, so a lost answer does no harm.
3. The authority's certificate is taken from what the server shows, if it has that
   fingerprint; from here on only this authority is believed.
4. The exchange challenges; the answers prove that the keys are ours.
5. What comes back must be for this member and these keys, and in the log that the trust
   file names. Only then does the home become a member's.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from os import PathLike
from secrets import token_bytes
from typing import Final, Self

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from onward._channel import Caller, open_channel
from onward._clock import Clock, Entropy, system_clock
from onward._possession import (
    NewKeys,
    certificate_request,
    check_certificate,
    make_tls_key,
)
from onward._server_chain import find_authority
from onward.core.errors import (
    ConflictError,
    OnwardError,
    Reason,
    UnauthenticatedError,
    VerificationError,
)
from onward.core.identity import IdentityKind, SpiffeId
from onward.core.keys import DEFAULT_ALGORITHM, StatementPrivateKey
from onward.core.sealing import ContentPrivateKey
from onward.core.statements import parse_statement
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.home import Home, MemberSettings
from onward.v1 import directory_pb2, enrollment_pb2
from onward.v1.enrollment_pb2_grpc import EnrollmentServiceStub
from onward.v1.vocabulary_pb2 import SealingSuite

AUDIENCE: Final = "onward-enroll"

_TEXTS: Final = ("iss", "sub", "aud", "enroll", "api", "server_name", "ca")
_DEADLINE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Token:
    """What an enrolment token says.

    Attributes:
        text: the token itself; a secret until it is used.
        exchange: the exchange's SPIFFE ID.
        member: the new member's SPIFFE ID.
        enroll: ``host:port`` of the enrolment service.
        api: ``host:port`` of the exchange.
        server_name: the DNS name in the exchange's certificate.
        authority: SHA-256 of the authority's certificate, DER.
        expires: POSIX seconds.
    """

    text: str = field(repr=False)
    exchange: str
    member: str
    enroll: str
    api: str
    server_name: str
    authority: bytes
    expires: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a token; its signature is for the exchange to check.

        Raises:
            UnauthenticatedError: ``TOKEN_INVALID``: it is not an enrolment token.
        """
        try:
            claims = jwt.decode(text.strip(), options={"verify_signature": False})
            texts = {name: _text(claims[name]) for name in _TEXTS}
            token = cls(
                text.strip(),
                exchange=str(SpiffeId.parse(texts["iss"])),
                member=str(SpiffeId.parse(texts["sub"])),
                enroll=texts["enroll"],
                api=texts["api"],
                server_name=texts["server_name"],
                authority=bytes.fromhex(texts["ca"]),
                expires=int(claims["exp"]),
            )
        except (jwt.InvalidTokenError, OnwardError, LookupError, TypeError, ValueError):
            raise _invalid_token("cannot be read: copy all of it") from None
        if texts["aud"] != AUDIENCE:
            raise _invalid_token("is for something else than enrolment")
        return token

    @property
    def digest(self) -> bytes:
        """SHA-256 of the token."""
        return sha256(self.text.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An enrolment under way: what it takes to repeat it with the same bytes.

    Attributes:
        token_digest: SHA-256 of the token, hex.
        csr: the certificate request, DER, hex.
        tls_key: the private key of the request, PEM; empty when it is done.
        statement_key: the id of the new statement key.
        content_key: the id of the new content key; empty for who receives nothing.
        done: whether the home is complete.
    """

    token_digest: str
    csr: str
    tls_key: str
    statement_key: str
    content_key: str
    done: bool = False

    @classmethod
    def begin(
        cls, home: Home, token: Token, algorithm: str, suite: SealingSuite.ValueType
    ) -> Self:
        """Returns the attempt that the home has with this token, or a new one."""
        kept = home.attempt()
        if kept:
            attempt = cls(**json.loads(kept))
            if attempt.token_digest == token.digest.hex():
                return attempt
        receives = SpiffeId.parse(token.member).kind is IdentityKind.AGENCY
        keys = NewKeys(
            StatementPrivateKey.generate(algorithm),
            ContentPrivateKey.generate(suite) if receives else None,
        )
        keys.save(home)
        tls_key = make_tls_key()
        attempt = cls(
            token_digest=token.digest.hex(),
            csr=certificate_request(tls_key).hex(),
            tls_key=tls_key.decode(),
            statement_key=keys.statement_key.key_id,
            content_key=keys.content_key.public.key_id if keys.content_key else "",
        )
        attempt.save(home)
        return attempt

    def save(self, home: Home) -> None:
        """Keeps it."""
        home.save_attempt(json.dumps(asdict(self)))

    def keys(self, home: Home) -> NewKeys:
        """Returns the keys that it made."""
        content_key = home.content_keys().get(self.content_key)
        return NewKeys(home.statement_keys()[self.statement_key], content_key)


async def enroll(
    token: str,
    home: str | PathLike[str],
    *,
    statement_algorithm: str = DEFAULT_ALGORITHM,
    suite: SealingSuite.ValueType = SealingSuite.SEALING_SUITE_MLKEM768_X25519,
    clock: Clock = system_clock,
    entropy: Entropy = token_bytes,
) -> Home:
    """Makes keys, proves that they are ours, and gets a certificate for them.

    The private keys never leave the home. A lost answer does no harm: run it again with
    the same token and home, and it goes on with the same keys.

    Args:
        token: the one-time token, from the operator over a channel to be trusted.
        home: the directory to make; may exist, but not with another member in it.
        statement_algorithm: of the statement key: ``ES256``, ``ES384`` or ``EdDSA``.
        suite: of the content key.
        clock: tells the time, in UTC.
        entropy: returns random bytes.

    Returns:
        The home, ready for :meth:`onward.client.Client.open`.

    Raises:
        ConflictError: another member lives there.
        UnauthenticatedError: the token cannot be read, has expired, or was used.
        VerificationError: the server is not the one of the token, or what it answers
            cannot be proven.
        UnavailableError: the exchange cannot be reached.
    """
    read = Token.parse(token)  # 1
    if clock().timestamp() >= read.expires:
        raise _invalid_token("has expired")
    made = await asyncio.to_thread(Home.create, home)
    _check_empty_or_same(made, read)
    attempt = await asyncio.to_thread(  # 2
        _Attempt.begin, made, read, statement_algorithm, suite
    )
    if not attempt.done:
        keys = await asyncio.to_thread(attempt.keys, made)
        response = await _ask(read, attempt, keys, Caller(_DEADLINE, entropy))  # 3, 4
        checkpoint = _check(read, attempt, keys, response)  # 5
        await asyncio.to_thread(_finish, made, read, attempt, response, checkpoint)
    return made


async def _ask(
    token: Token, attempt: _Attempt, keys: NewKeys, caller: Caller
) -> enrollment_pb2.CompleteEnrollmentResponse:
    """Finds the exchange of the token, and answers its challenge."""
    authority = await asyncio.to_thread(
        find_authority, token.enroll, token.server_name, token.authority
    )
    csr = bytes.fromhex(attempt.csr)
    async with open_channel(
        token.enroll, token.server_name, root_certificates=authority
    ) as channel:
        stub = EnrollmentServiceStub(channel)
        start = enrollment_pb2.StartEnrollmentRequest(
            token=token.text, csr=csr, offer=keys.offer
        )
        asked = await caller.call(stub.StartEnrollment, start)
        possession = directory_pb2.Possession(
            member=token.member,
            token_digest=token.digest,
            csr_digest=sha256(csr).digest(),
        )
        complete = enrollment_pb2.CompleteEnrollmentRequest(
            token=token.text,
            csr=csr,
            offer=keys.offer,
            possessions=keys.prove(possession, asked.challenges, [keys.statement_key]),
        )
        return await caller.call(stub.CompleteEnrollment, complete)


def _check(
    token: Token,
    attempt: _Attempt,
    keys: NewKeys,
    response: enrollment_pb2.CompleteEnrollmentResponse,
) -> str:
    """Checks that all that came is for this member, keys and exchange.

    Returns:
        The checkpoint to begin with, a signed note.
    """
    chain = response.certificate_chain.encode()
    check_certificate(chain, attempt.tls_key.encode(), token.member)
    authorities = x509.load_pem_x509_certificates(response.server_ca.encode())
    if token.authority not in {item.fingerprint(SHA256()) for item in authorities}:
        raise _unproven("an authority that is not the one of the token")
    statement = parse_statement(response.change.statement)
    receipt = TlogProof.parse(response.change.receipt)
    receipt.verify(statement.digest, Policy.parse(response.trust))
    member = statement.message.directory_change.member
    if (statement.message.issuer, member.name) != (token.exchange, token.member):
        raise _unproven("another party's change of the directory")
    keys.check_registered(member)
    return receipt.checkpoint_note


def _finish(
    home: Home,
    token: Token,
    attempt: _Attempt,
    response: enrollment_pb2.CompleteEnrollmentResponse,
    checkpoint: str,
) -> None:
    """Makes the home a member's."""
    home.save_tls_key(attempt.tls_key.encode())
    home.replace_checkpoint("", checkpoint)  # what was seen before stays
    home.save_enrollment(
        MemberSettings(token.member, token.exchange, token.api, token.server_name),
        certificate_chain=response.certificate_chain.encode(),
        server_ca=response.server_ca.encode(),
        trust=response.trust,
    )
    replace(attempt, tls_key="", done=True).save(home)


def _check_empty_or_same(home: Home, token: Token) -> None:
    """Refuses a home in which another member lives."""
    if not home.is_enrolled:
        return
    settings = home.settings
    if (settings.member, settings.exchange) != (token.member, token.exchange):
        raise ConflictError(
            Reason.ERROR_REASON_MEMBER_EXISTS,
            f"{home.path} is the home of {settings.member}; choose another one",
        )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _invalid_token(problem: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        Reason.ERROR_REASON_TOKEN_INVALID,
        f"the enrolment token {problem}; ask the operator for another",
    )


def _unproven(what: str) -> VerificationError:
    return VerificationError(
        Reason.ERROR_REASON_NOTE_UNTRUSTED,
        f"the exchange answered the enrolment with {what}",
    )
