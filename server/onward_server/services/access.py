"""Who may call what: one row for every RPC that any port serves.

A method without a row is not served: :func:`rules_of` fails at start, and a test walks
through the descriptors. The rule is about the caller's role only; whether this caller
may see this referral is for the domain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from google.protobuf import descriptor_pool

from onward.core.errors import ForbiddenError, Reason
from onward.v1 import vocabulary_pb2
from onward_server.exchange.directory import Caller
from onward_server.exchange.quotas import Place, Resource

ANYONE: frozenset[int] | None = None
"""Whoever could connect, member or not."""

MEMBER: frozenset[int] = frozenset(vocabulary_pb2.Role.values())
"""Every active member, whatever its roles."""

_PUBLISHER = frozenset({vocabulary_pb2.ROLE_PUBLISHER})
_RECIPIENT = frozenset({vocabulary_pb2.ROLE_RECIPIENT})
_AUDITOR = frozenset({vocabulary_pb2.ROLE_AUDITOR})
_OPERATOR = frozenset({vocabulary_pb2.ROLE_OPERATOR})
_PARTY = _PUBLISHER | _RECIPIENT


_LEAST_CHUNK = 4096
"""Bytes that a message of an upload costs at least: small ones are work, too."""


def _one(_: Any) -> int:  # noqa: ANN401 - any request
    return 1


def _items(request: Any) -> int:  # noqa: ANN401 - any batch
    return len(request.requests)


def _bytes(request: Any) -> int:  # noqa: ANN401 - any message with a chunk
    return max(len(request.chunk), _LEAST_CHUNK)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a call needs.

    Attributes:
        roles: the caller has one of these; None when anyone may call.
        resource: the allowance that each request message uses up.
        cost: how much of it.
        place: what the call holds one of while it runs.
    """

    roles: frozenset[int] | None
    resource: Resource = Resource.READS
    cost: Callable[[Any], int] = _one
    place: Place | None = None

    def check(self, caller: Caller) -> None:
        """Checks the caller's roles.

        Raises:
            ForbiddenError: ``ROLE_REQUIRED``.
        """
        if self.roles is not None and self.roles.isdisjoint(caller.entry.roles):
            needed = " or ".join(sorted(map(_role_name, self.roles)))
            raise ForbiddenError(
                Reason.ERROR_REASON_ROLE_REQUIRED,
                f"{caller.name} may not call this: it needs the role {needed}, which "
                "the operator of the exchange gives",
                metadata={"required": needed},
            )


_PUBLISH = Resource.PUBLISH
_STATEMENTS = Resource.STATEMENTS
_UPLOAD = Resource.UPLOAD_BYTES
_STREAM = Place.STREAM

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        f"/{service}/{method}": rule
        for service, rules in {
            "onward.v1.ReferralService": {
                "Publish": Rule(_PUBLISHER, _PUBLISH),
                "PublishBatch": Rule(_PUBLISHER, _PUBLISH, _items),
                # A recipient uploads what it transfers.
                "PutContent": Rule(_PARTY, _UPLOAD, _bytes, _STREAM),
                "Receive": Rule(_RECIPIENT, place=_STREAM),
                "GetContent": Rule(_RECIPIENT, place=_STREAM),
                "SubmitStatement": Rule(_PARTY, _STATEMENTS),
                "SubmitStatements": Rule(_PARTY, _STATEMENTS, _items),
                "WatchOwn": Rule(_PUBLISHER, place=_STREAM),
                "GetReferral": Rule(_PARTY),
                "ListReferrals": Rule(_PARTY),
                "EraseContent": Rule(_PUBLISHER, _STATEMENTS),
            },
            "onward.v1.CustodyService": {
                "GetBundle": Rule(_PARTY | _AUDITOR),
                "ListChains": Rule(_AUDITOR),
            },
            "onward.v1.IntakeService": {
                "RegisterIntake": Rule(_PUBLISHER, _STATEMENTS),
                "RegisterIntakes": Rule(_PUBLISHER, _STATEMENTS, _items),
                "DecideIntake": Rule(_PUBLISHER, _STATEMENTS),
                "GetBook": Rule(_PUBLISHER),
                "GetIntake": Rule(_PUBLISHER),
                "ListIntakes": Rule(_PUBLISHER),
            },
            "onward.v1.AlertService": {
                "WatchAlerts": Rule(_PARTY | _OPERATOR, place=_STREAM),
            },
            "onward.v1.AuditService": {
                # An export is logged, and reads all there is: few at once.
                "ExportStatements": Rule(_AUDITOR, _STATEMENTS, place=Place.EXPORT),
                "ListAuditAccess": Rule(_PARTY),
            },
            "onward.v1.PolicyService": {
                "GetPolicy": Rule(MEMBER),
                "ListPolicyChanges": Rule(MEMBER),
            },
            "onward.v1.LogService": {
                "GetCheckpoint": Rule(MEMBER),
                "GetReceipt": Rule(MEMBER),
                "GetConsistencyProof": Rule(MEMBER),
                "ListEntries": Rule(MEMBER),
                "ListVouchers": Rule(MEMBER),
            },
            "onward.v1.DirectoryService": {
                "GetMember": Rule(MEMBER),
                "ListMembers": Rule(MEMBER),
                "GetExchangeKeys": Rule(MEMBER),
                "RotateKeys": Rule(MEMBER, _STATEMENTS),
                "RenewCertificate": Rule(MEMBER, _STATEMENTS),
            },
            "onward.v1.CapabilityService": {"GetCapabilities": Rule(MEMBER)},
            "onward.v1.AdminService": {
                "AddMember": Rule(_OPERATOR, _STATEMENTS),
                "IssueToken": Rule(_OPERATOR, _STATEMENTS),
                "SuspendMember": Rule(_OPERATOR, _STATEMENTS),
                "ReinstateMember": Rule(_OPERATOR, _STATEMENTS),
                "RevokeKey": Rule(_OPERATOR, _STATEMENTS),
                "RevokeCertificate": Rule(_OPERATOR, _STATEMENTS),
                "EraseReferralContent": Rule(_OPERATOR, _STATEMENTS),
                "ApplyPolicy": Rule(_OPERATOR, _STATEMENTS),
                "GetStatus": Rule(_OPERATOR),
            },
            "onward.v1.EnrollmentService": {
                "StartEnrollment": Rule(
                    ANYONE, Resource.ENROLMENT, place=Place.ENROLMENT
                ),
                "CompleteEnrollment": Rule(
                    ANYONE, Resource.ENROLMENT, place=Place.ENROLMENT
                ),
            },
            "grpc.health.v1.Health": {
                "Check": Rule(ANYONE),
                "List": Rule(ANYONE),
                "Watch": Rule(ANYONE, place=_STREAM),
            },
            "grpc.reflection.v1alpha.ServerReflection": {
                "ServerReflectionInfo": Rule(MEMBER, place=_STREAM),
            },
        }.items()
        for method, rule in rules.items()
    }
)


def rules_of(services: Iterable[str]) -> dict[str, Rule]:
    """Returns the rules of all methods of these services, by full method name.

    Args:
        services: full names, such as ``onward.v1.LogService``.

    Raises:
        KeyError: a method has no rule, so it must not be served.
    """
    pool = descriptor_pool.Default()
    return {
        path: RULES[path]
        for service in services
        for method in pool.FindServiceByName(service).methods
        for path in (f"/{service}/{method.name}",)
    }


def _role_name(role: int) -> str:
    """Returns a role as people write it."""
    name = vocabulary_pb2.Role.Name(vocabulary_pb2.Role.ValueType(role))
    return name.removeprefix("ROLE_").lower()
