"""Following alerts: each is dealt with before the next one is looked at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onward.cli._chain import short_time, what_is_due, what_of
from onward.cli._connection import connected
from onward.cli._names import short_name
from onward.cli._output import print_json, print_line, print_table, say
from onward.cli._program import NotStoredError, Program, facts_of_alert
from onward.cli._records import record_of, subject_of, time_of
from onward.cli.exits import Exit
from onward.client import Alert, Client, Logged

PAUSE: Final = 2.0
"""Seconds; when nothing comes for so long, nothing more waits."""

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """How a member wants to follow alerts.

    Attributes:
        program: runs for each alert, if any.
        once: end after the first, whatever comes of it.
        drain: end when nothing more waits.
        as_json: print JSON.
    """

    program: Program | None
    once: bool
    drain: bool
    as_json: bool


def follow(home: Path, wish: Wish) -> Exit:
    """Follows alerts until the wish is fulfilled; returns what to end with."""

    async def work(client: Client) -> Exit:
        if wish.drain:
            await client.checkpoint()  # not to be reached is not to be idle
        async with aclosing(client.alerts()) as alerts:
            while (alert := await _next(alerts, wish)) is not None:
                if not await _deal(alert, wish):
                    return Exit.REFUSED
                if wish.once:
                    break
        return Exit.OK

    return connected(home, work)


def list_looks(home: Path, *, as_json: bool) -> None:
    """Prints who looked at what concerns a member."""

    async def work(client: Client) -> list[Logged]:
        async with aclosing(client.looks()) as found:
            return [look async for look in found]

    looks = connected(home, work)
    if as_json:
        for look in looks:
            print_json(record_of(look))
        return
    print_table(
        ("log entry", "time", "auditor", "what"),
        [
            (
                look.log_index,
                short_time(time_of(look.message)),
                short_name(look.message.audit_access.auditor),
                what_of(look),
            )
            for look in looks
        ],
    )


async def _next(alerts: AsyncGenerator[Alert, None], wish: Wish) -> Alert | None:
    """Returns the next alert; None when nothing more waits and that is the end."""
    try:
        async with asyncio.timeout(PAUSE if wish.drain else None):
            return await anext(alerts)
    except TimeoutError:
        return None


async def _deal(alert: Alert, wish: Wish) -> bool:
    """Runs the program until it succeeds, and keeps that the alert was dealt with."""
    record = record_of(alert.statement)
    pause = _FIRST_PAUSE
    while not await _run(alert, record, wish):
        if wish.once:
            return False
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    if wish.as_json:
        print_json(record)
    else:
        print_line(_line(alert))
    await alert.done()
    return True


async def _run(alert: Alert, record: dict[str, object], wish: Wish) -> bool:
    """Runs the program once, if there is one; says whether it succeeded."""
    if wish.program is None:
        return True
    content = json.dumps(record, ensure_ascii=False).encode() + b"\n"
    try:
        await wish.program.run(content, facts_of_alert(alert))
    except NotStoredError as error:
        say(f"onward: {_line(alert)} is not dealt with, and comes again: {error}")
        return False
    return True


def _line(alert: Alert) -> str:
    what = subject_of(alert.statement)
    return f"{alert.kind} of {what}: {what_is_due(alert.due)}"
