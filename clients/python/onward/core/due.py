"""What is due in each state of a delivery or an intake, and who holds the tip there.

The exchange says by these tables when it warns of what; whoever verifies a chain asks
them whether it had to.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from onward.core import custody, intakes
from onward.v1 import vocabulary_pb2

Kind = vocabulary_pb2.DeadlineKind
"""What is due, as it is on the wire (``onward.v1.DeadlineKind``)."""

Role = vocabulary_pb2.HolderRole
"""Who holds a tip, as it is on the wire (``onward.v1.HolderRole``)."""

_S = custody.State
_DELIVER = Kind.DEADLINE_KIND_DELIVER
_ACKNOWLEDGE = Kind.DEADLINE_KIND_ACKNOWLEDGE
_OUTCOME = Kind.DEADLINE_KIND_OUTCOME

OPEN: Final[Mapping[int, tuple[Kind.ValueType, ...]]] = MappingProxyType(
    {
        _S.DELIVERY_STATE_ACCEPTED: (_DELIVER,),
        _S.DELIVERY_STATE_HANDED_OVER: (_DELIVER,),
        _S.DELIVERY_STATE_INVALID: (_DELIVER,),
        _S.DELIVERY_STATE_RECEIVED: (_ACKNOWLEDGE, _OUTCOME),
        _S.DELIVERY_STATE_ACKNOWLEDGED: (_OUTCOME,),
        _S.DELIVERY_STATE_TAKEN: (_OUTCOME,),
    }
)
"""What is due in each state of a delivery; nothing in the others. An outcome is due
until the first one."""

HOLDERS: Final[Mapping[int, Role.ValueType]] = MappingProxyType(
    {
        _S.DELIVERY_STATE_ACCEPTED: Role.HOLDER_ROLE_EXCHANGE,
        _S.DELIVERY_STATE_HANDED_OVER: Role.HOLDER_ROLE_RECIPIENT,
        _S.DELIVERY_STATE_INVALID: Role.HOLDER_ROLE_PUBLISHER,
        _S.DELIVERY_STATE_RECEIVED: Role.HOLDER_ROLE_RECIPIENT,
        _S.DELIVERY_STATE_ACKNOWLEDGED: Role.HOLDER_ROLE_RECIPIENT,
        _S.DELIVERY_STATE_TAKEN: Role.HOLDER_ROLE_RECIPIENT,
    }
)
"""Who holds the tip in each state of a delivery in which something is due."""

OPEN_INTAKE: Final[Mapping[int, Kind.ValueType]] = MappingProxyType(
    {
        intakes.State.INTAKE_STATE_OPEN: Kind.DEADLINE_KIND_PASS_ON,
        intakes.State.INTAKE_STATE_WITHHELD: Kind.DEADLINE_KIND_REVIEW,
    }
)
"""What is due in each state of an intake, where a time is set; the hotline holds it."""


def kind_name(kind: int) -> str:
    """Returns a kind's name without its prefix, such as ``ACKNOWLEDGE``."""
    if kind not in Kind.values():
        return f"UNKNOWN_{kind}"
    return Kind.Name(Kind.ValueType(kind)).removeprefix("DEADLINE_KIND_")


def role_name(role: int) -> str:
    """Returns a holder's part without its prefix, such as ``RECIPIENT``."""
    if role not in Role.values():
        return f"UNKNOWN_{role}"
    return Role.Name(Role.ValueType(role)).removeprefix("HOLDER_ROLE_")
