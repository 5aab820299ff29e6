"""Intakes outlive an absent exchange, kill -9 and two desks: each is there once."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from onward import _queue
from onward._session import Session
from onward.client import Client, IntakeDraft, Queued, Registered
from onward.core.errors import OnwardError, Reason
from onward.core.intakes import commitment
from onward.core.statements import parse_statement
from onward.home import Home
from onward.v1 import vocabulary_pb2
from tests.support.desk import Desk, lines
from tests.support.process import BIN, HOTLINE, ExchangeProcess

UNHURRIED = {
    f"ONWARD__QUOTAS__{name}": "1000000"
    for name in ("PUBLISH_BURST", "READS_BURST", "STATEMENTS_BURST")
}
OPTIONS = (
    *("--urgency", "ROUTINE", "--jurisdiction", "US-OH", "--subject", "ADULT"),
    *("--channel", "CALL", "--reporter", "FAMILY", "--trafficking", "SEX"),
)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[ExchangeProcess]:
    """A running exchange with a hotline."""
    started = ExchangeProcess.found(tmp_path, UNHURRIED)
    started.start()
    asyncio.run(started.join(HOTLINE, vocabulary_pb2.MEMBER_KIND_HOTLINE))
    yield started
    started.kill()


def draft(minutes: float = 1, place: str = "US-OH") -> IntakeDraft:
    """Returns what is stated of a tip that came in so many minutes ago."""
    return IntakeDraft(
        vocabulary_pb2.URGENCY_ROUTINE,
        vocabulary_pb2.CHANNEL_CALL,
        vocabulary_pb2.REPORTER_TYPE_FAMILY,
        vocabulary_pb2.AGE_GROUP_ADULT,
        vocabulary_pb2.TRAFFICKING_TYPE_SEX,
        place,
        datetime.now(UTC) - timedelta(minutes=minutes),
    )


async def numbers(home: Home) -> list[int]:
    """Returns the numbers of all intakes that the exchange has."""
    async with Client.open(home) as client:
        return [view.number async for view in client.intakes.list()]


def check_kept(home: Home, contents: Sequence[bytes]) -> None:
    """Checks that each content has one intake, whose salt is kept."""
    intakes = []
    for file in (home.path / "intakes").glob("[0-9]*.json"):
        kept = _queue.Kept.read(file)
        message = parse_statement(kept.logged.statement).message
        assert message.intake.number == kept.number
        intakes.append((kept.salt, message.intake.content_commitment))
    for content in contents:
        found = [salt for salt, made in intakes if commitment(salt, content) == made]
        assert len(found) == 1
    assert len(intakes) == len(contents)


# --- the exchange is away -------------------------------------------------------------


def test_what_came_in_meanwhile_is_registered_in_order_with_true_times(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    desk = Desk(exchange, HOTLINE)
    files = [tmp_path / f"call-{number}" for number in range(4)]
    times = [f"2026-11-0{number + 1}T10:00:00Z" for number in range(4)]
    for file in files:
        file.write_text(f"what {file.name} said")

    def hands_in(number: int, *more: str) -> Result:
        words = (*OPTIONS, "--received", times[number], *more, "--json")
        return desk.types("intake", files[number], *words)

    exchange.stop()
    # 1. Each is kept, said to be so, and not lost.
    away = hands_in(0)
    assert away.exit_code == 3
    assert "kept in the queue, and not registered yet" in away.stderr
    assert hands_in(1, "--offline").exit_code == 0
    assert hands_in(2).exit_code == 3
    assert hands_in(2).exit_code == 3
    assert desk.types("intake", "--flush").exit_code == 3
    # 2. The next one takes them along, in their order.
    exchange.start()
    (last,) = lines(hands_in(3).stdout)
    assert last["number"] == 4
    assert [view["received_time"] for view in desk.asks("book")] == times
    check_kept(exchange.home(HOTLINE), [file.read_bytes() for file in files])


def test_what_waits_is_registered_on_demand(exchange: ExchangeProcess) -> None:
    desk = Desk(exchange, HOTLINE)

    async def wait() -> int:
        async with Client.open(exchange.home(HOTLINE)) as client:
            for place in range(250):
                await client.intakes.queue(draft(), b"%d" % place)
            return client.intakes.waiting()

    assert asyncio.run(wait()) == 250
    flushed = desk.asks("intake", "--flush")
    assert [line["number"] for line in flushed] == list(range(1, 251))
    assert desk.asks("intake", "--flush") == []


async def test_an_exchange_that_is_killed_meanwhile_has_each_once(
    exchange: ExchangeProcess,
) -> None:
    home, chance = exchange.home(HOTLINE), random.Random(2026)
    contents = [b"tip %d" % number for number in range(200)]
    drafts = [draft() for _ in contents]
    tips = list(zip(drafts, contents, strict=True))
    for _ in range(3):
        async with Client.open(home, deadline=1) as client:
            work = asyncio.create_task(client.intakes.register_many(tips))
            await asyncio.wait({work}, timeout=chance.uniform(0.2, 1.2))
            exchange.kill()
            with suppress(OnwardError):
                await work
        exchange.start()
    async with Client.open(home) as client:
        results = await client.intakes.register_many(tips)
    assert [item.number for item in results if isinstance(item, Registered)] == list(
        range(1, 201)
    )
    assert await numbers(home) == list(range(1, 201))
    check_kept(home, contents)


# --- the hotline's machine is killed --------------------------------------------------


class Killed(BaseException):
    """The process ends at this place."""


class Life:
    """A life of the process that ends before or after one of its steps."""

    def __init__(self, steps: int, *, before: bool) -> None:
        self.steps = steps
        self.before = before

    def step(self, done: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a step that writes."""

        def step(*args: Any, **kwargs: Any) -> Any:
            self._end(before=True)
            result = done(*args, **kwargs)
            self._end(before=False)
            return result

        return step

    def call(self, done: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        """Wraps a call."""

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._end(before=True)
            result = await done(*args, **kwargs)
            self._end(before=False)
            return result

        return call

    def _end(self, *, before: bool) -> None:
        self.steps -= before
        if self.steps < 0 and before == self.before:
            raise Killed


@pytest.mark.parametrize("before", [True, False])
async def test_the_end_at_any_step_loses_nothing_and_doubles_nothing(
    exchange: ExchangeProcess, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    home, contents = exchange.home(HOTLINE), list[bytes]()
    survived = 0
    for steps in range(100):
        tips = [(draft(), b"%d of life %d" % (number, steps)) for number in (1, 2)]
        contents += [content for _, content in tips]
        life = Life(steps, before=before)
        with monkeypatch.context() as patch:
            for name in ("write_atomically", "point_durably", "remove_durably"):
                patch.setattr(_queue, name, life.step(getattr(_queue, name)))
            patch.setattr(Session, "call", life.call(Session.call))
            async with Client.open(home) as client:
                try:
                    await client.intakes.register_many(tips)
                    survived += 1
                except Killed:
                    pass
        # Handed in again by whoever does not know whether it was done.
        async with Client.open(home) as client:
            results = await client.intakes.register_many(tips)
        assert all(isinstance(item, Registered) for item in results)
        if survived == 2:
            break
    else:
        pytest.fail("no life was long enough")
    assert await numbers(home) == list(range(1, len(contents) + 1))
    check_kept(home, contents)


@pytest.mark.timeout(120)
async def test_kill_9_of_a_batch_again_and_again(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    home, chance = exchange.home(HOTLINE), random.Random(2026)
    rows = []
    for number in range(120):
        (tmp_path / f"{number}.txt").write_text(f"tip {number}")
        time = {"received_time": "2026-11-01T10:00:00Z"}
        rows.append(json.dumps({"tip": f"{number}.txt", "intake": time}))
    batch = tmp_path / "tips.jsonl"
    batch.write_text("\n".join(rows))
    words = ("intake", "--batch", str(batch), *OPTIONS, "--home", str(home.path))
    command = [str(BIN / "onward"), *words]
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.5, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run([*command, "--json"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [line["number"] for line in lines(done.stdout.decode())]
    assert told == list(range(1, 121))
    assert await numbers(home) == told
    check_kept(home, [f"tip {number}".encode() for number in range(120)])


# --- several at once ------------------------------------------------------------------


async def test_two_desks_share_one_book_without_gaps(
    exchange: ExchangeProcess, tmp_path: Path
) -> None:
    first = exchange.home(HOTLINE)
    shutil.copytree(first.path, tmp_path / "second")
    homes = (first, Home.open(tmp_path / "second"))

    async def desk(home: Home) -> list[int]:
        found = []
        async with Client.open(home) as client:
            for number in range(15):
                place = "US-OH" if number % 3 else "US-TX"
                content = f"{home.path.name} {number}".encode()
                result = await client.intakes.register(draft(place=place), content)
                assert isinstance(result, Registered)
                found.append(result.number)
        return found

    one, other = await asyncio.gather(*map(desk, homes))
    assert sorted(one + other) == list(range(1, 31))
    async with Client.open(first) as client:
        book = await client.intakes.book("US-TX")
    assert book.last_number_in_jurisdiction == 10


async def test_many_tasks_and_processes_of_one_home_do_not_mix(
    exchange: ExchangeProcess,
) -> None:
    home = exchange.home(HOTLINE)
    contents = [b"%d" % number for number in range(20)]

    async def process(part: Sequence[bytes]) -> list[int]:
        async with Client.open(home) as client:
            results = await asyncio.gather(
                *(client.intakes.register(draft(), content) for content in part)
            )
        return [item.number for item in results if isinstance(item, Registered)]

    found = await asyncio.gather(process(contents[:10]), process(contents[10:]))
    assert sorted(found[0] + found[1]) == list(range(1, 21))
    check_kept(home, contents)


async def test_keys_that_another_process_replaced_meanwhile(
    exchange: ExchangeProcess,
) -> None:
    home = exchange.home(HOTLINE)
    async with Client.open(home) as client, Client.open(home) as other:
        await client.intakes.register(draft(), b"first")
        await other.rotate_keys()
        second = await client.intakes.register(draft(), b"second")
        assert isinstance(second, Registered)
        await other.rotate_keys()
        await client.intakes.hold(1, "supervisor", "the caller will call again")
    assert await numbers(home) == [1, 2]


# --- refused --------------------------------------------------------------------------


async def test_an_intake_that_can_never_be_registered_does_not_stop_the_others(
    exchange: ExchangeProcess,
) -> None:
    home = exchange.home(HOTLINE)
    async with Client.open(home) as client:
        await client.intakes.queue(draft(), b"first")
        await client.intakes.queue(draft(minutes=-600), b"of tomorrow")
        await client.intakes.queue(draft(), b"third")
        first, wrong, third = await client.intakes.flush()
        assert isinstance(first, Registered)
        assert isinstance(wrong, OnwardError)
        assert wrong.reason == Reason.ERROR_REASON_TIME_IMPLAUSIBLE
        assert isinstance(third, Registered)
        assert (first.number, third.number) == (1, 2)
        assert client.intakes.waiting() == 0
    (aside,) = (home.path / "queue" / "refused").iterdir()
    assert "salt" in json.loads(aside.read_text())


async def test_a_machine_whose_clock_is_wrong_keeps_what_waits(
    exchange: ExchangeProcess,
) -> None:
    home = exchange.home(HOTLINE)

    def fast() -> datetime:
        return datetime.now(UTC) + timedelta(hours=2)

    async with Client.open(home, clock=fast) as client:
        with pytest.raises(OnwardError) as refused:
            await client.intakes.register(draft(), b"tip")
        assert refused.value.reason == Reason.ERROR_REASON_TIME_IMPLAUSIBLE
        assert client.intakes.waiting() == 1
    async with Client.open(home) as client:
        (done,) = await client.intakes.flush()
    assert isinstance(done, Registered)


async def test_a_member_who_may_not_register_keeps_what_waits(
    exchange: ExchangeProcess,
) -> None:
    home = exchange.home(HOTLINE)
    async with Client.open(exchange.operator) as operator:
        await operator.admin.suspend(HOTLINE)
        async with Client.open(home) as client:
            with pytest.raises(OnwardError, match="suspended"):
                await client.intakes.register(draft(), b"tip")
            assert client.intakes.waiting() == 1
        await operator.admin.reinstate(HOTLINE)
    async with Client.open(home) as client:
        (done,) = await client.intakes.flush()
    assert isinstance(done, Registered)


async def test_nothing_is_sent_before_it_is_well_formed(
    exchange: ExchangeProcess,
) -> None:
    exchange.stop()
    async with Client.open(exchange.home(HOTLINE), deadline=0.5) as client:
        wrong, right = await client.intakes.register_many(
            [(draft(place="Ohio"), b"tip"), (draft(), b"tip")]
        )
        assert isinstance(wrong, OnwardError)
        assert isinstance(right, Queued)
        assert right.why is not None
        assert client.intakes.waiting() == 1
