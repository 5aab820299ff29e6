"""The words of the vocabulary that options take, as people write them.

They are the names of ``proto/onward/v1/vocabulary.proto`` without their prefix. They
stand here again because completion and help need them, and must not wait for protobuf;
a test compares the two.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Urgency: TypeAlias = Literal[
    "IMMINENT_DANGER", "MINOR", "TIME_SENSITIVE", "ROUTINE", "INFORMATIONAL"
]

DisclosureBasis: TypeAlias = Literal[
    "VICTIM_WRITTEN_RELEASE",
    "VICTIM_VERBAL_REQUEST",
    "GUARDIAN_RELEASE",
    "THIRD_PARTY_TIP",
    "MANDATED_REPORT",
    "IMMINENT_DANGER",
    "COURT_ORDER",
    "STATUTE",
    "AGENCY_TO_AGENCY",
    "NO_PERSONAL_DATA",
]

AgeGroup: TypeAlias = Literal[
    "UNDER_13",
    "AGE_13_17",
    "SUSPECTED_MINOR",
    "ADULT",
    "VULNERABLE_ADULT",
    "MIXED",
    "UNKNOWN",
]

ConsentState: TypeAlias = Literal[
    "GRANTED",
    "VERBAL_PENDING_WRITING",
    "DECLINED",
    "NOT_ASKED_UNSAFE",
    "NOT_REACHABLE",
    "NOT_REQUIRED",
    "WITHDRAWN",
    "EXPIRED",
]

DeclineReason: TypeAlias = Literal[
    "NOT_OUR_JURISDICTION",
    "WRONG_AGENCY_TYPE",
    "DUPLICATE",
    "UNREADABLE",
    "POLICY_PROHIBITS_RECEIPT",
    "NO_CAPACITY",
    "OUTSIDE_MANDATE",
    "CONSENT_BASIS_UNACCEPTABLE",
    "TEST_REJECTED",
]

OutcomeCode: TypeAlias = Literal[
    "ASSIGNED",
    "LINKED_TO_EXISTING_CASE",
    "WELFARE_CHECK_DONE",
    "INVESTIGATION_OPENED",
    "VICTIM_LOCATED_SAFE",
    "VICTIM_NOT_LOCATED",
    "SERVICES_OFFERED",
    "ARREST_MADE",
    "REFERRED_FOR_PROSECUTION",
    "UNFOUNDED",
    "INSUFFICIENT_TO_PROCEED",
    "RETAINED_INTELLIGENCE",
    "CLOSED_NO_DETAIL_RELEASED",
]

RetractionReason: TypeAlias = Literal[
    "CONSENT_WITHDRAWN", "SENT_IN_ERROR", "SUPERSEDED"
]

RetractionAction: TypeAlias = Literal["RESTRICTED", "DESTROYED", "RETAINED_LEGAL_DUTY"]

Channel: TypeAlias = Literal[
    "CALL",
    "TEXT",
    "WEBCHAT",
    "EMAIL",
    "WEB_FORM",
    "MOBILE_APP",
    "IN_PERSON",
    "MAIL",
    "AGENCY_REFERRAL",
    "API",
]

ReporterType: TypeAlias = Literal[
    "POTENTIAL_VICTIM",
    "FAMILY",
    "FRIEND",
    "COMMUNITY_MEMBER",
    "INDUSTRY_WORKER",
    "MEDICAL",
    "EDUCATOR",
    "SERVICE_PROVIDER",
    "CHILD_WELFARE",
    "LAW_ENFORCEMENT",
    "GOVERNMENT",
    "ATTORNEY",
    "OTHER_WITNESS",
    "ANONYMOUS",
    "OTHER",
    "UNKNOWN",
]

TraffickingType: TypeAlias = Literal[
    "SEX",
    "LABOR",
    "SEX_AND_LABOR",
    "NOT_SPECIFIED",
    "RELATED_CRIME_ONLY",
]

WithholdReason: TypeAlias = Literal[
    "VICTIM_DECLINED",
    "CONSENT_PENDING",
    "CONSENT_WITHDRAWN",
    "CONSENT_EXPIRED",
    "SAFETY_RISK",
    "LEGAL_BAR",
    "PRIVILEGED",
    "INSUFFICIENT_LOCATION",
    "NO_TRAFFICKING_INDICATORS",
    "SERVICE_ONLY",
    "OUTSIDE_COUNTRY",
    "DUPLICATE",
    "DECONFLICTION_HOLD",
    "SPAM_OR_ABUSE",
    "TEST",
]

IntakeState: TypeAlias = Literal["OPEN", "PASSED_ON", "WITHHELD", "DUPLICATE"]

SealingSuite: TypeAlias = Literal["MLKEM768_X25519", "P384"]

StatementAlgorithm: TypeAlias = Literal["ES256", "ES384", "EdDSA"]
