"""What is proven at the end, with the exchange stopped."""

import json
import subprocess
from pathlib import Path

from tools.demo.exchange import BIN
from tools.demo.showing import said, step
from tools.demo.story import change_one_byte
from tools.demo.timing import Timeline

OUT = Path(__file__).parents[2] / "demo-out"


def report(home: Path, jurisdiction: str, timeline: Timeline, name: str) -> int:
    """Runs ``onward report`` over the whole time; returns its exit code."""
    done = subprocess.run(
        [
            *(BIN / "onward", "report", "--home", home, "-o", OUT / name),
            *("--jurisdiction", jurisdiction),
            *("--from", f"{timeline.first_day:%Y-%m-%d}"),
            *("--to", f"{timeline.now():%Y-%m-%d}"),
            *("--verify-sample", "3", "--seed", "2026"),
        ],
        check=False,
    )
    said(f"exit code {done.returncode}: {OUT / name / 'report.html'}")
    return done.returncode


def prove(bundles: dict[str, bytes], trust: str) -> bool:
    """Verifies the bundles offline, then one with one byte changed."""
    step("The exchange is stopped. The bundles are verified by themselves")
    (OUT / "trust.txt").write_text(trust)
    paths = [OUT / f"{reference}.json" for reference in bundles]
    for path, data in zip(paths, bundles.values(), strict=True):
        path.write_bytes(data)
    proven = verify(*paths)
    said(f"onward verify {' '.join(p.name for p in paths)}: exit code {proven}")
    forged = json.loads(bundles["NH-0001"])
    item = forged["statements"][-1]
    item["statement"] = change_one_byte(item["statement"])
    path = OUT / "NH-0001-one-byte-changed.json"
    path.write_text(json.dumps(forged))
    step("One byte of the last statement is changed")
    refused = verify(path, show_output=True)
    said(f"exit code {refused}")
    return (proven, refused) == (0, 1)


def verify(*bundles: Path, show_output: bool = False) -> int:
    """Runs ``onward verify``; returns its exit code."""
    done = subprocess.run(
        [BIN / "onward", "verify", *bundles, "--trust", OUT / "trust.txt"],
        stdout=None if show_output else subprocess.DEVNULL,
        stderr=None if show_output else subprocess.DEVNULL,
        check=False,
    )
    return done.returncode
