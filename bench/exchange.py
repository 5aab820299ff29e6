"""A real exchange to measure, made, joined and run by the real commands."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bench.filling import fill_log, fill_referrals
from bench.processes import BIN, Server, end, free_address, serving
from onward.client import Client
from onward.enroll import enroll
from onward.home import Home
from onward.v1 import directory_pb2, vocabulary_pb2
from onward_server.config import FILE_NAME, load

TRUST_DOMAIN: Final = "bench.example"
SERVE: Final = (BIN / "onward-server", "serve")
"""The command that serves an exchange."""

_STARTED: Final = b"app.started"
"""What the exchange logs when it has begun to answer."""

_MEMBERS: Final = (
    ("hotline", vocabulary_pb2.MEMBER_KIND_HOTLINE),
    ("archive", vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT),
    ("desk", vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT),
)

# One member is to send more than any member should be allowed to; all else is as
# `onward-server init` sets it.
_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        f"ONWARD__QUOTAS__{name}": "1000000000"
        for name in (
            "PUBLISH_PER_SECOND",
            "PUBLISH_BURST",
            "STATEMENTS_PER_SECOND",
            "STATEMENTS_BURST",
            "READS_PER_SECOND",
            "READS_BURST",
        )
    }
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A running exchange with three members.

    Attributes:
        server: its process.
        folder: where ``init`` made it.
        hotline: the home of a member that publishes.
        archive: the home of a recipient that takes nothing: all waits for it.
        desk: the home of a recipient.
    """

    server: Server
    folder: Path
    hotline: Home
    archive: Home
    desk: Home

    @property
    def tls(self) -> Path:
        """The folder of its TLS files."""
        return self.folder / "tls"

    @property
    def database(self) -> Path:
        """The file of its SQLite database."""
        return load(self.folder / FILE_NAME, {}).storage.database_file


@dataclass(frozen=True, slots=True)
class Past:
    """What an exchange holds before its members join.

    Attributes:
        entries: how many its log has at least, about nothing.
        referrals: how many its members published and received.
    """

    entries: int = 0
    referrals: int = 0


NOTHING: Final = Past()


@asynccontextmanager
async def open_exchange(
    folder: Path,
    serve: Sequence[str | Path] = SERVE,
    past: Past = NOTHING,
    database: str = "",
) -> AsyncIterator[Exchange]:
    """Makes an exchange and runs it while the block runs.

    Args:
        folder: where all of it is kept; must be empty.
        serve: the command to run; gets the option ``--config``.
        past: what it holds from the beginning.
        database: the URL of an empty PostgreSQL database; SQLite without one.
    """
    data, address = folder / "exchange", free_address()
    _init(data, address, database)
    await fill_log(data, past.entries)
    await fill_referrals(data, past.referrals)
    command = (*serve, "--config", data / FILE_NAME)
    with serving(command, address, folder / "exchange.log", _ENVIRONMENT) as server:
        async with Client.open(data / "operator") as operator:
            homes = [await _join(operator, folder, *member) for member in _MEMBERS]
        yield Exchange(server, data, *homes)


@contextmanager
def serving_replica(exchange: Exchange, folder: Path) -> Iterator[Server]:
    """Runs one more process of an exchange that is on PostgreSQL.

    Args:
        exchange: which.
        folder: where this process has what is its own; must be empty.
    """
    address = free_address()
    own = {
        "ONWARD__API__LISTEN": address,
        "ONWARD__ENROLMENT__LISTEN": free_address(),
        "ONWARD__STORAGE__GUARD_FILE": str(folder / "head"),
    }
    command = (*SERVE, "--config", exchange.folder / FILE_NAME)
    log = folder / "exchange.log"
    with serving(command, address, log, {**_ENVIRONMENT, **own}) as server:
        yield server


def seconds_to_start(folder: Path) -> float:
    """Starts an exchange that does not run, and ends it as soon as it answers.

    Raises:
        RuntimeError: it did not start.
    """
    command, begun = (*SERVE, "--config", folder / FILE_NAME), time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            for line in process.stderr or ():
                if _STARTED in line:
                    return time.monotonic() - begun
        finally:
            end(process)
    raise RuntimeError("the exchange did not start")


def _init(data: Path, address: str, database: str) -> None:
    """Makes an exchange.

    Raises:
        RuntimeError: it could not be made.
    """
    options = ["--listen", address, "--enrolment-listen", free_address()]
    if database:
        url_file = data.with_name("database-url")
        url_file.write_text(database)
        options += ["--database-url-file", str(url_file)]
    done = subprocess.run(
        [BIN / "onward-server", "init", data, "--trust-domain", TRUST_DOMAIN, *options],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        message = f"onward-server init failed:\n{done.stderr}"
        raise RuntimeError(message)


async def _join(
    operator: Client,
    folder: Path,
    name: str,
    kind: vocabulary_pb2.MemberKind.ValueType,
) -> Home:
    """Adds a member and enrols it; returns its home."""
    member = directory_pb2.Member(
        name=f"spiffe://{TRUST_DOMAIN}/agency/{name}",
        display_name=name,
        kind=kind,
        jurisdictions=["US"],
    )
    added = await operator.admin.add_member(member)
    return await enroll(added.token, folder / name)
