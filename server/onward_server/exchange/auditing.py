"""Looking from outside: what auditors are shown, and who may know that they looked.

The story of an export
----------------------
1. Figures and the log's size are read at one moment. Whatever is logged after it is no
   part of this look.
2. What is in the auditor's jurisdictions up to that size is counted and put into a
   Merkle tree: its root says to the last byte what is about to be shown.
3. The look is logged with count and root, and every member whom it concerns is to hear
   of it. So no statement goes out before the log says that it does.
4. The statements follow in the log's order. Entries and their places never change, so
   they are exactly those of the root, however much was logged meanwhile.

Nothing is held but one window of the log, whatever its size. Scope is part of each
query: what an auditor may not see is not read for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from onward.core.errors import RangeError, Reason
from onward.core.merkle import leaf_hash
from onward.core.tree import Tree
from onward.v1 import statement_pb2, vocabulary_pb2
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.publishing import require_role
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import (
    WHOLE,
    Figures,
    Needs,
    StatementRow,
    Store,
    Topic,
)

_WINDOW = 4096
"""Entries of the log that are looked through at once."""

_PAGE = 512
"""Statements that are read at once."""

_EXCERPT_BYTES = 1024 * 1024
"""Of one message: with one statement more it stays below what transports take."""


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """What is coming.

    Attributes:
        access: the logged ``AuditAccess``.
        checkpoint: the newest one, which covers the access too: a signed note.
        figures: the exchange's own, at the size that the access names.
    """

    access: Logged
    checkpoint: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The next statements of an export, in the log's order."""

    statements: Sequence[StatementRow]


@dataclass(frozen=True, slots=True)
class AuditAccessChange:
    """The change: an auditor looked.

    Attributes:
        access: at what.
        looked_at: the members whom it concerns; each once.
    """

    access: statement_pb2.AuditAccess
    looked_at: Sequence[str]

    @property
    def needs(self) -> Needs:
        """Nothing."""
        return Needs()

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs the ``AuditAccess``."""
        statement = draft.say(audit_access=self.access)
        index = draft.log(
            statement,
            places=(WHOLE,),
            subject=self.access.auditor,
            looked_at=self.looked_at,
        )
        return [index]


class Auditing:
    """Exports for auditors, and their looks for the members concerned."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger = ledger
        self._store = store

    async def export(
        self, caller: Caller, first_index: int, recheck: Callable[[], None]
    ) -> AsyncGenerator[ExportHeader | Excerpt, None]:
        """Streams the statements of an auditor's jurisdictions: first the header.

        Args:
            caller: an auditor.
            first_index: of the log's first entry to look at.
            recheck: raises when the caller may no longer be here.

        Raises:
            RangeError: ``LOG_RANGE``: ``first_index`` is past the log's end.
        """
        require_role(caller, vocabulary_pb2.ROLE_AUDITOR)
        codes = list(caller.entry.proto.jurisdictions)
        figures = await self._store.figures(codes)  # 1
        _check_first(first_index, figures.size)
        shown = await self._shown(codes, first_index, figures.size, recheck)  # 2
        access = access_to_log(
            caller, "ExportStatements", first_index, figures.size, shown
        )
        # Read after the size, so it has everybody of whom something is shown.
        parties = await self._store.export_parties(codes)
        logged = await self._ledger.apply(AuditAccessChange(access, parties))  # 3
        yield ExportHeader(logged[0], self._ledger.checkpoint(), figures)
        rows = self._pages(codes, first_index, figures.size, recheck)  # 4
        async with aclosing(rows) as pages:
            async for page in pages:
                for excerpt in _excerpts(page):
                    yield excerpt

    async def accesses(
        self, caller: Caller, before_index: int, limit: int
    ) -> list[Logged]:
        """Returns the looks that concern the caller, newest first.

        Args:
            caller: a publisher or recipient.
            before_index: only looks with a smaller log index.
            limit: at most this many.
        """
        require_role(
            caller, vocabulary_pb2.ROLE_PUBLISHER, vocabulary_pb2.ROLE_RECIPIENT
        )
        indexes = await self._store.feed_before(
            caller.name, Topic.AUDIT, before_index, limit
        )
        return await self._ledger.logged(indexes)

    async def _shown(
        self, codes: Sequence[str], first: int, end: int, recheck: Callable[[], None]
    ) -> Tree:
        """Returns the tree whose entries are the digests that will be shown."""
        tree = Tree()
        for start, stop in _windows(first, end):
            recheck()
            digests = await self._store.export_digests(codes, start, stop)
            tree = grown_by(tree, digests)
        return tree

    async def _pages(
        self, codes: Sequence[str], first: int, end: int, recheck: Callable[[], None]
    ) -> AsyncGenerator[Sequence[StatementRow], None]:
        """Reads the statements of jurisdictions, in the log's order."""
        for start, stop in _windows(first, end):
            place = start
            while place < stop:
                recheck()
                rows = await self._store.export(codes, place, stop, _PAGE)
                yield rows
                place = rows[-1].log_index + 1 if len(rows) == _PAGE else stop


def grown_by(tree: Tree, digests: Iterable[bytes]) -> Tree:
    """Returns a tree with more statements at its end (RFC 9162 section 2.1)."""
    return tree.extend([leaf_hash(digest) for digest in digests])


def access_to_log(
    caller: Caller, method: str, first: int, end: int, shown: Tree
) -> statement_pb2.AuditAccess:
    """Returns what is logged of a look at all that an auditor may see.

    Args:
        caller: the auditor.
        method: the RPC's name.
        first: index of the log's first entry that was looked at.
        end: index after the last one.
        shown: the tree whose entries are the digests of what was shown.
    """
    return statement_pb2.AuditAccess(
        auditor=caller.name,
        method=method,
        jurisdictions=caller.entry.proto.jurisdictions,
        first_index=first,
        log_size=end,
        statement_count=shown.size,
        statements_root=shown.root,
    )


def _windows(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yields [first, end) of the log in pieces."""
    for start in range(first, end, _WINDOW):
        yield start, min(start + _WINDOW, end)


def _excerpts(rows: Sequence[StatementRow]) -> Iterator[Excerpt]:
    """Cuts a page into excerpts of a size that one message may have."""
    cut, size = 0, 0
    for place, row in enumerate(rows):
        size += len(row.jws)
        if size >= _EXCERPT_BYTES or place == len(rows) - 1:
            yield Excerpt(rows[cut : place + 1])
            cut, size = place + 1, 0


def _check_first(first: int, size: int) -> None:
    """Checks that a log of this size can be looked at from here.

    Raises:
        RangeError: ``LOG_RANGE``.
    """
    if not 0 <= first <= size:
        raise RangeError(
            Reason.ERROR_REASON_LOG_RANGE,
            f"the log has the entries 0 to {size - 1}; there is nothing to look at "
            f"from {first} on",
            metadata={"size": str(size)},
        )
