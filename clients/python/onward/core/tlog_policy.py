"""Which logs and witnesses are trusted, and how many must agree (C2SP tlog-policy).

A policy is lines of text; ``#`` starts a comment line::

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <member>...
    quorum <name>|none

A name is defined above its use, and is a member of one group at most, so that no
witness counts twice. The names have a meaning in the policy only; a key's own name is
in its vkey.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Final, Self

from onward.core.checkpoints import Checkpoint
from onward.core.encoding import decode_decimal
from onward.core.errors import MalformedError, Reason, VerificationError
from onward.core.notes import KeyType, Vkey, open_note

_NOT_IN_POLICY: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_BLANKS: Final = re.compile("[ \t]+")
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Log:
    """A log whose checkpoints are accepted.

    Attributes:
        vkey: its key; the key's name is the log's origin.
        url: where it can be read, if stated.
    """

    vkey: Vkey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness whose cosignatures count.

    Attributes:
        name: its name in the policy.
        vkey: its cosignature key.
        url: where it takes checkpoints, if stated.
    """

    name: str
    vkey: Vkey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A group of witnesses and groups, of which ``threshold`` must have witnessed."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessedCheckpoint:
    """A checkpoint that satisfies a policy.

    Attributes:
        checkpoint: what a trusted log signed.
        times: when each witness of the policy that cosigned it first saw it, in POSIX
            seconds by its name in the policy. It can be empty, and can have more
            witnesses than the quorum needs.
    """

    checkpoint: Checkpoint
    times: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Policy:
    """What makes a checkpoint trusted; made by :meth:`parse` or :meth:`for_log`.

    Attributes:
        logs: the logs, any of which is accepted.
        witnesses: the witnesses.
        groups: the groups; members stand before the groups that they are in.
        quorum: the witness or group that must have witnessed; None if none must.
    """

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str | None = None

    @classmethod
    def for_log(cls, vkey: Vkey) -> Self:
        """Return the policy that trusts one log, and asks for no witness."""
        return cls((Log(vkey),))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a policy.

        Raises:
            MalformedError: a line is not allowed; the message has its number.
        """
        reader = _read(text)
        if reader.quorum is None:
            raise MalformedError("the policy has no quorum line; add 'quorum none'")
        quorum = None if reader.quorum == _NONE else reader.quorum
        return cls(
            tuple(reader.logs), tuple(reader.witnesses), tuple(reader.groups), quorum
        )

    def open_checkpoint(self, note: str) -> WitnessedCheckpoint:
        """Verify a signed checkpoint with the cosignatures on it.

        1. No signature of a log or witness of the policy fails.
        2. A log of the policy signed, and its key's name is the checkpoint's origin.
        3. The witnesses that cosigned make the quorum.

        Raises:
            MalformedError: the note or the checkpoint has not the form of one.
            VerificationError: rule 1 or 2 (``NOTE_UNTRUSTED``) or rule 3
                (``QUORUM_UNMET``) does not hold.
        """
        witnesses = {witness.vkey: witness.name for witness in self.witnesses}
        logs = {log.vkey for log in self.logs}
        opened = open_note(note, [*logs, *witnesses])  # 1
        checkpoint = Checkpoint.parse(opened.text)
        signers = {signature.vkey for signature in opened.signatures}
        if not any(vkey.name == checkpoint.origin for vkey in signers & logs):  # 2
            raise VerificationError(
                Reason.ERROR_REASON_NOTE_UNTRUSTED,
                "the log that the checkpoint names did not sign it or is not trusted",
            )
        times: dict[str, int] = {}
        for signature in opened.signatures:
            name = witnesses.get(signature.vkey)
            if name is not None and signature.time is not None:
                times[name] = min(signature.time, times.get(name, signature.time))
        self._require_quorum(times)  # 3
        return WitnessedCheckpoint(checkpoint, MappingProxyType(times))

    @property
    def least_witnesses(self) -> int:
        """How many witnesses the quorum takes at least; 0 where none is needed."""
        least = {witness.name: 1 for witness in self.witnesses}
        for group in self.groups:
            members = sorted(least[name] for name in group.members)
            least[group.name] = sum(members[: group.threshold])
        return least[self.quorum] if self.quorum is not None else 0

    def is_quorum(self, cosigned: Collection[str]) -> bool:
        """Say whether witnesses, by their names in the policy, make the quorum."""
        met = set(cosigned)
        for group in self.groups:
            if len(met.intersection(group.members)) >= group.threshold:
                met.add(group.name)
        return self.quorum is None or self.quorum in met

    def _require_quorum(self, cosigned: Mapping[str, int]) -> None:
        if not self.is_quorum(cosigned):
            raise VerificationError(
                Reason.ERROR_REASON_QUORUM_UNMET,
                f"{len(cosigned)} of {len(self.witnesses)} witnesses cosigned the "
                f"checkpoint, which does not make the quorum {self.quorum}",
            )


@dataclass(slots=True)
class _Reader:
    """Reads a policy line by line; its errors do not have the line's number yet."""

    logs: list[Log] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str | None = None
    names: dict[str, bool] = field(default_factory=dict)
    """The names defined so far, each with whether a group has it as a member."""

    def read(self, line: str) -> None:
        if _NOT_IN_POLICY.search(line):
            raise MalformedError("control characters are not allowed")
        kind, *fields = _BLANKS.split(line.strip(" \t"))
        if not kind or kind.startswith("#"):
            return
        if kind not in _LINES:
            raise MalformedError(f"it must start with one of {', '.join(_LINES)}")
        form, least, most, take = _LINES[kind]
        if not least <= len(fields) <= most:
            raise MalformedError(f"it must have the form '{form}'")
        take(self, *fields)

    def log(self, vkey: str, url: str | None = None) -> None:
        known = [log.vkey for log in self.logs]
        self.logs.append(Log(_new_vkey(vkey, _LOG_KEYS, known), url))

    def witness(self, name: str, vkey: str, url: str | None = None) -> None:
        known = [witness.vkey for witness in self.witnesses]
        self.witnesses.append(Witness(name, _new_vkey(vkey, _WITNESS_KEYS, known), url))
        self._define(name)

    def group(self, name: str, threshold: str, *members: str) -> None:
        needed = {"any": 1, "all": len(members)}.get(threshold)
        if needed is None:
            needed = decode_decimal(threshold, f"the threshold of group {name}")
        if not 1 <= needed <= len(members):
            raise MalformedError(f"group {name} cannot need {needed} of its members")
        for member in members:
            self._require(member)
            if self.names[member]:
                raise MalformedError(f"{member} is a member of a group already")
            self.names[member] = True
        self._define(name)
        self.groups.append(Group(name, needed, members))

    def set_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise MalformedError("there is a quorum line already")
        if name != _NONE:
            self._require(name)
        self.quorum = name

    def _define(self, name: str) -> None:
        if name == _NONE or name in self.names:
            raise MalformedError(f"the name {name} is taken")
        self.names[name] = False

    def _require(self, name: str) -> None:
        if name not in self.names:
            raise MalformedError(f"{name} is not defined above")


def parse_logs(text: str) -> tuple[Log, ...]:
    """Parse a list of logs: the ``log`` lines of a policy, with or without a quorum.

    Raises:
        MalformedError: a line is not allowed; the message has its number.
    """
    return tuple(_read(text).logs)


def _read(text: str) -> _Reader:
    """Read every line of a policy."""
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            reader.read(line)
        except MalformedError as error:
            raise MalformedError(f"policy line {number}: {error.message}") from None
    return reader


def _new_vkey(text: str, types: Collection[KeyType], known: Collection[Vkey]) -> Vkey:
    """Parse a vkey that must be of one of the types and have a key not yet known."""
    vkey = Vkey.parse(text)
    if vkey.type not in types:
        raise MalformedError(f"vkey {vkey.name} is of a type that cannot be used here")
    # A key under another name is still the same signer.
    if vkey.public_key in {other.public_key for other in known}:
        raise MalformedError(f"the key of vkey {vkey.name} is listed already")
    return vkey


_LOG_KEYS: Final = (KeyType.ED25519, KeyType.ML_DSA_44)
_WITNESS_KEYS: Final = (KeyType.COSIGNATURE, KeyType.ML_DSA_44)

_LINES: Final[Mapping[str, tuple[str, float, float, Callable[..., None]]]] = {
    "log": ("log <vkey> [<url>]", 1, 2, _Reader.log),
    "witness": ("witness <name> <vkey> [<url>]", 2, 3, _Reader.witness),
    "group": ("group <name> all|any|<k> <member>...", 3, inf, _Reader.group),
    "quorum": ("quorum <name>|none", 1, 1, _Reader.set_quorum),
}
