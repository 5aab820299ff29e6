"""The page about witnessing: what it tells people to type is run here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onward.core.checkpoints import Checkpoint
from onward.core.notes import Vkey, open_note
from tests.support.pages import DOCS, SECONDS, Step, session
from tests.support.process import ExchangeProcess, command, free_port

pytestmark = pytest.mark.timeout(SECONDS + 30)


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[tuple[ExchangeProcess, str]]:
    """A running exchange that shows its log, and where."""
    port = free_port()
    found = ExchangeProcess.found(
        tmp_path, {"ONWARD__WEB__LISTEN": f"127.0.0.1:{port}"}
    )
    (tmp_path / "trust").write_bytes((found.operator / "trust.txt").read_bytes())
    found.start()
    yield found, f"http://127.0.0.1:{port}"
    found.stop()


def test_a_log_is_witnessed_as_the_page_says(
    exchange: tuple[ExchangeProcess, str], tmp_path: Path
) -> None:
    page = (DOCS / "how-to" / "witness-a-log.md").read_text("utf-8")
    page = page.replace("8090", str(free_port()))
    steps: list[Step] = session(page, tmp_path, {"LOG": exchange[1]})
    for step in steps:
        if step.shown and "grep" in step.commands:
            step.check()
    vkey = Vkey.parse(
        command(
            "onward-server", "witness", "key", "--config", f"{tmp_path}/witness"
        ).strip()
    )
    note = (tmp_path / "request").read_text("utf-8").partition("\n\n")[2]
    signed = open_note(note + (tmp_path / "answer").read_text("utf-8"), [vkey])
    size = Checkpoint.parse(signed.text).size
    (listed,) = [step for step in steps if "witness logs --config w" in step.commands]
    assert f"national.example/log  {size} " in listed.printed
    (evidence,) = [step for step in steps if "evidence" in step.commands]
    assert "nothing was signed" in evidence.printed
