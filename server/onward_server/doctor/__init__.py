"""The doctor: what is wrong with an exchange's setup, and how to mend it.

It only looks. It may run beside a running exchange, and should run as the same user,
since what that user may read is part of what it looks at. Each check names a remedy for
whatever it finds wrong, and one that cannot be made says so and does not end the rest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from onward.core.errors import MalformedError, OnwardError
from onward_server.config import Config, load
from onward_server.doctor import (
    certificates,
    database,
    files,
    log,
    network,
    web,
    witness,
    witnesses,
)
from onward_server.doctor.findings import Finding, Verdict, fine, problem
from onward_server.exchange.clock import Clock

__all__ = ["Finding", "Verdict", "examine"]

_CHECKS: Final[tuple[Callable[[Config, Clock], Iterator[Finding]], ...]] = (
    files.check_files,
    files.check_disk,
    certificates.check_authority,
    certificates.check_server,
    certificates.check_operator,
    network.check_ports,
    web.check_web,
    witness.check_witness,
    witnesses.check_witnesses,
)

# Of what is looked at anything may be damaged, so also what parsers raise counts.
_UNCHECKABLE: Final = (OnwardError, OSError, ValueError, sqlite3.Error)


async def examine(
    path: Path, environment: Mapping[str, str], clock: Clock
) -> AsyncIterator[Finding]:
    """Yields what is found, in the order in which an exchange needs it.

    Args:
        path: the configuration file.
        environment: the process's environment.
        clock: tells the time.
    """
    try:
        config = load(path, environment)
    except MalformedError as error:
        yield problem("configuration", error.message, "mend the value named here")
        return
    yield fine("configuration", f"{path} is sound, for {config.name}")
    for check in _CHECKS:
        try:
            for finding in check(config, clock):
                yield finding
        except _UNCHECKABLE as error:
            yield _unchecked(check, error)
    for look in (database.check_database, log.check_log):
        try:
            async for finding in look(config, clock):
                yield finding
        except _UNCHECKABLE as error:
            yield _unchecked(look, error)


def _unchecked(check: Callable[..., object], error: Exception) -> Finding:
    """Returns that something is so wrong that it cannot be looked at."""
    subject = check.__name__.removeprefix("check_").replace("_", " ")
    return problem(subject, str(error), "mend this, and look again")
