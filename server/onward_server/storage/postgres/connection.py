"""One connection to PostgreSQL, and what its errors mean."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from onward.core.errors import MalformedError
from onward_server.storage.faults import unavailable

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
"""How long anything of a writing transaction may take; then it gives way."""

FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""What asyncpg raises, whether the machines failed or we did."""

_SCHEMES = ("postgresql://", "postgres://")

_ANSWER_SECONDS = PATIENCE_SECONDS + 2
"""After this the server is not there any more: it would have given up itself."""

_SILENCE_SECONDS = 15.0
"""How long a process may say nothing, and still be one of those that run."""

_CONNECT_SECONDS = 5.0
"""How long each host may take; one that is gone does not take the next one's time."""

_CACHED_STATEMENTS = 256
"""More than there are queries, so that each is prepared once per connection."""

_CAUSES = {
    "25006": "it is a standby, which cannot be written; name the primary",
    "25P03": "the work was interrupted",
    "3D000": "there is no database of this name",
    "40001": "it was busy with the same rows",
    "40P01": "it was busy with the same rows",
    "42501": "the exchange's role lacks a privilege there",
    "53000": "it lacks resources",
    "53100": "its disk is full",
    "53200": "it has not enough memory",
    "53300": "it takes no more connections",
    "55P03": "another exchange process keeps it busy",
    "57014": "it did not answer in time",
    "57P01": "it is shutting down",
    "57P02": "it is shutting down",
    "57P03": "it is starting or shutting down",
    "58030": "reading or writing its disk failed",
    "XX001": "it is damaged; restore a backup",
    "XX002": "it is damaged; restore a backup",
}
"""Failures of the machines, by SQLSTATE. All others are defects of ours."""

_CLASSES = {
    "08": "the connection was lost",
    "28": "it does not accept the exchange's role or password",
}
"""The same for all SQLSTATEs of a class."""

_SETTINGS = {
    "application_name": "onward",
    # Every query has its index. Without statistics, as in a new database, the server
    # may think that reading a whole table is as fast, and keeps to that for a while.
    "enable_seqscan": "off",
    "jit": "off",
    # A machine that is gone without a word is noticed.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

_ROLES: Mapping[str, Sequence[str]] = {
    "writer": (
        # Durable when COMMIT returns; who has set more than that keeps it.
        """SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')""",
        f"SET statement_timeout = '{PATIENCE_SECONDS}s'",
        f"SET lock_timeout = '{PATIENCE_SECONDS}s'",
        # It looks up single rows only; see enable_seqscan.
        "SET enable_hashjoin = off",
        "SET enable_mergejoin = off",
        # A process that hangs inside a transaction gives the turn back.
        f"SET idle_in_transaction_session_timeout = '{PATIENCE_SECONDS}s'",
    ),
    "reader": ("SET default_transaction_read_only = on",),
    # A process that hangs gives its place and its leads back, though its machine lives.
    "place": (f"SET idle_session_timeout = '{_SILENCE_SECONDS}s'",),
}


_NEXT_HOST = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""After these another host may be the primary."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A connection; each is used by one task at a time."""


async def connect(url: str, role: Literal["writer", "reader", "place"]) -> Connection:
    """Connects to the primary; a reader cannot change anything.

    Raises:
        MalformedError: the URL is none.
        UnavailableError: it cannot be reached, or does not let us in.
    """
    if not url.startswith(_SCHEMES):
        raise _malformed()
    async with translating("cannot open the database"):
        connection = await _connect(url)
        try:
            roles = ";".join(_ROLES[role])
            await connection.execute(roles, timeout=_CONNECT_SECONDS)
        except BaseException:
            connection.terminate()
            raise
    return connection


async def _connect(url: str) -> Connection:
    """Connects, with no role yet: to the first host that is the primary.

    asyncpg would go through the hosts itself, but has one patience for all of them.
    """
    failed: Exception | None = None
    try:
        for one in each_host(url):
            try:
                return await _connect_to(one)
            except _NEXT_HOST as error:
                failed = failed or error
    except ValueError as error:
        if isinstance(error, OSError):  # as a certificate that is not trusted
            raise
        # Its text may quote the URL, and so a password.
        raise _malformed() from None
    raise failed or _malformed()


async def _connect_to(url: str) -> Connection:
    """Connects to a host, if it is the primary."""
    connection: Connection = await asyncpg.connect(
        url,
        timeout=_CONNECT_SECONDS,
        statement_cache_size=_CACHED_STATEMENTS,
        max_cached_statement_lifetime=0,
        server_settings=_SETTINGS,
        target_session_attrs=SessionAttribute.primary,
    )
    return connection


def each_host(url: str) -> list[str]:
    """Returns a URL for each host that a URL names, in order.

    Raises:
        ValueError: the URL is none.
    """
    parts = urlsplit(url)
    role, at, hosts = parts.netloc.rpartition("@")
    if hosts:
        return [
            parts._replace(netloc=f"{role}{at}{host}").geturl()
            for host in hosts.split(",")
        ]
    query = dict(parse_qsl(parts.query))
    names, ports = query.get("host", "").split(","), query.get("port", "").split(",")
    if len(names) == 1:
        return [url]
    if len(ports) == 1:
        ports *= len(names)
    base = url.partition("?")[0]
    return [
        f"{base}?{urlencode({**query, 'host': host, 'port': port})}"
        for host, port in zip(names, ports, strict=True)
    ]


def _malformed() -> MalformedError:
    """Returns the error for a URL that is none."""
    return MalformedError(
        "the database's URL is none of PostgreSQL's; write "
        "postgresql://role@host/database",
        field="storage.url",
    )


@asynccontextmanager
async def translating(what: str = "") -> AsyncIterator[None]:
    """Turns failures of the machines into errors that say so.

    Raises:
        UnavailableError: the database cannot be used at present.
    """
    try:
        yield
    except FAILURES as error:
        cause = _cause(error)
        if cause is None:
            raise
        failed = what or "the exchange cannot use its database at present"
        raise unavailable(f"{failed}: {cause}; retry the same call later") from error


def _cause(error: Exception) -> str | None:
    """Returns what of the machines failed, or None."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return _CAUSES.get(state) or _CLASSES.get(state[:2])
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "no server that its URL names is the primary"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLError):
        return "its certificate, or how it speaks TLS, is not accepted"
    if isinstance(error, OSError):
        return "it cannot be reached"
    # asyncpg's own: the server said something unexpected, or the connection is gone, or
    # we used it wrongly.
    lost = isinstance(error, asyncpg.InternalClientError) or "clos" in str(error)
    return "the connection was lost" if lost else None


async def completed(work: Coroutine[Any, Any, T]) -> T:
    """Awaits work to its end, also when the caller is cancelled meanwhile.

    Raises:
        TimeoutError: no answer came: not even that it took too long.
    """
    task = asyncio.ensure_future(asyncio.wait_for(work, _ANSWER_SECONDS))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise
