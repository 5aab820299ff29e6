"""Looking at a server: what of its setup an exchange's promises rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onward_server.storage.postgres.connection import connect, translating
from onward_server.storage.postgres.queries import QUERIES

_SETTINGS: Final = (
    "server_version",
    "fsync",
    "full_page_writes",
    "data_checksums",
    "synchronous_commit",
    "synchronous_standby_names",
)


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a server is like.

    Attributes:
        settings: the values of its settings, by name, for the exchange's role.
        local: whether the connection does not leave the machine.
        encrypted: whether it is encrypted.
        replicas: names of the exchange's processes that work on the database.
        now_ms: its clock, in milliseconds since 1970-01-01 UTC.
    """

    settings: Mapping[str, str]
    local: bool
    encrypted: bool
    replicas: Sequence[str]
    now_ms: int


async def inspect_postgres(url: str) -> Inspected:
    """Looks at a server, and changes nothing.

    Raises:
        MalformedError: that is no URL of a database.
        UnavailableError: the database cannot be reached, or does not let us in.
    """
    connection = await connect(url, "reader")
    try:
        async with translating():
            rows = await QUERIES.settings(connection, names=list(_SETTINGS))
            local, encrypted = await QUERIES.channel(connection)
            replicas = await QUERIES.living(connection)
            now_ms = await QUERIES.clock(connection)
    finally:
        await connection.close(timeout=1)
    settings = {row["name"]: row["setting"] for row in rows}
    return Inspected(settings, local, encrypted, replicas or (), now_ms)
