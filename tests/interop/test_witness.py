"""A stranger's log is witnessed by us: one of Tessera, as it is, over HTTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from onward.core.checkpoints import Checkpoint
from onward.core.encoding import encode_base64
from onward.core.notes import NoteSigner, open_note
from onward_server.exchange.clock import SystemClock
from onward_server.telemetry import Telemetry
from onward_server.web.server import WebPort, WebServer, web_app
from onward_server.web.witness import witness_routes
from onward_server.witnessing.logs import KnownLogs
from onward_server.witnessing.store import EvidenceKind, WitnessStore
from onward_server.witnessing.witness import Witness
from tests.support.witnessing import COSIGNER, key

HERE = Path(__file__).parent
SIGNER = NoteSigner("tessera.example/log", key("tessera"))
# Tessera 1.0 writes a witness's key as if it signed notes, and makes type 04 of it.
WRITTEN_AS_ED25519 = NoteSigner(COSIGNER.name, COSIGNER.private_key).vkey

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="session")
def tessera(go: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that runs a log of Tessera, which comes from Go's module proxy."""
    folder = tmp_path_factory.mktemp("tessera") / "witnessed"
    shutil.copytree(HERE / "witnessed", folder)
    had = _go(go, folder, "mod", "download")
    if had is None or had.returncode != 0:
        why = had.stderr.strip()[-200:] if had else "it takes too long"
        pytest.skip(f"Tessera cannot be had: {why}")
    built = _go(go, folder, "build", "-o", "witnessed", ".")
    assert built is not None
    assert built.returncode == 0, built.stderr
    return folder / "witnessed"


def _go(go: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str] | None:
    """Runs ``go`` with what go.sum allows; None if it takes too long."""
    more = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    try:
        return subprocess.run(
            [go, *words],
            cwd=folder,
            env=os.environ | more,
            capture_output=True,
            check=False,
            text=True,
            timeout=180,
        )
    except subprocess.TimeoutExpired:
        return None


@dataclass
class Port:
    """A witness, and where it answers."""

    witness: Witness
    url: str


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[Port]:
    """Runs a witness of that log, in a new folder."""
    folder.mkdir()
    (folder / "logs").write_text(f"log {SIGNER.vkey.format()}\n")
    store = WitnessStore.create(folder / "witness.sqlite")
    logs = KnownLogs(folder / "logs")
    witness = Witness(COSIGNER, logs, store, SystemClock(), Telemetry())
    server = WebServer(
        web_app(witness_routes(witness), "/witness"), WebPort("127.0.0.1:0")
    )
    await server.start()
    try:
        yield Port(witness, f"http://127.0.0.1:{server.number}/witness")
    finally:
        await server.stop(0)
        witness.close()


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async with listening(tmp_path / "witness") as opened:
        yield opened


async def grow(
    tessera: Path, port: Port, folder: Path, story: str, *more: str
) -> tuple[int, str, str]:
    """Grows a log; returns exit code, published checkpoint and messages."""
    seed = encode_base64(b"\x01" + SIGNER.private_key.private_bytes_raw())
    name = f"{SIGNER.name}+{SIGNER.vkey.key_id.hex()}"
    process = await asyncio.create_subprocess_exec(
        *(tessera, "-folder", folder, "-story", story, "-url", port.url),
        *("-key", f"PRIVATE+KEY+{name}+{seed}"),
        *("-witness", WRITTEN_AS_ED25519.format(), *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def test_a_log_of_tessera_publishes_what_we_cosigned(
    tessera: Path, port: Port, tmp_path: Path
) -> None:
    sizes = []
    for rounds in ("1", "4"):  # the second goes on, as after a restart
        code, note, errors = await grow(
            tessera, port, tmp_path / "log", "true", "-rounds", rounds, "-entries", "90"
        )
        assert code == 0, errors
        opened = open_note(note, [SIGNER.vkey, COSIGNER.vkey])
        assert {one.vkey for one in opened.signatures} == {SIGNER.vkey, COSIGNER.vkey}
        sizes.append(Checkpoint.parse(opened.text).size)
        (head,) = port.witness.store.heads()
        assert head.signed.checkpoint == Checkpoint.parse(opened.text)
    assert sizes == [90, 450]
    assert port.witness.store.evidence() == []


async def test_a_log_of_tessera_that_begins_again_is_not_published(
    tessera: Path, port: Port, tmp_path: Path
) -> None:
    code, _, errors = await grow(
        tessera, port, tmp_path / "log", "true", "-entries", "9"
    )
    assert code == 0, errors
    code, note, errors = await grow(tessera, port, tmp_path / "another", "true")
    assert (code, note) == (1, "")
    assert "size 9, larger than log size 0" in errors


async def test_a_log_of_tessera_with_another_history_is_not_published(
    tessera: Path, port: Port, tmp_path: Path
) -> None:
    more = ("-entries", "9")
    code, _, errors = await grow(tessera, port, tmp_path / "log", "true", *more)
    assert code == 0, errors
    async with listening(tmp_path / "colluder") as colluder:
        forked = tmp_path / "forked"
        for _ in range(2):
            code, _, errors = await grow(tessera, colluder, forked, "false", *more)
            assert code == 0, errors
    code, note, errors = await grow(tessera, port, forked, "false", "-patience", "4s")
    assert (code, note) == (1, "")
    assert "422" in errors
    (head,) = port.witness.store.heads()
    assert head.signed.checkpoint.size == 9
    evidence = port.witness.store.evidence()
    assert {item.kind for item in evidence} == {EvidenceKind.UNPROVEN}
