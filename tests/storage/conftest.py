"""The backends. Every test that asks for ``store`` or ``backend`` runs on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from onward_server.storage.contract import Store
from onward_server.storage.postgres import open_postgres
from onward_server.storage.sqlite import open_sqlite
from tests.storage.scribe import Scribe
from tests.support import postgres


class Backend(Protocol):
    """Real storage of one kind, which outlives the stores that are opened on it."""

    async def open(self) -> Store:
        """Opens it; the caller closes it."""


class SqliteBackend:
    """A database file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "exchange.sqlite"

    async def open(self) -> Store:
        return await open_sqlite(str(self.path))


class PostgresBackend:
    """A database of a server."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> Store:
        return await open_postgres(self.url)


@asynccontextmanager
async def sqlite_backend(folder: Path) -> AsyncIterator[Backend]:
    yield SqliteBackend(folder)


@asynccontextmanager
async def postgres_backend(folder: Path) -> AsyncIterator[Backend]:
    async with postgres.database() as url:
        yield PostgresBackend(url)


BACKENDS = {"sqlite": sqlite_backend, "postgres": postgres_backend}


@pytest.fixture(params=BACKENDS)
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Backend]:
    async with BACKENDS[request.param](tmp_path) as backend:
        yield backend


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[Store]:
    async with opened(backend) as store:
        yield store


@pytest.fixture
def scribe() -> Scribe:
    return Scribe()


@asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[Store]:
    """Opens a backend, and closes it."""
    store = await backend.open()
    try:
        yield store
    finally:
        await store.close()
