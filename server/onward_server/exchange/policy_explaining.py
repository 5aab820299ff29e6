"""What a policy set says, and what a statement would meet, for those who answer for it.

Nothing here decides: it shows the set that :mod:`onward_server.exchange.policy` decides
by, and asks the same questions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal

import cedarpy

from onward.v1 import directory_pb2, statement_pb2
from onward_server.exchange import policy_prose
from onward_server.exchange.deadlines import CLASSES, Deadlines
from onward_server.exchange.policy import DisclosurePolicy, Refusal
from onward_server.exchange.policy_facts import (
    Facts,
    WithholdingFacts,
    country_of,
    facts_of,
    facts_of_withholding,
)
from onward_server.exchange.policy_set import PolicySet, Rule

EVERYWHERE: Final = "everywhere"

STEPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pass_on": "pass on",
        "pass_on_breach": "breach",
        "hold_to": "hold to",
        "deliver": "deliver",
        "acknowledge": "acknowledge",
        "outcome": "first outcome",
    }
)
"""The columns of the table of deadlines, and what they are called."""

_HOUR: Final = timedelta(hours=1)
_DAYS: Final = timedelta(days=4)
"""From here on a time is said in days."""


@dataclass(frozen=True, slots=True)
class RuleText:
    """One rule in words.

    Attributes:
        place: the code of the jurisdiction where it applies, or ``everywhere``.
        replaces: whether it takes a default rule's place there, or a country's.
        about: what it permits or forbids.
        conditions: each one in words, made from the rule itself.
    """

    place: str
    id: str
    effect: Literal["permit", "forbid"]
    replaces: bool
    about: str
    citation: str
    sentence: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeadlineText:
    """The deadlines of one class in one place, in words, by :data:`STEPS`."""

    place: str
    urgency: str
    spans: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """What is another in a second set; ``before`` or ``after`` is empty if absent."""

    place: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Met:
    """What one question meets.

    Attributes:
        recipient: its name; empty for a withholding.
        refusal: why it is refused; None where it is allowed.
        permit: ids of the rules that permit it.
        forbid: ids of the rules that forbid it.
    """

    recipient: str
    refusal: Refusal | None
    permit: tuple[str, ...]
    forbid: tuple[str, ...]


def rule_texts(policy_set: PolicySet) -> Iterator[RuleText]:
    """Yields all rules: the default ones, then those of each jurisdiction."""
    defaults = {rule.id for rule in policy_set.default.rules}
    yield from (_text(EVERYWHERE, rule) for rule in policy_set.default.rules)
    for place, rules in policy_set.own.items():
        country = policy_set.own.get(country_of(place), ()) if "-" in place else ()
        before = defaults | {rule.id for rule in country}
        yield from (_text(place, rule, rule.id in before) for rule in rules)


def deadline_texts(policy_set: PolicySet) -> Iterator[DeadlineText]:
    """Yields the table of deadlines: the default, then what jurisdictions have."""
    table = policy_set.deadlines
    names: Mapping[int, str] = {number: name for name, number in CLASSES.items()}
    for place, rows in ((EVERYWHERE, table.default), *table.jurisdictions.items()):
        for urgency, row in rows.items():
            yield DeadlineText(place, names[urgency], _spans(row))


def differences(before: PolicySet, after: PolicySet) -> list[Difference]:
    """Returns what another set says else: version, rules and deadlines.

    What a jurisdiction has of its own in one set, and not in the other, is compared
    with what applies there by default.
    """
    old, new = _sayings(before), _sayings(after)
    return [
        found
        for key in dict.fromkeys([*old, *new])
        if (found := Difference(*key, _saying(old, *key), _saying(new, *key))).before
        != found.after
    ]


def met_by_referral(
    policy: DisclosurePolicy,
    publisher: directory_pb2.Member,
    referral: statement_pb2.Referral,
    recipients: Sequence[directory_pb2.Member],
    now: datetime,
    above: statement_pb2.Referral | None = None,
) -> list[Met]:
    """Returns what a referral would meet, for each of its recipients.

    ``above`` is for a transfer: the referral above it whose consent binds it.
    """
    return [
        _met(
            policy,
            facts_of(publisher, recipient, referral, now, above),
            policy.refusal(publisher, referral, [recipient], now, above),
            recipient.name,
        )
        for recipient in recipients
    ]


def met_by_withholding(
    policy: DisclosurePolicy,
    hotline: directory_pb2.Member,
    intake: statement_pb2.Intake,
    withholding: statement_pb2.Withholding,
) -> Met:
    """Returns what a withholding would meet."""
    return _met(
        policy,
        facts_of_withholding(hotline, intake, withholding),
        policy.withholding_refusal(hotline, intake, withholding),
    )


def spans_of(policy: DisclosurePolicy, urgency: int, place: str) -> Mapping[str, str]:
    """Returns the deadlines of a class of tips that point to a place, in words.

    Raises:
        MalformedError: the urgency is one that this release does not know.
    """
    return _spans(policy.deadlines(urgency, place))


def _text(place: str, rule: Rule, replaces: bool = False) -> RuleText:  # noqa: FBT001, FBT002
    return RuleText(
        place,
        rule.id,
        rule.effect,
        replaces,
        policy_prose.about(rule),
        rule.citation,
        rule.sentence,
        policy_prose.conditions(rule),
    )


def _spans(row: Deadlines) -> Mapping[str, str]:
    return MappingProxyType({step: _span(getattr(row, step)) for step in STEPS})


def _span(span: timedelta | None) -> str:
    """Returns a length of time in the largest unit that people use for it."""
    if span is None:
        return "none"
    if span >= _DAYS and not span % timedelta(days=1):
        return f"{span.days} d"
    if not span % _HOUR:
        return f"{span // _HOUR} h"
    return f"{span // timedelta(minutes=1)} min"


def _sayings(policy_set: PolicySet) -> dict[tuple[str, str], str]:
    """Returns all that a set says, by the place and what it is about."""
    said = {(EVERYWHERE, "version"): policy_set.version}
    for rule in rule_texts(policy_set):
        exactly = ", ".join([f"{rule.effect}s {rule.about}", *rule.conditions])
        said[rule.place, f"rule {rule.id}"] = (
            f"{rule.sentence} [{rule.citation}] It {exactly}."
        )
    for row in deadline_texts(policy_set):
        for step, span in row.spans.items():
            said[row.place, f"{row.urgency}: {STEPS[step]}"] = span
    return said


def _saying(said: Mapping[tuple[str, str], str], place: str, what: str) -> str:
    """Returns what a set says about something in a place; empty if nothing."""
    places = (place, country_of(place), EVERYWHERE)
    return next((said[at, what] for at in places if (at, what) in said), "")


def _met(
    policy: DisclosurePolicy,
    facts: Facts | WithholdingFacts,
    refusal: Refusal | None,
    recipient: str = "",
) -> Met:
    """Asks the rules of each effect alone, since Cedar names those that decide."""
    rules = policy.policy_set.at(facts.jurisdiction).rules
    return Met(
        recipient,
        refusal,
        permit=_applying(policy.policy_set, facts, rules, "permit"),
        forbid=_applying(policy.policy_set, facts, rules, "forbid"),
    )


def _applying(
    policy_set: PolicySet,
    facts: Facts | WithholdingFacts,
    rules: Sequence[Rule],
    effect: str,
) -> tuple[str, ...]:
    """Returns the ids of the rules of one effect that apply, in their order."""
    chosen = {rule.id: rule.cedar for rule in rules if rule.effect == effect}
    document = {"templates": {}, "staticPolicies": chosen, "templateLinks": []}
    entities = [party.entity() for party in dict.fromkeys(facts.parties)]
    try:
        answer = cedarpy.is_authorized(
            facts.request(),
            cedarpy.PolicySet.from_json_str(json.dumps(document)),
            cedarpy.Entities.from_json_str(json.dumps(entities), policy_set.schema),
            policy_set.schema,
        )
    except ValueError:  # the refusal is policy-error, and says so
        return ()
    applying = set(answer.diagnostics.reasons)
    return tuple(name for name in chosen if name in applying)
