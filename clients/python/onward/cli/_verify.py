"""Verifying bundles, and showing what was found."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onward.cli._names import short_name
from onward.cli._output import print_json, print_line, print_table, progress
from onward.cli.exits import Exit
from onward.core.timing import Interval, Source
from onward.core.verify import ExitCode, Report, verify_bundle

_STDIN = Path("-")
# A bundle that could not be checked is no proof that something is wrong with another.
_BY_WEIGHT = (ExitCode.NOT_PROVEN, ExitCode.NOT_CHECKED, ExitCode.PROVEN)


@dataclass(frozen=True, slots=True)
class Trusted:
    """Files that say whom the user trusts.

    Attributes:
        trust: the trust file.
        authorities: PEM, certificates of timestamp authorities.
    """

    trust: Path
    authorities: Sequence[Path]

    def read(self) -> tuple[str, str]:
        """Returns the text of the trust file, and that of all certificates."""
        trust, *authorities = (
            path.read_text(encoding="utf-8", errors="replace")
            for path in (self.trust, *self.authorities)
        )
        return trust, "\n".join(authorities)


def verify_files(
    bundles: Sequence[Path], trusted: Trusted, *, chain: bool, as_json: bool
) -> Exit:
    """Verifies each bundle, prints its report, and returns what to end with.

    Args:
        bundles: files; ``-`` is standard input.
        trusted: whom the user trusts.
        chain: whether people see the statements too.
        as_json: print one JSON object for each bundle, on a line of its own.
    """
    trust, authorities = trusted.read()
    codes: list[ExitCode] = []
    with progress("verifying", len(bundles)) as advance:
        for path in bundles:
            data = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
            report = verify_bundle(data, trust, authorities)
            codes.append(report.exit_code)
            if as_json:
                print_json({"bundle": str(path), **report.to_dict()})
            else:
                show_report(path, report, chain=chain or report.exit_code != 0)
            advance(1)
    return Exit(next(code for code in _BY_WEIGHT if code in codes))


def show_report(path: Path, report: Report, *, chain: bool) -> None:
    """Prints a report for people."""
    print_table(
        ("step", "", "subject", "verdict", "why"),
        [
            (step.number, step.name, step.subject, step.verdict, step.why)
            for step in report.steps
        ],
        title=str(path),
    )
    if chain and report.statements:
        print_table(
            (
                *("log entry", "statement", "by", "claimed"),
                *("not before", "not after", "who says so"),
            ),
            _times(report),
        )
    for delivery in report.deliveries:
        ended = f"{short_name(delivery.recipient)}: {delivery.state}"
        print_line("; ".join([ended, *map(str, delivery.deadlines)]))
    print_line(f"{report.verdict}: {path}")


def _times(report: Report) -> Iterator[tuple[object, ...]]:
    for statement in report.statements:
        times = statement.interval.to_dict()
        bounds = (times["claimed"], times["not_before"], times["not_after"])
        by = short_name(statement.issuer)
        voucher = _voucher(statement.interval)
        yield (statement.log_index, statement.kind, by, *bounds, voucher)


def _voucher(interval: Interval) -> str:
    """Returns who gives the upper bound, for people."""
    claimed = interval.source is Source.CLAIMS
    by = short_name(interval.by) if claimed else interval.by
    return f"{by}, {interval.source}" if by else ""
