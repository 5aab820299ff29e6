"""``receive --exec``: what the program is given, and what its answers mean."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from onward.cli._answer import Answer, read_answer
from onward.cli._program import NotStoredError, Program
from onward.core.errors import MalformedError


def program(script: str) -> Program:
    return Program.find([sys.executable, "-c", script])


async def test_content_goes_to_standard_input_and_nowhere_else() -> None:
    script = (
        "import sys, os, json\n"
        "content = sys.stdin.read()\n"
        "seen = ' '.join([*sys.argv, *os.environ.values()])\n"
        "print(json.dumps([content, content in seen, os.environ['ONWARD_ID']]))\n"
    )
    output = await program(script).run(b"told in confidence", {"ONWARD_ID": "7"})
    assert json.loads(output) == ["told in confidence", False, "7"]


async def test_facts_of_somebody_else_are_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACEPARENT", "stale")
    script = "import os; print(os.environ.get('TRACEPARENT'))"
    assert await program(script).run(b"", {}) == b"None\n"
    assert await program(script).run(b"", {"TRACEPARENT": "new"}) == b"new\n"


async def test_another_exit_code_means_not_stored() -> None:
    with pytest.raises(NotStoredError, match="7"):
        await program("raise SystemExit(7)").run(b"", {})


async def test_a_program_may_leave_its_input_unread() -> None:
    assert await program("print('{}')").run(b"x" * 1_000_000, {}) == b"{}\n"


async def test_a_program_ends_when_receiving_ends(tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    os.mkfifo(started)
    script = (
        "import pathlib, signal, sys, time\n"
        f"end = lambda *_: sys.exit(pathlib.Path({str(ended)!r}).write_text('x'))\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"pathlib.Path({str(started)!r}).write_text('x')\n"
        "time.sleep(60)\n"
    )
    task = asyncio.create_task(program(script).run(b"", {}))
    await asyncio.to_thread(started.read_text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.exists()


async def test_a_program_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path,
) -> None:
    lives = tmp_path / "lives"
    os.mkfifo(lives)
    script = (
        "import pathlib, subprocess, sys\n"
        f"holds = open({str(lives)!r}, 'w')\n"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'],\n"
        "  pass_fds=[holds.fileno()])\n"
    )
    hangs = Program.find([sys.executable, "-c", script], timeout=0.5)
    told = asyncio.create_task(asyncio.to_thread(lives.read_text))
    with pytest.raises(NotStoredError, match=r"did not end within 0\.5 seconds"):
        await hangs.run(b"", {})
    assert await told == ""  # which ends when nobody holds the other end any more


@pytest.mark.parametrize("argv", [[], ["no-such-program-here"]])
def test_a_program_must_exist(argv: list[str]) -> None:
    with pytest.raises(MalformedError, match="--exec"):
        Program.find(argv)


@pytest.mark.parametrize("output", [b"", b" \n"])
def test_silence_is_an_answer(output: bytes) -> None:
    assert read_answer(output) == Answer()


def test_an_answer_with_all_parts() -> None:
    said = {
        "acknowledge": {"reader_role": "watch officer"},
        "take": True,
        "decline": {"reason": "NO_CAPACITY"},
        "transfer": {"recipients": ["spiffe://a.example/agency/b"]},
        "outcome": {"code": "ASSIGNED", "closes": True},
        "reply": {"action": "DESTROYED"},
    }
    answer = read_answer(json.dumps(said).encode())
    assert answer.acknowledge
    assert answer.acknowledge.reader_role == "watch officer"
    assert answer.take
    assert answer.decline
    assert (answer.decline.reason, answer.decline.suggested_agency) == (
        "NO_CAPACITY",
        "",
    )
    assert answer.transfer
    assert answer.transfer.referral == {}
    assert answer.outcome
    assert answer.outcome.closes
    assert answer.reply


@pytest.mark.parametrize(
    ("output", "place"),
    [
        (b"stored!", "JSON"),
        (b"[]", "form"),
        (b'{"acknowledge": {"reader": "secret"}}', "$.acknowledge"),
        (b'{"decline": {"reason": "secret"}}', "$.decline.reason"),
        (b'{"secret": 1}', "form"),
        (b'{"take": "secret"}', "$.take"),
    ],
)
def test_what_is_no_answer(output: bytes, place: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read_answer(output)
    assert place in caught.value.message
    assert "secret" not in caught.value.message
