"""Strangers' software checks our log: as it is served, as it is exported, and receipts.

And it is shown logs that are wrong, since a checker that finds nothing proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onward.core.statements import statement_digest
from onward_server.log_export import export_log
from tests.support.service import Service, open_service
from tests.support.world import HOTLINE

pytestmark = pytest.mark.timeout(400)

ENTRIES = 600
"""Two full tiles, a partial one, and a second level."""


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """An exchange with that many entries, in commits of many sizes."""
    async with open_service(tmp_path, {"ONWARD__WEB__LISTEN": "127.0.0.1:0"}) as opened:
        yield opened


async def published(service: Service) -> dict[str, str]:
    """Publishes referrals at once; returns receipts by entry, in hexadecimal."""
    world = service.world
    receipts: dict[str, str] = {}
    while service.app.ledger.head().size < ENTRIES:
        done = await asyncio.gather(
            *(
                world.publishing.publish(world.caller(HOTLINE), world.referral())
                for _ in range(7)
            )
        )
        for one in done:
            for logged in (one.referral, one.acceptance):
                receipts[statement_digest(logged.jws).hex()] = logged.receipt
    return receipts


async def older(service: Service) -> list[str]:
    """Returns every checkpoint that the log has signed."""
    store, size = service.app._basis.store, service.app.ledger.head().size
    rows = await store.checkpoints_covering(range(size))
    return sorted({row.note for row in rows.values()})


async def run(*words: str | Path) -> tuple[int, str, str]:
    """Runs a program while the exchange goes on; returns its code and outputs."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def says(word: str, *words: str | Path) -> None:
    """Runs a program that does not end, until it says a word in its messages."""
    process = await asyncio.create_subprocess_exec(
        *words, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while word.encode() not in await process.stderr.readline():
                assert not process.stderr.at_eof()
    finally:
        process.kill()
        await process.communicate()


def vkey(service: Service) -> str:
    return service.app.ledger._signer.vkey.format()


def url(service: Service) -> str:
    return f"http://127.0.0.1:{service.app.web_port}"


async def exported(service: Service, folder: Path) -> Path:
    signer = service.app.ledger._signer
    store = service.app._basis.store
    await export_log(store, signer.vkey, folder, lambda _total: lambda _steps: None)
    return folder


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Does not."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serves a folder as any web server would."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def flip(path: Path, at: int) -> None:
    """Flips a bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


async def test_go_checks_everything_that_an_exchange_says(
    service: Service, go_verifier: Path, tmp_path: Path
) -> None:
    receipts = await published(service)
    (tmp_path / "receipts.json").write_text(json.dumps(receipts))
    notes = await older(service)
    (tmp_path / "older.json").write_text(json.dumps(notes))
    code, output, errors = await run(
        *(go_verifier, "-url", url(service), "-vkey", vkey(service)),
        *("-older", tmp_path / "older.json", "-receipts", tmp_path / "receipts.json"),
    )
    assert code == 0, errors
    size = service.app.ledger.head().size
    assert json.loads(output) == {
        "size": size,
        "records": size,
        "older": len(notes),
        "receipts": len(receipts),
    }
    assert len(receipts) > 400
    assert 50 < len(notes) < size


async def test_go_refuses_what_is_not_so(
    service: Service, go_verifier: Path, tmp_path: Path
) -> None:
    receipts = await published(service)
    entry, receipt = receipts.popitem()
    other, _ = receipts.popitem()
    (tmp_path / "wrong.json").write_text(json.dumps({other: receipt}))
    folder = await exported(service, tmp_path / "static")
    size = service.app.ledger.head().size
    with served(folder) as place:
        check = partial(run, go_verifier, "-url", place, "-vkey")
        assert (await check(vkey(service)))[0] == 0
        # A receipt of another entry.
        code, _, errors = await check(
            vkey(service), "-receipts", str(tmp_path / "wrong.json")
        )
        assert (code, "receipt of" in errors) == (1, True)
        # The key of another log.
        async with open_service(tmp_path / "other") as stranger:
            assert (await check(vkey(stranger)))[0] == 1
        # One bit of a tile, of a bundle, of the checkpoint.
        for name, at in (
            ("tile/0/000", 5000),
            ("tile/0/001", 1),
            (f"tile/0/002.p/{size - 512}", 40),
            ("tile/1/000.p/2", 3),
            ("tile/entries/001", 100),
            ("checkpoint", 30),
        ):
            flip(folder / name, at)
            assert (await check(vkey(service)))[0] == 1, name
            flip(folder / name, at)
        assert (await check(vkey(service)))[0] == 0
    assert entry


async def test_tessera_checks_what_is_served_and_what_is_exported(
    service: Service, fsck: Path, tmp_path: Path
) -> None:
    await published(service)
    (tmp_path / "log.pub").write_text(vkey(service))
    folder = await exported(service, tmp_path / "static")
    check = partial(run, fsck, "--ui=false", "--v=1", "--public_key")
    with served(folder) as place:
        for log in (url(service), place, folder.as_uri()):
            _, _, said = await check(str(tmp_path / "log.pub"), f"--storage_url={log}/")
            assert "Successfully" in said, said
            assert "failed" not in said, said
        flip(folder / "tile/entries/001", 100)
        await says(
            "Invalid",
            *(fsck, "--ui=false", "--v=1", "--public_key", tmp_path / "log.pub"),
            f"--storage_url={folder.as_uri()}/",
        )
