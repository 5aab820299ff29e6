"""What a command takes: seconds, and memory of all its processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Final

_PAUSE: Final = 0.1


class CommandFailedError(Exception):
    """A command that was measured did not end with 0."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a command took.

    Attributes:
        seconds: from its start to its end.
        cpu: seconds of all its processes on a CPU, whatever else the machine did.
        memory: bytes at most, in all its processes; what they share counts once.
    """

    seconds: float
    cpu: float
    memory: int

    @classmethod
    async def by(cls, *command: str) -> Spent:
        """Runs a command to its end.

        Raises:
            CommandFailedError: it ended with another code than 0.
        """
        loop = asyncio.get_running_loop()
        begun, before, most = loop.time(), _cpu_of_children(), 0
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        ending = asyncio.ensure_future(process.communicate())
        while not ending.done():
            most = max(most, sum(map(_proportional, _processes(process.pid))))
            await asyncio.wait([ending], timeout=_PAUSE)
        said, _ = ending.result()
        if process.returncode:
            text = said.decode(errors="replace")
            raise CommandFailedError(f"{process.returncode}: {command}\n{text}")
        return cls(loop.time() - begun, _cpu_of_children() - before, most)


def _cpu_of_children() -> float:
    """Returns the CPU seconds of the processes that were waited for, and of theirs."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _processes(session: int) -> Iterator[Path]:
    """Yields the processes of a session, as Linux shows them."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[3]) == session:
            yield path


def _proportional(path: Path) -> int:
    """Returns a process's memory; of what it shares with others, its part."""
    try:
        lines = (path / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    kilobytes = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return sum(int(number) for number in kilobytes) * 1024
