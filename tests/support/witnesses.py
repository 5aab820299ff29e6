"""The witnesses of a log: real ones, each in a mood that a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from onward.core.notes import Cosigner, MlDsaCosigner, Vkey
from onward.core.tlog_policy import Log, Policy
from onward.v1 import statement_pb2
from onward_server.background import Chore, Chores
from onward_server.exchange.accusations import Accusations
from onward_server.exchange.asking import Reply, Standing
from onward_server.exchange.auditing import AuditAccessChange
from onward_server.exchange.clock import Clock
from onward_server.exchange.cosigning import LogCosigner
from onward_server.exchange.witnessed_log import WitnessedLog
from onward_server.exchange.witnesses import Means, Rhythm, Witnesses
from onward_server.telemetry import Telemetry
from onward_server.web.server import web_app
from onward_server.web.witness import witness_routes
from onward_server.witnessing.logs import KnownLogs
from onward_server.witnessing.store import WitnessStore
from onward_server.witnessing.witness import Witness
from tests.support.witnessing import key
from tests.support.world import AUDITOR, ORIGIN, SettableClock, World, open_world

ML_DSA = MlDsaCosigner(ORIGIN, MLDSA44PrivateKey.from_seed_bytes(bytes([9]) * 32))

Mood = Callable[[bytes], Reply | None]
"""What a witness answers instead of the truth."""


@dataclass
class Town:
    """Witnesses, and how they are reached.

    Attributes:
        folder: where each keeps what it has cosigned.
        clock: tells them the time.
        moods: by name, what answers instead of the witness.
        hung: names of those that take a request and never answer.
        asked: by name, how often each was reached.
    """

    folder: Path
    clock: Clock
    names: Sequence[str] = ("a", "b", "c")
    moods: dict[str, Mood] = field(default_factory=dict)
    hung: set[str] = field(default_factory=set)
    asked: dict[str, int] = field(default_factory=dict)
    witnesses: dict[str, Witness] = field(default_factory=dict)

    def open(self, *logs: Vkey) -> None:
        """Opens the witnesses for the logs with these keys."""
        for name in self.names:
            home = self.folder / name
            if not home.exists():
                home.mkdir(parents=True)
                WitnessStore.create(home / "witness.sqlite").close()
            lines = [f"log {vkey.format()}\n" for vkey in logs]
            (home / "logs").write_text("".join(lines))
            self.witnesses[name] = Witness(
                self.cosigner(name),
                KnownLogs(home / "logs"),
                WitnessStore.open(home / "witness.sqlite"),
                self.clock,
                Telemetry(),
            )

    def close(self) -> None:
        """Closes them."""
        for witness in self.witnesses.values():
            witness.close()

    def cosigner(self, name: str) -> Cosigner:
        """Returns the key of a witness."""
        return Cosigner(f"{name}.example", key(name))

    def policy(self, quorum: str) -> Policy:
        """Returns the policy of the log; ``quorum`` is ``all``, ``2`` or such."""
        lines = [
            f"witness {name} {self.cosigner(name).vkey.format()} http://{name}.example/w"
            for name in self.names
        ]
        group = f"group g {quorum} {' '.join(self.names)}\nquorum g"
        end = "quorum none" if quorum == "none" else group
        return Policy.parse("\n".join([*lines, end]))

    async def post(self, url: str, body: bytes) -> Reply | None:
        """Asks a witness, as the transport of an exchange does."""
        parts = urlsplit(url)
        name = str(parts.hostname).partition(".")[0]
        self.asked[name] = self.asked.get(name, 0) + 1
        assert parts.path == "/w/add-checkpoint"
        if name in self.hung:
            await asyncio.get_running_loop().create_future()
        if name in self.moods:
            return self.moods[name](body)
        app = web_app(witness_routes(self.witnesses[name]), "/w")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            answer = await client.post(url, content=body)
        content_type = answer.headers["content-type"]
        return Reply(answer.status_code, content_type, answer.content)


@dataclass
class WitnessedWorld:
    """An exchange whose log is witnessed.

    Attributes:
        log: knows what is witnessed.
        witnesses: asks for it; not running, so that a test takes each turn.
        policy: what a stranger trusts: the log, its witnesses and their quorum.
    """

    world: World
    town: Town
    log: WitnessedLog
    witnesses: Witnesses
    accusations: Accusations
    policy: Policy

    async def grow(self) -> int:
        """Logs something; returns its index."""
        access = statement_pb2.AuditAccess(auditor=AUDITOR, method="Test")
        await self.world.ledger.apply(AuditAccessChange(access, ()))
        return self.world.ledger.head().size - 1

    async def ask(self, *names: str) -> None:
        """Proposes the newest checkpoint, and takes one turn with each witness."""
        await self.witnesses.propose()
        for name in names or tuple(self.town.names):
            await self.witnesses.follow(name)

    def standing(self, name: str) -> Standing:
        """Returns how a witness stands to the log."""
        return self.witnesses.askings[name].standing

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Has all turns taken while the block runs."""
        turns = {"proposals": self.witnesses.propose} | {
            name: partial(self.witnesses.follow, name) for name in self.town.names
        }
        chores = [Chore(name, 0.005, turn) for name, turn in turns.items()]
        async with Chores(Telemetry()).running(chores):
            yield


AT_ONCE = Rhythm(proposal=0, heartbeat=0, pause=0, longest_pause=0)
"""Every turn asks, and none waits."""


@asynccontextmanager
async def be_witnessed(
    world: World, town: Town, quorum: str = "all", rhythm: Rhythm = AT_ONCE
) -> AsyncIterator[WitnessedWorld]:
    """Opens the witnesses of an exchange, and what asks them."""
    vkey = world.ledger._signer.vkey
    town.open(vkey)
    try:
        policy = town.policy(quorum)
        log = WitnessedLog(
            world.ledger, world.store, policy, LogCosigner(ML_DSA), world.clock
        )
        accusations = Accusations(town.folder / "evidence" / "a.jsonl", world.clock)
        means = Means(town, accusations, world.clock, bytes, rhythm)
        witnesses = Witnesses(world.ledger, log, policy.witnesses, means)
        await log.begin()
        await witnesses.begin()
        trusted = replace(policy, logs=(Log(vkey), Log(ML_DSA.vkey)))
        yield WitnessedWorld(world, town, log, witnesses, accusations, trusted)
    finally:
        town.close()


@asynccontextmanager
async def open_witnessed(
    folder: Path, quorum: str = "all", rhythm: Rhythm = AT_ONCE
) -> AsyncIterator[WitnessedWorld]:
    """Opens an exchange with witnesses in a folder: new, or again what is there."""
    clock = SettableClock()
    home = folder / "exchange"
    home.mkdir(exist_ok=True)
    async with open_world(home, clock) as world:
        town = Town(folder / "town", clock)
        async with be_witnessed(world, town, quorum, rhythm) as witnessed:
            yield witnessed
