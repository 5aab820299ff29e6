"""What auditors are shown, and what the log and the members learn of each look."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, cycle

import pytest

from onward.core.errors import ForbiddenError, RangeError, Reason, UnknownError
from onward.core.merkle import leaf_hash
from onward.core.statements import parse_statement, statement_digest
from onward.core.tlog_proof import TlogProof
from onward.core.tree import Tree
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.auditing import ExportHeader
from onward_server.exchange.draft import Draft
from onward_server.storage.contract import Needs
from tests.exchange.test_submission import Chain, acknowledged, transfer, transfer_of
from tests.support.auditing import (
    NATION_AUDITOR,
    NEVADA_AUDITOR,
    SHARED,
    WHOLE_AUDITOR,
    Export,
    export,
    join_auditors,
    looks,
    nothing,
)
from tests.support.world import AUDITOR, HOTLINE, NEVADA, STATE_POLICE, World

V = vocabulary_pb2


@pytest.fixture
async def audited(world: World) -> World:
    """An exchange with auditors of one state, of another, of all, and of the log."""
    await join_auditors(world)
    return world


def ids(bundle: bytes) -> list[str]:
    """Returns the referrals of a bundle, in the log's order."""
    logged = json.loads(bundle)["statements"]
    shown = [parse_statement(one["statement"]) for one in logged]
    return [s.message.id for s in shown if s.body_kind == "referral"]


async def transferred(world: World) -> tuple[Chain, str]:
    """Returns a tip to Nevada, and the referral that took it on to Ohio."""
    chain = await acknowledged(world, NEVADA)
    child = transfer_of(world, chain, NEVADA, STATE_POLICE)
    jws = transfer(world, chain, NEVADA, child)
    await world.submission.submit(world.caller(NEVADA), jws, child)
    return chain, parse_statement(child.jws).message.id


async def test_a_look_is_logged_with_the_root_of_all_that_it_shows(
    audited: World,
) -> None:
    await acknowledged(audited)
    await acknowledged(audited, NEVADA)
    before = audited.ledger.head().size
    got = await export(audited, AUDITOR)
    tree = Tree().extend([leaf_hash(digest) for digest in got.digests])
    assert got.access == statement_pb2.AuditAccess(
        auditor=AUDITOR,
        method="ExportStatements",
        jurisdictions=["US-OH"],
        first_index=0,
        log_size=before,
        statement_count=len(got.statements),
        statements_root=tree.root,
    )
    entries = await audited.store.digests(0, before)
    for index, digest in zip(got.indexes, got.digests, strict=True):
        assert entries[index] == digest
    assert list(got.indexes) == sorted(got.indexes)


async def test_the_look_is_in_the_log_before_anything_is_shown(audited: World) -> None:
    await acknowledged(audited)
    parts = audited.auditing.export(audited.caller(AUDITOR), 0, nothing)
    header = await anext(parts)
    assert isinstance(header, ExportHeader)
    logged = await audited.store.find_statement(statement_digest(header.access.jws))
    assert logged is not None
    assert logged.log_index == header.access.log_index
    assert int(header.checkpoint.splitlines()[1]) > logged.log_index
    assert TlogProof.parse(header.access.receipt).index == logged.log_index
    assert await looks(audited, HOTLINE) == ["ExportStatements"]
    await parts.aclose()


async def test_an_auditor_sees_all_of_its_state_and_nothing_of_another(
    audited: World,
) -> None:
    ohio, nevada = await acknowledged(audited), await acknowledged(audited, NEVADA)
    whole = ["referral", "acceptance", "handover", "received", "acknowledgment"]
    for name, theirs, others in (
        (AUDITOR, ohio, nevada),
        (NEVADA_AUDITOR, nevada, ohio),
    ):
        got = await export(audited, name)
        assert got.about(theirs.referral_id) == whole
        assert got.about(others.referral_id) == []
    got = await export(audited, NATION_AUDITOR)
    assert got.about(ohio.referral_id) == got.about(nevada.referral_id) == whole


async def test_keys_and_members_are_shown_to_every_auditor(audited: World) -> None:
    rows = await audited.store.statements(range(audited.ledger.head().size))
    shared = {row.digest for row in rows if row.kind in SHARED}
    for name in (AUDITOR, NEVADA_AUDITOR, NATION_AUDITOR):
        assert set((await export(audited, name)).digests) == shared


async def test_an_auditor_of_the_whole_log_sees_every_entry(audited: World) -> None:
    await transferred(audited)
    await export(audited, AUDITOR)
    size = audited.ledger.head().size
    got = await export(audited, WHOLE_AUDITOR)
    assert list(got.indexes) == list(range(size))
    assert got.access.statement_count == got.access.log_size == size
    tree = Tree().extend([leaf_hash(digest) for digest in got.digests])
    assert (
        tree.root
        == got.access.statements_root
        == (await audited.ledger.receipts.tree(size, ())).root
    )


async def test_looks_are_for_the_auditors_of_the_whole_log_only(audited: World) -> None:
    await export(audited, AUDITOR)
    for name, seen in ((WHOLE_AUDITOR, True), (NATION_AUDITOR, False)):
        got = await export(audited, name)
        kinds = {parse_statement(jws).body_kind for jws in got.statements}
        assert ("audit_access" in kinds) is seen


async def test_a_transfer_is_seen_from_both_states_from_where_it_concerns_them(
    audited: World,
) -> None:
    chain, child = await transferred(audited)
    first, second = [await export(audited, name) for name in (NEVADA_AUDITOR, AUDITOR)]
    assert first.about(chain.referral_id)[-1] == "transfer"
    assert first.about(child) == ["referral", "acceptance"]
    assert second.about(child) == ["referral", "acceptance"]
    assert second.about(chain.referral_id) == []


async def test_bundles_follow_the_same_scope(audited: World) -> None:
    chain, child = await transferred(audited)
    parent = chain.referral_id
    both = [parent, child]
    for name, asked, shown in (
        (NEVADA_AUDITOR, parent, both),
        (NEVADA_AUDITOR, child, [child]),
        (AUDITOR, child, [child]),
        (NATION_AUDITOR, parent, both),
        (WHOLE_AUDITOR, parent, both),
    ):
        assert ids(await audited.records.bundle(audited.caller(name), asked)) == shown
    with pytest.raises(UnknownError):
        await audited.records.bundle(audited.caller(AUDITOR), parent)


async def test_chains_follow_the_same_scope(audited: World) -> None:
    ohio = (await acknowledged(audited)).referral_id
    chain, child = await transferred(audited)
    for name, shown in (
        (NEVADA_AUDITOR, [chain.referral_id, child]),
        (AUDITOR, [ohio, child]),
        (NATION_AUDITOR, [ohio, chain.referral_id, child]),
        (WHOLE_AUDITOR, [ohio, chain.referral_id, child]),
    ):
        got, after = [], -1
        while True:
            page, after = await audited.records.chains(audited.caller(name), after, 1)
            got += page
            if after < 0:
                break
        assert got == shown


async def test_a_list_of_chains_is_logged_with_what_it_named(audited: World) -> None:
    first, second = await acknowledged(audited), await acknowledged(audited)
    size = audited.ledger.head().size
    auditor = audited.caller(AUDITOR)
    _, after = await audited.records.chains(auditor, -1, 1)
    await audited.records.chains(auditor, after, 2)
    rows = await audited.store.history("audit_access", AUDITOR)
    said = [parse_statement(row.jws).message.audit_access for row in rows]
    for access, chain, looked_at in zip(
        said, (first, second), ((0, after + 1), (after + 1, size + 1)), strict=True
    ):
        root = leaf_hash(statement_digest(chain.referral))
        assert (access.method, list(access.referral_ids)) == ("ListChains", [])
        assert list(access.jurisdictions) == ["US-OH"]
        assert (access.statement_count, access.statements_root) == (1, root)
        assert (access.first_index, access.log_size) == looked_at


async def looked_at(world: World, name: str) -> list[str]:
    """Returns the ids of the referrals that the looks name which concern a member."""
    found = await world.auditing.accesses(world.caller(name), 2**62, 100)
    said = (parse_statement(one.jws).message.audit_access for one in found)
    return [referral_id for access in said for referral_id in access.referral_ids]


async def test_a_look_at_a_bundle_names_to_each_the_chains_that_it_may_see(
    audited: World,
) -> None:
    chain, child = await transferred(audited)
    await audited.records.bundle(audited.caller(NEVADA_AUDITOR), chain.referral_id)
    assert await looked_at(audited, HOTLINE) == [child, chain.referral_id]
    assert await looked_at(audited, NEVADA) == [child, chain.referral_id]
    assert await looked_at(audited, STATE_POLICE) == [child]


async def test_members_hear_of_the_looks_that_concern_them_and_of_no_other(
    audited: World,
) -> None:
    ohio, nevada = await acknowledged(audited), await acknowledged(audited, NEVADA)
    await audited.records.bundle(audited.caller(AUDITOR), ohio.referral_id)
    await audited.records.bundle(audited.caller(NATION_AUDITOR), nevada.referral_id)
    await audited.records.chains(audited.caller(AUDITOR), -1, 10)
    await export(audited, NEVADA_AUDITOR)
    assert await looks(audited, STATE_POLICE) == ["ListChains", "GetBundle"]
    assert await looks(audited, NEVADA) == ["ExportStatements", "GetBundle"]
    everything = ["ExportStatements", "ListChains", "GetBundle", "GetBundle"]
    assert await looks(audited, HOTLINE) == everything


async def test_all_parties_of_a_tip_hear_of_a_look_at_where_it_went_on_to(
    audited: World,
) -> None:
    _, child = await transferred(audited)
    auditor = audited.caller(AUDITOR)
    await audited.records.bundle(auditor, child)
    await audited.records.chains(auditor, -1, 10)
    await export(audited, AUDITOR)
    everything = ["ExportStatements", "ListChains", "GetBundle"]
    for name in (HOTLINE, NEVADA, STATE_POLICE):
        assert await looks(audited, name) == everything


async def test_looks_come_newest_first_page_by_page_with_their_receipts(
    audited: World,
) -> None:
    chain = await acknowledged(audited)
    for _ in range(5):
        await audited.records.bundle(audited.caller(AUDITOR), chain.referral_id)
    caller, before, got = audited.caller(HOTLINE), 2**62, []
    while page := await audited.auditing.accesses(caller, before, 2):
        got += page
        before = page[-1].log_index
    rows = await audited.store.history("audit_access", AUDITOR)
    assert [one.jws for one in got] == [row.jws for row in reversed(rows)]
    for one in got:
        assert TlogProof.parse(one.receipt).index == one.log_index


async def test_an_export_can_begin_anywhere_in_the_log(audited: World) -> None:
    await acknowledged(audited)
    got = await export(audited, WHOLE_AUDITOR)
    later = await export(audited, WHOLE_AUDITOR, 7)
    size = audited.ledger.head().size - 1
    assert list(later.indexes) == list(range(7, size))
    assert later.access.first_index == 7
    assert later.statements[: len(got.statements) - 7] == got.statements[7:]
    empty = await export(audited, AUDITOR, audited.ledger.head().size)
    assert (empty.statements, empty.access.statement_count) == ([], 0)
    assert empty.access.statements_root == Tree().root


async def test_an_index_past_the_log_is_out_of_range_and_no_look(
    audited: World,
) -> None:
    size = audited.ledger.head().size
    with pytest.raises(RangeError) as caught:
        await export(audited, AUDITOR, size + 1)
    assert caught.value.reason_name == "LOG_RANGE"
    assert audited.ledger.head().size == size


@pytest.mark.parametrize("name", [HOTLINE, STATE_POLICE])
async def test_only_auditors_export_and_list_chains(audited: World, name: str) -> None:
    size = audited.ledger.head().size
    with pytest.raises(ForbiddenError):
        await export(audited, name)
    with pytest.raises(ForbiddenError):
        await audited.records.chains(audited.caller(name), -1, 1)
    assert audited.ledger.head().size == size


async def test_auditors_do_not_ask_who_looked(audited: World) -> None:
    with pytest.raises(ForbiddenError):
        await audited.auditing.accesses(audited.caller(AUDITOR), 2**62, 1)


async def test_the_header_has_the_figures_of_its_size_while_others_write(
    audited: World,
) -> None:
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            done = await audited.publishing.publish(
                audited.caller(HOTLINE), audited.referral()
            )
            referral_id = parse_statement(done.referral.jws).message.id
            out = audited.delivering.content(audited.caller(STATE_POLICE), referral_id)
            assert [part async for part in out]

    writers = [asyncio.create_task(write()) for _ in range(3)]
    sizes = range(0)
    try:
        while not any(w.done() for w in writers) and len(sizes) < 60:
            got = await export(audited, WHOLE_AUDITOR)
            assert list(got.indexes) == list(range(got.access.log_size))
            assert dict(got.header.figures.deliveries) == _by_state(got)
            assert got.header.figures.size == got.access.log_size
            size = got.access.log_size
            sizes = range(sizes.start or size, size)
    finally:
        stop.set()
        await asyncio.gather(*writers)


def _by_state(got: Export) -> dict[tuple[str, int, int], int]:
    """Counts the deliveries that statements show, by their state."""
    kinds = Counter(parse_statement(jws).body_kind for jws in got.statements)
    out = kinds["handover"]
    waiting = kinds["acceptance"] - out
    figures = {
        V.DELIVERY_STATE_HANDED_OVER: out,
        V.DELIVERY_STATE_ACCEPTED: waiting,
    }
    return {
        (STATE_POLICE, V.URGENCY_ROUTINE, state): number
        for state, number in figures.items()
        if number
    }


async def test_tests_are_shown_but_count_nowhere(audited: World) -> None:
    sending = audited.referral(test=True)
    await audited.publishing.publish(audited.caller(HOTLINE), sending)
    got = await export(audited, AUDITOR)
    referral_id = parse_statement(sending.jws).message.id
    assert got.about(referral_id) == ["referral", "acceptance"]
    assert dict(got.header.figures.deliveries) == {}


@dataclass(slots=True)
class ManyStatements:
    """A change that logs statements for the auditors of two states in turn."""

    number: int
    needs: Needs = field(default_factory=Needs)

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs them."""
        return [
            draft.log(draft.say(audit_access={}), places=(code,))
            for _, code in zip(range(self.number), cycle(["US-OH", "US-NV"]))
        ]


async def test_a_long_log_is_shown_without_gaps_and_in_its_order(
    audited: World,
) -> None:
    first = audited.ledger.head().size
    await audited.ledger.apply(ManyStatements(6000))
    ohio, nevada, whole = [
        await export(audited, name) for name in (AUDITOR, NEVADA_AUDITOR, WHOLE_AUDITOR)
    ]
    assert ohio.indexes[-3000:] == [*range(first, first + 6000, 2)]
    assert nevada.indexes[-3000:] == [*range(first + 1, first + 6000, 2)]
    assert whole.indexes == [*range(first + 6002)]
    for got in (ohio, nevada, whole):
        tree = Tree().extend([leaf_hash(digest) for digest in got.digests])
        assert tree.root == got.access.statements_root


async def test_who_may_not_stay_gets_no_further(audited: World) -> None:
    await acknowledged(audited)
    asked = count()

    def recheck() -> None:
        if next(asked) == 1:  # once before the header, then before the statements
            raise ForbiddenError(Reason.ERROR_REASON_MEMBER_SUSPENDED, "suspended")

    parts = audited.auditing.export(audited.caller(AUDITOR), 0, recheck)
    assert isinstance(await anext(parts), ExportHeader)
    with pytest.raises(ForbiddenError):
        await anext(parts)
