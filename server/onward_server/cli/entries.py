"""How members and their tokens are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from onward_server.cli.output import put, put_table, tell

if TYPE_CHECKING:
    from onward.v1 import directory_pb2

_SHOWN_TIME: Final = "%Y-%m-%d %H:%M"


def put_token(member: str, answer: Any, *, as_json: bool) -> None:  # noqa: ANN401
    """Prints a token: itself to stdout, all about it to stderr."""
    from datetime import UTC

    expires = answer.token_expire_time.ToDatetime(UTC)
    if as_json:
        put(
            {
                "member": member,
                "token": answer.token,
                "token_expire_time": expires.isoformat(),
            }
        )
        return
    tell(
        f"{member} can enrol with this one-time token until {expires:{_SHOWN_TIME}}Z."
        "\nGive it to the member over a channel you trust; there: onward enroll TOKEN\n"
    )
    typer.echo(answer.token)


def put_member(member: directory_pb2.Member) -> None:
    """Prints an entry: who it is, then its keys."""
    from datetime import UTC

    from onward.v1 import vocabulary_pb2

    kind, status, roles = words(member)
    rows = [
        ("name", member.name),
        ("called", member.display_name),
        ("kind", kind),
        ("status", status),
        ("roles", roles),
        ("jurisdictions", " ".join(member.jurisdictions)),
        ("ORI", member.ori),
        *(("revoked", digest.hex()) for digest in member.revoked_certificates),
    ]
    put_table(("", ""), [row for row in rows if row[1]])
    keys: list[tuple[str, Any]] = [
        *(("statement", key) for key in member.statement_keys),
        *(("content", key) for key in member.content_keys),
    ]
    if not keys:
        return
    typer.echo()
    put_table(
        ("key", "id", "status", "valid from", "until"),
        [
            (
                use,
                key.key_id,
                vocabulary_pb2.KeyStatus.Name(key.status).removeprefix("KEY_STATUS_"),
                f"{key.not_before_time.ToDatetime(UTC):{_SHOWN_TIME}}",
                f"{key.not_after_time.ToDatetime(UTC):{_SHOWN_TIME}}",
            )
            for use, key in keys
        ],
    )


def words(member: directory_pb2.Member) -> tuple[str, str, str]:
    """Returns kind, status and roles as words."""
    from onward.v1 import vocabulary_pb2

    kinds, statuses, roles = (
        vocabulary_pb2.MemberKind,
        vocabulary_pb2.MemberStatus,
        vocabulary_pb2.Role,
    )
    return (
        kinds.Name(member.kind).removeprefix("MEMBER_KIND_"),
        statuses.Name(member.status).removeprefix("MEMBER_STATUS_"),
        " ".join(roles.Name(role).removeprefix("ROLE_") for role in member.roles),
    )


def as_dict(member: directory_pb2.Member) -> dict[str, Any]:
    """Returns an entry with the contract's own names."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(member, preserving_proto_field_name=True)
