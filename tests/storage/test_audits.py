"""What auditors are shown: of their jurisdictions everything, of others nothing."""

from __future__ import annotations

import asyncio

import pytest

from onward_server.storage.contract import WHOLE, Figures, Store
from tests.storage.scribe import (
    ACCEPTED,
    HOTLINE,
    OHIO,
    OPEN,
    PASSED_ON,
    RECEIVED,
    TEXAS,
    Scribe,
)

FLORIDA = "spiffe://national.example/agency/florida"
ONTARIO = "spiffe://national.example/agency/ontario"

SCOPES = {
    ("US-OH",): [0, 1, 2, 4, 5],
    ("US-TX",): [0, 3, 4, 5],
    ("US",): [0, 1, 2, 3, 4, 5],
    ("CA",): [0, 6],
    ("CA", "US-TX"): [0, 3, 4, 5, 6],
    ("US", "US-OH"): [0, 1, 2, 3, 4, 5],
    ("USX",): [0, 7],
    (WHOLE,): list(range(9)),
    ("OH",): [0],
    (): [0],
}
"""Which entries of :func:`log` are shown to an auditor of these jurisdictions."""


@pytest.fixture
async def log(store: Store, scribe: Scribe) -> Scribe:
    """Nine entries, about places that are easily mistaken for each other."""
    scribe.say("directory_change", subject=OHIO)
    for places in (
        ("US-OH",),
        ("US-OH",),
        ("US-TX",),
        ("US-TX", "US-OH"),
        ("US-OH", "US-TX"),
        ("CA-ON",),
        ("USX-A",),
        (WHOLE,),
    ):
        scribe.say("taking", places=places)
    await scribe.commit(store)
    return scribe


@pytest.mark.parametrize(("codes", "shown"), SCOPES.items())
async def test_export_is_of_the_jurisdictions(
    store: Store, log: Scribe, codes: tuple[str, ...], shown: list[int]
) -> None:
    rows = [log.statements[index] for index in shown]
    assert await store.export(codes, 0, 99, 99) == rows
    assert await store.export_digests(codes, 0, 99) == [row.digest for row in rows]


async def test_export_in_pages(store: Store, log: Scribe) -> None:
    async def indexes(first: int, end: int, limit: int) -> list[int]:
        rows = await store.export(["US-TX"], first, end, limit)
        return [row.log_index for row in rows]

    assert await indexes(0, 9, 2) == [0, 3]
    assert await indexes(4, 9, 2) == [4, 5]
    assert await indexes(6, 9, 2) == []
    assert await indexes(1, 5, 9) == [3, 4]
    digests = await store.export_digests(["US-TX"], 1, 5)
    assert digests == [log.statements[index].digest for index in (3, 4)]


async def test_places_of_statements_come_back(store: Store, log: Scribe) -> None:
    indexes = list(range(9))
    assert await store.statements(indexes) == log.statements
    assert await store.find_statement(log.statements[4].digest) == log.statements[4]


@pytest.fixture
async def cases(store: Store, scribe: Scribe) -> Scribe:
    """Intakes, and referrals of which one was transferred from Ohio to Texas."""
    scribe.register(1)
    scribe.register(2, state=PASSED_ON)
    scribe.register(3, state=PASSED_ON, urgency=1)
    scribe.register(4, jurisdiction="US-TX")
    scribe.register(5, test=True)
    scribe.register(1, ONTARIO, jurisdiction="CA-ON")
    scribe.publish("r1", OHIO, FLORIDA)
    scribe.publish("r2", OHIO, urgency=1)
    scribe.publish(
        "r3",
        TEXAS,
        jurisdiction="US-TX",
        places=("US-TX", "US-OH"),
        publisher=OHIO,
        watchers=(OHIO, FLORIDA),
    )
    scribe.publish("r4", FLORIDA, jurisdiction="US-FL")
    scribe.publish("r5", OHIO, test=True)
    scribe.change("r1", OHIO, state=RECEIVED)
    await scribe.commit(store)
    return scribe


async def test_figures_of_one_jurisdiction(store: Store, cases: Scribe) -> None:
    assert await store.figures(["US-OH"]) == Figures(
        size=cases.size,
        intakes={
            (HOTLINE, 4, OPEN): 1,
            (HOTLINE, 4, PASSED_ON): 1,
            (HOTLINE, 1, PASSED_ON): 1,
        },
        deliveries={
            (OHIO, 4, RECEIVED): 1,
            (FLORIDA, 4, ACCEPTED): 1,
            (OHIO, 1, ACCEPTED): 1,
            (TEXAS, 4, ACCEPTED): 1,
        },
    )
    texas = await store.figures(["US-TX"])
    assert texas.intakes == {(HOTLINE, 4, OPEN): 1}
    assert texas.deliveries == {(TEXAS, 4, ACCEPTED): 1}


@pytest.mark.parametrize(
    "codes", [["US"], ["US", "US-OH"], ["US-OH", "US-TX", "US-FL"]]
)
async def test_figures_count_nothing_twice(
    store: Store, cases: Scribe, codes: list[str]
) -> None:
    figures = await store.figures(codes)
    assert figures.intakes[HOTLINE, 4, OPEN] == 2
    assert figures.deliveries[FLORIDA, 4, ACCEPTED] == 2
    assert sum(figures.intakes.values()) == 4
    assert sum(figures.deliveries.values()) == 5


async def test_figures_of_everything_and_of_nothing(
    store: Store, cases: Scribe
) -> None:
    figures = await store.figures([WHOLE])
    assert sum(figures.intakes.values()) == 5
    assert figures.intakes[ONTARIO, 4, OPEN] == 1
    assert sum(figures.deliveries.values()) == 5
    for codes in (["US-WY"], []):
        assert await store.figures(codes) == Figures(cases.size, {}, {})


async def test_figures_of_an_empty_log(store: Store) -> None:
    assert await store.figures([WHOLE]) == Figures(0, {}, {})


async def test_figures_are_of_one_state(store: Store, scribe: Scribe) -> None:
    async def count() -> None:
        while scribe.size < 60:
            figures = await store.figures([WHOLE])
            deliveries = sum(figures.deliveries.values())
            assert figures.size == 3 * sum(figures.intakes.values()) == 3 * deliveries

    async def work() -> None:
        for number in range(20):
            scribe.register(number + 1)
            scribe.publish(f"r{number}", OHIO)
            await scribe.commit(store)

    await asyncio.gather(count(), count(), work())


async def test_parties_by_name(store: Store, cases: Scribe) -> None:
    assert await store.export_parties(["US-OH"]) == [FLORIDA, HOTLINE, OHIO, TEXAS]
    assert await store.export_parties(["US-TX"]) == [FLORIDA, HOTLINE, OHIO, TEXAS]
    assert await store.export_parties(["CA"]) == [ONTARIO]
    assert await store.export_parties([WHOLE]) == [
        FLORIDA,
        HOTLINE,
        OHIO,
        ONTARIO,
        TEXAS,
    ]
    assert await store.export_parties(["US-WY"]) == []


async def test_transferred_referral_is_listed_where_it_came_from(
    store: Store, cases: Scribe
) -> None:
    async def listed(*codes: str) -> list[str]:
        rows = await store.in_jurisdictions(codes, -1, 99)
        return [row.referral_id for row in rows]

    assert await listed("US-OH") == ["r1", "r2", "r3", "r5"]
    assert await listed("US-TX") == ["r3"]
    assert await listed("US") == await listed(WHOLE) == ["r1", "r2", "r3", "r4", "r5"]
    found = await store.referral("r3")
    assert found is not None
    assert found.places == ("US-TX", "US-OH")
