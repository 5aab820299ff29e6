"""Who had which keys at each place of the log, from the exchange's logged changes.

A party's changes are fetched when its first statement comes, verified one by one, and
kept for the life of the client. They are fetched again when a statement names a key
that is not among them, and when one comes from a later place of the log than what was
fetched covers and that was more than a minute ago: a revocation must not go unnoticed
for longer.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from onward._channel import Caller
from onward._log import FRESH, Log
from onward.core.directory import MemberEntry
from onward.core.errors import (
    OnwardError,
    Reason,
    StateError,
    UnknownError,
    VerificationError,
)
from onward.core.statements import SignedStatement
from onward.core.verify.evidence import Entry
from onward.core.verify.keys import Keys
from onward.v1 import directory_pb2, log_pb2
from onward.v1.directory_pb2_grpc import DirectoryServiceStub


@dataclass(slots=True)
class _History:
    """What is known of one party.

    Attributes:
        digests: of its changes, in the log's order.
        covers: the size of the log up to which no change is missing.
        fetched: when it was fetched last, by the loop's clock.
        entry: the entry in force; None for the exchange itself.
    """

    digests: list[bytes] = field(default_factory=list)
    covers: int = 0
    fetched: float = -math.inf
    entry: MemberEntry | None = None


class Directory:
    """The exchange's directory, as far as the log proves it.

    Args:
        exchange: the exchange's SPIFFE ID.
        log: proves that a change is in it.
        stub: asks the exchange for changes.
        caller: makes the calls.
    """

    def __init__(
        self, exchange: str, log: Log, stub: DirectoryServiceStub, caller: Caller
    ) -> None:
        self._exchange = exchange
        self._log = log
        self._stub = stub
        self._caller = caller
        self._keys = Keys()
        self._vkeys = [entry.vkey.format() for entry in log.policy.logs]
        self._histories: dict[str, _History] = defaultdict(_History)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def verify(self, entry: Entry) -> SignedStatement:
        """Checks that a key which the issuer had at that place and time signed it.

        Raises:
            VerificationError: the signature does not hold, or the directory does not.
            StateError: the issuer had no such key, or might not use it.
            UnknownError: the issuer was no member.
        """
        check = partial(self._keys.check_signature, entry)
        await self._judge(entry.issuer, entry.index, check)
        found = entry.statement
        return SignedStatement(
            found.jws, found.digest, found.key_id, found.algorithm, found.message
        )

    async def member(self, name: str, *, fresh: bool = False) -> MemberEntry:
        """Returns a member's entry in force, of the last minute or, if fresh, of now.

        Raises:
            UnknownError: there is no such member.
            VerificationError: the exchange cannot prove what it says.
        """
        if fresh:
            await self._fetch(name, since=_now())
        else:
            await self._cover(name, math.inf)
        entry = self._histories[name].entry
        if entry is None:
            raise UnknownError(
                Reason.ERROR_REASON_MEMBER_UNKNOWN, f"{name} is not a member"
            )
        return entry

    async def _judge(self, issuer: str, index: int, judge: Callable[[], None]) -> None:
        """Judges by the keys of an issuer, and once more by those of this moment."""
        asked = _now()
        await self._cover(issuer, index)
        try:
            judge()
        except (StateError, UnknownError):
            # It may be a key that is newer than what we know.
            await self._fetch(issuer, since=asked)
            judge()

    async def _cover(self, name: str, index: float) -> None:
        """Makes sure that a party's changes before a place of the log are known."""
        history = self._histories[name]
        if index >= history.covers and _now() - history.fetched > FRESH:
            await self._fetch(name, since=history.fetched)

    async def _fetch(self, name: str, since: float) -> None:
        """Fetches a party's changes, unless somebody else did after ``since``."""
        async with self._locks[name]:
            history = self._histories[name]
            if history.fetched > since:
                return
            covers, asked = self._log.size, _now()
            changes = await self._changes(name)
            # One after the other would be one consistency proof after the other.
            proven = await asyncio.gather(*map(self._log.prove, changes))
            entries = [entry for entry, _ in proven]
            try:
                await self._extend(name, history, entries)
            except (StateError, UnknownError, VerificationError) as error:
                raise _unproven(name, error) from error
            history.covers, history.fetched = covers, asked

    async def _changes(self, name: str) -> Sequence[log_pb2.LoggedStatement]:
        """Asks the exchange for a party's changes, oldest first."""
        if name == self._exchange:
            exchange_keys = await self._caller.call(
                self._stub.GetExchangeKeys, directory_pb2.GetExchangeKeysRequest()
            )
            return exchange_keys.changes
        member = await self._caller.call(
            self._stub.GetMember, directory_pb2.GetMemberRequest(name=name)
        )
        return member.changes

    async def _extend(
        self, name: str, history: _History, entries: Sequence[Entry]
    ) -> None:
        """Adds the changes that are new; the others must be those that we know."""
        known = len(history.digests)
        if [entry.statement.digest for entry in entries[:known]] != history.digests:
            raise _rewritten(name)
        for entry in entries[known:]:
            _check_subject(entry, name, self._exchange)
            add = partial(self._keys.add, entry, self._vkeys)
            if name == self._exchange:
                add()
            else:
                await self._judge(self._exchange, entry.index, add)
                member = entry.statement.message.directory_change.member
                history.entry = MemberEntry.from_proto(member)
            history.digests.append(entry.statement.digest)


def _check_subject(entry: Entry, name: str, exchange: str) -> None:
    """Requires that a change is of the party asked for, and the exchange's."""
    message = entry.statement.message
    kind = "key_change" if name == exchange else "directory_change"
    subject = name if name == exchange else message.directory_change.member.name
    if entry.kind != kind or subject != name or entry.issuer != exchange:
        raise _rewritten(name)


def _rewritten(name: str) -> VerificationError:
    return VerificationError(
        Reason.ERROR_REASON_PROOF_INVALID,
        f"the changes are not those of {name}, or not all of them",
    )


def _unproven(name: str, error: OnwardError) -> VerificationError:
    """Says that it is the exchange's directory which does not hold."""
    return VerificationError(
        Reason.ERROR_REASON_PROOF_INVALID,
        f"the exchange cannot prove the keys of {name}: {error.message}",
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
