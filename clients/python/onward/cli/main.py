"""The commands of ``onward``, put together."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from onward.cli import (
    alerting,
    auditing,
    intaking,
    joining,
    monitor,
    proving,
    publishing,
    reading,
    receiving,
)


class Commands(TyperGroup):
    """All commands: what fails in one of them is told in one line."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's types are private
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            from onward.cli._errors import explain

            raise typer.Exit(explain(error)) from None


app = typer.Typer(
    name="onward",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

for command in (
    joining.enroll,
    joining.follow,
    intaking.intake,
    intaking.withhold,
    intaking.hold,
    intaking.duplicate,
    intaking.book,
    intaking.reveal,
    publishing.publish,
    publishing.retract,
    publishing.erase,
    publishing.watch,
    receiving.receive,
    receiving.content,
    receiving.ack,
    receiving.take,
    receiving.decline,
    receiving.transfer,
    receiving.outcome,
    receiving.reply,
    intaking.link,
    alerting.alerts,
    alerting.looks,
    reading.show,
    reading.list_,
    reading.bundle,
    reading.receipt,
    reading.chains,
    reading.members,
    auditing.report,
    proving.verify,
    monitor.monitor,
    auditing.certificate,
    proving.conformance,
    joining.doctor,
    joining.version,
):
    app.command(command.__name__.rstrip("_"))(command)
app.add_typer(joining.keys)


@app.callback()
def onward(
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="ONWARD_DEBUG", help="Show where a command failed."
        ),
    ] = False,
) -> None:
    """Pass tips on as signed referrals, and prove what became of them."""


def main() -> None:
    """Runs the command line."""
    app(prog_name="onward")
