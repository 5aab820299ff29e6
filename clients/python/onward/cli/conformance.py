"""``onward conformance``: answers the requests on stdin, one JSON object per line."""

from __future__ import annotations

import sys
from typing import BinaryIO

from onward.core.conformance import answer


def run(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers each line as it comes, until there are no more.

    Args:
        requests: UTF-8 lines. Bytes that are not UTF-8 make a request malformed.
        answers: takes one line for each request.
    """
    for line in requests:
        text = line.decode(errors="surrogateescape").rstrip("\n")
        answers.write(answer(text).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    run(sys.stdin.buffer, sys.stdout.buffer)
