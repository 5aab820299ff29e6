"""Names of parties as people read them."""

from __future__ import annotations


def short_name(name: str) -> str:
    """Returns a party's own name: ``ohio-state-police``, or ``exchange``."""
    return name.rpartition("/")[2]
