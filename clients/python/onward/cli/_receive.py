"""Taking deliveries in: stored first, confirmed then.

Each delivery goes into the directory and to the program that the member names. Only
when they have it is ``Received`` logged. With neither, the member's home is the store:
the client keeps the sealed content there before it hands it out. So what is confirmed
is stored, and what is not confirmed comes again, to this desk or to another one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from onward._files import make_private_dir, write_atomically
from onward.cli._answer import Answer, Transfer, read_answer
from onward.cli._connection import connected
from onward.cli._errors import exit_of, told
from onward.cli._messages import members_of, to_members, value_of, word_of
from onward.cli._names import short_name
from onward.cli._output import print_json, print_line, progress, say
from onward.cli._program import NotStoredError, Program, facts_of
from onward.cli._records import print_logged, record_of
from onward.cli._routing import changes_of
from onward.cli.exits import Exit
from onward.client import Client, Incoming, Invalid, Logged, Retracted
from onward.core.errors import MalformedError, OnwardError
from onward.v1 import statement_pb2, vocabulary_pb2

PAUSE: Final = 1.0
"""Seconds; when nothing comes for two pauses, nothing more waits."""

Item: TypeAlias = Incoming | Invalid | Retracted
_Key: TypeAlias = tuple[type[Item], str]


@dataclass(frozen=True, slots=True)
class Wish:
    """How a member wants to receive.

    Attributes:
        program: runs for each delivery, if any.
        directory: where each tip is written, if anywhere.
        max_outstanding: how many deliveries may be out, and so programs run, at once.
        once: end after the first delivery.
        drain: end when nothing more waits.
        as_json: print JSON.
    """

    program: Program | None
    directory: Path | None
    max_outstanding: int
    once: bool
    drain: bool
    as_json: bool


def receive(home: Path, wish: Wish) -> Exit:
    """Receives until the wish is fulfilled; returns what to end with."""
    if wish.directory:
        make_private_dir(wish.directory)

    async def work(client: Client) -> Exit:
        if wish.drain:
            await client.checkpoint()  # not to be reached is not to be idle
        with progress("receiving", None if wish.drain else 0) as advance:
            desk = Desk(wish, advance)
            async with aclosing(
                client.receive(max_outstanding=wish.max_outstanding, confirm=False)
            ) as items:
                await desk.take(items)
        return desk.worst

    return connected(home, work)


@dataclass(slots=True)
class Desk:
    """Takes deliveries in, as many at a time as the member wishes.

    Attributes:
        wish: how the member wants to receive.
        advance: is told of each item that is done with.
        worst: what to end with, by what happened so far.
    """

    wish: Wish
    advance: Callable[[int], None]
    worst: Exit = Exit.OK
    _busy: set[_Key] = field(default_factory=set)

    async def take(self, items: AsyncGenerator[Item, None]) -> None:
        """Takes items until the wish is fulfilled, and ends what it began."""
        if self.wish.drain:
            items = _until_idle(items, lambda: bool(self._busy))
        places = asyncio.Semaphore(self.wish.max_outstanding)
        # The stream stays open, and with it the leases, until the last one is done.
        async with aclosing(items), asyncio.TaskGroup() as group:
            async for item in items:
                if _key(item) in self._busy:
                    continue  # its lease lapsed, and its program still runs
                await places.acquire()
                self._busy.add(_key(item))
                task = group.create_task(self._take(item))
                task.add_done_callback(lambda _: places.release())
                if self.wish.once and not isinstance(item, Retracted):
                    return

    async def _take(self, item: Item) -> None:
        """Takes one item in; what fails is told, and does not end the others."""
        try:
            match item:
                case Incoming():
                    await self._receive(item)
                case Invalid():
                    await self._refuse(item)
                case Retracted():
                    await self._answer_retraction(item)
        except NotStoredError as error:
            say(f"onward: {item.referral_id} is not received, and comes again: {error}")
            self.worst = max(self.worst, Exit.REFUSED)
        except OnwardError as error:
            say(f"onward: {item.referral_id}: {told(error)}")
            self.worst = max(self.worst, exit_of(error))
        finally:
            self._busy.discard(_key(item))
            self.advance(1)

    async def _receive(self, item: Incoming) -> None:
        """Stores a delivery, confirms it, and logs what the program answers."""
        tip = to_members(item.tip)
        content = json.dumps(tip, ensure_ascii=False).encode() + b"\n"
        if self.wish.directory:
            file = self.wish.directory / f"{item.referral_id}.json"
            await asyncio.to_thread(write_atomically, file, content)
        output = b""
        if self.wish.program:
            output = await self.wish.program.run(content, facts_of(item))
        received = await item.confirm()
        stored = self.wish.directory or self.wish.program
        self._print("received", item, received, {} if stored else {"tip": tip})
        for statement in _statements(item, read_answer(output)):
            self._print_logged(await statement)

    async def _refuse(self, item: Invalid) -> None:
        """Logs that a delivery is not usable."""
        check = word_of(vocabulary_pb2.ContentCheck, item.check)
        received = await item.confirm()
        say(f"onward: {item.referral_id} is not usable: {check}; the publisher is told")
        self.worst = max(self.worst, Exit.REFUSED)
        if self.wish.as_json:
            print_json({"event": "invalid", "check": check, **record_of(received)})

    async def _answer_retraction(self, item: Retracted) -> None:
        """Tells of a retraction, and logs what the program answers."""
        self._print("retracted", item, item.retraction, {})
        if self.wish.program is None:
            return
        output = await self.wish.program.run(b"", facts_of(item))
        reply = read_answer(output).reply
        if reply:
            action = value_of(vocabulary_pb2.RetractionAction, reply.action)
            self._print_logged(await item.reply(action, reply.citation))

    def _print(
        self,
        event: str,
        item: Incoming | Retracted,
        logged: Logged,
        more: dict[str, object],
    ) -> None:
        """Prints what happened to a referral."""
        message = item.referral.message
        urgency = word_of(vocabulary_pb2.Urgency, message.referral.urgency)
        place = message.referral.jurisdiction.code
        if self.wish.as_json:
            facts = {
                "event": event,
                "publisher": message.issuer,
                "urgency": urgency,
                "jurisdiction": place,
                "test": message.referral.test,
            }
            print_json(facts | record_of(logged) | more)
            return
        print_line(
            f"{event} {item.referral_id} ({urgency}, {place}) from "
            f"{short_name(message.issuer)}: log entry {logged.log_index}"
        )

    def _print_logged(self, logged: Logged) -> None:
        if self.wish.as_json:
            print_json({"event": "logged", **record_of(logged)})
        else:
            print_logged(logged, as_json=False)


def _statements(item: Incoming, answer: Answer) -> Iterator[Awaitable[Logged]]:
    """Yields what logs each part of an answer, in the order of custody."""
    if answer.reply:
        raise MalformedError("the program's answer: nothing was retracted")
    if answer.acknowledge:
        yield item.acknowledge(answer.acknowledge.reader_role)
    if answer.take:
        yield item.take()
    if answer.decline:
        reason = value_of(vocabulary_pb2.DeclineReason, answer.decline.reason)
        yield item.decline(reason, answer.decline.suggested_agency)
    if answer.transfer:
        yield _transfer(item, answer.transfer)
    if answer.outcome:
        code = value_of(vocabulary_pb2.OutcomeCode, answer.outcome.code)
        yield item.report_outcome(code, closes=answer.outcome.closes)


def _key(item: Item) -> _Key:
    return type(item), item.referral_id


async def _transfer(item: Incoming, transfer: Transfer) -> Logged:
    members = members_of(transfer.referral, statement_pb2.Referral(), "referral")
    done = await item.transfer(transfer.recipients, **changes_of(members))
    return done.transfer


async def _until_idle(
    items: AsyncGenerator[Item, None], busy: Callable[[], bool]
) -> AsyncGenerator[Item, None]:
    """Yields items until none has come for a while in which nothing went on either."""
    while True:
        coming = asyncio.ensure_future(anext(items))
        rested = False
        try:
            while not (await asyncio.wait({coming}, timeout=PAUSE))[0]:
                if rested:
                    return
                rested = not busy()
        finally:
            coming.cancel()
            await asyncio.wait({coming})
        yield coming.result()
