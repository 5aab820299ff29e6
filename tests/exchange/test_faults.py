"""kill -9 between staging and publishing, at every place and again and again.

Never two checkpoints that contradict each other, never a receipt that does not hold,
and no witness that refuses.
"""

from __future__ import annotations

import random
import signal
import sqlite3
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onward.core.checkpoints import Checkpoint
from onward.core.merkle import verify_consistency
from onward.core.statements import statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward_server.exchange.accusations import count_accusations
from onward_server.exchange.asking import Standing
from onward_server.exchange.guard import read_guard
from onward_server.exchange.receipts import Receipts
from onward_server.storage.contract import CheckpointRow, Store
from onward_server.storage.sqlite import open_sqlite
from onward_server.witnessing.store import WitnessStore
from tests.support.faulty_server import LEDGER_POINTS, WITNESS_POINTS
from tests.support.lives import open_lives
from tests.support.witnesses import open_witnessed
from tests.support.world import ORIGIN

POINTS = [*LEDGER_POINTS, *WITNESS_POINTS]
LIVES = 23 * len(POINTS)


class Stranger:
    """Keeps all that was ever told, and believes nothing.

    Args:
        folder: the exchange's and its witnesses'.
        policy: the log, its witnesses and their quorum.
    """

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.told: dict[int, str] = {}
        self.roots: dict[int, bytes] = {}
        self._folder = folder
        self._policy = policy
        self._log = replace(policy, witnesses=(), groups=(), quorum=None)
        self._shown = 0
        self._cosigned = {witness.name: 0 for witness in policy.witnesses}

    def hear(self, what: str, *facts: Any) -> None:
        """Verifies what was handed out."""
        hearers: dict[str, Callable[..., None]] = {
            "logged": self._take,
            "published": self._read,
            "witnessed": self._trust,
        }
        hearers[what](*facts)

    def _take(self, index: int, jws: str, receipt: str) -> None:
        """Verifies an answer; one index is told for one statement only."""
        assert self.told.setdefault(index, jws) == jws, "two statements at one place"
        proof = TlogProof.parse(receipt)
        assert proof.index == index
        self._see(proof.verify(statement_digest(jws), self._log).checkpoint)

    def _read(self, note: str) -> None:
        """Verifies what strangers are shown, which never gets smaller."""
        shown = self._log.open_checkpoint(note).checkpoint
        assert shown.size >= self._shown, "what is shown has shrunk"
        self._shown = shown.size
        self._see(shown)

    def _trust(self, note: str) -> None:
        """Verifies that a quorum has witnessed a checkpoint."""
        self._see(self._policy.open_checkpoint(note).checkpoint)

    def _see(self, checkpoint: Checkpoint | CheckpointRow) -> None:
        """Notes a checkpoint; two roots of one size are a fork."""
        root = self.roots.setdefault(checkpoint.size, checkpoint.root)
        assert root == checkpoint.root, "two roots for one size"

    async def check(self, sizes: Iterable[int], indexes: Collection[int]) -> None:
        """Checks that what is on the disk continues what was told.

        Args:
            sizes: of the checkpoints to check; besides those of guard and witnesses.
            indexes: of the entries to check.
        """
        database = self._folder / "exchange" / "exchange.sqlite"
        store = await open_sqlite(str(database), readers=1, read_only=True)
        try:
            head = await store.head()
            assert head is not None
            self._see(head)
            kept = {head.size, *self._guarded(), *self._witnessed()}
            await self._check_continued(store, head, {*sizes, *kept})
            for row in await store.statements(sorted(indexes)):
                assert row.jws == self.told[row.log_index], "what was told is lost"
            assert max(indexes, default=0) < head.size, "what was told is lost"
        finally:
            await store.close()

    async def _check_continued(
        self, store: Store, head: CheckpointRow, sizes: Iterable[int]
    ) -> None:
        """Checks that each of the trees that were told is how the present one began."""
        for size in sizes:
            assert size <= head.size, (
                "the disk has less than was told, guarded or cosigned"
            )
            path = await Receipts(store).consistency(size, head.size)
            verify_consistency(size, head.size, self.roots[size], head.root, path)

    def _guarded(self) -> list[int]:
        """Notes what the restore guard has; returns its size."""
        guarded = read_guard(self._folder / "exchange" / "guard")
        if guarded is None:
            return []
        self._see(CheckpointRow(guarded.size, guarded.root, "", 0))
        return [guarded.size]

    def _witnessed(self) -> list[int]:
        """Notes what the witnesses have cosigned last; returns the sizes."""
        assert count_accusations(self._folder / "town" / "evidence" / "a.jsonl") == 0
        for name, before in self._cosigned.items():
            file = self._folder / "town" / name / "witness.sqlite"
            uri = f"{file.as_uri()}?mode=ro"
            with closing(WitnessStore(sqlite3.connect(uri, uri=True))) as store:
                assert store.evidence() == []
                head = store.head(ORIGIN)
            if head is not None:
                cosigned = self._log.open_checkpoint(head.signed.note).checkpoint
                assert cosigned.size >= before, "a witness went back"
                self._cosigned[name] = cosigned.size
                self._see(cosigned)
        return [size for size in self._cosigned.values() if size]


@pytest.mark.timeout(280)
async def test_deaths_between_staging_and_publishing_fork_nothing(
    tmp_path: Path,
) -> None:
    chance = random.Random(4)
    async with open_witnessed(tmp_path) as witnessed:
        stranger = Stranger(tmp_path, witnessed.policy)
    with open_lives(tmp_path) as lives:
        for number in range(LIVES):
            point = POINTS[number % len(POINTS)]
            sizes, indexes = set(stranger.roots), set(stranger.told)
            code, told = lives.live(point, chance.randint(1, 4))
            assert code == -signal.SIGKILL, point
            for facts in told:
                stranger.hear(*facts)
            # The last head of before stands for all that it continues.
            last = {max(sizes)} if sizes else set()
            await stranger.check(
                (stranger.roots.keys() - sizes) | last, stranger.told.keys() - indexes
            )
    await stranger.check(stranger.roots, stranger.told)
    assert len(stranger.told) > LIVES  # there was something to lose
    async with open_witnessed(tmp_path) as witnessed:
        await witnessed.ask()
        for name in witnessed.town.names:
            assert witnessed.standing(name) is Standing.COSIGNS
