"""``python -m tools.failures``: try all failures, and write what was seen.

It runs the tests that are scenarios (``tests/support/scenarios.py``), each with real
processes, and writes one page for people and the same as JSON. What it is told beyond
its own options goes to pytest, such as ``-k network``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill
from typing import Final
from xml.etree import ElementTree as ET

from bench.machine import Machine

ROOT: Final = Path(__file__).resolve().parents[1]
OUT: Final = ROOT / "failures-out"
WHERE: Final = ("tests/failures", "tests/e2e", "tests/exchange/test_faults.py")

INTRODUCTION: Final = """\
# Failures, and what was seen

What happens when something fails: each scenario breaks one thing under an exchange at
work, as it is installed, and then holds what members were told against the log. For
each: what was promised, what was done, and what was seen in the run that wrote this
page. `make failures` writes one for the machine that it runs on.

At the end of a scenario, unless it says otherwise:

- `onward-server log verify` recomputed the whole log and found it sound;
- every receipt that was handed out, of publishers and of recipients, leads to a
  beginning of the final log, and to its own statement there;
- each referral that was acknowledged is in the log once, with one acceptance;
- each of them was given to its recipient, whose `Received` is logged.

[What is promised](what-is-promised.md) says how far each promise goes, and which other
tests try to break it.
"""

NOT_TRIED: Final = """\
## What is not tried

- Power that fails under a machine, and disks that lie about what they have written. The
  tests end processes by SIGKILL, after which the operating system still writes.
- Hours: the network is cut for a second and not for a day, and the clock is set rather
  than waited for.
- More than one machine. Processes, proxies and members share one, and so wait for each
  other; how long something took says little about other machines.
"""

_WIDTH: Final = 92

_MARKS: Final = {
    "": "held",
    "failure": "BROKEN",
    "error": "BROKEN",
    "skipped": "skipped",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What came of a scenario.

    Attributes:
        test: the test that it is.
        title: what fails.
        promised: what was said to hold.
        done: how the test tried to break it.
        seen: what it found.
        verdict: ``held``, ``BROKEN`` or ``skipped``.
        why: why it was broken or skipped, in a line.
        seconds: how long it took.
    """

    test: str
    title: str
    promised: Sequence[str]
    done: str
    seen: Mapping[str, float | str]
    verdict: str
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found, and on what machine."""

    machine: Machine
    scenarios: Sequence[Scenario]

    def page(self) -> str:
        """Returns it for people."""
        parts = [INTRODUCTION, self._run(), self._summary()]
        parts += map(_section, self.scenarios)
        return "\n".join([*parts, NOT_TRIED])

    def json(self) -> str:
        """Returns it for machines."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def _run(self) -> str:
        machine = self.machine
        versions = ", ".join(f"{n} {v}" for n, v in machine.versions.items())
        text = (
            f"This run: {machine.date}, revision {machine.revision}, {machine.cores} "
            f"cores of {machine.cpu}, {machine.system}, Python {machine.python}, "
            f"{versions}; load at the start {machine.load_at_start}."
        )
        if machine.busy:
            text += " The machine had other work to do, so all took longer."
        return f"{fill(text, _WIDTH)}\n"

    def _summary(self) -> str:
        rows = (
            (f"[{one.title}](#{_anchor(one.title)})", one.verdict, f"{one.seconds:.0f}")
            for one in self.scenarios
        )
        return _table(("scenario", "promises", "seconds"), rows)


def main() -> int:
    """Runs the scenarios, and writes both files; returns pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=OUT / "failures.md")
    parser.add_argument("--json", type=Path, default=OUT / "failures.json")
    options, others = parser.parse_known_args()
    machine = Machine.examine(datetime.now(UTC))
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        words = ["-m", "scenario", f"--junitxml={results}", *WHERE, *others]
        code = subprocess.run(
            [sys.executable, "-m", "pytest", *words], check=False, cwd=ROOT
        ).returncode
        report = Report(machine, list(scenarios(results)))
    for path, text in ((options.page, report.page()), (options.json, report.json())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(f"{path} has {len(report.scenarios)} scenarios")
    return code


def scenarios(results: Path) -> Iterator[Scenario]:
    """Yields the scenarios among pytest's results."""
    for case in ET.parse(results).iter("testcase"):  # noqa: S314 - our own
        properties = {
            one.attrib["name"]: json.loads(one.attrib["value"])
            for one in case.iter("property")
        }
        if "scenario" not in properties:
            continue
        problem = next((one for one in case if one.tag in _MARKS), None)
        yield Scenario(
            test=f"{case.attrib['classname'].replace('.', '/')}.py",
            **properties["scenario"],
            seen=properties.get("seen", {}),
            verdict=_MARKS[problem.tag if problem is not None else ""],
            why="" if problem is None else problem.attrib["message"].split("\n")[0],
            seconds=float(case.attrib["time"]),
        )


def _section(one: Scenario) -> str:
    """Returns what the page says of a scenario."""
    promised = "\n".join(
        fill(f"- {text}", _WIDTH, subsequent_indent="  ") for text in one.promised
    )
    done = fill(f"**Done.** {one.done}", _WIDTH)
    why = f": {one.why}" if one.why else ""
    seen = _table(
        ("seen", ""), ((name, _said(value)) for name, value in one.seen.items())
    )
    return (
        f"## {one.title}\n\n**Promised.**\n\n{promised}\n\n{done}\n\n"
        f"**{one.verdict.capitalize()}**{why} (`{one.test}`, {one.seconds:.0f} s).\n\n"
        f"{seen if one.seen else ''}"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in cells)


def _said(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _anchor(title: str) -> str:
    """Returns a heading's fragment, as Git hosts derive it."""
    kept = (sign for sign in title.lower() if sign.isalnum() or sign in " -_")
    return "".join(kept).replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())
