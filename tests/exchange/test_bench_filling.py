"""What the benchmark fills an exchange with is as sound as what members publish."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.filling import fill_referrals
from onward_server.config import FILE_NAME, Config, load
from onward_server.databases import open_store
from onward_server.exchange.guard import SignedHead, read_guard
from onward_server.log_check import LogCheck, check_log
from onward_server.material import load_log_signer
from onward_server.storage.contract import WHOLE, Topic
from tests.support.founding import new_exchange

REFERRALS = 700  # more than a tile of entries
AGENCY = "spiffe://national.example/agency"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An exchange that was just set up."""
    return new_exchange(tmp_path / "exchange")


@pytest.fixture
async def config(folder: Path) -> Config:
    """The configuration of that exchange, which has a past by now."""
    await fill_referrals(folder, REFERRALS)
    return load(folder / FILE_NAME, {})


async def check(config: Config) -> LogCheck:
    guarded = read_guard(config.storage.guard_file)
    vkey = load_log_signer(config.keys.log_key_file, config.exchange.origin).vkey
    store = await open_store(config, beside=True)
    try:
        return await check_log(store, vkey, guarded, lambda _: lambda _: None)
    finally:
        await store.close()


async def test_the_log_is_sound_and_the_guard_knows_it(config: Config) -> None:
    found = await check(config)
    assert not found.problems
    assert found.size > 4 * REFERRALS
    assert read_guard(config.storage.guard_file) == SignedHead(found.size, found.root)


async def test_the_past_is_stored_as_what_members_passed_on(config: Config) -> None:
    store = await open_store(config, beside=True)
    try:
        figures = await store.figures([WHOLE])
        assert sum(figures.deliveries.values()) == REFERRALS
        newest, *_ = await store.published(f"{AGENCY}/hotline", 10**9, 1)
        chain = await store.chain(newest.referral_id)
        assert [row.kind for row in chain] == [
            *("referral", "acceptance", "handover", "received")
        ]
        assert chain[0].digest == newest.digest
        content = await store.content(newest.content_digest)
        assert content is not None
        assert len(content) == newest.content_size
        heard = await store.feed(f"{AGENCY}/hotline", Topic.CUSTODY, 0, 10**9)
        assert len(heard) == 4 * REFERRALS
    finally:
        await store.close()
