"""``onward-server policy``: check, understand and change the policy set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onward_server.cli.operating import HomeOption, as_operator
from onward_server.cli.output import ConfigOption, JsonOption, put, tell

if TYPE_CHECKING:
    from onward.client import Client
    from onward_server.exchange.policy_explaining import Difference
    from onward_server.exchange.policy_set import PolicySet

app = typer.Typer(
    help="Check, understand and change the policy set.", no_args_is_help=True
)

SetArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder with the policy set.")
]
MaybeSetArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIR",
        help="The folder with the policy set; the one in force if not given.",
    ),
]


@app.command()
def check(directory: SetArgument, *, as_json: JsonOption = False) -> None:
    """Check a policy set, without an exchange.

    Names the file, line and rule that is not sound.
    """
    policy_set = _read(directory)
    if as_json:
        from onward_server.cli.policy_pages import head_as_dict

        put(head_as_dict(policy_set))
        return
    own = ", ".join(policy_set.own) or "none"
    rules = len(policy_set.default.rules)
    tell(
        f"{policy_set.version} is sound: {rules} default rules; jurisdictions with "
        f"rules of their own: {own}"
    )
    typer.echo(policy_set.digest.hex())


@app.command()
def diff(
    directory: SetArgument,
    *,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="An older set; the one in force if not given."
        ),
    ] = None,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a policy set would change.

    In words: which rules and deadlines are new, gone or another.
    """
    new = _read(directory)

    def show(old: PolicySet) -> None:
        found = _differences(old, new)
        if as_json:
            put(_differences_as_dict(old, new, found))
        else:
            _tell_differences(old, new, found)

    _with_set(show, against, config, home)


@app.command()
def explain(
    directory: MaybeSetArgument = None,
    *,
    referral: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What a referral would meet: a JSON file."),
    ] = None,
    withholding: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What a withholding would meet."),
    ] = None,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say a policy set in plain English.

    Each rule has its citation, its sentence, and its exact conditions, made from the
    rule itself. With a referral or a withholding: which rules permit and forbid it,
    for each recipient, and what would be due. See the how-to on policies for the files.
    """
    if referral and withholding:
        raise typer.BadParameter("give a referral or a withholding, not both")

    def show(policy_set: PolicySet) -> None:
        if referral:
            _explain_referral(policy_set, referral, as_json=as_json)
        elif withholding:
            _explain_withholding(policy_set, withholding, as_json=as_json)
        else:
            _explain_set(policy_set, as_json=as_json)

    _with_set(show, directory, config, home)


@app.command()
def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to make.")
    ],
    *,
    default: Annotated[
        bool,
        typer.Option("--default", help="The set that this release comes with instead."),
    ] = False,
    config: ConfigOption = Path(),
    home: HomeOption = None,
) -> None:
    """Write the policy set in force to a new folder, to change it."""

    def write(policy_set: PolicySet) -> None:
        try:
            directory.mkdir(parents=True)
            for name, text in policy_set.files.items():
                (directory / name).write_text(text, "utf-8", newline="")
        except OSError as error:
            why = f"{directory} cannot be written: {error.strerror}"
            raise typer.BadParameter(why, param_hint="DIR") from error
        tell(f"{directory} has the policy set {policy_set.version}")

    if directory.exists():
        raise typer.BadParameter(f"{directory} is there already", param_hint="DIR")
    _with_set(write, _default() if default else None, config, home)


@app.command("apply")
def apply_set(
    directory: SetArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a policy set in force.

    From one place of the log on the exchange judges by it. Shows the differences, and
    asks.
    """
    new = _read(directory)

    async def work(client: Client) -> None:
        present = await client.policies.get()
        old = _logged(present.files)
        _tell_differences(old, new, _differences(old, new), err=True)
        if old.digest != new.digest and not yes:
            typer.confirm(f"\nPut {new.version} in force?", abort=True, err=True)
        logged = await client.admin.apply_policy(new.files, present.digest)
        body = logged.message.policy_change
        tell(
            f"{body.policy_version} is in force from log entry {logged.log_index:,} on"
        )
        if as_json:
            put(
                {
                    "version": body.policy_version,
                    "digest": body.policy_digest.hex(),
                    "log_index": logged.log_index,
                }
            )

    as_operator(work, config, home)


def _with_set(
    show: Callable[[PolicySet], None],
    directory: Path | None,
    config: Path,
    home: Path | None,
) -> None:
    """Does something with the set in a folder, or with the one in force."""
    if directory is not None:
        show(_read(directory))
        return

    async def work(client: Client) -> None:
        present = await client.policies.get()
        show(_logged(present.files))

    as_operator(work, config, home)


def _read(directory: Path) -> PolicySet:
    """Returns the set in a folder, found sound."""
    from onward_server.exchange.policy_files import read_policy_files
    from onward_server.exchange.policy_set import read_policy_set

    return read_policy_set(read_policy_files(directory))


def _logged(files: Mapping[str, str]) -> PolicySet:
    """Returns the set in force."""
    from onward_server.exchange.policy_set import read_logged_policy_set

    return read_logged_policy_set(files)


def _default() -> Path:
    """Returns the folder of the set that this release comes with."""
    from onward_server.exchange.policy_files import default_policy_folder

    return Path(str(default_policy_folder()))


def _differences(old: PolicySet, new: PolicySet) -> list[Difference]:
    from onward_server.exchange.policy_explaining import differences

    return differences(old, new)


def _differences_as_dict(
    old: PolicySet, new: PolicySet, found: list[Difference]
) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "before": {"version": old.version, "digest": old.digest.hex()},
        "after": {"version": new.version, "digest": new.digest.hex()},
        "differences": [asdict(item) for item in found],
    }


def _tell_differences(
    old: PolicySet, new: PolicySet, found: list[Difference], *, err: bool = False
) -> None:
    """Prints what another set changes; to stderr where it is not the data asked for."""
    from onward_server.cli.policy_pages import put_differences

    if old.digest == new.digest:
        tell(f"{new.version} is the same, byte by byte")
    elif not found:
        tell("Only texts that decide nothing differ, such as comments.")
    put_differences(found, err=err)


def _explain_set(policy_set: PolicySet, *, as_json: bool) -> None:
    from onward_server.cli.policy_pages import put_set, set_as_dict

    if as_json:
        put(set_as_dict(policy_set))
    else:
        put_set(policy_set)


def _explain_referral(policy_set: PolicySet, path: Path, *, as_json: bool) -> None:
    """Prints what a referral would meet now, and what it meets when consent ends."""
    from datetime import UTC

    from onward_server.cli.policy_pages import met_as_dict, put_met
    from onward_server.cli.questions import Question
    from onward_server.exchange.clock import SystemClock, to_datetime
    from onward_server.exchange.policy import DisclosurePolicy
    from onward_server.exchange.policy_explaining import met_by_referral, spans_of

    question, policy = Question(path), DisclosurePolicy(policy_set)
    body, publisher = question.referral(), question.member("publisher")
    recipients, now = question.recipients(), to_datetime(SystemClock().now_ms())
    above = question.above()
    found = met_by_referral(policy, publisher, body, recipients, now, above)
    consents = [item.consent for item in (body, above) if item]
    ends = [
        item.expire_time.ToDatetime(UTC)
        for item in consents
        if item.HasField("expire_time")
    ]
    later = []
    if ends:
        end = max(now, *ends)
        later = met_by_referral(policy, publisher, body, recipients, end, above)
    spans = spans_of(policy, body.urgency, body.jurisdiction.code)
    if as_json:
        put(
            {
                "recipients": [met_as_dict(item) for item in found],
                "after_consent": [met_as_dict(item) for item in later],
                "deadlines": dict(spans),
            }
        )
        return
    put_met(found, spans)
    if later and later != found:
        typer.echo("\nFrom the end of the consent on:\n")
        put_met(later, {})


def _explain_withholding(policy_set: PolicySet, path: Path, *, as_json: bool) -> None:
    """Prints what a withholding would meet."""
    from onward.v1 import statement_pb2
    from onward_server.cli.policy_pages import met_as_dict, put_met
    from onward_server.cli.questions import Question
    from onward_server.exchange.policy import DisclosurePolicy
    from onward_server.exchange.policy_explaining import met_by_withholding, spans_of

    question, policy = Question(path), DisclosurePolicy(policy_set)
    tip = question.message("intake", statement_pb2.Intake)
    body = question.message("withholding", statement_pb2.Withholding)
    found = met_by_withholding(policy, question.member("hotline"), tip, body)
    spans = spans_of(policy, tip.urgency, tip.jurisdiction.code)
    if as_json:
        put({**met_as_dict(found), "deadlines": dict(spans)})
    else:
        put_met([found], spans)
