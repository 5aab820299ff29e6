"""What all parts of the client share: calls, verification, and signing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from onward._channel import Caller, Request, Response, open_channel
from onward._clock import Clock, Entropy
from onward._directory import Directory
from onward._errors import FORBIDDEN, UnprovenRejectionError
from onward._log import Log
from onward._values import Logged
from onward.core.bodies import check_body
from onward.core.directory import MemberEntry
from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    UnauthenticatedError,
    VerificationError,
)
from onward.core.keys import StatementPrivateKey
from onward.core.sealing import ContentPrivateKey
from onward.core.statements import SignedStatement, new_statement_id, sign_statement
from onward.home import Home
from onward.v1 import log_pb2, statement_pb2
from onward.v1.directory_pb2_grpc import DirectoryServiceStub
from onward.v1.log_pb2_grpc import LogServiceStub
from onward.v1.referral_pb2_grpc import ReferralServiceStub


class Session:
    """One member's connection, with what it has verified so far.

    Attributes:
        home: the member's home.
        member: the member's SPIFFE ID.
        exchange: the exchange's SPIFFE ID.
        fingerprint: SHA-256 of the member's certificate, DER.
        channel: the channel to the exchange.
        caller: makes calls and opens streams.
        log: the exchange's log.
        directory: the exchange's directory.
        referrals: the service that most of the client's calls go to.
        clock: tells the time, in UTC.
        entropy: returns random bytes.

    Raises:
        ForkError: the home holds evidence of a fork.
        UnauthenticatedError: the member's certificate has expired.
    """

    def __init__(
        self, home: Home, *, deadline: float, clock: Clock, entropy: Entropy
    ) -> None:
        home.check_no_fork()
        settings = home.settings
        self.home = home
        self.member = settings.member
        self.exchange = settings.exchange
        self.clock = clock
        self.entropy = entropy
        self.fingerprint = _check_certificate(home.certificate_chain, clock)
        self.channel = open_channel(
            settings.address,
            settings.server_name,
            root_certificates=home.server_ca,
            private_key=home.tls_key,
            certificate_chain=home.certificate_chain,
        )
        self.caller = Caller(deadline, entropy, self._check_usable)
        self.log = Log(home, LogServiceStub(self.channel), self.caller)
        self.directory = Directory(
            self.exchange, self.log, DirectoryServiceStub(self.channel), self.caller
        )
        self.referrals = ReferralServiceStub(self.channel)
        self._statement_keys: dict[str, StatementPrivateKey] = {}
        self._content_keys: dict[str, ContentPrivateKey] = {}

    async def close(self) -> None:
        """Ends the connection."""
        await self.log.close()
        await self.channel.close()

    def _check_usable(self) -> None:
        self.log.check_usable()

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        traceparent: str = "",
    ) -> Response:
        """Calls a method; see :meth:`Caller.call`."""
        return await self.caller.call(method, request, traceparent=traceparent)

    # --- what others say --------------------------------------------------------------

    async def verify(self, logged: log_pb2.LoggedStatement) -> Logged:
        """Checks receipt, log and signature of a statement.

        Raises:
            OnwardError: as ``Log.prove`` and ``Directory.verify``.
        """
        entry, checkpoint = await self.log.prove(logged)
        statement = await self.directory.verify(entry)
        return Logged(statement, logged.receipt, entry.index, checkpoint)

    async def verify_known(self, logged: log_pb2.LoggedStatement) -> Logged | None:
        """Checks a statement; None if its body is one that this version does not know.

        An exchange of a later version logs such statements too, and what we can say
        about the others must not depend on them.
        """
        try:
            return await self.verify(logged)
        except MalformedError as error:
            if error.field != "body":
                raise
        return None

    async def verify_all(
        self, logged: Iterable[log_pb2.LoggedStatement]
    ) -> list[Logged]:
        """Checks many, together, and leaves out those that are not known."""
        found = await asyncio.gather(*map(self.verify_known, logged))
        return [item for item in found if item]

    async def verify_own(
        self, logged: log_pb2.LoggedStatement, statement: str
    ) -> Logged:
        """Checks that what came back is what we sent, a compact JWS, with its receipt.

        Raises:
            VerificationError: it is something else, or not proven.
        """
        if logged.statement != statement:
            raise _mismatch("the exchange returned another statement than the one sent")
        return await self.verify(logged)

    async def verify_answer(
        self, logged: log_pb2.LoggedStatement, kind: str, previous: bytes
    ) -> Logged:
        """Checks that the exchange itself answered a statement in a certain way.

        Args:
            logged: what it sent.
            kind: the body that it must have.
            previous: digest of the statement that it must answer.

        Raises:
            VerificationError: it is something else, or not proven.
        """
        answer = await self.verify(logged)
        if (answer.kind, answer.issuer) != (kind, self.exchange):
            raise _mismatch(f"what the exchange sent is not its {kind}")
        if answer.message.previous != previous:
            raise _mismatch(f"the {kind} answers another statement")
        return answer

    async def prove_rejection(
        self, error: UnprovenRejectionError, refused: bytes, chain: str = ""
    ) -> OnwardError:
        """Checks the ``Rejection`` of what was refused, given by its digest.

        Args:
            error: how the exchange refused it.
            refused: digest of the referral or withholding.
            chain: id of the intake, for a withholding.
        """
        rejection = await self.verify_answer(error.rejection, "rejection", refused)
        await self.keep(rejection.message.referral_id or chain, rejection)
        return FORBIDDEN[error.reason](error, rejection)

    async def keep(self, referral_id: str, *logged: Logged) -> None:
        """Keeps receipts in the home."""
        items = [item.to_proto() for item in logged]
        await asyncio.to_thread(self.home.add_receipts, referral_id, items)

    # --- what we say ------------------------------------------------------------------

    def new_id(self) -> str:
        """Returns a new statement id."""
        milliseconds = int(self.clock().timestamp() * 1000)
        return new_statement_id(milliseconds, self.entropy(10))

    async def sign(self, draft: statement_pb2.Statement) -> SignedStatement:
        """Completes a statement with what all have in common, and signs it.

        Args:
            draft: its ``id``, body, ``referral_id`` and ``previous``.

        Raises:
            MalformedError: the body is not well-formed.
            StateError: this home holds no key that is in force.
        """
        seen = await self.log.recent()
        draft.issuer = self.member
        draft.made_time.FromDatetime(self.clock())
        draft.seen.CopyFrom(
            statement_pb2.Seen(origin=seen.origin, size=seen.size, root=seen.root)
        )
        check_body(draft)
        return sign_statement(draft, await self.signing_key())

    async def signing_key(self) -> StatementPrivateKey:
        """Returns the newest of our keys that the directory has in force."""
        entry = await self.directory.member(self.member)
        for key_id in self._in_force(entry):
            if key_id not in self._statement_keys:
                # Another process of this home may have made it.
                self._statement_keys = await asyncio.to_thread(self.home.statement_keys)
            if key_id in self._statement_keys:
                return self._statement_keys[key_id]
        raise StateError(
            Reason.ERROR_REASON_KEY_NOT_VALID,
            f"{self.home.path} holds no statement key of {self.member} that is in "
            "force; ask the operator for a new enrolment token",
        )

    async def content_key(self, key_id: str) -> ContentPrivateKey | None:
        """Returns one of our content keys, or None."""
        if key_id not in self._content_keys:
            self._content_keys = await asyncio.to_thread(self.home.content_keys)
        return self._content_keys.get(key_id)

    def _in_force(self, entry: MemberEntry) -> list[str]:
        """Returns the ids of the statement keys of an entry in force, newest first."""
        now = self.clock()
        # A key as new as our clock is slow is in force for the exchange, which judges.
        keys = [
            (validity.not_before, key_id)
            for key_id, (_, validity) in entry.statement_keys.keys.items()
            if not replace(validity, not_before=now).problem(now)
        ]
        return [key_id for _, key_id in sorted(keys, reverse=True)]


def _check_certificate(chain: bytes, clock: Clock) -> bytes:
    """Returns the fingerprint of our certificate, if it has not expired."""
    certificate = x509.load_pem_x509_certificates(chain)[0]
    end = certificate.not_valid_after_utc
    if clock() >= end:
        raise UnauthenticatedError(
            Reason.ERROR_REASON_NOT_AUTHENTICATED,
            f"the member's certificate expired on {end.isoformat()}; ask the operator "
            "for a new enrolment token",
        )
    return sha256(certificate.public_bytes(Encoding.DER)).digest()


def _mismatch(message: str) -> VerificationError:
    return VerificationError(Reason.ERROR_REASON_PREVIOUS_MISMATCH, message)
