"""What others take to keep a message, beside what the exchange takes for a referral.

Each gets the same bytes from as many callers, and answers when it has them. None of
them verifies, signs or proves anything, so the ratio is what all of that costs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

from bench.brokers import open_jetstream, open_rabbitmq
from bench.figures import Figure
from bench.load import Run
from bench.postgres import Postgres, find_program, open_postgres
from bench.proof import UnrealError
from bench.referrals import Prepared
from bench.rounds import MANY_CALLERS, Plan, run_rounds
from bench.spent import CommandFailedError
from bench.stage import Stage

_TABLE: Final = "CREATE TABLE referrals (id bigserial PRIMARY KEY, content text)"
_INSERT: Final = "INSERT INTO referrals (content) VALUES ('{}');\n"
_RATE: Final = "tps = "


class Keeper(Protocol):
    """Something that keeps messages."""

    @property
    def note(self) -> str:
        """What a reader must know of its answers."""

    async def send(self, payloads: Sequence[bytes], callers: int) -> Run[Any]:
        """Lets callers send messages, each again when it has its answer."""

    async def kept(self) -> int:
        """Returns how many messages it holds."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer, if it is installed.

    Attributes:
        name: what of it is measured.
        package: of Debian, which has it.
        installed: where it is, or None.
        opened: runs it, in a folder.
    """

    name: str
    package: str
    installed: Callable[[], str | None]
    opened: Callable[[Path], AbstractAsyncContextManager[Keeper]]


async def measure_peers(stage: Stage, plan: Plan) -> list[Figure]:
    """Publishing by many callers, beside each peer in turns."""
    return [await _beside(peer, stage, plan) for peer in _PEERS]


async def _beside(peer: Peer, stage: Stage, plan: Plan) -> Figure:
    """Publishes, and has a peer keep the same bytes.

    Raises:
        UnrealError: the peer does not hold all of them.
    """
    name = f"publish, {MANY_CALLERS} callers, beside {peer.name}"
    if peer.installed() is None:
        return Figure.missing(name, f"not installed: apt-get install {peer.package}")
    with TemporaryDirectory(prefix="bench-peer-") as folder:
        async with peer.opened(Path(folder)) as keeper:
            pairs = await run_rounds(
                plan.rounds,
                partial(stage.prepare, plan.many, stage.exchange.archive),
                partial(stage.publish, callers=MANY_CALLERS),
                partial(_send, keeper),
            )
            sent, kept = plan.many * (plan.rounds + 1), await keeper.kept()
            if kept < sent:
                message = f"{peer.name} holds {kept} messages of {sent}"
                raise UnrealError(message)
    rates = [(plan.many / run.seconds, plan.many / base.seconds) for run, base in pairs]
    return replace(Figure.compare(name, "1/s", rates), note=keeper.note)


async def _send(keeper: Keeper, prepared: Sequence[Prepared]) -> Run[Any]:
    """Sends what the exchange would have got."""
    payloads = [item.request.SerializeToString() for item in prepared]
    return await keeper.send(payloads, MANY_CALLERS)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of PostgreSQL; ``pgbench`` inserts one row in each transaction."""

    postgres: Postgres
    script: Path
    note: str = ""

    async def send(self, payloads: Sequence[bytes], callers: int) -> Run[Any]:
        """Inserts as many rows as there are messages, all as long as the first."""
        noise = os.urandom(len(payloads[0]) // 2).hex()
        self.script.write_text(_INSERT.format(noise))
        host, _, port = self.postgres.address.rpartition(":")
        process = await asyncio.create_subprocess_exec(
            *(find_program("pgbench") or "pgbench", "--no-vacuum"),
            *("-h", host, "-p", port, "-U", self.postgres.user, "postgres"),
            *("-f", str(self.script), "-c", str(callers)),
            *("-t", str(-(-len(payloads) // callers))),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complaints = await process.communicate()
        if process.returncode:
            raise CommandFailedError(complaints.decode())
        rate = float(said.decode().rpartition(_RATE)[2].split()[0])
        return Run(seconds=len(payloads) / rate)

    async def kept(self) -> int:
        """Returns how many rows it holds."""
        return int(self.postgres.ask("postgres", "SELECT count(*) FROM referrals"))


@asynccontextmanager
async def _open_table(folder: Path) -> AsyncGenerator[Table, None]:
    """Runs PostgreSQL while the block runs, with an empty table."""
    with open_postgres() as postgres:
        postgres.ask("postgres", _TABLE)
        yield Table(postgres, folder / "insert.sql")


_PEERS: Final = (
    Peer(
        "NATS JetStream (file)",
        "nats-server",
        partial(shutil.which, "nats-server"),
        open_jetstream,
    ),
    Peer(
        "RabbitMQ (quorum queue)",
        "rabbitmq-server",
        partial(shutil.which, "rabbitmq-server"),
        open_rabbitmq,
    ),
    Peer(
        "pgbench (one row)",
        "postgresql",
        partial(find_program, "pgbench"),
        _open_table,
    ),
)
