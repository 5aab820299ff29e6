"""What others have kept of the log: a checkpoint, and perhaps its entries.

A mirror is a tree of static files (C2SP tlog-tiles), in a folder or under a URL: what
``onward-server log export`` writes, what ``onward monitor`` keeps, what the exchange
itself shows over HTTP. Nothing of it is believed before it was compared with what the
log's key has signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import httpx

from onward.core.checkpoints import Checkpoint
from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    UnavailableError,
    VerificationError,
)
from onward.core.merkle import HASH_SIZE, leaf_hash
from onward.core.notes import Vkey, open_note
from onward.core.tiles import TILE_WIDTH, TilePath, parse_entries
from onward.core.tree import Tree
from onward_server.storage.contract import Store

_SECONDS: Final = 30.0
_MAX_FILE: Final = 64 * 1024
_STEP: Final = 4 * TILE_WIDTH


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror of a log.

    Attributes:
        place: a folder, or a URL.
        checkpoint: its newest, which the log's key has signed.
    """

    place: str
    checkpoint: Checkpoint

    @classmethod
    def open(cls, place: str, vkey: Vkey) -> Self:
        """Reads a mirror's checkpoint.

        Raises:
            MalformedError: there is none, or none that the log's key has signed.
            UnavailableError: the mirror cannot be reached.
        """
        note = _read(place, "checkpoint").decode("utf-8", "replace")
        return cls(place, open_checkpoint(note, vkey, place))

    async def check(self, store: Store, size: int) -> list[bytes]:
        """Compares the mirror with a database, and reads what this one lacks.

        The database's first ``size`` entries, and after them the mirror's, must have
        the root that was signed.

        Returns:
            The entries that come after ``size``, each a statement's digest.

        Raises:
            VerificationError: they have not: one of the two is of another log, or was
                altered.
            MalformedError: the mirror lacks a file, or has one that cannot be read.
            UnavailableError: one of the two cannot be reached.
        """
        end = self.checkpoint.size
        tree, lacking = Tree(), list[bytes]()
        for first in range(0, min(size, end), _STEP):
            page = await store.digests(first, min(_STEP, min(size, end) - first))
            tree = tree.extend([leaf_hash(digest) for digest in page])
        for page in self._entries(size):
            tree = tree.extend([leaf_hash(digest) for digest in page])
            lacking += page
        if tree.root != self.checkpoint.root:
            raise VerificationError(
                Reason.ERROR_REASON_PROOF_INVALID,
                f"the database and {self.place} together do not have the root that was "
                f"signed at size {end}: one of them is of another log, or was altered",
            )
        return lacking

    def _entries(self, first: int) -> Iterator[list[bytes]]:
        """Yields the mirror's entries from an index on."""
        end = self.checkpoint.size
        for index in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
            start = index * TILE_WIDTH
            width = min(TILE_WIDTH, end - start)
            path = TilePath((0, index), width, entries=True).format()
            entries = parse_entries(_read(self.place, path))
            if len(entries) != width or any(len(x) != HASH_SIZE for x in entries):
                raise MalformedError(f"{self.place}: {path} has not {width} digests")
            yield entries[max(first - start, 0) :]


def open_checkpoint(note: str, vkey: Vkey, place: str) -> Checkpoint:
    """Opens a checkpoint that somebody has kept.

    Raises:
        MalformedError: it is no checkpoint that the log's key has signed.
    """
    try:
        return Checkpoint.parse(open_note(note, [vkey]).text)
    except OnwardError as error:
        raise MalformedError(f"the checkpoint of {place}: {error.message}") from None


def _read(place: str, path: str) -> bytes:
    """Reads one file of a mirror."""
    if place.startswith(("http://", "https://")):
        return _fetch(f"{place.rstrip('/')}/{path}")
    try:
        return (Path(place) / path).read_bytes()
    except OSError as error:
        raise MalformedError(
            f"{Path(place) / path} cannot be read: {error.strerror}"
        ) from None


def _fetch(url: str) -> bytes:
    """Fetches one file as it is, and no more of it than a file can have."""
    # What comes is not to grow on arrival, past the bound.
    headers = {"Accept-Encoding": "identity"}
    content = b""
    try:
        with httpx.stream("GET", url, headers=headers, timeout=_SECONDS) as answer:
            if answer.status_code != httpx.codes.OK:
                raise MalformedError(f"{url} answers {answer.status_code}")
            for part in answer.iter_raw():
                content += part
                if len(content) > _MAX_FILE:
                    raise MalformedError(f"{url} has more bytes than a tile can have")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(
            Reason.ERROR_REASON_STORAGE_UNAVAILABLE, f"{url} cannot be read: {error}"
        ) from None
    return content
