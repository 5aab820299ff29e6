"""The command line as a whole: what it loads, what it says, what it ends with."""

from __future__ import annotations

import errno
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer
from google.protobuf.descriptor import EnumDescriptor
from typer.testing import CliRunner

from onward.cli import _errors, main, words
from onward.cli._messages import words_of
from onward.cli._output import printable
from onward.core.errors import (
    ForbiddenError,
    ForkError,
    MalformedError,
    OnwardError,
    QuotaError,
    Reason,
    StateError,
    TooLargeError,
    UnavailableError,
    VerificationError,
)
from onward.core.keys import ALGORITHMS
from onward.v1 import vocabulary_pb2
from tests.support.chain_builder import HOTLINE, OHIO, established

HEAVY = {"grpc", "google.protobuf", "cryptography", "rich", "asyncio", "opentelemetry"}


def loaded_by(*arguments: str | Path, cwd: Path) -> set[str]:
    """Runs a command in a fresh interpreter; returns the modules that it loaded."""
    script = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('MODULES', *sys.modules, file=sys.stderr))\n"
        "from onward.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        check=False,
        cwd=cwd,
        text=True,
        env={"HOME": str(cwd), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("MODULES ")[2].split())


def test_help_waits_for_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded_by("--help", cwd=tmp_path) & HEAVY
    assert not loaded_by("publish", "--help", cwd=tmp_path) & HEAVY


def test_verify_needs_no_network_and_no_home(tmp_path: Path) -> None:
    exchange = established()
    referral = exchange.publish(HOTLINE, OHIO)
    (tmp_path / "bundle.json").write_bytes(exchange.bundle(referral))
    (tmp_path / "trust.txt").write_text(exchange.trust())
    before = set(tmp_path.iterdir())
    loaded = loaded_by("verify", "bundle.json", "--trust", "trust.txt", cwd=tmp_path)
    assert "onward.core.verify" in loaded
    assert not loaded & {"grpc", "onward.client", "onward.home"}
    assert set(tmp_path.iterdir()) == before


def test_conformance_needs_no_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "onward", "conformance"],
        input=b'{"op":"tile_paths","size":1}\n\xff\xfe\n{"op":"no such"}\n',
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers == [
        {"ok": True, "paths": ["tile/0/000.p/1", "tile/entries/000.p/1"]},
        {"ok": False, "error": "REQUEST"},
        {"ok": False, "error": "REQUEST"},
    ]


@pytest.mark.parametrize(
    ("alias", "enum"),
    [
        (words.Urgency, vocabulary_pb2.Urgency.DESCRIPTOR),
        (words.DisclosureBasis, vocabulary_pb2.DisclosureBasis.DESCRIPTOR),
        (words.AgeGroup, vocabulary_pb2.AgeGroup.DESCRIPTOR),
        (words.ConsentState, vocabulary_pb2.ConsentState.DESCRIPTOR),
        (words.DeclineReason, vocabulary_pb2.DeclineReason.DESCRIPTOR),
        (words.OutcomeCode, vocabulary_pb2.OutcomeCode.DESCRIPTOR),
        (words.RetractionReason, vocabulary_pb2.RetractionReason.DESCRIPTOR),
        (words.RetractionAction, vocabulary_pb2.RetractionAction.DESCRIPTOR),
        (words.SealingSuite, vocabulary_pb2.SealingSuite.DESCRIPTOR),
    ],
)
def test_options_take_the_words_of_the_contract(
    alias: object, enum: EnumDescriptor
) -> None:
    assert list(get_args(alias)) == words_of(enum)


def test_options_take_the_algorithms_of_the_core() -> None:
    assert get_args(words.StatementAlgorithm) == ALGORITHMS


def test_every_command_says_what_it_and_its_parameters_do() -> None:
    group = typer.main.get_command(main.app)
    commands = {**group.commands, **group.commands["keys"].commands}  # type: ignore[attr-defined]
    assert len(commands) > 20
    for name, command in commands.items():
        assert command.help, name
        silent = [item.name for item in command.params if not getattr(item, "help", "")]
        assert not silent, name


@pytest.mark.parametrize("arguments", [["nonsense"], ["take"], ["verify", "absent"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main.app, arguments).exit_code == 2


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Has ``onward version`` fail."""

    def fail(_: str) -> str:
        raise error

    monkeypatch.setattr("importlib.metadata.version", fail)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (MalformedError("it is bent"), 2, "onward: it is bent [MALFORMED]\n"),
        (TooLargeError("it", 3, 2), 2, "onward: it has 3 bytes; at most 2 are allowed"),
        (
            StateError(Reason.ERROR_REASON_STATE_FORBIDS, "not now"),
            1,
            "onward: not now [STATE_FORBIDS]\n",
        ),
        (ForbiddenError(Reason.ERROR_REASON_ROLE_REQUIRED, "not you"), 1, "not you"),
        (VerificationError(Reason.ERROR_REASON_PROOF_INVALID, "no proof"), 1, ""),
        (ForkError("forked", "a", "b"), 1, "[LOG_FORKED]"),
        (QuotaError(Reason.ERROR_REASON_QUOTA_EXCEEDED, "too fast"), 3, "too fast"),
        (
            UnavailableError(Reason.ERROR_REASON_UNSPECIFIED, "gone"),
            3,
            "onward: gone\n",
        ),
        (OnwardError(Reason.ERROR_REASON_INTERNAL, "broken"), 1, "[INTERNAL]"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "tip.json"),
            2,
            "onward: tip.json: No such file or directory\n",
        ),
        (ExceptionGroup("several", [MalformedError("bent")]), 2, "onward: bent"),
        (ZeroDivisionError("secret"), 70, "ZeroDivisionError, which is a defect"),
    ],
)
def test_a_failure_is_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, text: str
) -> None:
    failing(monkeypatch, error)
    result = CliRunner().invoke(main.app, ["version"])
    assert result.exit_code == code
    assert text in result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, MalformedError("bent"))
    result = CliRunner().invoke(main.app, ["--debug", "version"])
    assert isinstance(result.exception, MalformedError)


def test_every_class_of_error_has_a_code() -> None:
    def below(cls: type[OnwardError]) -> set[type[OnwardError]]:
        return {cls}.union(*(below(child) for child in cls.__subclasses__()))

    codes = {
        _errors.exit_of(cls.__new__(cls))
        for cls in below(OnwardError)
        if cls.__module__.startswith("onward.")
    }
    assert codes == {1, 2, 3}


def test_what_others_wrote_cannot_steer_a_terminal() -> None:
    shown = printable("a\x1b[2Jb\u202ec\nd")
    assert shown == "a\ufffd[2Jb\ufffdc\ufffdd"


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    many = "\n".join('{"op":"tile_paths","size":70000}' for _ in range(200))
    (tmp_path / "in").write_text(many)
    script = f"{sys.executable} -m onward conformance < in | head -c 100 >/dev/null"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_progress_bar_never_takes_what_goes_to_a_file(tmp_path: Path) -> None:
    exchange = established()
    (tmp_path / "bundle.json").write_bytes(
        exchange.bundle(exchange.publish(HOTLINE, OHIO))
    )
    (tmp_path / "trust.txt").write_text(exchange.trust())
    ours, theirs = pty.openpty()
    words = ["verify", *["bundle.json"] * 4, "--trust", "trust.txt", "--json"]
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "onward", *words],
            check=True,
            cwd=tmp_path,
            stdout=out,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm"},
        )
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0
    assert "verifying" in shown
    assert "PROVEN" not in shown
    lines = (tmp_path / "out").read_text().splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == ["PROVEN"] * 4


def test_completion_knows_the_words(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "onward"],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ
        | {
            "_ONWARD_COMPLETE": "complete_bash",
            "COMP_WORDS": "onward publish --urgency I",
            "COMP_CWORD": "3",
        },
    )
    assert done.stdout.split() == ["IMMINENT_DANGER", "INFORMATIONAL"]
