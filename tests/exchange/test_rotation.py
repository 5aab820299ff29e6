"""Replacing the exchange's statement key: at any moment there is one in force."""

from pathlib import Path

import pytest

from onward import _files
from onward.core.directory import StatementKeySet
from onward.core.errors import MalformedError, StateError, UnavailableError
from onward.core.keys import StatementPrivateKey
from onward.core.statements import parse_statement
from onward_server.app import build
from onward_server.config import Config, load
from onward_server.doctor import Verdict, examine
from onward_server.exchange.clock import system_entropy, to_datetime
from onward_server.exchange.genesis import GenesisChange
from onward_server.rotation import check_finished, replace_statement_key
from tests.support.enrolling import description
from tests.support.founding import new_exchange, running
from tests.support.process import free_port
from tests.support.world import SettableClock, open_world


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return new_exchange(tmp_path / "exchange")


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


def config_of(made: Path) -> Config:
    ports = {
        "ONWARD__API__LISTEN": f"127.0.0.1:{free_port()}",
        "ONWARD__ENROLMENT__LISTEN": f"127.0.0.1:{free_port()}",
    }
    return load(made / "exchange.toml", ports)


def key_of(made: Path) -> str:
    pem = (made / "keys" / "statement.key").read_bytes()
    return StatementPrivateKey.from_pem(pem).key_id


async def rotate(made: Path, clock: SettableClock, algorithm: str = "ES256") -> str:
    return await replace_statement_key(
        config_of(made), algorithm, clock, system_entropy
    )


async def test_the_new_key_signs_and_the_old_one_vouched_for_it(
    made: Path, clock: SettableClock
) -> None:
    old = key_of(made)
    new = await rotate(made, clock, "ES384")
    assert key_of(made) == new != old
    async with running(made, clock) as (registry, admin):
        added = await registry.add_member(admin, description())
        genesis, change = [
            parse_statement(logged.jws) for logged in await registry.exchange_keys()
        ]
    assert parse_statement(added.change.jws).key_id == new
    assert change.key_id == old
    assert change.message.previous == genesis.digest
    body = change.message.key_change
    assert body.log_vkey == genesis.message.key_change.log_vkey
    keys = StatementKeySet.from_protos("exchange", list(body.keys))
    change.verify(keys.keys[old][0])
    assert keys.usable(new, to_datetime(clock.ms)).algorithm == "ES384"
    with pytest.raises(StateError, match="retired"):
        keys.usable(old, to_datetime(clock.ms))


async def test_the_doctor_finds_nothing_wrong_afterwards(
    made: Path, clock: SettableClock
) -> None:
    await rotate(made, clock)
    found = [finding async for finding in examine(made / "exchange.toml", {}, clock)]
    wrong = {item.subject for item in found if item.verdict is not Verdict.FINE}
    assert wrong <= {"port for members", "port for enrolment"}
    assert not (made / "keys" / "statement.key.next").exists()


async def test_whoever_is_cut_off_before_the_end_runs_it_again(
    made: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, statement_key = _files.write_atomically, made / "keys" / "statement.key"

    def fail(path: Path, data: bytes) -> None:
        if path == statement_key:
            raise OSError
        write(path, data)

    monkeypatch.setattr("onward_server.rotation.write_atomically", fail)
    with pytest.raises(OSError):  # noqa: PT011 - it is our own, without a message
        await rotate(made, clock)
    found = [finding async for finding in examine(made / "exchange.toml", {}, clock)]
    (wrong,) = [item for item in found if item.subject == "statement key"]
    assert wrong.verdict is Verdict.PROBLEM
    assert "rotate-key" in wrong.remedy
    with pytest.raises(StateError, match="rotate-key"):
        check_finished(config_of(made))
    monkeypatch.undo()
    new = await rotate(made, clock)
    assert key_of(made) == new
    check_finished(config_of(made))
    async with running(made, clock) as (registry, _):
        assert len(await registry.exchange_keys()) == 2


async def test_a_running_exchange_keeps_its_key(
    made: Path, clock: SettableClock
) -> None:
    old = key_of(made)
    async with running(made, clock):
        with pytest.raises(UnavailableError, match="in use"):
            await rotate(made, clock)
    assert key_of(made) == old


async def test_an_unknown_algorithm_changes_nothing(
    made: Path, clock: SettableClock
) -> None:
    old = key_of(made)
    with pytest.raises(MalformedError):
        await rotate(made, clock, "RS256")
    assert key_of(made) == old
    assert not (made / "keys" / "statement.key.next").exists()


async def test_a_log_begins_once(tmp_path: Path) -> None:
    key = StatementPrivateKey.generate().public
    async with open_world(tmp_path) as world:
        begun = world.ledger.head()
        with pytest.raises(StateError, match="begun already"):
            await world.ledger.apply(GenesisChange(key, "a vkey"))
        assert world.ledger.head() == begun


@pytest.mark.parametrize("file", ["statement.key", "log.key"])
async def test_an_exchange_does_not_start_with_a_key_that_is_not_in_force(
    made: Path, clock: SettableClock, file: str
) -> None:
    other = StatementPrivateKey.generate("EdDSA")
    (made / "keys" / file).write_bytes(other.to_pem())
    app = await build(config_of(made), clock=clock)
    try:
        with pytest.raises(StateError) as refused:
            await app.start()
    finally:
        await app.drain(0)
    assert refused.value.reason_name == "KEY_NOT_VALID"
