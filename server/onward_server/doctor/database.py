"""Is the database sound, and does the server keep what the exchange promises?"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from onward_server.config import Config
from onward_server.databases import database_url, describe, is_server
from onward_server.doctor.findings import Finding, fine, problem, warning
from onward_server.exchange.clock import Clock

if TYPE_CHECKING:
    from onward_server.storage.postgres import Inspected

RESTORE: Final = "restore a sound copy, as docs/how-to/restore.md says"

_CLOCK_TOLERANCE: Final = 2.0
"""Seconds that two machines' clocks may differ, asking included."""

_LOSES: Final = {
    "fsync": "after a crash of its machine the database may be damaged",
    "full_page_writes": "after a crash of its machine the database may be damaged",
}
"""Settings without which nothing that was acknowledged is safe."""


async def check_database(config: Config, clock: Clock) -> AsyncIterator[Finding]:
    """Looks at the file, or at the server."""
    if not is_server(config):
        file = config.storage.database_file
        yield await asyncio.to_thread(_integrity, file)
        return
    from onward_server.storage.postgres import inspect_postgres  # noqa: PLC0415 - SQLite does without

    url, name = database_url(config), describe(config)
    found = await inspect_postgres(url)
    version = found.settings["server_version"]
    yield fine("database", f"{name} answers: PostgreSQL {version}")
    for finding in find(found, url):
        yield finding
    if not config.test.clock:
        yield _clocks(clock.now_ms() - found.now_ms)
    yield fine("replicas", f"{len(found.replicas)} on this database at present")
    if config.storage.database_file.exists():
        yield warning(
            "old database",
            f"{config.storage.database_file} is still there, and has the contents of "
            "before the move, which nobody erases there any more",
            "delete it, and its backups, once the server has a backup",
        )


def find(found: Inspected, url: str) -> Iterator[Finding]:
    """Yields what is to be said of a server, and of the way to it."""
    yield _channel(found, url)
    yield from _durability(found)
    yield from _checksums(found)


def _integrity(file: Path) -> Finding:
    """Has SQLite check the file's structure."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        result = str(error)
    if result == "ok":
        return fine("database", f"{file} is sound")
    return problem("database", f"{file} is damaged: {result}", RESTORE)


def _channel(found: Inspected, url: str) -> Finding:
    """Looks at the way to the server."""
    subject = "way to the database"
    if found.local:
        return fine(subject, "it does not leave this machine")
    remedy = (
        "add sslmode=verify-full to the URL of storage.url or storage.url_file, and "
        "sslrootcert with the authority of the server's certificate"
    )
    if not found.encrypted:
        return problem(
            subject, "it is not encrypted, and who listens reads all of it", remedy
        )
    modes = parse_qs(urlsplit(url).query).get("sslmode", [])
    if modes != ["verify-full"]:
        return warning(
            subject,
            "it is encrypted, and nothing proves that the server is the right one",
            remedy,
        )
    return fine(subject, "it is encrypted, and the server proves who it is")


def _clocks(ahead_ms: int) -> Finding:
    """Looks at how far this machine's clock is from the server's."""
    seconds = abs(ahead_ms) / 1000
    way = "ahead of" if ahead_ms > 0 else "behind"
    said = f"this machine's is {seconds:.1f} s {way} the database server's"
    if seconds <= _CLOCK_TOLERANCE:
        return fine("clocks", said)
    remedy = "have all machines of the exchange set their clocks by NTP"
    return problem(
        "clocks", f"{said}: leases and deadlines are judged by it too", remedy
    )


def _durability(found: Inspected) -> Iterator[Finding]:
    """Looks at whether what was committed survives a crash, and a machine."""
    subject, settings = "durability", found.settings
    for name, loses in _LOSES.items():
        if settings[name] != "on":
            remedy = f"set {name} = on in the server's configuration"
            yield problem(subject, f"{name} is off: {loses}", remedy)
    if not settings["synchronous_standby_names"]:
        yield warning(
            subject,
            "there is no synchronous standby: what this server acknowledged is lost "
            "with its disk",
            "add one, and name it in synchronous_standby_names; never promote another",
        )
    else:
        commit = settings["synchronous_commit"]
        level = commit if commit in {"on", "remote_apply"} else "on"
        yield fine(
            subject, f"a standby confirms each commit (synchronous_commit {level})"
        )


def _checksums(found: Inspected) -> Iterator[Finding]:
    """Looks at whether the server would notice that its disk has changed a page."""
    if found.settings["data_checksums"] != "on":
        yield warning(
            "database pages",
            "they have no checksums: a disk that changes one is not noticed",
            "make the cluster with initdb --data-checksums, or run pg_checksums",
        )
