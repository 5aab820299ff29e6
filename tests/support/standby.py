"""A PostgreSQL server with a synchronous standby, which can be promoted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import postgres
from tests.support.postgres import ROLE, PostgresServer

_NAME = "standby"
_STREAMING = {
    "wal_retrieve_retry_interval": "100ms",
    # Who is killed leaves no file behind but in its own folder.
    "dynamic_shared_memory_type": "mmap",
}


@dataclass(slots=True)
class Pair:
    """Two servers; no commit of the first one ends before the second one has it.

    Attributes:
        primary: takes connections that write.
        standby: follows it, once :meth:`follow` was called.
    """

    primary: PostgresServer
    standby: PostgresServer = field(init=False)

    def __post_init__(self) -> None:
        folder = Path(f"{self.primary.folder}-standby")
        self.standby = PostgresServer(folder, tcp=True)
        self.standby.settings = {
            **self.primary.settings,
            **_STREAMING,
            "primary_conninfo": f"host=127.0.0.1 port={self.primary.port} "
            f"user={ROLE} application_name={_NAME}",
        }

    def url(self, database: str) -> str:
        """The URL by which whichever is the primary is found."""
        hosts = (f"127.0.0.1:{one.port}" for one in (self.primary, self.standby))
        return f"postgresql://{ROLE}@{','.join(hosts)}/{database}"

    def follow(self) -> None:
        """Makes the standby of a primary that has had no standby yet, and starts both.

        A copy of a server that was stopped is as good as a base backup.
        """
        self.primary.stop()
        subprocess.run(
            ["cp", "-a", self.primary.folder, self.standby.folder], check=True
        )
        (self.standby.data / "standby.signal").touch()
        self.primary.settings = {
            **self.primary.settings,
            "synchronous_standby_names": _NAME,
        }
        self.primary.start()
        self.standby.start()

    async def in_step(self) -> None:
        """Waits until commits wait for the standby."""
        await postgres.until(self._is_in_step)

    async def waiting(self) -> int:
        """Waits until a commit waits for the standby; returns its process."""
        return await postgres.until(self.is_waiting)

    async def fail_over(self) -> None:
        """Kills all processes of the primary, and promotes the standby."""
        process = self.primary.process
        assert process is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        found = children.read_text().split() if children.exists() else []
        process.kill()
        for child in found:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        process.wait(30)
        self.primary.process = None
        # The rest of what it leaves behind: 56 bytes of shared memory.
        *_, memory = (
            (self.primary.data / "postmaster.pid").read_text().splitlines()[6].split()
        )
        subprocess.run(["ipcrm", "-m", memory], check=False)
        await self.standby.execute("SELECT pg_promote()")

    async def _is_in_step(self) -> bool:
        found = await self.primary.execute(
            "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        )
        return bool(found)

    async def is_waiting(self) -> int:
        """The process of a commit that waits for the standby; 0 if none does."""
        found = await self.primary.execute(
            "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        )
        return int(found[0]["pid"]) if found else 0


@contextmanager
def running_pair() -> Iterator[Pair]:
    """A primary and its standby, which a test may stop and kill."""
    with postgres.running(_STREAMING, tcp=True) as primary:
        pair = Pair(primary)
        try:
            pair.follow()
            yield pair
        finally:
            if pair.standby.process is not None:
                pair.standby.stop(signal.SIGQUIT)
            shutil.rmtree(pair.standby.folder, ignore_errors=True)
