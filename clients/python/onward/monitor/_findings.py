"""What a monitor can find wrong, and what a round says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from onward.core.checkpoints import Checkpoint


class Condition(Enum):
    """What can be wrong with a log, the worst first."""

    FORK = "FORK"
    """It has signed two histories."""
    SHRUNK = "SHRUNK"
    """It shows a checkpoint that is smaller than one it has shown before."""
    BAD_TILE = "BAD_TILE"
    """It serves other tiles or entries than it has signed, or none."""
    UNTRUSTED = "UNTRUSTED"
    """What it serves is no checkpoint of a log of the trust file."""
    STALE = "STALE"
    """Its checkpoint is too old."""
    UNREACHABLE = "UNREACHABLE"
    """It does not answer."""

    @property
    def is_misbehaviour(self) -> bool:
        """Whether the log has done wrong, or else only could not be checked."""
        return self in {Condition.FORK, Condition.SHRUNK, Condition.BAD_TILE}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        condition: what kind of thing.
        why: the same for people, in a sentence.
        evidence: the folder with what proves it; None where nothing would.
    """

    condition: Condition
    why: str
    evidence: Path | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to.

    Attributes:
        checkpoint: the newest one of which every entry was checked; None before it.
        added: how many entries it has more than at the beginning of the round.
        finding: what is wrong; None if the monitor is content.
        cosignature: the line with which the monitor has cosigned; empty if it has not.
    """

    checkpoint: Checkpoint | None
    added: int
    finding: Finding | None
    cosignature: str = ""
