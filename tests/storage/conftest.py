"""The backends. Every test that asks for ``store`` or ``backend`` runs on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from onward_server.storage.contract import Store
from onward_server.storage.sqlite import open_sqlite
from tests.storage.scribe import Scribe


class Backend(Protocol):
    """Real storage of one kind, which outlives the stores that are opened on it."""

    async def open(self) -> Store:
        """Opens it; the caller closes it."""

    def backup_target(self) -> str:
        """Returns where a backup can be written."""

    async def open_backup(self) -> Store:
        """Opens what was written there."""


class SqliteBackend:
    """A database file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / "exchange.sqlite"

    async def open(self) -> Store:
        return await open_sqlite(str(self.path))

    def backup_target(self) -> str:
        return str(self._folder / "backup.sqlite")

    async def open_backup(self) -> Store:
        return await open_sqlite(self.backup_target())


BACKENDS = {"sqlite": SqliteBackend}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return BACKENDS[request.param](tmp_path)


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
