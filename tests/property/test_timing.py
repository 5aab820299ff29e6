"""Bounds of time are sound whatever honest parties do, and hold what liars do not know.

A world is played in which everybody's clock is right, or that of the exchange jumps.
Members are often offline: what they sign reaches the log late, and in an order of its
own. Each statement that they sign names what they knew at that moment, or less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from onward.core.statements import SignedStatement, parse_statement
from onward.core.timing import MAX_CLOCK_SKEW, Interval, Placed, Sighting, intervals
from onward.v1 import statement_pb2
from tests.support.chain_builder import (
    HOTLINE,
    OHIO,
    START,
    ChainBuilder,
    established,
    timestamp,
)

TAKEN = statement_pb2.Taking()
MEMBERS = (HOTLINE, OHIO)


_HONEST = st.just(timedelta(0))
_JUMPING = st.sampled_from([-720, -1, 0, 1, 720]).map(lambda n: timedelta(hours=n))


@dataclass
class World:
    """An exchange, its members' outboxes, and when each statement was really made.

    Attributes:
        lies: by how much the exchange's clock is behind, from one time to the next.
    """

    lies: st.SearchStrategy[timedelta] = field(default_factory=lambda: _HONEST)
    exchange: ChainBuilder = field(default_factory=established)
    waiting: dict[str, list[SignedStatement]] = field(
        default_factory=lambda: {name: [] for name in MEMBERS}
    )
    known: list[SignedStatement] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    made: dict[bytes, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.exchange.log:
            self._note(item.statement)

    def sign(self, who: str, data: st.DataObject, lie: timedelta) -> SignedStatement:
        """Lets somebody sign, who may claim to have done so earlier."""
        exchange = self.exchange
        # Mostly one answers oneself: that is where the log's order says least.
        own = self.waiting.get(who) or self.known
        previous = data.draw(st.sampled_from(own) | st.sampled_from(self.known))
        size = data.draw(st.integers(1, len(exchange.log)))
        seen = statement_pb2.Seen(
            origin=exchange.signer.name, size=size, root=bytes(32)
        )
        claims = timestamp(exchange.now + timedelta(seconds=1) - lie)
        signed = exchange.sign(
            who,
            taking=TAKEN,
            seen=seen,
            made_time=claims,
            previous=previous,
            referral_id=exchange.new_id(),
        )
        self.made[signed.digest] = exchange.now
        return signed

    def step(self, data: st.DataObject) -> None:
        """Lets one thing happen."""
        who = data.draw(st.sampled_from([*MEMBERS, self.exchange.exchange, "witness"]))
        if who == "witness":
            self.sightings.append(Sighting(len(self.exchange.log), self.exchange.now))
        elif who == self.exchange.exchange:
            signed = self.sign(who, data, data.draw(self.lies))
            self._log(signed)
        elif data.draw(st.booleans()):
            self.waiting[who].append(self.sign(who, data, timedelta(0)))
        else:
            for signed in self.waiting[who]:
                self._log(signed)
            self.waiting[who].clear()
        self.exchange.wait(minutes=data.draw(st.integers(0, 600)))

    def intervals(self) -> dict[int, Interval]:
        """Returns what the log tells."""
        placed = [
            Placed(item.index, parse_statement(item.statement.jws))
            for item in self.exchange.log
        ]
        origin = self.exchange.signer.name
        return intervals(placed, self.exchange.exchange, origin, self.sightings)

    def _log(self, signed: SignedStatement) -> None:
        self.exchange.append(signed)
        self.known.append(signed)

    def _note(self, signed: SignedStatement) -> None:
        self.known.append(signed)
        time = signed.message.made_time
        self.made[signed.digest] = START + (
            time.ToDatetime() - START.replace(tzinfo=None)
        )


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 30))
def test_no_honest_statement_is_contradicted(data: st.DataObject, steps: int) -> None:
    world = World()
    for _ in range(steps):
        world.step(data)
    found = world.intervals()
    for item in world.exchange.log:
        bounds, truth = found[item.index], world.made[item.digest]
        assert not bounds.contradiction()
        assert bounds.not_before is None or bounds.not_before <= truth
        assert bounds.not_after is None or truth <= bounds.not_after


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(10, 30))
def test_whatever_the_exchanges_clock_says_others_bound_it_and_blame_nobody_else(
    data: st.DataObject, steps: int
) -> None:
    world = World(lies=_JUMPING)
    exchange = world.exchange
    for _ in range(steps):
        size = len(exchange.log)
        world.step(data)
        if len(exchange.log) > size:
            # Others see it at once: witnesses, or a timestamp authority.
            seen = max(world.made[item.digest] for item in exchange.log)
            world.sightings.append(
                Sighting(len(exchange.log), seen + timedelta(seconds=2))
            )
    found = world.intervals()
    for item in exchange.log:
        bounds, truth = found[item.index], world.made[item.digest]
        claimed = item.statement.message.made_time.ToDatetime(tzinfo=UTC)
        if world.sightings:
            assert bounds.not_after is not None
            assert truth <= bounds.not_after
        if item.statement.message.issuer != exchange.exchange:
            assert not bounds.contradiction()
        elif claimed - truth > 2 * MAX_CLOCK_SKEW:
            assert bounds.contradiction()


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 6), st.integers(1, 600))
def test_nobody_claims_a_time_before_what_the_exchange_had_said(
    data: st.DataObject, links: int, minutes: int
) -> None:
    # However old the checkpoint is that is named, and however many statements of one's
    # own lie between.
    world = World()
    exchange = world.exchange
    exchange.wait(minutes=minutes)
    young = statement_pb2.Seen(origin=exchange.signer.name, size=1, root=bytes(32))
    answered = exchange.publish(HOTLINE, OHIO)
    said = exchange.hand_over(answered, OHIO)
    last, told = said.statement, exchange.now
    for _ in range(links):
        exchange.wait(minutes=data.draw(st.integers(0, 600)))
        last = exchange.sign(OHIO, taking=TAKEN, seen=young, previous=last)
        exchange.append(last)
    claims = told - MAX_CLOCK_SKEW - timedelta(seconds=1, minutes=minutes)
    exchange.append(
        exchange.sign(
            OHIO, taking=TAKEN, seen=young, previous=last, made_time=timestamp(claims)
        )
    )
    forged = world.intervals()[len(exchange.log) - 1]
    assert forged.not_before == told
    assert "backdated" in forged.contradiction()
