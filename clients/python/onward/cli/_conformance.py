"""The conformance executable: a request on each line, an answer on each line."""

from __future__ import annotations

import sys

from onward.core.conformance import answer


def serve() -> None:
    """Answers line by line until the input ends."""
    for line in sys.stdin.buffer:
        sys.stdout.write(answer(line.decode(errors="surrogateescape")) + "\n")
        sys.stdout.flush()
