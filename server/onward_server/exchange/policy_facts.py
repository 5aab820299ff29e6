"""The facts by which the disclosure policy decides, as Cedar reads them.

There are two questions: may a referral go to a recipient (:class:`Facts`), and may a
tip be withheld (:class:`WithholdingFacts`). Their facts are what
``policies/schema.cedarschema`` describes, and no more. They can be hashed, and two
questions with equal facts have the same answer. Time is among them only as the state of
each consent, which is ``EXPIRED`` from the moment at which it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from google.protobuf.descriptor import EnumDescriptor

from onward.core.consent import covers, state_at
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2

CedarJson: TypeAlias = dict[str, Any]
"""A value in Cedar's JSON form."""

Action: TypeAlias = Literal["pass-on", "withhold"]
"""What a question is about; each rule is about one of them."""

_LAW_ENFORCEMENT: Final = ("law-enforcement", "authority", "agency")

GROUPS: Final[Mapping[int, tuple[str, ...]]] = MappingProxyType(
    {
        vocabulary_pb2.MEMBER_KIND_HOTLINE: ("hotline", "agency"),
        vocabulary_pb2.MEMBER_KIND_LAW_ENFORCEMENT: _LAW_ENFORCEMENT,
        vocabulary_pb2.MEMBER_KIND_CHILD_WELFARE: (
            "child-welfare",
            "authority",
            "agency",
        ),
        vocabulary_pb2.MEMBER_KIND_TASK_FORCE: _LAW_ENFORCEMENT,
        vocabulary_pb2.MEMBER_KIND_SERVICE_PROVIDER: ("service-provider", "agency"),
        vocabulary_pb2.MEMBER_KIND_PROSECUTOR: _LAW_ENFORCEMENT,
    }
)
"""The groups that each kind of member is in, as the schema's comment lists them."""


class Party(NamedTuple):
    """What of a directory entry is a fact."""

    name: str
    kind: int
    jurisdictions: tuple[str, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that the member is in; none for a kind that is no agency."""
        return GROUPS.get(self.kind, ())

    @property
    def uid(self) -> CedarJson:
        """The member's name."""
        return {"type": "Member", "id": self.name}

    def entity(self) -> CedarJson:
        """Returns the member with its attributes and groups."""
        kind = _value(vocabulary_pb2.MemberKind.DESCRIPTOR, self.kind)
        return {
            "uid": self.uid,
            "attrs": {"kind": kind, "jurisdictions": self.jurisdictions},
            "parents": [{"type": "Group", "id": group} for group in self.groups],
        }


class Facts(NamedTuple):
    """One question: the facts about a referral and one of its recipients."""

    publisher: Party
    recipient: Party
    basis: int
    consent: int
    consent_covers_recipient: bool
    reporter: int
    age_group: int
    urgency: int
    urgency_reason_stated: bool
    trafficking_type: int
    jurisdiction: str
    tribal_land: bool
    test: bool
    parent_binds: bool
    parent_consent: int
    parent_consent_covers_recipient: bool

    @property
    def action(self) -> Action:
        """What the question is about."""
        return "pass-on"

    @property
    def parties(self) -> tuple[Party, ...]:
        """The members concerned, who asks first."""
        return (self.publisher, self.recipient)

    def request(self) -> CedarJson:
        """Returns the question: may this publisher pass this on to that recipient?"""
        return _request(self.publisher, self.action, self.recipient.uid, self.context())

    def context(self) -> CedarJson:
        """Returns the facts about the referral; the members are entities."""
        words = vocabulary_pb2
        return {
            "basis": _value(words.DisclosureBasis.DESCRIPTOR, self.basis),
            "consent": _value(words.ConsentState.DESCRIPTOR, self.consent),
            "consentCoversRecipient": self.consent_covers_recipient,
            "reporter": _value(words.ReporterType.DESCRIPTOR, self.reporter),
            "ageGroup": _value(words.AgeGroup.DESCRIPTOR, self.age_group),
            "urgency": _value(words.Urgency.DESCRIPTOR, self.urgency),
            "urgencyReasonStated": self.urgency_reason_stated,
            "traffickingType": _value(
                words.TraffickingType.DESCRIPTOR, self.trafficking_type
            ),
            "jurisdiction": self.jurisdiction,
            "country": country_of(self.jurisdiction),
            "tribalLand": self.tribal_land,
            "test": self.test,
            "parentBinds": self.parent_binds,
            "parentConsent": _value(words.ConsentState.DESCRIPTOR, self.parent_consent),
            "parentConsentCoversRecipient": self.parent_consent_covers_recipient,
        }


class WithholdingFacts(NamedTuple):
    """One question: the facts about a tip and why a hotline withholds it."""

    hotline: Party
    reason: int
    reporter: int
    age_group: int
    urgency: int
    trafficking_type: int
    jurisdiction: str
    citation_stated: bool
    review_stated: bool
    test: bool

    @property
    def action(self) -> Action:
        """What the question is about."""
        return "withhold"

    @property
    def parties(self) -> tuple[Party, ...]:
        """The members concerned: who asks."""
        return (self.hotline,)

    def request(self) -> CedarJson:
        """Returns the question: may this hotline withhold a tip?

        All that rules see of the tip is in the context.
        """
        tip = {"type": "Intake", "id": "intake"}
        return _request(self.hotline, self.action, tip, self.context())

    def context(self) -> CedarJson:
        """Returns the facts about the tip and the withholding."""
        words = vocabulary_pb2
        return {
            "reason": _value(words.WithholdReason.DESCRIPTOR, self.reason),
            "reporter": _value(words.ReporterType.DESCRIPTOR, self.reporter),
            "ageGroup": _value(words.AgeGroup.DESCRIPTOR, self.age_group),
            "urgency": _value(words.Urgency.DESCRIPTOR, self.urgency),
            "traffickingType": _value(
                words.TraffickingType.DESCRIPTOR, self.trafficking_type
            ),
            "jurisdiction": self.jurisdiction,
            "country": country_of(self.jurisdiction),
            "citationStated": self.citation_stated,
            "reviewStated": self.review_stated,
            "test": self.test,
        }


def facts_of(
    publisher: directory_pb2.Member,
    recipient: directory_pb2.Member,
    referral: statement_pb2.Referral,
    now: datetime,
    above: statement_pb2.Referral | None = None,
) -> Facts:
    """Returns the facts about a referral and one of its recipients at a time (UTC).

    Args:
        publisher: who signed the referral.
        recipient: one of its recipients.
        referral: the referral.
        now: decides whether a consent has ended.
        above: for a transfer, the referral above it whose consent binds it.
    """
    consent = referral.consent
    bound = above.consent if above else statement_pb2.Consent()
    return Facts(
        publisher=_party(publisher),
        recipient=_party(recipient),
        basis=referral.basis,
        consent=state_at(consent, now),
        consent_covers_recipient=covers(consent, recipient.name),
        reporter=referral.reporter_type,
        age_group=referral.subject_age_group,
        urgency=referral.urgency,
        urgency_reason_stated=bool(referral.urgency_reason.strip()),
        trafficking_type=referral.trafficking_type,
        jurisdiction=referral.jurisdiction.code,
        tribal_land=referral.jurisdiction.tribal_land,
        test=referral.test,
        parent_binds=above is not None,
        parent_consent=state_at(bound, now),
        parent_consent_covers_recipient=bool(above) and covers(bound, recipient.name),
    )


def facts_of_withholding(
    hotline: directory_pb2.Member,
    intake: statement_pb2.Intake,
    withholding: statement_pb2.Withholding,
) -> WithholdingFacts:
    """Returns the facts about a tip and why it is withheld."""
    return WithholdingFacts(
        hotline=_party(hotline),
        reason=withholding.reason,
        reporter=intake.reporter_type,
        age_group=intake.subject_age_group,
        urgency=intake.urgency,
        trafficking_type=intake.trafficking_type,
        jurisdiction=intake.jurisdiction.code,
        citation_stated=bool(withholding.citation.strip()),
        review_stated=withholding.HasField("review_time"),
        test=intake.test,
    )


def country_of(jurisdiction: str) -> str:
    """Returns the country of a code, such as ``US`` of ``US-OH`` and of itself."""
    return jurisdiction.partition("-")[0]


def _request(
    who: Party, action: Action, resource: CedarJson, context: CedarJson
) -> CedarJson:
    """Returns a question to Cedar."""
    return {
        "principal": who.uid,
        "action": {"type": "Action", "id": action},
        "resource": resource,
        "context": context,
    }


def _party(member: directory_pb2.Member) -> Party:
    """Returns what of a directory entry is a fact."""
    return Party(member.name, member.kind, tuple(member.jurisdictions))


def _value(vocabulary: EnumDescriptor, value: int) -> CedarJson:
    """Returns a value of an enumeration.

    A value that this release does not know becomes its number, which the schema
    refuses.
    """
    names = vocabulary.values_by_number
    name = str(value)
    if value in names:
        prefix = names[0].name.removesuffix("UNSPECIFIED")
        name = names[value].name.removeprefix(prefix)
    return {"type": vocabulary.name, "id": name}
