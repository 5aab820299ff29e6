"""Judging a downloaded export on all cores.

The statements of a year do not fit in memory, and their signatures take minutes on one
core. So this process reads through the file once, noting where each chain stands; its
workers read whole chains, judge them, and hand back facts of a hundred bytes or so;
this process judges what hangs together, and keeps nothing else.

Nothing of a worker is trusted more than the file: it runs the same code on it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from onward._evidence import Advance, Contents, Folder, bounded, read_contents
from onward._evidence import read_lines as _read_lines
from onward._vouchers import read_vouchers
from onward.core.audit.audit import Audit
from onward.core.audit.chains import EXCHANGE
from onward.core.audit.facts import Reading
from onward.core.audit.prefixes import Prefixes
from onward.core.audit.reading import Lines, Reader
from onward.core.audit.result import Audited
from onward.core.audit.sightings import Vouchers
from onward.core.errors import Reason, UnavailableError
from onward.core.timestamps import Authorities

_BATCH: Final = 512
"""Statements that a worker is given at once."""

_FEW: Final = 2000
"""Statements for which starting workers would take longer than the work."""

_SELDOM: Final = 50_000
"""Objects made in a worker until its collector looks for cycles."""

_Chain: TypeAlias = tuple[str, "array[int]"]


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker needs to begin: the same as this process had.

    Attributes:
        folder: where the evidence is.
        trust: the trust file.
        jurisdiction: the code that the audit is about.
        common: where the statements stand that concern everybody.
        tree: the log's, which takes a while to compute.
    """

    folder: Path
    trust: str
    jurisdiction: str
    common: array[int] = field(default_factory=lambda: array("q"))
    tree: Prefixes | None = None


def audit_folder(
    folder: Path,
    trust: str,
    jurisdiction: str,
    advance: Advance,
    workers: int = 2,
    authorities: str = "",
) -> Audited:
    """Judges an export.

    Args:
        folder: where it was downloaded to.
        trust: the trust file.
        jurisdiction: the code that the audit is about; ``*`` for all of it.
        advance: is told how many bytes were judged; they are as many as
            :func:`evidence_size` says.
        workers: how many processes read chains.
        authorities: PEM, the certificates of trusted timestamp authorities; if empty,
            timestamps bound nothing.

    Raises:
        OnwardError: the evidence, the trust file or these certificates cannot be read
            at all.
        UnavailableError: a process that reads chains was ended from outside.
        OSError: a file is missing.
    """
    vouchers = read_vouchers(folder, Authorities.parse(authorities))
    job = _Job(folder, trust, jurisdiction)
    return _audit(job, vouchers, advance, workers)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keeps the collector from looking through millions of facts again and again.

    They hold no cycles, and all stay until the report is written.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _audit(job: _Job, vouchers: Vouchers, advance: Advance, workers: int) -> Audited:
    """Judges an export."""
    names = Folder(job.folder)
    audit = _open(job)
    audit.add_vouchers(vouchers)
    contents = read_contents(names.statements, lambda _: None)
    for files in names.read_policies():
        audit.add_policy(files)
    common = contents.chains.pop(EXCHANGE)
    with names.statements.open("rb") as file:
        audit.begin(_read_lines(file, common), contents.shown)
    advance(_length(common))
    job = replace(job, common=common, tree=audit.tree)
    for size, readings in _readings(audit.reader(), job, contents, workers):
        for reading in readings:
            audit.add(reading)
        advance(size)
    return audit.conclude()


def evidence_size(folder: Path) -> int:
    """Returns how many bytes of statements an export has."""
    return Folder(folder).statements.stat().st_size


def _readings(
    reader: Reader, job: _Job, contents: Contents, workers: int
) -> Iterator[tuple[int, Sequence[Reading]]]:
    """Yields what was found in all chains, with the bytes that they have."""
    batches = list(_batches(contents.chains))
    sizes = [sum(_length(places) for _, places in batch) for batch in batches]
    if len(contents.shown) <= _FEW or workers < 1:
        with Folder(job.folder).statements.open("rb") as file:
            for size, batch in zip(sizes, batches, strict=True):
                yield size, reader.read(_lines_of(file, batch))
        return
    pool = ProcessPoolExecutor(
        min(workers, os.cpu_count() or 1),
        # A fork would take this process's threads and memory along.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(job,),
    )
    try:
        with pool:
            yield from zip(sizes, pool.map(_read, batches), strict=True)
    except BrokenProcessPool:
        raise UnavailableError(
            Reason.ERROR_REASON_UNSPECIFIED,
            "a process that read the evidence was ended from outside, perhaps since "
            "memory ran out, so nothing was judged; run the same again",
        ) from None


def _batches(chains: dict[str, array[int]]) -> Iterator[list[_Chain]]:
    """Yields the chains in parts of about as many statements."""
    batch: list[_Chain] = []
    count = 0
    for name, places in chains.items():
        batch.append((name, places))
        count += len(places) // 2
        if count >= _BATCH:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _open(job: _Job) -> Audit:
    """Opens the parts of an export that are read whole."""
    folder = Folder(job.folder)
    return Audit(
        job.trust,
        folder.checkpoint.read_text(encoding="utf-8", errors="replace"),
        bounded(folder.header),
        folder.entries.read_bytes(),
        job.jurisdiction,
        job.tree,
    )


def _lines_of(file: BinaryIO, batch: Sequence[_Chain]) -> Iterator[tuple[str, Lines]]:
    """Yields some chains with their statements."""
    for name, places in batch:
        yield name, _read_lines(file, places)


def _length(places: array[int]) -> int:
    return sum(places[1::2])


# --- in a worker


class _Worker:
    """What a worker has while it lives."""

    reader: Reader
    file: Path


def _begin(job: _Job) -> None:
    """Reads the keys, once."""
    gc.set_threshold(_SELDOM)  # nothing is kept here, so there is little to look at
    names = Folder(job.folder)
    audit = _open(job)
    with names.statements.open("rb") as file:
        audit.begin(_read_lines(file, job.common), array("q"))
    _Worker.reader = audit.reader()
    _Worker.file = names.statements


def _read(batch: Sequence[_Chain]) -> list[Reading]:
    """Reads some chains."""
    with _Worker.file.open("rb") as file:
        return _Worker.reader.read(_lines_of(file, batch))
