"""The files of an export that say who had seen the log by when.

They can be large, and little of them is ever needed twice: they stay where they are.
"""

from __future__ import annotations

import json
from array import array
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TextIO, TypeVar

import msgspec

from onward._evidence import Folder
from onward.core.audit.sightings import Listed, Vouchers
from onward.core.errors import MalformedError, TooLargeError
from onward.core.timestamps import Authorities
from onward.v1 import log_pb2

MAX_LINE: Final = 256 * 1024

_Item_co = TypeVar("_Item_co", covariant=True)


class _Checkpoint(msgspec.Struct, frozen=True, gc=False):
    """A line of ``checkpoints.jsonl``."""

    size: int
    note: str


class _Timestamp(msgspec.Struct, frozen=True, gc=False):
    """A line of ``timestamps.jsonl``."""

    checkpoint: str
    token: bytes


def read_vouchers(folder: Path, authorities: Authorities) -> Vouchers:
    """Returns what an export has of those who had seen the log; none where none is.

    Args:
        folder: the export. Its files are read again when a voucher is asked for.
        authorities: the timestamp authorities that are trusted.

    Raises:
        TooLargeError: a line is absurdly long.
    """
    names = Folder(folder)
    checkpoint = msgspec.json.Decoder(_Checkpoint).decode
    timestamp = msgspec.json.Decoder(_Timestamp).decode

    def stamped(line: bytes) -> tuple[str, bytes]:
        found = timestamp(line)
        return found.checkpoint, found.token

    return Vouchers(
        _Lines(names.checkpoints, lambda line: checkpoint(line).note),
        _Lines(names.timestamps, stamped),
        authorities,
    )


def write_voucher(
    checkpoints: TextIO, timestamps: TextIO, size: int, item: log_pb2.VouchedCheckpoint
) -> None:
    """Writes a checkpoint and its tokens as an auditor keeps them.

    Args:
        checkpoints: ``checkpoints.jsonl``.
        timestamps: ``timestamps.jsonl``.
        size: the checkpoint's.
        item: as the exchange sent it.
    """
    _write(checkpoints, {"size": size, "note": item.checkpoint})
    for token in item.timestamps:
        encoded = b64encode(token).decode()
        _write(timestamps, {"checkpoint": item.checkpoint, "token": encoded})


class _Lines(Listed[_Item_co]):
    """The lines of a file, each read when it is asked for.

    Args:
        file: one JSON value a line; missing, it has none.
        decode: reads a line.
    """

    def __init__(self, file: Path, decode: Callable[[bytes], _Item_co]) -> None:
        self._file = file
        self._decode = decode
        self._begins = array("q")
        offset = 0
        for line in self._raw():
            self._begins.append(offset)
            offset += len(line)

    def __iter__(self) -> Iterator[_Item_co]:
        return (self._value(at, line) for at, line in enumerate(self._raw()))

    def __getitem__(self, at: int, /) -> _Item_co:
        with self._file.open("rb") as file:
            file.seek(self._begins[at])
            return self._value(at, file.readline(MAX_LINE))

    def _raw(self) -> Iterator[bytes]:
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            while line := file.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    what = f"a line of {self._file.name}"
                    raise TooLargeError(what, len(line), MAX_LINE)
                yield line

    def _value(self, at: int, line: bytes) -> _Item_co:
        try:
            return self._decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise MalformedError(
                f"line {at + 1} of {self._file.name} is not of the form that it has"
            ) from None


def _write(file: TextIO, line: dict[str, object]) -> None:
    file.write(json.dumps(line, separators=(",", ":")) + "\n")
