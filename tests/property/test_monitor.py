"""Whatever an honest log and its monitor go through, the monitor stays content.

And whatever a log changes of what it has signed, the monitor notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onward.core.tiles import tile_paths
from onward.monitor import Condition, Mirror, Monitor, Round
from tests.support.served_log import ServedLog, digests

GROWTH = st.one_of(st.integers(1, 5), st.integers(200, 600), st.just(256))


class KilledError(BaseException):
    """The monitor's process was killed here."""


def killed_after(answers: int) -> Callable[[], None]:
    """Kills a monitor when some more answers have come."""
    came = count()

    def after() -> None:
        if next(came) == answers:
            raise KilledError

    return after


def monitored(log: ServedLog, folder: Path) -> Round:
    """Does one round, as a monitor that has just been started."""
    with Mirror(folder) as mirror:
        return asyncio.run(Monitor(log, log.policy, mirror).round())


def is_complete(log: ServedLog, folder: Path) -> bool:
    """Whether a mirror has every file of the log, to the byte."""
    return all(
        (folder / path).read_bytes() == log.file(path)
        for path in ("checkpoint", *tile_paths(len(log.entries)))
    )


STEP = st.one_of(
    st.tuples(st.just("grow"), GROWTH),
    st.tuples(st.just("kill"), st.integers(0, 12)),
    st.tuples(st.just("down"), st.just(0)),
    st.tuples(st.just("look"), st.just(0)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=12))
def test_a_monitor_of_an_honest_log_stays_content(
    steps: Sequence[tuple[str, int]],
) -> None:
    log = ServedLog()
    with TemporaryDirectory() as name:
        folder = Path(name) / "mirror"
        for step, number in steps:
            match step:
                case "grow":
                    log.grow(number)
                case "kill":
                    log.after = killed_after(number)
                    with suppress(KilledError):
                        monitored(log, folder)
                    log.after = lambda: None
                case "down":
                    log.down = True
                    found = monitored(log, folder).finding
                    assert found
                    assert found.condition is Condition.UNREACHABLE
                    log.down = False
                case _:
                    assert monitored(log, folder).finding is None
                    assert is_complete(log, folder)
        done = monitored(log, folder)
        assert done.finding is None
        assert done.checkpoint
        assert done.checkpoint.size == len(log.entries)
        assert is_complete(log, folder)


@settings(max_examples=25, deadline=None)
@given(
    seen=st.integers(1, 700),
    then=st.integers(0, 900),
    shared=st.integers(0, 699),
    killed=st.one_of(st.none(), st.integers(1, 4)),
)
def test_a_log_that_forks_is_noticed_whatever_its_sizes(
    seen: int, then: int, shared: int, killed: int | None
) -> None:
    assume(shared < min(seen, then))
    log = ServedLog(digests(seen))
    with TemporaryDirectory() as name:
        folder = Path(name)
        if killed is not None:
            log.after = killed_after(killed)
        try:
            assert monitored(log, folder).finding is None
        except KilledError:
            # It has shown only the checkpoint, and that only if it had the time. A
            # smaller one then says nothing more than that the log has shrunk.
            assume(then >= seen)
        log.after = lambda: None
        log.entries = digests(shared) + digests(then - shared, "another")
        found = monitored(log, folder).finding
        assert found
        assert found.condition is Condition.FORK
        assert found.evidence
        assert (found.evidence / "second").read_text() == log.note()


@settings(max_examples=40, deadline=None)
@given(data=st.data(), since=st.sampled_from([0, 1, 256, 300]))
def test_one_wrong_bit_anywhere_is_noticed(data: st.DataObject, since: int) -> None:
    log = ServedLog(digests(since))
    with TemporaryDirectory() as name:
        folder = Path(name)
        monitored(log, folder)
        log.grow(data.draw(st.integers(1, 500)))
        log.fetched.clear()
        monitored(log, folder / "other")
        paths = sorted({*log.fetched} - {"checkpoint"})
        log.fetched.clear()
        path = data.draw(st.sampled_from(paths))
        bit = data.draw(st.integers(0, 8 * len(log.file(path) or b"") - 1))
        log.tamper[path] = lambda honest: flipped(honest, bit)
        done = monitored(log, folder)
        if path not in log.fetched:
            assert done.finding is None
            return
        assert done.finding
        assert done.finding.condition is Condition.BAD_TILE
        log.tamper.clear()
        assert monitored(log, folder).finding is None
        assert is_complete(log, folder)


def flipped(data: bytes, bit: int) -> bytes:
    """Returns bytes with one other bit."""
    wrong = bytearray(data)
    wrong[bit // 8] ^= 1 << bit % 8
    return bytes(wrong)
