"""The folder in which an auditor keeps an export, and how it is read again.

* ``checkpoint``: the log's checkpoint, a signed note;
* ``entries``: the log's entries, 32 bytes each, as many as the checkpoint has;
* ``statements.jsonl``: the statements shown, one ``{"index", "chain", "statement"}`` a
  line, in the log's order;
* ``header.json``: the header of the export, with the logged ``AuditAccess``;
* ``policies/<digest>/``: the files of each policy set that was in force;
* ``checkpoints.jsonl``: checkpoints with cosignatures, one ``{"size", "note"}`` a line;
* ``timestamps.jsonl``: checkpoints that an authority stamped, one ``{"checkpoint",
  "token"}`` a line, the token in base64.

The last two may be missing: then nobody but the exchange says when things were logged.

Nothing in it is secret and nothing in it is believed: whoever has it can judge it.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import msgspec

from onward.core.audit.chains import EXCHANGE
from onward.core.audit.policies import MAX_FILES, MAX_SET
from onward.core.errors import MalformedError, TooLargeError
from onward.core.statements import MAX_STATEMENT_SIZE

MAX_LINE: Final = MAX_STATEMENT_SIZE + 4096
MAX_FILE: Final = 64 * 1024 * 1024

Advance: TypeAlias = Callable[[int], None]
"""Is told how much was done since it was told last."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line of ``statements.jsonl``."""

    index: int
    chain: str
    statement: str


class _Place(msgspec.Struct, frozen=True, gc=False):
    """What of a line says where it belongs."""

    index: int
    chain: str


@dataclass(frozen=True, slots=True)
class Folder:
    """The names in the folder."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The log's checkpoint."""
        return self.path / "checkpoint"

    @property
    def entries(self) -> Path:
        """The log's entries."""
        return self.path / "entries"

    @property
    def statements(self) -> Path:
        """The statements shown."""
        return self.path / "statements.jsonl"

    @property
    def header(self) -> Path:
        """The header of the export."""
        return self.path / "header.json"

    @property
    def policies(self) -> Path:
        """The policy sets."""
        return self.path / "policies"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints with cosignatures."""
        return self.path / "checkpoints.jsonl"

    @property
    def timestamps(self) -> Path:
        """The checkpoints that authorities stamped."""
        return self.path / "timestamps.jsonl"

    def read_policies(self) -> Iterator[Mapping[str, bytes]]:
        """Yields the files of each policy set, none much larger than a set may be."""
        folders = self.policies.iterdir() if self.policies.is_dir() else ()
        for folder in sorted(path for path in folders if path.is_dir()):
            files = (path for path in folder.iterdir() if path.is_file())
            shown = (path for path in files if not path.name.startswith("."))
            yield {path.name: _begin(path) for path in islice(shown, MAX_FILES + 1)}


@dataclass(frozen=True, slots=True)
class Contents:
    """Where the statements of each chain stand in ``statements.jsonl``.

    Attributes:
        shown: the index of each statement, in the order of the file.
        chains: by the chain's name, pairs of offset and length in bytes.
    """

    shown: array[int]
    chains: dict[str, array[int]]


def read_contents(file: Path, advance: Advance) -> Contents:
    """Reads through the statements once, and notes where each stands.

    Args:
        file: ``statements.jsonl``.
        advance: is told of bytes.

    Raises:
        MalformedError: a line is not of the form above.
    """
    shown = array("q")
    chains: dict[str, array[int]] = {}
    decode = msgspec.json.Decoder(_Place).decode
    offset = 0
    with file.open("rb") as lines:
        while line := lines.readline(MAX_LINE + 1):
            length = len(line)
            if length > MAX_LINE:
                raise TooLargeError(f"a line of {file.name}", length, MAX_LINE)
            try:
                place = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                raise MalformedError(
                    f"line {len(shown) + 1} of {file.name} is not an index, a chain "
                    "and a statement in JSON"
                ) from None
            if not -1 < place.index < 1 << 62:
                raise MalformedError(f"line {len(shown) + 1} has no log index")
            shown.append(place.index)
            places = chains.get(place.chain)
            if places is None:
                places = chains[place.chain] = array("q")
            places.extend((offset, length))
            offset += length
            advance(length)
    chains.setdefault(EXCHANGE, array("q"))
    return Contents(shown, chains)


def read_lines(file: BinaryIO, places: array[int]) -> list[tuple[int, str]]:
    """Returns the statements of one chain with their indexes, in the log's order.

    Raises:
        MalformedError: a line is not of the form above.
    """
    lines: list[tuple[int, str]] = []
    number = file.fileno()
    for at in range(0, len(places), 2):
        try:
            line = _decode_line(os.pread(number, places[at + 1], places[at]))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise MalformedError("a line has no statement") from None
        lines.append((line.index, line.statement))
    return lines


def _begin(path: Path) -> bytes:
    """Returns a file of a policy set, or so much of it that it is known too large."""
    with path.open("rb") as file:
        return file.read(MAX_SET + 1)


def bounded(path: Path) -> bytes:
    """Returns a file of the folder, unless it is absurdly large.

    Raises:
        TooLargeError: it is.
    """
    size = path.stat().st_size
    if size > MAX_FILE:
        raise TooLargeError(str(path), size, MAX_FILE)
    return path.read_bytes()


_decode_line = msgspec.json.Decoder(Line).decode
