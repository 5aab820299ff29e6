"""What the doctor says of an exchange that witnesses others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onward_server.bootstrap import Founding, found
from onward_server.doctor import Finding, Verdict, examine
from onward_server.exchange.clock import SystemClock
from onward_server.witnessing.founding import WitnessFounding, found_witness
from tests.support.witnessing import GrownLog, make_witness, write_logs

LOG = GrownLog()
FORKED = GrownLog(story="another")
SETTINGS = {
    "ONWARD__WEB__LISTEN": "127.0.0.1:0",
    "ONWARD__WITNESS__KEY_FILE": "witness/witness.key",
}


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """An exchange that is a witness, too, and does not run."""
    founding = Founding(tmp_path / "exchange", "national.example")
    founded = await found(founding, SystemClock(), os.urandom)
    folder = tmp_path / "exchange" / "witness"
    found_witness(WitnessFounding(folder, "national.example/witness"))
    write_logs(folder / "logs", LOG)
    return founded.config_file


async def said(config: Path, subject: str = "witness") -> list[Finding]:
    """Returns what is said of a subject."""
    found_all = [one async for one in examine(config, SETTINGS, SystemClock())]
    return [one for one in found_all if one.subject == subject]


async def test_a_sound_witness_is_fine(config: Path) -> None:
    (finding,) = await said(config)
    assert finding.verdict is Verdict.FINE
    assert finding.detail == "national.example/witness witnesses log.example/one"
    (files,) = await said(config, "files")
    assert files.verdict is Verdict.FINE


async def test_evidence_is_told_with_what_to_do(config: Path) -> None:
    witness = make_witness(config.parent / "witness")
    witness.add_checkpoint(LOG.request(0, 5))
    witness.add_checkpoint(FORKED.request(5, 6))
    witness.add_checkpoint(FORKED.request(5, 5))
    witness.close()
    _, *findings = await said(config)
    assert [(one.verdict, one.detail) for one in findings] == [
        (Verdict.WARNING, "log.example/one: 1 unproven"),
        (Verdict.PROBLEM, "log.example/one: 1 fork"),
    ]


async def test_what_keeps_it_from_witnessing_is_a_problem(config: Path) -> None:
    folder = config.parent / "witness"
    (folder / "logs").write_text("")
    assert [one.verdict for one in await said(config)] == [Verdict.WARNING]
    (folder / "logs").write_text("nonsense\n")
    assert [one.verdict for one in await said(config)] == [Verdict.PROBLEM]
    (folder / "logs").write_text("")
    (folder / "witness.sqlite").unlink()
    (finding,) = await said(config)
    assert finding.verdict is Verdict.PROBLEM
    assert "witness init" in finding.detail
    (folder / "witness.key").chmod(0o644)
    assert {one.verdict for one in await said(config, "files")} == {Verdict.PROBLEM}


async def test_an_exchange_that_is_no_witness_is_told_nothing(config: Path) -> None:
    assert not [
        one
        async for one in examine(config, {}, SystemClock())
        if one.subject == "witness"
    ]
