"""Verification, and the floor under everything: the cryptography alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Final, TypeAlias

from bench.desk import open_desk
from bench.figures import MICROSECONDS, Figure
from bench.proof import UnrealError
from bench.rounds import BATCH_CALLERS, MANY_CALLERS, Plan
from bench.stage import Stage
from onward.core.bundle import Bundle
from onward.core.keys import DEFAULT_ALGORITHM, StatementPrivateKey
from onward.core.statements import statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.core.verify import ExitCode, verify_bundle
from onward.v1 import custody_pb2, log_pb2
from onward.v1.custody_pb2_grpc import CustodyServiceStub

_MESSAGE: Final = b"s" * 600
"""About as long as what is signed of a referral."""

_OF_LOG: Final = "EdDSA"
"""The algorithm of the log's signatures on checkpoints."""

_BUNDLES: Final = 10
_RECEIPTS_PER_BUNDLE: Final = 20
"""A bundle takes about as long as so many receipts, so it is repeated less often."""

Work: TypeAlias = Callable[[], object]


async def measure_verify(stage: Stage, plan: Plan) -> list[Figure]:
    """Bundles and receipts, each beside the signatures in it alone."""
    bundles = await _bundles(stage)
    first = Bundle.parse(bundles[0])
    statements = len(first.statements) + len(first.directory)
    home = stage.exchange.hotline
    logged = (stage.reply.referral, stage.reply.acceptance)
    return [
        _beside_floor(
            f"verify a bundle of {statements} statements",
            [partial(_verify_bundle, bundle, home.trust) for bundle in bundles],
            plan.repeats // _RECEIPTS_PER_BUNDLE,
            # Each statement's, and the log's on the one checkpoint of all receipts.
            [*[_verification()] * statements, _verification(_OF_LOG)],
            rounds=plan.rounds,
        ),
        _beside_floor(
            "verify a receipt",
            [partial(_verify_receipt, item, home.policy) for item in logged],
            plan.repeats,
            [_verification(_OF_LOG)],
            rounds=plan.rounds,
        ),
    ]


async def measure_floor(stage: Stage, plan: Plan) -> list[Figure]:
    """Batches beside what of their cryptography no exchange can leave out."""
    signature = partial(StatementPrivateKey.generate().sign, _MESSAGE)
    verification, pairs, floors = _verification(), [], []
    for _ in range(plan.rounds + 1):  # the first one is for warming up
        prepared = await stage.prepare(plan.many, stage.exchange.archive)
        run = await stage.publish_batches(prepared, BATCH_CALLERS)
        floor = [
            _seconds_each([work], plan.repeats) for work in (verification, signature)
        ]
        floors.append([seconds * MICROSECONDS for seconds in floor])
        pairs.append((plan.many / run.seconds, 1 / sum(floor)))
    verified, signed = zip(*floors[1:], strict=True)
    name = "publish in batches, beside verifying and signing alone"
    return [
        Figure.compare(name, "referrals/s", pairs[1:]),
        Figure.alone(f"floor: {DEFAULT_ALGORITHM} verification", "us", verified),
        Figure.alone(f"floor: {DEFAULT_ALGORITHM} signature", "us", signed),
    ]


async def _bundles(stage: Stage) -> list[bytes]:
    """Passes referrals on until they are received; returns their bundles."""
    home = stage.exchange.desk
    prepared = await stage.prepare(_BUNDLES, home)
    async with open_desk(stage, home) as desk:
        await stage.publish(prepared, MANY_CALLERS)
        for item in prepared:
            await desk.done(item.referral_id)
    stage.note_received(len(prepared))
    stub = CustodyServiceStub(stage.publishing)
    return [
        (
            await stub.GetBundle(
                custody_pb2.GetBundleRequest(referral_id=item.referral_id)
            )
        ).bundle
        for item in prepared
    ]


def _verify_bundle(bundle: bytes, trust: str) -> None:
    """Verifies a bundle as ``onward verify`` does."""
    report = verify_bundle(bundle, trust)
    if report.exit_code != ExitCode.PROVEN:
        raise UnrealError("a bundle of the exchange is not proven")


def _verify_receipt(logged: log_pb2.LoggedStatement, policy: Policy) -> None:
    """Verifies that a statement is in the log."""
    digest = statement_digest(logged.statement)
    TlogProof.parse(logged.receipt).verify(digest, policy)


def _beside_floor(
    name: str,
    works: Sequence[Work],
    repeats: int,
    signatures: Sequence[Work],
    *,
    rounds: int,
) -> Figure:
    """Returns the rate of a verification beside that of its signatures alone."""
    pairs = [
        (
            1 / _seconds_each(works, repeats),
            1 / (_seconds_each(signatures, repeats) * len(signatures)),
        )
        for _ in range(rounds)
    ]
    return Figure.compare(name, "1/s", pairs)


def _verification(algorithm: str = DEFAULT_ALGORITHM) -> Work:
    """Returns the verification of one signature."""
    key = StatementPrivateKey.generate(algorithm)
    return partial(key.public.verify, key.sign(_MESSAGE), _MESSAGE)


def _seconds_each(works: Sequence[Work], repeats: int) -> float:
    """Returns what works take on average, done in turn so many times in all."""
    begun = time.perf_counter()
    for work in islice(cycle(works), repeats):
        work()
    return (time.perf_counter() - begun) / repeats
