"""The ledger: the one way in which anything happens.

The story of a change
---------------------
1. Its caller verified what can be verified without the log: shapes, signatures, policy.
2. :meth:`Ledger.apply` puts it into the queue and waits.
3. One task, the only writer, takes all changes that wait (*group commit*), opens one
   transaction, loads the state that they need, and lets each plan in memory, in the
   order in which they came. A change that is refused fails alone.
4. It grows the tree, signs the checkpoint, and writes statements, state, tiles and
   head in the same transaction.
5. The commit makes all of it durable. Only now does the guard keep the new head, does
   the tree in memory move on, and do the callers get their receipts. A signature that
   was made for a commit that failed has not left this module.

When a commit fails
-------------------
Either it is *not persisted* or it is *persisted and reported as failed*. The ledger
cannot know which, so it reads the head again. If the head is the one that it signed,
the commit counts. If not, the changes fail with ``UNAVAILABLE``, and the same bytes may
be sent again: every change is idempotent. If not even the head can be read, the
ledger stays *unsure* and begins each later commit by reading it.

Where not the database failed but something in the group is a defect, the group is
parted until that fails alone.

Several ledgers on one database
-------------------------------
Their transactions follow each other, so what :meth:`Writer.load` returns tells whether
another one was first. Then the ledger catches up inside its own transaction, where
nothing can move, and plans on from there: no caller notices. Between its commits it
hears of those of others (:meth:`Store.listen`), and looks each second besides. Only
the writer's task ever moves the tree. Beneath all of it the head advances by
compare-and-swap on the size, so that even ledgers that knew nothing of each other could
not fork the log.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import structlog

from onward.core.checkpoints import Checkpoint
from onward.core.errors import (
    OnwardError,
    QuotaError,
    Reason,
    StateError,
    UnavailableError,
)
from onward.core.merkle import leaf_hash
from onward.core.notes import NoteSigner, sign_note
from onward.core.tree import Tree
from onward.v1 import statement_pb2
from onward_server.exchange.catching_up import (
    read_directory,
    read_policy,
    read_tree,
)
from onward_server.exchange.clock import Clock, Entropy
from onward_server.exchange.directory import Directory
from onward_server.exchange.draft import Draft, View, Voice
from onward_server.exchange.guard import Guard
from onward_server.exchange.hub import Hub
from onward_server.exchange.policy import DisclosurePolicy, PolicyInForce
from onward_server.exchange.receipts import Logged, Receipts, receipt_text
from onward_server.storage.contract import (
    CheckpointRow,
    Loaded,
    Needs,
    StatementRow,
    Store,
    TileRow,
    Writer,
)

MAX_GROUP = 512
"""Changes of one commit: bounds how long the first of them waits for the last."""

CROWD = 4
"""Changes of a commit from which on it is likely that more are on their way."""

GATHERING = 0.005
"""Seconds for which a commit waits for more after one with a crowd. A commit costs as
much as several changes, and there are calls to verify meanwhile."""

MAX_QUEUE = 8192
"""Changes that may wait. Beyond it callers are told to come back."""

_ANYBODY = ""
"""Stands for all members, where it is not known whom a commit concerns."""

_RELEASE_SECONDS = 1.0
"""After which a release of leases that failed is tried again."""

_RECENT_ENTRIES = 2048
_SEEN_CACHE = 16384

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class Change(Protocol):
    """Something that is to happen."""

    @property
    def needs(self) -> Needs:
        """What must be loaded before it can be planned."""

    def plan(self, draft: Draft) -> Sequence[int]:
        """Decides, and writes down in the draft what happens.

        Returns the log indexes of the entries that answer the caller: new ones, or
        those of the first time when the same was asked before.

        Raises:
            OnwardError: it is refused; then nothing of it happens.
        """


@dataclass(frozen=True, slots=True)
class Committed:
    """One group commit: enough to make the receipts of its entries without I/O."""

    tree: Tree
    note: str
    first_index: int
    statements: Sequence[StatementRow]

    def logged(self, index: int) -> Logged:
        """Returns an entry of this commit, or a later look at it, with its receipt."""
        row = self.statements[index - self.first_index]
        return Logged(index, row.jws, receipt_text(self.tree, index, self.note))


@dataclass(slots=True)
class _Job:
    """A change in the queue. ``result`` gets the commit and the answering indexes."""

    change: Change
    result: asyncio.Future[tuple[Committed | None, Sequence[int]]]
    answer: Sequence[int] = ()


@dataclass(slots=True)
class _Task(Generic[T]):
    """Work in the writing transaction that logs nothing, such as leasing."""

    work: Callable[[Writer], Awaitable[T]]
    result: asyncio.Future[T]


@dataclass(slots=True)
class _Look:
    """To see what other processes have committed."""

    result: asyncio.Future[None]


_Item: TypeAlias = _Job | _Task[Any] | _Look


class Ledger:
    """See the module's story. Make it with :meth:`start`; end it with :meth:`stop`.

    Attributes:
        directory: the present members.
        in_force: the policy, and the statement that put it in force.
        hub: wakes streams after commits.
        receipts: receipts of earlier entries.
        origin: the log's origin.
    """

    def __init__(
        self,
        store: Store,
        signer: NoteSigner,
        voice: Voice,
        clock: Clock,
        guard: Guard,
    ) -> None:
        self.directory = Directory()
        self.in_force = PolicyInForce(DisclosurePolicy.load_default())
        self.hub = Hub()
        self.receipts = Receipts(store)
        self.origin = signer.name
        self.exchange = voice.name
        self._store = store
        self._signer = signer
        self._voice = voice
        self._clock = clock
        self._guard = guard
        self._queue: asyncio.Queue[_Item | None] = asyncio.Queue(MAX_QUEUE)
        self._tree = Tree()
        self._head: CheckpointRow | None = None
        self._unsure = False
        self._unheard = False
        self._rumours: set[str] = set()
        self._stopping = False
        self._recent: OrderedDict[int, Committed] = OrderedDict()
        self._signed: OrderedDict[int, CheckpointRow] = OrderedDict()
        self._writer_task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Loads head, tree and directory, checks the guard, and begins to write.

        Raises:
            StateError: the database is older than what was signed, or has another
                history; or this release cannot use its policy. Nothing may be signed.
            UnavailableError: the database cannot be read.
        """
        await self._check_guard()
        await self._catch_up()
        self._writer_task = asyncio.create_task(self._write(), name="ledger")
        self._store.listen(self._hear)
        await self.release_lost()

    async def stop(self) -> None:
        """Finishes what waits in the queue, and stops writing."""
        if self._writer_task is not None:
            self._stopping = True
            await self._queue.put(None)
            await self._writer_task
            self._writer_task = None
        self._guard.close()

    async def _check_guard(self) -> None:
        """Compares the database with what was signed last."""
        last, head = self._guard.last(), await self._store.head()
        size = head.size if head else 0
        root = None
        if last is not None and 0 < last.size <= size:
            root = (await self.receipts.tree(last.size, ())).root
        self._guard.check(size, root)

    # ------------------------------------------------------------------ asking

    async def apply(self, change: Change) -> list[Logged]:
        """Makes a change happen. When this returns it is durable and has its proofs.

        Raises:
            OnwardError: the change was refused, and nothing of it happened.
            UnavailableError: it could not be written, or that is not known; the same
                change may be applied again.
        """
        result: asyncio.Future[tuple[Committed | None, Sequence[int]]] = (
            asyncio.get_running_loop().create_future()
        )
        self._put(_Job(change, result))
        committed, answer = await result
        return await self._answer(committed, answer)

    async def write(self, work: Callable[[Writer], Awaitable[T]]) -> T:
        """Does work that logs nothing in the writing transaction of a group commit."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Task(work, result))
        return await result

    def release(self, holder: str) -> None:
        """Ends all leases of a stream; nobody waits for it.

        It takes its turn behind what the stream has asked for, and is tried again for
        as long as nothing can be committed.
        """
        result = _unawaited()
        result.add_done_callback(partial(self._released, holder))
        try:
            self._put(_Task(lambda writer: writer.release(holder), result))
        except OnwardError as error:
            result.set_exception(error)

    def _released(self, holder: str, done: asyncio.Future[None]) -> None:
        """Has the leases of a stream ended later when they could not be now."""
        if done.exception() and not self._stopping:
            loop = asyncio.get_running_loop()
            loop.call_later(_RELEASE_SECONDS, self.release, holder)

    async def release_lost(self) -> None:
        """Ends the leases of streams whose process is gone: a turn."""
        if await self.write(lambda writer: writer.release_lost()):
            self.hub.wake_all()

    async def follow(self) -> None:
        """Looks whether another process has moved the log on: a turn.

        One that did says so itself, and to whom it matters (:meth:`Store.listen`). If
        nobody has said so until the next turn, anybody may be concerned.
        """
        late = self._unheard
        await self._looked()
        if late and self._unheard:
            self._unheard = False
            self.hub.wake_all()

    async def reach(self, size: int) -> CheckpointRow:
        """Returns the newest head, after a look if it is smaller than this size.

        For whoever has read, from the database or from another process, of an entry
        that this process may not have heard of yet.
        """
        if self._present().size < size:
            await self._looked()
        return self._present()

    async def _looked(self) -> None:
        """Has the writer look at what other processes have committed."""
        look = _Look(asyncio.get_running_loop().create_future())
        self._put(look)
        await look.result

    def _hear(self, members: Collection[str]) -> None:
        """Takes it that another process has committed something."""
        self._unheard, coming = False, bool(self._rumours)
        self._rumours.update(members or (_ANYBODY,))
        if not coming:
            with suppress(OnwardError):
                self._put(_Look(_unawaited()))

    @property
    def policy(self) -> DisclosurePolicy:
        """The policy in force."""
        return self.in_force.policy

    @property
    def entropy(self) -> Entropy:
        """The source of unpredictable bytes."""
        return self._voice.entropy

    def checkpoint(self) -> str:
        """Returns the newest checkpoint as a signed note."""
        return self._present().note

    def head(self) -> CheckpointRow:
        """Returns the newest head."""
        return self._present()

    def seen(self) -> statement_pb2.Seen:
        """Returns the newest checkpoint as statements name it."""
        head = self._present()
        return statement_pb2.Seen(origin=self.origin, size=head.size, root=head.root)

    async def signed_at(self, size: int) -> CheckpointRow | None:
        """Returns the checkpoint of exactly this size, if this log signed one."""
        return self._signed.get(size) or await self._store.checkpoint(size)

    async def logged(self, indexes: Sequence[int]) -> list[Logged]:
        """Returns entries with receipts, those of their commits."""
        return await self._answer(None, indexes)

    def _present(self) -> CheckpointRow:
        """Returns the head; the log of a running exchange is never empty."""
        if self._head is None:
            raise UnavailableError(
                Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
                "the log has no entry yet; run `onward-server init`",
            )
        return self._head

    def _put(self, item: _Item) -> None:
        """Queues work, or refuses it when too much waits."""
        if self._stopping or self._writer_task is None:
            raise UnavailableError(
                Reason.ERROR_REASON_DRAINING,
                "the exchange is shutting down; retry",
                retry_after=1.0,
            )
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            raise QuotaError(
                Reason.ERROR_REASON_QUOTA_EXCEEDED,
                "the exchange has more to write than it can; retry",
                retry_after=1.0,
            ) from None

    async def _answer(
        self, committed: Committed | None, indexes: Sequence[int]
    ) -> list[Logged]:
        """Returns the answering entries: new or recent ones without I/O."""
        found: dict[int, Logged] = {}
        older = []
        for index in indexes:
            source = self._recent.get(index)
            if committed is not None and index >= committed.first_index:
                source = committed
            if source is None:
                older.append(index)
            else:
                found[index] = source.logged(index)
        if older:
            found |= {
                entry.log_index: entry for entry in await self.receipts.originals(older)
            }
        return [found[index] for index in indexes]

    # ------------------------------------------------------------------ writing

    async def _write(self) -> None:
        """The one writer: commits groups until it is told to stop."""
        stopping, before = False, 0
        while not stopping:
            group = [await self._queue.get()]
            if before >= CROWD:
                await asyncio.sleep(GATHERING)
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            stopping, before = None in group, len(group)
            work = [item for item in group if item is not None]
            if work:
                await self._commit_or_fail(work)

    async def _commit_or_fail(self, work: Sequence[_Item]) -> None:
        """Commits a group; whatever goes wrong ends as each waiting caller's error."""
        jobs = [item for item in work if isinstance(item, _Job)]
        tasks = [item for item in work if isinstance(item, _Task)]
        looks = [item for item in work if isinstance(item, _Look)]
        heard: set[str] = set()
        if looks:  # what is heard from here on needs another look
            heard, self._rumours = self._rumours, heard
        try:
            if self._unsure or (looks and not jobs):
                await self._look()
            if jobs or tasks:
                await self._commit(jobs, tasks)
        except StateError as error:  # the database's state: nothing to a caller
            _log.error("ledger.cannot_go_on", why=error.message)
            self._fail(work, _cannot_write())
        except OnwardError as error:
            self._fail(work, error)
        except Exception:  # noqa: BLE001 - every caller must get an answer
            _log.exception("ledger.commit_failed", changes=len(work))
            self._rumours |= heard
            await self._part(work)
        else:
            self._spread(looks, heard)
            return
        self._rumours |= heard

    async def _part(self, work: Sequence[_Item]) -> None:
        """After a defect: commits each half by itself, so that it fails alone."""
        if len(work) == 1:
            self._fail(work, _cannot_write())
            return
        middle = len(work) // 2
        await self._commit_or_fail(work[:middle])
        await self._commit_or_fail(work[middle:])

    async def _look(self) -> None:
        """Catches up between commits."""
        unsure = self._unsure
        moved = await self._catch_up()
        if moved and self._head is not None:
            self._guard_head(self._head)
        if moved and unsure:
            self.hub.wake_all()

    def _spread(self, looks: Sequence[_Look], heard: Collection[str]) -> None:
        """After catching up: wakes whom the commits of others concern."""
        if heard:
            self._unheard = False
        if _ANYBODY in heard:
            self.hub.wake_all()
        self.hub.wake(heard)
        for look in looks:
            _resolve(look.result, None)

    async def _commit(self, jobs: Sequence[_Job], tasks: Sequence[_Task[Any]]) -> None:
        """Plans, writes and commits one group, and answers it."""
        view, tree = None, self._tree
        done: list[tuple[_Task[Any], object]] = []
        try:
            async with self._store.writing() as writer:
                for task in tasks:
                    done.append((task, await task.work(writer)))  # noqa: PERF401
                if jobs:
                    view = self._plan(jobs, await self._load(writer, jobs))
                    tree = self._grow(view)
                    if not _is_empty(view):
                        view.batch.concerned = _concerned(view)
                        await writer.write(view.batch)
        except Exception:
            if not await self._committed_after_all(view):
                raise
        for task, result in done:
            _resolve(task.result, result)
        if view is not None:
            self._publish(jobs, view, tree)

    async def _load(self, writer: Writer, jobs: Sequence[_Job]) -> Loaded:
        """Loads what changes need, and catches up if another process was first.

        Raises:
            UnavailableError: what was loaded is not the state after the last commit.
        """
        needs = Needs()
        for job in jobs:
            needs.add(job.change.needs)
        loaded = await writer.load(needs)
        if loaded.head != self._head:
            await self._catch_up()
        if loaded.head != self._head:  # read from elsewhere than what is written to
            raise _cannot_write()
        return loaded

    def _plan(self, jobs: Sequence[_Job], loaded: Loaded) -> View:
        """Lets each change plan; one that is refused fails alone."""
        view = View(
            loaded,
            self.directory,
            self.in_force,
            self._voice,
            self.seen() if self._head else None,
            self._tree.size,
            self._clock.now_ms(),
        )
        for job in jobs:
            draft = Draft(view)
            try:
                job.answer = job.change.plan(draft)
            except OnwardError as error:
                _refuse(job.result, error)
            except Exception as error:  # noqa: BLE001 - a defect fails one change
                _log.exception("ledger.plan_failed")
                _refuse(job.result, error)
            else:
                view.merge(draft)
        return view

    def _grow(self, view: View) -> Tree:
        """Grows the tree by what was planned, and signs the new checkpoint."""
        rows = view.batch.statements
        if not rows:
            return self._tree
        tree = self._tree.extend([leaf_hash(row.digest) for row in rows])
        text = Checkpoint(self.origin, tree.size, tree.root).text
        note = sign_note(text, [self._signer])
        view.batch.checkpoint = CheckpointRow(tree.size, tree.root, note, view.now_ms)
        view.batch.tiles = [
            TileRow(level, index, tile.data)
            for (level, index), tile in tree.changed_tiles(self._tree.size).items()
        ]
        return tree

    def _publish(self, jobs: Sequence[_Job], view: View, tree: Tree) -> None:
        """After the commit: moves on in memory, answers, and wakes who waits."""
        committed = None
        head = view.batch.checkpoint
        if head is not None:
            committed = Committed(
                tree, head.note, view.batch.old_size, view.batch.statements
            )
            self._move_on(tree, head)
            self._guard_head(head)
            self._remember(committed)
        self.directory.apply(view.registrations.values())
        self.in_force = view.in_force
        for job in jobs:
            _resolve(job.result, (committed, job.answer))
        self.hub.wake(view.batch.concerned)

    def _move_on(self, tree: Tree, head: CheckpointRow) -> None:
        """Takes a committed head as the present one."""
        self._tree, self._head, self._unsure = tree, head, False
        self._signed[head.size] = head
        if len(self._signed) > _SEEN_CACHE:
            self._signed.popitem(last=False)

    def _guard_head(self, head: CheckpointRow) -> None:
        """Keeps a head outside the database."""
        try:
            self._guard.record(head.size, head.root)
        except OSError:  # a guard that is behind is harmless; an exchange that stops
            _log.exception("ledger.guard_failed", size=head.size)  # here is not

    def _remember(self, committed: Committed) -> None:
        """Keeps the newest entries at hand, since they are asked for at once."""
        for row in committed.statements:
            self._recent[row.log_index] = committed
        while len(self._recent) > _RECENT_ENTRIES:
            self._recent.popitem(last=False)

    # ------------------------------------------------------------------ failing

    async def _committed_after_all(self, view: View | None) -> bool:
        """After a failed commit: whether what was signed is in the log."""
        self._unsure = True
        signed = view.batch.checkpoint if view else None
        if signed is None:
            return False
        try:
            found = await self._store.checkpoint(signed.size)
        except Exception:  # noqa: BLE001 - then it stays unsure
            _log.exception("ledger.head_unreadable")
            return False
        if found is None or found.note != signed.note:
            return False
        _log.warning("ledger.committed_though_reported_failed", size=signed.size)
        return True

    async def _catch_up(self) -> bool:
        """Takes from the database what has moved; returns whether the log has.

        Until all of it was taken, the ledger is unsure.

        Raises:
            StateError: the log has not grown from what this process knows, or this
                release cannot use the policy. Nothing may be signed.
            UnavailableError: the database cannot be read, or is damaged.
        """
        self._unsure = True
        standing = await self._store.standing()
        head, tree = standing.head, self._tree
        moved = head != self._head
        if moved:
            tree = await read_tree(self._store, self.receipts, head, tree)
        if standing.directory_index > self.directory.log_index:
            self.directory.apply(await read_directory(self._store))
        if standing.policy_index > self.in_force.log_index:
            self.in_force = await read_policy(self._store, self.in_force)
        if moved and head is not None:
            self._move_on(tree, head)
            self._unheard = True
        self._unsure = False
        return moved

    @staticmethod
    def _fail(work: Sequence[_Item], error: OnwardError) -> None:
        """Fails everything in a group that has no answer yet."""
        for item in work:
            _refuse(item.result, error)


def _cannot_write() -> UnavailableError:
    return UnavailableError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE,
        "the exchange could not write; retry the same call",
        retry_after=1.0,
    )


def _is_empty(view: View) -> bool:
    """Whether nothing was planned that must be written."""
    batch = view.batch
    return not (
        batch.statements
        or batch.referrals
        or batch.deliveries
        or batch.intakes
        or batch.tokens
        or batch.members
        or batch.contents
        or batch.erase_contents
    )


def _concerned(view: View) -> set[str]:
    """Returns the members who may have something new to look at.

    A delivery that is still out on a stream, as after its handover, is news to nobody.
    """
    batch = view.batch
    recipients = {
        recipient
        for (_, recipient), row in batch.deliveries.items()
        if not (row.waiting and row.lease_holder)
    }
    watchers = {member for member, _, _ in batch.feed}
    return recipients | watchers | set(batch.members)


def _unawaited() -> asyncio.Future[Any]:
    """Returns a future for what nobody waits for."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.exception())
    return future


def _resolve(future: asyncio.Future[T], result: T) -> None:
    """Answers a caller, unless it was refused or went away."""
    if not future.done():
        future.set_result(result)


def _refuse(future: asyncio.Future[T], error: Exception) -> None:
    """Fails a caller, unless it was answered or went away."""
    if not future.done():
        future.set_exception(error)
