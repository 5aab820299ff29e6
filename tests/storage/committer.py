"""A program that commits referrals, and prints each size of the log that is durable.

It is killed, or its files may not grow past a limit that it is given.

Usage: committer.py DATABASE [BYTES]
"""

from __future__ import annotations

import asyncio
import resource
import sys

from onward.core.errors import UnavailableError
from onward_server.storage.contract import Batch, Store
from onward_server.storage.sqlite import open_sqlite
from tests.storage.scribe import OHIO, TEXAS, Scribe


def say(*words: object) -> None:
    """Prints a line at once."""
    print(*words, flush=True)  # noqa: T201 - how it talks to the test


def planned(scribe: Scribe) -> Batch:
    """Plans a referral with content of 20 kB."""
    scribe.publish(f"r{len(scribe.referrals)}", OHIO, TEXAS, content=b"sealed" * 3333)
    return scribe.take()


async def refused(store: Store, batch: Batch) -> UnavailableError | None:
    """Commits, or returns why that failed."""
    try:
        async with store.writing() as writer:
            await writer.write(batch)
    except UnavailableError as error:
        return error
    return None


async def commit_until_killed(store: Store, scribe: Scribe) -> None:
    """Commits for ever."""
    while True:
        batch = planned(scribe)
        if failure := await refused(store, batch):
            raise failure
        say(batch.old_size + len(batch.statements))


async def commit_until_full(store: Store, scribe: Scribe, limit: int) -> None:
    """Commits until a file reaches the limit; then lifts it, and goes on."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    while not (failure := await refused(store, batch := planned(scribe))):
        pass
    say("full", batch.old_size, failure)
    head = await store.head()
    say("head", head.size if head else 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    failure = await refused(store, batch)
    head = await store.head()
    say("again", head.size if head else 0, failure)


async def main() -> None:
    """Runs as its arguments say."""
    store = await open_sqlite(sys.argv[1])
    scribe = Scribe()
    try:
        if sys.argv[2:]:
            await commit_until_full(store, scribe, int(sys.argv[2]))
        else:
            await commit_until_killed(store, scribe)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
