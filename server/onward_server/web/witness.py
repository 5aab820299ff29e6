"""The witness over HTTP (C2SP tlog-witness): one path, and the statuses of its answers.

Whoever can reach it may ask. What protects it is the signature of a known log, and that
few requests are worked on at once.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onward.core.errors import Reason, VerificationError
from onward.core.witness import SIZE_TYPE, Verdict
from onward_server.witnessing.witness import Answer, Witness

_AT_ONCE: Final = 4
"""Requests that are verified at once; the others wait for their turn."""

_TEXT: Final = "text/plain; charset=utf-8"


def witness_routes(witness: Witness) -> list[Route]:
    """Returns the routes of a witness, below its URL."""
    turns = asyncio.Semaphore(_AT_ONCE)
    add = partial(_add_checkpoint, witness, turns)
    return [Route("/add-checkpoint", add, methods=["POST"])]


async def _add_checkpoint(
    witness: Witness, turns: asyncio.Semaphore, request: Request
) -> Response:
    """Answers a log's request; what is refused before it is judged is an error."""
    body = await request.body()
    try:
        async with turns:
            answer = await asyncio.to_thread(witness.add_checkpoint, body)
    except VerificationError as error:
        if error.reason != Reason.ERROR_REASON_PROOF_INVALID:
            raise
        raise HTTPException(422, error.message) from None
    return _response(answer)


def _response(answer: Answer) -> Response:
    """Returns an answer as the protocol has it."""
    status, kind, text = {
        Verdict.CONSISTENT: (200, _TEXT, answer.lines),
        Verdict.STALE: (409, SIZE_TYPE, f"{answer.size}\n"),
        Verdict.INCONSISTENT: (
            422,
            _TEXT,
            f"this does not continue what was cosigned, of size {answer.size}\n",
        ),
    }[answer.verdict]
    # Starlette would add a charset to a media type that it is given as one.
    headers = {"Content-Type": kind, "Cache-Control": "no-store"}
    return Response(text, status, headers)
