"""What all parts of a year share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from bench.scribe import EXCHANGE, Scribe, timestamp
from bench.synthetic.books import Books, Delivery, alarm
from bench.synthetic.timeline import Timeline, milliseconds_of
from onward.core.due import Kind
from onward.v1 import statement_pb2
from onward_server.exchange.deadlines import Deadlines, DeadlineTable


@dataclass(frozen=True, slots=True)
class Setting:
    """What all parts of a year share.

    Attributes:
        scribe: writes the log.
        timeline: has things happen.
        books: keeps the figures.
        table: the deadlines in force.
        policy: the digest of the policy in force.
    """

    scribe: Scribe
    timeline: Timeline
    books: Books
    table: DeadlineTable
    policy: bytes

    def deadlines(self, urgency: int, code: str) -> Deadlines:
        """Returns the deadlines of a class in a place."""
        return self.table.of(urgency, code)

    def watch_delivery(
        self, delivery: Delivery, kind: Kind.ValueType, span: timedelta
    ) -> None:
        """Has the exchange say when a step of a delivery, begun now, is late."""
        begin_ms, span_ms = self.timeline.now_ms, milliseconds_of(span)
        due_ms = begin_ms + span_ms

        def say(said: str) -> None:
            role, holder = delivery.holder
            due = statement_pb2.Due(
                kind=kind,
                due_time=timestamp(due_ms),
                holder=holder,
                holder_role=role,
                recipient=delivery.recipient,
            )
            body = alarm(said, due)
            self.books.say_of_delivery(delivery, EXCHANGE, delivery.referral, **body)

        warn_ms = begin_ms + span_ms // 2
        self.timeline.watch(warn_ms, due_ms, lambda: delivery.is_open(kind), say)
