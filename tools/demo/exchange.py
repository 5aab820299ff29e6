"""The exchange of the demonstration, and who takes part."""

import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from onward.client import Client
from onward.enroll import enroll
from onward.v1 import directory_pb2, vocabulary_pb2
from tools.demo.showing import said, short
from tools.demo.timing import Timeline

V = vocabulary_pb2
BIN = Path(sys.executable).parent
DOMAIN = "national.example"
SECONDS_TO_START = 20.0


def agency(name: str) -> str:
    """Returns an agency's SPIFFE ID."""
    return f"spiffe://{DOMAIN}/agency/{name}"


HOTLINE = agency("national-hotline")
FLORIDA_HOTLINE = agency("florida-hotline")
OHIO = agency("ohio-state-police")
TEXAS = agency("texas-state-police")
TEXAS_CHILD = agency("texas-child-welfare")
SHELTER = agency("georgia-shelter")
FLORIDA = agency("florida-law-enforcement")
VIRGINIA = agency("virginia-state-police")
NEVADA = agency("nevada-state-police")
UTAH = agency("utah-state-police")
MISSISSIPPI = agency("mississippi-investigation")
AUDITOR = f"spiffe://{DOMAIN}/auditor/inspector-general"
FLORIDA_AUDITOR = f"spiffe://{DOMAIN}/auditor/florida-attorney-general"
OPERATOR = f"spiffe://{DOMAIN}/operator/admin"

_POLICE = V.MEMBER_KIND_LAW_ENFORCEMENT
MEMBERS = [
    (HOTLINE, V.MEMBER_KIND_HOTLINE, "National hotline", ["US"]),
    (FLORIDA_HOTLINE, V.MEMBER_KIND_HOTLINE, "Florida hotline", ["US-FL"]),
    (OHIO, _POLICE, "Ohio State Police", ["US-OH"]),
    (TEXAS, _POLICE, "Texas State Police", ["US-TX"]),
    (TEXAS_CHILD, V.MEMBER_KIND_CHILD_WELFARE, "Texas child welfare", ["US-TX"]),
    (SHELTER, V.MEMBER_KIND_SERVICE_PROVIDER, "Georgia shelter", ["US-GA"]),
    (FLORIDA, _POLICE, "Florida law enforcement", ["US-FL"]),
    (VIRGINIA, _POLICE, "Virginia State Police", ["US-VA"]),
    (NEVADA, _POLICE, "Nevada State Police", ["US-NV"]),
    (UTAH, _POLICE, "Utah State Police", ["US-UT"]),
    (MISSISSIPPI, _POLICE, "Mississippi investigation", ["US-MS"]),
    (AUDITOR, V.MEMBER_KIND_AUDITOR, "Inspector general", ["*"]),
    (FLORIDA_AUDITOR, V.MEMBER_KIND_AUDITOR, "Florida attorney general", ["US-FL"]),
]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A running exchange."""

    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Stops it as systemd would, and waits until it has drained."""
        self.process.terminate()
        self.process.wait(30)


def start(place: Path, timeline: Timeline) -> Exchange:
    """Makes an exchange and starts it, and waits until it answers."""
    ports = free_port(), free_port()
    folder = place / "exchange"
    run(
        BIN / "onward-server",
        "init",
        folder,
        *("--trust-domain", DOMAIN),
        *("--listen", f"127.0.0.1:{ports[0]}"),
        *("--enrolment-listen", f"127.0.0.1:{ports[1]}"),
        *("--test-clock", timeline.file),
    )
    log = place / "exchange.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / "onward-server", "serve", "--config", folder / "exchange.toml"],
            stdout=output,
            stderr=output,
        )
    for port in ports:
        wait_for(port, process, log)
    said(f"spiffe://{DOMAIN}/exchange runs as process {process.pid}")
    return Exchange(process)


async def enrol_members(place: Path, timeline: Timeline) -> None:
    """Adds the members as the operator, and enrols each with its token."""
    home = place / "exchange" / "operator"
    async with Client.open(home, clock=timeline.now) as operator:
        for name, kind, display_name, jurisdictions in MEMBERS:
            member = directory_pb2.Member(
                name=name,
                display_name=display_name,
                kind=kind,
                jurisdictions=jurisdictions,
            )
            added = await operator.admin.add_member(member)
            await enroll(added.token, place / short(name), clock=timeline.now)
            said(f"{display_name} enrolled as {name}")


@asynccontextmanager
async def clients(place: Path, timeline: Timeline) -> AsyncIterator[dict[str, Client]]:
    """Opens a client for each member, and for the operator."""
    homes = {name: place / short(name) for name, *_ in MEMBERS}
    homes[OPERATOR] = place / "exchange" / "operator"
    async with AsyncExitStack() as opened:
        yield {
            name: await opened.enter_async_context(
                Client.open(home, clock=timeline.now)
            )
            for name, home in homes.items()
        }


def free_port() -> int:
    """Returns a port that nobody listens on at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until a port answers; fails with the log when the process ended."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    message = f"the exchange did not start:\n{log.read_text()[-2000:]}"
    raise RuntimeError(message)


def run(*command: str | Path) -> None:
    """Runs a command, and shows what it said when it fails."""
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode:
        message = f"{command[0]} failed:\n{done.stdout}{done.stderr}"
        raise RuntimeError(message)


def names(members: Sequence[str]) -> str:
    """Returns names as people read them."""
    return ", ".join(map(short, members))
