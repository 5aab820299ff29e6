"""Erased means: in no file of the database can its bytes be found or read."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from onward_server.storage.contract import UploadRow
from onward_server.storage.sqlite import SqliteStore, open_sqlite
from tests.storage.scribe import OHIO, Scribe


class Vault:
    """A store of contents, and a look into its files."""

    def __init__(self, store: SqliteStore, path: Path) -> None:
        self.store = store
        self.path = path
        self._scribe = Scribe()

    async def keep(self, *contents: bytes) -> list[bytes]:
        """Publishes referrals with these contents; returns the contents' digests."""
        digests = [sha256(content).digest() for content in contents]
        for digest, content in zip(digests, contents, strict=True):
            self._scribe.publish(
                f"r{len(self._scribe.referrals)}",
                OHIO,
                content=content,
                content_digest=digest,
            )
        await self._scribe.commit(self.store)
        return digests

    async def erase(self, *digests: bytes) -> None:
        self._scribe.batch.erase_contents += digests
        await self._scribe.commit(self.store)

    def secrets(self) -> dict[bytes, bytes]:
        """Returns the secret of each content that has not been erased."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as look:
            found = look.execute(
                "SELECT digest, secret FROM contents"
                " JOIN content_secrets USING (content_id)"
                " WHERE secret <> zeroblob(32)"
            )
            return dict(found.fetchall())

    def bytes(self) -> bytes:
        """Returns everything that is in the database and its write-ahead log."""
        files = [self.path, Path(f"{self.path}-wal")]
        return b"".join(file.read_bytes() for file in files if file.exists())


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    path = tmp_path / "exchange.sqlite"
    store = await open_sqlite(str(path))
    yield Vault(store, path)
    await store.close()


async def test_content_is_never_stored_as_it_is(vault: Vault) -> None:
    content = random.Random(1).randbytes(3000)
    (digest,) = await vault.keep(content)
    stored = vault.bytes()
    assert all(content[at : at + 16] not in stored for at in range(0, 2900, 100))
    assert await vault.store.content(digest) == content


async def test_secret_is_gone_with_the_commit(vault: Vault) -> None:
    kept, erased = await vault.keep(b"kept", b"erased")
    secrets = vault.secrets()
    assert secrets[erased] in vault.bytes()
    await vault.erase(erased)
    assert secrets[erased] not in vault.bytes()
    assert secrets[kept] in vault.bytes()
    assert await vault.store.content(kept) == b"kept"


async def test_dropped_upload_is_erased_too(vault: Vault) -> None:
    upload = UploadRow(sha256(b"dropped").digest(), OHIO, 100)
    async with vault.store.writing() as writer:
        await writer.put_chunk(upload, 0, b"dropped")
    secret = vault.secrets()[upload.digest]
    assert secret in vault.bytes()
    async with vault.store.writing() as writer:
        assert await writer.drop_uploads(101) == 1
    assert secret not in vault.bytes()


async def test_no_secret_is_left_after_much_coming_and_going(vault: Vault) -> None:
    chance = random.Random(7)
    secrets: dict[bytes, bytes] = {}
    erased: list[bytes] = []
    for _ in range(40):
        contents = [chance.randbytes(chance.choice([60, 400, 1500])) for _ in range(30)]
        await vault.keep(*contents)
        secrets |= vault.secrets()
        gone = chance.sample(
            sorted(secrets.keys() - set(erased)), chance.choice([1, 10, 40])
        )
        await vault.erase(*gone)
        erased += gone
    left = vault.bytes()
    assert len(erased) > 300
    assert not [digest for digest in erased if secrets[digest] in left]
    assert all(secrets[digest] in left for digest in secrets.keys() - set(erased))


@pytest.mark.parametrize("then", ["commit", "backup"])
async def test_reader_of_an_older_state_only_delays_it(
    vault: Vault, tmp_path: Path, then: str
) -> None:
    (erased,) = await vault.keep(b"erased")
    secret = vault.secrets()[erased]
    with closing(
        sqlite3.connect(f"file:{vault.path}?mode=ro", uri=True, isolation_level=None)
    ) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM contents").fetchone()
        await vault.erase(erased)
        assert await vault.store.content(erased) is None
        assert secret in vault.bytes()
    if then == "commit":
        await vault.keep(b"the next one")
    else:
        await vault.store.backup(str(tmp_path / "backup"))
    assert secret not in vault.bytes()


async def test_start_finishes_what_a_crash_left(vault: Vault, tmp_path: Path) -> None:
    (erased,) = await vault.keep(b"erased")
    secret = vault.secrets()[erased]
    with closing(
        sqlite3.connect(f"file:{vault.path}?mode=ro", uri=True, isolation_level=None)
    ) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM contents").fetchone()
        await vault.erase(erased)
        crashed = tmp_path / "crashed.sqlite"
        for end in ("", "-wal"):
            source = Path(f"{vault.path}{end}")
            Path(f"{crashed}{end}").write_bytes(source.read_bytes())
    after = Vault(await open_sqlite(str(crashed)), crashed)
    assert secret not in after.bytes()
    await after.store.close()


async def test_backup_has_no_erased_secret(vault: Vault, tmp_path: Path) -> None:
    kept, erased = await vault.keep(b"kept", b"erased")
    secrets = vault.secrets()
    await vault.erase(erased)
    await vault.store.backup(str(tmp_path / "backup"))
    copy = (tmp_path / "backup").read_bytes()
    assert secrets[erased] not in copy
    assert secrets[kept] in copy
