"""The demonstration: eight tips through a real exchange, and what an auditor proves.

A real exchange runs as a process of its own in a temporary folder; its members enrol
with one-time tokens, as real ones do, and speak to it over mutual TLS. Only its clock
is not real: the tips take 45 days, and the demonstration sets the time. What you see at
the end is checked by ``onward report`` and ``onward verify``, processes of their own,
the latter with the exchange stopped.

Run it with ``make demo``.
"""

import asyncio
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.demo.exchange import (
    AUDITOR,
    FLORIDA_AUDITOR,
    clients,
    enrol_members,
    start,
)
from tools.demo.proving import OUT, prove, report
from tools.demo.showing import said, short, show, step
from tools.demo.story import tell
from tools.demo.timing import Timeline


async def main() -> int:
    """Tells the story; returns the exit code."""
    started = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    with TemporaryDirectory(prefix="onward-demo-") as folder:
        place = Path(folder)
        timeline = Timeline.begin(place / "clock")
        step("An exchange starts, and its members enrol with one-time tokens", timeline)
        exchange = start(place, timeline)
        try:
            await enrol_members(place, timeline)
            async with clients(place, timeline) as member:
                bundles = {}
                for reference, publisher, referral_id in await tell(member, timeline):
                    await show(member[publisher], reference, referral_id)
                    bundles[reference] = await member[publisher].bundle(referral_id)
            said("")
            step("The inspector general and Florida's attorney general ask", timeline)
            reports = [
                report(place / short(AUDITOR), "*", timeline, "report"),
                report(place / short(FLORIDA_AUDITOR), "US-FL", timeline, "report-FL"),
            ]
        finally:
            exchange.stop()
        trust = (place / short(AUDITOR) / "trust.txt").read_text()
    proven = prove(bundles, trust)
    said(f"done in {time.monotonic() - started:.0f} s")
    said("The report, for a committee:")
    said(f"  {OUT / 'report' / 'report.html'}")
    said("verify a custody chain yourself:")
    said("  .venv/bin/onward verify demo-out/NH-0006.json --trust demo-out/trust.txt")
    return 0 if proven and not any(reports) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
