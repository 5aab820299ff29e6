"""What a publisher decides about a referral, from a JSON file and from options.

Both are members of the JSON form of ``onward.v1.Referral``. Layers of them lie on each
other, and the last one that states a member wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Final, cast

from onward.cli._messages import fill, members_of, read_members
from onward.client import Routing, RoutingChanges
from onward.core.errors import MalformedError
from onward.v1 import statement_pb2

WHAT: Final = "referral"

_REQUIRED: Final = {
    "recipients": "--to",
    "urgency": "--urgency",
    "jurisdiction": "--jurisdiction",
    "basis": "--basis",
    "subject_age_group": "--subject",
}
_DECIDED: Final = frozenset(Routing.__annotations__)


def members_of_file(path: Path | None) -> dict[str, object]:
    """Reads a referral file; none has no members."""
    if path is None:
        return {}
    return read_members(path.read_bytes(), statement_pb2.Referral(), WHAT)


def members_of_options(
    *,
    jurisdiction: str | None = None,
    consent: str | None = None,
    **options: object,
) -> dict[str, object]:
    """Returns what options state, as members of a referral."""
    messages = {
        "jurisdiction": {"code": jurisdiction} if jurisdiction else None,
        "consent": {"state": consent} if consent else None,
    }
    given = {name: value for name, value in (options | messages).items() if value}
    return members_of(given, statement_pb2.Referral(), WHAT)


def laid_over(*layers: Mapping[str, object]) -> dict[str, object]:
    """Returns the members that layers of them make, the last one uppermost."""
    members: dict[str, object] = {}
    for layer in layers:
        for name, value in layer.items():
            members[name] = _merged(members.get(name), value)
    return members


def routing_of(members: Mapping[str, object]) -> Routing:
    """Returns the routing that members state.

    Raises:
        MalformedError: something is missing, or not the publisher's to state.
    """
    changes = changes_of(members)
    for name, option in _REQUIRED.items():
        if name not in changes:
            raise MalformedError(
                f"the referral needs its {name}: give {option}, or state it in the "
                "file of --referral",
                field=f"{WHAT}.{name}",
            )
    return cast("Routing", changes)


def changes_of(members: Mapping[str, object]) -> RoutingChanges:
    """Returns what of a routing members state.

    Raises:
        MalformedError: something is not the publisher's to state.
    """
    referral = fill(statement_pb2.Referral(), members, WHAT)
    changes = {field.name: value for field, value in referral.ListFields()}
    for name in changes.keys() - _DECIDED:
        raise MalformedError(
            f"{WHAT}.{name} cannot be stated here: it follows from the tip",
            field=f"{WHAT}.{name}",
        )
    if referral.HasField("expire_time"):
        changes["expire_time"] = referral.expire_time.ToDatetime(tzinfo=UTC)
    return cast("RoutingChanges", changes)


def _merged(below: object, above: object) -> object:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | above
    return above
