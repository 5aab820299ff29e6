"""Revealing an intake: its salt, with all that proves the intake itself."""

from __future__ import annotations

from collections.abc import Iterable

from onward._queue import Kept
from onward._session import Session
from onward.core.bundle import ConsistencyProof, LoggedStatement, needed_sizes
from onward.core.opening import build_opening
from onward.core.tlog_proof import TlogProof
from onward.v1 import directory_pb2, log_pb2
from onward.v1.directory_pb2_grpc import DirectoryServiceStub
from onward.v1.log_pb2_grpc import LogServiceStub


async def make_opening(session: Session, kept: Kept) -> bytes:
    """Returns the opening of a registered intake.

    What the exchange sends for it is not judged here: whoever gets the opening does.
    """
    directory = DirectoryServiceStub(session.channel)
    log = LogServiceStub(session.channel)
    keys = await session.call(
        directory.GetExchangeKeys, directory_pb2.GetExchangeKeysRequest()
    )
    member = await session.call(
        directory.GetMember, directory_pb2.GetMemberRequest(name=session.member)
    )
    changes = sorted(_logged([*keys.changes, *member.changes]), key=_place)
    (intake,) = _logged([kept.logged])
    newest = await session.call(log.GetCheckpoint, log_pb2.GetCheckpointRequest())
    size = (await session.log.observe(newest.checkpoint)).size
    proofs = []
    for older, root in needed_sizes(newest.checkpoint, [intake, *changes]).items():
        proof = await session.call(
            log.GetConsistencyProof,
            log_pb2.GetConsistencyProofRequest(first_size=older, second_size=size),
        )
        proofs.append(ConsistencyProof(older, root, tuple(proof.path)))
    return build_opening(kept.salt, newest.checkpoint, intake, changes, proofs)


def _logged(items: Iterable[log_pb2.LoggedStatement]) -> list[LoggedStatement]:
    return [LoggedStatement(item.statement, item.receipt) for item in items]


def _place(item: LoggedStatement) -> int:
    return TlogProof.parse(item.receipt).index
