"""The books of the hotlines: what they received, and what became of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onward.core.intakes import State
from onward_server.storage.contract import IntakeRow, Needs, Store, intake_subject
from tests.storage.scribe import HOTLINE, OHIO, OPEN, PASSED_ON, Scribe

OTHER = "spiffe://national.example/agency/other-hotline"


@pytest.fixture
async def books(store: Store, scribe: Scribe) -> Scribe:
    """Intakes 7 to 12 of one hotline, from two states, and 7 of another hotline."""
    for number in range(7, 13):
        code = "US-TX" if number in {8, 11} else "US-OH"
        scribe.register(number, jurisdiction=code)
    scribe.register(7, OTHER)
    await scribe.commit(store)
    return scribe


def test_states_are_the_contracts() -> None:
    assert (State.INTAKE_STATE_OPEN, State.INTAKE_STATE_PASSED_ON) == (OPEN, PASSED_ON)


async def test_every_field_comes_back(store: Store, scribe: Scribe) -> None:
    row = scribe.register(
        7,
        jurisdiction="US-TX",
        number_in_jurisdiction=3,
        urgency=2,
        age_group=5,
        test=True,
        received_ms=2**50,
        state=3,
        reached=(2, 0, 1),
        warn_ms=10,
        due_ms=20,
        told=6,
        alarm_ms=15,
    )
    await scribe.commit(store)
    found = await store.intake(HOTLINE, 7)
    assert found == row
    assert found is not None
    assert type(found.test) is bool


async def test_intakes_are_found_by_hotline_and_number(
    store: Store, books: Scribe
) -> None:
    assert await store.intake(HOTLINE, 7) == books.intakes[HOTLINE, 7]
    assert await store.intake(OTHER, 7) == books.intakes[OTHER, 7]
    assert await store.intake(OTHER, 8) is None
    assert await store.intake(OHIO, 7) is None


async def test_what_became_of_an_intake_changes(store: Store, books: Scribe) -> None:
    changed = replace(
        books.intakes[HOTLINE, 9],
        state=PASSED_ON,
        reached=(1, 1, 0),
        warn_ms=1,
        due_ms=2,
        told=3,
        alarm_ms=4,
    )
    books.put_intake(changed)
    await books.commit(store)
    assert await store.intake(HOTLINE, 9) == changed
    assert await store.intake(HOTLINE, 10) == books.intakes[HOTLINE, 10]


async def test_where_the_books_stand(store: Store, books: Scribe) -> None:
    assert await store.last_intake(HOTLINE) == books.intakes[HOTLINE, 12]
    assert await store.last_intake(OTHER) == books.intakes[OTHER, 7]
    assert await store.last_intake(OHIO) is None
    assert await store.last_in_jurisdiction(HOTLINE, "US-OH") == 4
    assert await store.last_in_jurisdiction(HOTLINE, "US-TX") == 2
    assert await store.last_in_jurisdiction(OTHER, "US-TX") == 0


async def test_loading_reads_books_and_intakes(store: Store, books: Scribe) -> None:
    needs = Needs(
        intakes={(HOTLINE, 8), (OTHER, 99)},
        books={(HOTLINE, "US-OH"), (HOTLINE, "US-FL"), (OTHER, "US-OH"), (OHIO, "US")},
    )
    async with store.writing() as writer:
        loaded = await writer.load(needs)
    assert loaded.intakes == {(HOTLINE, 8): books.intakes[HOTLINE, 8]}
    assert loaded.last_intakes == {
        HOTLINE: books.intakes[HOTLINE, 12],
        OTHER: books.intakes[OTHER, 7],
    }
    assert loaded.last_in_jurisdictions == {
        (HOTLINE, "US-OH"): 4,
        (OTHER, "US-OH"): 1,
    }


async def test_intakes_are_loaded_with_their_referral(
    store: Store, books: Scribe
) -> None:
    books.publish("passes on", OHIO, intakes=(7, 9))
    books.publish("other", OHIO, intakes=(8,))
    await books.commit(store)
    both = {"passes on", "other"}
    async with store.writing() as writer:
        loaded = await writer.load(Needs(referrals=both, intakes_of={"passes on"}))
        without = await writer.load(Needs(referrals=both))
    assert loaded.referrals["passes on"].intakes == (7, 9)
    assert set(loaded.intakes) == {(HOTLINE, 7), (HOTLINE, 9)}
    assert without.intakes == {}


async def test_loading_sees_what_this_transaction_wrote(
    store: Store, books: Scribe
) -> None:
    row = books.register(13, state=PASSED_ON)
    async with store.writing() as writer:
        await writer.write(books.take())
        loaded = await writer.load(Needs(books={(HOTLINE, "US-OH")}))
    assert loaded.last_intakes == {HOTLINE: row}
    assert loaded.last_in_jurisdictions == {(HOTLINE, "US-OH"): 5}


async def test_number_in_a_jurisdiction_is_never_given_twice(
    store: Store, books: Scribe
) -> None:
    books.register(13, number_in_jurisdiction=4)
    with pytest.raises(Exception, match=r"(?i)unique"):
        await books.commit(store)
    assert await store.intake(HOTLINE, 13) is None


async def test_intakes_in_pages_by_number(store: Store, books: Scribe) -> None:
    for number in (8, 10, 11):
        books.put_intake(replace(books.intakes[HOTLINE, number], state=PASSED_ON))
    await books.commit(store)

    async def numbers(state: int, after: int, limit: int = 99) -> list[int]:
        rows: list[IntakeRow] = await store.intakes(HOTLINE, state, after, limit)
        assert rows == [books.intakes[HOTLINE, row.number] for row in rows]
        return [row.number for row in rows]

    assert await numbers(0, 0, 4) == [7, 8, 9, 10]
    assert await numbers(0, 10, 4) == [11, 12]
    assert await numbers(PASSED_ON, 0, 2) == [8, 10]
    assert await numbers(PASSED_ON, 10, 2) == [11]
    assert await numbers(OPEN, 7) == [9, 12]
    assert await numbers(4, 0) == []


async def test_statements_about_an_intake(store: Store, books: Scribe) -> None:
    subject = intake_subject(HOTLINE, 7)
    kinds = ["hold", "withholding", "rejection", "warning", "breach", "link"]
    for kind in kinds:
        books.say(kind, subject=subject, places=("US-OH",))
        books.say(kind, subject=intake_subject(HOTLINE, 71), places=("US-OH",))
        books.say(kind, subject=OHIO)
    await books.commit(store)
    found = await store.intake_statements(HOTLINE, 7)
    assert [row.kind for row in found] == ["intake", *kinds]
    assert found == [row for row in books.statements if row.subject == subject]
    assert await store.intake_statements(HOTLINE, 99) == []
