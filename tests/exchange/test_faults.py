"""Death between staging and publishing, at every place and again and again.

Never two checkpoints that contradict each other, never a receipt that does not hold,
and no witness that refuses.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from onward.core.merkle import verify_consistency
from onward.core.statements import statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.v1 import statement_pb2
from onward_server.exchange.asking import Standing
from onward_server.exchange.auditing import AuditAccessChange
from onward_server.exchange.receipts import Logged
from onward_server.exchange.witness_check import check_witnesses
from tests.support.faulty_server import (
    LEDGER_POINTS,
    WITNESS_POINTS,
    Faults,
    Killed,
    endanger,
    raise_killed,
)
from tests.support.witnesses import WitnessedWorld, open_witnessed
from tests.support.world import AUDITOR

LIVES = 220
CALLERS = 3
POINTS = [*LEDGER_POINTS, *WITNESS_POINTS]
UNHURT = {Standing.NEW, Standing.COSIGNS, Standing.SILENT}


class Stranger:
    """Keeps all that was ever told, and believes nothing."""

    def __init__(self) -> None:
        self.told: dict[int, Logged] = {}
        self.roots: dict[int, bytes] = {}

    def take(self, logged: Logged, policy: Policy) -> None:
        """Verifies an answer; one index is told for one statement only."""
        before = self.told.setdefault(logged.log_index, logged)
        assert before.jws == logged.jws, "two statements at one place of the log"
        proof = TlogProof.parse(logged.receipt)
        entry = statement_digest(logged.jws)
        self.see(proof.verify(entry, policy).checkpoint)

    def see(self, checkpoint: Any) -> None:
        """Notes a checkpoint; two roots of one size are a fork."""
        root = self.roots.setdefault(checkpoint.size, checkpoint.root)
        assert root == checkpoint.root, "two roots for one size"

    async def check(self, witnessed: WitnessedWorld, newest: int | None = None) -> None:
        """Checks that the present log continues all, or the newest, that was told."""
        ledger = witnessed.world.ledger
        head = ledger.head()
        self.see(head)
        for size in sorted(self.roots)[-newest if newest else 0 :]:
            assert size <= head.size, "the log has shrunk"
            path = await ledger.receipts.consistency(size, head.size)
            verify_consistency(size, head.size, self.roots[size], head.root, path)
        for index in sorted(self.told)[-newest if newest else 0 :]:
            (logged,) = await ledger.logged([index])
            assert logged.jws == self.told[index].jws, "what was told is lost"


@asynccontextmanager
async def life(folder: Path) -> AsyncIterator[WitnessedWorld]:
    """Starts an exchange as the program does; it may be dead at the end."""
    async with open_witnessed(folder) as witnessed:
        ledger: Any = witnessed.world.ledger
        askings, head = witnessed.witnesses.askings, ledger.head()
        await check_witnesses(askings.values(), head, witnessed.log.note(head))
        try:
            yield witnessed
        finally:
            # The dead finish nothing: what waits in the queue is gone.
            ledger._writer_task.cancel()
            await asyncio.gather(ledger._writer_task, return_exceptions=True)
            ledger._writer_task = None


async def live(witnessed: WitnessedWorld, faults: Faults, stranger: Stranger) -> None:
    """Works until death: callers, and the witnesses."""
    policy = Policy(witnessed.policy.logs[:1])

    async def call() -> None:
        access = statement_pb2.AuditAccess(auditor=AUDITOR, method="Test")
        (logged,) = await witnessed.world.ledger.apply(AuditAccessChange(access, ()))
        stranger.take(logged, policy)

    async def again(work: Callable[[], Awaitable[None]]) -> None:
        with suppress(Killed):
            while not faults.dead.is_set():
                await work()

    tasks = [asyncio.create_task(again(call)) for _ in range(CALLERS)]
    tasks.append(asyncio.create_task(again(witnessed.ask)))
    await asyncio.wait_for(faults.dead.wait(), 30)
    for task in tasks:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [one for one in done if isinstance(one, Exception)]
    assert not failed, failed


def endanger_witnessing(witnessed: WitnessedWorld, faults: Faults) -> None:
    """Puts a place of faults between the witnesses and the exchange."""
    town: Any = witnessed.town
    ask = town.post

    async def post(url: str, body: bytes) -> Any:
        reply = await ask(url, body)
        faults.at("answered")
        return reply

    town.post = post


@pytest.mark.timeout(280)
async def test_220_deaths_between_staging_and_publishing_fork_nothing(
    tmp_path: Path,
) -> None:
    chance = random.Random(4)
    stranger = Stranger()
    for number in range(LIVES):
        point = POINTS[number % len(POINTS)]
        faults = Faults(point, chance.randint(1, 4), raise_killed)
        async with life(tmp_path) as witnessed:
            await stranger.check(witnessed, newest=3)
            endanger(witnessed.world.ledger, faults)
            endanger_witnessing(witnessed, faults)
            await live(witnessed, faults, stranger)
            standings = {
                name: witnessed.standing(name) for name in witnessed.town.names
            }
            assert set(standings.values()) <= UNHURT, (point, standings)
            assert await witnessed.accusations.count() == 0
    async with life(tmp_path) as witnessed:
        await stranger.check(witnessed)
        await witnessed.ask()
        for name in witnessed.town.names:
            assert witnessed.standing(name) is Standing.COSIGNS
    assert len(stranger.told) > LIVES  # there was something to lose
