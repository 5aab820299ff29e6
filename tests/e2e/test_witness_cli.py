"""``onward-server witness`` as its operator uses it: real processes and exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from onward.core.checkpoints import Checkpoint
from onward.core.notes import KeyType, Vkey, open_note
from tests.support.process import BIN, answers, command, free_port
from tests.support.witnessing import GrownLog

LOG = GrownLog()
FORKED = GrownLog(story="another")


class WitnessProcess:
    """A witness in a folder, with a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.vkey = Vkey.parse(
            command(
                "onward-server",
                *("witness", "init", str(folder), "--name", "witness.example/w1"),
                *("--listen", f"127.0.0.1:{self.port}"),
            ).strip()
        )

    def run(self, *words: str, code: int = 0) -> str:
        """Runs a command of the witness."""
        config = ("--config", str(self.folder))
        return command("onward-server", "witness", *words, *config, code=code)

    def asked(self, *words: str, code: int = 0) -> Any:
        """Runs a command for its data."""
        return json.loads(self.run(*words, "--json", code=code))

    @contextmanager
    def serving(self, end: signal.Signals = signal.SIGTERM) -> Iterator[None]:
        """Serves while the block runs."""
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                [BIN / "onward-server", "witness", "serve", "--config", self.folder],
                stdout=output,
                stderr=output,
            )
        try:
            until = time.monotonic() + 30
            while not answers(self.port):
                assert process.poll() is None, (self.folder / "output").read_text()
                assert time.monotonic() < until
                time.sleep(0.02)
            yield
        finally:
            process.send_signal(end)
            code = process.wait(30)
        assert code == (0 if end is signal.SIGTERM else -end)

    def add(self, log: GrownLog, old: int, size: int) -> httpx.Response:
        """Sends a checkpoint."""
        url = f"http://127.0.0.1:{self.port}/add-checkpoint"
        return httpx.post(url, content=log.request(old, size), timeout=30)


@pytest.fixture
def witness(tmp_path: Path) -> WitnessProcess:
    return WitnessProcess(tmp_path / "witness")


def test_a_witness_from_its_beginning_through_a_kill_to_a_fork(
    witness: WitnessProcess,
) -> None:
    with witness.serving(signal.SIGKILL):
        assert witness.add(LOG, 0, 5).status_code == 404
        witness.run("add-log", LOG.signer.vkey.format(), "--url", "https://log.example")
        answer = witness.add(LOG, 0, 5)
        opened = open_note(LOG.note(5) + answer.text, [witness.vkey])
        assert Checkpoint.parse(opened.text) == LOG.checkpoint(5)
        (signature,) = opened.signatures
        assert signature.time == pytest.approx(time.time(), abs=60)
    assert witness.asked("evidence") == {"evidence": []}
    with witness.serving():
        assert witness.add(FORKED, 0, 7).status_code == 409
        assert witness.add(FORKED, 5, 7).status_code == 422
        assert witness.asked("evidence")["evidence"][0]["kind"] == "unproven"
        assert witness.add(LOG, 5, 7).status_code == 200
        assert witness.add(FORKED, 7, 7).status_code == 422
        assert witness.add(LOG, 7, 8).status_code == 200
    found = witness.asked("evidence", code=1)["evidence"]
    assert [item["kind"] for item in found] == ["unproven", "fork"]
    assert (found[1]["cosigned"], found[1]["refused"]) == (LOG.note(7), FORKED.note(7))
    assert FORKED.note(7) in witness.run("evidence", code=1)
    (log,) = witness.asked("logs")["logs"]
    assert (log["origin"], log["size"]) == (LOG.origin, 8)
    assert log["root"] == LOG.tree(8).root.hex()
    assert re.search(r"log\.example/one +8 +20\d\d-.*https://log", witness.run("logs"))
    assert Vkey.parse(witness.run("key").strip()) == witness.vkey
    plain = Vkey.parse(witness.run("key", "--as-ed25519").strip())
    assert (plain.name, plain.type) == (witness.vkey.name, KeyType.ED25519)
    assert plain.public_key == witness.vkey.public_key


def test_only_the_owner_may_read_what_init_makes(witness: WitnessProcess) -> None:
    for path in (witness.folder, *witness.folder.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_nothing_is_overwritten_and_nothing_begins_anew(
    witness: WitnessProcess, tmp_path: Path
) -> None:
    folder = str(witness.folder)
    command("onward-server", "witness", "init", folder, "--name", "another", code=1)
    assert Vkey.parse(witness.run("key").strip()) == witness.vkey
    (witness.folder / "witness.sqlite").unlink()
    witness.run("serve", code=3)
    witness.run("logs", code=3)
    assert not (witness.folder / "witness.sqlite").exists()
    witness.run("add-log", "nonsense", code=2)
    bad = str(tmp_path / "bad")
    command("onward-server", "witness", "init", bad, "--name", "two words", code=2)
    assert not Path(bad).exists()
    empty = str(tmp_path)
    command("onward-server", "witness", "logs", "--config", empty, code=2)
