"""Whatever happens to the log, its witnesses and its process: nothing contradicts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from onward.core.errors import UnavailableError
from onward.core.statements import statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward_server.exchange.asking import Reply
from onward_server.exchange.log_reader import LogReader
from tests.support.witnesses import WitnessedWorld, open_witnessed

NAMES = "abc"
QUORUM = 2

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 3)),
        st.tuples(st.just("ask"), st.sampled_from(NAMES)),
        st.tuples(st.just("lose the answer"), st.sampled_from(NAMES)),
        st.tuples(st.just("fail"), st.sampled_from(NAMES)),
        st.tuples(st.just("lie"), st.sampled_from(NAMES)),
        st.tuples(st.just("forget"), st.sampled_from(NAMES)),
        st.tuples(st.just("wait"), st.integers(1, 300)),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=20, deadline=None)
def test_the_state_stays_consistent(steps: list[tuple[str, int | str | None]]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(_live(Path(folder), steps))


async def _live(folder: Path, steps: list[tuple[str, int | str | None]]) -> None:
    """Takes the steps, from one restart to the next, and looks after each."""
    seconds, shown, best = 0, 0, 0
    while True:
        async with open_witnessed(folder, str(QUORUM)) as witnessed:
            witnessed.world.clock.advance(seconds)
            shown = 0  # a restart begins with what is in the database
            while steps and steps[0][0] != "restart":
                (kind, value), steps = steps[0], steps[1:]
                seconds += await _step(witnessed, kind, value)
                size = _shown(witnessed)
                assert size >= shown
                shown = size
            best = max(best, await _check(witnessed, best))
            assert await witnessed.accusations.count() == 0
        if not steps:
            return
        steps = steps[1:]


async def _step(witnessed: WitnessedWorld, kind: str, value: int | str | None) -> int:
    """Does one thing; returns by how many seconds time went on."""
    if kind == "grow":
        for _ in range(int(value or 0)):
            await witnessed.grow()
    elif kind == "wait":
        witnessed.world.clock.advance(int(value or 0))
        return int(value or 0)
    elif kind == "forget":
        witnessed.witnesses.askings[str(value)].size = 0
    else:
        await _ask(witnessed, kind, str(value))
    return 0


async def _ask(witnessed: WitnessedWorld, kind: str, name: str) -> None:
    """Asks a witness that is well, or else."""
    witness, moods = witnessed.town.witnesses[name], witnessed.town.moods

    def lose(body: bytes) -> None:
        """Cosigns, and the answer does not come through."""
        witness.add_checkpoint(body)

    if kind == "lose the answer":
        witnessed.witnesses.askings[name].size = witness_size(witnessed, name)
        moods[name] = lose
    if kind == "fail":
        moods[name] = lambda _: Reply(500, "", b"")
    if kind == "lie":
        moods[name] = lambda _: Reply(200, "text/plain", b"\xe2\x80\x94 x eHh4eHg=\n")
    await witnessed.ask(name)
    moods.pop(name, None)


def witness_size(witnessed: WitnessedWorld, name: str) -> int:
    """Returns where a witness is."""
    witness = witnessed.town.witnesses[name]
    head = witness.store.head(witnessed.world.ledger.origin)
    return head.signed.checkpoint.size if head else 0


def _shown(witnessed: WitnessedWorld) -> int:
    """Returns the size that strangers see; it is signed."""
    known = Policy(witnessed.policy.logs)
    return known.open_checkpoint(witnessed.log.published()).checkpoint.size


async def _check(witnessed: WitnessedWorld, best: int) -> int:
    """Every witnessed entry is proven; returns how many there are."""
    note = witnessed.log.witnessed()
    if not note:
        assert best == 0
        return 0
    size = witnessed.policy.open_checkpoint(note).checkpoint.size
    assert size >= best
    log = LogReader(witnessed.world.ledger, witnessed.world.store, witnessed.log)
    head = witnessed.world.ledger.head().size
    for row in await witnessed.world.store.statements(range(head)):
        digest = statement_digest(row.jws)
        try:
            proof = TlogProof.parse(await log.witnessed_receipt(digest, 0))
        except UnavailableError:
            assert row.log_index >= size
        else:
            found = proof.verify(digest, witnessed.policy)
            assert row.log_index < found.checkpoint.size <= size
    return size
