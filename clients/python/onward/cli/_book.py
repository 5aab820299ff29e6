"""The hotline's book: its intakes, and one of them with all that was said about it."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Final

from onward.cli._chain import short_time, what_of
from onward.cli._connection import connected
from onward.cli._messages import to_members, value_of, word_of
from onward.cli._names import short_name
from onward.cli._output import print_json, print_line, print_table
from onward.cli._records import record_of, time_of
from onward.client import Client, IntakeDetail
from onward.v1 import intake_pb2
from onward.v1 import vocabulary_pb2 as words

COLUMNS: Final = ("log entry", "time", "by", "statement", "what")


def list_intakes(home: Path, state: str | None, *, as_json: bool) -> None:
    """Prints the intakes of a hotline, or those in one state."""
    wanted = words.INTAKE_STATE_UNSPECIFIED
    if state:
        wanted = value_of(words.IntakeState, state)

    async def work(client: Client) -> list[intake_pb2.IntakeView]:
        async with aclosing(client.intakes.list(wanted)) as found:
            return [view async for view in found]

    views = connected(home, work)
    if as_json:
        for view in views:
            print_json(_members(view))
        return
    print_table(
        ("number", "received", "class", "place", "state", "due", ""),
        [
            (
                view.number,
                short_time(view.received_time.ToJsonString()),
                word_of(words.Urgency, view.urgency),
                view.jurisdiction,
                word_of(words.IntakeState, view.state),
                _due(view),
                _flags(view),
            )
            for view in views
        ],
    )


def show_intake(home: Path, number: int, *, as_json: bool) -> None:
    """Prints one intake with its statements."""
    detail = connected(home, lambda client: client.intakes.get(number))
    if as_json:
        statements = [record_of(item) for item in detail.statements]
        print_json({**_members(detail.view), "statements": statements})
    else:
        _print(detail)


def _print(detail: IntakeDetail) -> None:
    view = detail.view
    state = word_of(words.IntakeState, view.state)
    about = [word_of(words.Urgency, view.urgency), view.jurisdiction, _flags(view)]
    title = f"intake {view.number} ({', '.join(filter(None, about))}): {state}"
    rows = (
        (
            item.log_index,
            short_time(time_of(item.message)),
            short_name(item.issuer),
            item.kind.replace("_", " "),
            what_of(item),
        )
        for item in detail.statements
    )
    print_table(COLUMNS, rows, title=title)
    if view.HasField("due_time"):
        print_line(f"due {_due(view)}")


def _members(view: intake_pb2.IntakeView) -> dict[str, object]:
    return {"test": view.test, "overdue": view.overdue, **to_members(view)}


def _due(view: intake_pb2.IntakeView) -> str:
    return short_time(view.due_time.ToJsonString()) if view.HasField("due_time") else ""


def _flags(view: intake_pb2.IntakeView) -> str:
    return ", ".join(name for name in ("test", "overdue") if getattr(view, name))
