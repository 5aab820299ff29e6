"""An exchange whose database is on a server, and that does not run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from onward_server.bootstrap import Founding, found
from onward_server.config import Config, load
from onward_server.exchange.clock import SystemClock, system_entropy
from tests.support.postgres import database

CLOCK = SystemClock()


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an empty database, which is in a file too."""
    async with database(empty=True) as name:
        (tmp_path / "database.url").write_text(name)
        yield name


async def make(folder: Path) -> Config:
    """Founds an exchange on the database that the file beside the folder names."""
    file = str(folder.parent / "database.url")
    founding = Founding(folder, "national.example", database_url_file=file)
    made = await found(founding, CLOCK, system_entropy)
    return load(made.config_file, {})


@pytest.fixture
async def config(url: str, tmp_path: Path) -> Config:
    """An exchange on a server."""
    return await make(tmp_path / "exchange")
