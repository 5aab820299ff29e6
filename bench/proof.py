"""That what was measured happened: answers are real, and the log grew by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from onward.core.directory import StatementKeySet
from onward.core.statements import parse_statement
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.home import Home
from onward.v1 import directory_pb2, log_pb2, referral_pb2
from onward.v1.directory_pb2_grpc import DirectoryServiceStub
from onward.v1.log_pb2_grpc import LogServiceStub

SAMPLE: Final = 25
"""One of so many answers is verified; all are looked at."""


class UnrealError(Exception):
    """What was measured is not what was to be measured, so the figure means nothing."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges what the exchange answers.

    Attributes:
        policy: trusts the exchange's log.
        keys: the exchange's statement keys.
        begun: the log's size before anything was measured.
    """

    policy: Policy
    keys: StatementKeySet
    begun: int

    @classmethod
    async def of(cls, home: Home, channel: grpc.aio.Channel) -> Judge:
        """Returns the judge of an exchange that nobody has published to.

        Args:
            home: a member's, with the trust file of the exchange.
            channel: to the exchange, as that member.
        """
        answer = await DirectoryServiceStub(channel).GetExchangeKeys(
            directory_pb2.GetExchangeKeysRequest()
        )
        introduced = parse_statement(answer.changes[-1].statement).message.key_change
        keys = StatementKeySet.from_protos(
            home.settings.exchange, list(introduced.keys)
        )
        head = await LogServiceStub(channel).GetCheckpoint(
            log_pb2.GetCheckpointRequest()
        )
        begun = home.policy.open_checkpoint(head.checkpoint).checkpoint.size
        return cls(home.policy, keys, begun)

    def check(
        self,
        requests: Sequence[referral_pb2.PublishRequest],
        replies: Sequence[referral_pb2.PublishResponse],
    ) -> None:
        """Checks that each referral was accepted, and verifies a sample of the proofs.

        Raises:
            UnrealError: one was not, or an answer is about something else.
            OnwardError: a signature or proof does not hold.
        """
        for request, reply in zip(requests, replies, strict=True):
            same = reply.referral.statement == request.referral
            if not (same and reply.referral.receipt and reply.acceptance.receipt):
                raise UnrealError("a referral was not answered with its acceptance")
        for reply in replies[::SAMPLE]:
            self._verify(reply)

    def check_growth(self, checkpoint: str, entries: int) -> None:
        """Checks that the log grew by exactly so many entries.

        Raises:
            UnrealError: it did not.
            OnwardError: the checkpoint is not the log's.
        """
        size = self.policy.open_checkpoint(checkpoint).checkpoint.size
        if size != self.begun + entries:
            message = f"the log grew by {size - self.begun} entries, not by {entries}"
            raise UnrealError(message)

    def _verify(self, reply: referral_pb2.PublishResponse) -> None:
        """Verifies that the exchange accepted a referral, and logged that."""
        digest = verify_logged(reply.referral, self.policy)
        verify_logged(reply.acceptance, self.policy)
        statement = parse_statement(reply.acceptance.statement)
        key, _ = self.keys.keys[statement.key_id]
        said = statement.verify(key).message
        if not said.HasField("acceptance") or said.previous != digest:
            raise UnrealError("an answer does not accept the referral that was sent")


def verify_logged(logged: log_pb2.LoggedStatement, policy: Policy) -> bytes:
    """Verifies a receipt; returns the statement's digest.

    Raises:
        OnwardError: it does not hold.
    """
    digest = parse_statement(logged.statement).digest
    TlogProof.parse(logged.receipt).verify(digest, policy)
    return digest
