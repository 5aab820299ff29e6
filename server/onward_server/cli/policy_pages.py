"""How policy sets, and what they decide, are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from textwrap import fill
from typing import Final

import typer

from onward.core.policy_sets import policy_digest
from onward_server.cli.output import put_table
from onward_server.exchange.policy_explaining import (
    EVERYWHERE,
    STEPS,
    Difference,
    Met,
    RuleText,
    deadline_texts,
    rule_texts,
)
from onward_server.exchange.policy_set import PolicySet

_WIDTH: Final = 88
_EFFECTS: Final = {"forbid": "Forbids", "permit": "Permits"}
_DECIDED: Final = (
    "Nothing is permitted unless a rule permits it, and a rule that forbids wins over "
    "every rule that permits. What cannot be judged is refused. A refusal is signed "
    "and logged, with the rule's name, citation and sentence."
)

_COUNTED: Final = (
    "The times to pass on, to breach and to hold count from the tip's receipt, to "
    "deliver from the acceptance, to acknowledge and for the first outcome from the "
    "delivery. A warning is logged when half of a time is over, and a breach when all "
    "of it is."
)


def set_as_dict(policy_set: PolicySet) -> dict[str, object]:
    """Returns a whole set in words."""
    return {
        **head_as_dict(policy_set),
        "rules": [asdict(rule) for rule in rule_texts(policy_set)],
        "deadlines": [
            {"place": row.place, "class": row.urgency, **row.spans}
            for row in deadline_texts(policy_set)
        ],
    }


def head_as_dict(policy_set: PolicySet) -> dict[str, object]:
    """Returns by what a set is known."""
    return {
        "version": policy_set.version,
        "digest": policy_digest(policy_set.files).hex(),
        "files": list(policy_set.files),
    }


def put_set(policy_set: PolicySet) -> None:
    """Prints a whole set in words."""
    typer.echo(f"Policy set {policy_set.version}")
    typer.echo(f"SHA-256 {policy_set.digest.hex()}\n")
    typer.echo(fill(_DECIDED, _WIDTH))
    for place, rules in groupby(rule_texts(policy_set), lambda rule: rule.place):
        where = "EVERYWHERE" if place == EVERYWHERE else f"IN {place} ONLY"
        typer.echo(f"\nRULES THAT APPLY {where}")
        for number, rule in enumerate(rules, 1):
            typer.echo("\n".join(_lines(number, rule)))
    typer.echo(f"\nDEADLINES\n\n{fill(_COUNTED, _WIDTH)}\n")
    put_table(
        ("place", "class", *STEPS.values()),
        [
            (row.place, row.urgency, *row.spans.values())
            for row in deadline_texts(policy_set)
        ],
    )


def _lines(number: int, rule: RuleText) -> Iterator[str]:
    """Yields what is printed of one rule."""
    instead = ", in place of the default rule of this name" if rule.replaces else ""
    yield f"\n{number}. {rule.id}{instead}"
    yield _indented(rule.sentence)
    yield _indented(f"Citation: {rule.citation}")
    yield _indented(f"{_EFFECTS[rule.effect]}: {rule.about}")
    for condition in rule.conditions:
        yield _indented(condition, "     ")


def _indented(text: str, by: str = "   ") -> str:
    return _filled(text, by, f"{by}  ")


def _filled(text: str, first: str, other: str) -> str:
    return fill(text, _WIDTH, initial_indent=first, subsequent_indent=other)


def put_differences(found: Sequence[Difference], *, err: bool = False) -> None:
    """Prints what is another."""
    for place, items in groupby(found, lambda item: item.place):
        typer.echo(f"\n{place}", err=err)
        for item in items:
            typer.echo(f"  {item.what}", err=err)
            for sign, text in (("-", item.before), ("+", item.after)):
                if text:
                    typer.echo(_filled(text, f"  {sign} ", "    "), err=err)


def met_as_dict(met: Met) -> dict[str, object]:
    """Returns what one question meets."""
    refusal = met.refusal
    return {
        "recipient": met.recipient,
        "allowed": refusal is None,
        "rule": refusal.rule if refusal else "",
        "citation": refusal.citation if refusal else "",
        "sentence": refusal.sentence if refusal else "",
        "permitted_by": list(met.permit),
        "forbidden_by": list(met.forbid),
    }


def put_met(found: Iterable[Met], spans: Mapping[str, str]) -> None:
    """Prints what questions meet, and what would be due."""
    items = list(found)
    put_table(
        ("to", "answer", "permitted by", "forbidden by"),
        [
            (
                item.recipient or "(withheld)",
                f"refused by {item.refusal.rule}" if item.refusal else "allowed",
                " ".join(item.permit) or "-",
                " ".join(item.forbid) or "-",
            )
            for item in items
        ],
    )
    for refusal in dict.fromkeys(item.refusal for item in items if item.refusal):
        typer.echo(f"\n{refusal.rule}")
        typer.echo(_indented(refusal.sentence))
        typer.echo(_indented(f"Citation: {refusal.citation}"))
    if not spans:
        return
    due = ", ".join(f"{STEPS[step]} {span}" for step, span in spans.items())
    typer.echo("\n" + fill(f"Deadlines: {due}", _WIDTH))
