"""What people are told when a command fails: one line, and an exit code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from onward.cli._output import say
from onward.cli.exits import Exit
from onward.core.errors import (
    MalformedError,
    OnwardError,
    QuotaError,
    Reason,
    UnavailableError,
)

EXITS: Final[Mapping[type[OnwardError], Exit]] = MappingProxyType(
    {
        MalformedError: Exit.USAGE,
        QuotaError: Exit.UNAVAILABLE,
        UnavailableError: Exit.UNAVAILABLE,
        OnwardError: Exit.REFUSED,
    }
)
"""By class of error; one that is not listed has its parent's."""


def explain(error: Exception) -> Exit:
    """Tells what failed, in one line, and returns what to end with."""
    match error:
        case ExceptionGroup():
            return explain(error.exceptions[0])
        case OnwardError():
            say(f"onward: {told(error)}")
            return exit_of(error)
        case OSError() if error.filename is not None:
            say(f"onward: {error.filename}: {error.strerror}")
            return Exit.USAGE
        case _:
            say(
                f"onward: it failed with {type(error).__name__}, which is a defect; "
                "'onward --debug' with the same command shows where"
            )
            return Exit.DEFECT


def told(error: OnwardError) -> str:
    """Returns what an error says, with its reason; of a defect, what finds it."""
    reason = f" [{error.reason_name}]" if error.reason else ""
    if error.reason == Reason.ERROR_REASON_INTERNAL:
        reason += f" (correlation id {error.metadata.get('correlation_id', 'unknown')})"
    return error.message + reason


def exit_of(error: OnwardError) -> Exit:
    """Returns what a command ends with that failed so."""
    return next(EXITS[cls] for cls in type(error).__mro__ if cls in EXITS)
