"""The hotline's book: every tip is registered before anything else is decided.

The steps are those of publishing, where they apply:

1. The caller is an active member of the kind HOTLINE with the publisher role.
2. Sizes and shape.
3. The signature holds, with a key that is valid now.
4. The issuer is the caller.
5. The same bytes return the original receipt. For ever, not in a window.
6. ``seen`` is a checkpoint of ours, and the times are plausible.
7. The numbers are the next ones, over all and in the jurisdiction, and ``previous``
   names the intake before. So two desks cannot both have a number, and none is missing.
8. The intake is appended, with the deadlines that are in force at this place of the
   log.

Steps 1 to 4 and 6 are verified outside the ledger; 5, 7 and 8 are planned in it, in the
log's order. A retry must get its original answer even when the world has changed since:
so when any step refuses, the last question is whether exactly these bytes were answered
before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from onward.core import intakes
from onward.core.errors import (
    ForbiddenError,
    MalformedError,
    OnwardError,
    Reason,
    StateError,
)
from onward.core.statements import UnverifiedStatement
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange import duties
from onward_server.exchange.clock import Clock, timestamp_ms, to_datetime
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.limits import Limits
from onward_server.exchange.passing_on import NOBODY, intake_unknown
from onward_server.exchange.publishing import require_role
from onward_server.exchange.reading import Reader, Signed
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import (
    IntakeRow,
    Needs,
    StatementRow,
    Store,
    intake_subject,
)

_INTAKE = frozenset({"intake"})


@dataclass(frozen=True, slots=True)
class IntakeRecord:
    """An intake; ``statements`` only where they were asked for."""

    row: IntakeRow
    overdue: bool
    statements: Sequence[Logged] = ()


@dataclass(frozen=True, slots=True)
class Book:
    """Where a hotline's book stands.

    Attributes:
        last_number: of its last intake; 0 if there is none.
        last_digest: of its last intake; empty if there is none.
        last_in_jurisdiction: the last number in the jurisdiction that was asked for; 0
            if there is none.
    """

    last_number: int
    last_digest: bytes
    last_in_jurisdiction: int


@dataclass(frozen=True, slots=True)
class Registration:
    """The change: a hotline received a tip."""

    signed: Signed

    @property
    def needs(self) -> Needs:
        """The statement itself, and where the hotline's book stands."""
        message = self.signed.message
        return Needs(
            digests={self.signed.statement.digest},
            books={(message.issuer, message.intake.jurisdiction.code)},
        )

    def plan(self, draft: Draft) -> Sequence[int]:
        """Steps 5, 7 and 8."""
        known = draft.statement(self.signed.statement.digest)  # 5
        if known is not None:
            return [known.log_index]
        self.signed.still_valid(draft)
        self._check_numbers(draft)  # 7
        return [self._append(draft)]  # 8

    def _check_numbers(self, draft: Draft) -> None:
        """Step 7: it follows the hotline's last intake, and the last of its place."""
        message, body = self.signed.message, self.signed.message.intake
        last = draft.last_intake(message.issuer)
        code = body.jurisdiction.code
        number = last.number + 1 if last else body.number
        there = draft.last_in_jurisdiction(message.issuer, code) + 1
        if (body.number, body.number_in_jurisdiction) != (number, there):
            raise StateError(
                Reason.ERROR_REASON_INTAKE_NUMBER_UNEXPECTED,
                f"the next intake has the number {number}, and {there} in {code}; this "
                f"one has {body.number} and {body.number_in_jurisdiction}. Number it "
                "so, and sign again",
                field="intake.number",
                metadata={
                    "number": str(number),
                    "number_in_jurisdiction": str(there),
                },
            )
        if message.previous != (last.digest if last else b""):
            raise StateError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                "previous does not name your intake before this one; fetch the book, "
                "and sign again",
                field="previous",
            )

    def _append(self, draft: Draft) -> int:
        """Step 8: the intake begins, and its time runs."""
        statement, body = self.signed.statement, self.signed.message.intake
        hotline, code = self.signed.message.issuer, body.jurisdiction.code
        index = draft.log(
            statement,
            places=(code,),
            subject=intake_subject(hotline, body.number),
            watchers=(hotline,),
        )
        row = IntakeRow(
            hotline=hotline,
            number=body.number,
            jurisdiction=code,
            number_in_jurisdiction=body.number_in_jurisdiction,
            log_index=index,
            digest=statement.digest,
            urgency=body.urgency,
            age_group=body.subject_age_group,
            test=body.test,
            received_ms=timestamp_ms(body.received_time),
            state=intakes.INITIAL,
            reached=NOBODY,
            warn_ms=0,
            due_ms=0,
            told=0,
            alarm_ms=0,
        )
        times = draft.policy.deadlines(body.urgency, code)
        draft.put_intake(duties.intake_opened(row, times, draft.now_ms))
        return index


class Intakes:
    """Registers tips, and shows each hotline its own book."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        reader: Reader,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._reader = reader
        self._clock = clock
        self._limits = limits

    async def register(self, caller: Caller, jws: str) -> Logged:
        """Registers one tip. When this returns it is durable and proven.

        Raises:
            OnwardError: it is refused; nothing was logged.
        """
        (result,) = await self.register_all(caller, [jws])
        if isinstance(result, OnwardError):
            raise result
        return result

    async def register_all(
        self, caller: Caller, tips: Sequence[str]
    ) -> list[Logged | OnwardError]:
        """Registers tips in their order; returns what came of each.

        They enter the ledger's queue in this order, and so are numbered in it.

        Raises:
            ForbiddenError: the caller has no book.
        """
        require_hotline(caller)  # 1
        verified = [await self._verify(caller, jws) for jws in tips]
        return await asyncio.gather(*map(self._settle, verified))

    async def book(self, caller: Caller, code: str) -> Book:
        """Returns where the caller's book stands; ``code`` may be empty."""
        require_hotline(caller)
        there = 0
        if code:
            there = await self._store.last_in_jurisdiction(caller.name, code)
        last = await self._store.last_intake(caller.name)
        if last is None:
            return Book(0, b"", 0)
        return Book(last.number, last.digest, there)

    async def get(self, caller: Caller, number: int) -> IntakeRecord:
        """Returns one of the caller's intakes with all statements about it.

        Raises:
            UnknownError: ``INTAKE_UNKNOWN``.
        """
        require_hotline(caller)
        row = await self._store.intake(caller.name, number)
        if row is None:
            raise intake_unknown(number, "number")
        entries = await self._store.intake_statements(caller.name, number)
        logged = await self._ledger.logged([entry.log_index for entry in entries])
        return self._record(row, logged)

    async def page(
        self, caller: Caller, state: int, after_number: int, limit: int
    ) -> list[IntakeRecord]:
        """Returns the caller's intakes with a larger number, in order.

        Args:
            caller: who asks.
            state: only those in this state; 0 is any.
            after_number: only larger numbers.
            limit: at most this many.
        """
        require_hotline(caller)
        rows = await self._store.intakes(caller.name, state, after_number, limit)
        return [self._record(row) for row in rows]

    def _record(
        self, row: IntakeRow, statements: Sequence[Logged] = ()
    ) -> IntakeRecord:
        overdue = 0 < row.due_ms <= self._clock.now_ms()
        return IntakeRecord(row, overdue, statements)

    async def _verify(
        self, caller: Caller, jws: str
    ) -> Registration | Logged | OnwardError:
        """Steps 2, 3, 4 and 6; returns the original answer if there is one."""
        try:
            statement = self._reader.parse(jws, _INTAKE)  # 2
        except OnwardError as error:
            return error
        try:
            signed = await self._reader.verify(caller, statement)  # 3, 4, 6
            self._check_received(statement.message.intake)  # 6
        except OnwardError as error:
            original = await original_entry(self._store, caller, statement)
            if original is None:
                return error
            (logged,) = await self._ledger.logged([original.log_index])
            return logged
        return Registration(signed)

    async def _settle(
        self, verified: Registration | Logged | OnwardError
    ) -> Logged | OnwardError:
        """Registers what was verified; returns what came of it."""
        if not isinstance(verified, Registration):
            return verified
        try:
            (logged,) = await self._ledger.apply(verified)
        except OnwardError as error:
            return error
        return logged

    def _check_received(self, body: statement_pb2.Intake) -> None:
        """Step 6: a tip comes in before it is registered, however late that is."""
        received = timestamp_ms(body.received_time)
        latest = self._clock.now_ms() + int(self._limits.clock_tolerance * 1000)
        if not 0 < received <= latest:
            error = MalformedError(
                "received_time is not before now; state when the tip came in, and set "
                f"the clock right: here it is {to_datetime(self._clock.now_ms())}",
                field="intake.received_time",
            )
            error.reason = Reason.ERROR_REASON_TIME_IMPLAUSIBLE
            raise error


def require_hotline(caller: Caller) -> None:
    """Step 1: the caller is a hotline that may publish.

    Raises:
        ForbiddenError: ``ROLE_REQUIRED``.
    """
    require_role(caller, vocabulary_pb2.ROLE_PUBLISHER)
    if caller.entry.proto.kind != vocabulary_pb2.MEMBER_KIND_HOTLINE:
        raise ForbiddenError(
            Reason.ERROR_REASON_ROLE_REQUIRED,
            f"{caller.name} has no book of intakes: only a member of the kind HOTLINE "
            "has one, and the operator of the exchange says of which kind a member is",
            metadata={"required": "hotline"},
        )


async def original_entry(
    store: Store, caller: Caller, statement: UnverifiedStatement
) -> StatementRow | None:
    """When a step refused: the entry of exactly these bytes, if they were logged."""
    if statement.message.issuer != caller.name:
        return None
    return await store.find_statement(statement.digest)
