"""The doctor of a member: what is wrong with its set-up, and how to mend it.

It only looks, first at the home, then at the way to the exchange, and last at what the
exchange says. A check that cannot be made says so, and does not end the rest; but there
is no use in calling over a way that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from onward._clock import Clock, system_clock
from onward.cli._doctor_exchange import check_exchange
from onward.cli._doctor_home import (
    check_certificate,
    check_clock,
    check_evidence,
    check_permissions,
    check_queue,
    check_settings,
    check_trust,
)
from onward.cli._doctor_network import check_way
from onward.cli._findings import Finding, Verdict, problem
from onward.cli._output import print_json, print_table
from onward.cli.exits import Exit
from onward.core.errors import OnwardError
from onward.home import Home

_Check = Callable[[Home, Clock], Iterator[Finding]]

_HOME: Final[tuple[_Check, ...]] = (
    check_settings,
    check_permissions,
    check_certificate,
    check_trust,
    check_evidence,
    check_queue,
    check_clock,
)
_EXCHANGE: Final[tuple[_Check, ...]] = (check_way, check_exchange)

# Of what is looked at anything may be damaged, so also what parsers raise counts.
_UNCHECKABLE: Final = (OnwardError, OSError, ValueError)


def examine(path: Path, *, as_json: bool, clock: Clock = system_clock) -> Exit:
    """Prints what is found; returns what to end with.

    Args:
        path: the home.
        as_json: print one JSON object.
        clock: tells the time, in UTC.
    """
    findings = list(_findings(Home(path.expanduser()), clock))
    wrong = any(finding.verdict is Verdict.PROBLEM for finding in findings)
    if as_json:
        found = [asdict(finding) for finding in findings]
        print_json({"problems": wrong, "findings": found})
    else:
        columns = ("subject", "", "what was found", "what to do")
        print_table(columns, (tuple(asdict(item).values()) for item in findings))
    return Exit.REFUSED if wrong else Exit.OK


def _findings(home: Home, clock: Clock) -> Iterator[Finding]:
    if not home.is_enrolled:
        yield problem(
            "home",
            f"no member has enrolled in {home.path}",
            "run 'onward enroll TOKEN', or name the home with --home or ONWARD_HOME",
        )
        return
    for check in _HOME:
        yield from _made(check, home, clock)
    for check in _EXCHANGE:
        found = list(_made(check, home, clock))
        yield from found
        if any(finding.verdict is Verdict.PROBLEM for finding in found):
            return


def _made(check: _Check, home: Home, clock: Clock) -> Iterator[Finding]:
    """Makes a check, as far as it can be made."""
    try:
        yield from check(home, clock)
    except _UNCHECKABLE as error:
        subject = check.__name__.removeprefix("check_")
        yield problem(subject, str(error), "mend this, and look again")
