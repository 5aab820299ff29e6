"""Rules in plain English, made from the rules themselves.

A rule's ``@sentence`` says what its author means. What is made here says what Cedar
evaluates, so that whoever answers for a set can hold the one against the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from onward_server.exchange.policy_facts import CedarJson
from onward_server.exchange.policy_set import Rule

GROUPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "agency": "any agency",
        "authority": "law enforcement or child welfare",
        "child-welfare": "child welfare",
        "hotline": "a hotline",
        "law-enforcement": "law enforcement",
        "service-provider": "a service provider",
    }
)
"""What the groups of members are called."""

_VARIABLES: Final = MappingProxyType(
    {"principal": "the publisher", "resource": "the recipient", "context": "the tip"}
)

_FACTS: Final = MappingProxyType(
    {
        "basis": "the basis",
        "consent": "the consent",
        "parentConsent": "the consent that binds it",
        "reporter": "the reporter",
        "ageGroup": "the age group",
        "urgency": "the class",
        "traffickingType": "the kind of trafficking",
        "jurisdiction": "the place",
        "country": "its country",
        "reason": "the reason",
    }
)
"""Facts with a value, by their names in the schema."""

_CLAIMS: Final = MappingProxyType(
    {
        "consentCoversRecipient": (
            "the consent covers the recipient",
            "the consent does not cover the recipient",
        ),
        "urgencyReasonStated": (
            "the reason for the urgency is stated",
            "no reason for the urgency is stated",
        ),
        "parentBinds": (
            "the consent of a referral that it came from binds it",
            "no consent of a referral that it came from binds it",
        ),
        "parentConsentCoversRecipient": (
            "the consent that binds it covers the recipient",
            "the consent that binds it does not cover the recipient",
        ),
        "tribalLand": ("the place is tribal land", "the place is no tribal land"),
        "test": ("it is a test", "it is no test"),
        "citationStated": (
            "a law or privilege is cited",
            "no law or privilege is cited",
        ),
        "reviewStated": (
            "a time to decide again is stated",
            "no time to decide again is stated",
        ),
    }
)
"""Facts that are so or not, by their names in the schema: both in words."""

_COMPARED: Final = MappingProxyType(
    {
        "==": "is",
        "!=": "is not",
        "<": "is less than",
        "<=": "is at most",
        ">": "is more than",
        ">=": "is at least",
        "+": "plus",
        "-": "minus",
        "*": "times",
        "containsAll": "include all of",
    }
)

_AGAIN: Final = MappingProxyType({"when": "and when", "unless": "or unless"})


def about(rule: Rule) -> str:
    """Returns what a rule is about, such as ``passing on to law enforcement``."""
    by = _named(rule.cedar["principal"])
    if rule.action == "withhold":
        return f"withholding by {by or 'anybody'}"
    to = _named(rule.cedar["resource"])
    return f"passing on to {to or 'anybody'}" + (f", by {by}" if by else "")


def conditions(rule: Rule) -> tuple[str, ...]:
    """Returns each condition of a rule, such as ``when it is a test``.

    A rule applies when every ``when`` holds and no ``unless`` does.
    """
    parts = rule.cedar["conditions"]
    kinds = [part["kind"] for part in parts]
    return tuple(
        f"{_AGAIN[kind] if kind in kinds[:place] else kind} {_said(part['body'])}"
        for place, (kind, part) in enumerate(zip(kinds, parts, strict=True))
    )


def _named(head: CedarJson) -> str:
    """Returns whom a rule's head names; empty where it names nobody."""
    if "entity" in head:
        return _value({"__entity": head["entity"]})
    return "members" if head["op"] == "is" else ""


def _said(node: CedarJson) -> str:
    """Returns an expression in words."""
    ((operator, parts),) = node.items()
    say = _SAYINGS.get(operator)
    if say is not None:
        return say(parts)
    if operator in _COMPARED:
        words = _said(parts["left"]), _COMPARED[operator], _said(parts["right"])
        return " ".join(words)
    return f"a condition with {operator} holds, for which see the text of the rule"


def _all(parts: CedarJson) -> str:
    return "; and ".join(_bracketed(part, "||") for part in _flat("&&", parts))


def _any(parts: CedarJson) -> str:
    return "; or ".join(_bracketed(part, "&&") for part in _flat("||", parts))


def _flat(operator: str, parts: CedarJson) -> list[CedarJson]:
    """Returns all operands of a chain of one operator."""
    return [
        operand
        for side in (parts["left"], parts["right"])
        for operand in (_flat(operator, side[operator]) if operator in side else [side])
    ]


def _bracketed(node: CedarJson, other: str) -> str:
    """Returns an operand; in brackets where its own operator would be misread."""
    return f"({_said(node)})" if other in node else _said(node)


def _not(parts: CedarJson) -> str:
    claim = parts["arg"].get(".", {}).get("attr")
    if claim in _CLAIMS:
        return _CLAIMS[claim][1]
    return f"it is not so that ({_said(parts['arg'])})"


def _attribute(parts: CedarJson) -> str:
    name, of = parts["attr"], parts["left"].get("Var")
    if of != "context":
        return f"the {name} of {_said(parts['left'])}"
    return _CLAIMS[name][0] if name in _CLAIMS else _FACTS.get(name, name)


def _contains(parts: CedarJson) -> str:
    if "Set" in parts["left"]:
        return f"{_said(parts['right'])} is {_said(parts['left'])}"
    return f"{_said(parts['left'])} include {_said(parts['right'])}"


def _in(parts: CedarJson) -> str:
    return f"{_said(parts['left'])} is {_said(parts['right'])}"


def _value(value: Any) -> str:  # noqa: ANN401 - any literal of Cedar
    if isinstance(value, bool):
        return "always" if value else "never"
    if not isinstance(value, dict):
        return str(value)
    entity = value.get("__entity", {"type": "", "id": "a value"})
    return GROUPS.get(entity["id"], entity["id"]) if _is_group(entity) else entity["id"]


def _is_group(entity: Mapping[str, str]) -> bool:
    return entity["type"] == "Group"


def _set(items: Sequence[CedarJson]) -> str:
    *others, last = [_said(item) for item in items] or ["nothing"]
    return f"{', '.join(others)} or {last}" if others else last


def _pattern(parts: CedarJson) -> str:
    text = "".join(
        "*" if piece == "Wildcard" else piece["Literal"] for piece in parts["pattern"]
    )
    return f"{_said(parts['left'])} is like {text}"


def _choice(parts: CedarJson) -> str:
    branches = (_said(parts[name]) for name in ("if", "then", "else"))
    return "(if {}, then {}, else {})".format(*branches)


_SAYINGS: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType(
    {
        "&&": _all,
        "||": _any,
        "!": _not,
        ".": _attribute,
        "contains": _contains,
        "containsAny": lambda parts: (
            f"{_said(parts['left'])} include {_said(parts['right'])}"
        ),
        "in": _in,
        "like": _pattern,
        "if-then-else": _choice,
        "Value": _value,
        "Set": _set,
        "Var": lambda name: _VARIABLES.get(name, name),
    }
)
