"""On what the figures were measured, and whether it had anything else to do."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.postgres import find_program

BUSY: Final = 0.5
"""A load average at the start from which the figures are not to be relied on."""

DISTURBED: Final = 0.05
"""A part of the CPU time taken by others from which they are not, either."""

_DISTRIBUTIONS: Final = (
    *("onward", "grpcio", "protobuf", "cryptography", "cedarpy", "asyncpg"),
    *("nats-py", "aio-pika"),
)
_PROGRAMS: Final = ("postgres", "nats-server")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine and what runs on it.

    Attributes:
        date: when the run began, RFC 3339.
        revision: the commit that was measured; with ``+`` if files differ from it.
        cpu: its name.
        cores: how many there are for us.
        system: the operating system.
        python: the version.
        versions: of the libraries and programs that matter, by name.
        load_at_start: tasks that wanted a CPU in the minute before the run.
    """

    date: str
    revision: str
    cpu: str
    cores: int
    system: str
    python: str
    versions: dict[str, str]
    load_at_start: float

    @classmethod
    def examine(cls, now: datetime) -> Machine:
        """Returns this machine at a time."""
        versions = {name: version(name) for name in _DISTRIBUTIONS}
        return cls(
            date=now.isoformat(timespec="seconds"),
            revision=_revision(),
            cpu=_cpu(),
            cores=len(os.sched_getaffinity(0)),
            system=platform.platform(),
            python=platform.python_version(),
            versions=versions | {"sqlite": sqlite3.sqlite_version} | _programs(),
            load_at_start=round(os.getloadavg()[0], 2),
        )

    @property
    def busy(self) -> bool:
        """Whether something else was running."""
        return self.load_at_start >= BUSY


class Others:
    """How much of the machine's time other programs take from now on."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._taken = _taken_by_others()

    @property
    def part(self) -> float:
        """Their part until now, 0 to 1; children count as ours once they have ended."""
        passed = (time.monotonic() - self._begun) * (os.cpu_count() or 1)
        return max(_taken_by_others() - self._taken, 0.0) / passed


def _taken_by_others() -> float:
    """Returns the seconds of CPU that the machine has used, but not we."""
    line = Path("/proc/stat").read_text("ascii").partition("\n")[0]
    user, nice, system, _idle, _wait, *interrupts = map(int, line.split()[1:8])
    used = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    return used - sum(os.times()[:4])


def _revision() -> str:
    """Returns the commit of this checkout."""
    found = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
        capture_output=True,
        check=False,
        text=True,
        cwd=Path(__file__).parent,
    )
    return found.stdout.strip() or "unknown"


def _programs() -> dict[str, str]:
    """Returns what programs that are installed say of their versions."""
    return {
        name: subprocess.run(
            [path, "--version"], capture_output=True, check=False, text=True
        ).stdout.strip()
        for name in _PROGRAMS
        if (path := find_program(name))
    }


def _cpu() -> str:
    """Returns the CPU's name as Linux has it."""
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
