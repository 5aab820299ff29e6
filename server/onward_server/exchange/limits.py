"""What the exchange accepts at most, and how long it waits. Stated to every client."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an exchange; sizes in bytes, times in seconds.

    Attributes:
        inline_content: sealed content inside a publish request.
        content: sealed content that is uploaded.
        batch_items: items of a batch call.
        chunk: bytes of a chunk of an upload or download.
        clock_tolerance: how far a statement's time may be ahead of this clock, or
            before the checkpoint that it has seen.
        lease: how long a delivery is leased to one stream.
        heartbeat: silence on a stream after which a heartbeat comes.
        recheck: how often an open stream asks whether its caller may still be here.
        upload_kept: how long content waits for a referral that names it.
    """

    inline_content: int = MIB
    content: int = 25 * MIB
    batch_items: int = 100
    chunk: int = 256 * 1024
    clock_tolerance: float = 300.0
    lease: float = 60.0
    heartbeat: float = 15.0
    recheck: float = 5.0
    upload_kept: float = 24 * 3600.0
