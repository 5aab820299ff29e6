"""The log as tiles (C2SP tlog-tiles): a finite set of files that never change.

All of it is public: the log's entries are digests, which say nothing. So there is no
caller here, any cache may keep the answers, and any web page may read them.
"""

from __future__ import annotations

import asyncio
import gzip
from functools import partial
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onward.core.errors import MalformedError
from onward.core.tiles import TilePath
from onward_server.exchange.log_reader import LogReader

_FOR_ALL: Final = {
    "Access-Control-Allow-Origin": "*",
    "X-Content-Type-Options": "nosniff",
}
_CHANGES: Final = {**_FOR_ALL, "Cache-Control": "public, max-age=1"}
_NEVER_CHANGES: Final = {
    **_FOR_ALL,
    "Cache-Control": "public, max-age=31536000, immutable",
}
_VARIES: Final = {**_NEVER_CHANGES, "Vary": "Accept-Encoding"}


def tile_routes(log: LogReader) -> list[Route]:
    """Returns the routes of a log, below its URL."""
    return [
        Route("/checkpoint", partial(_checkpoint, log)),
        Route("/tile/{rest:path}", partial(_tile, log)),
    ]


async def _checkpoint(log: LogReader, request: Request) -> Response:
    """Answers the newest checkpoint."""
    del request
    return Response(
        log.published(), headers=_CHANGES, media_type="text/plain; charset=utf-8"
    )


async def _tile(log: LogReader, request: Request) -> Response:
    """Answers a hash tile or an entry bundle."""
    path = _parse(request)
    data = await log.tile(path)
    headers = dict(_VARIES if path.entries else _NEVER_CHANGES)
    if path.entries and _takes_gzip(request.headers.get("accept-encoding", "")):
        data = await asyncio.to_thread(gzip.compress, data, 6, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(data, headers=headers, media_type="application/octet-stream")


def _parse(request: Request) -> TilePath:
    """Returns what the path names, in its one spelling: escaped it is another path."""
    if request.scope["raw_path"] != request.scope["path"].encode():
        raise HTTPException(404)
    try:
        return TilePath.parse(f"tile/{request.path_params['rest']}")
    except MalformedError:
        raise HTTPException(404) from None


def _takes_gzip(accepted: str) -> bool:
    """Whether an ``Accept-Encoding`` asks for gzip (RFC 9110 12.5.3)."""
    for item in accepted.lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            quality = weight.replace(" ", "").removeprefix("q=")
            return not weight or quality.strip("0.") != ""
    return False
