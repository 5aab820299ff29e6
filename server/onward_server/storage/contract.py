"""What every storage backend promises.

One writing transaction holds everything that one group commit of the ledger changes::

    async with store.writing() as writer:
        loaded = await writer.load(needs)      # the state as the last commit left it
        ...plan in memory...
        await writer.write(batch)              # statements, state, tiles and head
    # here, and not before, it is durable

Leaving the block commits and does not return before the data is on disk (fsync). An
exception inside the block, also a cancellation, rolls back everything; one that was
raised by the writer does so even if it is caught inside. When the commit itself fails,
:class:`~onward.core.errors.UnavailableError` is raised and the outcome is *unknown*: it
may be durable or not, and the caller must read the head again before it goes on. There
is at most one writer at a time; only the ledger writes.

Readers may be called at any time, from any task. They see committed data only, and each
call sees one consistent state.

Several processes, *replicas*, may work on one database where the backend can do that.
Then their writing transactions follow each other, and :meth:`Writer.load` tells by the
head whether another one was first. ``join``, ``listen``, ``leads`` and ``release_lost``
are what they share the work by; where there is one process only, they are simple.

Times are whole milliseconds since 1970-01-01 UTC. Digests and roots are 32 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol


class Topic(IntEnum):
    """What a member hears of in its feed."""

    CUSTODY = 0
    """Statements about its own referrals."""
    ALERT = 1
    """Warnings and breaches."""
    AUDIT = 2
    """Looks of auditors at what it is a party to."""


EVERYBODY: tuple[str, ...] = ()
"""The places of a statement that every auditor may see: keys, directory, policies."""

WHOLE = "*"
"""The code of an auditor's jurisdiction that covers every statement of the log."""


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One entry of the log.

    Attributes:
        subject: the recipient or member that it is about; for a statement about an
            intake :func:`intake_subject`.
        places: codes of the jurisdictions whose auditors may see it;
            :data:`EVERYBODY`, or :data:`WHOLE` alone for those of the whole log only.
    """

    log_index: int
    digest: bytes
    jws: str
    kind: str
    referral_id: str
    subject: str
    logged_ms: int
    places: tuple[str, ...] = EVERYBODY


@dataclass(frozen=True, slots=True)
class ReferralRow:
    """One referral.

    Attributes:
        answer_index: log index of its ``Acceptance``, or of its ``Rejection`` when
            ``rejected``.
        watchers: who may see all of its custody: its publisher, then the publishers of
            the referrals that it was transferred from, nearest first.
        parent_id: the referral that it was transferred from, or empty.
        places: its jurisdiction's code, then those of the intakes that it answers and
            of the referrals that it was transferred from: whose auditors may see it.
        intakes: numbers of its publisher's intakes that it passes on; none when it was
            rejected, or taken back before anybody received it.
    """

    referral_id: str
    digest: bytes
    log_index: int
    answer_index: int
    rejected: bool
    publisher: str
    watchers: tuple[str, ...]
    parent_id: str
    urgency: int
    jurisdiction: str
    accepted_ms: int
    expire_ms: int
    content_digest: bytes
    content_size: int
    erased: bool
    retracted: bool
    test: bool
    traceparent: str
    places: tuple[str, ...] = EVERYBODY
    intakes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One referral on its way to one recipient.

    Attributes:
        order_index: log index of the acceptance; older deliveries have a smaller one.
        waiting: whether the content must still be given out, which is what ``claim``
            looks for.
        lease_holder: the stream that has it, or empty.
        lease_until_ms: until when that stream has it; 0 without a lease.
        attempt: how many times it was leased.
        deliver_by_ms: when the recipient's machine must have it; 0 if no time is set.
        acknowledge_within_ms: how long after receipt a person must have read it; 0 if
            no time is set.
        outcome_within_ms: how long after receipt the first outcome is due; 0 if none.
        received_ms: when the first ``Received`` was logged; 0 before.
        told: which warnings and breaches were logged, and whether an outcome was
            stated; bits of ``onward_server.exchange.duties``.
        alarm_ms: when ``due`` finds it next; 0 for never.
    """

    referral_id: str
    recipient: str
    state: int
    state_ms: int
    urgency: int
    order_index: int
    waiting: bool
    lease_holder: str = ""
    lease_until_ms: int = 0
    attempt: int = 0
    deliver_by_ms: int = 0
    acknowledge_within_ms: int = 0
    outcome_within_ms: int = 0
    received_ms: int = 0
    told: int = 0
    alarm_ms: int = 0


@dataclass(frozen=True, slots=True)
class IntakeRow:
    """One intake of a hotline: that it received a tip, and what became of it.

    Attributes:
        jurisdiction: ISO 3166 code.
        number_in_jurisdiction: its number among the hotline's with the same code.
        digest: of the ``Intake``.
        state: an ``IntakeState``.
        reached: how many of the referrals that pass it on take it to each of those in
            ``onward.core.intakes.Reach``, in that order.
        warn_ms: when half the time to ``due_ms`` is over.
        due_ms: when the next decision is due; 0 where none is.
        told: which warnings and breaches of that deadline were logged.
        alarm_ms: when ``due`` finds it next; 0 for never.
    """

    hotline: str
    number: int
    jurisdiction: str
    number_in_jurisdiction: int
    log_index: int
    digest: bytes
    urgency: int
    age_group: int
    test: bool
    received_ms: int
    state: int
    reached: tuple[int, ...]
    warn_ms: int
    due_ms: int
    told: int
    alarm_ms: int


def intake_subject(hotline: str, number: int) -> str:
    """Returns the subject of the statements about one intake."""
    return f"{hotline}#{number}"


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy set that was put in force by the log entry ``log_index``.

    Attributes:
        digest: of the whole set.
        files: JSON object: the text of each file by its name.
    """

    log_index: int
    digest: bytes
    version: str
    files: str


@dataclass(frozen=True, slots=True)
class Alarms:
    """What is due: keys of deliveries and of intakes, the longest due first."""

    deliveries: Sequence[tuple[str, str]]
    intakes: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the tables say at one size of the log, tests left out.

    Attributes:
        size: the log's size.
        intakes: by hotline, urgency and state.
        deliveries: by recipient, urgency and state.
    """

    size: int
    intakes: Mapping[tuple[str, int, int], int]
    deliveries: Mapping[tuple[str, int, int], int]


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A checkpoint that the log signed; ``note`` is the whole signed note."""

    size: int
    root: bytes
    note: str
    signed_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the log is, and what follows from it; all of one consistent state.

    Attributes:
        directory_index: log index of the newest change of the directory; -1 for none.
        policy_index: log index of what put the policy in force; -1 for none.
    """

    head: CheckpointRow | None
    directory_index: int
    policy_index: int


@dataclass(frozen=True, slots=True)
class CosignatureRow:
    """That a key cosigned the checkpoint of a size.

    Attributes:
        witness: the key's name and id, as its vkey begins: ``<name>+<8 hex digits>``.
        line: the signature line of the note, with its newline.
        time_ms: the time that the cosignature states.
    """

    size: int
    witness: str
    line: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class TimestampRow:
    """An RFC 3161 token over the text of the checkpoint of a size.

    Attributes:
        authority: which authority gave it, by its name in the configuration.
        token: DER.
        time_ms: its ``genTime``.
    """

    size: int
    authority: str
    token: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class VouchedRow:
    """A checkpoint that others vouch for.

    Attributes:
        note: the whole signed note, without cosignatures.
        cosignatures: how many keys cosigned it.
        timestamps: how many authorities stamped it.
    """

    size: int
    note: str
    signed_ms: int
    cosignatures: int
    timestamps: int


@dataclass(frozen=True, slots=True)
class TileRow:
    """A hash tile of the tree: the concatenated hashes, 32 to 8192 bytes."""

    level: int
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member's present directory entry: ``entry`` is a serialized ``Member``."""

    name: str
    entry: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An enrolment token. ``request_digest`` is empty until it was used."""

    token_id: str
    member: str
    expire_ms: int
    request_digest: bytes = b""
    certificate_chain: str = ""
    log_index: int = -1
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An upload: content that no referral names yet.

    Attributes:
        uploader: who uploads, and in which attempt; chunks of others never mix with it.
        uploaded_ms: when it began; from its completion on, when it was completed.
    """

    digest: bytes
    uploader: str
    uploaded_ms: int


@dataclass(slots=True)
class Needs:
    """What a group commit must know before it can be planned.

    Attributes:
        intakes: hotline and number.
        intakes_of: of those referrals, the ones whose intakes are needed as well.
        books: hotline and the code of a jurisdiction: where its numbers stand.
    """

    referrals: set[str] = field(default_factory=set)
    digests: set[bytes] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    contents: set[bytes] = field(default_factory=set)
    intakes: set[tuple[str, int]] = field(default_factory=set)
    intakes_of: set[str] = field(default_factory=set)
    books: set[tuple[str, str]] = field(default_factory=set)

    def add(self, other: Needs) -> None:
        """Adds what ``other`` needs."""
        self.referrals |= other.referrals
        self.digests |= other.digests
        self.tokens |= other.tokens
        self.contents |= other.contents
        self.intakes |= other.intakes
        self.intakes_of |= other.intakes_of
        self.books |= other.books

    def all_intakes(self, referrals: Iterable[ReferralRow]) -> set[tuple[str, int]]:
        """Returns the needed intakes, with those of the referrals that were found."""
        return self.intakes | {
            (row.publisher, number)
            for row in referrals
            if row.referral_id in self.intakes_of
            for number in row.intakes
        }


@dataclass(frozen=True, slots=True)
class Loaded:
    """The present state of what was needed; what does not exist is absent.

    Attributes:
        deliveries: of each needed referral, by referral id and recipient.
        statements: by digest. With ``jws`` empty: only what planning needs is read.
        contents: of each needed content that is stored, complete, or was named by an
            accepted referral, the id of that referral; empty for an upload that no
            referral names yet.
        last_intakes: of each hotline of the needed books, its last intake.
        last_in_jurisdictions: of each needed book, the last number in the jurisdiction.
    """

    head: CheckpointRow | None
    referrals: Mapping[str, ReferralRow]
    deliveries: Mapping[tuple[str, str], DeliveryRow]
    statements: Mapping[bytes, StatementRow]
    tokens: Mapping[str, TokenRow]
    contents: Mapping[bytes, str]
    intakes: Mapping[tuple[str, int], IntakeRow]
    last_intakes: Mapping[str, IntakeRow]
    last_in_jurisdictions: Mapping[tuple[str, str], int]


@dataclass(slots=True)
class Batch:
    """All that one group commit writes. Rows are inserted, or replace by their key.

    Attributes:
        statements: consecutive log entries, in order, beginning at the old size.
        feed: (member, topic, log index): the member is to hear of this entry.
        contents: (digest, sealed content) to keep; present content stays as it is, and
            erased content stays erased.
        erase_contents: digests of contents to erase beyond recovery.
        checkpoint: the new head; its size must be greater than the old one's, or the
            whole write fails (compare-and-swap on the size).
        concerned: members who may have something new to look at: other processes hear
            of them by ``listen``.
    """

    statements: list[StatementRow] = field(default_factory=list)
    referrals: dict[str, ReferralRow] = field(default_factory=dict)
    deliveries: dict[tuple[str, str], DeliveryRow] = field(default_factory=dict)
    intakes: dict[tuple[str, int], IntakeRow] = field(default_factory=dict)
    feed: list[tuple[str, Topic, int]] = field(default_factory=list)
    contents: list[tuple[bytes, bytes]] = field(default_factory=list)
    erase_contents: list[bytes] = field(default_factory=list)
    members: dict[str, MemberRow] = field(default_factory=dict)
    tokens: dict[str, TokenRow] = field(default_factory=dict)
    policies: list[PolicyRow] = field(default_factory=list)
    tiles: list[TileRow] = field(default_factory=list)
    old_size: int = 0
    checkpoint: CheckpointRow | None = None
    concerned: set[str] = field(default_factory=set)


class Writer(Protocol):
    """Inside one writing transaction."""

    async def load(self, needs: Needs) -> Loaded:
        """Returns the state of what is needed, this transaction's writes included."""

    async def write(self, batch: Batch) -> None:
        """Writes the batch, now or together with what comes next.

        So what is wrong with a row may show only then, at the latest in the commit.

        Raises:
            UnavailableError: the head is not at ``batch.old_size``: somebody else
                advanced it. Nothing may be committed.
            ValueError: the checkpoint does not cover exactly the batch's statements.
        """

    async def put_cosignatures(self, rows: Sequence[CosignatureRow]) -> None:
        """Keeps verified cosignatures; of several by one key the earliest stays."""

    async def put_timestamps(self, rows: Sequence[TimestampRow]) -> None:
        """Keeps verified tokens; of several by one authority the earliest stays."""

    async def claim(
        self, recipient: str, holder: str, limit: int, now_ms: int, until_ms: int
    ) -> list[DeliveryRow]:
        """Leases up to ``limit`` waiting deliveries of one recipient to one stream.

        The holder's name begins with ``Store.replica`` and a slash. Takes those without
        a lease, or whose lease ended at or before ``now_ms``: the most urgent first
        (smaller ``urgency``), then the oldest. Returns them as they are now,
        ``attempt`` counted up.
        """

    async def release(self, holder: str) -> None:
        """Ends all leases of one stream."""

    async def release_lost(self) -> int:
        """Ends all leases of streams whose process is gone; returns how many.

        A process is gone when it does not hold its place on the database any more, and
        so are all that ran before this one where there is only one at a time.
        """

    async def put_chunk(self, row: UploadRow, position: int, data: bytes) -> None:
        """Keeps one chunk, at most 1 MiB, of an upload that is not complete.

        Chunks count from position 0; one with the same position is replaced. Uploads
        of the same content by several members do not touch each other.
        """

    async def complete_upload(self, row: UploadRow) -> None:
        """Makes the chunks of this uploader's upload the content of that digest.

        The caller has checked that they are. Content that is stored already stays;
        the chunks are then dropped.
        """

    async def drop_uploads(self, before_ms: int) -> int:
        """Deletes chunks and contents that no referral names, older than this.

        Returns how many contents and unfinished uploads were deleted.
        """


class Store(Protocol):
    """A backend."""

    @property
    def replica(self) -> str:
        """The name of this process among those on the database; no other has it."""

    async def join(self, facts: Mapping[str, str]) -> None:
        """Takes a place among the processes that work on the database.

        Args:
            facts: what must be the same in all of them, by name.

        Raises:
            StateError: one that runs differs; says in what.
        """

    def listen(self, heard: Callable[[Collection[str]], None]) -> None:
        """Has ``heard`` called after commits of other processes.

        With the members concerned, or none where it may be anybody. A call may come
        late, twice, or never: look at the head now and then as well.
        """

    async def leads(self, chore: str) -> bool:
        """Whether this process is the one of all that does a chore.

        It stays the one until it ends or loses the database; then another one is told
        so at its next question. For a moment two may be told so.
        """

    async def standing(self) -> Standing:
        """How far the log, the directory and the policy are."""

    def writing(self) -> AbstractAsyncContextManager[Writer]:
        """The one writing transaction."""

    async def close(self) -> None:
        """Ends all work and closes the database."""

    async def head(self) -> CheckpointRow | None:
        """The newest checkpoint, or None before the first entry."""

    async def checkpoint(self, size: int) -> CheckpointRow | None:
        """The checkpoint of exactly this size, if one was signed."""

    async def checkpoints_covering(
        self, indexes: Iterable[int]
    ) -> Mapping[int, CheckpointRow]:
        """For each index, the first checkpoint that covers the entry."""

    async def cosignatures(self, sizes: Iterable[int]) -> list[CosignatureRow]:
        """The cosignatures on checkpoints of these sizes, by size and witness."""

    async def cosigned_from(
        self, size: int, witnesses: Collection[str], least: int, limit: int
    ) -> list[int]:
        """Sizes that at least ``least`` of these witnesses cosigned, ``size`` or more.

        In order; the first one is the earliest that covers all entries below ``size``.
        """

    async def cosigned_up_to(
        self, size: int, witnesses: Collection[str], least: int, limit: int
    ) -> list[int]:
        """The same, ``size`` or less, the largest first."""

    async def first_timestamps(self, size: int) -> list[TimestampRow]:
        """Of each authority, its token on the smallest checkpoint of at least a size.

        By authority; one without such a token is absent.
        """

    async def timestamps(self, sizes: Iterable[int]) -> list[TimestampRow]:
        """The tokens on checkpoints of these sizes, by size and authority."""

    async def vouched(self, size: int, limit: int) -> list[VouchedRow]:
        """Checkpoints with cosignatures or tokens, of ``size`` or more, in order."""

    async def last_timestamp(self, authority: str) -> TimestampRow | None:
        """The token of an authority on the largest checkpoint that it has stamped."""

    async def tiles(
        self, coordinates: Iterable[tuple[int, int]]
    ) -> Mapping[tuple[int, int], bytes]:
        """Hash tiles by (level, index); a missing one is absent."""

    async def statements(self, indexes: Sequence[int]) -> list[StatementRow]:
        """Entries by log index, in the order asked; unknown ones are left out."""

    async def find_statement(self, digest: bytes) -> StatementRow | None:
        """The entry with this digest."""

    async def digests(self, first: int, limit: int) -> list[bytes]:
        """Consecutive entries' digests, from index ``first``."""

    async def chain(self, referral_id: str) -> list[StatementRow]:
        """All statements about one referral, in the log's order."""

    async def history(self, kind: str, subject: str) -> list[StatementRow]:
        """All statements of one kind about one subject, in the log's order."""

    async def referral(self, referral_id: str) -> ReferralRow | None:
        """One referral."""

    async def children(self, referral_id: str) -> list[str]:
        """Ids of the referrals into which this one was transferred, oldest first."""

    async def deliveries(self, referral_ids: Sequence[str]) -> list[DeliveryRow]:
        """The deliveries of these referrals."""

    async def published(
        self, publisher: str, before_index: int, limit: int
    ) -> list[ReferralRow]:
        """Accepted referrals of a publisher with a smaller log index, newest first."""

    async def received(
        self, recipient: str, before_index: int, limit: int
    ) -> list[ReferralRow]:
        """Accepted referrals to a recipient with a smaller log index, newest first."""

    async def in_jurisdictions(
        self, jurisdictions: Sequence[str], after_index: int, limit: int
    ) -> list[ReferralRow]:
        """Referrals with places of these codes and a larger index, oldest first.

        A code such as ``US-OH`` matches itself; ``US`` also matches every ``US-``
        code; :data:`WHOLE` everything.
        """

    async def waits(self, recipient: str, now_ms: int) -> bool:
        """Whether ``claim`` would find a delivery for this recipient."""

    async def retractions_pending(self, recipient: str) -> list[str]:
        """Ids of referrals whose retraction this recipient has not answered."""

    async def feed(
        self, member: str, topic: Topic, after_index: int, limit: int
    ) -> list[int]:
        """Log indexes that the member is to hear of, larger than this, in order."""

    async def feed_before(
        self, member: str, topic: Topic, before_index: int, limit: int
    ) -> list[int]:
        """The same, smaller than this, the newest first."""

    async def intake(self, hotline: str, number: int) -> IntakeRow | None:
        """One intake."""

    async def last_intake(self, hotline: str) -> IntakeRow | None:
        """A hotline's intake with the largest number."""

    async def last_in_jurisdiction(self, hotline: str, code: str) -> int:
        """A hotline's largest number in one jurisdiction; 0 if it has none there."""

    async def intakes(
        self, hotline: str, state: int, after_number: int, limit: int
    ) -> list[IntakeRow]:
        """A hotline's intakes with a larger number, in order; state 0 is any."""

    async def intake_statements(self, hotline: str, number: int) -> list[StatementRow]:
        """All statements about one intake, in the log's order, without referrals."""

    async def due(self, now_ms: int, limit: int) -> Alarms:
        """Deliveries and intakes whose ``alarm_ms`` is at or before ``now_ms``.

        At most ``limit`` of each. Costs nothing for what is not due.
        """

    async def next_alarm(self) -> int | None:
        """The smallest ``alarm_ms`` of all, or None where there is none."""

    async def policies(self) -> list[PolicyRow]:
        """All policy sets that were put in force, oldest first, with empty files."""

    async def policy(self, digest: bytes) -> PolicyRow | None:
        """The policy set with this digest, as it was put in force last.

        With an empty digest: the one in force.
        """

    async def figures(self, codes: Sequence[str]) -> Figures:
        """What the tables say about the intakes and deliveries of jurisdictions.

        A code such as ``US-OH`` matches itself; ``US`` also every ``US-`` code;
        :data:`WHOLE` everything. All is of one consistent state.
        """

    async def export(
        self, codes: Sequence[str], first: int, end: int, limit: int
    ) -> list[StatementRow]:
        """Entries of jurisdictions with an index in [first, end), in order.

        Codes match as in :meth:`figures`; what concerns everybody matches always.
        """

    async def export_digests(
        self, codes: Sequence[str], first: int, end: int
    ) -> list[bytes]:
        """The digests of all entries that :meth:`export` would return, in order."""

    async def export_parties(self, codes: Sequence[str]) -> list[str]:
        """Hotlines, watchers and recipients of what the codes match, by name."""

    async def content(self, digest: bytes) -> bytes | None:
        """Sealed content, or None when it is not stored (or erased)."""

    async def expired(self, now_ms: int, limit: int) -> list[str]:
        """Ids of accepted referrals whose content is due for erasure."""

    async def retracted_parents(self, limit: int) -> list[str]:
        """Ids of retracted referrals with a child that is not erased and retracted."""

    async def members(self) -> list[MemberRow]:
        """All present directory entries, ordered by name."""

    async def token(self, token_id: str) -> TokenRow | None:
        """One enrolment token."""

    async def member_tokens(self, member: str) -> list[TokenRow]:
        """Enrolment tokens of one member."""

    async def state_counts(self) -> Mapping[int, int]:
        """How many deliveries are in each state."""

    async def oldest_waiting(self) -> Mapping[int, int]:
        """For each urgency, when its longest waiting delivery was accepted."""

    async def backup(self, target: str) -> None:
        """Writes a consistent copy of the database to a new file."""
