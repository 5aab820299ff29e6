"""What can be asked of the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from onward_server.storage.contract import (
    Alarms,
    CheckpointRow,
    CosignatureRow,
    DeliveryRow,
    Figures,
    IntakeRow,
    MemberRow,
    PolicyRow,
    ReferralRow,
    Standing,
    StatementRow,
    TileRow,
    TimestampRow,
    TokenRow,
    Topic,
    VouchedRow,
    intake_subject,
)
from onward_server.storage.sqlite import contents
from onward_server.storage.sqlite.connection import QUERIES, Glance
from onward_server.storage.sqlite.pool import ReaderPool
from onward_server.storage.sqlite.rows import (
    R,
    make_row,
    read_digests,
    read_row,
    read_rows,
    read_values,
    to_json,
)

_GLANCED = 64
"""So many rows at most are read by the event loop itself."""


class SqliteReader:
    """The reading half of :class:`~onward_server.storage.contract.Store`.

    Each call is one query, and so sees one consistent, committed state. What streams of
    deliveries look up again and again, a few rows by their keys, is glanced at.
    """

    def __init__(self, readers: ReaderPool, glance: Glance) -> None:
        self._readers = readers
        self._glance = glance

    # ------------------------------------------------------------------ the log

    async def head(self) -> CheckpointRow | None:
        """The newest checkpoint, or None before the first entry."""
        return await self._row(CheckpointRow, QUERIES.head)

    async def standing(self) -> Standing:
        """How far the log, the directory and the policy are."""
        ((head, *indexes),) = await self._values(QUERIES.standing)
        row = make_row(CheckpointRow, head) if head else None
        return Standing(row, *(-1 if index is None else index for index in indexes))

    async def checkpoint(self, size: int) -> CheckpointRow | None:
        """The checkpoint of exactly this size, if one was signed."""
        return await self._row(CheckpointRow, QUERIES.checkpoint, size=size)

    async def checkpoints_covering(
        self, indexes: Iterable[int]
    ) -> Mapping[int, CheckpointRow]:
        """For each index, the first checkpoint that covers the entry."""
        wanted = to_json(list(indexes))
        found = await self._values(QUERIES.checkpoints_covering, indexes=wanted)
        return {index: make_row(CheckpointRow, values) for index, values in found}

    async def cosignatures(self, sizes: Iterable[int]) -> list[CosignatureRow]:
        """The cosignatures on checkpoints of these sizes, by size and witness."""
        wanted = to_json(list(set(sizes)))
        return await self._rows(CosignatureRow, QUERIES.cosignatures, sizes=wanted)

    async def cosigned_from(
        self, size: int, witnesses: Collection[str], least: int, limit: int
    ) -> list[int]:
        """Sizes that at least ``least`` of these witnesses cosigned, ``size`` or more.

        In order; the first one is the earliest that covers all entries below ``size``.
        """
        return await self._values(
            QUERIES.cosigned_from,
            first=size,
            witnesses=to_json(list(witnesses)),
            least=least,
            limit=limit,
        )

    async def cosigned_up_to(
        self, size: int, witnesses: Collection[str], least: int, limit: int
    ) -> list[int]:
        """The same, ``size`` or less, the largest first."""
        return await self._values(
            QUERIES.cosigned_up_to,
            last=size,
            witnesses=to_json(list(witnesses)),
            least=least,
            limit=limit,
        )

    async def first_timestamps(self, size: int) -> list[TimestampRow]:
        """Of each authority, its token on the smallest checkpoint of at least a size.

        By authority; one without such a token is absent.
        """
        return await self._rows(TimestampRow, QUERIES.first_timestamps, first=size)

    async def timestamps(self, sizes: Iterable[int]) -> list[TimestampRow]:
        """The tokens on checkpoints of these sizes, by size and authority."""
        wanted = to_json(list(set(sizes)))
        return await self._rows(TimestampRow, QUERIES.timestamps, sizes=wanted)

    async def vouched(self, size: int, limit: int) -> list[VouchedRow]:
        """Checkpoints with cosignatures or tokens, of ``size`` or more, in order."""
        return await self._rows(VouchedRow, QUERIES.vouched, first=size, limit=limit)

    async def last_timestamp(self, authority: str) -> TimestampRow | None:
        """The token of an authority on the largest checkpoint that it has stamped."""
        return await self._row(
            TimestampRow, QUERIES.last_timestamp, authority=authority
        )

    async def tiles(
        self, coordinates: Iterable[tuple[int, int]]
    ) -> Mapping[tuple[int, int], bytes]:
        """Hash tiles by (level, index); a missing one is absent."""
        wanted = to_json(list(coordinates))
        rows = await self._rows(TileRow, QUERIES.tiles, coordinates=wanted)
        return {(row.level, row.index): row.data for row in rows}

    async def statements(self, indexes: Sequence[int]) -> list[StatementRow]:
        """Entries by log index, in the order asked; unknown ones are left out."""
        wanted = to_json(list(set(indexes)))
        rows = await self._rows(StatementRow, QUERIES.statements, indexes=wanted)
        found = {row.log_index: row for row in rows}
        return [found[index] for index in indexes if index in found]

    async def find_statement(self, digest: bytes) -> StatementRow | None:
        """The entry with this digest."""
        return await self._row(StatementRow, QUERIES.find_statement, digest=digest)

    async def digests(self, first: int, limit: int) -> list[bytes]:
        """Consecutive entries' digests, from index ``first``."""
        query = partial(QUERIES.digests, first=first, past=first + limit)
        return read_digests(await self._readers.run(query))

    async def chain(self, referral_id: str) -> list[StatementRow]:
        """All statements about one referral, in the log's order."""
        return await self._rows(StatementRow, QUERIES.chain, referral_id=referral_id)

    async def history(self, kind: str, subject: str) -> list[StatementRow]:
        """All statements of one kind about one subject, in the log's order."""
        return await self._rows(
            StatementRow, QUERIES.history, kind=kind, subject=subject
        )

    # ------------------------------------------------------------------ referrals

    async def referral(self, referral_id: str) -> ReferralRow | None:
        """One referral."""
        work = partial(QUERIES.referrals, referral_ids=to_json([referral_id]))
        return read_row(ReferralRow, self._glance.run(work))

    async def children(self, referral_id: str) -> list[str]:
        """Ids of the referrals into which this one was transferred, oldest first."""
        return await self._values(QUERIES.children, referral_id=referral_id)

    async def deliveries(self, referral_ids: Sequence[str]) -> list[DeliveryRow]:
        """The deliveries of these referrals."""
        wanted = to_json(list(set(referral_ids)))
        if len(referral_ids) > _GLANCED:
            query = QUERIES.deliveries
            return await self._rows(DeliveryRow, query, referral_ids=wanted)
        work = partial(QUERIES.deliveries, referral_ids=wanted)
        return read_rows(DeliveryRow, self._glance.run(work))

    async def published(
        self, publisher: str, before_index: int, limit: int
    ) -> list[ReferralRow]:
        """Accepted referrals of a publisher with a smaller log index, newest first."""
        return await self._rows(
            ReferralRow,
            QUERIES.published,
            publisher=publisher,
            before=before_index,
            limit=limit,
        )

    async def received(
        self, recipient: str, before_index: int, limit: int
    ) -> list[ReferralRow]:
        """Accepted referrals to a recipient with a smaller log index, newest first."""
        return await self._rows(
            ReferralRow,
            QUERIES.received,
            recipient=recipient,
            before=before_index,
            limit=limit,
        )

    async def in_jurisdictions(
        self, jurisdictions: Sequence[str], after_index: int, limit: int
    ) -> list[ReferralRow]:
        """Referrals with places of these codes and a larger index, oldest first."""
        return await self._rows(
            ReferralRow,
            QUERIES.in_jurisdictions,
            codes=to_json(list(jurisdictions)),
            after=after_index,
            limit=limit,
        )

    async def waits(self, recipient: str, now_ms: int) -> bool:
        """Whether ``claim`` would find a delivery for this recipient."""
        work = partial(QUERIES.waits, recipient=recipient, now_ms=now_ms)
        return bool(self._glance.run(work))

    async def retractions_pending(self, recipient: str) -> list[str]:
        """Ids of referrals whose retraction this recipient has not answered."""
        work = partial(QUERIES.retractions_pending, recipient=recipient)
        return read_values(self._glance.run(work))

    async def feed(
        self, member: str, topic: Topic, after_index: int, limit: int
    ) -> list[int]:
        """Log indexes that the member is to hear of, larger than this, in order."""
        return await self._values(
            QUERIES.feed, member=member, topic=topic, after=after_index, limit=limit
        )

    async def feed_before(
        self, member: str, topic: Topic, before_index: int, limit: int
    ) -> list[int]:
        """The same, smaller than this, the newest first."""
        return await self._values(
            QUERIES.feed_before,
            member=member,
            topic=topic,
            before=before_index,
            limit=limit,
        )

    async def content(self, digest: bytes) -> bytes | None:
        """Sealed content, or None when it is not stored (or erased)."""
        return await self._readers.run(partial(contents.read, digest))

    async def expired(self, now_ms: int, limit: int) -> list[str]:
        """Ids of accepted referrals whose content is due for erasure."""
        return await self._values(QUERIES.expired, now_ms=now_ms, limit=limit)

    async def retracted_parents(self, limit: int) -> list[str]:
        """Ids of retracted referrals with a child whose content is still here."""
        return await self._values(QUERIES.retracted_parents, limit=limit)

    async def state_counts(self) -> Mapping[int, int]:
        """How many deliveries are in each state."""
        return dict(await self._values(QUERIES.state_counts))

    async def oldest_waiting(self) -> Mapping[int, int]:
        """For each urgency, when its longest waiting delivery was accepted."""
        return dict(await self._values(QUERIES.oldest_waiting))

    # ------------------------------------------------------------------ intakes

    async def intake(self, hotline: str, number: int) -> IntakeRow | None:
        """One intake."""
        return await self._row(
            IntakeRow, QUERIES.intakes, numbers=to_json([(hotline, number)])
        )

    async def last_intake(self, hotline: str) -> IntakeRow | None:
        """A hotline's intake with the largest number."""
        return await self._row(
            IntakeRow, QUERIES.last_intakes, hotlines=to_json([hotline])
        )

    async def last_in_jurisdiction(self, hotline: str, code: str) -> int:
        """A hotline's largest number in one jurisdiction; 0 if it has none there."""
        found = await self._values(
            QUERIES.last_in_jurisdictions, books=to_json([(hotline, code)])
        )
        return found[0][2] if found else 0

    async def intakes(
        self, hotline: str, state: int, after_number: int, limit: int
    ) -> list[IntakeRow]:
        """A hotline's intakes with a larger number, in order; state 0 is any."""
        query, chosen = QUERIES.intakes_after, {}
        if state:
            query, chosen = QUERIES.intakes_in_state, {"state": state}
        return await self._rows(
            IntakeRow, query, hotline=hotline, after=after_number, limit=limit, **chosen
        )

    async def intake_statements(self, hotline: str, number: int) -> list[StatementRow]:
        """All statements about one intake, in the log's order, without referrals."""
        return await self._rows(
            StatementRow,
            QUERIES.intake_statements,
            subject=intake_subject(hotline, number),
        )

    # ------------------------------------------------------------------ deadlines

    async def due(self, now_ms: int, limit: int) -> Alarms:
        """Deliveries and intakes whose ``alarm_ms`` is at or before ``now_ms``."""
        ((deliveries, intakes),) = await self._values(
            QUERIES.due, now_ms=now_ms, limit=limit
        )
        return Alarms(
            [(referral_id, recipient) for referral_id, recipient in deliveries],
            [(hotline, number) for hotline, number in intakes],
        )

    async def next_alarm(self) -> int | None:
        """The smallest ``alarm_ms`` of all, or None where there is none."""
        found: int | None = await self._readers.run(QUERIES.next_alarm)
        return found

    # ------------------------------------------------------------------ policies

    async def policies(self) -> list[PolicyRow]:
        """All policy sets that were put in force, oldest first, with empty files."""
        return await self._rows(PolicyRow, QUERIES.policies)

    async def policy(self, digest: bytes) -> PolicyRow | None:
        """The policy set with this digest; with an empty one, the one in force."""
        return await self._row(PolicyRow, QUERIES.policy, digest=digest)

    # ------------------------------------------------------------------ audits

    async def figures(self, codes: Sequence[str]) -> Figures:
        """What the tables say about the intakes and deliveries of jurisdictions."""
        ((size, intakes, deliveries),) = await self._values(
            QUERIES.figures, codes=to_json(list(codes))
        )
        return Figures(
            size=size or 0,
            intakes={(who, urgency, state): n for who, urgency, state, n in intakes},
            deliveries={
                (who, urgency, state): n for who, urgency, state, n in deliveries
            },
        )

    async def export(
        self, codes: Sequence[str], first: int, end: int, limit: int
    ) -> list[StatementRow]:
        """Entries of jurisdictions with an index in [first, end), in order."""
        return await self._rows(
            StatementRow,
            QUERIES.export,
            codes=to_json(list(codes)),
            first=first,
            past=end,
            limit=limit,
        )

    async def export_digests(
        self, codes: Sequence[str], first: int, end: int
    ) -> list[bytes]:
        """The digests of all entries that :meth:`export` would return, in order."""
        query = partial(
            QUERIES.export_digests, codes=to_json(list(codes)), first=first, past=end
        )
        return read_digests(await self._readers.run(query))

    async def export_parties(self, codes: Sequence[str]) -> list[str]:
        """Hotlines, watchers and recipients of what the codes match, by name."""
        return await self._values(QUERIES.export_parties, codes=to_json(list(codes)))

    # ------------------------------------------------------------------ members

    async def members(self) -> list[MemberRow]:
        """All present directory entries, ordered by name."""
        return await self._rows(MemberRow, QUERIES.members)

    async def token(self, token_id: str) -> TokenRow | None:
        """One enrolment token."""
        return await self._row(TokenRow, QUERIES.tokens, token_ids=to_json([token_id]))

    async def member_tokens(self, member: str) -> list[TokenRow]:
        """Enrolment tokens of one member."""
        return await self._rows(TokenRow, QUERIES.member_tokens, member=member)

    # ------------------------------------------------------------------ asking

    async def _row(
        self, row_type: type[R], query: Callable[..., str | None], **parameters: object
    ) -> R | None:
        """Runs a query that returns one row or none."""
        return read_row(row_type, await self._readers.run(partial(query, **parameters)))

    async def _rows(
        self, row_type: type[R], query: Callable[..., str | None], **parameters: object
    ) -> list[R]:
        """Runs a query that returns rows."""
        return read_rows(
            row_type, await self._readers.run(partial(query, **parameters))
        )

    async def _values(
        self, query: Callable[..., str | None], **parameters: object
    ) -> list[Any]:
        """Runs a query that returns other values."""
        return read_values(await self._readers.run(partial(query, **parameters)))
