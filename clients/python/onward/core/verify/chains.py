"""Custody chains: how their statements hang together, and whether any is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onward.core.custody import check_answers
from onward.core.errors import (
    ConflictError,
    Reason,
    StateError,
    UnknownError,
    VerificationError,
)
from onward.core.verify.evidence import Entry, Problem, noting
from onward.v1 import statement_pb2, vocabulary_pb2

_TRANSFER_OF = statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF
_VERIFIED = vocabulary_pb2.CONTENT_CHECK_VERIFIED


@dataclass(frozen=True, slots=True)
class Chain:
    """All statements about one referral, in the log's order.

    Attributes:
        referral_id: the referral's id.
        entries: the statements.
    """

    referral_id: str
    entries: tuple[Entry, ...]
    _firsts: Mapping[str, Entry]

    @classmethod
    def of(cls, referral_id: str, entries: Sequence[Entry]) -> Chain:
        """Returns the chain that some statements make; they are in the log's order."""
        firsts = {entry.kind: entry for entry in reversed(entries)}
        return cls(referral_id, tuple(entries), firsts)

    @property
    def referral(self) -> Entry | None:
        """The statement that begins the chain, if the bundle has it."""
        return self.first("referral")

    @property
    def acceptance(self) -> Entry | None:
        """The exchange's acceptance, if there is one."""
        return self.first("acceptance")

    def first(self, kind: str) -> Entry | None:
        """Returns the first statement of a kind."""
        return self._firsts.get(kind)

    def transfers(self) -> list[Entry]:
        """Returns the statements by which recipients passed the referral on."""
        return [entry for entry in self.entries if entry.kind == "transfer"]


def read_chains(statements: Sequence[Entry]) -> dict[str, Chain]:
    """Returns the chains by referral id, oldest first."""
    by_id: dict[str, list[Entry]] = {}
    for entry in sorted(statements, key=lambda entry: entry.index):
        by_id.setdefault(entry.referral_id, []).append(entry)
    return {name: Chain.of(name, entries) for name, entries in by_id.items()}


def check_links(chains: Mapping[str, Chain]) -> list[Problem]:
    """Checks what each statement answers, and that parent and child name each other.

    1. ``previous`` names an earlier statement of the same chain, of a kind that may be
       answered so, and about the same delivery.
    2. What names the content names the one that the referral signed.
    3. A transfer names the child's digest, and the child the parent's; the exchange
       did not refuse the child.
    4. A link to a referral that is there as well names its digest.
    """
    problems: list[Problem] = []
    for chain in chains.values():
        known = {entry.statement.digest: entry for entry in chain.entries}
        for entry in chain.entries:
            with noting(problems, entry.subject):
                _check_previous(entry, chain, known)  # 1
                _check_content_digest(entry, chain)  # 2
                _check_transfer(entry, chain, chains)  # 3
                _check_same(entry, chains)  # 4
    return problems


def check_completeness(referral_id: str, chains: Mapping[str, Chain]) -> list[Problem]:
    """Checks that nothing is missing that the statements themselves speak of.

    1. The bundle has the chain of its referral.
    2. Each chain begins with its referral, and the exchange answered it; an acceptance
       has deadlines for exactly the recipients.
    3. The child of each transfer is there.
    4. No chain is there that the referral was not passed on by.

    A statement that nothing later speaks of can be missing without a trace: a bundle
    shows what had happened, and not what had not.
    """
    problems: list[Problem] = []
    with noting(problems, f"referral {referral_id}"):
        _require_chain(referral_id, chains)  # 1
    for chain in chains.values():
        with noting(problems, f"referral {chain.referral_id}"):
            _check_answered(chain)  # 2
        for transfer in chain.transfers():
            with noting(problems, transfer.subject):
                child = transfer.statement.message.transfer.child_referral_id
                _require_chain(child, chains)  # 3
    for name in sorted(chains.keys() - _descendants(referral_id, chains)):
        error = _missing(f"nothing passes {referral_id} on to it")  # 4
        problems.append(Problem(f"referral {name}", error))
    return problems


def _check_previous(entry: Entry, chain: Chain, known: Mapping[bytes, Entry]) -> None:
    """Checks the link of a statement to the one that it answers."""
    if entry.kind == "referral":
        if entry is not chain.referral:
            raise ConflictError(
                Reason.ERROR_REASON_REFERRAL_ID_REUSED,
                "the id was used for another referral before",
            )
        return
    answered = known.get(entry.statement.message.previous)
    if answered is None or answered.index >= entry.index:
        raise _mismatch("its previous names no earlier statement of this referral")
    check_answers(entry.kind, answered.kind)
    if entry.recipient and answered.recipient not in {"", entry.recipient}:
        raise _mismatch("it answers a statement about another recipient's delivery")


def _check_content_digest(entry: Entry, chain: Chain) -> None:
    """Checks that a statement means the content that the referral signed."""
    if chain.referral is None or entry.kind not in {"handover", "received", "erasure"}:
        return
    message = entry.statement.message
    if entry.kind == "received" and message.received.check != _VERIFIED:
        return  # what arrived was not it, which is what the statement says
    signed = chain.referral.statement.message.referral.content_digest
    if getattr(message, entry.kind).content_digest != signed:
        raise VerificationError(
            Reason.ERROR_REASON_CONTENT_MISMATCH,
            "it names other content than the referral",
        )


def _check_transfer(entry: Entry, chain: Chain, chains: Mapping[str, Chain]) -> None:
    """Checks that a transfer and its child referral name each other."""
    if entry.kind != "transfer" or chain.referral is None:
        return
    body = entry.statement.message.transfer
    child = chains.get(body.child_referral_id)
    if child is None or child.referral is None:
        return  # which step 10 says
    named = child.referral.statement.digest == body.child_digest
    if not named or _parent(child, chains) is not chain:
        raise _mismatch("it and its child referral do not name each other's digests")
    if child.referral.issuer != entry.issuer:
        raise _mismatch("its child referral was published by somebody else")
    if child.acceptance is None and child.first("rejection") is not None:
        raise _mismatch("its child referral was refused")


def _check_same(entry: Entry, chains: Mapping[str, Chain]) -> None:
    """Checks that a link names the other referral's digest."""
    if entry.kind != "link":
        return
    body = entry.statement.message.link
    other = chains.get(body.same_as_referral_id)
    named = other.referral.statement.digest if other and other.referral else None
    if named not in {None, body.same_as}:
        raise _mismatch("it names another digest than the other referral has")


def _check_answered(chain: Chain) -> None:
    """Checks that a chain has its beginning, and the exchange's whole answer."""
    if chain.referral is None:
        raise _missing("its referral is missing")
    if chain.acceptance is None:
        if chain.first("rejection") is None:
            raise _missing("the exchange's answer is missing")
        return
    deadlines = chain.acceptance.statement.message.acceptance.deadlines
    recipients = chain.referral.statement.message.referral.recipients
    if [item.recipient for item in deadlines] != list(recipients):
        raise _missing("the acceptance has not a deadline for each recipient")


def _require_chain(referral_id: str, chains: Mapping[str, Chain]) -> None:
    """Requires that the bundle has statements about a referral."""
    if referral_id not in chains:
        raise _missing(f"the chain of referral {referral_id} is missing")


def _descendants(referral_id: str, chains: Mapping[str, Chain]) -> set[str]:
    """Returns a referral and those into which it was transferred, at any distance."""
    children: dict[str, list[str]] = {}
    for chain in chains.values():
        named = (item.statement.message.transfer for item in chain.transfers())
        children.setdefault(chain.referral_id, []).extend(
            body.child_referral_id for body in named
        )
        # A child that the exchange refused has no transfer that would name it.
        if chain.first("rejection") and (parent := _parent(chain, chains)):
            children.setdefault(parent.referral_id, []).append(chain.referral_id)
    found: set[str] = set()
    waiting = [referral_id]
    while waiting:
        name = waiting.pop()
        if name in chains and name not in found:
            found.add(name)
            waiting += children.get(name, [])
    return found


def _parent(child: Chain, chains: Mapping[str, Chain]) -> Chain | None:
    """Returns the chain that a child referral says it was transferred from."""
    if child.referral is None:
        return None
    for link in child.referral.statement.message.referral.links:
        parent = chains.get(link.referral_id)
        if link.kind == _TRANSFER_OF and parent and parent.referral:
            same = parent.referral.statement.digest == link.referral_digest
            return parent if same else None
    return None


def _mismatch(why: str) -> StateError:
    return StateError(Reason.ERROR_REASON_PREVIOUS_MISMATCH, why)


def _missing(why: str) -> UnknownError:
    return UnknownError(Reason.ERROR_REASON_REFERRAL_UNKNOWN, why)
