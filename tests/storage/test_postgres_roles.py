"""The roles that ``docs/how-to/postgresql.md`` makes: enough, and no more."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from onward.core.errors import UnavailableError
from onward_server.storage.postgres import migrate_postgres, open_postgres
from tests.storage.scribe import OHIO, Scribe
from tests.support import postgres

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "postgresql.md"


@dataclass(frozen=True)
class Roles:
    """URLs of a database, by who uses it."""

    owner: str
    exchange: str


@pytest.fixture
async def roles() -> AsyncIterator[Roles]:
    """What the page's SQL makes, under names that nobody else has."""
    server, name = postgres.shared(), f"r{uuid4().hex[:8]}"
    text = PAGE.read_text("utf-8").replace("onward", name)
    first, second = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    urls = [
        server.url(name).replace(postgres.ROLE, role, 1)
        for role in (f"{name}_owner", name)
    ]
    for statement in first.split(";")[:-1]:
        await server.execute(statement)
    try:
        connection = await postgres.connected(urls[0])
        await connection.execute(second)
        await connection.close()
        yield Roles(*urls)
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.execute(f"DROP ROLE {name}")
        await server.execute(f"DROP ROLE {name}_owner")


async def test_the_exchange_can_do_all_that_it_must(
    roles: Roles, scribe: Scribe
) -> None:
    await migrate_postgres(roles.owner)
    store = await open_postgres(roles.exchange)
    try:
        await store.join({})
        row = scribe.publish("r1", OHIO)
        scribe.register(1)
        await scribe.commit(store)
        scribe.batch.erase_contents.append(row.content_digest)
        async with store.writing() as writer:
            await writer.write(scribe.take())
            assert await writer.release_lost() == 0
        assert await store.content(row.content_digest) is None
        assert await store.leads("chore")
    finally:
        await store.close()


async def test_the_exchange_cannot_change_the_schema(roles: Roles) -> None:
    with pytest.raises(UnavailableError, match="lacks a privilege"):
        await open_postgres(roles.exchange)
