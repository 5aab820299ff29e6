"""What a bundle offers as evidence, read but not yet believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onward.core.bodies import check_body
from onward.core.bundle import Bundle, LoggedStatement, StampedCheckpoint
from onward.core.custody import SIGNERS
from onward.core.errors import MalformedError, OnwardError
from onward.core.notes import parse_note
from onward.core.statements import parse_statement
from onward.core.timestamps import Token
from onward.core.timing import Placed
from onward.core.tlog_proof import TlogProof
from onward.v1 import statement_pb2

_DIRECTORY_KINDS = frozenset({"key_change", "directory_change"})

_MAY_BEGIN = frozenset({"key_change"})
"""A log's first entry has seen nothing; a successor has it at another place."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not hold, and what it is about."""

    subject: str
    error: OnwardError


class noting:  # noqa: N801 - read as a word, as contextlib.suppress is
    """Notes what is refused inside, so that verification can go on.

    A value that protobuf can hold and Python cannot, such as a time in the year 10000,
    is refused as well: verification never raises because of what it reads.
    """

    # A class, and no generator: it is entered several times for each statement.
    __slots__ = ("_problems", "_subject")

    def __init__(self, problems: list[Problem], subject: str) -> None:
        self._problems = problems
        self._subject = subject

    def __enter__(self) -> None:
        """Begins."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        """Notes an error of what was read; others are not for here."""
        if error is None:
            return False
        if isinstance(error, OnwardError):
            self._problems.append(Problem(self._subject, error))
        elif isinstance(error, ValueError | OverflowError):
            why = MalformedError("a value of the statement is out of its range")
            self._problems.append(Problem(self._subject, why))
        else:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Entry(Placed):
    """A statement of the bundle with the place in the log that its receipt claims.

    Attributes:
        subject: names it to people: its place in the bundle, and its kind.
        receipt: its receipt.
    """

    subject: str
    receipt: TlogProof

    @property
    def kind(self) -> str:
        """The name of the body."""
        return self.statement.body_kind

    @property
    def issuer(self) -> str:
        """SPIFFE ID of who says that it is theirs."""
        return self.statement.message.issuer

    @property
    def referral_id(self) -> str:
        """The referral that it is about."""
        return self.statement.message.referral_id

    @property
    def due(self) -> statement_pb2.Due | None:
        """What a warning or a breach says to be due; None for other kinds."""
        if self.kind == "breach":
            return self.statement.message.breach.due
        return self.statement.message.warning.due if self.kind == "warning" else None

    @property
    def recipient(self) -> str:
        """Whose delivery it is about; empty where it is about the whole referral."""
        if self.kind == "handover":
            return self.statement.message.handover.recipient
        if self.due:
            return self.due.recipient
        return self.issuer if SIGNERS.get(self.kind) == "recipient" else ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A timestamp of the bundle.

    Attributes:
        subject: names it to people: its place in the bundle.
        note: the checkpoint that it comes with.
        token: what stamps the text of that note.
    """

    subject: str
    note: str
    token: Token


@dataclass(frozen=True, slots=True)
class Evidence:
    """What could be read, each list in the order of the bundle.

    Attributes:
        statements: those of custody chains.
        directory: those about keys.
        stamps: the timestamps.
    """

    statements: tuple[Entry, ...]
    directory: tuple[Entry, ...]
    stamps: tuple[Stamp, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them."""
        return self.directory + self.statements


def read_evidence(bundle: Bundle) -> tuple[Evidence, list[Problem]]:
    """Reads the statements and receipts of a bundle.

    1. Each statement has the form and the body that ``statement.proto`` asks for.
    2. Each receipt is a ``tlog-proof`` without extra data, which nobody vouches for.
    3. Each list has the kinds that belong to it, in the log's order, each place once.
    4. Each timestamp is one over the text of the checkpoint that it comes with.
    """
    problems: list[Problem] = []
    statements = _read("statements", bundle.statements, frozenset(SIGNERS), problems)
    directory = _read("directory", bundle.directory, _DIRECTORY_KINDS, problems)
    stamps = _read_stamps(bundle.vouchers.timestamps, problems)
    return Evidence(tuple(statements), tuple(directory), tuple(stamps)), problems


def _read(
    name: str,
    items: Sequence[LoggedStatement],
    kinds: frozenset[str],
    problems: list[Problem],
) -> list[Entry]:
    """Reads one list of a bundle, and notes what is wrong with it."""
    entries: list[Entry] = []
    for place, item in enumerate(items):
        subject = f"{name}[{place}]"
        with noting(problems, subject):
            entry = _entry(subject, item)
            entries.append(entry)
            _check_form(entry, kinds, after=entries[-2].index if entries[1:] else -1)
    return entries


def _read_stamps(
    items: Sequence[StampedCheckpoint], problems: list[Problem]
) -> list[Stamp]:
    """Reads the timestamps, and notes what is wrong with them."""
    stamps: list[Stamp] = []
    for place, item in enumerate(items):
        subject = f"timestamps[{place}]"
        with noting(problems, subject):
            text, token = parse_note(item.checkpoint).text, Token.parse(item.token)
            if not token.stamps(text):
                raise MalformedError("it stamps something else than its checkpoint")
            stamps.append(Stamp(subject, item.checkpoint, token))
    return stamps


def _entry(subject: str, item: LoggedStatement) -> Entry:
    """Reads one statement with its receipt."""
    statement = parse_statement(item.statement)
    receipt = TlogProof.parse(item.receipt)
    named = f"{subject} {statement.body_kind}"
    return Entry(receipt.index, statement, named, receipt)


def _check_form(entry: Entry, kinds: frozenset[str], after: int) -> None:
    """Checks what a bundle asks of an entry beyond its being readable."""
    check_body(entry.statement.message)
    if entry.kind not in kinds:
        raise MalformedError(f"a statement of kind {entry.kind} does not belong there")
    if entry.kind not in _DIRECTORY_KINDS and not entry.referral_id:
        raise MalformedError("a statement about an intake does not belong there")
    if entry.receipt.extra is not None:
        raise MalformedError("the receipt has extra data, which nobody vouches for")
    if entry.index and entry.kind not in _MAY_BEGIN and not _has_seen(entry):
        raise MalformedError("it names no checkpoint that its issuer had seen")
    if entry.index <= after:
        raise MalformedError(
            f"it is log entry {entry.index}, and listed after log entry {after}: not "
            "in the log's order"
        )


def _has_seen(entry: Entry) -> bool:
    return entry.statement.message.HasField("seen")
