"""Work that nobody waits for: done again and again while the exchange runs.

A task that fails is reported and tried again at its next turn; nothing that happens in
one can end the exchange or another task. Whether all of them are well is part of the
readiness: a task that failed several times in a row is not.

Where several replicas run, some work is for one of them only: at each turn it is asked
which one. When that one is gone, the next turn of another one does it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from onward_server import telemetry as names
from onward_server.telemetry import Telemetry

MAX_FAILURES = 3
"""In a row; from then on a task is not well."""

_ASK = 1.0
"""Seconds after which a replica without a lead asks again, at least."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do again and again.

    Attributes:
        name: for logs and metrics.
        seconds: from one turn's end to the next one's beginning; the first is at once.
        work: one turn.
        lead: what a replica must have the lead in to do it; empty where each does it.
    """

    name: str
    seconds: float
    work: Callable[[], Awaitable[object]]
    lead: str = ""


async def _always(_lead: str) -> bool:
    """The answer where there is one process only."""
    return True


class Chores:
    """Does chores, each in a task of its own.

    Args:
        telemetry: where failures are counted.
        leads: says whether this replica has a lead.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        leads: Callable[[str], Awaitable[bool]] = _always,
    ) -> None:
        self._telemetry = telemetry
        self._leads = leads
        self._failures: Counter[str] = Counter()

    @property
    def ailing(self) -> list[str]:
        """Names of the chores that failed several times in a row."""
        return [name for name, count in self._failures.items() if count >= MAX_FAILURES]

    @asynccontextmanager
    async def running(self, chores: Iterable[Chore]) -> AsyncIterator[None]:
        """Does chores while the block runs."""
        tasks = [
            asyncio.create_task(self._repeat(chore), name=chore.name)
            for chore in chores
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, chore: Chore) -> None:
        """Does one chore for ever."""
        while True:
            done = await self._turn(chore)
            await asyncio.sleep(chore.seconds if done else max(chore.seconds, _ASK))

    async def _turn(self, chore: Chore) -> bool:
        """Does one chore once; a failure is counted and reported.

        Returns whether it was for this replica to do.
        """
        try:
            if chore.lead and not await self._leads(chore.lead):
                return False
            await chore.work()
        except Exception:  # noqa: BLE001 - no turn may end the chore
            self._failures[chore.name] += 1
            self._telemetry.tell(names.TASK_FAILURES, 1, {names.TASK: chore.name})
            _log.exception(
                "background.failed",
                task=chore.name,
                in_a_row=self._failures[chore.name],
            )
        else:
            self._failures[chore.name] = 0
        return True
