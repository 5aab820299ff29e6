"""Writes the vectors: ``python -m tests.conformance.generate`` (``--check`` compares).

Everything but the sealed content of ``open`` and the tokens of timestamp authorities is
a function of this code, so a change of a vector is a change that can be reviewed. What
each vector must be answered with is stated by hand in ``cases``, never taken from an
implementation.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.case import VECTORS, Case
from tests.conformance.cases import (
    bodies,
    bundles_alarms,
    bundles_chain,
    bundles_hold,
    bundles_log,
    bundles_vouched,
    merkle,
    notes,
    requests,
    sealing,
    statements,
    timestamps,
)

_MODULES = (
    merkle,
    notes,
    statements,
    bodies,
    sealing,
    bundles_hold,
    bundles_log,
    bundles_chain,
    bundles_alarms,
    bundles_vouched,
    timestamps,
    requests,
)


def all_cases() -> Iterator[Case]:
    """Yields all vectors."""
    for module in _MODULES:
        yield from module.cases()


def differences() -> list[str]:
    """Returns the files that are not as they would be generated."""
    wanted = _wanted()
    present = {path for path in VECTORS.rglob("*") if path.is_file()}
    changed = {
        path for path in wanted if path in present and path.read_text() != wanted[path]
    }
    wrong = changed | (wanted.keys() ^ present)
    return sorted(str(path.relative_to(VECTORS)) for path in wrong)


def write() -> None:
    """Writes all vectors, and removes what is none of them."""
    wanted = _wanted()
    shutil.rmtree(VECTORS, ignore_errors=True)
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _wanted() -> dict[Path, str]:
    cases = list(all_cases())
    assert len({case.folder for case in cases}) == len(cases), "a name stands twice"
    return {
        case.folder / name: text
        for case in cases
        for name, text in case.files().items()
    }


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(differences()))
    write()
