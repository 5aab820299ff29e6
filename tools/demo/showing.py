"""What the demonstration prints."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from onward.client import Client
from onward.core.custody import state_name
from onward.v1 import statement_pb2, vocabulary_pb2
from tools.demo.timing import Timeline

V = vocabulary_pb2

console = Console(width=100, highlight=False)


async def show(client: Client, reference: str, referral_id: str) -> None:
    """Prints a custody chain as its publisher sees it."""
    table = Table(title=f"{reference}   {referral_id}", box=box.SIMPLE_HEAD)
    for heading in ("entry", "time (UTC)", "who", "says"):
        table.add_column(heading)
    detail = await client.show(referral_id)
    first = min(item.message.made_time.ToDatetime() for item in detail.statements)
    for statement in detail.statements:
        message = statement.message
        made = message.made_time.ToDatetime()
        day = (made.date() - first.date()).days
        table.add_row(
            str(statement.log_index),
            f"{made:%b %d %H:%M:%S}" + (f"  (day {day})" if day else ""),
            short(message.issuer),
            statement.kind.replace("_", " ") + remark(message),
        )
    console.print(table)
    for delivery in detail.view.deliveries:
        said(f"{short(delivery.recipient)}: {state_name(delivery.state)}")


_WORTH_A_LOOK = {
    "decline": ("reason", V.DeclineReason),
    "outcome": ("code", V.OutcomeCode),
    "retraction": ("reason", V.RetractionReason),
    "retraction_reply": ("action", V.RetractionAction),
}


def remark(message: statement_pb2.Statement) -> str:
    """Returns the part of a statement that says most."""
    kind = message.WhichOneof("body") or ""
    body = getattr(message, kind)
    if kind in _WORTH_A_LOOK:
        field, vocabulary = _WORTH_A_LOOK[kind]
        return f": {word(vocabulary, getattr(body, field))}"
    if kind in {"warning", "breach"}:
        return about(body.due)
    if kind == "acknowledgment":
        return f" ({body.reader_role})"
    return f" to {short(body.recipient)}" if kind == "handover" else ""


def word(vocabulary: Any, value: int) -> str:  # noqa: ANN401 - any enumeration
    """Returns a value's name without the prefix that all values of it share."""
    prefix = vocabulary.Name(0).removesuffix("UNSPECIFIED")
    name: str = vocabulary.Name(value)
    return name.removeprefix(prefix)


def about(due: statement_pb2.Due) -> str:
    """Returns what is due, and who holds the tip."""
    kind = word(V.DeadlineKind, due.kind).lower().replace("_", " ")
    return f": {kind} by {due.due_time.ToDatetime():%H:%M}, held by {short(due.holder)}"


def step(text: str, timeline: Timeline | None = None) -> None:
    """Prints a heading, with the time."""
    now = f"{timeline.now():%b %d %H:%M}  " if timeline else ""
    console.print(f"\n[bold]{now}{text}[/bold]")


def said(text: str) -> None:
    """Prints a line."""
    console.print(f"  {text}", soft_wrap=True)


def short(name: str) -> str:
    """Returns the last part of a SPIFFE ID."""
    return name.rpartition("/")[2]
