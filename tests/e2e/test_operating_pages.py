"""The pages for operators: what they tell people to type is run here, in order.

Each page is one shell session. ``sudo`` drops its user, ``systemctl`` starts and stops
the exchange as a process, and paths and ports are replaced by those of the test; all
else is as it stands on the page. Blocks in ``console`` are for root, and not run.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from onward_server.cli import app
from onward_server.config import Api
from tests.support import postgres
from tests.support.process import BIN, answers, free_port

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"

SUDO = """#!/bin/bash
if [ "$1" = -u ]; then shift 2; fi
exec "$@"
"""
SYSTEMCTL = """#!/bin/bash
set -euo pipefail
stop() { if [ -e "$PIDFILE" ]; then
  kill -TERM "$(cat "$PIDFILE")" || true
  while kill -0 "$(cat "$PIDFILE")" 2>/dev/null; do sleep 0.05; done
  rm "$PIDFILE"
fi; }
start() {
  onward-server serve --config "$EXCHANGE" >>"$SERVER_LOG" 2>&1 &
  echo $! >"$PIDFILE"
  for _ in $(seq 400); do
    if [ "$(grep -c app.started "$SERVER_LOG")" -gt "$STARTED" ]; then exit 0; fi
    if ! kill -0 "$(cat "$PIDFILE")" 2>/dev/null; then cat "$SERVER_LOG"; exit 1; fi
    sleep 0.05
  done
  exit 1
}
touch "$SERVER_LOG"
STARTED=$(grep -c app.started "$SERVER_LOG" || true)
test "$2" = onward
case "$1" in
  start) start ;;
  stop) stop ;;
  restart) stop; start ;;
esac
"""


class Host:
    """A machine of an operator's: its programs, its folders, its ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exchange = folder / "exchange"
        self.ports = free_port(), free_port()
        self.work = folder / "work"
        programs = folder / "programs"
        for path in (self.work, programs, folder / "backups"):
            path.mkdir()
        for name, text in (("sudo", SUDO), ("systemctl", SYSTEMCTL)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{programs}:{BIN}:{os.environ['PATH']}",
            "EXCHANGE": str(self.exchange),
            "PIDFILE": str(folder / "pid"),
            "SERVER_LOG": str(folder / "log"),
            "ONWARD_LISTEN": f"127.0.0.1:{self.ports[0]}",
            "ONWARD_ENROLMENT_LISTEN": f"127.0.0.1:{self.ports[1]}",
        }

    def run(self, script: str, code: int = 0) -> str:
        """Runs a script in one shell; returns all that it printed."""
        for said, here in (
            ("/var/lib/onward", str(self.exchange)),
            ("/var/backups/onward", str(self.folder / "backups")),
            ("exchange.national.example", "localhost"),
        ):
            script = script.replace(said, here)
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            cwd=self.work,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout[-6000:]
        return done.stdout

    def set_up(self) -> None:
        """Has an exchange that runs."""
        self.run(
            "onward-server init /var/lib/onward --trust-domain national.example\n"
            "sudo systemctl start onward"
        )

    def enrol(self) -> None:
        """Has a member, in ``./police``."""
        self.run(
            "onward-server member add agency/ohio-state-police --kind LAW_ENFORCEMENT "
            "--display-name Police --jurisdiction US-OH --config /var/lib/onward "
            "| onward enroll - --home ./police"
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.run("sudo systemctl stop onward")
    assert not answers(made.ports[0])


def blocks(page: str, language: str = "sh") -> list[str]:
    """Returns the code blocks of a page in one language, those in lists too."""
    text = (HOW_TO / page).read_text("utf-8")
    pattern = rf"^( *)```{language}\n(.*?)^\1```$"
    found = re.findall(pattern, text, re.DOTALL | re.MULTILINE)
    return [
        re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found
    ]


def script(page: str) -> str:
    return "\n".join(blocks(page))


def test_deploying(host: Host) -> None:
    shown = host.run(script("deploy.md"))
    assert "log national.example/log+" in shown
    assert "this exchange answers" in shown
    assert "TLSv1.3 as the operator" in shown
    assert "problem" not in shown


def test_backing_up_and_restoring(host: Host) -> None:
    host.set_up()
    checked = host.run(script("backup.md"))
    assert "is sound" in checked
    shown = host.run(script("restore.md"))
    assert "agrees with the log" in shown
    for page in (checked, shown):
        assert "problem" not in page


def test_moving(host: Host) -> None:
    host.set_up()
    host.enrol()
    url_file = host.folder / "database.url"
    with postgres.running({"fsync": "on", "full_page_writes": "on"}) as server:
        url_file.write_text(server.url())
        url_file.chmod(0o600)
        page = script("move-to-postgresql.md")
        shown = host.run(page.replace("/etc/onward-database.url", str(url_file)))
        assert "and all that goes with them, are moved" in shown
        assert "nobody erases there any more" in shown
        assert "problem" not in shown
        host.run("onward members --home ./police")
        host.run("sudo systemctl stop onward")


def test_succeeding(host: Host) -> None:
    host.set_up()
    host.enrol()
    shown = host.run(script("succeed-a-log.md"))
    assert "problem" not in shown
    assert "trusted: national.example/log/2+" in shown
    host.run("onward members --home ./police")


def test_an_old_copy_is_refused_as_the_page_says(host: Host) -> None:
    host.set_up()
    (backing_up, *_) = blocks("backup.md")
    host.run(backing_up)
    host.enrol()
    (restoring,) = blocks("restore.md")
    shown = host.run(restoring, code=1)
    (text,) = blocks("restore.md", "text")
    pattern = re.sub(r"\d+", r"\\d+", re.escape(text.strip()).replace(r"\ ", r"\s+"))
    assert re.search(pattern, re.sub(r" +", " ", shown))
    # Whoever does it by hand is refused all the same.
    host.run(
        "cp /var/backups/onward/1/db/exchange.sqlite /var/lib/onward/db/\n"
        "rm -f /var/lib/onward/db/exchange.sqlite-wal\n"
        "rm -f /var/lib/onward/db/exchange.sqlite-shm"
    )
    host.run("sudo systemctl start onward", code=1)
    assert "older than the log" in (host.folder / "log").read_text()


def test_enrolling(host: Host) -> None:
    host.set_up()
    shown = host.run(script("enrol.md"))
    assert "PENDING" in shown
    assert "REVOKED" in shown
    assert "SUSPENDED" in shown
    # At the end the member is in, with its new home, and not with the old one.
    host.run("onward members --home ./police-2")
    refused = host.run("onward members --home ./police", code=1)
    assert "revoked" in refused


def test_rotating(host: Host) -> None:
    host.set_up()
    host.enrol()
    shown = host.run(script("rotate-keys.md"))
    assert "problem" not in shown
    log = (host.folder / "log").read_text()
    assert "tls.reloaded" in log
    issuer = host.run(
        "openssl x509 -in ./police/tls.crt -noout -issuer\n"
        "openssl verify -CAfile /var/lib/onward/tls/ca-2.pem ./police/tls.crt "
        "/var/lib/onward/tls/server.pem"
    )
    assert "authority 2" in issuer


def test_the_unit_runs_what_there_is() -> None:
    (unit,) = blocks("deploy.md", "ini")
    parser = configparser.ConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit)
    service = parser["Service"]
    program, command, option, _ = shlex.split(service["ExecStart"])
    assert Path(program).name == "onward-server"
    serve = get_command(app).commands[command]  # type: ignore[attr-defined]
    assert any(option in parameter.opts for parameter in serve.params)
    assert int(service["TimeoutStopSec"]) > Api().drain_seconds


@pytest.mark.parametrize(
    "page",
    [
        "deploy.md",
        "backup.md",
        "restore.md",
        "enrol.md",
        "rotate-keys.md",
        "postgresql.md",
    ],
)
def test_commands_that_are_not_run_exist(page: str) -> None:
    root = get_command(app)
    text = "\n".join([*blocks(page, "console"), *blocks(page, "ini")])
    for words in re.findall(r"onward-server ([a-z-]+(?: [a-z-]+)?)", text):
        first, *rest = words.split()
        command = root.commands[first]  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            assert rest[0] in command.commands
