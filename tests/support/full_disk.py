"""A small disk of an exchange's own, in memory, which a test fills up.

It is mounted where only those see it who are told to: so it needs no rights, and is
gone when the test is.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.process import ExchangeProcess

UNSHARE: Final = ("unshare", "--map-root-user", "--mount")


def why_not() -> str:
    """Returns why no disk can be mounted here; empty if one can."""
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        return "needs unshare and nsenter (util-linux)"
    trial = subprocess.run(
        [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        check=False,
        text=True,
    )
    return trial.stderr and f"needs user namespaces: {trial.stderr.strip()}"


class Disk:
    """The disk that an exchange is on. Made by :func:`small_disk`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self) -> int:
        """Fills it to the last byte; returns how many there were."""
        size = 0
        with (self._folder / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    size += ballast.write(bytes(4096))
            except OSError:
                return size

    def make_room(self) -> None:
        """Empties it of what it was filled with."""
        (self._folder / "ballast").unlink()


@contextmanager
def small_disk(exchange: ExchangeProcess, mebibytes: int) -> Iterator[Disk]:
    """Moves an exchange that does not run to a disk of so many MiB."""
    folder = exchange.config.parent
    script = (
        'cp -a "$1" "$1.copy" && mount -t tmpfs -o size=$2m tmpfs "$1" '
        '&& cp -a "$1.copy/." "$1" && echo mounted && exec sleep infinity'
    )
    words = [*UNSHARE, "sh", "-c", script, "sh", str(folder), str(mebibytes)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mounted\n"
        exchange.within = (
            *(str(shutil.which("nsenter")), "--target", str(holder.pid)),
            *("--user", "--mount", "--preserve-credentials"),
        )
        yield Disk(Path(f"/proc/{holder.pid}/root{folder}"))
        exchange.kill()
        holder.kill()
