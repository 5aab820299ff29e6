"""Monitoring a log: following what it shows to strangers, on a machine of one's own.

A monitor comes back again and again. Each *round* goes from what the log signs now to
what it has signed before, and then to every single entry:

1. The checkpoint is fetched and opened with the trust file. It is compared with all
   that was seen before: the same size must have the same root, and the log must not
   shrink.
2. The tiles at the end of the log are fetched, and proven by the signed root. All that
   was seen before must be a beginning of them.
3. Every tile and every bundle of entries that is new is fetched, from the top level
   down. Each is checked by what is above it, and only then written to the *mirror*.
4. When everything is there, the mirror's checkpoint is replaced. Only then is it
   cosigned, if the monitor is to cosign.
5. It is judged whether the checkpoint is recent.

What a round finds wrong is a :class:`Finding`. A fork is for ever: what proves it is
kept, and no round does anything until a person has moved the evidence away. All others
are conditions that can end.

A monitor may be killed at any time. What stands in the mirror was proven when it was
written, and is proven again when a round that was cut off goes on. The checkpoint that
is being copied is kept apart (``monitor/pending``), so that a log cannot take back what
it has shown meanwhile.
"""

from __future__ import annotations

from onward.monitor._findings import Condition, Finding, Round
from onward.monitor._keys import load_cosigner, make_cosigner
from onward.monitor._mirror import Mirror
from onward.monitor._monitor import STALE_AFTER, Monitor, Watch
from onward.monitor._source import HttpSource, Source

__all__ = [
    "STALE_AFTER",
    "Condition",
    "Finding",
    "HttpSource",
    "Mirror",
    "Monitor",
    "Round",
    "Source",
    "Watch",
    "load_cosigner",
    "make_cosigner",
]
