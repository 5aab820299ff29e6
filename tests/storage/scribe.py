"""Plans batches as the ledger would, for tests of what keeps them."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from onward_server.storage.contract import (
    Batch,
    CheckpointRow,
    DeliveryRow,
    ReferralRow,
    StatementRow,
    Store,
    TileRow,
)

HOTLINE = "spiffe://national.example/agency/hotline"
OHIO = "spiffe://national.example/agency/ohio"
TEXAS = "spiffe://national.example/agency/texas"

ACCEPTED = 1
RECEIVED = 3
RETRACTION_PENDING = 11


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
        self.statements: list[StatementRow] = []

    def say(self, kind: str, referral_id: str = "", subject: str = "") -> StatementRow:
        """Appends a statement."""
        row = StatementRow(
            log_index=len(self.statements),
            digest=digest_of("statement", len(self.statements)),
            jws=f"header.{kind}-{len(self.statements)}.signature",
            kind=kind,
            referral_id=referral_id,
            subject=subject,
            logged_ms=1_000 + len(self.statements),
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
        statement = self.say("referral", referral_id)
        answer = self.say("acceptance", referral_id)
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
            jurisdiction="US-OH",
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
        row = replace(row, places=row.places or (row.jurisdiction,))
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

    def put_referral(self, row: ReferralRow) -> None:
        self.referrals[row.referral_id] = self.batch.referrals[row.referral_id] = row

    def put_delivery(self, row: DeliveryRow) -> None:
        key = (row.referral_id, row.recipient)
        self.deliveries[key] = self.batch.deliveries[key] = row

    def change(self, referral_id: str, recipient: str, **changes: Any) -> DeliveryRow:
        """Says something about a delivery, and changes it."""
        row = replace(self.deliveries[referral_id, recipient], **changes)
        self.say("taking", referral_id, recipient)
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
