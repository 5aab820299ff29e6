"""The error for storage that cannot be used at present, whatever the backend."""

from __future__ import annotations

from onward.core.errors import Reason, UnavailableError

_RETRY_SECONDS = 5.0


def unavailable(message: str) -> UnavailableError:
    """Returns the error for storage that cannot be used at present."""
    return UnavailableError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE, message, retry_after=_RETRY_SECONDS
    )
