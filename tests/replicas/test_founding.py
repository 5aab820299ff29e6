"""An exchange whose database is on a server: its founding, and who else may use it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from onward.core.errors import ConflictError, StateError, UnavailableError
from onward_server.app import build
from onward_server.backup import back_up
from onward_server.bootstrap import open_ledger
from onward_server.config import AuthoritySection, Config
from onward_server.databases import open_store
from onward_server.exchange.clock import system_entropy
from onward_server.log_check import check_log
from onward_server.material import load_log_signer, load_material
from onward_server.replicas import facts
from onward_server.restoring import Sources, restore
from onward_server.succession import Succession, succeed
from tests.replicas.conftest import CLOCK, make

ROOT = Path(__file__).parents[2]


def begin(_total: int) -> Callable[[int], object]:
    """Shows no progress."""
    return lambda _steps: None


async def test_the_log_is_on_the_server_and_sound(config: Config, url: str) -> None:
    assert not config.storage.database_file.parent.exists()
    assert url not in config.exchange.data_dir.joinpath("exchange.toml").read_text()
    signer = load_log_signer(config.keys.log_key_file, config.exchange.origin)
    store = await open_store(config, beside=True)
    try:
        checked = await check_log(store, signer.vkey, None, begin)
    finally:
        await store.close()
    assert checked.sound
    assert checked.size == 4


async def test_another_exchange_cannot_take_the_database(
    config: Config, tmp_path: Path
) -> None:
    with pytest.raises(ConflictError, match="holds a log already"):
        await make(tmp_path / "other")
    assert not (tmp_path / "other" / "exchange.toml").exists()
    assert config.exchange.data_dir.exists()


async def test_a_tool_that_must_be_alone_keeps_others_out_and_waits_for_them(
    config: Config,
) -> None:
    material = load_material(config)
    replica = await open_store(config)
    try:
        async with open_ledger(config, material, CLOCK, system_entropy):
            with pytest.raises(StateError):
                await replica.join(facts(config, material))
        await replica.join(facts(config, material))
        with pytest.raises(UnavailableError, match="stop every replica"):
            async with open_ledger(config, material, CLOCK, system_entropy):
                pass
    finally:
        await replica.close()


async def test_copies_are_for_the_server_to_make(
    config: Config, tmp_path: Path
) -> None:
    file, target = config.exchange.data_dir / "exchange.toml", tmp_path / "target"
    heir = Succession(target, "heir.example/log")
    with pytest.raises(StateError, match=r"docs/how-to/replicas\.md"):
        await back_up(config, file, target, with_keys=True)
    with pytest.raises(StateError, match="log verify"):
        await restore(config, tmp_path, Sources(), begin)
    with pytest.raises(StateError, match="recover the server"):
        await succeed(config, file, heir, CLOCK, system_entropy, begin)
    assert not target.exists()


@pytest.mark.parametrize(
    ("section", "field", "value", "fact"),
    [
        ("limits", "lease_seconds", 61.0, "limits.lease_seconds"),
        ("limits", "content_size", 8192, "limits.content_size"),
        ("test", "clock", "clock", "test.clock"),
        ("exchange", "trust_domain", "other.example", "exchange.trust_domain"),
        ("exchange", "origin", "other.example/log", "key of the log"),
    ],
)
async def test_what_must_be_the_same_is_a_fact(
    config: Config, section: str, field: str, value: object, fact: str
) -> None:
    part = msgspec.structs.replace(getattr(config, section), **{field: value})
    other = msgspec.structs.replace(config, **{section: part})
    here, there = (facts(one, load_material(one)) for one in (config, other))
    assert fact in {name for name in here if here[name] != there[name]}


async def test_no_password_is_in_a_fact(config: Config, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text("root")

    def asking(password: str) -> dict[str, str]:
        url = f"https://exchange:{password}@stamps.example/"
        authority = AuthoritySection("stamps", url, tmp_path / "root.pem")
        section = msgspec.structs.replace(config.timestamps, authorities=(authority,))
        changed = msgspec.structs.replace(config, timestamps=section)
        return facts(changed, load_material(changed))

    assert "hunter2" not in str(asking("hunter2"))
    assert asking("hunter2") != asking("hunter3")


async def test_what_may_differ_is_none(config: Config) -> None:
    other = msgspec.structs.replace(
        config,
        api=msgspec.structs.replace(config.api, listen="127.0.0.1:1"),
        quotas=msgspec.structs.replace(config.quotas, streams=1),
        telemetry=msgspec.structs.replace(config.telemetry, log_level="debug"),
    )
    material = load_material(config)
    assert facts(other, material) == facts(config, material)
    changed = replace(material, log_cosigner=None)
    assert facts(config, changed) != facts(config, material)


async def test_the_page_for_operators_names_every_fact(config: Config) -> None:
    page = (ROOT / "docs" / "how-to" / "replicas.md").read_text("utf-8")
    (table,) = re.findall(r"\| fact \|.*?\n\n", page, re.DOTALL)
    named = set(re.findall(r"`([^`]+)`", table))
    assert named == facts(config, load_material(config)).keys()


async def test_a_replica_is_no_witness(config: Config) -> None:
    key = config.keys.log_key_file
    witness = msgspec.structs.replace(config.witness, key_file=key)
    with pytest.raises(StateError, match="witness serve"):
        await build(msgspec.structs.replace(config, witness=witness))
