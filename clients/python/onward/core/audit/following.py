"""The facts that remain of a referral, once its deliveries were followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration

from onward.core.audit.facts import (
    NONE,
    DeliveryFacts,
    Passing,
    ReferralFacts,
    Remark,
    Span,
    milliseconds,
)
from onward.core.custody import INITIAL, TRANSITIONS, Event
from onward.core.due import OPEN, Kind
from onward.core.verify.chains import Chain
from onward.core.verify.deliveries import OUTCOMES, Delivery
from onward.core.verify.evidence import Entry
from onward.v1 import statement_pb2

_TRANSFER_OF = statement_pb2.REFERRAL_LINK_KIND_TRANSFER_OF
_REMARKS: Final = frozenset({"warning", "breach"})
_SECOND: Final = 1000
_NANOSECONDS: Final = 1_000_000


def facts_of_referral(
    chain: Chain, deliveries: Sequence[Delivery]
) -> ReferralFacts | None:
    """Returns what remains of a referral; None where the referral itself is missing."""
    if chain.referral is None:
        return None
    first = chain.referral
    body = first.statement.message.referral
    answer = _answer(chain)
    retraction = chain.first("retraction")
    parent = next((link for link in body.links if link.kind == _TRANSFER_OF), None)
    return ReferralFacts(
        chain.referral_id,
        first.index,
        first.issuer,
        tuple(body.recipients),
        body.urgency,
        body.jurisdiction.code,
        body.basis,
        body.consent.state,
        tuple(body.consent.recipients),
        _end(body.consent),
        body.reporter_type,
        body.subject_age_group,
        body.test,
        milliseconds(body.tip_received_time),
        tuple(body.intake_numbers),
        parent.referral_id if parent else "",
        parent.referral_digest if parent else b"",
        _index(chain.acceptance),
        _index(chain.first("rejection")),
        answer.rule if isinstance(answer, statement_pb2.Rejection) else "",
        answer.policy_version if answer else "",
        answer.policy_digest if answer else b"",
        _index(retraction),
        retraction.statement.message.retraction.reason if retraction else 0,
        _index(chain.first("erasure")),
        tuple(_of_delivery(delivery) for delivery in deliveries),
        tuple(_passing(entry) for entry in chain.transfers()),
        remarks_of([alarm for item in deliveries for alarm in item.alarms]),
    )


def remarks_of(entries: Sequence[Entry]) -> tuple[Remark, ...]:
    """Returns the warnings and breaches among some statements."""
    return tuple(_remark(entry) for entry in entries if entry.kind in _REMARKS)


def _of_delivery(delivery: Delivery) -> DeliveryFacts:
    """Returns what remains of one delivery."""
    firsts: dict[Event, Entry] = {}
    code = 0
    for event, entry in delivery.events:
        firsts.setdefault(event, entry)
        if event in OUTCOMES:
            code = entry.statement.message.outcome.code
    terms = _terms(delivery)
    declined, replied = firsts.get(Event.DECLINE), firsts.get(Event.RETRACTION_REPLY)
    outcomes = [firsts[event].index for event in OUTCOMES if event in firsts]
    return DeliveryFacts(
        delivery.recipient,
        delivery.state,
        _index(firsts.get(Event.HANDOVER)),
        _index(firsts.get(Event.RECEIVED)),
        _index(firsts.get(Event.ACKNOWLEDGMENT)),
        _index(firsts.get(Event.TAKING)),
        _index(declined),
        declined.statement.message.decline.reason if declined else 0,
        _index(firsts.get(Event.TRANSFER)),
        min(outcomes, default=NONE),
        code,
        _index(firsts.get(Event.CLOSING_OUTCOME)),
        _index(replied),
        replied.statement.message.retraction_reply.action if replied else 0,
        milliseconds(terms.deliver_by_time),
        _span(terms.acknowledge_within),
        _span(terms.outcome_within),
        _spans(delivery),
    )


def _spans(delivery: Delivery) -> tuple[Span, ...]:
    """Returns where in the log each step was open."""
    accepted = _index(delivery.chain.acceptance)
    state, stated = INITIAL, False
    opened = dict.fromkeys(OPEN.get(state, ()), accepted)
    spans: list[Span] = []
    for event, entry in delivery.events:
        state = TRANSITIONS[state].get(event, state)
        stated = stated or event in OUTCOMES
        due = OPEN.get(state, ())
        still = {kind for kind in due if not _done(kind, stated)}
        ended = opened.keys() - still
        spans += [Span(kind, opened.pop(kind), entry.index) for kind in sorted(ended)]
        for kind in still:
            opened.setdefault(kind, entry.index)
    spans += [Span(kind, at, NONE) for kind, at in opened.items()]
    return tuple(spans)


def _done(kind: int, stated: bool) -> bool:  # noqa: FBT001 - a fact, and no switch
    """Whether a step is made for good: an outcome is due until the first one."""
    return stated and kind == Kind.DEADLINE_KIND_OUTCOME


def _terms(delivery: Delivery) -> statement_pb2.DeliveryDeadlines:
    """Returns the deadlines that the acceptance sets for a delivery, or none."""
    acceptance = delivery.chain.acceptance
    stated = acceptance.statement.message.acceptance.deadlines if acceptance else ()
    found = (item for item in stated if item.recipient == delivery.recipient)
    return next(found, statement_pb2.DeliveryDeadlines())


def _answer(chain: Chain) -> statement_pb2.Acceptance | statement_pb2.Rejection | None:
    """Returns the exchange's answer to a referral."""
    if chain.acceptance is not None:
        return chain.acceptance.statement.message.acceptance
    rejection = chain.first("rejection")
    return rejection.statement.message.rejection if rejection else None


def _remark(entry: Entry) -> Remark:
    """Returns what remains of a warning or breach."""
    breach = entry.kind == "breach"
    message = entry.statement.message
    due = message.breach.due if breach else message.warning.due
    return Remark(
        entry.index,
        breach,
        due.kind,
        milliseconds(due.due_time),
        due.holder,
        due.holder_role,
        due.recipient,
    )


def _passing(entry: Entry) -> Passing:
    body = entry.statement.message.transfer
    return Passing(entry.index, body.child_referral_id, body.child_digest)


def _index(entry: Entry | None) -> int:
    return NONE if entry is None else entry.index


def _end(consent: statement_pb2.Consent) -> int:
    """Returns the first whole millisecond at which a consent is over, 0 for none.

    One that was over before 1970 is over, and not without end.
    """
    if not consent.HasField("expire_time"):
        return 0
    time = consent.expire_time
    return max(milliseconds(time) + (time.nanos % _NANOSECONDS > 0), 1)


def _span(time: Duration) -> int:
    return time.seconds * _SECOND + time.nanos // _NANOSECONDS
