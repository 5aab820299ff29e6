"""The exchange's own statement keys: how a log begins, and how a key is replaced.

The log's first entry is a ``KeyChange``, signed with a key that it introduces itself.
It is trusted since the log's key vouches for the entry, so whoever verifies needs no
key of the exchange but the log's. Each later one is signed with the key in force, and
names the ``KeyChange`` before it.

A log that succeeds another one says so in its first entry, carries the entries of the
other one, and has another ``KeyChange`` where its own begin (``succession``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from onward.core.errors import Reason, StateError
from onward.core.keys import StatementPublicKey
from onward.core.statements import UnverifiedStatement
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.draft import Draft
from onward_server.storage.contract import EVERYBODY, Needs

KEY_VALIDITY: Final = timedelta(days=3650)

_BACKDATED: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class GenesisChange:
    """The change: an empty log gets its first entry.

    Attributes:
        key: the exchange's statement key.
        log_vkey: the log's verifier key.
    """

    key: StatementPublicKey
    log_vkey: str

    @property
    def needs(self) -> Needs:
        """Nothing: there is nothing yet."""
        return Needs()

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs the ``KeyChange``.

        Raises:
            StateError: STATE_FORBIDS: the log has entries already.
        """
        body = introduction(self.key, self.log_vkey, draft.now_ms)
        index = draft.log(draft.say(key_change=body), places=EVERYBODY)
        if index:
            raise StateError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                "the log has begun already, and a log begins once",
            )
        return [index]


@dataclass(frozen=True, slots=True)
class KeyReplacementChange:
    """The change: another statement key is in force, and the ones before are retired.

    Attributes:
        key: the new key.
        last: the ``KeyChange`` in force, which names the keys so far.
    """

    key: StatementPublicKey
    last: UnverifiedStatement

    @property
    def needs(self) -> Needs:
        """Nothing: whoever replaces the key is the only one who writes."""
        return Needs()

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs the ``KeyChange``."""
        before = self.last.message.key_change
        keys = [_retired(key) for key in before.keys]
        statement = draft.say(
            previous=self.last.digest,
            key_change=statement_pb2.KeyChange(
                keys=[*keys, _active(self.key, draft.now_ms)],
                log_vkey=before.log_vkey,
            ),
        )
        return [draft.log(statement, places=EVERYBODY)]


@dataclass(frozen=True, slots=True)
class SuccessionChange:
    """The change: after the entries of its predecessor, a log's own ones begin.

    Attributes:
        log_vkey: the log's verifier key.
        last: the last ``KeyChange`` of the predecessor: its keys stay in force.
    """

    log_vkey: str
    last: UnverifiedStatement

    @property
    def needs(self) -> Needs:
        """Nothing: the log is not in use yet."""
        return Needs()

    def plan(self, draft: Draft) -> Sequence[int]:
        """Logs the ``KeyChange``."""
        body = statement_pb2.KeyChange(
            keys=self.last.message.key_change.keys, log_vkey=self.log_vkey
        )
        statement = draft.say(previous=self.last.digest, key_change=body)
        return [draft.log(statement, places=EVERYBODY)]


def introduction(
    key: StatementPublicKey,
    log_vkey: str,
    now_ms: int,
    predecessor: statement_pb2.Predecessor | None = None,
) -> statement_pb2.KeyChange:
    """Returns the body of a log's first entry."""
    return statement_pb2.KeyChange(
        keys=[_active(key, now_ms)], log_vkey=log_vkey, predecessor=predecessor
    )


def _active(key: StatementPublicKey, now_ms: int) -> directory_pb2.StatementKey:
    """Returns a key that is valid from a little before now on."""
    millisecond = timedelta(milliseconds=1)
    return directory_pb2.StatementKey(
        key_id=key.key_id,
        jwk=key.jwk,
        status=vocabulary_pb2.KEY_STATUS_ACTIVE,
        not_before_time=to_timestamp(now_ms - _BACKDATED // millisecond),
        not_after_time=to_timestamp(now_ms + KEY_VALIDITY // millisecond),
    )


def _retired(key: directory_pb2.StatementKey) -> directory_pb2.StatementKey:
    """Returns a key as it is after it was replaced."""
    retired = directory_pb2.StatementKey()
    retired.CopyFrom(key)
    retired.status = vocabulary_pb2.KEY_STATUS_RETIRED
    return retired
