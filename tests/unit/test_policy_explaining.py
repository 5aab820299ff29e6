"""Policy sets in plain English: what they say, what they change, what would be met."""

from datetime import UTC, datetime
from itertools import product

import pytest

from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.policy import DisclosurePolicy
from onward_server.exchange.policy_explaining import (
    Difference,
    deadline_texts,
    differences,
    met_by_referral,
    met_by_withholding,
    rule_texts,
)
from onward_server.exchange.policy_files import (
    default_policy_folder,
    read_policy_files,
)
from onward_server.exchange.policy_set import PolicySet, read_policy_set

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DEFAULT = dict(read_policy_files(default_policy_folder()))
RULE = """
@id("{id}")
@citation("Ohio Rev. Code (fictional)")
@sentence("Ohio has its reasons.")
{effect} ({who}, action == Action::"{action}", {what})
{conditions};
"""


def changed(texts: dict[str, str] | None = None) -> PolicySet:
    """The default set with other files."""
    return read_policy_set(DEFAULT | (texts or {}))


def rule(
    conditions: str,
    *,
    name: str = "ohio",
    effect: str = "forbid",
    who: str = "principal",
    action: str = "pass-on",
    what: str = "resource",
) -> str:
    return RULE.format(
        id=name,
        effect=effect,
        who=who,
        action=action,
        what=what,
        conditions=conditions,
    )


def said(conditions: str, **head: str) -> tuple[str, ...]:
    """What is made of a rule's conditions."""
    policy_set = changed({"US-OH.cedar": rule(conditions, **head)})
    (text,) = [text for text in rule_texts(policy_set) if text.place == "US-OH"]
    return text.conditions


@pytest.mark.parametrize(
    ("cedar", "english"),
    [
        ("context.test", "it is a test"),
        ("!context.test", "it is no test"),
        ("!context.tribalLand", "the place is no tribal land"),
        ('context.basis == DisclosureBasis::"STATUTE"', "the basis is STATUTE"),
        ('context.consent != ConsentState::"GRANTED"', "the consent is not GRANTED"),
        (
            '[AgeGroup::"ADULT", AgeGroup::"MIXED"].contains(context.ageGroup)',
            "the age group is ADULT or MIXED",
        ),
        ('context.jurisdiction like "US-*"', "the place is like US-*"),
        ('principal in Group::"hotline"', "the publisher is a hotline"),
        (
            'resource in [Group::"hotline", Group::"child-welfare"]',
            "the recipient is a hotline or child welfare",
        ),
        (
            'resource.kind == MemberKind::"TASK_FORCE"',
            "the kind of the recipient is TASK_FORCE",
        ),
        (
            "resource.jurisdictions.contains(context.country)",
            "the jurisdictions of the recipient include its country",
        ),
        (
            "resource.jurisdictions.containsAll([context.jurisdiction])",
            "the jurisdictions of the recipient include all of the place",
        ),
        ("resource == principal", "the recipient is the publisher"),
        (
            "context.test && context.tribalLand && !context.test",
            "it is a test; and the place is tribal land; and it is no test",
        ),
        (
            "context.test && (context.tribalLand || !context.test)",
            "it is a test; and (the place is tribal land; or it is no test)",
        ),
        (
            "!(context.test && context.tribalLand)",
            "it is not so that (it is a test; and the place is tribal land)",
        ),
        (
            "if context.test then context.tribalLand else true",
            "(if it is a test, then the place is tribal land, else always)",
        ),
        ("1 + 2 < 4", "1 plus 2 is less than 4"),
        (
            "resource.jurisdictions.isEmpty()",
            "a condition with isEmpty holds, for which see the text of the rule",
        ),
    ],
)
def test_conditions_are_said_in_english(cedar: str, english: str) -> None:
    assert said(f"when {{ {cedar} }}") == (f"when {english}",)


def test_how_conditions_hang_together() -> None:
    found = said(
        "when { context.test } when { !context.test } "
        "unless { context.test } unless { !context.test }"
    )
    assert found == (
        "when it is a test",
        "and when it is no test",
        "unless it is a test",
        "or unless it is no test",
    )


@pytest.mark.parametrize(
    ("head", "about"),
    [
        ({}, "passing on to anybody"),
        ({"what": 'resource in Group::"authority"'},
         "passing on to law enforcement or child welfare"),
        ({"who": 'principal in Group::"hotline"'},
         "passing on to anybody, by a hotline"),
        ({"action": "withhold"}, "withholding by anybody"),
        ({"action": "withhold", "who": 'principal in Group::"hotline"'},
         "withholding by a hotline"),
        ({"what": 'resource == Member::"spiffe://a.example/agency/b"'},
         "passing on to spiffe://a.example/agency/b"),
    ],
)  # fmt: skip
def test_what_a_rule_is_about(head: dict[str, str], about: str) -> None:
    policy_set = changed({"US-OH.cedar": rule("", **head)})
    assert [text.about for text in rule_texts(policy_set)][-1] == about


def test_every_default_rule_can_be_said() -> None:
    for text in rule_texts(changed()):
        for part in (text.about, *text.conditions):
            assert "see the text of the rule" not in part
            assert "context" not in part


def test_a_state_s_rules_say_what_they_replace() -> None:
    policy_set = changed({"US-OH.cedar": rule("") + rule("", name="minor")})
    found = [
        (text.id, text.replaces)
        for text in rule_texts(policy_set)
        if text.place[0] == "U"
    ]
    assert found == [("ohio", False), ("minor", True)]


def test_deadlines_are_said_as_people_say_them() -> None:
    rows = {row.urgency: dict(row.spans) for row in deadline_texts(changed())}
    assert list(rows["IMMINENT_DANGER"].values()) == [
        "15 min", "15 min", "none", "5 min", "30 min", "24 h",
    ]  # fmt: skip
    assert rows["INFORMATIONAL"]["outcome"] == "none"
    assert rows["ROUTINE"]["outcome"] == "30 d"


# --- differences ----------------------------------------------------------------------


def test_a_set_differs_from_itself_in_nothing() -> None:
    assert differences(changed(), changed()) == []


def test_comments_are_no_difference() -> None:
    text = "// Read by counsel.\n" + DEFAULT["default.cedar"]
    after = changed({"default.cedar": text})
    assert differences(changed(), after) == []
    assert after.digest != changed().digest


def test_what_a_state_has_of_its_own_is_compared_with_the_default() -> None:
    times = '\n[jurisdiction.US-TX.MINOR]\npass_on = "30 min"\n'
    after = changed(
        {
            "US-OH.cedar": rule("", name="minor") + rule("", name="new"),
            "deadlines.toml": DEFAULT["deadlines.toml"] + times,
        }
    )
    found = {(item.place, item.what): item for item in differences(changed(), after)}
    assert set(found) == {
        ("US-OH", "rule minor"),
        ("US-OH", "rule new"),
        ("US-TX", "MINOR: pass on"),
    }
    assert found["US-TX", "MINOR: pass on"] == Difference(
        "US-TX", "MINOR: pass on", "1 h", "30 min"
    )
    assert found["US-OH", "rule minor"].before.startswith("A tip about a minor")
    assert found["US-OH", "rule new"].before == ""
    back = {(item.place, item.what) for item in differences(after, changed())}
    assert back == set(found)


def test_what_a_state_has_of_its_own_is_compared_with_its_country() -> None:
    country = {"US.cedar": rule("", name="minor")}
    both = {**country, "US-OH.cedar": rule("when { context.test }", name="minor")}
    (found,) = differences(changed(country), changed(both))
    assert (found.place, found.what) == ("US-OH", "rule minor")
    assert found.before == differences(changed(), changed(country))[0].after
    texts = {item.place: item for item in rule_texts(changed(both)) if item.replaces}
    assert set(texts) == {"US", "US-OH"}


def test_a_changed_condition_is_a_difference_though_the_sentence_is_the_same() -> None:
    text = DEFAULT["default.cedar"].replace(
        'AgeGroup::"MIXED"].contains(context.ageGroup) &&',
        'AgeGroup::"ADULT"].contains(context.ageGroup) &&',
        1,
    )
    (found,) = differences(changed(), changed({"default.cedar": text}))
    assert found.what == "rule transfer-within-consent"
    assert "SUSPECTED_MINOR or MIXED" in found.before
    assert "SUSPECTED_MINOR or ADULT" in found.after


# --- what is met ----------------------------------------------------------------------


def member(kind: str) -> directory_pb2.Member:
    return directory_pb2.Member(
        name=kind.lower(),
        kind=vocabulary_pb2.MemberKind.Value(f"MEMBER_KIND_{kind}"),
        jurisdictions=["US"],
    )


def test_what_is_met_agrees_with_the_answer() -> None:
    policy = DisclosurePolicy.load_default()
    recipients = [
        member(kind)
        for kind in ("LAW_ENFORCEMENT", "CHILD_WELFARE", "SERVICE_PROVIDER", "AUDITOR")
    ]
    words = vocabulary_pb2
    for basis, state, age, reporter in product(
        (1, 4, 6, 10),
        (words.CONSENT_STATE_GRANTED, words.CONSENT_STATE_DECLINED),
        (words.AGE_GROUP_ADULT, words.AGE_GROUP_MIXED),
        (words.REPORTER_TYPE_POTENTIAL_VICTIM, words.REPORTER_TYPE_FRIEND),
    ):
        tip = statement_pb2.Referral(
            urgency=words.URGENCY_ROUTINE,
            basis=basis,  # type: ignore[arg-type]
            consent=statement_pb2.Consent(state=state),
            subject_age_group=age,
            reporter_type=reporter,
            trafficking_type=words.TRAFFICKING_TYPE_SEX,
            jurisdiction=statement_pb2.Jurisdiction(code="US-OH"),
        )
        for met in met_by_referral(policy, member("HOTLINE"), tip, recipients, NOW):
            allowed = bool(met.permit) and not met.forbid
            assert (met.refusal is None) == allowed
            if met.forbid:
                assert met.refusal is not None
                assert met.refusal.rule == met.forbid[0]


def test_a_tip_that_cannot_be_judged_meets_no_rule() -> None:
    policy = DisclosurePolicy.load_default()
    met = met_by_withholding(
        policy,
        member("HOTLINE"),
        statement_pb2.Intake(),
        statement_pb2.Withholding(),
    )
    assert met.refusal is not None
    assert met.refusal.rule == "policy-error"
    assert (met.permit, met.forbid) == ((), ())
