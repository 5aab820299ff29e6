"""Evidence that the log is said to have forked, kept on disk for a person to look at.

One JSON object a line. What is in the file stays; it is only ever added to.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Final

import structlog

from onward_server.exchange.asking import Accusation
from onward_server.exchange.clock import Clock, to_datetime

MAX_BYTES: Final = 16 * 1024 * 1024
"""Size at which the file takes no more: by then it says enough."""

_MAX_ANSWER: Final = 4096

_log = structlog.get_logger(__name__)


class Accusations:
    """Keeps what witnesses say against this log.

    Args:
        path: the file; its folder is made when it is needed.
        clock: tells when.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._known: set[tuple[str, int, int]] = set()

    async def keep(self, accusation: Accusation) -> None:
        """Keeps an accusation, once for each witness and checkpoint, and alarms."""
        key = (accusation.witness, accusation.size, accusation.reply.status)
        if key in self._known:
            return
        self._known.add(key)
        _log.error(
            "witnesses.accused",
            witness=accusation.witness,
            size=accusation.size,
            status=accusation.reply.status,
            evidence=str(self._path),
        )
        try:
            await asyncio.to_thread(self._append, self._line(accusation))
        except OSError:
            self._known.discard(key)
            _log.exception("witnesses.evidence_not_kept", evidence=str(self._path))

    async def count(self) -> int:
        """Returns how many are kept."""
        return await asyncio.to_thread(count_accusations, self._path)

    def _line(self, accusation: Accusation) -> bytes:
        reply = accusation.reply
        line = {
            "time": to_datetime(self._clock.now_ms()).isoformat(),
            "witness": accusation.witness,
            "url": accusation.url,
            "size": accusation.size,
            "request": accusation.request.decode(),
            "status": reply.status,
            "content_type": reply.content_type,
            "answer": reply.body[:_MAX_ANSWER].decode(errors="replace"),
        }
        return json.dumps(line).encode() + b"\n"

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if os.fstat(descriptor).st_size < MAX_BYTES:
                os.write(descriptor, line)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def count_accusations(path: Path) -> int:
    """Returns how many accusations a file holds; none where there is no file."""
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
