"""One exchange with witnesses, in many lives: each ends by SIGKILL, the next goes on.

Each life is a process on the same files. It is forked from one that has imported
everything, and has no thread, no event loop and no open database: so a life costs no
start of Python, and inherits nothing that a real process would not have. What it hands
out is in a pipe before anything else happens, and so outlives it::

    python -m tests.support.lives FOLDER PIPE

A line ``POINT AFTER`` on the standard input is a life, and says where it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from onward.v1 import statement_pb2
from onward_server.exchange.asking import Standing
from onward_server.exchange.auditing import AuditAccessChange
from onward_server.exchange.witness_check import check_witnesses
from tests.support.faulty_server import Faults, endanger
from tests.support.witnesses import WitnessedWorld, open_witnessed
from tests.support.world import AUDITOR

CALLERS = 3
UNHURT = {Standing.NEW, Standing.COSIGNS}

_LONGEST = 30
"""Seconds after which a life that does not reach its place ends by SIGALRM."""

Tell = Callable[..., None]
"""Hands something out: what it is, and the facts."""


class Lives:
    """Has an exchange live; make it with :func:`open_lives`."""

    def __init__(self, orders: IO[str], reports: IO[str]) -> None:
        self._orders = orders
        self._reports = reports

    def live(self, point: str, after: int) -> tuple[int, list[list[Any]]]:
        """Has one life lived; returns its exit code, and what it handed out."""
        self._orders.write(f"{point} {after}\n")
        self._orders.flush()
        told: list[list[Any]] = []
        for line in self._reports:
            what, *facts = json.loads(line)
            if what == "ended":
                return facts[0], told
            told.append([what, *facts])
        message = "the process that lives are forked from is gone"
        raise AssertionError(message)


@contextmanager
def open_lives(folder: Path) -> Iterator[Lives]:
    """Starts the process that the lives in a folder are forked from."""
    reading, writing = os.pipe()
    program = [sys.executable, "-m", __name__, str(folder), str(writing)]
    with os.fdopen(reading) as reports:
        with os.fdopen(writing, "wb"):
            process = subprocess.Popen(
                program, stdin=subprocess.PIPE, pass_fds=[writing], text=True
            )
        with process:  # the end of its orders is its end, which is waited for
            assert process.stdin is not None
            yield Lives(process.stdin, reports)


def _fork_lives(folder: Path, pipe: int) -> None:
    """Forks one life after the other."""

    def tell(*facts: object) -> None:
        os.write(pipe, json.dumps(facts).encode() + b"\n")

    for order in sys.stdin:
        point, after = order.split()
        assert threading.active_count() == 1
        life = os.fork()
        if life == 0:
            _be_born(folder, point, int(after), tell)
        _, status = os.waitpid(life, 0)
        tell("ended", os.waitstatus_to_exitcode(status))


def _be_born(folder: Path, point: str, after: int, tell: Tell) -> None:
    """Lives in a process of its own, and does not return."""
    signal.alarm(_LONGEST)
    try:
        asyncio.run(_live(folder, point, after, tell))
    except BaseException:  # noqa: BLE001 - it must not go on as its parent
        traceback.print_exc()
    finally:
        os._exit(1)


async def _live(folder: Path, point: str, after: int, tell: Tell) -> None:
    """Starts an exchange as the program does, and works until death."""
    async with open_witnessed(folder) as witnessed:
        ledger, head = witnessed.world.ledger, witnessed.world.ledger.head()
        askings = witnessed.witnesses.askings.values()
        await check_witnesses(askings, head, witnessed.log.note(head))
        life = _Life(witnessed, tell)
        faults = Faults(point, after, life.meanwhile)
        endanger(ledger, faults)
        _endanger_witnessing(witnessed, faults)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(life.call())
            for name in witnessed.town.names:
                life.turns[name] = tasks.create_task(life.be_witnessed(name))


class _Life:
    """What goes on until death.

    Attributes:
        turns: by witness, the task that asks it.
    """

    def __init__(self, witnessed: WitnessedWorld, tell: Tell) -> None:
        self.turns: dict[str, asyncio.Task[None]] = {}
        self._witnessed = witnessed
        self._tell = tell

    async def call(self) -> None:
        """Has things logged, and tells each answer."""
        access = statement_pb2.AuditAccess(auditor=AUDITOR, method="Test")
        while True:
            change = AuditAccessChange(access, ())
            (logged,) = await self._witnessed.world.ledger.apply(change)
            self._tell("logged", logged.log_index, logged.jws, logged.receipt)

    async def be_witnessed(self, name: str) -> None:
        """Asks a witness again and again, and tells what strangers are shown."""
        log, witnesses = self._witnessed.log, self._witnessed.witnesses
        while True:
            self._tell("published", log.published())
            await witnesses.propose()
            await witnesses.follow(name)
            if note := log.witnessed():
                self._tell("witnessed", note)
            standing = self._witnessed.standing(name)
            assert standing in UNHURT, (name, standing)

    async def meanwhile(self) -> None:
        """Has the first witness asked for the head of this very moment.

        What a ledger shows before it is durable is cosigned so, and outlives it.
        """
        name, *_ = self._witnessed.town.names
        self.turns[name].cancel()
        head = self._witnessed.world.ledger.head()
        asking = self._witnessed.witnesses.askings[name]
        await asking.ask(head, self._witnessed.log.note(head))


def _endanger_witnessing(witnessed: WitnessedWorld, faults: Faults) -> None:
    """Puts a place of faults between the witnesses and the exchange."""
    town: Any = witnessed.town
    ask = town.post

    async def post(url: str, body: bytes) -> Any:
        reply = await ask(url, body)
        faults.at("answered")
        return reply

    town.post = post


if __name__ == "__main__":
    _fork_lives(Path(sys.argv[1]), int(sys.argv[2]))
