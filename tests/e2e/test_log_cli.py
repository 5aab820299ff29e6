"""``onward-server log`` as an operator uses it, beside an exchange that runs."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from onward.core.notes import KeyType, open_note
from onward.home import Home
from tests.support.process import BIN, ExchangeProcess, command


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeProcess]:
    exchange = ExchangeProcess.found(tmp_path_factory.mktemp("running"))
    exchange.start()
    yield exchange
    assert exchange.stop() == 0


def log(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command; nothing of it is asserted."""
    return subprocess.run(
        [BIN / "onward-server", "log", *words, "--config", folder],
        capture_output=True,
        check=False,
        text=True,
    )


def test_a_log_is_exported_and_checked_while_its_exchange_runs(
    running: ExchangeProcess, tmp_path: Path
) -> None:
    # 1. All that there is.
    home, static = running.folder / "exchange", tmp_path / "static"
    first = json.loads(log(home, "export", static, "--json").stdout)
    assert first["before"] == 0
    assert (static / "checkpoint").read_text().split("\n")[1] == str(first["size"])
    # 2. The log grows, and the folder with it.
    command(
        *("onward-server", "member", "add", "agency/ohio-state-police"),
        *("--kind", "LAW_ENFORCEMENT", "--display-name", "State police"),
        *("--jurisdiction", "US-OH", "--config", str(running.config)),
    )
    second = json.loads(log(home, "export", static, "--json").stdout)
    assert second["size"] > second["before"] == first["size"]
    # 3. Both keys of the log have signed, as what it answers over HTTP.
    keys = [known.vkey for known in Home.open(home / "operator").policy.logs]
    opened = open_note((static / "checkpoint").read_text(), keys)
    types = [signature.vkey.type for signature in opened.signatures]
    assert types == [KeyType.ED25519, KeyType.ML_DSA_44]
    # 4. All of it is sound.
    checked = log(home, "verify", "--json")
    found = json.loads(checked.stdout)
    assert (checked.returncode, found["sound"], found["problems"]) == (0, True, [])
    assert found["size"] == found["statements"] == second["size"]
    assert "all is sound" in log(home, "verify").stderr


def test_a_wrong_bit_ends_with_code_1(running: ExchangeProcess, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    command(
        *("onward-server", "backup", str(copy), "--with-keys"),
        *("--config", str(running.config)),
    )
    assert log(copy, "verify").returncode == 0
    with closing(sqlite3.connect(copy / "db/exchange.sqlite")) as connection:
        connection.execute("UPDATE statements SET jws = jws || 'A' WHERE log_index = 1")
        connection.commit()
    checked = log(copy, "verify")
    assert checked.returncode == 1
    assert checked.stdout.startswith("entry 1: the statement's bytes do not have")
    assert "damaged or was tampered with" in checked.stderr


def test_what_cannot_be_checked_says_why(tmp_path: Path) -> None:
    assert log(tmp_path, "verify").returncode == 2
    exchange = ExchangeProcess.found(tmp_path)
    home = tmp_path / "exchange"
    (tmp_path / "static").write_text("a file")
    refused = log(home, "export", tmp_path / "static")
    assert refused.returncode == 3
    assert "static" in refused.stderr
    (home / "db/exchange.sqlite").unlink()
    missing = log(home, "verify")
    assert missing.returncode == 3
    assert "exchange.sqlite" in missing.stderr
    assert exchange.process is None
