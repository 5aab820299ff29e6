"""Whose key signed what: the exchange, its members, and the parties of a chain.

A log that succeeds another one begins with its own ``KeyChange``, which names the
predecessor, and goes on with the predecessor's entries as they are: so the first entry
of the predecessor, which introduces keys as well, may be its second one. From there on
keys follow each other as they did there, up to the ``KeyChange`` with which the
successor's own entries begin.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from onward.core.checkpoints import Checkpoint
from onward.core.custody import SIGNERS, Signer
from onward.core.directory import DirectoryHistory, StatementKeySet
from onward.core.errors import (
    MalformedError,
    Reason,
    StateError,
    UnknownError,
    VerificationError,
)
from onward.core.identity import IdentityKind, SpiffeId
from onward.core.notes import Vkey, open_note
from onward.core.verify.chains import Chain
from onward.core.verify.evidence import Entry, Problem, noting
from onward.v1 import statement_pb2

_NOWHERE: Final = -1


class Signatures(Protocol):
    """Knows whose key signed what, and who the exchange is."""

    exchange: str

    def check_signature(self, entry: Entry) -> None:
        """Raises what :meth:`Keys.check_signature` does."""


@dataclass(slots=True)
class Keys:
    """The statement keys that were in force at each place of the log.

    Attributes:
        exchange: SPIFFE ID of the exchange; empty until its keys are known.
    """

    exchange: str = ""
    _places: list[int] = field(default_factory=list)
    _sets: list[StatementKeySet] = field(default_factory=list)
    _members: DirectoryHistory = field(default_factory=DirectoryHistory)
    _last: dict[str, bytes] = field(default_factory=dict)
    _beginning: int = 0
    _carried: list[tuple[int, str]] = field(default_factory=list)

    def check_signature(self, entry: Entry) -> None:
        """Checks that a key of the issuer of that place and time signed a statement.

        Raises:
            UnknownError: no keys of the issuer were in force.
            StateError: the key was not one of them, or not valid (``KEY_NOT_VALID``).
            VerificationError: the signature does not hold (``SIGNATURE_INVALID``).
        """
        keys = self._in_force(entry.issuer, entry.index)
        entry.statement.check(keys.usable(entry.statement.key_id, entry.claimed))

    def add(self, entry: Entry, vkeys: Collection[str]) -> None:
        """Puts the keys of a directory statement in force, if it may do that.

        Raises:
            OnwardError: it may not; nothing has changed then.
        """
        if entry.kind == "key_change":
            self._add_key_change(entry, vkeys)
        else:
            self._add_directory_change(entry)

    def _add_key_change(self, entry: Entry, vkeys: Collection[str]) -> None:
        """Adds a ``KeyChange``; a log's first one is trusted through the log alone."""
        body, issuer = entry.statement.message.key_change, entry.issuer
        keys = StatementKeySet.from_protos(issuer, list(body.keys))
        begins = entry.index == self._beginning
        if begins:
            _check_genesis(entry, self.exchange)
            entry.statement.verify(keys.usable(entry.statement.key_id, entry.claimed))
        else:
            self._check_exchange(entry)
            self.check_signature(entry)
            self._check_previous(entry, issuer)
        self._check_log(entry, vkeys)
        if begins:
            self._begin(entry)
        self.exchange = issuer
        self._places.append(entry.index)
        self._sets.append(keys)
        self._last[issuer] = entry.statement.digest

    def _begin(self, entry: Entry) -> None:
        """Takes the beginning of a log, and notes which log is carried on in it."""
        body = entry.statement.message.key_change
        before, self._beginning = body.predecessor, _NOWHERE
        if body.HasField("predecessor"):
            _check_predecessor(before)
            self._beginning = entry.index + 1
            self._carried.append((entry.index + before.carried_size, before.log_vkey))

    def _check_log(self, entry: Entry, vkeys: Collection[str]) -> None:
        """Requires the key of this log, or of the predecessor that an entry is of."""
        vkey = entry.statement.message.key_change.log_vkey
        carried = {vkey for end, vkey in self._carried if entry.index <= end}
        if vkey not in vkeys and vkey not in carried:
            raise VerificationError(
                Reason.ERROR_REASON_NOTE_UNTRUSTED,
                "it names a log key that the trust file does not list for this log",
            )

    def _add_directory_change(self, entry: Entry) -> None:
        """Adds a ``DirectoryChange``."""
        member = entry.statement.message.directory_change.member
        self._check_exchange(entry)
        self.check_signature(entry)
        self._check_previous(entry, member.name)
        home = str(SpiffeId.parse(member.name).exchange)
        if home != self.exchange or member.name == home:
            raise VerificationError(
                Reason.ERROR_REASON_ISSUER_MISMATCH,
                f"{member.name} is not at home at {self.exchange}",
            )
        self._members.add(entry.index, member)
        self._last[member.name] = entry.statement.digest

    def _check_exchange(self, entry: Entry) -> None:
        """Requires that the exchange, whose keys are known, says it."""
        if not self.exchange:
            raise _no_genesis()
        if entry.issuer != self.exchange:
            raise VerificationError(
                Reason.ERROR_REASON_ISSUER_MISMATCH,
                f"only {self.exchange} changes keys, and {entry.issuer} says it",
            )

    def _check_previous(self, entry: Entry, name: str) -> None:
        """Requires the link to the change before, of the same party."""
        if entry.statement.message.previous != self._last.get(name, b""):
            raise StateError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                f"its previous is not the change of {name} before it: a change is "
                "missing, or not in its place",
            )

    def _in_force(self, name: str, index: int) -> StatementKeySet:
        """Returns a party's keys when ``index`` was appended."""
        if name != self.exchange:
            return self._members.before(index, name).statement_keys
        place = bisect_left(self._places, index)
        if place == 0:
            raise _no_genesis()
        return self._sets[place - 1]


def read_keys(
    directory: Sequence[Entry], vkeys: Collection[str]
) -> tuple[Keys, list[Problem]]:
    """Follows the directory statements from the log's first entry on.

    Args:
        directory: the directory statements, in the log's order.
        vkeys: the log keys that the trust file lists for this log.

    Returns:
        The keys, without those that a faulty statement would have put in force.
    """
    keys, problems = Keys(), list[Problem]()
    for entry in directory:
        with noting(problems, entry.subject):
            keys.add(entry, vkeys)
    if not directory:
        problems.append(Problem("directory", _no_genesis()))
    return keys, problems


def check_signatures(
    statements: Sequence[Entry], chains: Mapping[str, Chain], keys: Signatures
) -> list[Problem]:
    """Checks who signed each statement, and that this party had it to say.

    Args:
        statements: those of custody chains.
        chains: the chains by referral id.
        keys: the keys of the parties.
    """
    problems: list[Problem] = []
    for entry in statements:
        with noting(problems, entry.subject):
            keys.check_signature(entry)
            _check_party(entry, chains[entry.referral_id].referral, keys.exchange)
    return problems


def _check_party(entry: Entry, referral: Entry | None, exchange: str) -> None:
    """Requires that the issuer is the party that signs this kind of statement."""
    if referral is None or entry.kind not in SIGNERS:
        return  # what is missing is missing in step 10, a wrong kind in step 1
    recipients = referral.statement.message.referral.recipients
    parties = {
        Signer.PUBLISHER: [referral.issuer],
        Signer.RECIPIENT: recipients,
        Signer.EXCHANGE: [exchange],
        Signer.PARTY: [referral.issuer, *recipients],
    }
    signer = SIGNERS[entry.kind]
    if entry.issuer not in parties[signer]:
        raise VerificationError(
            Reason.ERROR_REASON_ISSUER_MISMATCH,
            f"{entry.issuer} is not the referral's {signer}, who alone says this",
        )


def _check_genesis(entry: Entry, exchange: str) -> None:
    """Requires that an exchange, the same one as before, says how its log begins."""
    if SpiffeId.parse(entry.issuer).kind is not IdentityKind.EXCHANGE:
        raise MalformedError("the log's first entry is not said by an exchange")
    if entry.issuer != (exchange or entry.issuer):
        raise VerificationError(
            Reason.ERROR_REASON_ISSUER_MISMATCH,
            f"the log succeeds one of {exchange}, and {entry.issuer} began that",
        )
    if entry.statement.message.previous:
        raise StateError(
            Reason.ERROR_REASON_PREVIOUS_MISMATCH,
            "it is the first entry of a log, and says that it answers another one",
        )


def _check_predecessor(before: statement_pb2.Predecessor) -> None:
    """Requires the last checkpoint of the predecessor, signed with the key named."""
    vkey = Vkey.parse(before.log_vkey)
    checkpoint = Checkpoint.parse(open_note(before.checkpoint, [vkey]).text)
    if checkpoint.origin != vkey.name:
        raise VerificationError(
            Reason.ERROR_REASON_NOTE_UNTRUSTED,
            "the predecessor's checkpoint is of another log than its key",
        )
    if not 0 <= before.carried_size <= checkpoint.size:
        raise MalformedError("more entries are carried on than the predecessor had")


def _no_genesis() -> UnknownError:
    return UnknownError(
        Reason.ERROR_REASON_ENTRY_UNKNOWN,
        "the log's first entry, which introduces the exchange's keys, is missing or "
        "not proven",
    )
