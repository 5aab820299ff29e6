"""Checking signatures, a few at once or many in another thread."""

import asyncio
import threading

import pytest

from onward.core.errors import VerificationError
from onward.core.keys import StatementPrivateKey
from onward.core.statements import (
    SignedStatement,
    UnverifiedStatement,
    parse_statement,
    sign_statement,
)
from onward.v1 import statement_pb2
from onward_server.exchange.clock import to_timestamp
from onward_server.exchange.signatures import Signatures
from tests.support.world import HOTLINE, START_MS

KEY = StatementPrivateKey.generate("ES256")


def statement(number: int, *, forged: bool = False) -> UnverifiedStatement:
    """Returns a statement, or one with the signature of another."""
    jws = signed(number).jws
    if forged:
        other = signed(number + 1).jws.rpartition(".")[2]
        jws = f"{jws.rpartition('.')[0]}.{other}"
    return parse_statement(jws)


def signed(number: int) -> SignedStatement:
    """Returns a statement signed with the key."""
    message = statement_pb2.Statement(
        id=f"00000000-0000-7000-8000-{number:012}",
        issuer=HOTLINE,
        made_time=to_timestamp(START_MS),
        taking=statement_pb2.Taking(),
    )
    return sign_statement(message, KEY)


@pytest.mark.parametrize("count", [1, 3, 40])
async def test_each_gets_its_own_answer(count: int) -> None:
    signatures, bad = Signatures(), count // 2
    asked = [statement(n, forged=n == bad) for n in range(count)]
    checks = (signatures.check(one, KEY.public) for one in asked)
    answers = await asyncio.gather(*checks, return_exceptions=True)
    assert isinstance(answers.pop(bad), VerificationError)
    del asked[bad]
    assert [answer.jws for answer in answers] == [one.jws for one in asked]  # type: ignore[union-attr]


async def test_goes_on_with_whoever_asks_while_many_are_checked() -> None:
    signatures = Signatures()

    async def ask(number: int) -> str:
        found = await signatures.check(statement(number), KEY.public)
        return found.message.id

    many = [asyncio.create_task(ask(n)) for n in range(40)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = asyncio.create_task(ask(40))
    ids = await asyncio.gather(*many, late)
    assert len(set(ids)) == 41
    assert await ask(41) not in ids


async def test_whoever_goes_away_takes_no_answer_from_the_others() -> None:
    signatures = Signatures()
    checks = [
        asyncio.create_task(signatures.check(statement(n), KEY.public))
        for n in range(40)
    ]
    await asyncio.sleep(0)
    checks[27].cancel()
    answers = await asyncio.gather(*checks, return_exceptions=True)
    gone = answers.pop(27)
    assert isinstance(gone, asyncio.CancelledError)
    assert all(isinstance(answer, SignedStatement) for answer in answers)


async def test_goes_on_where_the_system_gives_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    signatures = Signatures()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for first in (0, 40):
            asked = [statement(n) for n in range(first, first + 40)]
            checks = (signatures.check(one, KEY.public) for one in asked)
            async with asyncio.timeout(10):
                answers = await asyncio.gather(*checks)
            assert [answer.jws for answer in answers] == [one.jws for one in asked]
