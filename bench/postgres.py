"""A PostgreSQL of our own: a new cluster that runs for as long as it is needed.

It is as ``initdb`` makes it, and so commits are on disk before they are answered; only
that it listens on a free port, admits everybody on this machine, and takes as many
connections as several exchanges open.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.processes import free_address, serving

_INSTALLED: Final = "/usr/lib/postgresql"
_CONNECTIONS: Final = 200
MISSING: Final = "not installed: apt-get install postgresql"

_USERS: Final = ("postgres", "nobody")
"""As whom it runs when we are root, which it refuses to do."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running cluster; made by :func:`open_postgres`.

    Attributes:
        address: where it listens, ``host:port``.
        user: the name of its superuser.
    """

    address: str
    user: str

    def url(self, database: str) -> str:
        """Returns where one of its databases is."""
        return f"postgresql://{self.user}@{self.address}/{database}"

    def create(self, database: str) -> str:
        """Makes a database; returns where it is."""
        self.ask("postgres", f"CREATE DATABASE {database}")
        return self.url(database)

    def ask(self, database: str, query: str) -> str:
        """Returns what a query answers, its columns separated by ``|``."""
        psql = find_program("psql") or "psql"
        command = (psql, "-XqtA", "-v", "ON_ERROR_STOP=1", "-c", query)
        return _run((*command, self.url(database))).strip()


@contextmanager
def open_postgres() -> Iterator[Postgres]:
    """Makes a cluster, and runs it while the block runs.

    Raises:
        FileNotFoundError: PostgreSQL is not installed; look with :func:`find_program`.
        RuntimeError: it does not start.
    """
    initdb, postgres = find_program("initdb"), find_program("postgres")
    if initdb is None or postgres is None:
        raise FileNotFoundError(MISSING)
    user, address = _user(), free_address()
    host, _, port = address.rpartition(":")
    with TemporaryDirectory(prefix="bench-postgres-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        data = Path(folder) / "data"
        cluster = ("-D", str(data), "-U", user, "-A", "trust", "-E", "UTF8")
        _run((*_as(user), initdb, *cluster, "--no-locale"))
        settings = {
            "listen_addresses": host,
            "port": port,
            "unix_socket_directories": "",
            "max_connections": str(_CONNECTIONS),
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = (*_as(user), postgres, "-D", str(data), *options)
        with serving(command, address, Path(folder) / "postgres.log"):
            yield Postgres(address, user)


@cache
def find_program(name: str) -> str | None:
    """Returns where a program of PostgreSQL is, of the newest version if of several."""
    installed = sorted(
        Path(_INSTALLED).glob(f"*/bin/{name}"),
        key=lambda path: float(path.parts[-3]),
    )
    return shutil.which(name) or (str(installed[-1]) if installed else None)


def _user() -> str:
    """Returns as whom it runs."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid()).pw_name
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _USERS if name in known)


def _as(user: str) -> Sequence[str]:
    """Returns what a command begins with that somebody else is to run."""
    if os.geteuid():
        return ()
    group = str(pwd.getpwnam(user).pw_gid)
    return ("setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--")


def _run(command: Sequence[str]) -> str:
    """Runs a command; returns what it printed.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(command, capture_output=True, check=False, text=True, cwd="/")
    if done.returncode:
        message = f"{command[0]} failed:\n{done.stderr}"
        raise RuntimeError(message)
    return done.stdout
