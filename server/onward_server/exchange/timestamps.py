"""Trusted timestamps: authorities say when they saw the log's checkpoints (RFC 3161).

Once a minute each authority is asked to stamp the newest checkpoint, if the log has
grown since its last token. What it answers is checked as anybody would check it
(:meth:`onward.core.timestamps.Token.verify`), and only then written down. Bundles carry
the tokens that bound their statements.

An authority that fails is asked again a minute later, for the checkpoint of then: a
later token bounds the same entries, only less closely. Nothing waits for any of them,
and whether the exchange is ready does not depend on one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from onward.core.errors import OnwardError, Reason, UnavailableError
from onward.core.notes import parse_note
from onward.core.timestamps import (
    Authorities,
    Token,
    parse_response,
    timestamp_request,
)
from onward.core.timing import MAX_CLOCK_SKEW
from onward_server.exchange.clock import Clock, Entropy, to_datetime
from onward_server.exchange.ledger import Ledger
from onward_server.storage.contract import CheckpointRow, Store, TimestampRow

_NONCE_BYTES: Final = 8

_log = structlog.get_logger(__name__)


class Transport(Protocol):
    """Reaches authorities."""

    async def post(self, url: str, query: bytes) -> bytes | None:
        """Posts a ``TimeStampReq``; returns the answer, or None if there is none."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A timestamp authority that is asked.

    Attributes:
        name: its name in the database. Never give it to another authority.
        url: where it is asked.
        certificates: whom its tokens must lead to.
        policy: OID of the policy that it is asked for; empty for its own.
    """

    name: str
    url: str
    certificates: Authorities
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Means:
    """What asking takes.

    Attributes:
        transport: how authorities are reached.
        clock: the exchange's own time, which theirs is compared with.
        entropy: for nonces.
        interval: seconds between two turns.
    """

    transport: Transport
    clock: Clock
    entropy: Entropy
    interval: float = 60.0


@dataclass(slots=True)
class _Course:
    """How it goes with one authority.

    Attributes:
        size: the largest size that it has stamped; None until the database was asked.
        current: when nothing was left to stamp, last.
    """

    authority: Authority
    size: int | None
    current: float


class Timestamps:
    """Asks authorities; see the module's story.

    Args:
        ledger: its checkpoints, and its write transactions.
        store: where tokens are.
        authorities: whom to ask, each name once.
        means: what asking takes.

    Attributes:
        interval: seconds between two turns.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        authorities: Sequence[Authority],
        means: Means,
    ) -> None:
        self.interval = means.interval
        self._ledger = ledger
        self._store = store
        self._transport = means.transport
        self._clock = means.clock
        self._entropy = means.entropy
        now = self._clock.monotonic()
        self._courses = {item.name: _Course(item, None, now) for item in authorities}

    @property
    def names(self) -> Sequence[str]:
        """The names of the authorities."""
        return list(self._courses)

    async def stamp(self, name: str) -> None:
        """Has one authority stamp the newest checkpoint, if it has not yet: a turn."""
        course, head = self._courses[name], self._ledger.head()
        if course.size is None:
            last = await self._store.last_timestamp(name)
            course.size = last.size if last else 0
        if course.size < head.size:
            try:
                await self._keep(course.authority, head)
            except OnwardError as error:
                _log.warning("timestamps.failed", authority=name, why=error.message)
                return
            course.size = head.size
        course.current = self._clock.monotonic()

    def behind(self) -> Mapping[str, float]:
        """For each authority, the seconds since it had stamped all there was."""
        now = self._clock.monotonic()
        return {name: now - course.current for name, course in self._courses.items()}

    async def _keep(self, authority: Authority, head: CheckpointRow) -> None:
        """Gets a token for a checkpoint, and writes it down.

        Raises:
            OnwardError: there is no answer, it does not hold, or cannot be written.
        """
        text = parse_note(head.note).text
        token = await self._ask(authority, text)
        self._compare(authority, token)
        row = TimestampRow(
            head.size, authority.name, token.data, int(token.time.timestamp() * 1000)
        )
        await self._ledger.write(lambda writer: writer.put_timestamps([row]))
        _log.info("timestamps.kept", authority=authority.name, size=head.size)

    async def _ask(self, authority: Authority, text: str) -> Token:
        """Returns a token that holds."""
        nonce = int.from_bytes(self._entropy(_NONCE_BYTES), "big")
        query = timestamp_request(text, nonce, authority.policy)
        answer = await self._transport.post(authority.url, query)
        if answer is None:
            raise UnavailableError(
                Reason.ERROR_REASON_TIMESTAMP_UNTRUSTED,
                "there is no answer of the kind that RFC 3161 describes; look at the "
                "URL, and whether the authority is well",
            )
        token = parse_response(answer)
        token.verify(text, authority.certificates, nonce=nonce, policy=authority.policy)
        return token

    def _compare(self, authority: Authority, token: Token) -> None:
        """Says so if the exchange's clock and the authority's differ too much."""
        ahead = to_datetime(self._clock.now_ms()) - token.time
        if abs(ahead) > MAX_CLOCK_SKEW:
            _log.error(
                "timestamps.clocks_differ",
                authority=authority.name,
                exchange_ahead_seconds=ahead.total_seconds(),
            )
