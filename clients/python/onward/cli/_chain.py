"""Showing custody chains: who said what and when, and where it left each delivery.

The states are not asked for: they follow from the statements by the custody table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from onward.cli._messages import to_members, word_of
from onward.cli._names import short_name
from onward.cli._output import print_json, print_line, print_table
from onward.cli._records import names_of, record_of, time_of
from onward.client import Client, Logged, ReferralDetail
from onward.core.custody import (
    INITIAL,
    TRANSITIONS,
    WHOLE_REFERRAL,
    event_of,
    state_name,
)
from onward.core.errors import UnknownError
from onward.v1 import statement_pb2
from onward.v1 import vocabulary_pb2 as words

COLUMNS: Final = ("log entry", "time", "by", "statement", "what", "delivery")


async def show_chain(client: Client, referral_id: str, *, as_json: bool) -> None:
    """Prints a custody chain, and those of the referrals it was transferred into."""
    details = await _load(client, referral_id)
    if as_json:
        first, *others = map(_record, details)
        print_json({**first, "transfers": others})
        return
    for detail in details:
        _print(detail)


async def _load(client: Client, referral_id: str) -> list[ReferralDetail]:
    """Returns a referral, and its descendants as far as they are shown to us."""
    details = [await client.show(referral_id)]
    known = {referral_id}
    for detail in details:  # which grows
        for item in detail.statements:
            child = item.message.transfer.child_referral_id
            if not child or child in known:
                continue
            known.add(child)
            try:
                details.append(await client.show(child))
            except UnknownError:
                continue  # we are no party to it
    return details


def _record(detail: ReferralDetail) -> dict[str, object]:
    view = detail.view
    return {
        "test": view.test,
        "retracted": view.retracted,
        "content_erased": view.content_erased,
        **to_members(view),
        "statements": [record_of(item) for item in detail.statements],
    }


def _print(detail: ReferralDetail) -> None:
    view = detail.view
    flags = [name for name in ("test", "retracted") if getattr(view, name)]
    flags += ["content erased"] if view.content_erased else []
    about = [word_of(words.Urgency, view.urgency), view.jurisdiction, *flags]
    title = f"referral {view.referral_id} ({', '.join(about)})"
    print_table(COLUMNS, _rows(detail.statements), title=title)
    print_line("")


def _rows(statements: Sequence[Logged]) -> Iterator[tuple[object, ...]]:
    states: dict[str, words.DeliveryState.ValueType] = {}
    for item in statements:
        yield (
            item.log_index,
            short_time(time_of(item.message)),
            short_name(item.issuer),
            item.kind.replace("_", " "),
            what_of(item),
            "; ".join(_moved(item, states)),
        )


def _moved(
    item: Logged, states: dict[str, words.DeliveryState.ValueType]
) -> Iterator[str]:
    """Advances the deliveries that a statement moves; yields where each one stands."""
    message = item.message
    if item.kind == "acceptance":
        deadlines = message.acceptance.deadlines
        states |= {deadline.recipient: INITIAL for deadline in deadlines}
        yield f"{names_of(list(states))} {state_name(INITIAL)}"
    event = event_of(message)
    if event is None:
        return
    mover = message.handover.recipient or item.issuer
    for name in states if event in WHOLE_REFERRAL else [mover]:
        before = states.get(name, INITIAL)
        states[name] = TRANSITIONS[before].get(event, before)
        yield f"{short_name(name)} {state_name(states[name])}"


def short_time(text: str) -> str:
    """Returns an RFC 3339 time to the second, as people read it."""
    return f"{text[:10]} {text[11:19]}Z"


def what_of(item: Logged) -> str:
    """Returns what a statement says, in a few words."""
    tell = _WHAT.get(item.kind)
    return tell(getattr(item.message, item.kind)) if tell else ""


def _decline(body: Any) -> str:  # noqa: ANN401 - a message
    suggested = body.suggested_agency
    reason = word_of(words.DeclineReason, body.reason)
    return f"{reason}, try {short_name(suggested)}" if suggested else reason


def _outcome(body: Any) -> str:  # noqa: ANN401 - a message
    code = word_of(words.OutcomeCode, body.code)
    return f"{code}, closed" if body.closes else code


def _intake(body: Any) -> str:  # noqa: ANN401 - a message
    urgency = word_of(words.Urgency, body.urgency)
    return f"number {body.number} ({urgency}, {body.jurisdiction.code})"


def _withholding(body: Any) -> str:  # noqa: ANN401 - a message
    reason = word_of(words.WithholdReason, body.reason)
    told = f"{reason}, approved by {body.approver_role}"
    if not body.HasField("review_time"):
        return told
    return f"{told}, again on {body.review_time.ToJsonString()[:10]}"


def _link(body: Any) -> str:  # noqa: ANN401 - a message
    return (
        f"same as {body.same_as_referral_id or f'intake {body.same_as_intake_number}'}"
    )


def _look(body: Any) -> str:  # noqa: ANN401 - a message
    if body.referral_ids:
        return f"{body.method}: {', '.join(body.referral_ids)}"
    scope = ", ".join(body.jurisdictions)
    return f"{body.method}: {body.statement_count} statements of {scope}"


def what_is_due(due: statement_pb2.Due) -> str:
    """Returns what is due, when, and who holds it, in a few words."""
    kind = word_of(words.DeadlineKind, due.kind)
    time = short_time(due.due_time.ToJsonString())
    return f"{kind} due {time}, held by {short_name(due.holder)}"


_WHAT: Final[Mapping[str, Callable[[Any], str]]] = MappingProxyType(
    {
        "intake": _intake,
        "withholding": _withholding,
        "hold": lambda body: f"approved by {body.approver_role}: {body.reason}",
        "link": _link,
        "warning": lambda body: what_is_due(body.due),
        "breach": lambda body: what_is_due(body.due),
        "audit_access": _look,
        "referral": lambda body: f"to {names_of(body.recipients)}",
        "acceptance": lambda body: f"policy {body.policy_version}",
        "rejection": lambda body: f"{body.rule}: {body.sentence}",
        "handover": lambda body: f"to {short_name(body.recipient)}",
        "received": lambda body: word_of(words.ContentCheck, body.check),
        "acknowledgment": lambda body: f"read by {body.reader_role}",
        "decline": _decline,
        "transfer": lambda body: f"as {body.child_referral_id}",
        "outcome": _outcome,
        "retraction": lambda body: word_of(words.RetractionReason, body.reason),
        "retraction_reply": lambda body: word_of(words.RetractionAction, body.action),
        "erasure": lambda body: word_of(words.ErasureReason, body.reason),
    }
)
