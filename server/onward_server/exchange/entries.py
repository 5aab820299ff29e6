"""What an operator may put into the directory: the description of a new member."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from onward.core.directory import EVERYWHERE, ROLES_OF_KIND
from onward.core.errors import MalformedError
from onward.core.identity import IdentityKind, SpiffeId
from onward.v1 import directory_pb2, vocabulary_pb2

MAX_DISPLAY_NAME: Final = 100
MAX_JURISDICTIONS: Final = 100

IDENTITY_OF_KIND: Final[Mapping[int, IdentityKind]] = MappingProxyType(
    {
        **dict.fromkeys(ROLES_OF_KIND, IdentityKind.AGENCY),
        vocabulary_pb2.MEMBER_KIND_AUDITOR: IdentityKind.AUDITOR,
        vocabulary_pb2.MEMBER_KIND_OPERATOR: IdentityKind.OPERATOR,
    }
)
"""The first segment of the path in the names of members of a kind."""

# ISO 3166-1 alpha-2, and ISO 3166-2 subdivisions.
_JURISDICTION: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_ORI: Final = re.compile(r"[A-Z0-9]{9}")


def new_entry(wanted: directory_pb2.Member, trust_domain: str) -> directory_pb2.Member:
    """Returns the entry of a member to add: pending, without keys.

    Args:
        wanted: ``name``, ``display_name``, ``kind``, ``jurisdictions``; optionally
            ``roles`` (those of the kind if absent) and ``ori``.
        trust_domain: this exchange's.

    Raises:
        MalformedError: a field is not allowed; ``field`` names it.
    """
    name = _checked_name(wanted, trust_domain)
    roles = tuple(wanted.roles) or ROLES_OF_KIND[wanted.kind]
    for field, holds, rule in _rules(wanted, roles):
        if not holds:
            raise _malformed(field, rule)
    return directory_pb2.Member(
        name=name,
        display_name=wanted.display_name,
        kind=wanted.kind,
        roles=roles,
        jurisdictions=wanted.jurisdictions,
        ori=wanted.ori,
        status=vocabulary_pb2.MEMBER_STATUS_PENDING,
    )


def _checked_name(wanted: directory_pb2.Member, trust_domain: str) -> str:
    """Returns the name, if it is of this trust domain and fits the kind."""
    identity = IDENTITY_OF_KIND.get(wanted.kind)
    if identity is None:
        raise _malformed("kind", "is one that this version knows")
    try:
        name = SpiffeId.parse(wanted.name)
    except MalformedError as error:
        raise MalformedError(
            f"member.name: {error.message}", field="member.name"
        ) from None
    if (name.trust_domain, name.kind) != (trust_domain, identity):
        raise _malformed("name", f"begins with spiffe://{trust_domain}/{identity}/")
    return str(name)


def _rules(
    wanted: directory_pb2.Member, roles: Sequence[int]
) -> Iterator[tuple[str, object, str]]:
    """Yields (field, whether its rule holds, the rule)."""
    label, places = wanted.display_name, list(wanted.jurisdictions)
    yield "display_name", label.strip(), "is not empty"
    yield (
        "display_name",
        len(label) <= MAX_DISPLAY_NAME and label.isprintable(),
        f"has at most {MAX_DISPLAY_NAME} characters, and no control characters",
    )
    allowed = set(ROLES_OF_KIND[wanted.kind])
    yield "roles", set(roles) <= allowed, "is among the roles of the member's kind"
    yield "roles", len(set(roles)) == len(roles), "has no role twice"
    # Operators run the exchange for everywhere; all others are competent somewhere.
    operator = wanted.kind == vocabulary_pb2.MEMBER_KIND_OPERATOR
    auditor = wanted.kind == vocabulary_pb2.MEMBER_KIND_AUDITOR
    yield (
        "jurisdictions",
        (places or operator) and len(places) <= MAX_JURISDICTIONS,
        f"has 1 to {MAX_JURISDICTIONS} codes",
    )
    yield (
        "jurisdictions",
        (auditor and places == [EVERYWHERE])
        or all(map(_JURISDICTION.fullmatch, places)),
        "has ISO 3166 codes, such as US or US-OH; an auditor's may be * alone",
    )
    yield "jurisdictions", len(set(places)) == len(places), "has no code twice"
    yield "ori", not wanted.ori or _ORI.fullmatch(wanted.ori), "is nine of A-Z, 0-9"
    yield "status", not wanted.status, "is left to the exchange"
    yield (
        "statement_keys",
        not (wanted.statement_keys or wanted.content_keys),
        "comes by enrolment",
    )
    yield "revoked_certificates", not wanted.revoked_certificates, "is empty at first"


def _malformed(field: str, rule: str) -> MalformedError:
    path = f"member.{field}"
    return MalformedError(f"{path} does not follow the rule: it {rule}", field=path)
