"""Backups: complete, consistent, and without secrets unless asked."""

from pathlib import Path

import pytest

from onward.core.errors import MalformedError, StateError
from onward_server.backup import BackedUp, back_up
from onward_server.config import load
from onward_server.doctor import Verdict, examine
from tests.support.enrolling import OHIO, description
from tests.support.founding import contents, new_exchange, running
from tests.support.process import free_port
from tests.support.world import SettableClock

SECRETS = {
    "keys/log.key",
    "keys/log-mldsa.key",
    "keys/statement.key",
    "tls/ca.key",
    "tls/server.key",
}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return new_exchange(tmp_path / "exchange")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


async def copied(made: Path, target: Path, *, with_keys: bool = False) -> BackedUp:
    file = made / "exchange.toml"
    return await back_up(load(file, {}), file, target, with_keys=with_keys)


async def test_secrets_stay_where_they_are(made: Path, target: Path) -> None:
    done = await copied(made, target)
    assert contents(target).keys() == {
        "exchange.toml",
        "db/exchange.sqlite",
        "tls/ca.pem",
        "tls/server.pem",
    }
    assert {str(path.relative_to(made)) for path in done.keep} == SECRETS
    assert done.entries == 4


async def test_secrets_go_with_it_when_asked(made: Path, target: Path) -> None:
    done = await copied(made, target, with_keys=True)
    copy, original = contents(target), contents(made)
    assert done.keep == {}
    assert copy.keys() >= SECRETS
    assert {path for path in original if path.startswith("operator/")} <= copy.keys()
    assert {path for path in copy if copy[path] != original[path]} <= {
        "db/exchange.sqlite"
    }
    assert [path for path in target.rglob("*") if path.stat().st_mode & 0o077] == []


async def test_the_guard_is_never_in_it(made: Path, target: Path) -> None:
    await copied(made, target, with_keys=True)
    assert not (target / "guard").exists()


async def test_a_running_exchange_is_copied(made: Path, target: Path) -> None:
    clock = SettableClock()
    async with running(made, clock) as (registry, admin):
        await registry.add_member(admin, description())
        done = await copied(made, target, with_keys=True)
        await registry.suspend(admin, OHIO)
    assert done.entries == 5
    (target / "guard").mkdir()
    async with running(target, clock) as (registry, admin):
        assert len(await registry.get_member(OHIO)) == 1


async def test_what_was_restored_is_sound(made: Path, target: Path) -> None:
    clock = SettableClock()
    await copied(made, target, with_keys=True)
    (target / "guard").mkdir(mode=0o700)
    async with running(target, clock):
        pass
    ports = {
        "ONWARD__API__LISTEN": f"127.0.0.1:{free_port()}",
        "ONWARD__ENROLMENT__LISTEN": f"127.0.0.1:{free_port()}",
    }
    async for finding in examine(target / "exchange.toml", ports, clock):
        # The guard is empty until the first commit after it was restored.
        assert finding.verdict is Verdict.FINE or finding.subject == "restore guard"


async def test_an_old_copy_does_not_start_beside_its_guard(
    made: Path, target: Path
) -> None:
    clock = SettableClock()
    await copied(made, target)
    async with running(made, clock) as (registry, admin):
        await registry.add_member(admin, description())
    (target / "db" / "exchange.sqlite").replace(made / "db" / "exchange.sqlite")
    with pytest.raises(StateError, match="older than the log"):
        async with running(made, clock):
            pass


async def test_nothing_is_overwritten(made: Path, target: Path) -> None:
    await copied(made, target)
    before = contents(target)
    with pytest.raises(MalformedError, match="exists"):
        await copied(made, target)
    assert contents(target) == before


async def test_files_outside_of_the_data_folder_come_along(
    made: Path, target: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "log.key"
    (made / "keys" / "log.key").rename(elsewhere)
    config = load(
        made / "exchange.toml", {"ONWARD__KEYS__LOG_KEY_FILE": str(elsewhere)}
    )
    await back_up(config, made / "exchange.toml", target, with_keys=True)
    assert (target / "elsewhere" / "log.key").read_bytes() == elsewhere.read_bytes()
