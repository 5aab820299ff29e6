"""The queue of intakes on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from secrets import token_bytes

import pytest

from onward._queue import Queue
from onward.core.errors import MalformedError
from onward.core.intakes import commitment
from onward.home import Home
from onward.v1 import log_pb2, statement_pb2, vocabulary_pb2
from tests.support.chain_builder import START, timestamp


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def queue(home: Home) -> Queue:
    return Queue(home)


def body(**changes: int) -> statement_pb2.Intake:
    values = {"urgency": vocabulary_pb2.URGENCY_ROUTINE, **changes}
    return statement_pb2.Intake(**values, received_time=timestamp(START))  # type: ignore[arg-type]


def add(queue: Queue, content: bytes, **changes: int) -> str:
    return queue.add(body(**changes), content, token_bytes)


def test_what_waits_keeps_its_order_and_its_place(queue: Queue, home: Home) -> None:
    contents = [b"%d" % number for number in range(12)]
    marks = [add(queue, content) for content in contents]
    waiting = Queue(home).waiting()
    assert [item.mark for item in waiting] == marks
    for item, content in zip(waiting, contents, strict=True):
        assert item.body.content_commitment == commitment(item.salt, content)
        assert item.body.received_time == timestamp(START)


def test_each_intake_has_a_salt_of_its_own(queue: Queue) -> None:
    add(queue, b"tip")
    add(queue, b"tip", channel=vocabulary_pb2.CHANNEL_MAIL)
    first, second = queue.waiting()
    assert first.salt != second.salt
    assert first.body.content_commitment != second.body.content_commitment


def test_the_same_tip_waits_once_and_is_known_for_ever(queue: Queue) -> None:
    mark = add(queue, b"tip")
    assert add(queue, b"tip") == mark
    (item,) = queue.waiting()
    logged = log_pb2.LoggedStatement(statement="s", receipt="r")
    queue.end(item, 41, logged)
    assert queue.count() == 0
    assert add(queue, b"tip") == mark
    assert queue.count() == 0
    for of in (mark, 41):
        kept = queue.kept(of)
        assert kept is not None
        assert (kept.number, kept.salt, kept.logged) == (41, item.salt, logged)
    assert queue.kept(42) is None


def test_whoever_has_the_mark_cannot_test_guesses(tmp_path: Path) -> None:
    marks = {
        add(Queue(Home.create(tmp_path / name)), b"tip") for name in ("one", "other")
    }
    assert len(marks) == 2


def test_content_is_not_kept_and_the_rest_is_for_its_owner(
    queue: Queue, home: Home
) -> None:
    add(queue, b"what the caller said")
    files = [path for path in home.path.rglob("*") if path.is_file()]
    assert not any(b"caller" in path.read_bytes() for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_what_was_signed_is_sent_again_as_it_was(queue: Queue, home: Home) -> None:
    add(queue, b"tip")
    (item,) = queue.waiting()
    queue.sign(item, "the statement")
    (again,) = Queue(home).waiting()
    assert again.statement == "the statement"
    assert (again.salt, again.body) == (item.salt, item.body)


def test_what_is_put_aside_does_not_wait_and_is_not_lost(queue: Queue) -> None:
    add(queue, b"first")
    add(queue, b"second")
    first, second = queue.waiting()
    file = queue.refuse(first)
    assert [item.mark for item in queue.waiting()] == [second.mark]
    assert json.loads(file.read_text())["intake"]["urgency"] == "URGENCY_ROUTINE"


def test_a_home_of_an_earlier_version_has_a_queue_too(home: Home) -> None:
    for name in ("queue", "intakes"):
        (home.path / name).rmdir()
    queue = Queue(home)
    assert queue.count() == 0
    assert queue.kept(1) is None
    add(queue, b"tip")
    assert queue.count() == 1


def test_a_file_that_is_none_is_named(queue: Queue, home: Home) -> None:
    add(queue, b"tip")
    (home.path / "queue" / "000000000000-x.json").write_text("{}")
    with pytest.raises(MalformedError, match="000000000000-x"):
        queue.waiting()
