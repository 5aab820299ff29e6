"""The reckoning after a failure: what members were told, against the final log.

1. ``onward-server log verify`` finds the whole log sound.
2. The tree over the digests of the final log has, at each size that a receipt leads to,
   the root that this receipt's checkpoint has, and the statement at its index.
3. Each referral that was accepted is in the log once, with one acceptance.
4. Each of them was stored by a desk, and has a ``Received``, after a ``Handover``.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import pairwise

import grpc

from onward.client import Logged
from onward.core.merkle import leaf_hash
from onward.core.statements import parse_statement
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.core.tree import Tree
from onward.v1 import log_pb2, log_pb2_grpc, referral_pb2, referral_pb2_grpc
from tests.support.process import BIN, HOTLINE, ExchangeProcess, command
from tests.support.scenarios import Seen
from tests.support.traffic import Traffic

_PAGE = 1000


async def reckon(exchange: ExchangeProcess, *traffics: Traffic) -> Seen:
    """Checks all of the above; returns what a report says about it."""
    async with exchange.channel(HOTLINE) as channel:
        digests = [digest async for digest in entries(channel)]
        chains = await own_statements(channel)
    sent = {name for one in traffics for name in one.sent}
    stored = {name for one in traffics for name in one.stored}
    told = [logged for one in traffics for logged in _told(one)]
    await asyncio.to_thread(verify_log, exchange)  # 1
    check_receipts(told, digests, exchange.home(HOTLINE).trust)  # 2
    kinds = {name: Counter(chains[name]) for name in sent}
    lost = [name for name, kind in kinds.items() if not kind["referral"]]
    twice = [name for name, kind in kinds.items() if kind["referral"] > 1]
    assert (lost, twice) == ([], [])  # 3
    assert all(kind["acceptance"] == 1 for kind in kinds.values())
    assert stored == sent  # 4
    assert all(given_before_received(chains[name]) for name in sent)
    return {
        "referrals published": len(sent),
        "acknowledged while it went on": len(sent) - _sum(traffics, "unanswered"),
        "not answered by its end": _sum(traffics, "unanswered"),
        "of these in the log all the same": _sum(traffics, "known"),
        "in the final log": len(kinds) - len(lost),
        "lost": len(lost),
        "doubled": len(twice),
        "delivered and confirmed": len(stored),
        "handed over again": sum(kind["handover"] - 1 for kind in kinds.values()),
        "after the end all delivered within, s": round(
            max(one.settling for one in traffics), 2
        ),
        "receipts that hold in the final log": len(told),
        "entries of the final log, all sound": len(digests),
        "breaches logged": sum(kind["breach"] for kind in kinds.values()),
        "calls that the SDK gave up and members made again": _sum(traffics, "given_up"),
        "longest wait for an answer, s": round(
            max(wait for one in traffics for wait in one.waits), 2
        ),
    }


def given_before_received(kinds: Sequence[str]) -> bool:
    """Whether the steps of a delivery are in the log, in their order."""
    steps = ("referral", "acceptance", "handover", "received")
    rest = iter(kinds)
    return all(step in rest for step in steps)


def _told(traffic: Traffic) -> Iterator[Logged]:
    """Yields all statements that members were given receipts of."""
    for published in traffic.accepted.values():
        yield published.referral
        yield published.acceptance
    yield from traffic.confirmed.values()


def _sum(traffics: Iterable[Traffic], name: str) -> int:
    return sum(getattr(one, name) for one in traffics)


def verify_log(exchange: ExchangeProcess) -> None:
    """Has the whole log recomputed, as an operator would."""
    program = (*exchange.within, str(BIN / "onward-server"))
    command(*program, "log", "verify", "--config", str(exchange.config))


def check_receipts(
    told: Sequence[Logged], digests: Sequence[bytes], trust: str
) -> None:
    """Checks that receipts hold, and lead to beginnings of one and the same log."""
    policy = Policy.parse(trust)
    opened = [
        (logged, TlogProof.parse(logged.receipt).verify(logged.digest, policy))
        for logged in told
    ]
    roots = roots_at({seen.checkpoint.size for _, seen in opened}, digests)
    for logged, seen in opened:
        assert digests[logged.log_index] == logged.digest
        assert roots[seen.checkpoint.size] == seen.checkpoint.root, "a fork"


def roots_at(sizes: Iterable[int], digests: Sequence[bytes]) -> dict[int, bytes]:
    """Returns the roots that a log had at some sizes."""
    tree, roots = Tree(), {}
    for first, end in pairwise([0, *sorted(sizes)]):
        tree = tree.extend([leaf_hash(digest) for digest in digests[first:end]])
        roots[end] = tree.root
    return roots


async def entries(channel: grpc.aio.Channel) -> AsyncIterator[bytes]:
    """Yields the digests of the whole log."""
    stub = log_pb2_grpc.LogServiceStub(channel)
    first = 0
    while True:
        request = log_pb2.ListEntriesRequest(first_index=first, page_size=_PAGE)
        page = (await stub.ListEntries(request)).digests
        for digest in page:
            yield digest
        first += len(page)
        if len(page) < _PAGE:
            return


async def own_statements(channel: grpc.aio.Channel) -> dict[str, list[str]]:
    """Returns the kinds of all statements about the hotline's referrals, by id."""
    stub = referral_pb2_grpc.ReferralServiceStub(channel)
    chains = defaultdict(list)
    async for news in stub.WatchOwn(referral_pb2.WatchOwnRequest()):
        if news.HasField("heartbeat"):
            break
        statement = parse_statement(news.statement.statement)
        chains[statement.message.referral_id].append(statement.body_kind)
    return chains
