"""The page about being witnessed: what it tells people to type is run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from onward.core.notes import KeyType, Vkey
from tests.support.pages import DOCS, SECONDS, session
from tests.support.process import ExchangeProcess, command, free_port

pytestmark = pytest.mark.timeout(SECONDS + 30)


@pytest.fixture
def witness(tmp_path: Path) -> dict[str, str]:
    """A new witness; its vkey and URL."""
    home, port = str(tmp_path / "witness"), free_port()
    words = ("--name", "witness.example/w1", "--listen", f"127.0.0.1:{port}")
    command("onward-server", "witness", "init", home, *words)
    vkey = command("onward-server", "witness", "key", "--config", home).strip()
    return {"VKEY": vkey, "URL": f"http://127.0.0.1:{port}"}


def test_a_log_is_witnessed_as_the_page_says(
    tmp_path: Path, witness: dict[str, str]
) -> None:
    found = ExchangeProcess.found(tmp_path)
    trust = (found.operator / "trust.txt").read_text("utf-8")
    vkeys = [line.split()[1] for line in trust.splitlines() if line.startswith("log ")]
    home = str(tmp_path / "witness")
    command("onward-server", "witness", "add-log", "--config", home, vkeys[0])
    port = free_port()
    environment = {
        **witness,
        "LOG": f"http://127.0.0.1:{port}",
        "ONWARD__WEB__LISTEN": f"127.0.0.1:{port}",
    }
    page = (DOCS / "how-to" / "be-witnessed.md").read_text("utf-8")
    serving = (
        f"env -u ONWARD__WEB__LISTEN onward-server witness serve --config {home} &\n"
    )
    first = "```sh\nawk"
    assert first in page
    steps = session(page.replace(first, f"```sh\n{serving}awk"), tmp_path, environment)
    keys, *_, signatures = steps
    signatures.check()
    assert keys.printed.split() == vkeys
    assert [Vkey.parse(vkey).type for vkey in vkeys] == [
        KeyType.ED25519,
        KeyType.ML_DSA_44,
    ]
