"""What a hotline says about one of its intakes: withheld, held, or a duplicate.

(That it is passed on, a referral says; see ``passing_on``.) The steps of a registration
hold here as well. Which decision may follow which is the table of
``onward.core.intakes``; what each kind means beyond it stands in ``_FOLLOWS``.

A withholding is judged by the disclosure policy, at its place in the log. One that is
forbidden is logged together with the signed refusal, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from onward.core import intakes
from onward.core.errors import (
    MalformedError,
    OnwardError,
    Reason,
    StateError,
)
from onward.core.statements import (
    SignedStatement,
    UnverifiedStatement,
    parse_statement,
)
from onward.v1 import statement_pb2
from onward_server.exchange import duties
from onward_server.exchange.alarming import tell_intake
from onward_server.exchange.clock import timestamp_ms, to_datetime
from onward_server.exchange.directory import Caller
from onward_server.exchange.draft import Draft
from onward_server.exchange.intakes import original_entry, require_hotline
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.linking import (
    reached_by,
    same_intake,
    same_referral,
)
from onward_server.exchange.passing_on import intake_unknown
from onward_server.exchange.policy import Refusal
from onward_server.exchange.reading import Reader, Signed
from onward_server.exchange.receipts import Logged
from onward_server.storage.contract import (
    IntakeRow,
    Needs,
    Store,
    intake_subject,
)

KINDS: Final = frozenset({"withholding", "hold", "link"})
"""The kinds of statement that decide about an intake."""

_EVENTS: Final = MappingProxyType(
    {
        "withholding": intakes.Event.WITHHOLDING,
        "hold": intakes.Event.HOLD,
        "link": intakes.Event.DUPLICATE,
    }
)


class WithholdingForbiddenError(StateError):
    """The policy forbids it. ``rejection`` is the signed and logged refusal."""

    def __init__(self, rejection: Logged, body: statement_pb2.Rejection) -> None:
        super().__init__(
            Reason.ERROR_REASON_WITHHOLDING_FORBIDDEN,
            f"the rule {body.rule} forbids withholding intake {body.intake_number}: "
            f"{body.sentence}",
            metadata={"rule": body.rule, "citation": body.citation},
        )
        self.rejection = rejection


@dataclass(frozen=True, slots=True)
class Decision:
    """The change: a hotline decides about an intake.

    Attributes:
        intake: what the hotline said of the tip.
    """

    signed: Signed
    intake: statement_pb2.Intake

    @property
    def needs(self) -> Needs:
        """The statement itself, the intake, and what a link names."""
        message = self.signed.message
        numbers = {self.intake.number, message.link.same_as_intake_number}
        return Needs(
            referrals={message.link.same_as_referral_id} - {""},
            digests={self.signed.statement.digest},
            intakes={(message.issuer, number) for number in numbers - {0}},
        )

    def plan(self, draft: Draft) -> Sequence[int]:
        """Decides in the log's order, and logs the refusal where the policy refuses."""
        statement = self.signed.statement
        known = draft.statement(statement.digest)
        if known is not None:
            return [known.log_index]
        self.signed.still_valid(draft)
        row = tell_intake(draft, self._row(draft))
        state = intakes.advance(row.state, _EVENTS[statement.body_kind])
        after = _FOLLOWS[statement.body_kind](self, draft, replace(row, state=state))
        refusal = self._refusal(draft)
        index = self._log(draft, row, statement)
        if refusal is None:
            draft.put_intake(after)
        else:
            self._log(draft, row, self._rejection(draft, refusal))
        return [index]

    def _row(self, draft: Draft) -> IntakeRow:
        """Returns the intake, which the statement answers."""
        message = self.signed.message
        row = draft.intake(message.issuer, self.intake.number)
        if row is None:
            raise intake_unknown(self.intake.number, "")
        if message.previous != row.digest:
            raise StateError(
                Reason.ERROR_REASON_PREVIOUS_MISMATCH,
                f"previous does not name intake {row.number}; fetch the intake, and "
                "sign again",
                field="previous",
            )
        return row

    def _refusal(self, draft: Draft) -> Refusal | None:
        """Returns why the policy in force forbids it, if it does."""
        if self.signed.statement.body_kind != "withholding":
            return None
        hotline = draft.member(self.signed.author.name) or self.signed.author
        return draft.policy.withholding_refusal(
            hotline.proto, self.intake, self.signed.message.withholding
        )

    def _rejection(self, draft: Draft, refusal: Refusal) -> SignedStatement:
        """Returns the signed refusal."""
        return draft.say(
            previous=self.signed.statement.digest,
            rejection=statement_pb2.Rejection(
                policy_version=draft.policy.version,
                policy_digest=draft.policy.digest,
                rule=refusal.rule,
                citation=refusal.citation,
                sentence=refusal.sentence,
                intake_number=self.intake.number,
            ),
        )

    @staticmethod
    def _log(draft: Draft, row: IntakeRow, statement: SignedStatement) -> int:
        """Appends a statement about the intake."""
        return draft.log(
            statement,
            places=(row.jurisdiction,),
            subject=intake_subject(row.hotline, row.number),
            watchers=(row.hotline,),
        )


def _withhold(decision: Decision, draft: Draft, row: IntakeRow) -> IntakeRow:
    """Withheld: it is decided again when a review is stated, and not before.

    A review that is over when it is stated would be nothing but a new deadline.
    """
    review_ms = timestamp_ms(decision.signed.message.withholding.review_time)
    if 0 < review_ms <= draft.now_ms:
        error = MalformedError(
            f"review_time {to_datetime(review_ms).isoformat()} is over already; state "
            "when it is decided again",
            field="withholding.review_time",
        )
        error.reason = Reason.ERROR_REASON_TIME_IMPLAUSIBLE
        raise error
    return duties.intake_withheld(row, review_ms, draft.now_ms)


def _hold(_: Decision, draft: Draft, row: IntakeRow) -> IntakeRow:
    """Held: a supervisor takes more time, where the class allows that, and in time."""
    times = draft.policy.deadlines(row.urgency, row.jurisdiction)
    if times.hold_to is None:
        raise _hold_forbidden(
            row, "the deadlines of its class and jurisdiction allow no hold"
        )
    if 0 < row.due_ms <= draft.now_ms:
        over = to_datetime(row.due_ms).isoformat()
        raise _hold_forbidden(row, f"its time was over at {over}")
    return duties.intake_held(row, times)


def _link(decision: Decision, draft: Draft, row: IntakeRow) -> IntakeRow:
    """A duplicate: it ends, and the tip that it repeats goes its own way."""
    message = decision.signed.message
    of_referral = bool(message.link.same_as_referral_id)
    same = (same_referral if of_referral else same_intake)(draft, message)
    if same.test != row.test:
        raise MalformedError(
            f"intake {row.number} and what it would repeat are not both tests, or both "
            "tips; a test repeats a test, and nothing else does",
            field="link.same_as",
        )
    needed = intakes.mandated(row.urgency, row.age_group)
    if not intakes.may_repeat(needed, reached_by(draft, same)):
        raise StateError(
            Reason.ERROR_REASON_STATE_FORBIDS,
            f"intake {row.number} must go to law enforcement, or child welfare, that "
            "the tip which it would repeat has not reached and need not; pass it on",
            field="link.same_as",
            metadata={"state": intakes.state_name(row.state), "event": "link"},
        )
    return duties.intake_closed(row)


_FOLLOWS: Final[Mapping[str, Callable[[Decision, Draft, IntakeRow], IntakeRow]]] = (
    MappingProxyType({"withholding": _withhold, "hold": _hold, "link": _link})
)
"""What follows from each kind for the intake, already in its new state."""


def _hold_forbidden(row: IntakeRow, why: str) -> StateError:
    """Returns the error for more time that is not to be had."""
    return StateError(
        Reason.ERROR_REASON_STATE_FORBIDS,
        f"intake {row.number} cannot be held: {why}; pass it on, or withhold it",
        metadata={"state": intakes.state_name(row.state), "event": "hold"},
    )


class Deciding:
    """Takes what hotlines say about their intakes."""

    def __init__(self, ledger: Ledger, store: Store, reader: Reader) -> None:
        self._ledger = ledger
        self._store = store
        self._reader = reader

    async def decide(self, caller: Caller, jws: str) -> Logged:
        """Logs a decision. When this returns it is durable and proven.

        Raises:
            WithholdingForbiddenError: the policy forbids it; the refusal is logged.
            OnwardError: any other refusal; nothing was logged.
        """
        require_hotline(caller)
        statement = self._reader.parse(jws, KINDS)
        try:
            decision = await self._verify(caller, statement)
        except OnwardError:
            original = await original_entry(self._store, caller, statement)
            if original is None:
                raise
            (logged,) = await self._ledger.logged([original.log_index])
        else:
            (logged,) = await self._ledger.apply(decision)
        if statement.body_kind == "withholding":
            await self._check_permitted(logged)
        return logged

    async def _verify(self, caller: Caller, statement: UnverifiedStatement) -> Decision:
        """All that can be verified without the log's order.

        What the hotline said of a tip never changes, so it is read here.
        """
        signed = await self._reader.verify(caller, statement)
        kind = statement.body_kind
        number: int = getattr(statement.message, kind).intake_number
        if not number:
            raise MalformedError(
                "a link of two referrals is sent with SubmitStatement",
                field="link.intake_number",
            )
        row = await self._store.intake(caller.name, number)
        if row is None:
            raise intake_unknown(number, f"{kind}.intake_number")
        (entry,) = await self._store.statements([row.log_index])
        return Decision(signed, parse_statement(entry.jws).message.intake)

    async def _check_permitted(self, withholding: Logged) -> None:
        """Raises the refusal of a withholding, which stands right behind it.

        The two are planned together, so no other entry comes between them.
        """
        behind = await self._store.statements([withholding.log_index + 1])
        for row in behind:
            message = parse_statement(row.jws).message
            digest = parse_statement(withholding.jws).digest
            if row.kind == "rejection" and message.previous == digest:
                (rejection,) = await self._ledger.logged([row.log_index])
                raise WithholdingForbiddenError(rejection, message.rejection)
