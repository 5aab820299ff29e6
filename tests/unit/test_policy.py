"""The disclosure policy: what it permits, what it refuses, what it does not load."""

import hashlib
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from onward.core.consent import binds
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.policy import DisclosurePolicy, Refusal
from onward_server.exchange.policy_files import PolicyInvalidError, read_policy_files

FILES = ["VERSION", "deadlines.toml", "default.cedar", "schema.cedarschema"]
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "server" / "onward_server" / "policies"
PAGE = ROOT / "docs" / "explanation" / "disclosure-policy.md"


@pytest.fixture(scope="module")
def policy() -> DisclosurePolicy:
    return DisclosurePolicy.load_default()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the default set, to change."""
    return Path(shutil.copytree(DEFAULT, tmp_path / "policies"))


def load(folder: Path) -> DisclosurePolicy:
    return DisclosurePolicy.load(read_policy_files(folder))


def member(kind: str, *jurisdictions: str, name: str = "") -> directory_pb2.Member:
    return directory_pb2.Member(
        name=f"spiffe://national.example/agency/{name or kind.lower()}",
        kind=vocabulary_pb2.MemberKind.Value(f"MEMBER_KIND_{kind}"),
        jurisdictions=jurisdictions or ["US-OH"],
    )


HOTLINE = member("HOTLINE", "US")
POLICE = member("LAW_ENFORCEMENT")
CHILD_WELFARE = member("CHILD_WELFARE")
SHELTER = member("SERVICE_PROVIDER")


def consent(
    state: str, *recipients: directory_pb2.Member, ends: timedelta | None = None
) -> statement_pb2.Consent:
    given = statement_pb2.Consent(
        state=vocabulary_pb2.ConsentState.Value(f"CONSENT_STATE_{state}"),
        recipients=[recipient.name for recipient in recipients],
    )
    if ends is not None:
        given.expire_time.FromDatetime(NOW + ends)
    return given


def referral(
    basis: str = "THIRD_PARTY_TIP",
    *,
    reporter: str = "FRIEND",
    age: str = "ADULT",
    jurisdiction: str = "US-OH",
    urgency: str = "",
    reason: str = "",
    given: statement_pb2.Consent | None = None,
    test: bool = False,
) -> statement_pb2.Referral:
    return statement_pb2.Referral(
        basis=vocabulary_pb2.DisclosureBasis.Value(f"DISCLOSURE_BASIS_{basis}"),
        urgency=vocabulary_pb2.Urgency.Value(f"URGENCY_{urgency or CLASSES[basis]}"),
        trafficking_type=vocabulary_pb2.TRAFFICKING_TYPE_LABOR,
        reporter_type=vocabulary_pb2.ReporterType.Value(f"REPORTER_TYPE_{reporter}"),
        subject_age_group=vocabulary_pb2.AgeGroup.Value(f"AGE_GROUP_{age}"),
        jurisdiction=statement_pb2.Jurisdiction(code=jurisdiction),
        urgency_reason=reason,
        consent=given,
        test=test,
    )


CLASSES = defaultdict(lambda: "ROUTINE", IMMINENT_DANGER="IMMINENT_DANGER")
"""The class of a tip that does not state one, by its basis."""


def rule_of(refusal: Refusal | None) -> str:
    return refusal.rule if refusal else "allowed"


# --- Every combination, against a table that was written by hand ----------------------

# What each value is called in the table below.
KINDS = {
    "LAW_ENFORCEMENT": "police",
    "TASK_FORCE": "police",
    "PROSECUTOR": "police",
    "CHILD_WELFARE": "child",
    "SERVICE_PROVIDER": "service",
    "HOTLINE": "hotline",
    "AUDITOR": "outsider",
    "OPERATOR": "outsider",
}
LIKE_ANOTHER = {"TASK_FORCE", "PROSECUTOR", "OPERATOR"}
REPORTERS = {"POTENTIAL_VICTIM": "victim", "FRIEND": "other"}
AGES = {
    "UNDER_13": "child",
    "13_17": "child",
    "SUSPECTED_MINOR": "child",
    "MIXED": "mixed",
    "ADULT": "adult",
    "UNKNOWN": "adult",
    "VULNERABLE_ADULT": "frail",
}
BASES = {
    "VICTIM_WRITTEN_RELEASE": "release",
    "VICTIM_VERBAL_REQUEST": "release",
    "GUARDIAN_RELEASE": "guardian",
    "THIRD_PARTY_TIP": "tip",
    "MANDATED_REPORT": "mandate",
    "IMMINENT_DANGER": "danger",
    "COURT_ORDER": "court",
    "STATUTE": "statute",
    "AGENCY_TO_AGENCY": "agency",
    "NO_PERSONAL_DATA": "nobody",
}
OTHER = member("LAW_ENFORCEMENT", name="another")
DAY = timedelta(days=1)
CONSENTS: list[tuple[str, Callable[[directory_pb2.Member], statement_pb2.Consent]]] = [
    ("good", lambda _: consent("GRANTED")),
    ("good", lambda to: consent("GRANTED", OTHER, to, ends=DAY)),
    ("good", lambda to: consent("VERBAL_PENDING_WRITING", to, ends=DAY)),
    ("other", lambda _: consent("GRANTED", OTHER)),
    ("other", lambda _: consent("VERBAL_PENDING_WRITING", OTHER)),
    ("over", lambda _: consent("DECLINED")),
    ("over", lambda _: consent("WITHDRAWN")),
    ("over", lambda _: consent("EXPIRED")),
    ("over", lambda _: consent("GRANTED", ends=-DAY)),
    ("over", lambda to: consent("VERBAL_PENDING_WRITING", to, ends=-DAY)),
    ("none", lambda _: consent("UNSPECIFIED")),
    ("none", lambda _: consent("NOT_ASKED_UNSAFE")),
    ("none", lambda _: consent("NOT_REACHABLE")),
    ("none", lambda _: consent("NOT_REQUIRED")),
]
PLACES = {"US-OH": "here", "US-TX": "away"}
PUBLISHERS = {"HOTLINE": "hotline", "LAW_ENFORCEMENT": "agency"}

# The first row whose every cell holds decides. A cell lists its values; - is any.
ORACLE = [
    row.split()
    for row in """
to           reporter age         basis                      consent    where from    is
police       victim   adult/frail release/guardian/tip       over       -     -       victim-declined
police       victim   adult/frail statute/agency/nobody      over       -     -       victim-declined
police       victim   adult/frail release/guardian/tip       other/none -     -       adult-self-report
police       victim   adult/frail statute/agency/nobody      other/none -     -       adult-self-report
service      -        -           -              over/other/none        -     -       service-referral
police/child -        child/mixed -                          -          here  -       allowed
police       other    -           tip                        -          here  -       allowed
police       -        -           danger                     -          -     -       allowed
police/child -        -           mandate/statute            -          here  -       allowed
police/child -        -           court                      -          -     -       allowed
outsider     -        -           -                          -          -     -       no-permission
-            -        -           release                    good       -     -       allowed
-            -        child/frail guardian                   good       -     -       allowed
-            -        -           nobody                     -          -     -       allowed
-            -        -           agency                     -          -     agency  allowed
-            -        -           -                          -          -     -       no-permission
""".strip().splitlines()[1:]  # noqa: E501 - it is a table
]


def expected(*cells: str) -> str:
    return next(
        row[-1]
        for row in ORACLE
        if all(
            cell == "-" or value in cell.split("/")
            for value, cell in zip(cells, row[:-1], strict=True)
        )
    )


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_combination(policy: DisclosurePolicy, kind: str, basis: str) -> None:
    # Who publishes matters on one basis alone, as another test shows.
    publishers = list(PUBLISHERS) if basis == "AGENCY_TO_AGENCY" else ["HOTLINE"]
    ages, consents = list(AGES), CONSENTS
    if kind in LIKE_ANOTHER:  # one age and one consent of each class will show it
        ages = list({called: age for age, called in AGES.items()}.values())
        consents = list(dict(CONSENTS).items())
    for reporter, age, (has, given), place, origin in product(
        REPORTERS, ages, consents, PLACES, publishers
    ):
        recipient = member(kind, place, name="recipient")
        asked = referral(
            basis,
            reporter=reporter,
            age=age,
            given=given(recipient),
            reason="companion holds the passport",
        )
        found = policy.refusal(member(origin), asked, [recipient], NOW)
        cells = (
            KINDS[kind],
            REPORTERS[reporter],
            AGES[age],
            BASES[basis],
            has,
            PLACES[place],
            PUBLISHERS[origin],
        )
        assert rule_of(found) == expected(*cells), cells


def test_who_publishes_matters_on_one_basis_alone(policy: DisclosurePolicy) -> None:
    matters = {
        basis
        for basis, kind in product(BASES, KINDS)
        for tip in [referral(basis, reason="leaves tonight")]
        if policy.refusal(HOTLINE, tip, [member(kind)], NOW)
        != policy.refusal(POLICE, tip, [member(kind)], NOW)
    }
    assert matters == {"AGENCY_TO_AGENCY"}


def test_the_combinations_are_all_there_are() -> None:
    for given, vocabulary, prefix in (
        (KINDS, vocabulary_pb2.MemberKind, "MEMBER_KIND_"),
        (AGES, vocabulary_pb2.AgeGroup, "AGE_GROUP_"),
        (BASES, vocabulary_pb2.DisclosureBasis, "DISCLOSURE_BASIS_"),
    ):
        names = {name.removeprefix(prefix) for name in vocabulary.keys()}  # noqa: SIM118
        assert set(given) == names - {"UNSPECIFIED"}


# --- What binds a transfer ------------------------------------------------------------

RELEASED = "VICTIM_WRITTEN_RELEASE"
SHARED = "AGENCY_TO_AGENCY"
WITHIN_CONSENT = "transfer-within-consent"


def above(given: statement_pb2.Consent | None) -> statement_pb2.Referral:
    """Returns what was transferred, and binds the transfer."""
    return referral(RELEASED, reporter="MEDICAL", given=given)


OTHERS = [CHILD_WELFARE, SHELTER, HOTLINE]
NOT_WITHIN = [
    consent("GRANTED", *OTHERS),
    consent("GRANTED", POLICE, ends=timedelta()),
    consent("GRANTED", ends=-DAY),
    consent("VERBAL_PENDING_WRITING", *OTHERS, ends=DAY),
    consent("WITHDRAWN", POLICE),
    consent("EXPIRED"),
    consent("DECLINED"),
    consent("NOT_REACHABLE"),
    None,
]
WITHIN = [
    consent("GRANTED"),
    consent("GRANTED", POLICE, ends=DAY),
    consent("VERBAL_PENDING_WRITING", POLICE, CHILD_WELFARE),
]


@pytest.mark.parametrize("given", NOT_WITHIN)
@pytest.mark.parametrize(
    ("child", "verdict"),
    [
        (referral(SHARED), WITHIN_CONSENT),
        (referral("THIRD_PARTY_TIP"), WITHIN_CONSENT),
        (referral("STATUTE"), WITHIN_CONSENT),
        (referral("NO_PERSONAL_DATA"), WITHIN_CONSENT),
        (referral(RELEASED, given=consent("EXPIRED")), WITHIN_CONSENT),
        (
            referral(RELEASED, given=consent("GRANTED", SHELTER)),
            WITHIN_CONSENT,
        ),
        # It rests on a release of its own.
        (referral(RELEASED, given=consent("GRANTED", POLICE)), "allowed"),
        # The law wants it, whoever consents.
        (referral(SHARED, age="13_17"), "allowed"),
        (referral(SHARED, age="SUSPECTED_MINOR"), "allowed"),
        (referral("MANDATED_REPORT"), "allowed"),
        (referral("COURT_ORDER"), "allowed"),
        (referral("IMMINENT_DANGER", reason="stated"), "allowed"),
        (
            referral("IMMINENT_DANGER", urgency="ROUTINE", reason="stated"),
            "imminent-danger-class",
        ),
    ],
)
def test_what_a_consent_does_not_cover_is_transferred_only_where_the_law_wants_it(
    policy: DisclosurePolicy,
    given: statement_pb2.Consent | None,
    child: statement_pb2.Referral,
    verdict: str,
) -> None:
    found = policy.refusal(CHILD_WELFARE, child, [POLICE], NOW, above(given))
    assert rule_of(found) == verdict


@pytest.mark.parametrize("given", WITHIN)
@pytest.mark.parametrize("basis", [SHARED, "NO_PERSONAL_DATA", "MANDATED_REPORT"])
def test_what_a_consent_covers_is_transferred_while_it_is_in_force(
    policy: DisclosurePolicy, given: statement_pb2.Consent, basis: str
) -> None:
    child = referral(basis)
    assert policy.refusal(CHILD_WELFARE, child, [POLICE], NOW, above(given)) is None


def test_a_consent_that_covers_a_transfer_permits_nothing_by_itself(
    policy: DisclosurePolicy,
) -> None:
    tip, bound = referral("THIRD_PARTY_TIP", jurisdiction="US-TX"), above(WITHIN[0])
    found = policy.refusal(CHILD_WELFARE, tip, [POLICE], NOW, bound)
    assert rule_of(found) == "no-permission"


def test_a_minors_tip_goes_to_authorities_only_without_consent(
    policy: DisclosurePolicy,
) -> None:
    child = referral("NO_PERSONAL_DATA", age="13_17")
    found = policy.refusal(POLICE, child, [HOTLINE], NOW, above(None))
    assert rule_of(found) == WITHIN_CONSENT


@pytest.mark.parametrize(
    ("basis", "reporter", "bound"),
    [
        ("VICTIM_WRITTEN_RELEASE", "MEDICAL", True),
        ("VICTIM_VERBAL_REQUEST", "FAMILY", True),
        ("GUARDIAN_RELEASE", "FAMILY", True),
        ("MANDATED_REPORT", "POTENTIAL_VICTIM", True),
        ("THIRD_PARTY_TIP", "FAMILY", False),
        ("AGENCY_TO_AGENCY", "MEDICAL", False),
    ],
)
def test_which_consents_bind_a_transfer(basis: str, reporter: str, bound: bool) -> None:
    tip = referral(basis, reporter=reporter)
    assert binds(tip.basis, tip.reporter_type) is bound


# --- The rules, one by one ------------------------------------------------------------


@pytest.mark.parametrize(
    ("tip", "recipients"),
    [
        (referral("IMMINENT_DANGER", reporter="INDUSTRY_WORKER", reason="x"), [POLICE]),
        (referral(reporter="EDUCATOR", age="13_17"), [POLICE, CHILD_WELFARE]),
        (
            referral(
                "VICTIM_VERBAL_REQUEST",
                reporter="POTENTIAL_VICTIM",
                given=consent("GRANTED", SHELTER),
            ),
            [SHELTER],
        ),
        (referral(reporter="COMMUNITY_MEMBER"), [POLICE]),
        (
            referral(
                "VICTIM_WRITTEN_RELEASE",
                reporter="MEDICAL",
                given=consent("GRANTED", POLICE, ends=timedelta(days=30)),
            ),
            [POLICE],
        ),
        (referral(reporter="FAMILY"), [POLICE]),
        (referral(reporter="ANONYMOUS", age="UNKNOWN"), [POLICE]),
    ],
    ids=["NH-0001", "NH-0002", "NH-0003", "FL-0117", "NH-0005", "NH-0006", "NH-0007"],
)
def test_the_sample_tips_may_go_where_they_went(
    policy: DisclosurePolicy,
    tip: statement_pb2.Referral,
    recipients: list[directory_pb2.Member],
) -> None:
    assert policy.refusal(HOTLINE, tip, recipients, NOW) is None


def test_a_refusal_says_the_rule_and_the_first_recipient_concerned(
    policy: DisclosurePolicy,
) -> None:
    tip = referral(
        "VICTIM_VERBAL_REQUEST",
        reporter="POTENTIAL_VICTIM",
        given=consent("GRANTED", SHELTER),
    )
    second = member("PROSECUTOR")
    refusal = policy.refusal(HOTLINE, tip, [SHELTER, POLICE, second], NOW)
    assert refusal is not None
    assert refusal.recipient == POLICE.name
    assert refusal.rule == "adult-self-report"
    assert refusal.citation == (
        "exchange policy, after the rules on release of VAWA, FVPSA and VOCA"
    )
    assert refusal.sentence.startswith("What an adult reports as the potential victim")


def test_consent_ends_at_its_moment_and_not_before(policy: DisclosurePolicy) -> None:
    given = consent("GRANTED", ends=timedelta())
    tip = referral("VICTIM_WRITTEN_RELEASE", reporter="POTENTIAL_VICTIM", given=given)
    just_before = NOW - timedelta(microseconds=1)
    assert policy.refusal(HOTLINE, tip, [POLICE], just_before) is None
    assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == "victim-declined"
    assert policy.refusal(HOTLINE, tip, [POLICE], just_before) is None


@pytest.mark.parametrize(
    ("seconds", "nanos", "verdict"),
    [(2**62, 0, "allowed"), (-(2**62), 0, "no-permission"), (0, -5, "no-permission")],
)
def test_a_consent_may_end_at_a_time_that_no_calendar_has(
    policy: DisclosurePolicy, seconds: int, nanos: int, verdict: str
) -> None:
    given = consent("GRANTED")
    given.expire_time.seconds, given.expire_time.nanos = seconds, nanos
    tip = referral("VICTIM_WRITTEN_RELEASE", given=given)
    assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == verdict


def test_only_consent_that_was_given_can_end(policy: DisclosurePolicy) -> None:
    given = consent("NOT_REACHABLE", ends=-DAY)
    tip = referral("THIRD_PARTY_TIP", reporter="POTENTIAL_VICTIM", given=given)
    assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == "adult-self-report"


@pytest.mark.parametrize("reason", ["", "  "])
def test_imminent_danger_needs_its_reason(
    policy: DisclosurePolicy, reason: str
) -> None:
    tip = referral("IMMINENT_DANGER", reason=reason)
    assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == "no-permission"


@pytest.mark.parametrize("urgency", ["MINOR", "TIME_SENSITIVE", "ROUTINE"])
@pytest.mark.parametrize("recipient", [POLICE, CHILD_WELFARE])
def test_imminent_danger_is_no_basis_of_another_class(
    policy: DisclosurePolicy, urgency: str, recipient: directory_pb2.Member
) -> None:
    tip = referral("IMMINENT_DANGER", age="13_17", urgency=urgency, reason="stated")
    refusal = policy.refusal(HOTLINE, tip, [recipient], NOW)
    assert rule_of(refusal) == "imminent-danger-class"


def test_everybody_but_the_potential_victim_is_a_third_party(
    policy: DisclosurePolicy,
) -> None:
    reporters = set(vocabulary_pb2.ReporterType.keys()) - {"REPORTER_TYPE_UNSPECIFIED"}
    refused = {
        name.removeprefix("REPORTER_TYPE_")
        for name in reporters
        if policy.refusal(
            HOTLINE,
            referral(reporter=name.removeprefix("REPORTER_TYPE_")),
            [POLICE],
            NOW,
        )
    }
    assert refused == {"POTENTIAL_VICTIM"}


@pytest.mark.parametrize(
    ("competent", "place", "verdict"),
    [
        (["US-OH"], "US-OH", "allowed"),
        (["US-TX", "US-OH"], "US-OH", "allowed"),
        (["US"], "US-OH", "allowed"),
        (["US-OH"], "US-OR", "no-permission"),
        (["US-O"], "US-OH", "no-permission"),
        (["MX"], "US-OH", "no-permission"),
        (["OH"], "US-OH", "no-permission"),
    ],
)
@pytest.mark.parametrize(
    ("basis", "age"),
    [("THIRD_PARTY_TIP", "ADULT"), ("THIRD_PARTY_TIP", "13_17"), ("STATUTE", "ADULT")],
    ids=["third-party", "minor", "by-law"],
)
def test_competence_is_for_a_part_of_a_country_or_all_of_it(
    policy: DisclosurePolicy,
    competent: list[str],
    place: str,
    verdict: str,
    basis: str,
    age: str,
) -> None:
    reporter = "POTENTIAL_VICTIM" if age == "13_17" else "FRIEND"
    police = member("LAW_ENFORCEMENT", *competent)
    tip = referral(basis, reporter=reporter, age=age, jurisdiction=place)
    assert rule_of(policy.refusal(HOTLINE, tip, [police], NOW)) == verdict


@pytest.mark.parametrize("recipients", [[POLICE], [CHILD_WELFARE]])
def test_a_referral_about_a_minor_may_go_to_one_kind_now_and_the_other_later(
    policy: DisclosurePolicy, recipients: list[directory_pb2.Member]
) -> None:
    tip = referral("MANDATED_REPORT", age="UNDER_13", given=consent("DECLINED"))
    assert policy.refusal(HOTLINE, tip, recipients, NOW) is None


def test_tests_follow_the_same_rules(policy: DisclosurePolicy) -> None:
    for real in (referral(), referral(reporter="POTENTIAL_VICTIM")):
        test = statement_pb2.Referral()
        test.CopyFrom(real)
        test.test = True
        as_test = policy.refusal(HOTLINE, test, [POLICE], NOW)
        assert as_test == policy.refusal(HOTLINE, real, [POLICE], NOW)


def test_a_member_may_be_asked_about_itself(policy: DisclosurePolicy) -> None:
    tip = referral("AGENCY_TO_AGENCY")
    assert policy.refusal(POLICE, tip, [POLICE], NOW) is None


FAR = member("PROSECUTOR", "US-TX")
ANY_AGENCY = "agency-to-agency no-personal-data"


@pytest.mark.parametrize(
    ("recipient", "could"),
    [
        (CHILD_WELFARE, "release minor by-law " + ANY_AGENCY),
        (HOTLINE, "release " + ANY_AGENCY),
        (FAR, "release third-party minor imminent-danger by-law " + ANY_AGENCY),
    ],
)
def test_where_nothing_permits_the_sentence_says_what_would(
    policy: DisclosurePolicy, recipient: directory_pb2.Member, could: str
) -> None:
    rules = ", ".join(could.split())
    refusal = policy.refusal(HOTLINE, referral(), [recipient], NOW)
    assert refusal is not None
    assert refusal.rule == "no-permission"
    assert refusal.citation == "exchange policy"
    assert refusal.sentence.endswith(f"it would take one of: {rules}.")


def test_nothing_goes_to_those_who_are_no_agency(policy: DisclosurePolicy) -> None:
    refusal = policy.refusal(HOTLINE, referral(), [member("AUDITOR")], NOW)
    assert refusal is not None
    assert refusal.sentence == (
        "No rule permits passing anything on to a recipient of this kind."
    )


# --- What cannot be judged is refused -------------------------------------------------


@pytest.mark.parametrize("field", ["basis", "reporter_type", "subject_age_group"])
@pytest.mark.parametrize("value", [0, 99, -1])
def test_a_value_that_the_rules_do_not_know_refuses(
    policy: DisclosurePolicy, field: str, value: int
) -> None:
    tip = referral("NO_PERSONAL_DATA")
    setattr(tip, field, value)
    assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == "policy-error"


def test_an_unknown_state_of_consent_or_kind_of_member_refuses(
    policy: DisclosurePolicy,
) -> None:
    tip = referral("NO_PERSONAL_DATA")
    stranger = directory_pb2.Member(name=POLICE.name, kind=99)  # type: ignore[arg-type]
    assert rule_of(policy.refusal(HOTLINE, tip, [stranger], NOW)) == "policy-error"
    tip.consent.state = 99  # type: ignore[assignment]
    assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == "policy-error"


FAILS_IN_OHIO = """
@id("fails")
@citation("exchange policy")
@sentence("Overflows, for tips that point to Ohio.")
{effect} (principal, action == Action::"pass-on", resource)
when {{ context.jurisdiction == "US-OH" && 9223372036854775807 + 1 > 0 }};
"""


@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_rule_that_fails_refuses_what_another_permits(
    folder: Path, effect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "default.cedar").open("a") as rules:
        rules.write(FAILS_IN_OHIO.format(effect=effect))
    policy = load(folder)
    refusal = policy.refusal(HOTLINE, referral(), [POLICE], NOW)
    assert refusal is not None
    assert refusal.rule == "policy-error"
    assert "ask the exchange's operator" in refusal.sentence
    assert "fails" in capsys.readouterr().out
    texas = member("LAW_ENFORCEMENT", "US-TX")
    assert policy.refusal(HOTLINE, referral(jurisdiction="US-TX"), [texas], NOW) is None


# --- Policy sets ----------------------------------------------------------------------

RULE = """
@id("{id}")
@citation("Fla. Stat. (fictional)")
@sentence("Florida's hotline keeps what points to Florida.")
forbid (principal, action == Action::"pass-on", resource);
"""


def test_a_state_adds_rules_that_apply_there_alone(folder: Path) -> None:
    (folder / "US-FL.cedar").write_text(RULE.format(id="florida-keeps"))
    policy = load(folder)
    miami = member("LAW_ENFORCEMENT", "US-FL")
    refusal = policy.refusal(HOTLINE, referral(jurisdiction="US-FL"), [miami], NOW)
    assert refusal == Refusal(
        "florida-keeps",
        "Fla. Stat. (fictional)",
        "Florida's hotline keeps what points to Florida.",
        miami.name,
    )
    assert policy.refusal(HOTLINE, referral(), [POLICE], NOW) is None


def test_where_a_default_rule_forbids_too_it_is_named(folder: Path) -> None:
    (folder / "US-FL.cedar").write_text(RULE.format(id="florida-keeps"))
    tip = referral(reporter="POTENTIAL_VICTIM", jurisdiction="US-FL")
    found = load(folder).refusal(HOTLINE, tip, [POLICE], NOW)
    assert rule_of(found) == "adult-self-report"


WIDER = """
@id("third-party")
@citation("Nev. Rev. Stat. (fictional)")
@sentence("In Nevada a third party's tip may go to any law enforcement.")
permit (
  principal,
  action == Action::"pass-on",
  resource in Group::"law-enforcement"
)
when {{ context.basis == DisclosureBasis::"THIRD_PARTY_TIP"{more} }};
"""


def test_a_state_widens_a_default_rule_by_its_id(folder: Path) -> None:
    (folder / "US-NV.cedar").write_text(WIDER.format(more=""))
    policy = load(folder)
    for place, verdict in (("US-NV", "allowed"), ("US-TX", "no-permission")):
        tip = referral(jurisdiction=place)
        assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == verdict


def test_a_country_has_rules_for_all_of_its_states(folder: Path) -> None:
    (folder / "US.cedar").write_text(RULE.format(id="nobody"))
    policy = load(folder)
    for place, verdict in (
        ("US", "nobody"),
        ("US-OH", "nobody"),
        ("US-TX", "nobody"),
        ("CA-ON", "allowed"),
    ):
        police = member("LAW_ENFORCEMENT", place)
        tip = referral(jurisdiction=place)
        assert rule_of(policy.refusal(HOTLINE, tip, [police], NOW)) == verdict


def test_of_two_rules_with_one_id_that_of_the_state_counts(folder: Path) -> None:
    (folder / "US.cedar").write_text(RULE.format(id="third-party"))
    (folder / "US-NV.cedar").write_text(WIDER.format(more=""))
    (folder / "US-TX.cedar").write_text(RULE.format(id="texas-keeps"))
    policy = load(folder)
    for place, verdict in (
        ("US-NV", "allowed"),
        ("US-TX", "third-party"),
        ("US-OH", "third-party"),
    ):
        tip = referral(jurisdiction=place)
        assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == verdict
    there = [rule.id for rule in policy.policy_set.at("US-TX").rules]
    default = [rule.id for rule in policy.policy_set.default.rules]
    assert there == [*default, "texas-keeps"]


def test_a_state_narrows_a_default_rule_by_its_id(folder: Path) -> None:
    narrower = ' && context.traffickingType == TraffickingType::"SEX"'
    (folder / "US-OH.cedar").write_text(WIDER.format(more=narrower))
    policy = load(folder)
    assert rule_of(policy.refusal(HOTLINE, referral(), [POLICE], NOW)) == (
        "no-permission"
    )
    tip = referral()
    tip.trafficking_type = vocabulary_pb2.TRAFFICKING_TYPE_SEX
    assert policy.refusal(HOTLINE, tip, [POLICE], NOW) is None
    texas = member("LAW_ENFORCEMENT", "US-TX")
    assert policy.refusal(HOTLINE, referral(jurisdiction="US-TX"), [texas], NOW) is None


def test_a_replaced_rule_that_forbids_forbids_no_more(folder: Path) -> None:
    lifted = WIDER.replace('"third-party"', '"adult-self-report"').format(more="")
    (folder / "US-NV.cedar").write_text(lifted)
    policy = load(folder)
    for place, verdict in (("US-NV", "allowed"), ("US-OH", "adult-self-report")):
        tip = referral(reporter="POTENTIAL_VICTIM", jurisdiction=place)
        assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == verdict


def test_the_rules_of_a_state_fail_there_alone(folder: Path) -> None:
    text = FAILS_IN_OHIO.format(effect="permit")
    (folder / "US-OH.cedar").write_text(text)
    policy = load(folder)
    assert rule_of(policy.refusal(HOTLINE, referral(), [POLICE], NOW)) == "policy-error"
    texas = member("LAW_ENFORCEMENT", "US-TX")
    assert policy.refusal(HOTLINE, referral(jurisdiction="US-TX"), [texas], NOW) is None


@pytest.mark.parametrize("fact", ["urgency", "test"])
def test_rules_see_urgency_and_tests(folder: Path, fact: str) -> None:
    condition = {
        "urgency": 'context.urgency == Urgency::"INFORMATIONAL"',
        "test": "context.test",
    }[fact]
    text = RULE.format(id="stop").replace(");", f") when {{ {condition} }};")
    (folder / "US-OH.cedar").write_text(text)
    policy = load(folder)
    tip = referral()
    assert policy.refusal(HOTLINE, tip, [POLICE], NOW) is None
    if fact == "test":
        tip.test = True
    else:
        tip.urgency = vocabulary_pb2.URGENCY_INFORMATIONAL
    assert rule_of(policy.refusal(HOTLINE, tip, [POLICE], NOW)) == "stop"


def test_more_than_ten_rules_keep_their_order(folder: Path) -> None:
    names = [f"rule-{letter}" for letter in "hgfedcbaponmlkji"]
    text = "".join(RULE.format(id=name) for name in names)
    (folder / "default.cedar").write_text(text)
    found = load(folder).policy_set.default.rules
    assert [rule.id for rule in found] == names


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('AgeGroup::"MIXED"', 'AgeGroup::"MIXD"', ["transfer-within-consent", "MIXD"]),
        ("urgencyReasonStated", "urgencyReason", ["imminent-danger", "urgencyReason"]),
        ('resource in Group::"service-provider"', 'resource in Group::"shelter"', []),
        ("context.consentCoversRecipient", '"yes"', ["adult-self-report"]),
        ('permit (\n  principal in Group::"agency"', "permitt (", ["agency-to-agency"]),
        ('@id("minor")', '@id("Minor!")', ["Minor!", "lower-case"]),
        ('@id("minor")', '@id("no-permission")', ["no-permission"]),
        ('@id("minor")', '@id("policy-error")', ["policy-error"]),
        ('@id("minor")', "", ["@id ''"]),
        ('@id("minor")', '@id("release")', ["release", "unique"]),
        (
            '@citation("exchange policy")',
            '@citation(" ")',
            ["imminent-danger-class", "@citation"],
        ),
        (
            '@sentence("Content',
            '//@sentence("Content',
            ["no-personal-data", "@sentence"],
        ),
        ('@sentence("Content', '@sentence("' + "x" * 290, ["no-personal-data", "300"]),
    ],
)
def test_an_unsound_rule_is_refused_by_name(
    folder: Path, old: str, new: str, said: list[str]
) -> None:
    path = folder / "default.cedar"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(PolicyInvalidError) as refused:
        load(folder)
    for words in ["default.cedar", *said]:
        assert words in str(refused.value)


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 50_000 + "true" + ")" * 50_000,
        "context.a" + ".a" * 50_000 + " == 1",
        "context has a" + ".a" * 1_000,
        " && ".join(["true"] * 10_000),
        " || ".join(["true"] * 100),
        "// \r" + "[" * 50_000,
    ],
    ids=["brackets", "attributes", "has", "and", "or", "behind a comment's end"],
)
def test_a_rule_too_deep_for_cedar_is_refused_and_ends_nothing(
    folder: Path, condition: str
) -> None:
    text = RULE.format(id="deep").rstrip(";\n") + f"\nwhen {{ {condition} }};"
    (folder / "US-FL.cedar").write_text(RULE.format(id="plain") + text, newline="")
    with pytest.raises(PolicyInvalidError, match=r"US-FL\.cedar.*: rule deep goes too"):
        load(folder)


def test_what_a_rule_says_in_words_may_be_long(folder: Path) -> None:
    text = RULE.format(id="wordy") + "// " + "((((" * 100
    states = ", ".join(f'"US-{place:03}"' for place in range(300))
    condition = f"\nwhen {{ [{states}].contains(context.jurisdiction) }};"
    text = text.replace(";", condition, 1)
    (folder / "US-FL.cedar").write_text(text)
    assert "US-FL" in load(folder).policy_set.own


def test_the_place_of_broken_text_is_named(folder: Path) -> None:
    path = folder / "default.cedar"
    path.write_text("permitted (;\n" + path.read_text())
    with pytest.raises(PolicyInvalidError, match="before the first @id"):
        load(folder)


def test_a_template_is_refused(folder: Path) -> None:
    text = RULE.format(id="slot").replace("resource)", "resource == ?resource)")
    (folder / "US-FL.cedar").write_text(text)
    with pytest.raises(PolicyInvalidError, match=r"US-FL\.cedar: a template"):
        load(folder)


def test_two_rules_of_the_same_name_in_one_file_are_refused(folder: Path) -> None:
    (folder / "US-FL.cedar").write_text(RULE.format(id="minor") * 2)
    with pytest.raises(
        PolicyInvalidError, match=r"US-FL\.cedar has a second rule minor"
    ):
        load(folder)


@pytest.mark.parametrize("head", ["action", 'action in [Action::"pass-on"]'])
def test_a_rule_says_what_it_is_about(folder: Path, head: str) -> None:
    text = RULE.format(id="florida-keeps")
    (folder / "US-FL.cedar").write_text(
        text.replace('action == Action::"pass-on"', head)
    )
    with pytest.raises(PolicyInvalidError, match=r"US-FL\.cedar: rule florida-keeps"):
        load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_set_lacks_no_part(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PolicyInvalidError, match=f"lacks {name}"):
        load(folder)


def test_a_folder_that_is_not_there_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalidError, match="holds no policy set"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name",
    [
        "us-oh.cedar",
        "us.cedar",
        "US-OHIO.cedar",
        "USA.cedar",
        "US-OH.cedar~",
        "a.cedar",
    ],
)
def test_a_file_whose_name_means_nothing_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text(RULE.format(id="florida-keeps"))
    with pytest.raises(PolicyInvalidError, match="is no file of a policy set"):
        load(folder)


def test_a_set_is_not_larger_than_it_may_be(folder: Path) -> None:
    comment = "// " + "x" * 1000 + "\n"
    (folder / "US-OH.cedar").write_text(comment * 256)
    with pytest.raises(PolicyInvalidError, match="at most 64 and 262144"):
        load(folder)


def test_a_set_has_not_more_files_than_it_may(folder: Path) -> None:
    for number in range(61):
        (folder / f"US-{number}.cedar").write_text("")
    with pytest.raises(PolicyInvalidError, match="65 files"):
        load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_part_that_is_not_text_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff" + (folder / name).read_bytes())
    with pytest.raises(PolicyInvalidError, match=f"{name} .* not UTF-8"):
        load(folder)


def test_a_part_that_is_a_folder_is_refused(folder: Path) -> None:
    (folder / "US-OH.cedar").mkdir()
    with pytest.raises(PolicyInvalidError, match=r"US-OH\.cedar .* cannot be read"):
        load(folder)


def test_another_schema_than_this_release_s_is_refused(folder: Path) -> None:
    path = folder / "schema.cedarschema"
    path.write_text(path.read_text().replace("tribalLand: Bool", "tribalLand: Long"))
    with pytest.raises(PolicyInvalidError, match="not that of this release"):
        load(folder)


@pytest.mark.parametrize("text", ["", "\n", "x" * 65, "one\ntwo"])
def test_a_version_is_one_short_line(folder: Path, text: str) -> None:
    (folder / "VERSION").write_text(text)
    with pytest.raises(PolicyInvalidError, match="VERSION"):
        load(folder)


def test_the_version_is_the_one_in_the_set(folder: Path) -> None:
    (folder / "VERSION").write_text("ohio-2027-01\n")
    assert load(folder).version == "ohio-2027-01"


def test_any_byte_changes_the_digest(folder: Path) -> None:
    seen = {load(folder).digest}
    path = folder / "default.cedar"
    text = path.read_text()
    (folder / "VERSION").write_text("default-1")
    seen.add(load(folder).digest)
    for changed in (
        text + " ",
        text.replace("//", "// ", 1),
        text.replace("\n", " \n"),
    ):
        path.write_text(changed)
        seen.add(load(folder).digest)
    (folder / "US-OH.cedar").write_text("")
    seen.add(load(folder).digest)
    (folder / "US-OH.cedar").rename(folder / "US-FL.cedar")
    seen.add(load(folder).digest)
    deadlines = folder / "deadlines.toml"
    deadlines.write_text(deadlines.read_text().replace('"15 min"', '"14 min"', 1))
    seen.add(load(folder).digest)
    assert len(seen) == 8


def test_hidden_files_are_not_looked_at(folder: Path) -> None:
    before = load(folder).digest
    (folder / ".US-OH.cedar.swp").write_bytes(b"\xff")
    assert load(folder).digest == before


def test_standard_tools_compute_the_digest_by_the_documented_command(
    folder: Path,
) -> None:
    (folder / "US-FL.cedar").write_text(RULE.format(id="florida-keeps"))
    found = re.search(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    ran = subprocess.run(
        ["/bin/sh", "-c", found[1]], cwd=folder, capture_output=True, check=True
    )
    policy = load(folder)
    assert ran.stdout.decode().split()[0] == policy.digest.hex()
    assert len(policy.digest) == hashlib.sha256().digest_size


# --- The set and what is said about it ------------------------------------------------


def test_the_schema_has_the_vocabulary_of_the_contract() -> None:
    text = (DEFAULT / "schema.cedarschema").read_text()
    enums = dict(re.findall(r"entity (\w+) enum \[(.*?)\]", text, re.DOTALL))
    del enums["Group"]
    for name, values in enums.items():
        vocabulary = vocabulary_pb2.DESCRIPTOR.enum_types_by_name[name]
        unspecified, *names = [value.name for value in vocabulary.values]
        if name == "ConsentState":  # the only one that a referral need not state
            names.insert(0, unspecified)
        prefix = unspecified.removesuffix("UNSPECIFIED")
        stated = re.findall(r'"(\w+)"', values)
        assert stated == [value.removeprefix(prefix) for value in names], name


def test_the_page_for_lawyers_states_each_rule(policy: DisclosurePolicy) -> None:
    page = " ".join(PAGE.read_text().split())
    for rule in policy.policy_set.default.rules:
        assert f"`{rule.id}`" in page
        assert rule.sentence in page
