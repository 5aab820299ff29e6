"""Who takes part in a year of tips that never were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.scribe import DOMAIN
from onward.v1 import directory_pb2
from onward.v1 import vocabulary_pb2 as v

STATES: Final = ("US-FL", "US-OH", "US-TX", "US-GA", "US-NV")
_AGENCIES: Final = tuple(
    (f"{code[-2:].lower()}-state-police", v.MEMBER_KIND_LAW_ENFORCEMENT, code)
    for code in STATES
) + tuple(
    (f"{code[-2:].lower()}-child-welfare", v.MEMBER_KIND_CHILD_WELFARE, code)
    for code in STATES
)
_OTHERS: Final = (
    ("gulf-task-force", v.MEMBER_KIND_TASK_FORCE, "US"),
    ("shelter-network", v.MEMBER_KIND_SERVICE_PROVIDER, "US"),
    ("national-hotline", v.MEMBER_KIND_HOTLINE, "US"),
    ("florida-hotline", v.MEMBER_KIND_HOTLINE, "US-FL"),
)


def agency(name: str) -> str:
    """Returns the SPIFFE ID of a member by its short name."""
    return f"spiffe://{DOMAIN}/agency/{name}"


def parties() -> Mapping[str, directory_pb2.Member]:
    """Returns all members of the exchange, by their names."""
    roles = (v.ROLE_PUBLISHER, v.ROLE_RECIPIENT)
    members = {
        agency(name): directory_pb2.Member(
            name=agency(name),
            display_name=name.replace("-", " ").title(),
            kind=kind,
            roles=roles,
            jurisdictions=[code],
        )
        for name, kind, code in (*_AGENCIES, *_OTHERS)
    }
    for path, kind, role in (
        ("auditor/inspector-general", v.MEMBER_KIND_AUDITOR, v.ROLE_AUDITOR),
        ("operator/admin", v.MEMBER_KIND_OPERATOR, v.ROLE_OPERATOR),
    ):
        name = f"spiffe://{DOMAIN}/{path}"
        members[name] = directory_pb2.Member(name=name, kind=kind, roles=[role])
    return members
