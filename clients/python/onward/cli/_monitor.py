"""Following a log: round after round, and telling what changes.

A program of ``monitor`` runs once for each condition, also over restarts. Standard
input is what was found, as JSON; what it prints is not read. After another exit code
than 0 it runs again in each round. Its environment:
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from onward._clock import system_clock
from onward.cli._connection import running
from onward.cli._output import print_json, print_line, progress, say
from onward.cli._program import NotStoredError, Program
from onward.cli.exits import Exit
from onward.core.encoding import encode_base64
from onward.core.errors import MalformedError
from onward.core.notes import Cosigner
from onward.core.tlog_policy import Policy
from onward.monitor import (
    Condition,
    Finding,
    HttpSource,
    Mirror,
    Monitor,
    Round,
    Watch,
    load_cosigner,
    make_cosigner,
)

FACTS: Final[Mapping[str, str]] = {
    "ONWARD_CONDITION": "what is wrong, a word such as `FORK`",
    "ONWARD_WHY": "the same in a sentence",
    "ONWARD_URL": "the log's URL",
    "ONWARD_LOG": "the log's origin; empty before it was ever checked",
    "ONWARD_SIZE": "the size up to which every entry was checked",
    "ONWARD_EVIDENCE": "the folder with what proves it; empty where nothing would",
}
"""What the environment of a program of ``monitor`` holds."""

_MIRRORS: Final = Path("~/.local/state/onward/monitor")
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9.-]+")
_TOLD: Final = "told"


@dataclass(frozen=True, slots=True)
class Wish:
    """How a log is to be followed.

    Attributes:
        url: the log's URL.
        trust: the trust file.
        mirror: where the copy is kept; None for the usual place.
        interval: seconds from one round to the next.
        stale_after: seconds after which a checkpoint is stale; 0 for never.
        once: end after one round.
        program: runs for each condition, if any.
        timeout: seconds after which that is ended.
        as_json: print JSON.
        cosigner: cosigns, if any.
    """

    url: str
    trust: Path
    mirror: Path | None
    interval: float
    stale_after: float
    once: bool
    program: str | None
    timeout: float
    as_json: bool
    cosigner: Cosigner | None = None

    def with_key(self, key: Path | None, name: str | None) -> Self:
        """Returns the wish with a key to cosign with, which is made if it has a name.

        Raises:
            MalformedError: there is no such key, or it exists and was to be made.
        """
        if key is None:
            if name is not None:
                raise MalformedError("--cosign-name makes the key of --cosign-key")
            return self
        if name is None:
            return replace(self, cosigner=load_cosigner(key))
        cosigner = make_cosigner(key, name)
        say(f"onward: {key} cosigns as {cosigner.vkey.format()}")
        return replace(self, cosigner=cosigner)

    @property
    def folder(self) -> Path:
        """Where the copy is kept."""
        name = _NOT_IN_NAME.sub("_", self.url.partition("://")[2].strip("/"))
        return self.mirror or _MIRRORS.expanduser() / name


def follow(wish: Wish) -> Exit:
    """Follows a log until the wish is fulfilled; returns what to end with."""
    argv = shlex.split(wish.program) if wish.program else None
    program = Program.find(argv, wish.timeout) if argv else None
    policy = Policy.parse(wish.trust.read_text(encoding="utf-8"))

    async def work() -> Exit:
        watch = Watch(wish.stale_after, wish.cosigner, begin=_bar)
        async with HttpSource(wish.url) as source:
            with Mirror(wish.folder) as mirror:
                monitor = Monitor(source, policy, mirror, watch)
                teller = _Teller(wish, mirror, program)
                while True:
                    done = await monitor.round()
                    await teller.tell(done)
                    if wish.once or _is_over(done.finding):
                        return exit_of(done.finding)
                    await asyncio.sleep(wish.interval)

    return running(work())


def exit_of(finding: Finding | None) -> Exit:
    """Returns what to end with after a round."""
    if finding is None:
        return Exit.OK
    wrong = finding.condition.is_misbehaviour
    return Exit.REFUSED if wrong else Exit.UNAVAILABLE


class _Teller:
    """Tells what changes from round to round.

    Args:
        wish: how.
        mirror: keeps what the program has been told, over restarts.
        program: is told of each condition, once.
    """

    def __init__(self, wish: Wish, mirror: Mirror, program: Program | None) -> None:
        self._wish = wish
        self._mirror = mirror
        self._program = program
        self._shown: tuple[object, ...] = ()

    async def tell(self, done: Round) -> None:
        """Tells one round."""
        record = self._record(done)
        shown = done.checkpoint, done.finding
        if shown != self._shown:
            self._shown = shown
            if self._wish.as_json:
                print_json(record)
            else:
                self._print(done)
        await self._alarm(done.finding, record)

    async def _alarm(self, finding: Finding | None, record: dict[str, object]) -> None:
        """Runs the program for a condition of which it was not told yet."""
        condition = finding.condition.value if finding else ""
        state = await asyncio.to_thread(self._mirror.state)
        if state.get(_TOLD, "") == condition:
            return
        if finding and self._program:
            content = json.dumps(record, ensure_ascii=False).encode() + b"\n"
            try:
                await self._program.run(content, self._facts(finding, record))
            except NotStoredError as error:
                say(
                    f"onward: {condition} is not dealt with, and is told again: {error}"
                )
                return
        await asyncio.to_thread(lambda: self._mirror.put_state(**{_TOLD: condition}))

    def _record(self, done: Round) -> dict[str, object]:
        """Returns a round for machines."""
        head, finding = done.checkpoint, done.finding
        evidence = finding.evidence if finding else None
        return {
            "time": system_clock().isoformat(timespec="seconds"),
            "url": self._wish.url,
            "log": head.origin if head else "",
            "size": head.size if head else 0,
            "root": encode_base64(head.root) if head else "",
            "added": done.added,
            "condition": finding.condition.value if finding else None,
            "why": finding.why if finding else None,
            "evidence": str(evidence) if evidence else None,
            "cosignature": done.cosignature or None,
        }

    def _facts(self, finding: Finding, record: dict[str, object]) -> dict[str, str]:
        """Returns what the program finds in its environment."""
        return {
            "ONWARD_CONDITION": finding.condition.value,
            "ONWARD_WHY": finding.why,
            "ONWARD_URL": self._wish.url,
            "ONWARD_LOG": str(record["log"]),
            "ONWARD_SIZE": str(record["size"]),
            "ONWARD_EVIDENCE": str(finding.evidence or ""),
        }

    def _print(self, done: Round) -> None:
        """Prints a round for people."""
        head, finding = done.checkpoint, done.finding
        if finding is not None:
            where = f"; evidence: {finding.evidence}" if finding.evidence else ""
            print_line(f"{finding.condition.value}: {finding.why}{where}")
        elif head is not None:
            print_line(
                f"content: {head.origin} has {head.size:,} entries, {done.added:,} of "
                "them new, and every one was checked"
            )
        if done.cosignature:
            print_line(done.cosignature.rstrip("\n"))


def _bar(files: int) -> AbstractContextManager[Callable[[int], None]]:
    return progress("copying", files)


def _is_over(finding: Finding | None) -> bool:
    """Whether nothing can follow: of two histories none is the one to follow."""
    return finding is not None and finding.condition is Condition.FORK
