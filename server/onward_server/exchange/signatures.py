"""Checking signatures: a few at once, many in another thread.

A check is the dearest part of verifying a statement, and Python gives up its lock while
it runs. So the signatures of a batch are checked in another thread while the event loop
does what else there is to do. For a few, the change of thread would cost more than it
gives.

Whoever asks first gets the answer at once. When many ask before the event loop goes on,
as the items of a batch do, the others are put in a queue for the other thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from onward.core.keys import StatementPublicKey
from onward.core.statements import SignedStatement, UnverifiedStatement

_AT_ONCE = 8
"""So many signatures are checked before any is left to the other thread."""


@dataclass(frozen=True, slots=True)
class _Check:
    """A signature to check, and who waits for it."""

    statement: UnverifiedStatement
    key: StatementPublicKey
    result: asyncio.Future[SignedStatement]

    def verdict(self) -> SignedStatement | Exception:
        """Returns the signed statement, or why it is none."""
        try:
            return self.statement.verify(self.key)
        except Exception as error:  # noqa: BLE001 - everybody must get an answer
            return error


class Signatures:
    """Checks signatures for one event loop."""

    def __init__(self) -> None:
        self._asked = 0
        self._waiting: list[_Check] = []
        self._working: asyncio.Task[None] | None = None

    async def check(
        self, statement: UnverifiedStatement, key: StatementPublicKey
    ) -> SignedStatement:
        """Returns the statement once its signature verified.

        Raises:
            VerificationError: ``SIGNATURE_INVALID``.
        """
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._go_on)
        self._asked += 1
        if self._asked <= _AT_ONCE:
            return statement.verify(key)
        check = _Check(statement, key, loop.create_future())
        self._waiting.append(check)
        return await check.result

    def _go_on(self) -> None:
        """Everybody who could has asked; has checked what waits."""
        self._asked = 0
        if self._waiting and self._working is None:
            self._working = asyncio.create_task(self._work(), name="signatures")

    async def _work(self) -> None:
        """Has everything checked in another thread, until nothing waits."""
        while checks := self._take():
            try:
                verdicts = await asyncio.to_thread(_verdicts, checks)
            except RuntimeError:  # no thread to be had: it goes on, only slower
                verdicts = _verdicts(checks)
            _answer(checks, verdicts)
        self._working = None

    def _take(self) -> list[_Check]:
        """Empties the queue."""
        checks, self._waiting = self._waiting, []
        return checks


def _verdicts(checks: Sequence[_Check]) -> list[SignedStatement | Exception]:
    return [check.verdict() for check in checks]


def _answer(
    checks: Sequence[_Check], verdicts: Sequence[SignedStatement | Exception]
) -> None:
    """Tells everybody who still waits."""
    for check, verdict in zip(checks, verdicts, strict=True):
        if check.result.done():  # whoever asked went away
            continue
        if isinstance(verdict, Exception):
            check.result.set_exception(verdict)
        else:
            check.result.set_result(verdict)
