"""Being witnessed: others cosign the log's checkpoints, and so say when they saw them.

The story
---------
1. Once a second, if the log has grown, its newest checkpoint is *proposed*. All
   witnesses are asked for the same ones, so that their cosignatures meet on one note.
2. One task for each witness asks it for the newest proposal that it has not cosigned,
   and for the same one again after a minute in which nothing happened. One request is
   under way at a time: whoever is slow skips proposals, and holds up nobody.
3. A cosignature is verified, and written down in a transaction of the ledger's. Only
   then does it count. What is lost between the answer and the disk is no harm: the
   witness is asked again, from where it is.
4. When the witnesses of a proposal make the quorum of the policy, the checkpoint is
   *witnessed*. Whoever waits for a receipt up to it gets one.
5. A witness that fails is asked again after a pause, which doubles. Publishing waits
   for no witness, and whether the exchange is ready does not depend on any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from onward.core.errors import OnwardError
from onward.core.tlog_policy import Witness
from onward_server.exchange.accusations import Accusations
from onward_server.exchange.asking import Asking, Standing, Transport
from onward_server.exchange.clock import Clock, Entropy
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.witnessed_log import WitnessedLog
from onward_server.storage.contract import CheckpointRow, CosignatureRow

_STUBBORN: Final = frozenset({Standing.STRANGER, Standing.AHEAD, Standing.ACCUSES})
"""What does not pass by itself: asking often would not help."""

_GRAVE: Final = frozenset({Standing.AHEAD, Standing.ACCUSES})
_MAX_DOUBLINGS: Final = 32

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often things happen, in seconds.

    Attributes:
        proposal: between two proposals, at least.
        heartbeat: after which a witness is asked again though nothing is new.
        pause: after the first failure; it doubles with each one.
        longest_pause: the most.
    """

    proposal: float = 1.0
    heartbeat: float = 60.0
    pause: float = 1.0
    longest_pause: float = 300.0


@dataclass(frozen=True, slots=True)
class Means:
    """What asking takes besides the log.

    Attributes:
        transport: how witnesses are reached.
        accusations: keeps evidence.
        clock: measures pauses.
        entropy: keeps many exchanges from asking at once.
        rhythm: how often.
    """

    transport: Transport
    accusations: Accusations
    clock: Clock
    entropy: Entropy
    rhythm: Rhythm = Rhythm()


@dataclass(slots=True)
class _Course:
    """How it goes with one witness.

    Attributes:
        cosigned: the size that it cosigned last in this process.
        due: when it is asked again though nothing is new.
        heard: when it cosigned last.
        failures: in a row.
        told: its standing as it was logged last.
    """

    asking: Asking
    cosigned: int = 0
    due: float = 0.0
    heard: float = 0.0
    failures: int = 0
    told: Standing = Standing.NEW


class Witnesses:
    """Asks witnesses; see the module's story.

    Args:
        ledger: its checkpoints and proofs.
        log: keeps what comes back.
        witnesses: each with its URL.
        means: what asking takes besides.

    Attributes:
        rhythm: how often.
        accusations: the evidence.
    """

    def __init__(
        self,
        ledger: Ledger,
        log: WitnessedLog,
        witnesses: Sequence[Witness],
        means: Means,
    ) -> None:
        self.rhythm = means.rhythm
        self.accusations = means.accusations
        self._ledger = ledger
        self._witnessed_log = log
        self._clock = means.clock
        self._entropy = means.entropy
        prove, accused = ledger.receipts.consistency, means.accusations.keep
        self._courses = {
            witness.name: _Course(Asking(witness, means.transport, prove, accused))
            for witness in witnesses
        }
        self._proposal: CheckpointRow | None = None
        self._proposed = asyncio.Event()

    @property
    def askings(self) -> Mapping[str, Asking]:
        """The witnesses by name, each with its standing."""
        return {name: course.asking for name, course in self._courses.items()}

    async def begin(self) -> None:
        """Takes from the database where each witness was."""
        for course in self._courses.values():
            asking = course.asking
            asking.size = await self._witnessed_log.last_size(asking.key)
            course.heard = self._clock.monotonic()

    async def refresh(self) -> None:
        """Takes over what another replica got from the witnesses: a turn."""
        await self._witnessed_log.refresh()

    async def propose(self) -> None:
        """Proposes the newest checkpoint, if it is new."""
        head = self._ledger.head()
        if self._proposal is None or head.size > self._proposal.size:
            self._proposal = head
            self._proposed.set()
            self._proposed = asyncio.Event()

    async def follow(self, name: str) -> None:
        """Has one witness cosign the next checkpoint: the turn of its task."""
        course = self._courses[name]
        head = await self._next(course)
        row = await course.asking.ask(head, self._witnessed_log.note(head))
        if course.asking.standing is not course.told:
            course.told = course.asking.standing
            _tell_standing(course.asking, head.size)
        if row is None or not await self._kept(head, row):
            await self._pause(course)
            return
        now = self._clock.monotonic()
        course.cosigned, course.failures, course.heard = head.size, 0, now
        course.due = now + self.rhythm.heartbeat

    def silence(self) -> Mapping[str, float]:
        """For each witness, the seconds since it cosigned last."""
        now = self._clock.monotonic()
        return {name: now - course.heard for name, course in self._courses.items()}

    async def _next(self, course: _Course) -> CheckpointRow:
        """Waits until there is something to ask a witness for."""
        while True:
            proposed, proposal = self._proposed, self._proposal
            left = course.due - self._clock.monotonic()
            if proposal and (proposal.size > course.cosigned or left <= 0):
                return proposal
            with suppress(TimeoutError):
                await asyncio.wait_for(proposed.wait(), left if proposal else None)

    async def _pause(self, course: _Course) -> None:
        """Waits longer each time, and not as long as others do."""
        rhythm, stubborn = self.rhythm, course.asking.standing in _STUBBORN
        first = rhythm.heartbeat if stubborn else rhythm.pause
        pause = min(first * 2.0**course.failures, max(first, rhythm.longest_pause))
        course.failures = min(course.failures + 1, _MAX_DOUBLINGS)
        course.due = 0.0
        await asyncio.sleep(pause * (0.5 + self._entropy(1)[0] / 512))

    async def _kept(self, head: CheckpointRow, row: CosignatureRow) -> bool:
        """Keeps a cosignature; says whether that worked."""
        try:
            await self._witnessed_log.keep(head, row)
        except OnwardError as error:
            _log.warning("witnesses.not_kept", witness=row.witness, why=error.message)
            return False
        return True


def _tell_standing(asking: Asking, size: int) -> None:
    """Logs that a witness stands otherwise to the log than before."""
    fields = {
        "witness": asking.name,
        "standing": asking.standing.value,
        "size": size,
        "witness_size": asking.size,
    }
    if asking.standing in _GRAVE:
        _log.error("witnesses.standing_changed", **fields)
    elif asking.standing is Standing.COSIGNS:
        _log.info("witnesses.standing_changed", **fields)
    else:
        _log.warning("witnesses.standing_changed", **fields)
