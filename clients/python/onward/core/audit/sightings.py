"""Who had seen the log by when, verified as far as anything rests on it.

A year has very many checkpoints that witnesses cosigned or authorities stamped, and
verifying each takes longer than all the rest of an audit. So each is only read at
first: its tree must be a beginning of the log's, and the time is noted that it would
prove. Then :meth:`Sightings.prove` is asked for what makes a difference (a claim that
is refuted, a step that was made in time), and verifies the few that show it. Nothing is
ever said on the word of one that was not verified.
"""

from __future__ import annotations

from array import array
from base64 import b64decode
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol, TypeAlias, TypeVar

from onward.core.audit.facts import Finding
from onward.core.audit.prefixes import Prefixes
from onward.core.audit.steps import ENTRIES, TIMING
from onward.core.checkpoints import Checkpoint
from onward.core.errors import OnwardError, Reason, VerificationError
from onward.core.notes import KeyType
from onward.core.sightings import by_authority, by_witnesses
from onward.core.timestamps import Authorities, Token
from onward.core.timing import Earliest, Sighting, quorum_time
from onward.core.tlog_policy import Policy

NEVER: Final = 2**62
"""A time that does not come, in milliseconds."""

_Item_co = TypeVar("_Item_co", covariant=True)

_Candidate: TypeAlias = tuple[int, int, int]
"""What a voucher would prove: a size, a time, and where it is."""

_OWN: Final = NEVER
_KEY_ID_BYTES: Final = 4
_HEAD_CHARACTERS: Final = 16
"""Base64 of a key id and a time, which are 12 bytes."""

_MILLISECONDS: Final = 1000


class Listed(Protocol[_Item_co]):
    """A list that is kept elsewhere: to be read through, and read again."""

    def __iter__(self) -> Iterator[_Item_co]:
        """Reads through it."""

    def __getitem__(self, at: int, /) -> _Item_co:
        """Reads one."""


@dataclass(frozen=True, slots=True)
class Vouchers:
    """What an auditor downloaded of those who had seen the log. Nothing is believed.

    Attributes:
        checkpoints: signed notes with cosignatures.
        timestamps: signed notes, each with a token over its text, in DER.
        authorities: the timestamp authorities that the auditor trusts.
    """

    checkpoints: Listed[str] = ()
    timestamps: Listed[tuple[str, bytes]] = ()
    authorities: Authorities = field(default_factory=Authorities)


class Sightings:
    """The trees of the log that others had seen.

    Args:
        policy: the trust file, with its quorum.
        origin: the log's.
        tree: the log's tree.
        vouchers: what is to be judged. It is read again where something rests on it.
        own: what is verified already.
    """

    def __init__(
        self,
        policy: Policy,
        origin: str,
        tree: Prefixes,
        vouchers: Vouchers,
        own: Sighting | None = None,
    ) -> None:
        self._policy = policy
        self._any = replace(policy, quorum=None)
        self._witnesses = {
            (item.vkey.name, item.vkey.key_id): item for item in policy.witnesses
        }
        self._names = {item.vkey.name for item in policy.witnesses}
        self._origin = origin
        self._tree = tree
        self._vouchers = vouchers
        self._proven = {_OWN: own} if own else {}
        self._refused: set[int] = set()
        self._earliest = Earliest(self._proven.values())
        self._settle([])

    def read(self) -> Iterator[Finding]:
        """Reads all vouchers, and yields what does not belong to this log."""
        found: list[_Candidate] = []
        for place, note, token in self._all():
            try:
                candidate = self._read(place, note, token)
            except OnwardError as error:
                yield _finding(place, error)
            else:
                found += [candidate] if candidate else []
        self._settle(found)

    def expected(self, at: int) -> int:
        """Returns by when an entry existed if every voucher holds, in milliseconds."""
        candidate = self._candidate(at)
        known = self.bound(at)
        time = self._times[candidate] if candidate is not None else NEVER
        return min(time, milliseconds(known.time)) if known else time

    def bound(self, at: int) -> Sighting | None:
        """Returns the earliest verified sighting of a tree with an entry."""
        return self._earliest.beyond(at) if self._proven else None

    def prove(self, needs: Iterable[tuple[int, int]]) -> list[Finding]:
        """Verifies vouchers until they show what is asked for, as few as will do.

        Args:
            needs: entries, and for each the time by which it is to be shown to have
                existed; where no voucher says so, nothing is verified.

        Returns:
            What does not hold.
        """
        if not self._places:
            return []
        # From the last entry on: what had seen one had seen all before it.
        wanted = sorted(needs, reverse=True)
        findings = self._prove(wanted)
        if findings:
            # Who has one that does not hold may have many: none is left unverified.
            findings += self._keep_what_holds()
        self._earliest = Earliest(self._proven.values())
        return findings

    @property
    def newest(self) -> int:
        """The size of the largest tree that anybody says to have seen; 0 for none."""
        sizes = [sighting.size for sighting in self._proven.values()]
        return max([*sizes, *self._sizes[-1:]], default=0)

    def _prove(self, wanted: Iterable[tuple[int, int]]) -> list[Finding]:
        """Verifies what is needed; stops at the first that does not hold."""
        least = NEVER
        for at, time in wanted:
            known = self.bound(at)
            least = min(least, milliseconds(known.time)) if known else least
            candidate = self._candidate(at)
            if least <= time or candidate is None or self._times[candidate] > time:
                continue
            finding = self._verify(self._places[candidate])
            if finding:
                return [finding]
            least = min(least, self._times[candidate])
        return []

    def _keep_what_holds(self) -> list[Finding]:
        """Verifies all that were not yet, and forgets those that do not hold."""
        findings = [self._verify(place) for place in self._places]
        held = zip(self._sizes, self._times, self._places, strict=True)
        self._settle([item for item in held if item[2] in self._proven])
        return [finding for finding in findings if finding]

    def _verify(self, place: int) -> Finding | None:
        """Verifies a voucher, once; then it bounds what it had seen."""
        if place in self._proven or place in self._refused:
            return None
        try:
            sighting = self._sighting(place)
        except OnwardError as error:
            self._refused.add(place)
            return _finding(place, error)
        if sighting:
            self._proven[place] = sighting
        return None

    def _sighting(self, place: int) -> Sighting | None:
        """Verifies a voucher.

        Raises:
            OnwardError: it does not hold.
        """
        vouchers = self._vouchers
        if place >= 0:
            opened = self._any.open_checkpoint(vouchers.checkpoints[place])
            return by_witnesses(opened, self._policy)
        note, data = vouchers.timestamps[~place]
        checkpoint = self._any.open_checkpoint(note).checkpoint
        return by_authority(checkpoint, Token.parse(data), vouchers.authorities)

    def _settle(self, found: Iterable[_Candidate]) -> None:
        """Takes what is to be asked from here on."""
        ordered = sorted(found)
        self._sizes = array("q", [size for size, _, _ in ordered])
        self._times = times = array("q", [time for _, time, _ in ordered])
        self._places = array("q", [place for _, _, place in ordered])
        # `_best[n]` is the one with the earliest time among the n-th and all larger.
        self._best = array("q", range(len(ordered)))
        for at in range(len(ordered) - 2, -1, -1):
            after = self._best[at + 1]
            if times[after] < times[at]:
                self._best[at] = after

    def _candidate(self, at: int) -> int | None:
        """Returns which voucher says the earliest time by which an entry existed."""
        first = bisect_right(self._sizes, at)
        return self._best[first] if first < len(self._best) else None

    def _all(self) -> Iterator[tuple[int, str, bytes]]:
        """Yields each voucher with its number: from 0 on, tokens from -1 down."""
        for place, note in enumerate(self._vouchers.checkpoints):
            yield place, note, b""
        if self._vouchers.authorities.certificates:
            for place, (note, token) in enumerate(self._vouchers.timestamps):
                yield ~place, note, token

    def _read(self, place: int, note: str, token: bytes) -> _Candidate | None:
        """Returns a voucher's size and time; None if it says nothing of this tree.

        Raises:
            OnwardError: it is of another log, or of another history of it.
        """
        text, _, lines = note.rpartition("\n\n")
        checkpoint = Checkpoint.parse(f"{text}\n")
        if checkpoint.origin != self._origin:
            raise VerificationError(
                Reason.ERROR_REASON_NOTE_UNTRUSTED, "it is of another log"
            )
        if checkpoint.size > self._tree.size:
            return None
        if checkpoint.root != self._tree.root(checkpoint.size):
            self._any.open_checkpoint(note)
            raise VerificationError(
                Reason.ERROR_REASON_LOG_FORKED,
                f"the log signed another tree of size {checkpoint.size} than it shows: "
                "keep it, the log was forked",
            )
        time = self._stamped(token) if token else self._stated(lines)
        return (checkpoint.size, milliseconds(time), place) if time else None

    def _stated(self, lines: str) -> datetime | None:
        """Returns when the quorum had cosigned, if all cosignatures hold.

        There are very many: of each line only the key id and the time are looked at.
        """
        times: dict[str, int] = {}
        for line in lines.split("\n"):
            name, _, encoded = line[2:].partition(" ")
            if name not in self._names:
                continue
            try:
                head = b64decode(encoded[:_HEAD_CHARACTERS])
            except ValueError:
                continue  # which proves nothing
            witness = self._witnesses.get((name, head[:_KEY_ID_BYTES]))
            time = int.from_bytes(head[_KEY_ID_BYTES:], "big")
            if witness and (time or witness.vkey.type is KeyType.COSIGNATURE):
                times[witness.name] = min(time, times.get(witness.name, time))
        return quorum_time(self._policy, times)

    def _stamped(self, data: bytes) -> datetime | None:
        """Returns when a trusted authority had stamped it, if the token holds."""
        token = Token.parse(data)
        return token.time if self._vouchers.authorities.know(token) else None


def milliseconds(time: datetime) -> int:
    """Returns a time in whole milliseconds since 1970."""
    return int(time.timestamp() * _MILLISECONDS)


def _finding(place: int, error: OnwardError) -> Finding:
    """Returns what does not hold; the number is that of the line in its file."""
    forked = error.reason == Reason.ERROR_REASON_LOG_FORKED
    what = f"cosigned checkpoint {place + 1}" if place >= 0 else f"timestamp {-place}"
    step = ENTRIES if forked else TIMING
    return Finding(step, what, error.message, error.reason_name)
