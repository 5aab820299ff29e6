"""What the log proves: that statements are in it, and that it only ever grew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from onward.core.bundle import Bundle, ConsistencyProof
from onward.core.checkpoints import Checkpoint
from onward.core.errors import OnwardError, Reason, VerificationError
from onward.core.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from onward.core.sightings import by_authority, by_witnesses
from onward.core.timestamps import Authorities
from onward.core.timing import Sighting
from onward.core.tlog_policy import Policy
from onward.core.verify.evidence import Entry, Problem, Stamp, noting


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkpoint that a trusted log signed.

    Attributes:
        checkpoint: what it signed.
        witnessed: when the quorum of witnesses had cosigned it; None if it has not.
    """

    checkpoint: Checkpoint
    witnessed: Sighting | None


@dataclass(frozen=True, slots=True)
class Trees:
    """The checkpoints of a bundle, each opened once.

    Attributes:
        newest: the bundle's own checkpoint; None if it cannot be trusted.
        roots: the root of each size that is proven to be a beginning of it.
    """

    newest: Tree | None
    roots: Mapping[int, bytes]
    _opened: Mapping[str, Tree | OnwardError]

    @classmethod
    def open(cls, bundle: Bundle, entries: Iterable[Entry], policy: Policy) -> Trees:
        """Opens all checkpoints of a bundle: its own, its receipts', and the others."""
        notes = {
            bundle.checkpoint,
            *(entry.receipt.checkpoint_note for entry in entries),
            *bundle.vouchers.notes,
        }
        opened = {note: _open(note, policy) for note in notes}
        newest = opened[bundle.checkpoint]
        if not isinstance(newest, Tree):
            return cls(None, {}, opened)
        roots = _proven_roots(bundle.consistency, newest.checkpoint, [])
        return cls(newest, roots, opened)

    @property
    def origin(self) -> str:
        """The log that the bundle is about; empty if its checkpoint is not trusted."""
        return self.newest.checkpoint.origin if self.newest else ""

    def vkeys(self, policy: Policy) -> frozenset[str]:
        """Returns the keys that the trust file lists for that log."""
        keys = (log.vkey for log in policy.logs)
        return frozenset(key.format() for key in keys if key.name == self.origin)

    def of(self, note: str) -> Tree:
        """Returns a checkpoint of the bundle.

        Raises:
            OnwardError: it is not one, or no trusted log signed it.
        """
        tree = self._opened[note]
        if isinstance(tree, OnwardError):
            raise tree
        return tree

    def witnessed(self) -> list[Sighting]:
        """Returns the trees that the quorum of witnesses had seen, and when."""
        return [
            tree.witnessed
            for tree in self._opened.values()
            if isinstance(tree, Tree) and tree.witnessed and self.prove(tree)
        ]

    def stamped(
        self, stamps: Iterable[Stamp], authorities: Authorities
    ) -> tuple[list[Sighting], list[Problem]]:
        """Returns the trees that authorities had seen, and when.

        A token that says to be by somebody else is left out, as an unknown signature
        on a note is; one that says to be by one of them, and does not hold, is a
        problem.
        """
        sightings, problems = list[Sighting](), list[Problem]()
        for stamp in stamps:
            with noting(problems, stamp.subject):
                tree = self.of(stamp.note)
                found = by_authority(tree.checkpoint, stamp.token, authorities)
                if found and self.prove(tree):
                    sightings.append(found)
        return sightings, problems

    def holds(self, tree: Tree) -> bool:
        """Says whether a tree is of the same log as the newest one."""
        return tree.checkpoint.origin == self.origin

    def prove(self, tree: Tree) -> bool:
        """Says whether a tree is proven to be a beginning of the newest one."""
        checkpoint = tree.checkpoint
        return self.holds(tree) and self.roots.get(checkpoint.size) == checkpoint.root


def check_inclusion(entries: Sequence[Entry], trees: Trees) -> list[Problem]:
    """Checks that each statement is in the log, at the place that it claims."""
    problems: list[Problem] = []
    for entry in entries:
        with noting(problems, entry.subject):
            tree = trees.of(entry.receipt.checkpoint_note)
            if not trees.holds(tree):
                raise VerificationError(
                    Reason.ERROR_REASON_NOTE_UNTRUSTED,
                    "its receipt is of another log than the bundle's checkpoint",
                )
            checkpoint = tree.checkpoint
            verify_inclusion(
                leaf_hash(entry.statement.digest),
                entry.index,
                checkpoint.size,
                entry.receipt.path,
                checkpoint.root,
            )
    return problems


def check_consistency(
    bundle: Bundle, entries: Sequence[Entry], trees: Trees
) -> list[Problem]:
    """Checks that every tree that is named anywhere is a beginning of the newest one.

    So the bundle's checkpoint vouches for all of them: a log that showed one history
    to one party and another to the next would need two checkpoints that contradict.
    """
    problems: list[Problem] = []
    with noting(problems, "checkpoint"):
        newest = trees.of(bundle.checkpoint).checkpoint
        _proven_roots(bundle.consistency, newest, problems)
        for subject, note in _vouched(bundle):
            with noting(problems, subject):
                _check_named(_same_log(note, trees), newest, trees.roots)
        for entry in entries:
            with noting(problems, entry.subject):
                for older in _named(entry, trees):
                    _check_named(older, newest, trees.roots)
    return problems


def check_quorum(bundle: Bundle, policy: Policy) -> list[Problem]:
    """Checks that enough witnesses of the trust file cosigned the newest checkpoint."""
    problems: list[Problem] = []
    with noting(problems, "checkpoint"):
        policy.open_checkpoint(bundle.checkpoint)
    return problems


def _open(note: str, policy: Policy) -> Tree | OnwardError:
    """Opens a checkpoint, whether or not it has the quorum of witnesses."""
    try:
        opened = replace(policy, quorum=None).open_checkpoint(note)
    except OnwardError as error:
        return error
    return Tree(opened.checkpoint, by_witnesses(opened, policy))


def _proven_roots(
    proofs: Sequence[ConsistencyProof], newest: Checkpoint, problems: list[Problem]
) -> dict[int, bytes]:
    """Returns the root of each size that is proven, and notes which proof fails."""
    roots = {0: EMPTY_ROOT, newest.size: newest.root}
    for place, proof in enumerate(proofs):
        with noting(problems, f"consistency[{place}]"):
            verify_consistency(
                proof.size, newest.size, proof.root, newest.root, proof.path
            )
            roots[proof.size] = proof.root
    return roots


def _vouched(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """Yields each checkpoint that others vouch for, and its place in the bundle."""
    for place, note in enumerate(bundle.vouchers.checkpoints):
        yield f"checkpoints[{place}]", note
    for place, item in enumerate(bundle.vouchers.timestamps):
        yield f"timestamps[{place}]", item.checkpoint


def _same_log(note: str, trees: Trees) -> Checkpoint:
    """Requires that a checkpoint is one of the same log as the newest one."""
    tree = trees.of(note)
    if not trees.holds(tree):
        raise VerificationError(
            Reason.ERROR_REASON_NOTE_UNTRUSTED,
            "it is of another log than the bundle's checkpoint",
        )
    return tree.checkpoint


def _named(entry: Entry, trees: Trees) -> Iterator[Checkpoint]:
    """Yields the trees that a statement and its receipt name, of the same log."""
    seen = entry.statement.message.seen
    if seen.origin and seen.origin == trees.origin:
        yield Checkpoint(seen.origin, seen.size, seen.root)
    try:
        tree = trees.of(entry.receipt.checkpoint_note)
    except OnwardError:
        return  # which step 4 has said
    if trees.holds(tree):
        yield tree.checkpoint


def _check_named(
    older: Checkpoint, newest: Checkpoint, roots: Mapping[int, bytes]
) -> None:
    """Requires that a tree is proven to be a beginning of the newest one."""
    if older.size not in roots:
        raise VerificationError(
            Reason.ERROR_REASON_PROOF_INVALID,
            f"it names the tree of size {older.size}, and the bundle does not prove "
            f"that this is the beginning of its own, of size {newest.size}",
        )
    if older.root != roots[older.size]:
        raise VerificationError(
            Reason.ERROR_REASON_LOG_FORKED,
            f"it names another tree of size {older.size} than the log has: keep both, "
            "the log was forked",
        )
