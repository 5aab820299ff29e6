"""What strangers are told of who has seen the log's checkpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from onward_server.exchange.voucher_pages import Voucher, voucher_page
from tests.support.witnesses import WitnessedWorld, open_witnessed


@pytest.fixture
async def witnessed(tmp_path: Path) -> AsyncIterator[WitnessedWorld]:
    async with open_witnessed(tmp_path) as opened:
        yield opened


async def pages(
    witnessed: WitnessedWorld, spacing_ms: int = 0, limit: int = 250
) -> list[list[Voucher]]:
    """Takes all pages of what others vouch for."""
    found, first = [], 0
    while True:
        page = await voucher_page(witnessed.world.store, first, spacing_ms, limit)
        found.append(list(page.vouchers))
        if not page.next_size:
            return found
        first = page.next_size


def seen(witnessed: WitnessedWorld, vouchers: Sequence[Voucher]) -> dict[int, set[str]]:
    """The witnesses of each checkpoint; each signature on it holds."""
    policy = replace(witnessed.policy, quorum=None)
    opened = [policy.open_checkpoint(item.note) for item in vouchers]
    return {one.checkpoint.size: set(one.times) for one in opened}


async def test_all_that_anybody_vouches_for_is_listed(
    witnessed: WitnessedWorld,
) -> None:
    expected = {}
    for names in ("abc", "a", "bc"):
        size = await witnessed.grow() + 1
        await witnessed.ask(*names)
        expected[size] = set(names)
    await witnessed.grow()  # which nobody has seen yet
    (listed,) = await pages(witnessed)
    assert seen(witnessed, listed) == expected
    by_one = await pages(witnessed, limit=1)
    assert [len(page) for page in by_one] == [1, 1, 1]
    assert [page[0] for page in by_one] == listed


async def test_with_a_spacing_the_best_of_each_time_is_listed(
    witnessed: WitnessedWorld,
) -> None:
    clock = witnessed.world.clock
    clock.advance(60 - clock.now_ms() / 1000 % 60)
    sizes = []
    for names in ("a", "abc", "ab", "b", "ab"):
        sizes.append(await witnessed.grow() + 1)
        await witnessed.ask(*names)
        clock.advance(20)
    (listed,) = await pages(witnessed, 60_000)
    assert seen(witnessed, listed) == {sizes[1]: set("abc"), sizes[4]: set("ab")}
