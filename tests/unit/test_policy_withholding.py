"""What a hotline may withhold: every reason, for every class and age."""

import shutil
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest

from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.policy import DisclosurePolicy
from onward_server.exchange.policy_files import (
    default_policy_folder,
    read_policy_files,
)

REASONS = [
    name.removeprefix("WITHHOLD_REASON_")
    for name in vocabulary_pb2.WithholdReason.keys()  # noqa: SIM118
    if not name.endswith("UNSPECIFIED")
]
CLASSES = ["IMMINENT_DANGER", "MINOR", "TIME_SENSITIVE", "ROUTINE", "INFORMATIONAL"]
AGES = [
    "UNDER_13",
    "13_17",
    "SUSPECTED_MINOR",
    "ADULT",
    "VULNERABLE_ADULT",
    "MIXED",
    "UNKNOWN",
]
REPORTERS = ["POTENTIAL_VICTIM", "FAMILY", "ANONYMOUS"]
REVIEW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def policy() -> DisclosurePolicy:
    return DisclosurePolicy.load_default()


def hotline(kind: str = "HOTLINE") -> directory_pb2.Member:
    return directory_pb2.Member(
        name="spiffe://national.example/agency/hotline",
        kind=vocabulary_pb2.MemberKind.Value(f"MEMBER_KIND_{kind}"),
        jurisdictions=["US"],
    )


def intake(
    urgency: str = "ROUTINE",
    age: str = "ADULT",
    reporter: str = "POTENTIAL_VICTIM",
    *,
    jurisdiction: str = "US-GA",
    test: bool = False,
) -> statement_pb2.Intake:
    words = vocabulary_pb2
    return statement_pb2.Intake(
        urgency=words.Urgency.Value(f"URGENCY_{urgency}"),
        subject_age_group=words.AgeGroup.Value(f"AGE_GROUP_{age}"),
        reporter_type=words.ReporterType.Value(f"REPORTER_TYPE_{reporter}"),
        trafficking_type=words.TRAFFICKING_TYPE_SEX,
        jurisdiction=statement_pb2.Jurisdiction(code=jurisdiction),
        test=test,
    )


def withholding(
    reason: str, *, citation: str = "", review: bool = False
) -> statement_pb2.Withholding:
    body = statement_pb2.Withholding(
        reason=vocabulary_pb2.WithholdReason.Value(f"WITHHOLD_REASON_{reason}"),
        citation=citation,
        approver_role="shift supervisor",
    )
    if review:
        body.review_time.FromDatetime(REVIEW)
    return body


def rule_of(
    policy: DisclosurePolicy,
    tip: statement_pb2.Intake,
    kept: statement_pb2.Withholding,
    kind: str = "HOTLINE",
) -> str:
    refusal = policy.withholding_refusal(hotline(kind), tip, kept)
    return refusal.rule if refusal else "allowed"


def expected(reason: str, urgency: str, age: str, *, test: bool) -> str:
    """What DOMAIN.md says, sentence by sentence, and not as the rules are written."""
    about_a_minor = age in {"UNDER_13", "13_17", "SUSPECTED_MINOR", "MIXED"}
    must_go = about_a_minor or urgency in {"MINOR", "IMMINENT_DANGER"}
    about_consent = reason.startswith(("VICTIM_", "CONSENT_", "SERVICE_"))
    if must_go and about_consent:
        return "withholding-needs-reason"
    if reason == "TEST" and not test:
        return "withholding-tests"
    return "allowed"


@pytest.mark.parametrize("reason", REASONS)
def test_every_combination(policy: DisclosurePolicy, reason: str) -> None:
    for urgency, age, reporter, test, stated in product(
        CLASSES, AGES, REPORTERS, (False, True), (False, True)
    ):
        tip = intake(urgency, age, reporter, test=test)
        kept = withholding(reason, citation="a law" if stated else "", review=stated)
        found = rule_of(policy, tip, kept)
        assert found == expected(reason, urgency, age, test=test), (urgency, age)


def test_the_reasons_of_the_contract_are_all_judged() -> None:
    assert len(REASONS) == 15
    assert sum(reason.startswith(("VICTIM_", "CONSENT_")) for reason in REASONS) == 4


def test_a_refusal_says_the_rule_and_names_no_recipient(
    policy: DisclosurePolicy,
) -> None:
    refusal = policy.withholding_refusal(
        hotline(), intake("MINOR", "13_17"), withholding("VICTIM_DECLINED")
    )
    assert refusal is not None
    assert refusal.rule == "withholding-needs-reason"
    assert refusal.citation == "exchange policy"
    assert "no reason to withhold a tip about a minor" in refusal.sentence
    assert refusal.recipient == ""


def test_the_sample_that_is_withheld_may_be(policy: DisclosurePolicy) -> None:
    assert rule_of(policy, intake(), withholding("VICTIM_DECLINED")) == "allowed"


def test_only_a_hotline_withholds(policy: DisclosurePolicy) -> None:
    for kind in ("LAW_ENFORCEMENT", "SERVICE_PROVIDER", "AUDITOR"):
        found = rule_of(policy, intake(), withholding("SPAM_OR_ABUSE"), kind)
        assert found == "no-permission"


@pytest.mark.parametrize("value", [0, 99, -1])
def test_a_value_that_the_rules_do_not_know_refuses(
    policy: DisclosurePolicy, value: int
) -> None:
    for field in ("urgency", "subject_age_group", "reporter_type", "trafficking_type"):
        tip = intake()
        setattr(tip, field, value)
        assert rule_of(policy, tip, withholding("SAFETY_RISK")) == "policy-error"
    kept = withholding("SAFETY_RISK")
    kept.reason = value  # type: ignore[assignment]
    assert rule_of(policy, intake(), kept) == "policy-error"


STRICTER = """
@id("georgia-asks-again")
@citation("Ga. Code (fictional)")
@sentence("In Georgia nothing is withheld for good.")
forbid (principal, action == Action::"withhold", resource)
unless { context.reviewStated || context.citationStated };
"""


def test_a_state_may_be_stricter(tmp_path: Path) -> None:
    with_default = Path(str(default_policy_folder()))
    folder = Path(shutil.copytree(with_default, tmp_path / "set"))
    (folder / "US-GA.cedar").write_text(STRICTER)
    policy = DisclosurePolicy.load(read_policy_files(folder))
    for place, kept, verdict in (
        ("US-GA", withholding("VICTIM_DECLINED"), "georgia-asks-again"),
        ("US-GA", withholding("VICTIM_DECLINED", review=True), "allowed"),
        ("US-GA", withholding("LEGAL_BAR", citation="a law"), "allowed"),
        ("US-OH", withholding("VICTIM_DECLINED"), "allowed"),
    ):
        assert rule_of(policy, intake(jurisdiction=place), kept) == verdict


def test_a_rule_that_fails_refuses(tmp_path: Path) -> None:
    with_default = Path(str(default_policy_folder()))
    folder = Path(shutil.copytree(with_default, tmp_path / "set"))
    (folder / "US-GA.cedar").write_text(
        STRICTER.replace(
            "context.reviewStated ||", "9223372036854775807 + 1 > 0 ||"
        ).replace("unless", "when")
    )
    policy = DisclosurePolicy.load(read_policy_files(folder))
    assert rule_of(policy, intake(), withholding("SAFETY_RISK")) == "policy-error"
