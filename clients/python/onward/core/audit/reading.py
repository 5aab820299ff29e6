"""Reading chains: each statement is parsed once, its signature verified once.

:class:`Reader` needs nothing but the keys of the directory and the log's entries, so
chains can be read in any order and in several processes. What hangs together across
chains is judged later, from the facts that remain.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeAlias

from onward.core.audit.chains import EXCHANGE, intake_chain, intake_of
from onward.core.audit.facts import (
    NONE,
    Decision,
    Facts,
    Finding,
    IntakeFacts,
    Reading,
    milliseconds,
)
from onward.core.audit.following import facts_of_referral, remarks_of
from onward.core.audit.prefixes import Prefixes
from onward.core.audit.steps import CHAINS, PLACES, READABLE, SIGNATURES, TIMING
from onward.core.bodies import check_body
from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    StateError,
    VerificationError,
)
from onward.core.merkle import HASH_SIZE
from onward.core.statements import is_statement_id, parse_statement
from onward.core.tlog_proof import TlogProof
from onward.core.verify.chains import Chain, check_links
from onward.core.verify.deliveries import follow_deliveries
from onward.core.verify.evidence import Entry, Problem, noting
from onward.core.verify.keys import Keys, Signatures, check_signatures

Lines: TypeAlias = Sequence[tuple[int, str]]
"""Statements with their indexes, in the log's order."""

_OF_THE_HOTLINE: Final = frozenset({"intake", "withholding", "hold", "link"})
_OF_THE_EXCHANGE: Final = frozenset({"rejection", "warning", "breach"})

_TREES: Final = 10_000
"""How many roots of trees are remembered."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_RECEIPT: Final = TlogProof(0, (), "")

_REFERRAL_BEGINNING: Final = ("referral", "acceptance")
_REFERRAL_REFUSED: Final = ("referral", "rejection")


class Reader:
    """Reads chains.

    Args:
        keys: the keys that were in force at each place of the log.
        entries: the log's entries, 32 bytes each.
        tree: their tree.
        origin: the log's origin.
    """

    def __init__(self, keys: Keys, entries: bytes, tree: Prefixes, origin: str) -> None:
        self._keys = keys
        self._entries = entries
        self._origin = origin
        # What is said at one time has seen the same tree.
        self._root = lru_cache(_TREES)(tree.root)

    def read(self, chains: Iterable[tuple[str, Lines]]) -> list[Reading]:
        """Reads some chains. Nothing that they hold makes this raise.

        Args:
            chains: of each the name, and its statements with their indexes, in the
                log's order.
        """
        parsed: list[tuple[str, list[Entry], list[Finding]]] = []
        for chain, lines in chains:
            findings: list[Finding] = []
            parsed.append((chain, self._parsed(chain, lines, findings), findings))
        signed = _Checked(self._keys, (one for _, all_, _ in parsed for one in all_))
        return [self._follow(*item, signed) for item in parsed]

    def parse_common(self, lines: Lines) -> tuple[list[Entry], list[Finding]]:
        """Reads what concerns everybody; following the keys in it comes next."""
        findings: list[Finding] = []
        return self._parsed(EXCHANGE, lines, findings), findings

    def reading(
        self,
        facts: Facts | None,
        findings: list[Finding],
        entries: Sequence[Entry],
    ) -> Reading:
        """Returns what remains of a chain, once its exchange's keys are known."""
        places = {entry.statement.digest: entry.index for entry in entries}
        times = array("q")
        for entry in entries:
            message = entry.statement.message
            seen = message.seen
            size = seen.size if seen.origin == self._origin else 0
            if size and self._root(size) != seen.root:
                findings.append(_forked(entry, size))
            times.extend(
                (
                    entry.index,
                    milliseconds(message.made_time),
                    size,
                    places.get(message.previous, NONE),
                    entry.issuer == self._keys.exchange,
                )
            )
        return Reading(facts, tuple(findings), times.tobytes())

    def _follow(
        self,
        chain: str,
        entries: list[Entry],
        findings: list[Finding],
        signed: Signatures,
    ) -> Reading:
        """Checks and follows one chain."""
        problems: list[Problem] = []
        facts: Facts | None = None
        with noting(problems, f"chain {chain}"):
            if is_statement_id(chain):
                facts = self._referral(chain, entries, findings, signed)
            else:
                facts = self._intake(entries, findings, signed)
        _add(findings, CHAINS, problems)
        return self.reading(facts, findings, entries)

    def _parsed(self, chain: str, lines: Lines, findings: list[Finding]) -> list[Entry]:
        """Returns the statements that can be read and stand in the log where said."""
        problems: list[Problem] = []
        entries: list[Entry] = []
        for index, jws in lines:
            with noting(problems, f"log entry {index}"):
                entry = entry_of(index, jws)
                check_body(entry.statement.message)
                _check_chain(chain, entry)
                if self._stands(entry):
                    entries.append(entry)
                else:
                    findings.append(_misplaced(entry.subject))
        _add(findings, READABLE, problems)
        return entries

    def _stands(self, entry: Entry) -> bool:
        at = entry.index * HASH_SIZE
        return self._entries[at : at + HASH_SIZE] == entry.statement.digest

    def _referral(
        self,
        chain: str,
        entries: list[Entry],
        findings: list[Finding],
        signed: Signatures,
    ) -> Facts | None:
        """Checks and follows the chain of a referral."""
        whole = Chain.of(chain, entries)
        chains = {chain: whole}
        _add(findings, SIGNATURES, check_signatures(entries, chains, signed))
        _add(findings, CHAINS, check_links(chains))
        deliveries, problems = follow_deliveries(chains)
        _add(findings, CHAINS, problems)
        kinds = tuple(entry.kind for entry in entries[:2])
        if kinds not in {_REFERRAL_BEGINNING, _REFERRAL_REFUSED}:
            findings.append(
                Finding(
                    CHAINS,
                    f"referral {chain}",
                    "it does not begin with the referral and the exchange's answer to "
                    "it: a statement is missing, or was moved",
                    "REFERRAL_UNKNOWN",
                )
            )
        return facts_of_referral(whole, deliveries)

    def _intake(
        self, entries: list[Entry], findings: list[Finding], signed: Signatures
    ) -> Facts | None:
        """Checks and follows the chain of an intake."""
        if not entries or entries[0].kind != "intake":
            raise StateError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                "it does not begin with its intake: a statement is missing, or was "
                "moved",
            )
        first, rest = entries[0], entries[1:]
        known = {first.statement.digest: first}
        refused: set[int] = set()
        unsigned: list[Problem] = []
        for entry in entries:
            with noting(unsigned, entry.subject):
                signed.check_signature(entry)
                self._check_says(entry, first.issuer)
        unlinked: list[Problem] = []
        for entry in rest:
            with noting(unlinked, entry.subject):
                _check_answer(entry, first, known)
                if entry.kind == "rejection":
                    refused.add(known[entry.statement.message.previous].index)
                known[entry.statement.digest] = entry
        _add(findings, SIGNATURES, unsigned)
        _add(findings, CHAINS, unlinked)
        return _facts_of_intake(first, rest, refused)

    def _check_says(self, entry: Entry, hotline: str) -> None:
        """Requires that the party signed that has this to say about an intake."""
        says = hotline if entry.kind in _OF_THE_HOTLINE else self._keys.exchange
        if entry.issuer != says:
            raise VerificationError(
                Reason.ERROR_REASON_ISSUER_MISMATCH,
                f"{entry.issuer} signed it, and only {says} says this",
            )


class _Checked:
    """What came of the signatures of some statements.

    They are checked one after the other, with nothing in between: the curve's tables
    then stay in the processor's cache, and a signature takes a fifth less.
    """

    def __init__(self, keys: Keys, entries: Iterable[Entry]) -> None:
        self.exchange = keys.exchange
        self._verdicts: dict[int, Exception | None] = {}
        for entry in entries:
            verdict: Exception | None = None
            try:
                keys.check_signature(entry)
            except (OnwardError, ValueError, OverflowError) as error:
                verdict = error
            self._verdicts[id(entry)] = verdict

    def check_signature(self, entry: Entry) -> None:
        """Raises what :meth:`Keys.check_signature` did.

        Raises:
            KeyError: it was not checked, so nothing is known of it.
        """
        if verdict := self._verdicts[id(entry)]:
            raise verdict


@dataclass(frozen=True, slots=True)
class ShownEntry(Entry):
    """A statement of an export, which is asked for these again and again.

    It has no receipt of its own: the log's entries are all there, and prove it.
    """

    kind: str
    issuer: str
    claimed: datetime


def entry_of(index: int, jws: str) -> ShownEntry:
    """Reads a statement of an export.

    Raises:
        MalformedError: it has not the form of one.
    """
    statement = parse_statement(jws)
    message, kind = statement.message, statement.body_kind
    made = message.made_time
    claimed = _EPOCH + timedelta(seconds=made.seconds, microseconds=made.nanos // 1000)
    subject = f"log entry {index} ({kind})"
    return ShownEntry(
        index, statement, subject, _NO_RECEIPT, kind, message.issuer, claimed
    )


def _misplaced(subject: str) -> Finding:
    return Finding(
        PLACES,
        subject,
        "the log has another entry at this place: the statement was altered, or its "
        "index was",
        "PROOF_INVALID",
    )


def _forked(entry: Entry, size: int) -> Finding:
    why = f"it has seen another tree of size {size} than the log had"
    return Finding(TIMING, entry.subject, why, "LOG_FORKED")


def _add(findings: list[Finding], step: int, problems: Sequence[Problem]) -> None:
    findings += [
        Finding(step, item.subject, item.error.message, item.error.reason_name)
        for item in problems
    ]


def _check_chain(chain: str, entry: Entry) -> None:
    """Requires that a statement is about what its line says."""
    message = entry.statement.message
    named = message.referral_id
    hotline, number = intake_of(message)
    if not named and number:
        named = intake_chain(hotline, number)
    # The rejection of a withholding belongs to whatever it answers.
    loose = not named and entry.kind == "rejection" and not is_statement_id(chain)
    if named != chain and not loose:
        raise MalformedError(
            f"it is listed with the chain {chain or 'of the exchange'!r}, and is of "
            f"the chain {named or 'of the exchange'!r}"
        )
    # How a log begins, also one that is carried on here, is judged with the keys.
    begins = entry.kind == "key_change" and not message.previous
    if entry.index and not begins and not message.HasField("seen"):
        raise MalformedError("it names no checkpoint that its issuer had seen")


def _check_answer(entry: Entry, first: Entry, known: Mapping[bytes, Entry]) -> None:
    """Requires that a statement about an intake answers what it may answer."""
    answered = known.get(entry.statement.message.previous)
    if entry.kind == "rejection":
        fits = answered is not None and answered.kind == "withholding"
    else:
        fits = answered is first and entry.kind != "intake"
    if not fits:
        raise StateError(
            Reason.ERROR_REASON_PREVIOUS_MISMATCH,
            "its previous does not name the statement of this intake that it answers",
        )


def _facts_of_intake(
    first: Entry, rest: Sequence[Entry], refused: set[int]
) -> IntakeFacts:
    """Returns what remains of an intake."""
    body = first.statement.message.intake
    decisions = (
        _DECISIONS[entry.kind](entry)._replace(rejected=entry.index in refused)
        for entry in rest
        if entry.kind in _DECISIONS
    )
    return IntakeFacts(
        first.index,
        first.issuer,
        body.number,
        body.number_in_jurisdiction,
        first.statement.message.previous,
        body.urgency,
        body.reporter_type,
        body.subject_age_group,
        body.jurisdiction.code,
        milliseconds(body.received_time),
        body.test,
        tuple(decisions),
        remarks_of(rest),
    )


def _withholding(entry: Entry) -> Decision:
    body = entry.statement.message.withholding
    return Decision(
        entry.index,
        entry.kind,
        body.reason,
        body.approver_role,
        body.citation,
        milliseconds(body.review_time),
    )


def _hold(entry: Entry) -> Decision:
    role = entry.statement.message.hold.approver_role
    return Decision(entry.index, entry.kind, role=role)


def _link(entry: Entry) -> Decision:
    body = entry.statement.message.link
    return Decision(
        entry.index,
        entry.kind,
        same_as=body.same_as,
        same_as_referral=body.same_as_referral_id,
        same_as_number=body.same_as_intake_number,
    )


_DECISIONS: Final[Mapping[str, Callable[[Entry], Decision]]] = MappingProxyType(
    {"withholding": _withholding, "hold": _hold, "link": _link}
)
