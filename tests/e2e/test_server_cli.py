"""``onward-server`` as an operator uses it: real processes, real exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from typer.testing import CliRunner

from onward.client import Client
from onward.core.errors import OnwardError
from onward.enroll import enroll
from onward.home import Home
from onward_server.cli import app
from tests.support.process import BIN, ExchangeProcess, command

POLICE = "spiffe://national.example/agency/ohio-state-police"


@pytest.fixture
def stopped(tmp_path: Path) -> ExchangeProcess:
    """An exchange that was set up and does not run."""
    return ExchangeProcess.found(tmp_path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeProcess]:
    """An exchange that runs, for all tests of this module."""
    exchange = ExchangeProcess.found(tmp_path_factory.mktemp("running"))
    exchange.start()
    yield exchange
    assert exchange.stop() == 0


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the program; nothing of it is asserted."""
    return subprocess.run(
        [BIN / "onward-server", *words],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | environment,
    )


def asked(exchange: ExchangeProcess, *words: str) -> Any:
    """Runs a command for its data."""
    shown = command("onward-server", *words, "--json", "--config", str(exchange.config))
    return json.loads(shown)


def add(exchange: ExchangeProcess, name: str) -> Any:
    """Adds a member."""
    return asked(
        exchange,
        *("member", "add", f"agency/{name}", "--kind", "LAW_ENFORCEMENT"),
        *("--display-name", "State police", "--jurisdiction", "US-OH"),
    )


async def test_a_member_from_adding_to_locking_out(
    running: ExchangeProcess, tmp_path: Path
) -> None:
    # 1. The operator adds it; it is pending.
    added = add(running, "ohio-state-police")
    assert added["member"] == POLICE
    names = {m["name"]: m for m in asked(running, "member", "list")["members"]}
    assert names[POLICE]["status"] == "MEMBER_STATUS_PENDING"
    # 2. The first token got lost: another replaces it.
    newer = asked(running, "member", "token", "agency/ohio-state-police")["token"]
    with pytest.raises(OnwardError, match="newer"):
        await enroll(added["token"], tmp_path / "lost")
    # 3. It enrols, and is shown with its keys.
    home = await enroll(newer, tmp_path / "police")
    shown = asked(running, "member", "show", POLICE)
    assert shown["status"] == "MEMBER_STATUS_ACTIVE"
    assert [key["key_id"] for key in shown["statement_keys"]] == list(
        home.statement_keys()
    )
    await greet(home)
    # 4. Suspended it is locked out; reinstated it is back.
    suspended = asked(running, "member", "suspend", POLICE)
    assert suspended["change"] == "SUSPENDED"
    with pytest.raises(OnwardError, match="suspended"):
        await greet(home)
    asked(running, "member", "reinstate", POLICE)
    await greet(home)
    # 5. A key is revoked by its id.
    (key_id,) = home.statement_keys()
    revoked = asked(running, "member", "revoke-key", POLICE, key_id)
    assert revoked["change"] == "KEY_REVOKED"
    again = asked(running, "member", "revoke-key", POLICE, key_id)
    assert again["log_index"] == revoked["log_index"]
    # 6. Its certificate is revoked by its file, or by its fingerprint.
    certificate = str(home.path / "tls.crt")
    asked(running, "member", "revoke-certificate", POLICE, certificate)
    leaf = x509.load_pem_x509_certificates(home.certificate_chain)[0]
    fingerprint = leaf.fingerprint(SHA256()).hex()
    assert f'"fingerprint": "{fingerprint}"' in running.log()
    asked(running, "member", "revoke-certificate", POLICE, fingerprint.upper())
    with pytest.raises(OnwardError, match="revoked"):
        await greet(home)


async def greet(home: Home) -> None:
    """Makes one call as a member."""
    async with Client.open(home, deadline=5.0) as client:
        await client.capabilities()


def test_an_operator_that_is_locked_out_gets_in_again(
    running: ExchangeProcess,
) -> None:
    certificate = running.operator / "tls.crt"
    refused = run(
        *("member", "revoke-certificate", "operator/admin", certificate),
        *("--config", running.config),
    )
    assert refused.returncode == 1
    assert "last active operator" in refused.stderr
    certificate.unlink()
    command("onward-server", "certificate", "operator", "--config", str(running.config))
    assert asked(running, "member", "show", "operator/admin")["name"]


def test_the_servers_certificate_is_renewed_without_a_restart(
    running: ExchangeProcess,
) -> None:
    command("onward-server", "certificate", "server", "--config", str(running.config))
    # The next handshakes show it, so the doctor finds nothing wrong with the ports.
    found = asked(running, "doctor")["findings"]
    assert {
        finding["subject"]: finding["detail"]
        for finding in found
        if finding["verdict"] != "fine"
    } == {}


def test_the_doctor_of_a_running_exchange_explains_closed_sockets(
    running: ExchangeProcess,
) -> None:
    found = {item["subject"]: item for item in asked(running, "doctor")["findings"]}
    assert "this exchange answers" in found["port for members"]["detail"]
    assert "TLSv1.3 as the operator" in found["handshake"]["detail"]
    assert "Socket closed" in found["handshake"]["detail"]


def test_the_doctor_fails_when_there_is_a_problem(stopped: ExchangeProcess) -> None:
    fine = run("doctor", "--config", stopped.config)
    assert fine.returncode == 0, fine.stdout
    (stopped.config.parent / "keys" / "log.key").chmod(0o644)
    done = run("doctor", "--config", stopped.config.parent)
    assert done.returncode == 1
    assert "chmod 600" in done.stdout


def test_a_backup_while_it_runs(running: ExchangeProcess, tmp_path: Path) -> None:
    add(running, "texas-state-police")
    done = run("backup", tmp_path / "copy", "--config", running.config)
    assert done.returncode == 0, done.stderr
    assert "log.key" in done.stdout
    assert not list((tmp_path / "copy").rglob("*.key"))
    copied = asked(running, "backup", str(tmp_path / "other"))
    assert copied["entries"] >= 4
    assert len(copied["keep"]) == 5


def test_a_second_process_on_one_database_is_refused(
    running: ExchangeProcess,
) -> None:
    done = run("serve", "--config", running.config, ONWARD__API__LISTEN="127.0.0.1:0")
    assert done.returncode == 3
    assert "in use by another exchange" in done.stderr


class TestExitCodes:
    def test_wrong_usage_is_2(self, stopped: ExchangeProcess, tmp_path: Path) -> None:
        config = stopped.config
        for words in (
            ["member", "add", "agency/x", "--config", config],
            ["nothing"],
            ["serve", "--config", tmp_path / "nowhere"],
            ["init", tmp_path / "new", "--trust-domain", "Not One"],
        ):
            assert run(*words).returncode == 2, words
        wrong = run("serve", "--config", config, ONWARD__LIMITS__LEASE_SECONDS="0")
        assert wrong.returncode == 2
        assert "limits.lease_seconds" in wrong.stderr

    def test_what_is_refused_is_1(self, running: ExchangeProcess) -> None:
        for words in (
            ["member", "suspend", "agency/nobody"],
            ["member", "suspend", "operator/admin"],
        ):
            assert run(*words, "--config", running.config).returncode == 1, words
        again = run("init", running.config.parent, "--trust-domain", "a.example")
        assert again.returncode == 1

    def test_what_may_work_later_is_3(self, stopped: ExchangeProcess) -> None:
        done = run("member", "list", "--config", stopped.config)
        assert done.returncode == 3
        assert done.stdout == ""
        assert "Traceback" not in done.stderr

    def test_a_wrong_word_names_the_right_ones(self, stopped: ExchangeProcess) -> None:
        done = run("member", "revoke-certificate", "agency/x", "not-a-fingerprint")
        assert done.returncode == 2
        assert "neither a PEM file nor a fingerprint" in done.stderr


def test_a_wrong_kind_names_the_right_ones(running: ExchangeProcess) -> None:
    done = run(
        *("member", "add", "agency/x", "--kind", "SHERIFF", "--display-name", "X"),
        *("--config", running.config),
    )
    assert done.returncode == 2
    assert "LAW_ENFORCEMENT" in done.stderr


def test_init_says_what_comes_next_and_prints_the_trust_file(tmp_path: Path) -> None:
    done = run("init", tmp_path / "x", ONWARD_TRUST_DOMAIN="a.example")
    assert done.returncode == 0, done.stderr
    assert "onward-server serve --config" in done.stderr
    assert done.stdout == (tmp_path / "x" / "operator" / "trust.txt").read_text()


def test_help_is_there_for_every_command() -> None:
    runner = CliRunner()
    for path in commands(typer.main.get_command(app)):
        shown = runner.invoke(app, [*path, "--help"])
        assert shown.exit_code == 0, path
        assert "Usage:" in shown.output


def commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All commands, by the words that name them."""
    found = [path]
    for name, item in getattr(group, "commands", {}).items():
        found += commands(item, (*path, name))
    return found


def test_help_loads_nothing_that_takes_long() -> None:
    program = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "try:\n"
        "    from onward_server.cli import main; main()\n"
        "except SystemExit:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    loaded = set(done.stderr.split())
    slow = {"grpc", "opentelemetry", "cryptography", "google.protobuf", "aiosqlite"}
    assert "typer" in loaded
    assert loaded & slow == set()


def test_the_version_is_the_distributions() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", command("onward-server", "version"))
