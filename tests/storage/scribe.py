"""Plans batches as the ledger would, for tests of what keeps them."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from onward_server.storage.contract import (
    Batch,
    CheckpointRow,
    DeliveryRow,
    IntakeRow,
    ReferralRow,
    StatementRow,
    Store,
    TileRow,
    intake_subject,
)

HOTLINE = "spiffe://national.example/agency/hotline"
OHIO = "spiffe://national.example/agency/ohio"
TEXAS = "spiffe://national.example/agency/texas"

ACCEPTED = 1
RECEIVED = 3
RETRACTION_PENDING = 11

OPEN = 1
PASSED_ON = 2


def digest_of(*words: object) -> bytes:
    """Returns a digest that nothing else here has."""
    return sha256(repr(words).encode()).digest()


class Scribe:
    """Keeps the present state of a log, and the batch that is next."""

    def __init__(self) -> None:
        self.size = 0
        self.batch = Batch()
        self.referrals: dict[str, ReferralRow] = {}
        self.deliveries: dict[tuple[str, str], DeliveryRow] = {}
        self.intakes: dict[tuple[str, int], IntakeRow] = {}
        self.statements: list[StatementRow] = []

    def say(
        self,
        kind: str,
        referral_id: str = "",
        subject: str = "",
        places: tuple[str, ...] = (),
    ) -> StatementRow:
        """Appends a statement."""
        row = StatementRow(
            log_index=len(self.statements),
            digest=digest_of("statement", len(self.statements)),
            jws=f"header.{kind}-{len(self.statements)}.signature",
            kind=kind,
            referral_id=referral_id,
            subject=subject,
            logged_ms=1_000 + len(self.statements),
            places=places,
        )
        self.statements.append(row)
        self.batch.statements.append(row)
        return row

    def publish(
        self,
        referral_id: str,
        *recipients: str,
        content: bytes | None = b"sealed",
        urgency: int = 4,
        **changes: Any,
    ) -> ReferralRow:
        """Appends a referral and its answer, with a delivery to each recipient."""
        code: str = changes.setdefault("jurisdiction", "US-OH")
        places: tuple[str, ...] = changes.setdefault("places", (code,))
        statement = self.say("referral", referral_id, places=places)
        answer = self.say("acceptance", referral_id, places=places)
        body = digest_of("content", referral_id)
        row = ReferralRow(
            referral_id=referral_id,
            digest=statement.digest,
            log_index=statement.log_index,
            answer_index=answer.log_index,
            rejected=False,
            publisher=HOTLINE,
            watchers=(HOTLINE,),
            parent_id="",
            urgency=urgency,
            jurisdiction=code,
            accepted_ms=answer.logged_ms,
            expire_ms=1_000_000,
            content_digest=body,
            content_size=len(content or b""),
            erased=False,
            retracted=False,
            test=False,
            traceparent="",
        )
        row = replace(row, **changes)
        if content is not None:
            self.batch.contents.append((row.content_digest, content))
        self.put_referral(row)
        for recipient in recipients:
            self.put_delivery(
                DeliveryRow(
                    referral_id=referral_id,
                    recipient=recipient,
                    state=ACCEPTED,
                    state_ms=row.accepted_ms,
                    urgency=urgency,
                    order_index=answer.log_index,
                    waiting=True,
                )
            )
        return row

    def register(
        self, number: int, hotline: str = HOTLINE, **changes: Any
    ) -> IntakeRow:
        """Appends an intake, which is the next one in its jurisdiction."""
        code: str = changes.setdefault("jurisdiction", "US-OH")
        before = [
            row.number_in_jurisdiction
            for row in self.intakes.values()
            if (row.hotline, row.jurisdiction) == (hotline, code)
        ]
        subject = intake_subject(hotline, number)
        statement = self.say("intake", subject=subject, places=(code,))
        row = IntakeRow(
            hotline=hotline,
            number=number,
            jurisdiction=code,
            number_in_jurisdiction=max(before, default=0) + 1,
            log_index=statement.log_index,
            digest=statement.digest,
            urgency=4,
            age_group=1,
            test=False,
            received_ms=900,
            state=OPEN,
            reached=(0, 0, 0),
            warn_ms=0,
            due_ms=0,
            told=0,
            alarm_ms=0,
        )
        return self.put_intake(replace(row, **changes))

    def put_intake(self, row: IntakeRow) -> IntakeRow:
        key = (row.hotline, row.number)
        self.intakes[key] = self.batch.intakes[key] = row
        return row

    def put_referral(self, row: ReferralRow) -> None:
        self.referrals[row.referral_id] = self.batch.referrals[row.referral_id] = row

    def put_delivery(self, row: DeliveryRow) -> None:
        key = (row.referral_id, row.recipient)
        self.deliveries[key] = self.batch.deliveries[key] = row

    def change(self, referral_id: str, recipient: str, **changes: Any) -> DeliveryRow:
        """Says something about a delivery, and changes it."""
        row = replace(self.deliveries[referral_id, recipient], **changes)
        places = self.referrals[referral_id].places
        self.say("taking", referral_id, recipient, places)
        self.put_delivery(row)
        return row

    def take(self) -> Batch:
        """Returns the batch with its new head, and begins another."""
        batch, size = self.batch, len(self.statements)
        batch.old_size = self.size
        if batch.statements:
            batch.checkpoint = CheckpointRow(
                size, digest_of("root", size), f"origin\n{size}\n", 5_000 + size
            )
            batch.tiles = [
                TileRow(0, tile, b"".join(self._hashes(tile)))
                for tile in range(self.size // 256, (size - 1) // 256 + 1)
            ]
        self.size, self.batch = size, Batch()
        return batch

    async def commit(self, store: Store) -> Batch:
        """Writes the batch in a transaction of its own."""
        batch = self.take()
        async with store.writing() as writer:
            await writer.write(batch)
        return batch

    def _hashes(self, tile: int) -> list[bytes]:
        rows = self.statements[tile * 256 : (tile + 1) * 256]
        return [row.digest for row in rows]
