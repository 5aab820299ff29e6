"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad a finding is."""

    FINE = "fine"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at.
        verdict: how bad it is.
        detail: what was found.
        remedy: what to do about it; empty when it is fine.
    """

    subject: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def fine(subject: str, detail: str) -> Finding:
    """Returns that something is as it should be."""
    return Finding(subject, Verdict.FINE, detail)


def warning(subject: str, detail: str, remedy: str) -> Finding:
    """Returns that something will be wrong, or may be."""
    return Finding(subject, Verdict.WARNING, detail, remedy)


def problem(subject: str, detail: str, remedy: str) -> Finding:
    """Returns that something is wrong."""
    return Finding(subject, Verdict.PROBLEM, detail, remedy)
