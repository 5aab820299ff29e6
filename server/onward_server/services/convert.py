"""Domain values as messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import singledispatch

from onward.v1 import (
    admin_pb2,
    alert_pb2,
    audit_pb2,
    intake_pb2,
    log_pb2,
    referral_pb2,
    vocabulary_pb2,
)
from onward_server.exchange.auditing import Excerpt, ExportHeader
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.delivering import Beat, HandedOver, Offer, Retracted
from onward_server.exchange.intakes import IntakeRecord
from onward_server.exchange.publishing import Published
from onward_server.exchange.receipts import Logged
from onward_server.exchange.records import Record, Status
from onward_server.exchange.submission import Submitted


def to_logged_statement(logged: Logged) -> log_pb2.LoggedStatement:
    """Returns a statement with its receipt."""
    return log_pb2.LoggedStatement(statement=logged.jws, receipt=logged.receipt)


def to_logged_statements(
    logged: Iterable[Logged],
) -> list[log_pb2.LoggedStatement]:
    """Returns statements with their receipts."""
    return [to_logged_statement(one) for one in logged]


def to_publish_response(published: Published) -> referral_pb2.PublishResponse:
    """Returns an accepted referral."""
    return referral_pb2.PublishResponse(
        referral=to_logged_statement(published.referral),
        acceptance=to_logged_statement(published.acceptance),
    )


def to_submit_response(submitted: Submitted) -> referral_pb2.SubmitStatementResponse:
    """Returns a logged statement, with the child of a transfer."""
    child = submitted.child
    return referral_pb2.SubmitStatementResponse(
        statement=to_logged_statement(submitted.statement),
        child=to_publish_response(child) if child else None,
    )


def to_heartbeat(beat: Beat) -> referral_pb2.Heartbeat:
    """Returns a sign of life."""
    return referral_pb2.Heartbeat(checkpoint=beat.checkpoint)


@singledispatch
def to_receive_response(event: object) -> referral_pb2.ReceiveResponse:
    """Returns an event of a recipient's stream."""
    msg = f"no message for {type(event).__name__}"
    raise TypeError(msg)


@to_receive_response.register
def _(event: Offer) -> referral_pb2.ReceiveResponse:
    return referral_pb2.ReceiveResponse(
        delivery=referral_pb2.Delivery(
            referral=to_logged_statement(event.referral),
            acceptance=to_logged_statement(event.acceptance),
            sealed_content=event.sealed,
            content_separate=event.separate,
            lease_expire_time=to_timestamp(event.lease_until_ms),
            attempt=event.attempt,
            traceparent=event.traceparent,
        )
    )


@to_receive_response.register
def _(event: HandedOver) -> referral_pb2.ReceiveResponse:
    return referral_pb2.ReceiveResponse(
        handover=referral_pb2.HandoverNotice(
            referral_id=event.referral_id,
            handover=to_logged_statement(event.handover),
        )
    )


@to_receive_response.register
def _(event: Retracted) -> referral_pb2.ReceiveResponse:
    return referral_pb2.ReceiveResponse(
        retraction=referral_pb2.RetractionNotice(
            referral_id=event.referral_id,
            retraction=to_logged_statement(event.retraction),
        )
    )


@to_receive_response.register
def _(event: Beat) -> referral_pb2.ReceiveResponse:
    return referral_pb2.ReceiveResponse(heartbeat=to_heartbeat(event))


def to_content_response(part: bytes | Logged) -> referral_pb2.GetContentResponse:
    """Returns a part of a download."""
    if isinstance(part, bytes):
        return referral_pb2.GetContentResponse(chunk=part)
    return referral_pb2.GetContentResponse(handover=to_logged_statement(part))


def to_watch_response(
    event: Logged | Beat, resume_token: str
) -> referral_pb2.WatchOwnResponse:
    """Returns an event of a publisher's stream."""
    if isinstance(event, Beat):
        return referral_pb2.WatchOwnResponse(
            heartbeat=to_heartbeat(event), resume_token=resume_token
        )
    return referral_pb2.WatchOwnResponse(
        statement=to_logged_statement(event), resume_token=resume_token
    )


def to_alert_response(
    event: Logged | Beat, resume_token: str
) -> alert_pb2.WatchAlertsResponse:
    """Returns an event of a stream of alerts."""
    if isinstance(event, Beat):
        return alert_pb2.WatchAlertsResponse(
            heartbeat=to_heartbeat(event), resume_token=resume_token
        )
    return alert_pb2.WatchAlertsResponse(
        alert=to_logged_statement(event), resume_token=resume_token
    )


def to_referral_view(record: Record) -> referral_pb2.ReferralView:
    """Returns a referral as the caller may see it."""
    row = record.row
    return referral_pb2.ReferralView(
        referral_id=row.referral_id,
        publisher=row.publisher,
        urgency=vocabulary_pb2.Urgency.ValueType(row.urgency),
        jurisdiction=row.jurisdiction,
        accept_time=to_timestamp(row.accepted_ms),
        test=row.test,
        retracted=row.retracted,
        content_erased=row.erased,
        deliveries=[
            referral_pb2.DeliveryView(
                recipient=delivery.recipient,
                state=vocabulary_pb2.DeliveryState.ValueType(delivery.state),
                state_time=to_timestamp(delivery.state_ms),
            )
            for delivery in record.deliveries
        ],
        statements=to_logged_statements(record.statements),
    )


def to_export_response(
    part: ExportHeader | Excerpt,
) -> audit_pb2.ExportStatementsResponse:
    """Returns a part of an export."""
    if isinstance(part, ExportHeader):
        return audit_pb2.ExportStatementsResponse(header=_to_export_header(part))
    return audit_pb2.ExportStatementsResponse(
        statements=audit_pb2.ExportedStatements(
            statements=[
                audit_pb2.ExportedStatement(log_index=row.log_index, statement=row.jws)
                for row in part.statements
            ]
        )
    )


def _to_export_header(header: ExportHeader) -> audit_pb2.ExportHeader:
    """Returns what is coming, the figures ordered by their keys."""
    urgency_of = vocabulary_pb2.Urgency.ValueType
    return audit_pb2.ExportHeader(
        access=to_logged_statement(header.access),
        checkpoint=header.checkpoint,
        intakes=[
            audit_pb2.IntakeFigure(
                hotline=hotline,
                urgency=urgency_of(urgency),
                state=vocabulary_pb2.IntakeState.ValueType(state),
                count=count,
            )
            for (hotline, urgency, state), count in sorted(
                header.figures.intakes.items()
            )
        ],
        deliveries=[
            audit_pb2.DeliveryFigure(
                recipient=recipient,
                urgency=urgency_of(urgency),
                state=vocabulary_pb2.DeliveryState.ValueType(state),
                count=count,
            )
            for (recipient, urgency, state), count in sorted(
                header.figures.deliveries.items()
            )
        ],
    )


def to_register_intake_response(
    intake: Logged,
) -> intake_pb2.RegisterIntakeResponse:
    """Returns a registered tip."""
    return intake_pb2.RegisterIntakeResponse(intake=to_logged_statement(intake))


def to_intake_view(record: IntakeRecord) -> intake_pb2.IntakeView:
    """Returns an intake and what became of it."""
    row = record.row
    return intake_pb2.IntakeView(
        number=row.number,
        urgency=vocabulary_pb2.Urgency.ValueType(row.urgency),
        jurisdiction=row.jurisdiction,
        received_time=to_timestamp(row.received_ms),
        test=row.test,
        state=vocabulary_pb2.IntakeState.ValueType(row.state),
        due_time=to_timestamp(row.due_ms) if row.due_ms else None,
        overdue=record.overdue,
        statements=to_logged_statements(record.statements),
    )


def to_status_response(status: Status) -> admin_pb2.GetStatusResponse:
    """Returns how the exchange is."""
    return admin_pb2.GetStatusResponse(
        checkpoint=status.checkpoint,
        deliveries=_counts(status.deliveries),
        oldest_waiting=[
            admin_pb2.OldestWaiting(
                urgency=vocabulary_pb2.Urgency.ValueType(urgency),
                accept_time=to_timestamp(accepted_ms),
            )
            for urgency, accepted_ms in sorted(status.oldest_waiting.items())
        ],
    )


def _counts(deliveries: Mapping[int, int]) -> list[admin_pb2.StateCount]:
    """Returns how many deliveries are in each state."""
    return [
        admin_pb2.StateCount(
            state=vocabulary_pb2.DeliveryState.ValueType(state), count=count
        )
        for state, count in sorted(deliveries.items())
    ]
