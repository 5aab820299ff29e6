"""The digest of a policy set, by which statements name it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def policy_digest(files: Mapping[str, str]) -> bytes:
    """Returns the digest of a whole set, 32 bytes.

    It is SHA-256 over the lines that ``sha256sum`` prints for its files in the order of
    the names' bytes, so that standard tools can check it.

    Args:
        files: the text of each file by its name.
    """
    listing = "".join(
        f"{hashlib.sha256(files[name].encode()).hexdigest()}  {name}\n"
        for name in sorted(files, key=str.encode)
    )
    return hashlib.sha256(listing.encode()).digest()
