"""The doctor looks at a database that is on a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from onward_server.config import Config
from onward_server.databases import open_store
from onward_server.doctor import Verdict, examine
from onward_server.doctor.database import find
from onward_server.exchange.clock import Clock
from onward_server.material import load_material
from onward_server.replicas import facts
from onward_server.storage.postgres import Inspected
from tests.replicas.conftest import CLOCK
from tests.support.service import RunningClock

SAFE: Mapping[str, str] = {
    "server_version": "15.8",
    "fsync": "on",
    "full_page_writes": "on",
    "data_checksums": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "ANY 1 (*)",
}
VERIFIED = "postgresql://onward@db.example/onward?sslmode=verify-full"


async def told(
    folder: Path, clock: Clock = CLOCK, **environment: str
) -> dict[str, tuple[Verdict, str]]:
    """What the doctor says, by subject."""
    file = folder / "exchange" / "exchange.toml"
    return {
        finding.subject: (finding.verdict, finding.detail)
        async for finding in examine(file, environment, clock)
    }


@pytest.mark.usefixtures("config")
async def test_the_log_of_a_server_is_looked_at(tmp_path: Path) -> None:
    said = await told(tmp_path)
    assert said["database"][0] is said["log"][0] is Verdict.FINE
    assert said["clocks"][0] is Verdict.FINE
    assert said["restore guard"][0] is Verdict.FINE
    assert said["replicas"][1].startswith("0 ")
    assert said["disk space"][0] is not Verdict.PROBLEM
    # The server of the tests forgets everything in a crash of its machine.
    assert said["durability"][0] is Verdict.WARNING


async def test_replicas_that_run_are_counted(config: Config, tmp_path: Path) -> None:
    replica = await open_store(config)
    try:
        await replica.join(facts(config, load_material(config)))
        assert (await told(tmp_path))["replicas"][1].startswith("1 ")
    finally:
        await replica.close()


@pytest.mark.usefixtures("config")
async def test_a_server_that_does_not_answer_is_found_and_no_password_shown(
    tmp_path: Path,
) -> None:
    file = tmp_path / "gone.url"
    file.write_text("postgresql://onward:hush@127.0.0.1:1/onward")
    said = await told(tmp_path, ONWARD__STORAGE__URL_FILE=str(file))
    assert said["database"][0] is Verdict.PROBLEM
    assert "cannot be reached" in said["database"][1]
    assert "hush" not in str(said)


@pytest.mark.usefixtures("config")
async def test_who_else_may_read_the_password_is_found(tmp_path: Path) -> None:
    (tmp_path / "database.url").chmod(0o644)
    assert (await told(tmp_path))["files"][0] is Verdict.PROBLEM


@pytest.mark.parametrize(
    ("changed", "local", "encrypted", "address", "subject", "verdict"),
    [
        ({}, False, True, VERIFIED, "", Verdict.FINE),
        ({}, True, False, "postgresql:///onward", "", Verdict.FINE),
        ({}, False, False, VERIFIED, "way to the database", Verdict.PROBLEM),
        (
            {},
            False,
            True,
            VERIFIED.replace("verify-full", "require"),
            "way to the database",
            Verdict.WARNING,
        ),
        ({"fsync": "off"}, False, True, VERIFIED, "durability", Verdict.PROBLEM),
        (
            {"synchronous_standby_names": ""},
            False,
            True,
            VERIFIED,
            "durability",
            Verdict.WARNING,
        ),
        (
            {"data_checksums": "off"},
            False,
            True,
            VERIFIED,
            "database pages",
            Verdict.WARNING,
        ),
    ],
)
def test_what_is_weak_is_named(
    changed: Mapping[str, str],
    local: bool,
    encrypted: bool,
    address: str,
    subject: str,
    verdict: Verdict,
) -> None:
    inspected = Inspected({**SAFE, **changed}, local, encrypted, (), 0)
    weak = {
        finding.subject: finding
        for finding in find(inspected, address)
        if finding.verdict is not Verdict.FINE
    }
    assert set(weak) == ({subject} if subject else set())
    assert all(item.verdict is verdict and item.remedy for item in weak.values())


@pytest.mark.parametrize("ahead_ms", [-60_000, 60_000])
@pytest.mark.usefixtures("config")
async def test_a_machine_with_another_time_than_the_server_is_found(
    tmp_path: Path, ahead_ms: int
) -> None:
    wrong = RunningClock()
    wrong.shift_ms = ahead_ms
    said = await told(tmp_path, wrong)
    way = "ahead of" if ahead_ms > 0 else "behind"
    assert said["clocks"][0] is Verdict.PROBLEM
    assert f" {way} " in said["clocks"][1]
