"""Registering intakes: what waits in the queue, in its order, each once.

1. Only one task of one process at a time works on the queue of a home.
2. What was signed before goes first, with the same bytes: it may be in the log already.
3. Then the book is asked where it stands, and up to 100 are signed one upon the other.
4. They are sent, and what is answered is verified, kept, and taken off the queue.
5. A number that another desk took meanwhile is no failure. What is refused is not in
   the log, since the same bytes have the same answer for ever; and it cannot come into
   it later, since its number is used. So it is signed anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Final, TypeAlias

from onward._channel import is_passing
from onward._errors import error_of_item
from onward._intake_values import Registered
from onward._queue import Queue, Waiting
from onward._session import Session
from onward.core.errors import MalformedError, OnwardError, Reason
from onward.v1 import intake_pb2, log_pb2, statement_pb2
from onward.v1.intake_pb2_grpc import IntakeServiceStub

PATIENCE: Final = 5.0
"""Seconds within which an exchange that can be reached answers."""

_MAX_BATCH: Final = 100
_MAX_FAILURES: Final = 16

# With these the statement is to be signed anew.
_OUTDATED: Final = frozenset(
    {
        Reason.ERROR_REASON_INTAKE_NUMBER_UNEXPECTED,
        Reason.ERROR_REASON_PREVIOUS_MISMATCH,
        Reason.ERROR_REASON_KEY_NOT_VALID,
    }
)
# What the hotline says of the tip; refused for that, it can never be registered.
_OF_THE_TIP: Final = "intake."


Ends: TypeAlias = Mapping[str, Registered | OnwardError]
"""What came of intakes, by their marks."""


@dataclass(slots=True)
class Registrar:
    """Registers what waits in a queue. Made for one run.

    Attributes:
        session: signs and asks.
        queue: what waits.
        first_number: of the first intake, if the hotline has none yet.
        ends: what came of each so far.
    """

    session: Session
    queue: Queue
    first_number: int = 1
    ends: dict[str, Registered | OnwardError] = field(default_factory=dict)
    _signed_now: set[str] = field(default_factory=set)
    _outdated: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Registers everything that waits.

        Raises:
            UnavailableError: the exchange cannot be reached, or not any more.
            OnwardError: this member may not register; everything else still waits.
        """
        failures = 0
        async with self.queue.held():
            while waiting := await asyncio.to_thread(self.queue.waiting):
                if not self.ends and not failures:
                    await self._reach()
                batch = self._signed(waiting) or await self._sign(waiting[:_MAX_BATCH])
                ended, error = await self._send(batch)
                self.ends |= ended
                failures = 0 if ended else failures + 1
                if error and failures == _MAX_FAILURES:
                    raise error
                if failures:
                    await self._refresh(error)
                    await asyncio.sleep(self.session.caller.pause(failures - 1))

    @property
    def _stub(self) -> IntakeServiceStub:
        return IntakeServiceStub(self.session.channel)

    async def _reach(self) -> None:
        """Finds out quickly whether the exchange can be reached."""
        caller = self.session.caller
        quick = replace(caller, deadline=min(PATIENCE, caller.deadline))
        await quick.call(self._stub.GetBook, intake_pb2.GetBookRequest())

    async def _refresh(self, error: OnwardError | None) -> None:
        """Asks for our keys if another process of this home has replaced them."""
        if error and error.reason == Reason.ERROR_REASON_KEY_NOT_VALID:
            await self.session.directory.member(self.session.member, fresh=True)

    def _signed(self, waiting: Sequence[Waiting]) -> Sequence[Waiting]:
        """Returns those that go first since they are signed already."""
        ready = takewhile(
            lambda item: item.statement and item.statement not in self._outdated,
            waiting[:_MAX_BATCH],
        )
        return list(ready)

    async def _sign(self, batch: Sequence[Waiting]) -> Sequence[Waiting]:
        """Signs intakes one upon the other, from where the book stands."""
        codes = {item.body.jurisdiction.code for item in batch}
        books = {code: await self._book(code) for code in sorted(codes)}
        counts = {
            code: book.last_number_in_jurisdiction for code, book in books.items()
        }
        last = next(iter(books.values()))
        number = last.last_number or self.first_number - 1
        previous = last.last_digest
        signed = []
        for item in batch:
            number += 1
            counts[item.body.jurisdiction.code] += 1
            body = statement_pb2.Intake()
            body.CopyFrom(item.body)
            body.number = number
            body.number_in_jurisdiction = counts[item.body.jurisdiction.code]
            draft = statement_pb2.Statement(
                id=self.session.new_id(), previous=previous, intake=body
            )
            statement = await self.session.sign(draft)
            previous = statement.digest
            self._signed_now.add(statement.jws)
            signed += [await asyncio.to_thread(self.queue.sign, item, statement.jws)]
        return signed

    async def _book(self, jurisdiction: str) -> intake_pb2.GetBookResponse:
        request = intake_pb2.GetBookRequest(jurisdiction=jurisdiction)
        return await self.session.call(self._stub.GetBook, request)

    async def _send(self, batch: Sequence[Waiting]) -> tuple[Ends, OnwardError | None]:
        """Sends signed intakes; returns those that ended, and what stopped the rest."""
        items = [
            intake_pb2.RegisterIntakeRequest(intake=item.statement) for item in batch
        ]
        response = await self.session.call(
            self._stub.RegisterIntakes,
            intake_pb2.RegisterIntakesRequest(requests=items),
        )
        if len(response.results) != len(batch):
            raise MalformedError("the exchange did not answer each item of the batch")
        ends: dict[str, Registered | OnwardError] = {}
        for place, (item, result) in enumerate(
            zip(batch, response.results, strict=True)
        ):
            if result.WhichOneof("result") == "response":
                ends[item.mark] = await self._end(item, result.response.intake)
                continue
            error = error_of_item(result.error)
            # Those behind it were signed upon it, so they cannot be in the log either.
            self._outdated |= {other.statement for other in batch[place:]}
            return await self._refused(item, error, ends), error
        return ends, None

    async def _refused(self, item: Waiting, error: OnwardError, ends: Ends) -> Ends:
        """Judges a refusal: it passes, the intake is hopeless, or none can go on."""
        if is_passing(error):
            raise error
        old = item.statement not in self._signed_now
        if error.reason in _OUTDATED or old:
            return ends
        if not error.field.startswith(_OF_THE_TIP):
            raise error
        await asyncio.to_thread(self.queue.refuse, item)
        return {**ends, item.mark: error}

    async def _end(self, item: Waiting, logged: log_pb2.LoggedStatement) -> Registered:
        """Verifies what was registered, and keeps it."""
        registered = Registered(await self.session.verify_own(logged, item.statement))
        await asyncio.to_thread(
            self.queue.end, item, registered.number, registered.intake.to_proto()
        )
        return registered
