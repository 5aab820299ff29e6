"""The demonstration: five tips through a real exchange, proven offline afterwards.

A real exchange runs as a process of its own in a temporary folder; its members enrol
with one-time tokens, as real ones do, and speak to it over mutual TLS. What you see at
the end is checked by ``onward verify`` in another process, with the exchange stopped.

Run it with ``make demo``.
"""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.json_format import Parse
from rich import box
from rich.console import Console
from rich.table import Table

from onward.client import Client, Incoming, Invalid
from onward.core.custody import state_name
from onward.core.errors import MalformedError, OnwardError
from onward.core.statements import parse_statement
from onward.enroll import enroll
from onward.v1 import content_pb2, directory_pb2, vocabulary_pb2

V = vocabulary_pb2
ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "docs" / "samples"
OUT = ROOT / "demo-out"
BIN = Path(sys.executable).parent
DOMAIN = "national.example"
SECONDS_TO_START = 20.0

console = Console(width=100, highlight=False)


def agency(name: str) -> str:
    """Returns an agency's SPIFFE ID."""
    return f"spiffe://{DOMAIN}/agency/{name}"


HOTLINE = agency("national-hotline")
FLORIDA_HOTLINE = agency("florida-hotline")
OHIO = agency("ohio-state-police")
TEXAS = agency("texas-state-police")
TEXAS_CHILD = agency("texas-child-welfare")
FLORIDA = agency("florida-law-enforcement")
NEVADA = agency("nevada-state-police")
UTAH = agency("utah-state-police")
AUDITOR = f"spiffe://{DOMAIN}/auditor/inspector-general"

MEMBERS = [
    (HOTLINE, V.MEMBER_KIND_HOTLINE, "National hotline", ["US"]),
    (FLORIDA_HOTLINE, V.MEMBER_KIND_HOTLINE, "Florida hotline", ["US-FL"]),
    (OHIO, V.MEMBER_KIND_LAW_ENFORCEMENT, "Ohio State Police", ["US-OH"]),
    (TEXAS, V.MEMBER_KIND_LAW_ENFORCEMENT, "Texas State Police", ["US-TX"]),
    (TEXAS_CHILD, V.MEMBER_KIND_CHILD_WELFARE, "Texas child welfare", ["US-TX"]),
    (FLORIDA, V.MEMBER_KIND_LAW_ENFORCEMENT, "Florida law enforcement", ["US-FL"]),
    (NEVADA, V.MEMBER_KIND_LAW_ENFORCEMENT, "Nevada State Police", ["US-NV"]),
    (UTAH, V.MEMBER_KIND_LAW_ENFORCEMENT, "Utah State Police", ["US-UT"]),
    (AUDITOR, V.MEMBER_KIND_AUDITOR, "Inspector general", ["US"]),
]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A running exchange."""

    folder: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Stops it as systemd would, and waits until it has drained."""
        self.process.terminate()
        self.process.wait(30)


async def main() -> int:
    """Tells the story; returns the exit code."""
    started = time.monotonic()
    with TemporaryDirectory(prefix="onward-demo-") as folder:
        place = Path(folder)
        step("An exchange starts, and its members enrol with one-time tokens")
        exchange = start(place)
        try:
            await enrol_members(place)
            async with clients(place) as open_clients:
                bundles = await follow_tips(open_clients)
        finally:
            exchange.stop()
        trust = (place / "inspector-general" / "trust.txt").read_text()
    return prove(bundles, trust, started)


def start(place: Path) -> Exchange:
    """Makes an exchange and starts it, and waits until it answers."""
    ports = free_port(), free_port()
    folder = place / "exchange"
    listen = [
        *("--listen", f"127.0.0.1:{ports[0]}"),
        *("--enrolment-listen", f"127.0.0.1:{ports[1]}"),
    ]
    run([BIN / "onward-server", "init", folder, "--trust-domain", DOMAIN, *listen])
    log = (place / "exchange.log").open("wb")
    process = subprocess.Popen(
        [BIN / "onward-server", "serve", "--config", folder / "exchange.toml"],
        stdout=log,
        stderr=log,
    )
    for port in ports:
        wait_for(port, process, place / "exchange.log")
    said(f"spiffe://{DOMAIN}/exchange runs as process {process.pid}")
    return Exchange(folder, process)


async def enrol_members(place: Path) -> None:
    """Adds the members as the operator, and enrols each with its token."""
    async with Client.open(place / "exchange" / "operator") as operator:
        for name, kind, display_name, jurisdictions in MEMBERS:
            member = directory_pb2.Member(
                name=name,
                display_name=display_name,
                kind=kind,
                jurisdictions=jurisdictions,
            )
            added = await operator.admin.add_member(member)
            await enroll(added.token, place / short(name))
            said(f"{display_name} enrolled as {name}")


@asynccontextmanager
async def clients(place: Path) -> AsyncIterator[dict[str, Client]]:
    """Opens a client for each member."""
    opened: dict[str, Client] = {}
    managers = [(name, Client.open(place / short(name))) for name, *_ in MEMBERS]
    try:
        for name, manager in managers:
            opened[name] = await manager.__aenter__()
        yield opened
    finally:
        for name, manager in managers:
            if name in opened:
                await manager.__aexit__(None, None, None)


async def follow_tips(member: dict[str, Client]) -> dict[str, bytes]:
    """Publishes the samples, lets the agencies act, and returns a bundle of each."""
    bundles = {}
    for tell in (imminent_danger, minor, same_event_twice, transferred, tested):
        for reference, publisher, referral_id in await tell(member):
            await show(member[publisher], reference, referral_id)
            bundles[reference] = await member[publisher].bundle(referral_id)
    await show_audit(member[AUDITOR])
    return bundles


Told = Sequence[tuple[str, str, str]]
"""Reference, publisher and referral id of what was told."""


async def imminent_danger(member: dict[str, Client]) -> Told:
    """NH-0001: the phone first, then the message that documents it."""
    step("NH-0001: a guest asks for help, and may leave at any moment")
    done = await member[HOTLINE].publish(
        sample("NH-0001"),
        recipients=[OHIO],
        urgency=V.URGENCY_IMMINENT_DANGER,
        urgency_reason="the guest is about to be moved; phoned first",
        jurisdiction="US-OH",
        basis=V.DISCLOSURE_BASIS_IMMINENT_DANGER,
        subject_age_group=V.AGE_GROUP_ADULT,
    )
    desk = await next_delivery(member[OHIO])
    await desk.acknowledge("watch officer")
    await desk.take()
    await desk.report_outcome(V.OUTCOME_CODE_WELFARE_CHECK_DONE, closes=True)
    return [("NH-0001", HOTLINE, done.referral_id)]


async def minor(member: dict[str, Client]) -> Told:
    """NH-0002: police and child welfare, each with its own delivery."""
    step("NH-0002: a student works nights; police and child welfare must both know")
    done = await member[HOTLINE].publish(
        sample("NH-0002"),
        recipients=[TEXAS, TEXAS_CHILD],
        urgency=V.URGENCY_MINOR,
        urgency_reason="a student of 13 to 17 years",
        jurisdiction="US-TX",
        basis=V.DISCLOSURE_BASIS_MANDATED_REPORT,
        subject_age_group=V.AGE_GROUP_13_17,
    )
    police = await next_delivery(member[TEXAS])
    await police.acknowledge("duty sergeant")
    await police.take()
    await police.report_outcome(V.OUTCOME_CODE_INVESTIGATION_OPENED)
    welfare = await next_delivery(member[TEXAS_CHILD])
    await welfare.acknowledge("intake supervisor")
    await welfare.take()
    return [("NH-0002", HOTLINE, done.referral_id)]


async def same_event_twice(member: dict[str, Client]) -> Told:
    """FL-0117 and NH-0004: one event, two hotlines, two chains that are both kept."""
    step("FL-0117 and NH-0004: the same event, told to two hotlines")
    told = []
    outcomes = (
        (FLORIDA_HOTLINE, "FL-0117", V.OUTCOME_CODE_ASSIGNED),
        (HOTLINE, "NH-0004", V.OUTCOME_CODE_LINKED_TO_EXISTING_CASE),
    )
    for hotline, reference, code in outcomes:
        done = await member[hotline].publish(
            sample(reference),
            recipients=[FLORIDA],
            urgency=V.URGENCY_TIME_SENSITIVE,
            jurisdiction="US-FL",
            basis=V.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
            subject_age_group=V.AGE_GROUP_ADULT,
        )
        desk = await next_delivery(member[FLORIDA])
        await desk.acknowledge("analyst")
        await desk.take()
        await desk.report_outcome(code)
        told.append((reference, hotline, done.referral_id))
    return told


async def transferred(member: dict[str, Client]) -> Told:
    """NH-0006: Nevada declines and passes it on; Utah finds the person."""
    step("NH-0006: Nevada declines, since she has left, and transfers to Utah")
    done = await member[HOTLINE].publish(
        sample("NH-0006"),
        recipients=[NEVADA],
        urgency=V.URGENCY_TIME_SENSITIVE,
        jurisdiction="US-NV",
        basis=V.DISCLOSURE_BASIS_THIRD_PARTY_TIP,
        subject_age_group=V.AGE_GROUP_ADULT,
    )
    nevada = await next_delivery(member[NEVADA])
    await nevada.acknowledge("watch officer")
    await nevada.decline(V.DECLINE_REASON_NOT_OUR_JURISDICTION, UTAH)
    passed_on = await nevada.transfer(
        [UTAH], jurisdiction="US-UT", basis=V.DISCLOSURE_BASIS_AGENCY_TO_AGENCY
    )
    utah = await next_delivery(member[UTAH])
    await utah.acknowledge("watch officer")
    await utah.take()
    await utah.report_outcome(V.OUTCOME_CODE_VICTIM_LOCATED_SAFE, closes=True)
    return [
        ("NH-0006", HOTLINE, done.referral_id),
        ("NH-0006-UTAH", HOTLINE, passed_on.child.referral_id),
    ]


async def tested(member: dict[str, Client]) -> Told:
    """OH-TEST-0008: a test, and its twin with one byte changed."""
    step("OH-TEST-0008: a test goes the real way; its twin has one byte changed")
    prepared = await member[HOTLINE].prepare_referral(
        sample("OH-TEST-0008"),
        recipients=[OHIO],
        urgency=V.URGENCY_ROUTINE,
        jurisdiction="US-OH",
        basis=V.DISCLOSURE_BASIS_NO_PERSONAL_DATA,
        subject_age_group=V.AGE_GROUP_UNKNOWN,
    )
    twin = type(prepared)(change_one_byte(prepared.referral), prepared.sealed_content)
    try:
        await member[HOTLINE].publish_prepared(twin)
    except OnwardError as refused:
        said(f"the twin is refused: {refused.reason_name}: {refused.message}")
    begun = time.monotonic()
    done = await member[HOTLINE].publish_prepared(prepared)
    await next_delivery(member[OHIO])
    said(f"the test itself was received {time.monotonic() - begun:.2f} s later")
    return [("OH-TEST-0008", HOTLINE, done.referral_id)]


async def next_delivery(client: Client) -> Incoming:
    """Receives the next delivery, as a desk does."""
    async for item in client.receive(max_outstanding=1):
        if isinstance(item, Incoming):
            return item
        if isinstance(item, Invalid):
            break
    message = f"{client.member} got something that cannot be verified"
    raise RuntimeError(message)


async def show(client: Client, reference: str, referral_id: str) -> None:
    """Prints a custody chain as its publisher sees it."""
    table = Table(title=f"{reference}   {referral_id}", box=box.SIMPLE_HEAD)
    for heading in ("entry", "time (UTC)", "who", "says"):
        table.add_column(heading)
    detail = await client.show(referral_id)
    statements = list(detail.statements)
    for statement in statements:
        message = statement.message
        table.add_row(
            str(statement.log_index),
            message.made_time.ToDatetime().strftime("%H:%M:%S.%f")[:-3],
            short(message.issuer),
            statement.kind.replace("_", " ") + remark(message),
        )
    console.print(table)
    for delivery in detail.view.deliveries:
        said(f"{short(delivery.recipient)}: {state_name(delivery.state)}")


def remark(message: object) -> str:
    """Returns the part of a statement that says most."""
    kind = message.WhichOneof("body")  # type: ignore[attr-defined]
    body = getattr(message, kind)
    match kind:
        case "decline":
            return f": {V.DeclineReason.Name(body.reason)[15:]}"
        case "outcome":
            return f": {V.OutcomeCode.Name(body.code)[13:]}"
        case "acknowledgment":
            return f" ({body.reader_role})"
        case "handover":
            return f" to {short(body.recipient)}"
    return ""


async def show_audit(auditor: Client) -> None:
    """The auditor lists the chains of its jurisdictions; the look itself is logged."""
    step("The inspector general looks, and the look is logged")
    chains = [referral_id async for referral_id in auditor.list_chains()]
    said(f"{len(chains)} referrals are in its jurisdictions; it sees no content")


def prove(bundles: dict[str, bytes], trust: str, started: float) -> int:
    """Verifies the bundles offline, then one with one byte changed."""
    step("The exchange is stopped. The bundles are verified by themselves")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    (OUT / "trust.txt").write_text(trust)
    paths = [OUT / f"{reference}.json" for reference in bundles]
    for path, data in zip(paths, bundles.values(), strict=True):
        path.write_bytes(data)
    proven = verify(*paths)
    said(f"onward verify {' '.join(p.name for p in paths)}: exit code {proven}")
    forged = json.loads(bundles["NH-0001"])
    item = forged["statements"][-1]
    item["statement"] = change_one_byte(item["statement"])
    path = OUT / "NH-0001-one-byte-changed.json"
    path.write_text(json.dumps(forged))
    step("One byte of the last statement is changed")
    refused = verify(path, show_output=True)
    said(f"exit code {refused}")
    said(f"done in {time.monotonic() - started:.0f} s")
    said("verify one yourself:")
    said("  .venv/bin/onward verify demo-out/NH-0006.json --trust demo-out/trust.txt")
    return 0 if (proven, refused) == (0, 1) else 1


def verify(*bundles: Path, show_output: bool = False) -> int:
    """Runs ``onward verify``; returns its exit code."""
    done = subprocess.run(
        [BIN / "onward", "verify", *bundles, "--trust", OUT / "trust.txt"],
        stdout=None if show_output else subprocess.DEVNULL,
        stderr=None if show_output else subprocess.DEVNULL,
        check=False,
    )
    return done.returncode


def change_one_byte(statement: str) -> str:
    """Returns a statement with one character changed, so that it can still be read."""
    header, payload, signature = statement.split(".")
    for place in range(len(payload) - 2, 0, -1):
        other = "A" if payload[place] != "A" else "B"
        changed = f"{header}.{payload[:place]}{other}{payload[place + 1 :]}.{signature}"
        with suppress(MalformedError):
            parse_statement(changed)
            return changed
    message = "no byte of the statement can be changed"
    raise RuntimeError(message)


def sample(reference: str) -> content_pb2.Tip:
    """Returns a sample tip."""
    text = (SAMPLES / f"{reference}.json").read_text("utf-8")
    return Parse(text, content_pb2.Tip())


def short(name: str) -> str:
    """Returns the last part of a SPIFFE ID."""
    return name.rpartition("/")[2]


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


def run(command: Sequence[str | Path]) -> None:
    """Runs a command, and shows what it said when it fails."""
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode:
        message = f"{command[0]} failed:\n{done.stdout}{done.stderr}"
        raise RuntimeError(message)


def step(text: str) -> None:
    """Prints a heading, with the time."""
    now = datetime.now(UTC).strftime("%H:%M:%S")
    console.print(f"\n[bold]{now}  {text}[/bold]")


def said(text: str) -> None:
    """Prints a line."""
    console.print(f"  {text}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
