"""Shapes of request fields that several services share."""

from __future__ import annotations

from collections.abc import Sized

from onward.core.errors import MalformedError

DIGEST_SIZE = 32


def check_digest(digest: bytes, field: str) -> None:
    """Checks that a field is a SHA-256 digest.

    Raises:
        MalformedError: it has not 32 bytes.
    """
    if len(digest) != DIGEST_SIZE:
        raise MalformedError(
            f"{field} is a SHA-256 digest and has {DIGEST_SIZE} bytes", field=field
        )


def check_items(items: Sized, limit: int) -> None:
    """Checks that a batch has at least one item and not too many.

    Raises:
        MalformedError: it has none, or more than ``limit``.
    """
    if not 1 <= len(items) <= limit:
        raise MalformedError(f"a batch has 1 to {limit} items", field="requests")
