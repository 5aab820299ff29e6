"""The hotline's book: tips that came in, and what was decided about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from datetime import datetime
from operator import attrgetter
from typing import Final

from onward._channel import is_passing
from onward._custody import Custody
from onward._errors import UnprovenRejectionError
from onward._intake_values import IntakeDetail, IntakeDraft, Queued, Registered
from onward._opening import make_opening
from onward._queue import Queue
from onward._reading import pages
from onward._registering import Registrar
from onward._session import Session
from onward._values import Logged
from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    UnknownError,
    VerificationError,
)
from onward.v1 import intake_pb2, statement_pb2, vocabulary_pb2
from onward.v1.intake_pb2_grpc import IntakeServiceStub

_ANY_STATE: Final = vocabulary_pb2.INTAKE_STATE_UNSPECIFIED


class Intakes:
    """Calls of hotlines about their intakes; see ``Client.intakes``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queue = Queue(session.home)
        self._stub = IntakeServiceStub(session.channel)

    # --- registering ------------------------------------------------------------------

    async def register(
        self, draft: IntakeDraft, content: bytes, *, first_number: int = 1
    ) -> Registered | Queued:
        """Registers a tip: commits to its content, before anything is decided.

        The intake and its secret salt are in the home durably before anything is sent,
        and stay in its queue until the exchange has answered. So whatever happens, an
        error or the end of the process, the intake is registered later by the next call
        that reaches the exchange, or by :meth:`flush`. To register the same draft with
        the same content again is safe: it is one intake.

        What waits in the queue goes first, so that intakes keep their order.

        Args:
            draft: what the hotline states about the tip.
            content: what was told, as the hotline keeps it. It is not kept here, and
                not sent: keep exactly these bytes, for :meth:`reveal`.
            first_number: of the hotline's first intake. One that joins goes on counting
                where it stands; it has no say any more once there is an intake.

        Raises:
            MalformedError: the draft is not well-formed; nothing was kept.
            OnwardError: the exchange refuses it. It is put aside if that is for what it
                says, and else still waits.
        """
        tip = (draft, content)
        (result,) = await self.register_many([tip], first_number=first_number)
        if isinstance(result, OnwardError):
            raise result
        return result

    async def register_many(
        self, tips: Sequence[tuple[IntakeDraft, bytes]], *, first_number: int = 1
    ) -> list[Registered | Queued | OnwardError]:
        """Registers many, in their order; each ends for itself as by :meth:`register`.

        Raises:
            OnwardError: none can be registered; all that are well-formed wait.
        """
        marks = [await asyncio.to_thread(self._add, *tip) for tip in tips]
        registrar = Registrar(self._session, self._queue, first_number)
        why = None
        try:
            await registrar.run()
        except OnwardError as error:
            if not is_passing(error):
                raise
            why = error
        return [
            mark
            if isinstance(mark, OnwardError)
            else await self._end(registrar, mark, why)
            for mark in marks
        ]

    async def queue(self, draft: IntakeDraft, content: bytes) -> Queued:
        """Keeps an intake until :meth:`flush`, without asking the exchange.

        Raises:
            MalformedError: the draft is not well-formed; nothing was kept.
        """
        await asyncio.to_thread(
            self._queue.add, draft.body(), content, self._session.entropy
        )
        return Queued()

    async def flush(self) -> list[Registered | OnwardError]:
        """Registers what waits in the queue; returns what came of each, in order.

        Raises:
            UnavailableError: the exchange cannot be reached; the rest still waits.
            OnwardError: this member may not register; the rest still waits.
        """
        registrar = Registrar(self._session, self._queue)
        await registrar.run()
        return list(registrar.ends.values())

    def waiting(self) -> int:
        """Returns how many intakes wait in the queue of the home."""
        return self._queue.count()

    # --- deciding ---------------------------------------------------------------------

    async def withhold(
        self,
        number: int,
        reason: vocabulary_pb2.WithholdReason.ValueType,
        approver_role: str,
        *,
        citation: str = "",
        review_time: datetime | None = None,
    ) -> Logged:
        """Logs that an intake is not passed on, or not yet.

        Args:
            number: the intake.
            reason: why; some classes of tips allow fewer than others.
            approver_role: the role of who approved it; never a name.
            citation: the law, for ``LEGAL_BAR`` and ``PRIVILEGED``.
            review_time: when it is decided again; required where it is provisional.

        Raises:
            WithholdingForbiddenError: the exchange's policy forbids it.
            StateError: the intake has been passed on.
        """
        body = statement_pb2.Withholding(
            intake_number=number,
            reason=reason,
            citation=citation,
            approver_role=approver_role,
        )
        if review_time:
            body.review_time.FromDatetime(review_time)
        return await self._decide(number, statement_pb2.Statement(withholding=body))

    async def hold(self, number: int, approver_role: str, reason: str) -> Logged:
        """Logs that a supervisor takes more time for an intake.

        Raises:
            StateError: the class of the intake allows none, or it is decided already.
        """
        body = statement_pb2.Hold(
            intake_number=number, approver_role=approver_role, reason=reason
        )
        return await self._decide(number, statement_pb2.Statement(hold=body))

    async def duplicate(self, number: int, of: int | str) -> Logged:
        """Logs that an intake repeats another tip.

        Args:
            number: the intake.
            of: an earlier intake's number, or the id of a referral.
        """
        body = statement_pb2.Link(intake_number=number)
        if isinstance(of, int):
            body.same_as_intake_number = of
            body.same_as = (await self.get(of)).intake.digest
        else:
            body.same_as_referral_id = of
            body.same_as = (await Custody(self._session, of).referral()).digest
        return await self._decide(number, statement_pb2.Statement(link=body))

    # --- reading ----------------------------------------------------------------------

    async def get(self, number: int) -> IntakeDetail:
        """Returns one intake with all statements about it, verified.

        Raises:
            UnknownError: there is none of this number.
        """
        session = self._session
        response = await session.call(
            self._stub.GetIntake, intake_pb2.GetIntakeRequest(number=number)
        )
        statements = await session.verify_all(response.intake.statements)
        first = statements[0].message if statements else statement_pb2.Statement()
        parties = {session.member, session.exchange}
        if (
            (first.issuer, first.intake.number) != (session.member, number)
            or any(_number(item.message) != number for item in statements)
            or any(item.issuer not in parties for item in statements)
        ):
            raise VerificationError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                f"what the exchange sent is not intake {number}",
            )
        return IntakeDetail(response.intake, tuple(statements))

    async def list(
        self,
        state: vocabulary_pb2.IntakeState.ValueType = _ANY_STATE,
    ) -> AsyncGenerator[intake_pb2.IntakeView, None]:
        """Yields the hotline's intakes, the oldest first: what the exchange says."""
        request = intake_pb2.ListIntakesRequest(state=state)
        async for page in pages(self._session, self._stub.ListIntakes, request):
            for view in page.intakes:
                yield view

    async def book(self, jurisdiction: str = "") -> intake_pb2.GetBookResponse:
        """Returns where the book stands, as the exchange says."""
        request = intake_pb2.GetBookRequest(jurisdiction=jurisdiction)
        return await self._session.call(self._stub.GetBook, request)

    async def reveal(self, number: int) -> bytes:
        """Returns the opening of an intake's commitment, with its proof.

        It holds the salt: whoever has it can tell whether a text is the content. Check
        it with :func:`onward.core.opening.verify_opening`.

        Raises:
            UnknownError: this home did not register the intake, so has no salt of it.
        """
        kept = await asyncio.to_thread(self._queue.kept, number)
        if kept is None:
            raise UnknownError(
                Reason.ERROR_REASON_INTAKE_UNKNOWN,
                f"{self._session.home.path} keeps no salt of intake {number}: "
                "reveal it in the home in which it was registered",
            )
        return await make_opening(self._session, kept)

    # --- helpers ----------------------------------------------------------------------

    def _add(self, draft: IntakeDraft, content: bytes) -> str | OnwardError:
        """Puts an intake into the queue; returns its mark."""
        try:
            body = draft.body()
        except MalformedError as error:
            return error
        return self._queue.add(body, content, self._session.entropy)

    async def _end(
        self, registrar: Registrar, mark: str, why: OnwardError | None
    ) -> Registered | Queued | OnwardError:
        """Returns what came of an intake."""
        end = registrar.ends.get(mark)
        if end:
            return end
        kept = await asyncio.to_thread(self._queue.kept, mark)
        # Registered by another process, or before.
        return (
            Registered(await self._session.verify(kept.logged)) if kept else Queued(why)
        )

    async def _decide(self, number: int, draft: statement_pb2.Statement) -> Logged:
        """Signs and logs a statement about an intake."""
        session = self._session
        intake = (await self.get(number)).intake
        draft.id, draft.previous = session.new_id(), intake.digest
        try:
            logged = await self._submit(draft, intake)
        except StateError as error:
            if error.reason != Reason.ERROR_REASON_KEY_NOT_VALID:
                raise
            # Another process of this home has replaced our keys since we asked.
            await session.directory.member(session.member, fresh=True)
            logged = await self._submit(draft, intake)
        await session.keep(intake.message.id, logged)
        return logged

    async def _submit(self, draft: statement_pb2.Statement, intake: Logged) -> Logged:
        session = self._session
        signed = await session.sign(draft)
        request = intake_pb2.DecideIntakeRequest(statement=signed.jws)
        try:
            response = await session.call(self._stub.DecideIntake, request)
        except UnprovenRejectionError as error:
            raise await session.prove_rejection(
                error, signed.digest, intake.message.id
            ) from None
        return await session.verify_own(response.statement, signed.jws)


def _number(message: statement_pb2.Statement) -> int:
    """Returns the number of the intake that a statement is about; 0 if none."""
    body = getattr(message, message.WhichOneof("body") or "")
    for path in ("due.intake_number", "intake_number", "number"):
        with suppress(AttributeError):
            return int(attrgetter(path)(body))
    return 0
