"""The rounds of a monitor; the package's docstring numbers their steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from onward._clock import Clock, system_clock
from onward.core.errors import (
    ForkError,
    MalformedError,
    Reason,
    UnavailableError,
    VerificationError,
)
from onward.core.mirroring import continues, linking_tiles, prove_tiles
from onward.core.notes import Cosigner
from onward.core.tiles import TileId
from onward.core.tlog_policy import Policy
from onward.core.tree import Tile
from onward.monitor._copying import Copying
from onward.monitor._findings import Condition, Finding, Round
from onward.monitor._heads import Head, open_head
from onward.monitor._mirror import CHECKPOINT, Mirror
from onward.monitor._source import Source

STALE_AFTER: Final = 300.0
"""Seconds after which a checkpoint is stale, where nobody says otherwise."""

MAX_NOTE: Final = 512 * 1024
"""Bytes of a checkpoint with a hundred signatures, and some more."""

Begin = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Is told how many files a copy deals with; gives what is told how many are done."""

_GREW: Final = "grew"


@dataclass(frozen=True, slots=True)
class Watch:
    """How a monitor is to work.

    Attributes:
        stale_after: seconds; 0 for never.
        cosigner: cosigns what was checked. Its key must belong to this mirror alone.
        clock: tells the time.
        begin: shows how a long copy goes on.
    """

    stale_after: float = STALE_AFTER
    cosigner: Cosigner | None = None
    clock: Clock = system_clock
    begin: Begin = lambda _files: nullcontext(lambda _steps: None)


class Monitor:
    """Follows one log.

    Args:
        source: where the log is read.
        policy: the trust file.
        mirror: the copy; a new folder at first.
        watch: how it is to work.
    """

    def __init__(
        self, source: Source, policy: Policy, mirror: Mirror, watch: Watch | None = None
    ) -> None:
        self._source = source
        self._policy = policy
        self._mirror = mirror
        self._watch = watch or Watch()
        self._sound = False

    async def round(self) -> Round:
        """Looks at the log once.

        Raises:
            UnavailableError: the mirror is damaged, or cannot be written.
            MalformedError: the mirror is not of a log of the trust file.
        """
        evidence = await asyncio.to_thread(self._mirror.fork)
        if evidence is not None:
            why = f"the log forked; {evidence} holds what proves it"
            return Round(None, 0, Finding(Condition.FORK, why, evidence))
        before = await self._mirrored()
        found = await self._look(before)
        after = await self._mirrored()
        if after is None:
            return Round(None, 0, found)
        added = after.size - (before.size if before else 0)
        found = found or await self._stale(after)
        line = "" if found else await self._cosign(after)
        return Round(after.checkpoint, added, found, line)

    async def _look(self, before: Head | None) -> Finding | None:
        """Does steps 1 to 4, once more if what came was wrong: a cache may be to blame.

        Returns:
            What is wrong, if anything is.
        """
        found = None
        for fresh in (False, True):
            try:
                await self._follow(before, fresh=fresh)
            except _ForkedError as error:
                fork, tiles = error.fork, error.tiles
                folder = await asyncio.to_thread(self._mirror.keep_fork, fork, tiles)
                return Finding(Condition.FORK, fork.message, folder)
            except _WrongError as error:
                found = Finding(error.condition, str(error))
            except VerificationError as error:
                found = Finding(Condition.BAD_TILE, error.message)
            except UnavailableError as error:
                if error.reason == Reason.ERROR_REASON_STORAGE_UNAVAILABLE:
                    raise
                return Finding(Condition.UNREACHABLE, error.message)
            else:
                return None
        return found

    async def _follow(self, before: Head | None, *, fresh: bool) -> None:
        """Does steps 1 to 4: fetches, compares, copies."""
        head = await self._fetch(fresh=fresh)
        pending = await self._pending()
        seen = [known for known in (before, pending) if known is not None]
        _require_one_log(head, seen)
        newest = max((known.size for known in seen), default=0)
        if head.size < newest:
            await self._require_beginning(head, before)
            raise _WrongError(
                Condition.SHRUNK,
                f"the log shows a checkpoint of size {head.size}, and has shown one of "
                f"size {newest} before",
            )
        if pending is None and (before is None or head.size > before.size):
            await asyncio.to_thread(self._mirror.begin, head.note)
        await self._take(head, seen, before, fresh=fresh)

    async def _fetch(self, *, fresh: bool) -> Head:
        """Fetches the checkpoint and opens it."""
        data = await self._source.get(CHECKPOINT, MAX_NOTE, fresh=fresh)
        if data is None:
            raise UnavailableError(
                Reason.ERROR_REASON_UNSPECIFIED,
                "there is no checkpoint at this URL; check it",
            )
        try:
            return open_head(self._policy, data)
        except (MalformedError, VerificationError) as error:
            raise _WrongError(Condition.UNTRUSTED, error.message) from error

    async def _require_beginning(self, head: Head, before: Head | None) -> None:
        """Compares a smaller checkpoint with what the mirror has.

        Raises:
            _ForkedError: it is no beginning of that.
            UnavailableError: the mirror is damaged.
        """
        if before is None or head.size > before.size:
            return  # it is smaller than one that is not all here
        size = before.size
        wanted = linking_tiles(size, [head.size])
        data = await asyncio.to_thread(self._mirror.tiles, size, wanted)
        try:
            tiles = prove_tiles(before.checkpoint, data)
        except VerificationError as error:
            raise self._mirror.damaged() from error
        if not continues(tiles, head.checkpoint):
            raise _ForkedError(before.fork(head), tiles)

    async def _take(
        self, head: Head, seen: Sequence[Head], before: Head | None, *, fresh: bool
    ) -> None:
        """Does steps 2 to 4: links the checkpoint to those seen, and copies."""
        since = before.size if before else 0
        if head.size > since:
            copying = Copying(self._source, self._mirror, head.checkpoint, fresh=fresh)
            older = [known for known in seen if known.size < head.size]
            proven = await copying.link([known.size for known in older])
            for known in older:
                if not continues(proven, known.checkpoint):
                    raise _ForkedError(known.fork(head), proven)
            await asyncio.to_thread(self._mirror.begin, head.note)
            with self._watch.begin(copying.files(since)) as advance:
                await copying.copy(since, proven, advance)
        if before is None or head.note != before.note:
            await asyncio.to_thread(self._mirror.complete, head.note, since)
        if before is None or head.size > since:
            now = self._watch.clock().timestamp()
            await asyncio.to_thread(self._mirror.put_state, **{_GREW: now})

    async def _mirrored(self) -> Head | None:
        """Returns the mirror's checkpoint; None for a new mirror.

        Raises:
            UnavailableError: the mirror is damaged.
            MalformedError: it is not of a log of the trust file.
        """
        head = self._kept(await asyncio.to_thread(lambda: self._mirror.checkpoint))
        if head is not None and not self._sound:
            await asyncio.to_thread(self._mirror.check, head.checkpoint)
            self._sound = True
        return head

    async def _pending(self) -> Head | None:
        """Returns the checkpoint that was seen and is not all checked yet."""
        return self._kept(await asyncio.to_thread(lambda: self._mirror.pending))

    def _kept(self, note: str) -> Head | None:
        try:
            return open_head(self._policy, note.encode()) if note else None
        except (MalformedError, VerificationError) as error:
            raise MalformedError(
                f"{self._mirror.path} is no mirror of a log of the trust file: "
                f"{error.message}; name another folder"
            ) from error

    async def _stale(self, head: Head) -> Finding | None:
        """Does step 5. Witnesses say how old a checkpoint is; without any, its growth.

        The log's own signature has no time.
        """
        most, now = self._watch.stale_after, self._watch.clock().timestamp()
        if self._policy.quorum is not None:
            # A time to come says as little about now as one that is long past.
            ages = {name: abs(now - time) for name, time in head.times.items()}
            recent = [name for name, age in ages.items() if age <= most]
            fine = self._policy.is_quorum(recent)
            why = f"no quorum of witnesses has cosigned size {head.size} for {most:g} s"
        else:
            state = await asyncio.to_thread(self._mirror.state)
            grew = state.get(_GREW)
            fine = not isinstance(grew, int | float) or now - grew <= most
            why = f"the log has not grown from size {head.size} for {most:g} s"
        return None if fine or not most else Finding(Condition.STALE, why)

    async def _cosign(self, head: Head) -> str:
        """Cosigns what is complete and on the disk."""
        cosigner = self._watch.cosigner
        if cosigner is None:
            return ""
        time = int(self._watch.clock().timestamp())
        line = cosigner.sign(head.checkpoint.text, time).format()
        await asyncio.to_thread(self._mirror.put_cosigned, head.note + line)
        return line


class _ForkedError(Exception):
    """The log has forked; the tiles of the larger tree prove it."""

    def __init__(self, fork: ForkError, tiles: Mapping[TileId, Tile]) -> None:
        super().__init__(fork.message)
        self.fork = fork
        self.tiles = tiles


class _WrongError(Exception):
    """Something is wrong that may be otherwise when it is fetched again."""

    def __init__(self, condition: Condition, why: str) -> None:
        super().__init__(why)
        self.condition = condition


def _require_one_log(head: Head, seen: Sequence[Head]) -> None:
    """Compares a checkpoint with those of the same size, and with the log's name."""
    for known in seen:
        if known.checkpoint.origin != head.checkpoint.origin:
            raise _WrongError(
                Condition.UNTRUSTED,
                f"the checkpoint is of {head.checkpoint.origin}, and the mirror of "
                f"{known.checkpoint.origin}; begin a new mirror for another log",
            )
        if known.size == head.size and known.checkpoint != head.checkpoint:
            raise _ForkedError(known.fork(head), {})
