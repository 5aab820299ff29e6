"""The one list of what an audit checks."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Final

from onward.core.audit.book import check_answers, check_numbers, keep_book
from onward.core.audit.carrying import check_carried
from onward.core.audit.checks import (
    check_coverage,
    check_figures,
    check_transfers,
    digests_of,
    entry,
)
from onward.core.audit.clock import Clock
from onward.core.audit.deadlines import proofs_of
from onward.core.audit.duplicates import check_duplicates
from onward.core.audit.duties import all_duties, check_duty, check_remarks
from onward.core.audit.evidence import WHOLE, Header, covers
from onward.core.audit.facts import Finding, IntakeFacts, Reading, ReferralFacts
from onward.core.audit.policies import Policies, set_digest
from onward.core.audit.prefixes import Prefixes, tree_root
from onward.core.audit.reading import Reader
from onward.core.audit.result import Audited, Findings
from onward.core.audit.sightings import Sightings, Vouchers
from onward.core.audit.steps import (
    ACCESS,
    CHAINS,
    CHECKPOINT,
    COVERAGE,
    DEADLINES,
    ENTRIES,
    FIGURES,
    INTAKES,
    KEYS,
    PLACES,
    READABLE,
    SIGNATURES,
    TIMING,
)
from onward.core.directory import DirectoryHistory
from onward.core.errors import OnwardError, Reason, StateError, VerificationError
from onward.core.sightings import by_witnesses
from onward.core.timing import Source
from onward.core.tlog_policy import Policy
from onward.core.verify.evidence import Entry
from onward.core.verify.keys import Keys
from onward.v1 import directory_pb2

_DIRECTORY: Final = frozenset({"key_change", "directory_change"})
_OTHERS: Final = frozenset({"policy_change", "audit_access"})


class Audit:
    """Judges one export: :meth:`begin`, :meth:`add` each chain, :meth:`conclude`.

    Each step goes on where the one before it failed, as far as it can, so that people
    see all that is wrong.

    1. Evidence: each line is a statement of the form that ``statement.proto`` asks for,
       and belongs to the chain with which it is listed.
    2. Checkpoint: a log of the trust file signed it, and so did the quorum of witnesses
       where the trust file asks for one.
    3. Entries: the tree over all entries of the log has the checkpoint's root. Those
       that a successor carries on are those that its predecessor had signed. Each
       checkpoint that others vouch for is a beginning of that tree.
    4. Access: the exchange signed and logged, before it showed anything, to whom, for
       which jurisdictions, how many statements and with which root; these are they.
    5. Places: each statement is the entry that the log has at its place.
    6. Keys: the log's first entry introduces the exchange's keys, and each later change
       of keys is signed by the exchange and names the change before it.
    7. Signatures: each statement is signed by the party that has this to say, with a
       key that it had at that place of the log and at the time that it claims.
    8. Chains: each statement answers an earlier one that it may answer, the transition
       table allows it, and a transfer and its child referral name each other.
    9. Intakes: no number of a hotline is missing or used twice, over all where every
       entry is shown, and in each jurisdiction where not; each intake names the one
       before it; what is decided about an intake was possible where it stood.
    10. Timing: no claimed time contradicts the order of the log, a witness or a
        timestamp authority; what either of them is said to have signed holds as far as
        anything rests on it; every tree that was seen is a beginning of this one.
    11. Deadlines: what was missed by the log's order has its signed breach, and no
        breach says so falsely.
    12. Figures: the exchange's own figures are those that the statements make.
    13. Coverage: for an auditor of the whole exchange, every entry has its statement.

    Args:
        trust: the trust file, in the ``tlog-policy`` format.
        checkpoint: the log's checkpoint, a signed note.
        header: the export's header, as JSON.
        entries: the log's entries, 32 bytes each.
        jurisdiction: the code that the audit is about.
        tree: the tree over the entries, where it was computed before.

    Raises:
        OnwardError: the trust file, the header or the checkpoint cannot be read at all.
    """

    def __init__(
        self,
        trust: str,
        checkpoint: str,
        header: bytes,
        entries: bytes,
        jurisdiction: str,
        tree: Prefixes | None = None,
    ) -> None:
        self.header = Header.parse(header)
        self.entries = entries
        self.jurisdiction = jurisdiction
        self._found = Findings()
        self._policy = Policy.parse(trust)
        self.tree = tree or Prefixes(entries)
        self._check_checkpoint(checkpoint)
        self._keys = Keys()
        self._policies = Policies()
        self._last_policy = b""
        self._members = DirectoryHistory()
        self._present: dict[str, directory_pb2.Member] = {}
        self._clock = Clock(self.tree.size)
        self._intakes: list[IntakeFacts] = []
        self._referrals: dict[str, ReferralFacts] = {}
        self._shown = array("q")

    def begin(self, lines: Sequence[tuple[int, str]], shown: array[int]) -> None:
        """Reads what concerns everybody: keys, directory, policies, audits.

        Args:
            lines: these statements with their indexes, in the log's order.
            shown: the indexes of all statements of the export, in its order.
        """
        self._shown = shown
        size = self.log_size
        for before, at in pairwise(chain([-1], shown)):
            if not before < at < size:
                why = "it is not in the log's order, or past what was looked at"
                self._found.add(Finding(READABLE, f"log entry {at}", why, "LOG_RANGE"))
        entries, findings = self.reader().parse_common(lines)
        for item in entries:
            step = KEYS if item.kind in _DIRECTORY else SIGNATURES
            with self._found.noting(step, item.subject):
                self._add_common(item)
        self.add(self.reader().reading(None, findings, entries))
        with self._found.noting(ACCESS, "the AuditAccess"):
            self._check_access()

    def reader(self) -> Reader:
        """Returns a reader of chains, with the keys that are known so far."""
        return Reader(self._keys, self.entries, self.tree, self.origin)

    def add_policy(self, files: Mapping[str, bytes]) -> None:
        """Adds the files of a policy set, which say what hotlines had to keep."""
        with self._found.noting(READABLE, "a policy set"):
            self._policies.learn(set_digest(files), files)

    def add(self, reading: Reading) -> None:
        """Adds what was found in one chain."""
        self._found.extend(reading.findings)
        self._clock.add(reading.times)
        match reading.facts:
            case IntakeFacts():
                self._intakes.append(reading.facts)
            case ReferralFacts():
                self._referrals[reading.facts.referral_id] = reading.facts

    def conclude(self) -> Audited:
        """Judges all chains together, and returns what came of it."""
        found, clock, entries = self._found, self._clock, self.entries
        referrals = self._referrals
        found.extend(check_transfers(referrals, entries, whole=self.whole))  # 8
        book, problems = keep_book(self._intakes, referrals.values(), self._kind_of)
        found.extend(problems)  # 9
        found.extend(check_numbers(book, entries, whole=self.whole))
        found.extend(check_answers(book, referrals, whole=self.whole))
        found.extend(
            check_duplicates(book, referrals, entries, self._kind_of, whole=self.whole)
        )
        found.extend(clock.settle(self._sightings))  # 10
        duties = tuple(all_duties(book, referrals.values(), self._policies, clock))
        found.extend(clock.prove(proofs_of(duties)))
        found.extend(check_remarks(book))  # 11
        size = self.log_size
        judged = (check_duty(duty, clock, size) for duty in duties)
        found.extend(finding for finding in judged if finding)
        found.extend(check_figures(self.header, book, referrals.values()))  # 12
        hidden = check_coverage(clock, 0, self.log_size) if self.whole else None
        found.extend([hidden] if hidden else [])  # 13
        return Audited(
            self._keys.exchange,
            self.header.access,
            self.log_size,
            self._shown,
            found.conclude(self._proven(), self._skipped()),
            book,
            referrals,
            duties,
            clock,
            self._policies,
            self._present,
        )

    def add_vouchers(self, vouchers: Vouchers) -> None:
        """Adds what says who had seen the log by when."""
        self._sightings = self._sightings_of(vouchers)
        self._found.extend(self._sightings.read())

    @property
    def log_size(self) -> int:
        """How many entries the exchange says that it looked at."""
        size = self.header.access.statement.message.audit_access.log_size
        return min(max(size, 0), self.tree.size)

    @property
    def codes(self) -> frozenset[str]:
        """The jurisdictions that the exchange says that it showed."""
        access = self.header.access.statement.message.audit_access
        return frozenset(access.jurisdictions)

    @property
    def whole(self) -> bool:
        """Whether every entry of the log should have been shown."""
        return WHOLE in self.codes

    def _check_checkpoint(self, note: str) -> None:
        """Steps 2 and 3."""
        # Without its quorum first, so that the rest can go on.
        opened = replace(self._policy, quorum=None).open_checkpoint(note)
        with self._found.noting(CHECKPOINT, "checkpoint"):
            self._policy.open_checkpoint(note)
        self.origin = opened.checkpoint.origin
        self._own = by_witnesses(opened, self._policy)
        self._sightings = self._sightings_of(Vouchers())
        size, root = opened.checkpoint.size, opened.checkpoint.root
        if self.tree.size != size:
            why = f"there are {self.tree.size}, and the log had {size}"
        elif self.tree.root(size) != root:
            why = "their tree has another root than the log signed: one was altered"
        else:
            return
        self._found.add(Finding(ENTRIES, "the entries", why, "PROOF_INVALID"))

    def _sightings_of(self, vouchers: Vouchers) -> Sightings:
        """Returns what is to be said of some vouchers."""
        return Sightings(self._policy, self.origin, self.tree, vouchers, self._own)

    def _add_common(self, item: Entry) -> None:
        """Steps 6 and 7, for what concerns everybody."""
        message = item.statement.message
        if item.kind in _DIRECTORY:
            vkeys = (log.vkey for log in self._policy.logs)
            self._keys.add(item, [key.format() for key in vkeys])
            if item.kind == "key_change":
                with self._found.noting(ENTRIES, item.subject):
                    check_carried(item, self.entries)
            if item.kind == "directory_change":
                member = message.directory_change.member
                self._members.add(item.index, member)
                self._present[member.name] = member
            return
        self._keys.check_signature(item)
        if item.kind not in _OTHERS:
            raise StateError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                "it belongs to no chain that was shown",
            )
        if item.issuer != self._keys.exchange:
            raise VerificationError(
                Reason.ERROR_REASON_ISSUER_MISMATCH,
                f"{item.issuer} signed it, and only the exchange says this",
            )
        if item.kind == "policy_change":
            if message.previous != self._last_policy:
                raise StateError(
                    Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                    "its previous is not the policy change before it",
                )
            self._last_policy = item.statement.digest
            self._policies.add(item.index, message.policy_change.policy_digest)

    def _check_access(self) -> None:
        """Step 4."""
        access = self.header.access
        body = access.statement.message.audit_access
        self._keys.check_signature(access)
        if access.issuer != self._keys.exchange:
            raise _not_shown("the exchange did not sign it")
        if entry(self.entries, access.index) != access.statement.digest:
            raise _not_shown("it is not in the log")
        if not 0 == body.first_index < body.log_size <= access.index:
            raise _not_shown("it is not about the log from its first entry on")
        if not covers(self.codes, self.jurisdiction):
            raise _not_shown(f"it is not about {self.jurisdiction}")
        if body.statement_count != len(self._shown):
            raise _not_shown(
                f"it speaks of {body.statement_count} statements, and there are "
                f"{len(self._shown)}: some were taken out, or put in"
            )
        if self._shown_root() != body.statements_root:
            raise _not_shown("it speaks of other statements than there are")

    def _shown_root(self) -> bytes | None:
        """Returns the root of the tree over the statements shown."""
        count = len(self._shown)
        if self._shown == array("q", range(count)):
            return self.tree.root(count)  # all from the first on: it is known
        return tree_root(digests_of(self.entries, self._shown))

    def _kind_of(self, name: str, at: int) -> int:
        """Returns a member's kind when an entry was appended; 0 if not known."""
        try:
            return self._members.before(at, name).proto.kind
        except OnwardError:
            return 0

    def _proven(self) -> Mapping[int, str]:
        """Returns what each step shows where nothing was found."""
        count = len(self._shown)
        witnesses = f", and the quorum {self._policy.quorum}" * bool(
            self._policy.quorum
        )
        return {
            READABLE: f"{count} statements can be read",
            CHECKPOINT: f"the log {self.origin} signed it{witnesses}",
            ENTRIES: f"all {self.tree.size} entries make the log's tree",
            ACCESS: f"the exchange logged that it showed these {count} statements",
            PLACES: "each statement is the entry at its place",
            KEYS: f"the keys of {len(self._present)} members, from the first entry on",
            SIGNATURES: "each party signed, with a key of that time",
            CHAINS: f"{len(self._referrals)} referrals follow the transition table",
            INTAKES: f"{len(self._intakes)} intakes, and no number is missing",
            TIMING: f"no claim contradicts the log's order; {self._vouched()}",
            DEADLINES: "each missed deadline has its breach, and no breach is false",
            FIGURES: "the exchange's own figures agree",
            COVERAGE: f"all {self.log_size} log entries were shown",
        }

    def _vouched(self) -> str:
        """Returns who else says when statements existed, for people."""
        counts = self._clock.sources(self._shown)
        return ", ".join(f"{counts[source]} {source}" for source in Source)

    def _skipped(self) -> Mapping[int, str]:
        """Returns which steps could not be checked."""
        skipped: dict[int, str] = {}
        if not self.whole:
            skipped[COVERAGE] = (
                f"{len(self._shown)} of {self.log_size} log entries were shown; the "
                f"others are not of {', '.join(sorted(self.codes))}"
            )
        if self._intakes and not self._policies.known:
            skipped[DEADLINES] = (
                "the deadlines of hotlines are not among the evidence; those of "
                "deliveries hold"
            )
        return skipped


def _not_shown(why: str) -> VerificationError:
    return VerificationError(Reason.ERROR_REASON_PROOF_INVALID, why)
