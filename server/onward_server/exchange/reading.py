"""Reading a statement that somebody sent: the checks that all kinds share.

They are steps 2, 3, 4 and 9 of publishing (DESIGN.md section 8). What cannot be decided
here, since it depends on the log's order, is decided again in the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from onward.core.bodies import check_body
from onward.core.directory import MemberEntry
from onward.core.errors import ForbiddenError, MalformedError, Reason, StateError
from onward.core.statements import SignedStatement, UnverifiedStatement, parse_statement
from onward.v1 import statement_pb2
from onward_server.exchange.clock import Clock, timestamp_ms, to_datetime
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.limits import Limits
from onward_server.exchange.signatures import Signatures


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement whose signature verified, and the entry whose key it was."""

    statement: SignedStatement
    author: MemberEntry

    @property
    def message(self) -> statement_pb2.Statement:
        """What it says."""
        return self.statement.message

    def still_valid(self, draft: Draft) -> None:
        """Checks, at its place in the log, that its author may still say it.

        Raises:
            ForbiddenError: ``MEMBER_SUSPENDED``: meanwhile.
            StateError: ``KEY_NOT_VALID``: the directory changed since it was verified.
        """
        present = draft.member(self.author.name)
        if present is None or present is self.author:
            return
        if not present.active:
            raise ForbiddenError(
                Reason.ERROR_REASON_MEMBER_SUSPENDED,
                f"{present.name} has been suspended; the operator can reinstate it",
            )
        for at_ms in (draft.now_ms, timestamp_ms(self.message.made_time)):
            present.statement_keys.usable(self.statement.key_id, to_datetime(at_ms))


class Reader:
    """Turns bytes into signed statements."""

    def __init__(self, ledger: Ledger, clock: Clock, limits: Limits) -> None:
        self._ledger = ledger
        self._clock = clock
        self._limits = limits
        self._signatures = Signatures()

    def parse(self, jws: str, kinds: frozenset[str]) -> UnverifiedStatement:
        """Step 2: size and shape, and one of the expected kinds.

        Raises:
            MalformedError: with the field that is wrong.
        """
        statement = parse_statement(jws)
        if statement.body_kind not in kinds:
            msg = (
                f"a {statement.body_kind} cannot be sent with this call; it takes: "
                f"{', '.join(sorted(kinds))}"
            )
            raise MalformedError(msg, field="body")
        check_body(statement.message)
        return statement

    async def verify(self, caller: Caller, statement: UnverifiedStatement) -> Signed:
        """Steps 3, 4 and 9: signature and key, issuer, ``seen`` and time.

        Raises:
            VerificationError: ``SIGNATURE_INVALID``.
            StateError: ``KEY_NOT_VALID``, ``SEEN_UNKNOWN``.
            ForbiddenError: ``ISSUER_MISMATCH``.
            MalformedError: ``TIME_IMPLAUSIBLE``.
        """
        now = to_datetime(self._clock.now_ms())
        self._check_issuer(caller, statement)
        signed = await self._check_signature(caller, statement, now)
        await self._check_times(statement.message)
        return Signed(signed, caller.entry)

    async def _check_signature(
        self, caller: Caller, statement: UnverifiedStatement, now: datetime
    ) -> SignedStatement:
        """Step 3: the key is the issuer's, and the signature holds.

        The key is valid now, and was when the statement says that it was made: whoever
        judges it later knows no other time.
        """
        keys = caller.entry.statement_keys
        made = to_datetime(timestamp_ms(statement.message.made_time))
        keys.usable(statement.key_id, made)
        key = keys.usable(statement.key_id, now)
        return await self._signatures.check(statement, key)

    @staticmethod
    def _check_issuer(caller: Caller, statement: UnverifiedStatement) -> None:
        """Step 4: nobody sends what somebody else said."""
        if statement.message.issuer != caller.name:
            raise ForbiddenError(
                Reason.ERROR_REASON_ISSUER_MISMATCH,
                f"the statement's issuer is {statement.message.issuer}, but the caller "
                f"is {caller.name}; a member sends its own statements only",
                field="issuer",
            )

    async def _check_times(self, message: statement_pb2.Statement) -> None:
        """Step 9: ``seen`` is a checkpoint of ours, and the time fits around it."""
        seen = message.seen
        signed = (
            await self._ledger.signed_at(seen.size)
            if seen.origin == self._ledger.origin
            else None
        )
        if signed is None or signed.root != seen.root:
            raise StateError(
                Reason.ERROR_REASON_SEEN_UNKNOWN,
                f"seen names size {seen.size} of {seen.origin or 'no log'}, which is "
                "not a checkpoint that this exchange signed; fetch the newest one and "
                "sign again",
                field="seen",
            )
        made, now = timestamp_ms(message.made_time), self._clock.now_ms()
        slack = int(self._limits.clock_tolerance * 1000)
        # A clock of ours that was ahead for a moment must not keep everybody silent
        # until the time comes that it showed.
        if not min(signed.signed_ms, now) - slack <= made <= now + slack:
            raise _implausible(made, signed.signed_ms, self._limits.clock_tolerance)


def _implausible(made: int, seen: int, tolerance: float) -> MalformedError:
    """Returns the error for a time that cannot be right."""
    msg = (
        f"made_time {to_datetime(made).isoformat()} is not between the checkpoint that "
        f"seen names ({to_datetime(seen).isoformat()}) and now, with {tolerance:.0f} s "
        "of tolerance; set the clock right and sign again"
    )
    error = MalformedError(msg, field="made_time")
    error.reason = Reason.ERROR_REASON_TIME_IMPLAUSIBLE
    return error
