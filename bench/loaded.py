"""A year at national scale, loaded into a real exchange and reported by an auditor.

The exchange is one that ``onward-server init`` makes. Its members do in a few minutes
what they did in a year that ends today. Then it is served as always, an auditor enrols,
and ``onward report`` downloads all of it, verifies it, and answers the ten questions.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import uvloop

from bench.domain import open_domain
from bench.exchange import SERVE
from bench.figures import MIB, Figure
from bench.mix import Tip, auditor, members, tips
from bench.national import National
from bench.processes import free_address, serving
from bench.rounds import QUICK, Plan
from bench.scribe import DOMAIN
from bench.spent import Spent
from bench.stage import Stage
from bench.stories import DAY, Stories
from onward.client import Client
from onward.core.keys import StatementPrivateKey
from onward.enroll import enroll
from onward.home import Home
from onward_server.bootstrap import OPERATOR_HOME, Founding, found
from onward_server.config import Config, load
from onward_server.exchange.clock import SystemClock, system_entropy
from onward_server.exporting import configure_logging
from onward_server.renewal import renew_operator_certificate, renew_server_certificate

INTAKES: Final = 50_000
QUICK_INTAKES: Final = 2_000
SEED: Final = 2026

_ONWARD: Final = (sys.executable, "-m", "onward")
_VERIFICATIONS: Final = 2_000
_OPERATOR: Final = "admin"


@dataclass(frozen=True, slots=True)
class Span:
    """How much happens, and when.

    Attributes:
        intakes: tips that come in.
        days: over so many days, the last of which was yesterday.
        seed: decides all of it.
    """

    intakes: int
    days: int = 365
    seed: int = SEED

    @property
    def begin_ms(self) -> int:
        """When the first day begins."""
        today = SystemClock().now_ms() // DAY * DAY
        return today - self.days * DAY

    def tips(self) -> Iterator[Tip]:
        """Yields what comes in: the same each time, on the same day."""
        luck = Random(self.seed)  # noqa: S311 - a year that can be told again
        return tips(luck, self.intakes, self.begin_ms, self.days)

    @property
    def report(self) -> Sequence[str]:
        """The command that makes a report about these days."""
        last = self.begin_ms + (self.days - 1) * DAY
        period = ("--from", _day(self.begin_ms), "--to", _day(last))
        return *_ONWARD, "report", "--jurisdiction", "US", *period


@dataclass(frozen=True, slots=True)
class Loaded:
    """An exchange at which much has happened; it does not run.

    Attributes:
        folder: where it is.
        entries: how many its log has.
        seconds: how long loading took.
    """

    folder: Path
    config_file: Path
    config: Config
    entries: int
    seconds: float


async def measure_loaded(_: Stage, plan: Plan) -> list[Figure]:
    """How long ``onward report`` takes at a loaded exchange, and how much memory."""
    configure_logging("warning")
    quick = plan is QUICK
    with TemporaryDirectory(prefix="onward-loaded-") as temporary:
        span = Span(QUICK_INTAKES if quick else INTAKES)
        return await measure_span(Path(temporary), span, 1 if quick else 3)


async def measure_span(place: Path, span: Span, offline: int) -> list[Figure]:
    """Loads an exchange, and measures reports about it.

    Args:
        place: a folder for all that is made.
        span: how much happens, and when.
        offline: how often the report is made again, from what was downloaded.

    Raises:
        CommandFailedError: a report did not find everything proven.
    """
    loading = load_year(place / "exchange", span)
    loaded = await asyncio.to_thread(uvloop.run, loading)  # on the loop of `serve`
    out = ("--evidence", place / "evidence", "--out", place / "out")
    async with audited(loaded, place) as home:
        command = [*span.report, *map(str, out), "--home", str(home.path)]
        whole = await Spent.by(*command)
    again = [await Spent.by(*command, "--offline") for _ in range(offline)]
    name = f"{span.intakes:,} tips, {loaded.entries:,} log entries"
    return [
        Figure.alone(f"loading {name}", "s", [loaded.seconds]),
        Figure.alone("entries loaded", "1/s", [loaded.entries / loaded.seconds]),
        *_figures("report with its download", [whole], loaded.entries),
        *_figures("report from downloaded files", again, loaded.entries),
    ]


async def load_year(folder: Path, span: Span) -> Loaded:
    """Makes an exchange, and has its members do what they do in a year.

    Args:
        folder: where to; must not exist.
        span: how much, and when.

    Raises:
        ExceptionGroup: the exchange refused what it should not have refused.
    """
    begun, present = time.monotonic(), SystemClock()
    clock = Stories(span.begin_ms - DAY)
    listen, enrolment = free_address(), free_address()
    founding = Founding(folder, DOMAIN, listen=listen, enrolment_listen=enrolment)
    founded = await found(founding, clock, system_entropy)
    config = load(founded.config_file, {})
    async with open_domain(config, clock) as domain:
        joined = [await domain.enrol(founded.operator, item) for item in members()]
        florida = await domain.enrol(
            founded.operator, auditor("florida-inspector", "US-FL")
        )
        parties = {member.name: member for member in joined}
        nation = National(domain, clock, parties, span.seed)
        await clock.until(
            present.now_ms(),
            domain,
            nation.work(span.tips()),
            nation.sweep(),
            nation.look(florida),
            nation.count(_tell),
        )
        entries = domain.ledger.head().size
    renew_server_certificate(config, (), present)
    operator_home = folder / OPERATOR_HOME
    renew_operator_certificate(config, _OPERATOR, operator_home, present)
    seconds = time.monotonic() - begun
    return Loaded(folder, founded.config_file, config, entries, seconds)


@asynccontextmanager
async def audited(loaded: Loaded, place: Path) -> AsyncIterator[Home]:
    """Serves a loaded exchange while the block runs; yields an auditor's home.

    Args:
        loaded: the exchange.
        place: a folder for the home and the server's log.
    """
    command = (*SERVE, "--config", loaded.config_file)
    address = loaded.config.api.listen
    with serving(command, address, place / "exchange.log"):
        async with Client.open(loaded.folder / OPERATOR_HOME) as operator:
            wanted = auditor("inspector-general", "*")
            added = await operator.admin.add_member(wanted)
        yield await enroll(added.token, place / "auditor")


def _figures(name: str, runs: Sequence[Spent], entries: int) -> list[Figure]:
    """Returns the lines about reports; time stands beside the signatures alone."""
    pairs = [(run.seconds, _verifying(entries)) for run in runs]
    return [
        Figure.compare(name, "s", pairs),
        Figure.alone(f"{name}, CPU", "s", [run.cpu for run in runs]),
        Figure.alone(f"{name}, memory", "MiB", [run.memory / MIB for run in runs]),
    ]


def _verifying(signatures: int) -> float:
    """Returns the seconds that so many verifications take on all cores."""
    key, message = StatementPrivateKey.generate(), bytes(600)
    public, signature = key.public, key.sign(message)
    begun = time.perf_counter()
    for _ in range(_VERIFICATIONS):
        public.verify(signature, message)
    each = (time.perf_counter() - begun) / _VERIFICATIONS
    return each * signatures / len(os.sched_getaffinity(0))


def _tell(now_ms: int, entries: int) -> None:
    """Shows how far loading is."""
    print(f"{_day(now_ms)}: {entries:,} log entries", file=sys.stderr, flush=True)


def _day(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}"
