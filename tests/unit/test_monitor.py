"""What a monitor finds, keeps and cosigns, round by round."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from onward.core.checkpoints import Checkpoint
from onward.core.errors import MalformedError, UnavailableError
from onward.core.mirroring import continues, prove_tiles
from onward.core.notes import Cosigner, open_note
from onward.core.tiles import TilePath, tile_paths
from onward.monitor import (
    Condition,
    Mirror,
    Monitor,
    Round,
    Watch,
    load_cosigner,
    make_cosigner,
)
from tests.support.served_log import ServedLog, digests
from tests.support.witnessing import key

COSIGNER = Cosigner("auditor.example/monitor", key("monitor"))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 12, 1, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> ServedLog:
    return ServedLog(digests(300))


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    with Mirror(tmp_path / "mirror") as opened:
        yield opened


@pytest.fixture
def monitor(log: ServedLog, mirror: Mirror, clock: Clock) -> Monitor:
    return Monitor(log, log.policy, mirror, Watch(cosigner=COSIGNER, clock=clock))


def condition(done: Round) -> Condition | None:
    return done.finding.condition if done.finding else None


async def test_a_log_that_grows_is_mirrored_and_cosigned(
    monitor: Monitor, log: ServedLog, mirror: Mirror, clock: Clock
) -> None:
    for added in (0, 1, 211, 0, 300):
        clock.advance(60)
        log.grow(added)
        done = await monitor.round()
        assert done.finding is None
        assert done.checkpoint
        assert done.checkpoint.size == len(log.entries)
        assert done.added in {added, 300}
        for path in ("checkpoint", *tile_paths(len(log.entries))):
            assert (mirror.path / path).read_bytes() == log.file(path)
        note = (mirror.path / "cosigned").read_text()
        assert note == log.note() + done.cosignature
        (cosigned,) = open_note(note, [COSIGNER.vkey]).signatures
        assert cosigned.time == int(clock.now.timestamp())
    assert not (mirror.path / "tile/0/001.p").exists(), "the full tile is there"
    assert not mirror.pending


async def test_only_what_is_new_is_fetched(monitor: Monitor, log: ServedLog) -> None:
    await monitor.round()
    log.grow(10)
    log.fetched.clear()
    await monitor.round()
    assert sorted(log.fetched) == [
        "checkpoint",
        "tile/0/001.p/54",
        "tile/1/000.p/1",
        "tile/entries/001.p/54",
    ]
    log.fetched.clear()
    await monitor.round()
    assert log.fetched == ["checkpoint"]


async def test_a_log_may_have_forgotten_partial_tiles(
    monitor: Monitor, log: ServedLog, mirror: Mirror
) -> None:
    note = log.note().encode()
    partial = [path for path in tile_paths(300) if ".p/" in path and "/1/" not in path]
    log.grow(300)
    log.tamper = dict.fromkeys(partial, lambda _: None)
    log.tamper["checkpoint"] = lambda _: note
    assert condition(await monitor.round()) is None
    assert (mirror.path / "checkpoint").read_bytes() == note


async def test_of_one_size_there_is_one_root(
    monitor: Monitor, log: ServedLog, mirror: Mirror
) -> None:
    await monitor.round()
    first = log.note()
    log.entries = digests(299) + digests(1, "another")
    done = await monitor.round()
    assert done.finding
    assert done.finding.condition is Condition.FORK
    folder = done.finding.evidence
    assert folder
    assert (folder / "first").read_text() == first
    assert (folder / "second").read_text() == log.note()
    assert not done.cosignature
    assert (mirror.path / "checkpoint").read_text() == first


async def test_the_evidence_convicts_without_us(
    monitor: Monitor, log: ServedLog
) -> None:
    await monitor.round()
    log.entries = digests(200) + digests(800, "another")
    done = await monitor.round()
    assert done.finding
    folder = done.finding.evidence
    assert folder
    first, second = (
        Checkpoint.parse(open_note((folder / name).read_text(), [log.signer.vkey]).text)
        for name in ("first", "second")
    )
    files = (file for file in (folder / "tile").rglob("*") if file.is_file())
    tiles = {
        TilePath.parse(str(file.relative_to(folder))).tile: file.read_bytes()
        for file in files
    }
    proven = prove_tiles(second, tiles)
    assert continues(proven, second)
    assert not continues(proven, first)


async def test_after_a_fork_a_person_must_look(
    monitor: Monitor, log: ServedLog, mirror: Mirror
) -> None:
    await monitor.round()
    honest = log.entries
    log.entries = digests(301, "another")
    await monitor.round()
    log.entries = honest
    log.fetched.clear()
    done = await monitor.round()
    assert condition(done) is Condition.FORK
    assert not log.fetched
    assert done.finding
    assert done.finding.evidence
    done.finding.evidence.rename(mirror.path.parent / "kept")
    assert condition(await monitor.round()) is None


async def test_a_log_must_not_shrink(monitor: Monitor, log: ServedLog) -> None:
    await monitor.round()
    whole = log.entries
    for size in (299, 256, 1, 0):
        log.entries = whole[:size]
        done = await monitor.round()
        assert condition(done) is Condition.SHRUNK, size
        assert done.checkpoint
        assert done.checkpoint.size == 300
        assert not done.cosignature
    log.entries = whole
    assert condition(await monitor.round()) is None


async def test_a_smaller_log_with_another_history_is_a_fork(
    monitor: Monitor, log: ServedLog
) -> None:
    await monitor.round()
    first = log.note()
    log.entries = digests(100) + digests(50, "another")
    done = await monitor.round()
    assert done.finding
    assert done.finding.condition is Condition.FORK
    assert done.finding.evidence
    assert (done.finding.evidence / "first").read_text() == first


@pytest.mark.parametrize("missing", ["tile/0/001.p/94", "tile/entries/001.p/94"])
async def test_a_checkpoint_counts_as_soon_as_it_is_seen(
    monitor: Monitor, log: ServedLog, missing: str
) -> None:
    await monitor.round()
    log.grow(50)
    log.tamper[missing] = lambda _: None
    assert condition(await monitor.round()) is Condition.BAD_TILE
    log.entries = log.entries[:340]
    assert condition(await monitor.round()) is Condition.SHRUNK
    log.entries += digests(10, "another")
    assert condition(await monitor.round()) is Condition.FORK


async def test_what_was_wrong_once_may_be_a_cache(
    monitor: Monitor, log: ServedLog
) -> None:
    await monitor.round()
    old = log.note().encode()
    log.grow(5)
    answers = [old]
    log.tamper["checkpoint"] = lambda now: answers.pop() if answers else now
    await monitor.round()
    answers = [b"not a checkpoint"]
    assert condition(await monitor.round()) is None


@pytest.mark.parametrize(
    "served", [b"", b"<html>", b"\xff", b"log.example/one\n1\nAAAA\n\n"]
)
async def test_what_is_no_checkpoint_is_not_trusted(
    monitor: Monitor, log: ServedLog, served: bytes
) -> None:
    log.tamper["checkpoint"] = lambda _: served
    done = await monitor.round()
    assert condition(done) is Condition.UNTRUSTED
    assert done.checkpoint is None


async def test_another_log_is_not_trusted(
    log: ServedLog, mirror: Mirror, monitor: Monitor
) -> None:
    await monitor.round()
    other = ServedLog(log.entries, "log.example/other")
    assert condition(await Monitor(other, log.policy, mirror).round()) is (
        Condition.UNTRUSTED
    )
    with pytest.raises(MalformedError, match="no mirror"):
        await Monitor(other, other.policy, mirror).round()


async def test_without_witnesses_a_log_is_stale_that_does_not_grow(
    monitor: Monitor, log: ServedLog, clock: Clock
) -> None:
    await monitor.round()
    clock.advance(300)
    assert condition(await monitor.round()) is None
    clock.advance(1)
    done = await monitor.round()
    assert condition(done) is Condition.STALE
    assert not done.cosignature
    log.grow(1)
    assert condition(await monitor.round()) is None


async def test_witnesses_say_how_old_a_checkpoint_is(
    mirror: Mirror, clock: Clock
) -> None:
    log = ServedLog(digests(3), witnesses=["w1", "w2"], time=int(clock.now.timestamp()))
    monitor = Monitor(log, log.policy, mirror, Watch(clock=clock))
    assert condition(await monitor.round()) is None
    clock.advance(301)
    log.grow(1)
    assert condition(await monitor.round()) is Condition.STALE
    log.time = int(clock.now.timestamp())
    assert condition(await monitor.round()) is None
    trusting, log.witnesses = log.policy, ["w1"]
    monitor = Monitor(log, trusting, mirror, Watch(clock=clock))
    assert condition(await monitor.round()) is Condition.STALE
    never = Monitor(log, trusting, mirror, Watch(clock=clock, stale_after=0))
    assert condition(await never.round()) is None


async def test_a_witness_whose_clock_is_ahead_does_not_keep_a_log_fresh_for_ever(
    mirror: Mirror, clock: Clock
) -> None:
    ahead = int(clock.now.timestamp()) + 301
    log = ServedLog(digests(3), witnesses=["w1"], time=ahead)
    monitor = Monitor(log, log.policy, mirror, Watch(clock=clock))
    assert condition(await monitor.round()) is Condition.STALE
    clock.advance(1)
    assert condition(await monitor.round()) is None


async def test_a_log_that_is_down_says_nothing(
    monitor: Monitor, log: ServedLog
) -> None:
    await monitor.round()
    log.down = True
    done = await monitor.round()
    assert condition(done) is Condition.UNREACHABLE
    assert done.checkpoint
    log.down = False
    assert condition(await monitor.round()) is None


async def test_a_mirror_that_was_damaged_is_noticed(
    log: ServedLog, mirror: Mirror, monitor: Monitor
) -> None:
    await monitor.round()
    tile = mirror.path / "tile/0/001.p/44"
    data = bytearray(tile.read_bytes())
    data[5] ^= 1
    tile.write_bytes(data)
    with pytest.raises(UnavailableError, match="damaged"):
        await Monitor(log, log.policy, mirror).round()


def test_a_mirror_is_for_one_monitor(mirror: Mirror) -> None:
    with pytest.raises(UnavailableError, match="another monitor"):
        Mirror(mirror.path)
    mirror.close()
    Mirror(mirror.path).close()


def test_a_key_to_cosign_with_stays_the_same(tmp_path: Path) -> None:
    file = tmp_path / "monitor.key"
    made = make_cosigner(file, "auditor.example/monitor")
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_cosigner(file).vkey == made.vkey
    with pytest.raises(MalformedError, match="exists"):
        make_cosigner(file, "auditor.example/monitor")


@pytest.mark.parametrize(
    ("old", "new"),
    [("PRIVATE", "PUBLIC"), ("auditor", "other"), ("+B", "+A"), ("\n", "AAAA\n")],
)
def test_what_is_no_key_to_cosign_with(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "monitor.key"
    make_cosigner(file, "auditor.example/monitor")
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(MalformedError, match=r"monitor\.key"):
        load_cosigner(file)
