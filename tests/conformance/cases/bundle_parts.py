"""What the vectors of ``bundle`` are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from onward.core.tlog_proof import TlogProof
from tests.conformance.case import Case
from tests.support.chain_builder import HOTLINE, NEVADA, OHIO, ChainBuilder, Logged

_STEPS = range(1, 13)
_OPTIONAL = frozenset({6, 9, 11})
"""Witnesses, timing and content: mostly there is nothing to check them with."""


@dataclass(frozen=True, slots=True)
class Made:
    """A bundle, and what must come of it.

    Attributes:
        bundle: the bundle's JSON.
        trust: the trust file.
        error: the reason of the first thing that does not hold.
        failing: the numbers of the steps that do not hold.
        checked: the numbers of those optional steps that hold here.
        unreadable: whether it cannot be read at all.
        authorities: PEM, the timestamp authorities that are trusted.
    """

    bundle: bytes
    trust: str
    error: str = ""
    failing: Collection[int] = ()
    checked: Collection[int] = ()
    unreadable: bool = False
    authorities: str = ""

    def steps(self) -> list[dict[str, object]]:
        """Returns the steps of the answer, without what is for people."""
        if self.unreadable:
            return [{"step": 1, "verdict": "NOT_CHECKED"}]
        return [{"step": number, "verdict": self._verdict(number)} for number in _STEPS]

    def _verdict(self, number: int) -> str:
        if number in self.failing:
            return "NOT_PROVEN"
        skipped = number in _OPTIONAL and number not in self.checked
        return "NOT_CHECKED" if skipped else "PROVEN"


@dataclass(slots=True)
class Vectors:
    """Functions that make vectors: their names and docstrings are the vectors'."""

    makers: list[Callable[[], Made]] = field(default_factory=list)

    def add(self, maker: Callable[[], Made]) -> Callable[[], Made]:
        """Registers a function."""
        self.makers.append(maker)
        return maker

    def cases(self) -> Iterator[Case]:
        """Yields the vectors."""
        for maker in self.makers:
            made, name = maker(), maker.__name__.replace("_", "-")
            why = " ".join((maker.__doc__ or "").split())
            request = {"bundle": json.loads(made.bundle), "trust": made.trust}
            if made.authorities:
                request["authorities"] = made.authorities
            yield Case(
                "bundle", name, why, request, made.error, {"steps": made.steps()}
            )


def small(**options: Any) -> ChainBuilder:
    """Returns an exchange with a hotline and one agency."""
    exchange = ChainBuilder(**options)
    exchange.found()
    exchange.enrol(HOTLINE)
    exchange.enrol(OHIO)
    return exchange


def received(**options: Any) -> tuple[ChainBuilder, Logged, Logged]:
    """Returns an exchange, a referral, and that it was received."""
    exchange = small(**options)
    referral = exchange.publish(HOTLINE, OHIO)
    return exchange, referral, exchange.receive(referral, OHIO)


def transferred() -> tuple[ChainBuilder, Logged, Logged]:
    """Returns an exchange, a referral, and the child that it was transferred into."""
    exchange = small()
    exchange.enrol(NEVADA)
    parent = exchange.publish(HOTLINE, OHIO)
    read = exchange.acknowledge(exchange.receive(parent, OHIO))
    return exchange, parent, exchange.transfer(parent, exchange.decline(read), NEVADA)


def edited(data: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """Returns a bundle after an edit of its JSON."""
    members = json.loads(data)
    edit(members)
    return as_json(members)


def as_json(members: Mapping[str, object]) -> bytes:
    """Returns JSON as UTF-8."""
    return json.dumps(members, ensure_ascii=False).encode()


def without(data: bytes, name: str, place: int) -> bytes:
    """Returns a bundle without one item of a list, and of the view if it shows it."""

    def edit(members: dict[str, Any]) -> None:
        del members[name][place]
        if name == "statements":
            del members["view"][place]

    return edited(data, edit)


def with_receipt(
    data: bytes, change: Callable[[TlogProof], TlogProof], place: int = -1
) -> bytes:
    """Returns a bundle with another receipt of one statement."""

    def edit(members: dict[str, Any]) -> None:
        item = members["statements"][place]
        item["receipt"] = change(TlogProof.parse(item["receipt"])).format()

    return edited(data, edit)
