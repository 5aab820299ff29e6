"""Working as the operator, through the running exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onward_server.cli.output import config_file, quiet_logs

if TYPE_CHECKING:
    from onward.client import Client

HomeOption = Annotated[
    Path | None,
    typer.Option(
        envvar="ONWARD_OPERATOR_HOME",
        help="The operator's home; `operator` beside the configuration if not given.",
    ),
]


def as_operator(
    work: Callable[[Client], Awaitable[None]], config: Path, home: Path | None
) -> None:
    """Does something as the operator."""

    async def connected() -> None:
        from onward.client import Client

        path = home or config_file(config).parent / "operator"
        async with Client.open(path, deadline=5.0) as client:
            await work(client)

    quiet_logs()
    asyncio.run(connected())
