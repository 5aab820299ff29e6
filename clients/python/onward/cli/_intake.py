"""Registering one tip, or a file of them; now, or when the exchange can be reached."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import Final, TypeAlias

from onward._queue import Queue
from onward.cli._connection import connected
from onward.cli._errors import exit_of, told
from onward.cli._messages import fill, members_of, read_members
from onward.cli._output import print_json, print_line, progress, say
from onward.cli._records import record_of
from onward.cli._routing import laid_over
from onward.cli.exits import Exit
from onward.client import Client, IntakeDraft, Queued, Registered, Tip
from onward.core._jose import json_object
from onward.core.errors import MalformedError, OnwardError
from onward.home import Home
from onward.v1 import statement_pb2

_STDIN: Final = Path("-")
_CHUNK: Final = 100
_TIP: Final = "tip"
_INTAKE: Final = "intake"

# What of a tip is a part of its intake, by the names that both have.
_SHARED: Final = (
    "channel",
    "reporter_type",
    "trafficking_type",
    "received_time",
    "test",
)
_REQUIRED: Final = {
    "urgency": "--urgency",
    "jurisdiction": "--jurisdiction",
    "subject_age_group": "--subject",
    "channel": "--channel",
    "reporter_type": "--reporter",
    "trafficking_type": "--trafficking",
    "received_time": "--received",
}
_STATED: Final = frozenset({*_REQUIRED, "urgency_reason", "test"})

Result: TypeAlias = Registered | Queued | OnwardError


@dataclass(frozen=True, slots=True)
class Item:
    """A tip to register.

    Attributes:
        line: its line in a batch; 0 for a single tip.
        read: returns draft and content.
    """

    line: int
    read: Callable[[], tuple[IntakeDraft, bytes]]


def members_of_options(
    *,
    jurisdiction: str | None,
    received_time: datetime | None,
    **options: object,
) -> dict[str, object]:
    """Returns what options state, as members of an intake."""
    messages = {
        "jurisdiction": {"code": jurisdiction} if jurisdiction else None,
        "received_time": received_time.isoformat() if received_time else None,
    }
    given = {name: value for name, value in (options | messages).items() if value}
    return members_of(given, statement_pb2.Intake(), _INTAKE)


def of_file(path: Path, members: Mapping[str, object]) -> list[Item]:
    """Returns the tip of a file; what ``members`` state wins over what it says."""
    return [Item(0, lambda: _read(path, members))]


def of_batch(path: Path | None, members: Mapping[str, object]) -> list[Item]:
    """Returns the tips that the lines of a file name, beside it."""
    lines = path.read_bytes().splitlines() if path else []
    return [
        Item(number, _reading(line, path.parent, members))
        for number, line in enumerate(lines, 1)
        if line.strip() and path
    ]


def register(
    home: Path,
    items: Sequence[Item],
    *,
    offline: bool,
    first_number: int,
    as_json: bool,
) -> Exit:
    """Registers tips, prints what came of each, and returns what to end with."""
    if offline:
        return _queue(home, items, as_json=as_json)

    async def work(client: Client) -> Exit:
        worst = Exit.OK
        with progress("registering", len(items)) as advance:
            for start in range(0, len(items), _CHUNK):
                chunk = items[start : start + _CHUNK]
                results = await _register(client, chunk, first_number)
                for item, result in zip(chunk, results, strict=True):
                    worst = max(worst, _print(item.line, result, as_json=as_json))
                advance(len(chunk))
        return worst

    return connected(home, work)


def flush(home: Path, *, as_json: bool) -> Exit:
    """Registers what waits, prints what came of each, and returns what to end with."""

    async def work(client: Client) -> Exit:
        worst = Exit.OK
        with progress("registering", None):
            results = await client.intakes.flush()
        for result in results:
            worst = max(worst, _print(0, result, as_json=as_json))
        return worst

    return connected(home, work)


def _queue(path: Path, items: Sequence[Item], *, as_json: bool) -> Exit:
    """Keeps tips in the queue of a home, without a connection."""
    queue, worst = Queue(Home.open(path)), Exit.OK
    for item in items:
        result: Result = Queued()
        try:
            draft, content = item.read()
            queue.add(draft.body(), content, token_bytes)
        except MalformedError as error:
            result = error
        worst = max(worst, _print(item.line, result, as_json=as_json))
    return worst


async def _register(
    client: Client, chunk: Sequence[Item], first_number: int
) -> list[Result]:
    results: list[Result | None] = []
    tips: list[tuple[IntakeDraft, bytes]] = []
    for item in chunk:
        try:
            tips.append(item.read())
            results.append(None)
        except MalformedError as error:
            results.append(error)
    registered = iter(
        await client.intakes.register_many(tips, first_number=first_number)
    )
    return [result or next(registered) for result in results]


def _reading(
    line: bytes, folder: Path, members: Mapping[str, object]
) -> Callable[[], tuple[IntakeDraft, bytes]]:
    def read() -> tuple[IntakeDraft, bytes]:
        item = json_object(line, "the line")
        name = item.get(_TIP)
        if not item.keys() <= {_TIP, _INTAKE} or not isinstance(name, str):
            raise MalformedError(
                "the line has a tip, which names a file, and an intake"
            )
        own = members_of(item.get(_INTAKE, {}), statement_pb2.Intake(), _INTAKE)
        path = folder / name
        if not path.is_file():
            raise MalformedError(f"there is no file {path}")
        return _read(path, laid_over(members, own))

    return read


def _read(path: Path, members: Mapping[str, object]) -> tuple[IntakeDraft, bytes]:
    """Returns draft and content of a file."""
    content = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
    said: dict[str, object] = {}
    if path == _STDIN or path.suffix == ".json":
        tip = read_members(content, Tip(), _TIP)
        said = {name: tip[name] for name in _SHARED if name in tip}
    return _draft(laid_over(said, members)), content


def _draft(members: Mapping[str, object]) -> IntakeDraft:
    """Returns the draft that members state.

    Raises:
        MalformedError: something is missing, or not the hotline's to state.
    """
    body = fill(statement_pb2.Intake(), members, _INTAKE)
    for name, option in _REQUIRED.items():
        if name not in members:
            raise MalformedError(
                f"the intake needs its {name}: give {option}", field=f"{_INTAKE}.{name}"
            )
    for name in members.keys() - _STATED:
        raise MalformedError(
            f"{_INTAKE}.{name} cannot be stated here: it follows from the book",
            field=f"{_INTAKE}.{name}",
        )
    return IntakeDraft(
        body.urgency,
        body.channel,
        body.reporter_type,
        body.subject_age_group,
        body.trafficking_type,
        body.jurisdiction,
        body.received_time.ToDatetime(UTC),
        body.urgency_reason,
        body.test,
    )


def _print(line: int, result: Result, *, as_json: bool) -> Exit:
    """Prints what came of a tip, and returns what it ends with."""
    where: dict[str, object] = {"line": line} if line else {}
    prefix = f"line {line}: " if line else ""
    match result:
        case Registered():
            record = {"number": result.number, **record_of(result.intake)}
            entry = result.intake.log_index
            if as_json:
                print_json(where | record)
            else:
                print_line(f"{prefix}intake {result.number}: log entry {entry}")
            return Exit.OK
        case Queued():
            if as_json:
                print_json({**where, "queued": True})
            why = f": {told(result.why)}" if result.why else ""
            say(f"onward: {prefix}kept in the queue, and not registered yet{why}")
            return Exit.UNAVAILABLE if result.why else Exit.OK
        case OnwardError():
            if as_json:
                error = {"reason": result.reason_name, "message": result.message}
                print_json({**where, "error": error})
            say(f"onward: {prefix}{told(result)}")
            return exit_of(result)
