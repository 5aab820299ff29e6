"""The beginning of a log: the exchange introduces its own keys.

The log's first entry is a ``KeyChange``, signed with a key that it introduces itself.
It is trusted since the log's key vouches for the entry, so whoever verifies needs no
key of the exchange but the log's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from onward.core.errors import Reason, StateError
from onward.core.keys import StatementPublicKey
from onward.v1 import directory_pb2, statement_pb2, vocabulary_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.draft import Draft
from onward_server.storage.contract import Needs

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
        statement = draft.say(
            key_change=statement_pb2.KeyChange(
                keys=[self._entry(draft.now_ms)], log_vkey=self.log_vkey
            )
        )
        index = draft.log(statement)
        if index:
            raise StateError(
                Reason.ERROR_REASON_STATE_FORBIDS,
                "the log has begun already, and a log begins once",
            )
        return [index]

    def _entry(self, now_ms: int) -> directory_pb2.StatementKey:
        """Returns the key, valid from a little before now on."""
        millisecond = timedelta(milliseconds=1)
        return directory_pb2.StatementKey(
            key_id=self.key.key_id,
            jwk=self.key.jwk,
            status=vocabulary_pb2.KEY_STATUS_ACTIVE,
            not_before_time=to_timestamp(now_ms - _BACKDATED // millisecond),
            not_after_time=to_timestamp(now_ms + KEY_VALIDITY // millisecond),
        )
