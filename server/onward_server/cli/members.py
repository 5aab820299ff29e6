"""``onward-server member``: the directory, changed through the running exchange."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onward_server.cli.entries import as_dict, put_member, put_token, words
from onward_server.cli.operating import HomeOption, as_operator
from onward_server.cli.output import ConfigOption, JsonOption, put, put_table, tell

if TYPE_CHECKING:
    from onward.client import Client

app = typer.Typer(
    help="Add members, and change what they may do.",
    no_args_is_help=True,
)

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="SPIFFE ID, or what follows the trust domain: agency/NAME, auditor/NAME.",
    ),
]


@app.command()
def add(
    name: NameArgument,
    *,
    kind: Annotated[
        str,
        typer.Option(help="HOTLINE, LAW_ENFORCEMENT, CHILD_WELFARE, AUDITOR, ..."),
    ],
    display_name: Annotated[str, typer.Option(help="What people call it.")],
    jurisdiction: Annotated[
        list[str] | None,
        typer.Option(help="ISO 3166-2 code such as US-OH, or US for all. Repeatable."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(help="PUBLISHER, RECIPIENT, ...; those of its kind if not given."),
    ] = None,
    ori: Annotated[str, typer.Option(help="Nine-character ORI, if it has one.")] = "",
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a member; print its enrolment token."""

    async def work(client: Client) -> None:
        from onward.v1 import directory_pb2, vocabulary_pb2

        member = directory_pb2.Member(
            name=_full_name(client, name),
            display_name=display_name,
            kind=_value(vocabulary_pb2.MemberKind, "MEMBER_KIND_", kind, "--kind"),
            jurisdictions=jurisdiction or (),
            ori=ori,
            roles=[
                _value(vocabulary_pb2.Role, "ROLE_", item, "--role")
                for item in role or ()
            ],
        )
        answer = await client.admin.add_member(member)
        put_token(member.name, answer, as_json=as_json)

    as_operator(work, config, home)


@app.command()
def token(
    name: NameArgument,
    *,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print another enrolment token.

    Earlier ones of the member that were not used become invalid. It is for a token that
    was lost, and for a member that must make new keys.
    """

    async def work(client: Client) -> None:
        full_name = _full_name(client, name)
        answer = await client.admin.issue_token(full_name)
        put_token(full_name, answer, as_json=as_json)

    as_operator(work, config, home)


@app.command("list")
def list_members(
    *,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List all members as they are now."""

    async def work(client: Client) -> None:
        members = [member async for member in client.members()]
        if as_json:
            put({"members": [as_dict(member) for member in members]})
            return
        put_table(
            ("name", "called", "kind", "status", "roles", "jurisdictions"),
            [
                (
                    member.name,
                    member.display_name,
                    *words(member),
                    " ".join(member.jurisdictions),
                )
                for member in members
            ],
        )

    as_operator(work, config, home)


@app.command()
def show(
    name: NameArgument,
    *,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a member and its keys, proven by the log."""

    async def work(client: Client) -> None:
        entry = await client.find_member(_full_name(client, name))
        if as_json:
            put(as_dict(entry.proto))
        else:
            put_member(entry.proto)

    as_operator(work, config, home)


@app.command()
def suspend(
    name: NameArgument,
    *,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lock a member out.

    On open streams too, within 60 seconds.
    """
    _change(
        name, lambda admin, full_name: admin.suspend(full_name), config, home, as_json
    )


@app.command()
def reinstate(
    name: NameArgument,
    *,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a suspended member in again."""
    _change(
        name, lambda admin, full_name: admin.reinstate(full_name), config, home, as_json
    )


@app.command()
def revoke_key(
    name: NameArgument,
    key_id: Annotated[
        str, typer.Argument(metavar="KEY_ID", help="Its id; `member show` has it.")
    ],
    *,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a statement or content key of a member."""
    _change(
        name,
        lambda admin, full_name: admin.revoke_key(full_name, key_id),
        config,
        home,
        as_json,
    )


@app.command()
def revoke_certificate(
    name: NameArgument,
    certificate: Annotated[
        str,
        typer.Argument(
            metavar="CERTIFICATE", help="A PEM file, or the SHA-256 in hex."
        ),
    ],
    *,
    config: ConfigOption = Path(),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a certificate of a member.

    On open streams too, within 60 seconds. The exchange's log has the fingerprint of
    each certificate that it issued.
    """
    fingerprint = _fingerprint(certificate)
    _change(
        name,
        lambda admin, full_name: admin.revoke_certificate(full_name, fingerprint),
        config,
        home,
        as_json,
    )


def _change(
    name: str,
    change: Callable[[Any, str], Awaitable[Any]],
    config: Path,
    home: Path | None,
    as_json: bool,
) -> None:
    """Asks for a change, and prints the logged statement that is in force."""

    async def work(client: Client) -> None:
        from onward.v1 import statement_pb2

        logged = await change(client.admin, _full_name(client, name))
        body = logged.message.directory_change
        kind = statement_pb2.DirectoryChangeKind.Name(body.kind)
        word = kind.removeprefix("DIRECTORY_CHANGE_KIND_")
        if as_json:
            put(
                {
                    "member": body.member.name,
                    "change": word,
                    "log_index": logged.log_index,
                    "digest": logged.digest.hex(),
                }
            )
        else:
            tell(f"{body.member.name}: {word}, log entry {logged.log_index:,}")

    as_operator(work, config, home)


def _full_name(client: Client, name: str) -> str:
    """Returns a SPIFFE ID, of the operator's trust domain if only a path was given."""
    from onward.core.identity import SpiffeId

    if not name.startswith("spiffe://"):
        domain = SpiffeId.parse(client.member).trust_domain
        name = f"spiffe://{domain}/{name}"
    return str(SpiffeId.parse(name))


def _value(enum: Any, prefix: str, word: str, option: str) -> Any:  # noqa: ANN401
    """Returns the value of an enum of the contract by its short name."""
    names = {name.removeprefix(prefix): number for name, number in enum.items()}
    names.pop("UNSPECIFIED", None)
    found = names.get(word.upper().replace("-", "_"))
    if found is None:
        known = ", ".join(names)
        raise typer.BadParameter(f"{word} is none of {known}", param_hint=option)
    return found


def _fingerprint(given: str) -> bytes:
    """Returns the fingerprint that was given, or of the certificate in a file."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    hint = "CERTIFICATE"
    path = Path(given)
    try:
        if path.is_file():
            leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
            return leaf.fingerprint(SHA256())
        return bytes.fromhex(given.replace(":", ""))
    except (ValueError, OSError):
        rule = "neither a PEM file nor a fingerprint in hex"
        raise typer.BadParameter(f"{given} is {rule}", param_hint=hint) from None
