"""Exchanges that were just set up, each in a folder of its own."""

from __future__ import annotations

import asyncio
import atexit
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from onward_server.bootstrap import Founding, found
from onward_server.config import load
from onward_server.exchange.clock import system_entropy
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Voice
from onward_server.exchange.guard import Guard
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.registry import Registry
from onward_server.material import load_material, make_issuing
from onward_server.storage.sqlite import open_sqlite
from tests.support.world import TRUST_DOMAIN, SettableClock


@cache
def _original() -> Path:
    """Sets one exchange up, of which the others are copies."""
    temporary = mkdtemp(prefix="onward-founded-")
    atexit.register(shutil.rmtree, temporary)
    folder = Path(temporary) / "exchange"
    founding = Founding(folder, TRUST_DOMAIN)
    asyncio.run(found(founding, SettableClock(), system_entropy))
    return folder


def new_exchange(folder: Path) -> Path:
    """Makes an exchange in a folder that does not exist; its clock begins at START."""
    return Path(shutil.copytree(_original(), folder))


def contents(folder: Path) -> dict[str, bytes]:
    """What is in a folder: digests by path. SQLite's shared memory does not count."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


@asynccontextmanager
async def running(
    folder: Path, clock: SettableClock
) -> AsyncIterator[tuple[Registry, Caller]]:
    """Opens an exchange without a network; yields its registry, and its operator."""
    config = load(folder / "exchange.toml", {})
    material = load_material(config)
    store = await open_sqlite(str(config.storage.database_file))
    voice = Voice(str(config.name), material.statement_key, system_entropy)
    guard = Guard(config.storage.guard_file)
    ledger = Ledger(store, material.log_signer, voice, clock, guard)
    try:
        await ledger.start()
        issuing = make_issuing(config, material, system_entropy)
        operator = ledger.directory.entry(f"spiffe://{TRUST_DOMAIN}/operator/admin")
        yield Registry(ledger, store, issuing, clock), Caller(operator, b"")
    finally:
        await ledger.stop()
        await store.close()
