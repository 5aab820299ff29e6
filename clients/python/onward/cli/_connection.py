"""Running a command's work with a client."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import typer

from onward.cli._output import say
from onward.cli.exits import Exit

# gRPC tells what fails on its own, on standard error; we tell it in one line.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from onward.client import Client

_Result = TypeVar("_Result")


def connected(home: Path, work: Callable[[Client], Awaitable[_Result]]) -> _Result:
    """Opens the client of a home, does some work with it, and returns the result."""

    async def run() -> _Result:
        async with Client.open(home) as client:
            return await work(client)

    return running(run())


def running(work: Awaitable[_Result]) -> _Result:
    """Runs some work to its end, or until a signal.

    Raises:
        typer.Exit: the signal TERM came, and the work ended in good order.
    """

    async def run() -> _Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task:
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    logging.basicConfig(handlers=[_Telling()], level=logging.WARNING)
    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise typer.Exit(Exit.TERMINATED) from None


class _Telling(logging.Handler):
    """Tells people, in one line each, what the client has to say."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tells one thing, with its reason where it has one."""
        reason = getattr(record, "reason", "")
        say(": ".join(filter(None, ("onward", record.getMessage(), reason))))
