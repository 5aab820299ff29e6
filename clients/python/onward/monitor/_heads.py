"""Checkpoints as a monitor sees them: opened with the trust file, and how recent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from onward.core.checkpoints import Checkpoint
from onward.core.errors import ForkError, MalformedError
from onward.core.notes import open_note
from onward.core.tlog_policy import Policy


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint that a trusted log has signed.

    Attributes:
        note: as it was served.
        checkpoint: what it says.
        times: when each witness of the trust file cosigned it last, in POSIX seconds by
            its name there. They need not make the quorum.
    """

    note: str
    checkpoint: Checkpoint
    times: Mapping[str, int]

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.checkpoint.size

    def fork(self, other: Head) -> ForkError:
        """Returns the error that this one, seen first, contradicts another one."""
        return ForkError(
            f"the log {self.checkpoint.origin} has signed a tree of size {self.size} "
            f"and one of size {other.size} that contradict each other",
            self.note,
            other.note,
        )


def open_head(policy: Policy, data: bytes) -> Head:
    """Opens a checkpoint.

    Witnesses are no condition: a monitor follows what the log has signed, and what it
    has signed counts against it.

    Raises:
        MalformedError: it is no checkpoint.
        VerificationError: no log of the trust file has signed it, or a signature of a
            key of the trust file fails.
    """
    try:
        note = data.decode()
    except UnicodeDecodeError:
        raise MalformedError("the checkpoint is not UTF-8") from None
    opened = replace(policy, quorum=None).open_checkpoint(note)
    names = {witness.vkey: witness.name for witness in policy.witnesses}
    keys = [*names, *(log.vkey for log in policy.logs)]
    times: dict[str, int] = {}
    for signature in open_note(note, keys).signatures:
        name = names.get(signature.vkey)
        if name is not None and signature.time is not None:
            times[name] = max(signature.time, times.get(name, 0))
    return Head(note, opened.checkpoint, times)
