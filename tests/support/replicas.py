"""Replicas: processes of one exchange on one database, each with its own folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.support.postgres import shared
from tests.support.process import TRUST_DOMAIN, ExchangeProcess, command, free_port


@contextmanager
def founded(
    folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[ExchangeProcess]:
    """Founds an exchange on a new database, which is dropped in the end.

    Yields its first replica, which does not run. ``copied`` makes another one.
    """
    server, name = shared(), f"replicas_{uuid4().hex}"
    asyncio.run(server.execute(f"CREATE DATABASE {name}"))
    try:
        yield found(folder, server.url(name), settings)
    finally:
        asyncio.run(server.execute(f"DROP DATABASE {name} WITH (FORCE)"))


def found(
    folder: Path, url: str, settings: Mapping[str, str] | None = None
) -> ExchangeProcess:
    """Founds an exchange on an empty database; returns its first replica.

    It reads the URL from ``database.url`` in the folder.
    """
    first = ExchangeProcess(folder, free_port(), free_port(), dict(settings or {}))
    (folder / "database.url").write_text(url)
    command(
        "onward-server",
        "init",
        str(folder / "exchange"),
        "--trust-domain",
        TRUST_DOMAIN,
        "--listen",
        f"127.0.0.1:{first.port}",
        "--enrolment-listen",
        f"127.0.0.1:{first.enrolment_port}",
        "--database-url-file",
        str(folder / "database.url"),
    )
    return first
