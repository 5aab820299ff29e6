"""An exchange that moves into PostgreSQL: whole, once, and never to be run twice."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.core.errors import StateError, UnavailableError
from onward.core.statements import parse_statement
from onward.core.tiles import edge_tiles
from onward_server import moving
from onward_server.config import Config, make
from onward_server.exchange.authority import private_key_pem
from onward_server.exchange.clock import system_entropy
from onward_server.exchange.guard import Guard
from onward_server.moving import move
from onward_server.storage.contract import (
    WHOLE,
    CosignatureRow,
    Store,
    TimestampRow,
    Topic,
    UploadRow,
)
from onward_server.storage.moving import TABLES
from onward_server.storage.postgres import migrate_postgres, open_postgres
from onward_server.storage.postgres.moving import PostgresTarget, open_target
from onward_server.storage.sqlite import open_sqlite
from tests.support import postgres
from tests.support.world import (
    HOTLINE,
    START_MS,
    STATE_POLICE,
    TRUST_DOMAIN,
    World,
    open_world,
    populate,
)

SEED = b"\1" * 32
TIPS = 5
UPLOAD = UploadRow(sha256(b"a part").digest(), "somebody", START_MS)


class CutError(Exception):
    """Ends a move as the end of its process would."""


@contextmanager
def phase(_: str) -> Iterator[Callable[[int], Callable[[int], object]]]:
    yield lambda _: lambda _: None


@dataclass(frozen=True)
class Place:
    """An exchange in a file, and where it is to go."""

    folder: Path
    url: str

    @property
    def config(self) -> Config:
        values = {
            "exchange": {"trust_domain": TRUST_DOMAIN},
            "keys": {"log_key_file": "log.key"},
            "storage": {"database_file": "exchange.sqlite", "guard_file": "guard"},
        }
        return make(values, self.folder, "the test")

    @property
    def database(self) -> Path:
        return self.folder / "exchange.sqlite"

    async def move(self, url: str = "") -> int:
        done = await move(self.config, url or self.url, system_entropy, phase)
        return done.entries

    def change(self, sql: str, *values: object) -> None:
        """Changes the file, past all our code."""
        with closing(sqlite3.connect(self.database)) as database, database:
            assert database.execute(sql, values).rowcount == 1

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        store = await open_postgres(self.url)
        try:
            yield store
        finally:
            await store.close()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exchange with something of everything, to be copied."""
    folder = tmp_path_factory.mktemp("lived")
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    (folder / "log.key").write_bytes(private_key_pem(key))

    async def live_once() -> None:
        async with open_world(folder, seed=SEED) as world:
            await populate(world)
            await live(world)

    asyncio.run(live_once())
    return folder


@pytest.fixture
async def place(lived: Path, tmp_path: Path) -> AsyncIterator[Place]:
    """A copy of it, and an empty database."""
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    async with postgres.database(empty=True) as url:
        yield Place(tmp_path, url)


async def live(world: World) -> None:
    """Passes tips on and erases one; an upload is not complete yet."""
    hotline = world.caller(HOTLINE)
    for number in range(TIPS):
        sending = world.referral(content=b"tip %d" % number)
        published = await world.publishing.publish(hotline, sending)
        await world.register()
        referral_id = parse_statement(published.referral.jws).message.referral_id
        if number == 0:
            await world.erasing.by_publisher(hotline, referral_id)
    await world.ledger.write(lambda writer: writer.put_chunk(UPLOAD, 0, b"a part"))
    vouched = world.ledger.head().size
    cosigned = CosignatureRow(vouched, "witness.example+01234567", "line\n", 5)
    stamped = TimestampRow(vouched, "authority", b"token", 6)
    await world.ledger.write(lambda writer: writer.put_cosignatures([cosigned]))
    await world.ledger.write(lambda writer: writer.put_timestamps([stamped]))


async def told(store: Store) -> dict[str, object]:
    """Returns all that readers are told of the exchange."""
    head = await store.head()
    assert head is not None
    entries = await store.statements(range(head.size))
    referrals = await store.in_jurisdictions([WHOLE], -1, 99)
    digests = [row.content_digest for row in referrals]
    (policy,) = await store.policies()
    return {
        "head": head,
        "entries": entries,
        "checkpoints": await store.checkpoints_covering(range(head.size)),
        "tiles": await store.tiles(edge_tiles(head.size)),
        "referrals": referrals,
        "deliveries": set(
            await store.deliveries([row.referral_id for row in referrals])
        ),
        "waiting": await store.oldest_waiting(),
        "states": await store.state_counts(),
        "intakes": await store.intakes(HOTLINE, 0, 0, 99),
        "alarm": await store.next_alarm(),
        "feed": await store.feed(STATE_POLICE, Topic.CUSTODY, -1, 99),
        "figures": await store.figures([WHOLE]),
        "exported": await store.export(["US-OH"], 0, head.size, 99),
        "contents": [await store.content(digest) for digest in digests],
        "members": await store.members(),
        "policy": await store.policy(policy.digest),
        "cosignatures": await store.cosignatures([head.size]),
        "timestamps": await store.first_timestamps(0),
    }


async def told_by_file(place: Place) -> dict[str, object]:
    store = await open_sqlite(str(place.database), readers=1, read_only=True)
    try:
        return await told(store)
    finally:
        await store.close()


async def goes_on(place: Place) -> None:
    """Requires that an exchange can be run on the file."""
    store = await open_sqlite(str(place.database))
    try:
        assert await store.head() is not None
    finally:
        await store.close()


async def test_all_that_was_told_before_is_told_after(place: Place) -> None:
    before = await told_by_file(place)
    entries = await place.move()
    async with place.opened() as store:
        after = await told(store)
    for name, value in before.items():
        assert after[name] == value, name
    contents = after["contents"]
    assert isinstance(contents, list)
    assert (entries, contents.count(None)) == (len(before["entries"]), 1)  # type: ignore[arg-type]


async def test_an_upload_can_be_completed_after(place: Place) -> None:
    await place.move()
    async with place.opened() as store:
        async with store.writing() as writer:
            await writer.complete_upload(UPLOAD)
        assert await store.content(UPLOAD.digest) == b"a part"


async def test_nobody_runs_the_file_any_more(place: Place) -> None:
    await place.move()
    for read_only in (False, True):
        with pytest.raises(StateError, match="was moved to PostgreSQL"):
            await open_sqlite(str(place.database), read_only=read_only)


async def test_a_second_move_to_the_same_place_says_that_it_is_done(
    place: Place,
) -> None:
    entries = await place.move()
    assert await place.move() == entries
    async with postgres.database(empty=True) as other:
        with pytest.raises(StateError, match="not to this database"):
            await place.move(other)


Cutting = Callable[[type | ModuleType, str, int, bool], None]


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Cutting:
    """Ends a move before or after the n-th time that it does something."""

    def prepare(owner: type | ModuleType, name: str, nth: int, after: bool) -> None:
        real, calls = getattr(owner, name), count(1)

        async def done(*arguments: object) -> object:
            last = next(calls) == nth
            if last and not after:
                raise CutError
            result = await real(*arguments)
            if last:
                raise CutError
            return result

        monkeypatch.setattr(owner, name, done)

    return prepare


@pytest.mark.parametrize(
    ("owner", "name", "nth", "after"),
    [
        (PostgresTarget, "begin", 1, True),
        (PostgresTarget, "put", 7, False),
        (moving, "_check_copy", 1, True),
        (PostgresTarget, "finish", 1, False),
        (PostgresTarget, "finish", 1, True),
    ],
)
async def test_a_move_that_was_cut_off_goes_on(
    place: Place,
    cut: Cutting,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    nth: int,
    after: bool,
) -> None:
    few = tuple(replace(table, rows=3) for table in TABLES)
    monkeypatch.setattr(moving, "TABLES", few)
    before = await told_by_file(place)
    cut(owner, name, nth, after)
    with pytest.raises(CutError):
        await place.move()
    finished = (name, after) == ("finish", True)
    if not finished:
        with pytest.raises(UnavailableError, match="run `onward-server move`"):
            async with place.opened():
                pass
    await place.move()
    async with place.opened() as store:
        assert await told(store) == before


async def test_what_happened_between_two_attempts_is_moved_too(
    place: Place, cut: Cutting
) -> None:
    cut(PostgresTarget, "settle", 1, False)
    with pytest.raises(CutError):
        await place.move()
    async with open_world(place.folder, seed=SEED) as world:
        world.clock.advance(60)
        await world.ledger.write(
            lambda writer: writer.claim(STATE_POLICE, "other/1", 9, 1, world.clock.ms)
        )
    before = await told_by_file(place)
    await place.move()
    async with place.opened() as store:
        assert await told(store) == before


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("UPDATE statements SET jws = 'A' || substr(jws, 2) WHERE log_index = 7", "7"),
        ("UPDATE tiles SET data = zeroblob(length(data)) WHERE level = 0", "tile 0/0"),
        ("UPDATE checkpoints SET root = digest_of_nothing WHERE size = 4", "size 4"),
        ("DELETE FROM statements WHERE log_index = 9", "entry 9"),
        (
            "UPDATE content_chunks SET data = zeroblob(99) WHERE content_id = 3",
            "the content",
        ),
    ],
)
async def test_what_is_damaged_is_not_moved(
    place: Place, change: str, where: str
) -> None:
    place.change(change.replace("digest_of_nothing", f"x'{'00' * 32}'"))
    with pytest.raises(StateError, match=where):
        await place.move()
    async with place.opened() as store:
        assert await store.head() is None
    await goes_on(place)


async def test_a_database_that_is_in_use_is_not_taken(
    place: Place, tmp_path: Path
) -> None:
    await place.move()
    second = Place(tmp_path / "second", place.url)
    second.folder.mkdir()
    key = Ed25519PrivateKey.generate()
    (second.folder / "log.key").write_bytes(private_key_pem(key))
    async with open_world(second.folder, seed=key.private_bytes_raw()) as world:
        await populate(world)
    with pytest.raises(StateError, match="holds an exchange already"):
        await second.move()
    await goes_on(second)


async def test_a_move_of_another_log_is_left_alone(
    place: Place, tmp_path: Path, cut: Cutting
) -> None:
    cut(PostgresTarget, "put", 3, False)
    with pytest.raises(CutError):
        await place.move()
    (place.folder / "log.key").write_bytes(
        private_key_pem(Ed25519PrivateKey.generate())
    )
    with pytest.raises(StateError, match="another log is being moved"):
        await place.move()


async def test_an_old_file_is_not_moved(place: Place) -> None:
    guard = Guard(place.folder / "guard")
    guard.record(99, bytes(32))
    guard.close()
    with pytest.raises(StateError, match="99 entries were signed"):
        await place.move()


async def test_a_running_exchange_is_not_moved(place: Place) -> None:
    async with open_world(place.folder, seed=SEED):
        with pytest.raises(UnavailableError, match="in use by another"):
            await place.move()


async def test_two_moves_at_once_do_not_mix(place: Place) -> None:
    async with open_target(place.url):
        with pytest.raises(UnavailableError, match="another move"):
            await place.move()
    await place.move()


async def test_a_role_that_may_not_make_tables_is_told_so(place: Place) -> None:
    await migrate_postgres(place.url)
    role = f"r{uuid4().hex[:8]}"
    await postgres.shared().execute(f"CREATE ROLE {role} LOGIN")
    try:
        url = place.url.replace(postgres.ROLE, role, 1)
        with pytest.raises(UnavailableError, match="lacks a privilege"):
            await place.move(url)
        await goes_on(place)
    finally:
        await postgres.shared().execute(f"DROP ROLE {role}")
