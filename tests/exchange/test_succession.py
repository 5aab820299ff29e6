"""A log that ends, in the folder of its exchange: what is refused, what is retired."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError, StateError, UnavailableError
from onward.core.notes import open_note
from onward.core.statements import parse_statement
from onward.core.tlog_policy import Policy
from onward.v1 import statement_pb2
from onward_server.backup import back_up
from onward_server.config import Config, load
from onward_server.doctor import Verdict, examine
from onward_server.exchange.clock import system_entropy
from onward_server.exchange.guard import read_guard
from onward_server.exchange.witness_check import check_witnesses
from onward_server.log_check import check_log
from onward_server.material import load_log_signer, load_material, second_vkey
from onward_server.storage.contract import Store
from onward_server.storage.sqlite import open_sqlite
from onward_server.succession import Succeeded, Succession, succeed
from tests.support.enrolling import description
from tests.support.founding import contents, new_exchange, running
from tests.support.witnesses import open_witnessed
from tests.support.world import SettableClock

ORIGIN = "national.example/log/2"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return new_exchange(tmp_path / "exchange")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "next"


def config_of(folder: Path) -> Config:
    return load(folder / "exchange.toml", {})


def begin(_: int) -> Callable[[int], object]:
    return lambda _: None


async def grow(folder: Path) -> None:
    """Logs one more entry."""
    async with running(folder, SettableClock()) as (registry, admin):
        await registry.add_member(admin, description())


async def go_on(made: Path, succession: Succession) -> Succeeded:
    clock = SettableClock()
    file = made / "exchange.toml"
    return await succeed(
        config_of(made), file, succession, clock, system_entropy, begin
    )


async def opened(folder: Path) -> Store:
    database = str(config_of(folder).storage.database_file)
    return await open_sqlite(database, readers=1, read_only=True)


async def read(folder: Path) -> tuple[list[bytes], statement_pb2.KeyChange, str]:
    """Returns a log's entries, what its first one says, and its checkpoint."""
    store = await opened(folder)
    try:
        head = await store.head()
        (first,) = await store.statements([0])
        assert head is not None
        entries = await store.digests(0, head.size)
        return entries, parse_statement(first.jws).message.key_change, head.note
    finally:
        await store.close()


async def older(made: Path, tmp_path: Path) -> None:
    """Lets an exchange log one more entry, and lose it; the guard knows."""
    await back_up(
        config_of(made), made / "exchange.toml", tmp_path / "b", with_keys=False
    )
    await grow(made)
    shutil.rmtree(made / "db")
    shutil.copytree(tmp_path / "b" / "db", made / "db")


async def test_the_successor_has_all_entries_one_place_up(
    made: Path, target: Path
) -> None:
    before, _, note = await read(made)
    done = await go_on(made, Succession(target, ORIGIN))
    after, first, _ = await read(target)
    assert (done.carried, done.lost) == (4, 0)
    assert after[1:-1] == before
    assert first.predecessor.checkpoint == note
    assert first.predecessor.carried_size == 4
    assert f"log {first.predecessor.log_vkey}" in done.trust
    assert f"log {first.log_vkey}" in done.trust
    # Nothing of the predecessor's keys is of use to the successor.
    for name in ("log.key", "log-mldsa.key"):
        assert contents(target)[f"keys/{name}"] != contents(made)[f"keys/{name}"]


async def test_both_keys_of_both_logs_are_trusted(made: Path, target: Path) -> None:
    done = await go_on(made, Succession(target, ORIGIN))
    keys = set()
    for folder in (made, target):
        material = load_material(config_of(folder))
        keys |= {material.log_signer.vkey.format(), second_vkey(material)}
    trusted = [log.vkey.format() for log in Policy.parse(done.trust).logs]
    assert (set(trusted), len(trusted)) == (keys, 4)


async def test_a_log_with_one_key_is_trusted_by_it(made: Path, target: Path) -> None:
    (made / "keys" / "log-mldsa.key").unlink()
    done = await go_on(made, Succession(target, ORIGIN))
    origins = [log.vkey.name for log in Policy.parse(done.trust).logs]
    assert origins == [ORIGIN, ORIGIN, "national.example/log"]


async def test_the_successor_is_sound_and_goes_on(made: Path, target: Path) -> None:
    await go_on(made, Succession(target, ORIGIN))
    await grow(target)
    config = config_of(target)
    vkey = load_log_signer(config.keys.log_key_file, config.exchange.origin).vkey
    store = await opened(target)
    try:
        guarded = read_guard(config.storage.guard_file)
        found = await check_log(store, vkey, guarded, begin)
    finally:
        await store.close()
    assert found.problems == []
    assert found.size == 7
    clock = SettableClock()
    async for finding in examine(target / "exchange.toml", {}, clock):
        if finding.subject in {"log", "statement key", "restore guard", "database"}:
            assert finding.verdict is Verdict.FINE, finding


async def test_a_log_of_many_pages_is_carried_over_whole(
    made: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward_server.exchange.succession._STEP", 3)
    before, _, _ = await read(made)
    await go_on(made, Succession(target, ORIGIN))
    after, _, _ = await read(target)
    assert after[1:-1] == before
    await grow(target)


async def test_what_is_in_no_backup_comes_along(made: Path, target: Path) -> None:
    memory = {"who": b"quorum none\n", "w.sqlite": b"memory", "w.sqlite-wal": b"more"}
    (made / "witness").mkdir()
    for name, data in memory.items():
        (made / "witness" / name).write_bytes(data)
    file = made / "exchange.toml"
    text = file.read_text()
    for section, field, name in (
        ("witnesses", "policy_file", "who"),
        ("witness", "database_file", "w.sqlite"),
    ):
        head, mark, rest = text.partition(f"[{section}]\n")
        line = f'{field} = "witness/{name}"\n'
        text = f"{head}{mark}{line}{rest}"
    file.write_text(text)
    await go_on(made, Succession(target, ORIGIN))
    for name, data in memory.items():
        assert (target / "witness" / name).read_bytes() == data
    assert config_of(target).witnesses.policy_file == target / "witness" / "who"


async def test_the_predecessor_is_retired(made: Path, target: Path) -> None:
    await go_on(made, Succession(target, ORIGIN))
    clock = SettableClock()
    with pytest.raises(StateError, match="retired"):
        await grow(made)
    findings = [item async for item in examine(made / "exchange.toml", {}, clock)]
    (guard,) = [item for item in findings if item.subject == "restore guard"]
    assert "retired" in guard.detail


async def test_lost_entries_are_accepted_knowingly_and_are_in_the_record(
    made: Path, target: Path, tmp_path: Path
) -> None:
    await older(made, tmp_path)
    guarded = read_guard(made / "guard" / "head")
    assert guarded is not None
    with pytest.raises(StateError, match="entries 4 to 4 were signed"):
        await go_on(made, Succession(target, ORIGIN))
    assert not target.exists()
    done = await go_on(made, Succession(target, ORIGIN, without_lost=True))
    _, first, _ = await read(target)
    assert (done.carried, done.lost) == (4, 1)
    # The last that was signed is named, though no database has it any more.
    config = config_of(made)
    vkey = load_log_signer(config.keys.log_key_file, config.exchange.origin).vkey
    last = Checkpoint.parse(open_note(first.predecessor.checkpoint, [vkey]).text)
    assert (last.size, last.root) == (guarded.size, guarded.root)
    assert first.predecessor.carried_size == 4
    await grow(target)


async def test_a_checkpoint_that_somebody_kept_shows_what_the_guard_forgot(
    made: Path, target: Path, tmp_path: Path
) -> None:
    ahead = Path(shutil.copytree(made, tmp_path / "ahead"))
    await grow(ahead)
    _, _, note = await read(ahead)
    (made / "guard" / "head").unlink()
    with pytest.raises(StateError, match="entries 4 to 4 were signed"):
        await go_on(made, Succession(target, ORIGIN, note))


async def test_a_database_of_another_history_has_no_successor(
    made: Path, target: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(made, tmp_path / "other"))
    await grow(made)
    await grow(other)
    shutil.rmtree(made / "db")
    shutil.copytree(other / "db", made / "db")
    with pytest.raises(StateError, match="another root"):
        await go_on(made, Succession(target, ORIGIN, without_lost=True))


@pytest.mark.parametrize("origin", ["", "national.example/log"])
async def test_a_successor_has_a_name_of_its_own(
    made: Path, target: Path, origin: str
) -> None:
    with pytest.raises(MalformedError, match="another origin"):
        await go_on(made, Succession(target, origin))


async def test_a_running_exchange_is_not_succeeded(made: Path, target: Path) -> None:
    async with running(made, SettableClock()):
        with pytest.raises(UnavailableError, match="in use"):
            await go_on(made, Succession(target, ORIGIN))


async def test_nothing_is_overwritten(made: Path, target: Path) -> None:
    target.mkdir()
    with pytest.raises(MalformedError, match="exists"):
        await go_on(made, Succession(target, ORIGIN))
    await grow(made)  # it was not retired


async def test_a_witness_that_has_seen_more_keeps_an_old_database_from_starting(
    tmp_path: Path,
) -> None:
    async with open_witnessed(tmp_path) as witnessed:
        await witnessed.ask()
        await witnessed.world.store.backup(str(tmp_path / "old.sqlite"))
        await witnessed.grow()
        await witnessed.ask()
    # The machine is lost, with its guard; an old copy is put in its place.
    for name in ("exchange.sqlite", "exchange.sqlite-wal", "exchange.sqlite-shm"):
        (tmp_path / "exchange" / name).unlink(missing_ok=True)
    (tmp_path / "exchange" / "guard").unlink()
    (tmp_path / "old.sqlite").rename(tmp_path / "exchange" / "exchange.sqlite")
    async with open_witnessed(tmp_path) as witnessed:
        head = witnessed.world.ledger.head()
        askings = witnessed.witnesses.askings.values()
        with pytest.raises(StateError, match=r"witness a has cosigned 3.*has 2"):
            await check_witnesses(askings, head, witnessed.log.note(head))
        # If it signed on all the same, the witnesses would say that it has forked.
        await witnessed.grow()
        head = witnessed.world.ledger.head()
        with pytest.raises(StateError, match="forked"):
            await check_witnesses(askings, head, witnessed.log.note(head))


async def test_witnesses_that_are_down_do_not_keep_an_exchange_down(
    tmp_path: Path,
) -> None:
    async with open_witnessed(tmp_path) as witnessed:
        witnessed.town.hung |= set(witnessed.town.names)
        head = witnessed.world.ledger.head()
        askings = witnessed.witnesses.askings.values()
        await check_witnesses(askings, head, witnessed.log.note(head), patience=0.05)


async def test_without_a_guard_a_witness_must_answer(tmp_path: Path) -> None:
    async with open_witnessed(tmp_path) as witnessed:
        witnessed.town.hung |= set("abc")
        head = witnessed.world.ledger.head()
        askings, note = witnessed.witnesses.askings.values(), witnessed.log.note(head)
        with pytest.raises(StateError, match="no witness can be reached"):
            await check_witnesses(askings, head, note, patience=0.05, needed=True)
        witnessed.town.hung.remove("c")
        await check_witnesses(askings, head, note, patience=1, needed=True)
