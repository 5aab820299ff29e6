"""``python -m bench.profiled FOLDER serve ...``: ``onward-server`` under a profiler.

Each thread of Python has a profiler of its own, which counts its time on a CPU. The
signal ``SIGUSR1`` makes them forget what was until then, such as the start. At the end
FOLDER has a file of each that did anything, to be read with ``pstats``: ``main.prof``
of the event loop, and ``thread-<n>.prof``.
"""

from __future__ import annotations

import cProfile
import signal
import sys
import threading
import time
from pathlib import Path

from onward_server.cli import main


def run(folder: Path) -> None:
    """Runs the command line in ``sys.argv``, and writes the profiles."""
    profiles: list[cProfile.Profile] = []

    def begin(*_: object) -> None:
        profiles.append(cProfile.Profile(time.thread_time))
        profiles[-1].enable()

    def forget(*_: object) -> None:
        for profile in profiles:
            profile.clear()

    # At its first event a thread replaces this hook by a profiler of its own.
    threading.setprofile(begin)
    signal.signal(signal.SIGUSR1, forget)
    begin()
    try:
        main()
    finally:
        threading.setprofile(None)
        sys.setprofile(None)
        names = ["main", *(f"thread-{number}" for number in range(1, len(profiles)))]
        for name, profile in zip(names, profiles, strict=True):
            if profile.getstats():
                profile.dump_stats(folder / f"{name}.prof")


if __name__ == "__main__":
    run(Path(sys.argv.pop(1)))
