"""Several processes of one exchange on PostgreSQL, and the death of one of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import grpc

from bench.exchange import serving_replica
from bench.figures import MILLISECONDS, Aim, Figure
from bench.load import closed
from bench.postgres import MISSING, find_program, open_postgres
from bench.processes import Server
from bench.proof import UnrealError
from bench.referrals import Prepared
from bench.rounds import MANY_CALLERS, Pair, Plan, rate_figure, run_rounds
from bench.stage import PublishRun, Stage, open_stage
from onward.v1 import referral_pb2
from onward.v1.referral_pb2_grpc import ReferralServiceStub

_NUMBERS: Final = (1, 2, 4)
_DATABASE: Final = "replicas"

_UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE
_MOST_REPEATS: Final = 20

_MORE_AIM: Final = Aim(least=1.0)
_DEATH_AIM: Final = Aim(most=1, of="value")


async def measure_replicas(_: Stage, plan: Plan) -> list[Figure]:
    """Publishing to one, two and four replicas, and to two of which one dies."""
    if find_program("initdb") is None:
        return [Figure.missing("publish to replicas on PostgreSQL", MISSING)]
    with open_postgres() as postgres:
        database = postgres.create(_DATABASE)
        async with open_stage(database=database) as stage:
            pairs = {
                number: await _beside_echo(stage, plan, number) for number in _NUMBERS
            }
            turns = await _two_beside_one(stage, plan)
            dying = await _kill_one(stage, plan)
            await stage.check_log()
    return [
        *(
            rate_figure(_name(number), rounds, plan.many)
            for number, rounds in pairs.items()
        ),
        Figure.compare(
            f"{_name(2)}, beside 1",
            "referrals/s",
            [(plan.many / two.seconds, plan.many / one.seconds) for two, one in turns],
            aim=_MORE_AIM,
        ),
        *dying,
    ]


@dataclass(frozen=True, slots=True)
class _Replica:
    """A process of the exchange, and the publisher's channel to it."""

    server: Server
    channel: grpc.aio.Channel

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.server.process.poll() is None


class _Replicas:
    """Replicas that take turns; made by :func:`_running`.

    Attributes:
        all: of them, the first one is always there.
        repeats: how often a call was made again, at most.
    """

    def __init__(self, replicas: Sequence[_Replica]) -> None:
        self.all = replicas
        self.repeats = 0
        self._turns = cycle(replicas)

    @property
    def cpu_seconds(self) -> float:
        """Seconds of all of them on a CPU until now, without the database's."""
        return sum(replica.server.cpu_seconds for replica in self.all if replica.runs)

    async def publish(
        self, request: referral_pb2.PublishRequest
    ) -> referral_pb2.PublishResponse:
        """Publishes at the next one, and at another one where it cannot.

        Raises:
            AioRpcError: it was refused, or nobody can.
        """
        repeats = 0
        while True:
            replica = next(self._turns)
            try:
                reply = await ReferralServiceStub(replica.channel).Publish(request)
            except grpc.aio.AioRpcError as error:
                repeats += 1
                if error.code() != _UNAVAILABLE or repeats > _MOST_REPEATS:
                    raise
                # No more than a caller knows: this one did not answer.
                others = [other for other in self.all if other is not replica]
                self._turns = cycle(others or self.all)
            else:
                self.repeats = max(self.repeats, repeats)
                return reply

    def kill_last(self) -> None:
        """Kills the last of them; it is gone when this returns."""
        process = self.all[-1].server.process
        process.kill()
        process.wait()


@asynccontextmanager
async def _running(stage: Stage, number: int) -> AsyncGenerator[_Replicas, None]:
    """Runs so many replicas while the block runs; the first one is always there."""
    async with AsyncExitStack() as resources:
        replicas = [_Replica(stage.exchange.server, stage.publishing)]
        for _ in range(number - 1):
            temporary = TemporaryDirectory(prefix="bench-replica-")
            folder = Path(resources.enter_context(temporary))
            serving = serving_replica(stage.exchange, folder)
            server = resources.enter_context(serving)
            channel = stage.channel(stage.exchange.hotline, server.address)
            await resources.enter_async_context(channel)
            replicas.append(_Replica(server, channel))
        yield _Replicas(replicas)


async def _beside_echo(stage: Stage, plan: Plan, number: int) -> list[Pair]:
    """Publishes to so many replicas, and to the echo."""
    async with _running(stage, number) as replicas:
        return await run_rounds(
            plan.rounds,
            partial(stage.prepare, plan.many, stage.exchange.archive),
            partial(_publish, stage, replicas),
            partial(stage.echo_back, callers=MANY_CALLERS),
        )


async def _two_beside_one(stage: Stage, plan: Plan) -> list[Pair]:
    """Publishes to two replicas, and to the first of them alone, in turns."""

    async def publish(replicas: _Replicas) -> PublishRun:
        prepared = await stage.prepare(plan.many, stage.exchange.archive)
        return await _publish(stage, replicas, prepared)

    async def nothing() -> list[Prepared]:
        return []  # each has its own: the same ones would not be published again

    async with _running(stage, 2) as both:
        first = _Replicas(both.all[:1])
        return await run_rounds(
            plan.rounds, nothing, lambda _: publish(both), lambda _: publish(first)
        )


async def _kill_one(stage: Stage, plan: Plan) -> list[Figure]:
    """Publishes to two replicas, one of which is killed when half is done.

    Raises:
        UnrealError: no call noticed it.
    """
    async with _running(stage, 2) as replicas:
        prepared = await stage.prepare(plan.many, stage.exchange.archive)
        run = await _publish(stage, replicas, prepared, kills=True)
    if not replicas.repeats:
        raise UnrealError("no call noticed that a replica was killed")
    longest = max(run.latencies) * MILLISECONDS
    name = "1 of 2 replicas is killed"
    return [
        Figure.alone(f"{name}: repeats of a call", "", [replicas.repeats], _DEATH_AIM),
        Figure.alone(f"{name}: longest call", "ms", [longest]),
    ]


async def _publish(
    stage: Stage,
    replicas: _Replicas,
    prepared: Sequence[Prepared],
    *,
    kills: bool = False,
) -> PublishRun:
    """Publishes by many callers, and checks what came of it.

    Args:
        stage: where.
        replicas: to whom.
        prepared: what.
        kills: whether the last of them dies in the middle.
    """
    requests = [item.request for item in prepared]
    middle = requests[len(requests) // 2]

    async def publish(
        request: referral_pb2.PublishRequest,
    ) -> referral_pb2.PublishResponse:
        if kills and request is middle:
            replicas.kill_last()
        return await replicas.publish(request)

    run = await closed(publish, requests, MANY_CALLERS, replicas)
    stage.note_published(requests, run.replies)
    return run


def _name(number: int) -> str:
    many = "replica" if number == 1 else "replicas"
    return f"publish, {MANY_CALLERS} callers, {number} {many} on PostgreSQL"
