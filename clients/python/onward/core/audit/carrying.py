"""Whether a log that succeeds another one carries on what that one has signed.

A successor's first entry names its predecessor's last checkpoint, and the predecessor's
entries follow it as they are. Whoever has all entries can compare the two: a new log is
no occasion to leave out, put in or replace anything.
"""

from __future__ import annotations

from onward.core.audit.prefixes import tree_root
from onward.core.checkpoints import Checkpoint
from onward.core.errors import Reason, VerificationError
from onward.core.merkle import HASH_SIZE
from onward.core.notes import parse_note
from onward.core.verify.evidence import Entry


def check_carried(change: Entry, entries: bytes) -> None:
    """Requires that a predecessor's entries follow, as its last checkpoint has them.

    Where the successor says that some of them are lost, there is nothing to compare.

    Args:
        change: a ``KeyChange`` whose predecessor, if it names one, was verified.
        entries: the log's entries, 32 bytes each.

    Raises:
        VerificationError: other entries follow (``PROOF_INVALID``).
    """
    body = change.statement.message.key_change
    if not body.HasField("predecessor"):
        return
    last = Checkpoint.parse(parse_note(body.predecessor.checkpoint).text)
    if body.predecessor.carried_size < last.size:
        return
    first = change.index + 1
    carried = entries[first * HASH_SIZE : (first + last.size) * HASH_SIZE]
    if tree_root(carried) != last.root:
        raise VerificationError(
            Reason.ERROR_REASON_PROOF_INVALID,
            f"the {last.size} entries that follow it are not those that the log before "
            "had signed: some were left out, put in or replaced",
        )
