"""A real exchange as a process of its own, which a test can stop, kill and start again.

Members enrol as real ones do: the operator adds them, and each makes its keys with the
one-time token.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO

import grpc

from onward.client import Client
from onward.enroll import enroll
from onward.home import Home
from onward.v1 import directory_pb2, vocabulary_pb2

BIN = Path(sys.executable).parent
TRUST_DOMAIN = "national.example"
HOTLINE = f"spiffe://{TRUST_DOMAIN}/agency/national-hotline"
POLICE = f"spiffe://{TRUST_DOMAIN}/agency/ohio-state-police"
AUDITOR = f"spiffe://{TRUST_DOMAIN}/auditor/inspector-general"
_SECONDS_TO_START = 30.0


@dataclass(slots=True)
class ExchangeProcess:
    """An exchange in a folder. Make it with :meth:`found`; then start it.

    Attributes:
        folder: everything of it: ``exchange/`` and one home for each member.
        environment: further environment variables, such as settings.
        program: what runs it; ``--config`` and the file are added.
        within: what runs programs where its folder is, if that is not everywhere.
    """

    folder: Path
    port: int
    enrolment_port: int
    environment: dict[str, str] = field(default_factory=dict)
    program: Sequence[str | Path] = (BIN / "onward-server", "serve")
    within: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    _log: IO[bytes] | None = None

    @classmethod
    def found(
        cls, folder: Path, environment: Mapping[str, str] | None = None
    ) -> ExchangeProcess:
        """Returns a new exchange, as ``onward-server init`` makes it.

        It is made once in a test process, and copied: a start from nothing takes
        longer than most tests. So all have the same keys, and ports of their own.
        """
        return _template().copied(folder, environment)

    def copied(
        self, folder: Path, environment: Mapping[str, str] | None = None
    ) -> ExchangeProcess:
        """Copies an exchange that does not run, and the homes of its members."""
        copy = ExchangeProcess(
            folder, free_port(), free_port(), dict(environment or {})
        )
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        for path in folder.glob("**/*.toml"):
            text = path.read_text()
            for old, new in zip(self._ports, copy._ports, strict=True):
                text = text.replace(f":{old}", f":{new}")
            path.write_text(text)
        return copy

    @property
    def _ports(self) -> tuple[int, int]:
        return self.port, self.enrolment_port

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "exchange" / "exchange.toml"

    @property
    def operator(self) -> Path:
        """The first operator's home."""
        return self.folder / "exchange" / "operator"

    def home(self, name: str) -> Home:
        """A member's home, by its SPIFFE ID."""
        return Home.open(self.folder / name.rpartition("/")[2])

    def moved_home(self, name: str, port: int) -> Home:
        """Copies a member's home, as that of a machine that calls another port."""
        home = Home(self.folder / f"{name.rpartition('/')[2]}-{port}")
        shutil.copytree(self.home(name).path, home.path)
        settings = home.settings
        moved = replace(settings, address=f"127.0.0.1:{port}")
        (home.path / "member.toml").write_text(moved.format())
        return home

    def start(self) -> None:
        """Starts the process, and waits until its ports answer."""
        self._log = (self.folder / "exchange.log").open("ab")
        self.process = subprocess.Popen(
            [*self.within, *self.program, "--config", self.config],
            stdout=self._log,
            stderr=self._log,
            env=_environment() | self.environment,
        )
        deadline = time.monotonic() + _SECONDS_TO_START
        while not all(map(answers, (self.port, self.enrolment_port))):
            if self.process.poll() is not None or time.monotonic() > deadline:
                message = f"the exchange did not start:\n{self.log()[-3000:]}"
                raise AssertionError(message)
            time.sleep(0.02)

    def log(self) -> str:
        """What the process has written to its standard output and error."""
        return (self.folder / "exchange.log").read_text("utf-8", "replace")

    def kill(self) -> None:
        """Kills it as a power failure would: without a word."""
        self.end(signal.SIGKILL)

    def stop(self) -> int:
        """Asks it to stop, waits, and returns its exit code."""
        return self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(how)
        code = self.process.wait(30)
        self.process = None
        if self._log is not None:
            self._log.close()
        return code

    async def join(
        self,
        name: str,
        kind: vocabulary_pb2.MemberKind.ValueType,
        jurisdictions: Sequence[str] = ("US",),
    ) -> Home:
        """Adds a member and enrols it."""
        async with Client.open(self.operator) as operator:
            added = await operator.admin.add_member(
                directory_pb2.Member(
                    name=name,
                    display_name=name.rpartition("/")[2],
                    kind=kind,
                    jurisdictions=jurisdictions,
                )
            )
        return await enroll(added.token, self.folder / name.rpartition("/")[2])

    async def populate(self) -> None:
        """Adds a hotline, a police agency and an auditor."""
        await self.join(HOTLINE, vocabulary_pb2.MEMBER_KIND_HOTLINE)
        await self.join(POLICE, vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT)
        await self.join(AUDITOR, vocabulary_pb2.MEMBER_KIND_AUDITOR)

    def channel(self, name: str) -> grpc.aio.Channel:
        """Opens a member's channel, for generated stubs without the SDK."""
        home = self.home(name)
        credentials = grpc.ssl_channel_credentials(
            home.server_ca, home.tls_key, home.certificate_chain
        )
        return grpc.aio.secure_channel(
            home.settings.address,
            credentials,
            options=[
                ("grpc.ssl_target_name_override", home.settings.server_name),
                ("grpc.enable_retries", 0),
            ],
        )


@cache
def _template() -> ExchangeProcess:
    """Makes an exchange that others are copied from."""
    folder = Path(tempfile.mkdtemp(prefix="onward-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    template = ExchangeProcess(folder, free_port(), free_port())
    command(
        "onward-server",
        "init",
        str(folder / "exchange"),
        "--trust-domain",
        TRUST_DOMAIN,
        "--listen",
        f"127.0.0.1:{template.port}",
        "--enrolment-listen",
        f"127.0.0.1:{template.enrolment_port}",
    )
    return template


def command(*words: str, code: int = 0) -> str:
    """Runs one of our programs; returns its standard output."""
    done = subprocess.run(
        [BIN / words[0], *words[1:]],
        capture_output=True,
        check=False,
        text=True,
        env=_environment(),
    )
    assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def _environment() -> dict[str, str]:
    """Returns the environment of our programs: they may keep what they compiled."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE"
    }


def free_port() -> int:
    """Returns a port that nobody listens on at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
