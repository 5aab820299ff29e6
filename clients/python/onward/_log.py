"""Following the exchange's log: every checkpoint must agree with all seen before.

The newest checkpoint that was verified is kept in the home, so a log that shows one
history today and another tomorrow is noticed, by any process of the home. Each receipt
names a checkpoint; whichever comes, the log must prove that the smaller of two trees is
the beginning of the larger.

Many receipts can arrive at once. While one check runs, the checkpoints that come
meanwhile wait, and are then settled together: one consistency proof for each tree that
is not known yet, all of them up to the newest. Receipts of one group commit name the
same tree, so a thousand of them mostly need one proof.

What contradicts itself is kept in the home as evidence, and nothing works any more
until a person has looked at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from onward._channel import Caller
from onward.core.checkpoints import Checkpoint
from onward.core.errors import (
    ForkError,
    MalformedError,
    RangeError,
    Reason,
    VerificationError,
)
from onward.core.merkle import leaf_hash, verify_consistency, verify_inclusion
from onward.core.statements import parse_statement
from onward.core.tlog_proof import TlogProof
from onward.core.verify.evidence import Entry
from onward.home import Home
from onward.v1 import log_pb2
from onward.v1.log_pb2_grpc import LogServiceStub

FRESH: Final = 60.0
"""Seconds for which what was heard from the exchange counts as recent."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_LONGEST_WAIT: Final = 60.0
"""Seconds that the exchange waits for its witnesses within one call."""

_ON_THE_WAY: Final = 5.0
"""Seconds for a call to go there and back."""

_MAX_AGREED: Final = 4096
_MAX_OPENED: Final = 256


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that the trust file accepts, with the note that proves it."""

    note: str
    checkpoint: Checkpoint

    @property
    def size(self) -> int:
        """The size of its tree."""
        return self.checkpoint.size


class Log:
    """The exchange's log, as far as it has proven itself.

    Args:
        home: where the newest checkpoint is kept, and evidence.
        stub: asks the exchange for proofs.
        caller: makes the calls.
    """

    def __init__(self, home: Home, stub: LogServiceStub, caller: Caller) -> None:
        self.policy = home.policy
        self._home = home
        self._stub = stub
        self._caller = caller
        self._newest: Checkpoint | None = None
        self._heard = float("-inf")
        self._fork: ForkError | None = None
        self._opened: dict[str, SignedCheckpoint] = {}
        self._agreed: dict[int, bytes] = {}
        self._waiting: dict[SignedCheckpoint, asyncio.Future[None]] = {}
        self._worker: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """The size of the newest tree that this process has checked; 0 before."""
        return self._newest.size if self._newest else 0

    def check_usable(self) -> None:
        """Refuses to go on after a fork.

        Raises:
            ForkError: there was one.
        """
        if self._fork:
            raise self._fork

    async def prove(self, logged: log_pb2.LoggedStatement) -> tuple[Entry, Checkpoint]:
        """Checks that a statement is in the log. Its signature is not looked at.

        Raises:
            MalformedError: it or its receipt has not the form of one.
            VerificationError: the receipt does not hold.
            ForkError: its checkpoint contradicts another one.
        """
        statement = parse_statement(logged.statement)
        receipt = TlogProof.parse(logged.receipt)
        checkpoint = self._open(receipt.checkpoint_note).checkpoint
        verify_inclusion(
            leaf_hash(statement.digest),
            receipt.index,
            checkpoint.size,
            receipt.path,
            checkpoint.root,
        )
        await self.observe(receipt.checkpoint_note)
        return Entry(receipt.index, statement, statement.body_kind, receipt), checkpoint

    async def latest(self) -> Checkpoint:
        """Fetches the newest checkpoint, and checks it."""
        response = await self._caller.call(
            self._stub.GetCheckpoint, log_pb2.GetCheckpointRequest()
        )
        return await self.observe(response.checkpoint)

    async def recent(self) -> Checkpoint:
        """Returns the newest checkpoint checked, of the last minute or fetched now."""
        age = asyncio.get_running_loop().time() - self._heard
        if self._newest is None or age > FRESH:
            return await self.latest()
        return self._newest

    async def receipt(self, digest: bytes, wait: float | None) -> TlogProof:
        """Fetches a receipt of an entry, and checks it.

        Args:
            digest: the statement's.
            wait: how many seconds the exchange's witnesses may take; the receipt then
                leads to the first checkpoint with the entry that they cosigned. If
                None, it leads to the newest checkpoint, without them.

        Raises:
            UnknownError: the log has no such entry.
            UnavailableError: it was not witnessed in this time (``QUORUM_UNMET``).
            VerificationError: the receipt does not hold.
            ForkError: its checkpoint contradicts another one.
        """
        request = log_pb2.GetReceiptRequest(digest=digest)
        if wait is None:
            response = await self._caller.call(self._stub.GetReceipt, request)
        else:
            response = await self._witnessed_receipt(request, wait)
        proof = TlogProof.parse(response.receipt)
        proof.verify(digest, self.policy)
        await self.observe(proof.checkpoint_note)
        return proof

    async def _witnessed_receipt(
        self, request: log_pb2.GetReceiptRequest, wait: float
    ) -> log_pb2.GetReceiptResponse:
        """Asks as often as it takes: the exchange waits for a minute at most."""

        def attempt(left: float) -> Awaitable[log_pb2.GetReceiptResponse]:
            seconds = max(0.0, min(left - _ON_THE_WAY, _LONGEST_WAIT))
            request.wait.FromNanoseconds(int(seconds * 1e9))
            return self._stub.GetReceipt(request, timeout=left)

        caller = replace(self._caller, deadline=wait + _ON_THE_WAY)
        return await caller.repeat(attempt)

    async def observe(self, note: str) -> Checkpoint:
        """Checks that a checkpoint agrees with every one seen before.

        Raises:
            MalformedError: it has not the form of one.
            VerificationError: the trust file does not accept it.
            ForkError: it contradicts another one.
        """
        self.check_usable()
        seen = self._open(note)
        if self._agreed.get(seen.size) != seen.checkpoint.root:
            await self._settled(seen)
        self._heard = asyncio.get_running_loop().time()
        return seen.checkpoint

    async def close(self) -> None:
        """Ends the work that is under way."""
        if self._worker:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    def _open(self, note: str) -> SignedCheckpoint:
        """Verifies the signatures on a checkpoint; the last ones are remembered."""
        opened = self._opened.get(note)
        if opened is None:
            checkpoint = self.policy.open_checkpoint(note).checkpoint
            opened = SignedCheckpoint(note, checkpoint)
            _remember(self._opened, note, opened, _MAX_OPENED)
        return opened

    async def _settled(self, seen: SignedCheckpoint) -> None:
        """Waits until the worker has checked a checkpoint."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(seen, loop.create_future())
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._settle())
        # The others that wait for the same one must not lose it with us.
        await asyncio.shield(waiting)

    async def _settle(self) -> None:
        """Checks what waits, in batches, until nothing does."""
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            try:
                await self._agree(list(batch))
            except BaseException as error:
                for waiting in batch.values():
                    _fail(waiting, error)
                if not isinstance(error, Exception):
                    raise
            else:
                for waiting in batch.values():
                    waiting.set_result(None)

    async def _agree(self, batch: Sequence[SignedCheckpoint]) -> None:
        """Checks checkpoints against each other and the one in the home."""
        while True:
            # Read again each time: another process of this home may have got further,
            # or have found a fork.
            await asyncio.to_thread(self._home.check_no_fork)
            kept = await asyncio.to_thread(self._home.checkpoint)
            base = [self._open(kept)] if kept else []
            trees = await self._distinct([*base, *batch])
            newest = trees[max(trees)]
            await self._link(trees, newest)
            if newest.note == kept or await asyncio.to_thread(
                self._home.replace_checkpoint, kept, newest.note
            ):
                break
        self._newest = newest.checkpoint
        for size, tree in trees.items():
            _remember(self._agreed, size, tree.checkpoint.root, _MAX_AGREED)

    async def _distinct(
        self, seen: Sequence[SignedCheckpoint]
    ) -> Mapping[int, SignedCheckpoint]:
        """Returns one checkpoint for each size, the one in the home first."""
        trees: dict[int, SignedCheckpoint] = {}
        for item in seen:
            first = trees.setdefault(item.size, item)
            if first.checkpoint.origin != item.checkpoint.origin:
                raise VerificationError(
                    Reason.ERROR_REASON_NOTE_UNTRUSTED,
                    "the checkpoint is of another log than the exchange's",
                )
            if first.checkpoint.root != item.checkpoint.root:
                await self._raise_fork(first, item)
        return trees

    async def _link(
        self, trees: Mapping[int, SignedCheckpoint], newest: SignedCheckpoint
    ) -> None:
        """Checks that each tree is a beginning of the newest one."""
        unknown = (
            tree
            for size, tree in trees.items()
            if 0 < size < newest.size and not self._knows_both(tree, newest)
        )
        await asyncio.gather(*(self._check_grown(tree, newest) for tree in unknown))

    def _knows_both(self, tree: SignedCheckpoint, newest: SignedCheckpoint) -> bool:
        """Whether both have agreed with the others before."""
        return all(
            self._agreed.get(item.size) == item.checkpoint.root
            for item in (tree, newest)
        )

    async def _check_grown(
        self, first: SignedCheckpoint, second: SignedCheckpoint
    ) -> None:
        """Has the log prove that one tree grew into another."""
        request = log_pb2.GetConsistencyProofRequest(
            first_size=first.size, second_size=second.size
        )
        try:
            proof = await self._caller.call(self._stub.GetConsistencyProof, request)
            verify_consistency(
                first.size,
                second.size,
                first.checkpoint.root,
                second.checkpoint.root,
                proof.path,
            )
        except (MalformedError, RangeError, VerificationError):
            # It has signed both trees, and cannot show that one grew into the other.
            await self._raise_fork(first, second)

    async def _raise_fork(
        self, first: SignedCheckpoint, second: SignedCheckpoint
    ) -> None:
        """Keeps the evidence, and ends all work."""
        error = ForkError(
            f"the log {first.checkpoint.origin} has signed a tree of size {first.size} "
            f"and one of size {second.size} that contradict each other",
            first.note,
            second.note,
        )
        self._fork = error
        await asyncio.to_thread(self._home.keep_fork, error)
        raise error


def _fail(waiting: asyncio.Future[None], error: BaseException) -> None:
    if isinstance(error, Exception):
        waiting.set_exception(error)
        waiting.exception()  # whoever waited may be gone
    else:
        waiting.cancel()


def _remember(memory: dict[_Key, _Value], key: _Key, value: _Value, limit: int) -> None:
    """Keeps a value in a bounded memory, and forgets the oldest one."""
    memory[key] = value
    if len(memory) > limit:
        del memory[next(iter(memory))]
