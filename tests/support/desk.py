"""Where members type commands, and programs that they connect."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

from typer.testing import CliRunner, Result

from onward.cli.main import app
from tests.support.process import BIN, ExchangeProcess

Words: TypeAlias = list[str | Path]


class Desk:
    """Where a member types commands."""

    def __init__(self, exchange: ExchangeProcess, name: str) -> None:
        self.home = exchange.folder / name.rpartition("/")[2]

    def types(self, *words: str | Path, data: bytes | None = None) -> Result:
        """Runs a command, whatever comes of it."""
        environment = {"ONWARD_HOME": str(self.home), "COLUMNS": "300"}
        texts = [str(word) for word in words]
        return CliRunner().invoke(app, texts, input=data, env=environment)

    def does(self, *words: str | Path, data: bytes | None = None) -> str:
        """Runs a command that succeeds; returns its standard output."""
        result = self.types(*words, data=data)
        assert result.exit_code == 0, result.output
        return result.stdout

    def asks(self, *words: str | Path) -> list[dict[str, Any]]:
        """Runs a command with ``--json`` that succeeds; returns its lines."""
        return lines(self.does(*words, "--json"))

    def is_refused(self, *words: str | Path, reason: str) -> None:
        """Runs a command that is refused, for this reason and in one line."""
        result = self.types(*words)
        assert result.exit_code == 1
        assert result.stderr.endswith(f"[{reason}]\n")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""

    def starts(self, *words: str | Path) -> subprocess.Popen[str]:
        """Starts a command as a process of its own, as at a terminal.

        Where the tests run in the background, a shell has Ctrl-C ignored in all that
        they start.
        """
        return subprocess.Popen(
            [
                *(sys.executable, "-c", WITH_CTRL_C),
                *(BIN / "onward", *words, "--home", self.home),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


WITH_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Program:
    """A program for ``--exec``, which a test writes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "store.py"
        self.log = folder / "stored.jsonl"

    def that(self, does: str, says: object = None, ends: int = 0) -> str:
        """Writes it, and returns the command: it keeps what it is given."""
        self._file.write_text(
            "import json, os, pathlib, sys, time\n"
            "facts = {k: v for k, v in os.environ.items() if k.startswith('ONWARD_')}\n"
            "given = {'facts': facts, 'tip': sys.stdin.read()}\n"
            f"with open({str(self.log)!r}, 'a') as file:\n"
            "    file.write(json.dumps(given) + '\\n')\n"
            f"{does}\n"
            f"sys.stdout.write({json.dumps(says) if says else ''!r})\n"
            f"sys.exit({ends})\n"
        )
        return shlex.join([sys.executable, str(self._file)])

    def given(self) -> list[dict[str, Any]]:
        """Returns what it was given, each time that it ran."""
        return lines(self.log.read_text())


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
