"""Server processes, and what they use of the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent

_SECONDS_TO_START = 30.0
_SECONDS_TO_STOP = 30.0
_PROC = Path("/proc")
# Fields of /proc/<pid>/stat after the name, which may hold spaces (proc(5)).
_USER_TICKS, _SYSTEM_TICKS, _RESIDENT_PAGES = 11, 12, 21


@dataclass(frozen=True, slots=True)
class Server:
    """A server process on this machine.

    Attributes:
        process: the process.
        address: where it listens, ``host:port``.
    """

    process: subprocess.Popen[bytes]
    address: str

    @property
    def cpu_seconds(self) -> float:
        """Seconds of all its threads on a CPU until now; resolution 10 ms."""
        return cpu_seconds(self.process.pid)

    @property
    def resident_bytes(self) -> int:
        """Bytes of memory that it holds."""
        pages = _stat(self.process.pid)[_RESIDENT_PAGES]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(
    command: Sequence[str | Path],
    address: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Runs a server, and stops it when the block ends.

    Args:
        command: the program and its arguments.
        address: where it will listen, ``127.0.0.1:port``.
        log: takes its output, and is shown when it does not start.
        environment: variables beside those of this process.

    Raises:
        RuntimeError: it ended, or does not listen after half a minute.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | dict(environment or {}),
        )
    try:
        _wait_until_listening(process, address, log)
        yield Server(process, address)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process, if it has not ended by itself."""
    process.terminate()
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_address() -> str:
    """Returns an address of this machine on which nobody listens at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def cpu_seconds(pid: int) -> float:
    """Returns the seconds that a process was on a CPU."""
    fields = _stat(pid)
    ticks = int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
    return ticks / os.sysconf("SC_CLK_TCK")


def thread_seconds(pid: int) -> dict[int, tuple[str, float]]:
    """Returns the name of each thread of a process, and its seconds on a CPU, by id.

    The thread that the process began with has the id of the process.
    """
    return {
        int(thread.name): (
            (thread / "comm").read_text().strip(),
            int((thread / "schedstat").read_text().split()[0]) / 1e9,
        )
        for thread in (_PROC / str(pid) / "task").iterdir()
    }


def _stat(pid: int) -> list[str]:
    """Returns what Linux says of a process, from its state on."""
    text = (_PROC / str(pid) / "stat").read_text("ascii", "replace")
    return text.rpartition(")")[2].split()


def _wait_until_listening(
    process: subprocess.Popen[bytes], address: str, log: Path
) -> None:
    """Returns when somebody listens on an address."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.02)
    said = log.read_text("utf-8", "replace")[-2000:]
    message = f"{process.args!r} does not listen on {address}:\n{said}"
    raise RuntimeError(message)
