"""An exchange at work moves into PostgreSQL, through kill -9, and goes on there."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from onward.client import Client, Watched
from tests.support import postgres
from tests.support.process import HOTLINE, POLICE, ExchangeProcess, command
from tests.support.reckoning import reckon
from tests.support.traffic import UNHURRIED, open_traffic

BEFORE = 6
AFTER = 3

KILLED = """
import os, signal, sys
from onward_server.cli import main
from onward_server.storage.postgres.moving import PostgresTarget

def killed(owner, name, nth):
    real, calls = getattr(owner, name), iter(range(1, 1000))
    def call(*arguments):
        if next(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    setattr(owner, name, call)

place, nth = sys.argv.pop(1), int(sys.argv.pop(1))
killed(PostgresTarget, place, nth)
main()
"""
"""The program, which kills itself before it does something for the n-th time."""


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[ExchangeProcess]:
    """A running exchange with a few members."""
    started = ExchangeProcess.found(tmp_path, UNHURRIED)
    started.start()
    await started.populate()
    yield started
    started.kill()


@pytest.fixture
async def url_file(tmp_path: Path) -> AsyncIterator[Path]:
    """Names an empty database."""
    async with postgres.database(empty=True) as url:
        path = tmp_path / "database.url"
        path.write_text(f"{url}\n")
        yield path


def cut_off(place: str, nth: int, *options: str) -> None:
    """Runs a move that is killed."""
    program = [sys.executable, "-c", KILLED, place, str(nth), "move", *options]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def move(exchange: ExchangeProcess, url_file: Path) -> dict[str, object]:
    """Moves an exchange, in spite of kill -9; returns what the command says."""
    options = "--to-url-file", str(url_file), "--config", str(exchange.config)
    cut_off("put", 4, *options)
    cut_off("finish", 1, *options)
    said: dict[str, object] = json.loads(
        command("onward-server", "move", *options, "--json")
    )
    return said


async def test_members_notice_a_pause_and_nothing_else(
    exchange: ExchangeProcess, url_file: Path
) -> None:
    homes = exchange.home(HOTLINE), exchange.home(POLICE)
    async with open_traffic(*homes, callers=0) as traffic:
        for _ in range(BEFORE):
            await traffic.publish()
        await traffic.settled()
        token = await resume_token(exchange)
        exchange.stop()
        said = await asyncio.to_thread(move, exchange, url_file)
        assert said["configured"] is True
        exchange.start()
        for _ in range(AFTER):
            await traffic.publish()
    seen = await reckon(exchange, traffic)
    assert seen["in the final log"] == BEFORE + AFTER
    assert seen["handed over again"] == 0
    news = await watched(exchange, token, AFTER)
    assert kinds(news)["referral"] == AFTER
    exchange.stop()
    exchange.environment["ONWARD__STORAGE__URL_FILE"] = ""
    with pytest.raises(AssertionError, match="was moved to PostgreSQL"):
        exchange.start()


async def resume_token(exchange: ExchangeProcess) -> str:
    """Returns where the hotline's stream stands after all that was published."""
    *_, last = await watched(exchange, "", BEFORE)
    return last.resume_token


async def watched(exchange: ExchangeProcess, token: str, until: int) -> list[Watched]:
    """Watches from a place on until so many referrals were received."""
    found: list[Watched] = []
    async with (
        Client.open(exchange.home(HOTLINE)) as client,
        aclosing(client.watch_own(token)) as statements,
    ):
        async for one in statements:
            found.append(one)
            if kinds(found)["received"] == until:
                break
    return found


def kinds(statements: Sequence[Watched]) -> Counter[str]:
    """Counts statements by their kind."""
    return Counter(one.statement.kind for one in statements)
