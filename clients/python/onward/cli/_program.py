"""``--exec``: a program that stores what arrives, or pages somebody.

A program of ``receive`` runs once for each delivery and each retraction.

* Standard input is the tip, as JSON (``onward.v1.Tip``, with the words of the
  vocabulary); empty for a retraction.
* The environment holds what the exchange knows as well: ``ONWARD_EVENT`` (``referral``
  or ``retraction``), ``ONWARD_REFERRAL_ID`` and more. Content is never there, nor among
  the arguments.
* Exit code 0 says that it is stored safely. Only then is ``Received`` logged. After
  another one nothing is: the lease lapses, and the delivery comes again. A retraction
  comes again on the next connection, for as long as it waits for a reply.
* Standard output is empty, or one JSON object: what the agency has to say about the
  referral, logged right after ``Received``.

Delivery is at least once: a program may be given the same referral again, for example
when the machine lost power after it was stored and before ``Received`` was logged.

A program of ``alerts`` runs once for each warning and breach, in the log's order.
Standard input is the statement, as JSON; what it prints is not read. Exit code 0 says
that it is dealt with. After another one it runs again, after growing pauses, and so it
does when ``alerts`` is started again. One that does not end in time is ended, with all
that it started, and has not dealt with it: what comes next must not wait for it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, Self, TypeVar

from onward.cli._messages import word_of
from onward.client import Alert, Incoming, Retracted
from onward.core.errors import MalformedError
from onward.v1 import statement_pb2, vocabulary_pb2

_Of = TypeVar("_Of")

_GRACE: Final = 5.0
"""Seconds that a program is given to end when it is told to."""

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}(-[0-9a-f]+){3,}")


class NotStoredError(Exception):
    """The program did not say that it stored a delivery."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program that a member connects.

    Attributes:
        argv: its path and arguments.
        timeout: seconds after which it is ended; None for never.
    """

    argv: tuple[str, ...]
    timeout: float | None = None

    @classmethod
    def find(cls, argv: list[str], timeout: float | None = None) -> Self:
        """Returns a program that can be started.

        Raises:
            MalformedError: there is none of that name.
        """
        path = shutil.which(argv[0]) if argv else None
        if path is None:
            raise MalformedError("--exec names no program that can be run")
        return cls((path, *argv[1:]), timeout)

    async def run(self, content: bytes, facts: Mapping[str, str]) -> bytes:
        """Runs the program, and returns its standard output.

        Raises:
            NotStoredError: it ended with another code than 0, or not in time.
        """
        ours = FACTS.keys() | ALERT_FACTS.keys()
        own = {name: text for name, text in os.environ.items() if name not in ours}
        process = await asyncio.create_subprocess_exec(
            *self.argv,
            stdin=PIPE,
            stdout=PIPE,
            env={**own, **facts},
            process_group=0,  # so that it is ended with all that it started
        )
        try:
            async with asyncio.timeout(self.timeout):
                output, _ = await process.communicate(content)
        except TimeoutError:
            why = f"the program did not end within {self.timeout:g} seconds"
            raise NotStoredError(why) from None
        finally:
            await _end(process)
        if process.returncode != 0:
            raise NotStoredError(f"the program ended with {process.returncode}")
        return output


def facts_of(item: Incoming | Retracted) -> dict[str, str]:
    """Returns what a program of ``receive`` finds in its environment."""
    return _stated(FACTS, item)


def facts_of_alert(alert: Alert) -> dict[str, str]:
    """Returns what a program of ``alerts`` finds in its environment."""
    return _stated(ALERT_FACTS, alert)


def _stated(facts: Mapping[str, Fact[_Of]], item: _Of) -> dict[str, str]:
    values = ((name, fact.of(item)) for name, fact in facts.items())
    return {name: value for name, value in values if value}


def _attempt(item: Incoming | Retracted) -> str:
    return str(item.attempt) if isinstance(item, Incoming) else ""


def _reason(item: Incoming | Retracted) -> str:
    if isinstance(item, Incoming):
        return ""
    reason = item.retraction.message.retraction.reason
    return word_of(vocabulary_pb2.RetractionReason, reason)


def _traceparent(item: Incoming | Retracted) -> str:
    value = item.traceparent if isinstance(item, Incoming) else ""
    return value if _TRACEPARENT.fullmatch(value) else ""


def _body(item: Incoming | Retracted) -> statement_pb2.Referral:
    return item.referral.message.referral


@dataclass(frozen=True, slots=True)
class Fact(Generic[_Of]):
    """A variable in a program's environment.

    Attributes:
        meaning: what it says, for the reference page.
        of: returns its value for an item; empty where it has none.
    """

    meaning: str
    of: Callable[[_Of], str]


FACTS: Final[Mapping[str, Fact[Incoming | Retracted]]] = MappingProxyType(
    {
        "ONWARD_EVENT": Fact(
            "`referral`, or `retraction`",
            lambda item: "referral" if isinstance(item, Incoming) else "retraction",
        ),
        "ONWARD_REFERRAL_ID": Fact("the referral's id", lambda item: item.referral_id),
        "ONWARD_PUBLISHER": Fact(
            "SPIFFE ID of who published it", lambda item: item.referral.issuer
        ),
        "ONWARD_URGENCY": Fact(
            "a word such as `MINOR`",
            lambda item: word_of(vocabulary_pb2.Urgency, _body(item).urgency),
        ),
        "ONWARD_JURISDICTION": Fact(
            "ISO 3166-2 code", lambda item: _body(item).jurisdiction.code
        ),
        "ONWARD_BASIS": Fact(
            "why it may be passed on, a word such as `THIRD_PARTY_TIP`",
            lambda item: word_of(vocabulary_pb2.DisclosureBasis, _body(item).basis),
        ),
        "ONWARD_TEST": Fact(
            "`1` for a test, else `0`", lambda item: str(int(_body(item).test))
        ),
        "ONWARD_ATTEMPT": Fact(
            "of a referral: `1` for the first delivery of it", _attempt
        ),
        "ONWARD_REASON": Fact("of a retraction: why, a word", _reason),
        "TRACEPARENT": Fact(
            "W3C Trace Context of the publishing call, if it had one; untrusted",
            _traceparent,
        ),
    }
)
"""What the environment of a program of ``receive`` holds. Never content."""

ALERT_FACTS: Final[Mapping[str, Fact[Alert]]] = MappingProxyType(
    {
        "ONWARD_EVENT": Fact("`warning`, or `breach`", lambda alert: alert.kind),
        "ONWARD_DEADLINE": Fact(
            "what is due, a word such as `ACKNOWLEDGE`",
            lambda alert: word_of(vocabulary_pb2.DeadlineKind, alert.due.kind),
        ),
        "ONWARD_DUE_TIME": Fact(
            "when, RFC 3339", lambda alert: alert.due.due_time.ToJsonString()
        ),
        "ONWARD_HOLDER": Fact(
            "SPIFFE ID of who holds the tip", lambda alert: alert.due.holder
        ),
        "ONWARD_HOLDER_ROLE": Fact(
            "its part, a word such as `RECIPIENT`",
            lambda alert: word_of(vocabulary_pb2.HolderRole, alert.due.holder_role),
        ),
        "ONWARD_REFERRAL_ID": Fact(
            "the referral's id, if it is about one",
            lambda alert: alert.statement.message.referral_id,
        ),
        "ONWARD_RECIPIENT": Fact(
            "SPIFFE ID of the delivery's recipient", lambda alert: alert.due.recipient
        ),
        "ONWARD_HOTLINE": Fact(
            "SPIFFE ID of the hotline, if it is about an intake",
            lambda alert: alert.due.hotline,
        ),
        "ONWARD_INTAKE_NUMBER": Fact(
            "the intake's number", lambda alert: str(alert.due.intake_number or "")
        ),
        "ONWARD_LOG_INDEX": Fact(
            "the statement's place in the log",
            lambda alert: str(alert.statement.log_index),
        ),
    }
)
"""What the environment of a program of ``alerts`` holds."""


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends a process that still runs, and all that it started.

    Its time is over, or we were told to end ourselves.
    """
    if process.returncode is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_GRACE):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
