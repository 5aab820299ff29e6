"""The doctor: finds each thing that is wrong, says how to mend it, and only looks."""

import os
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onward.core.keys import StatementPrivateKey
from onward_server.config import load
from onward_server.doctor import Finding, Verdict, examine
from onward_server.exchange.authority import CertificateAuthority, private_key_pem
from onward_server.exchange.clock import to_datetime
from onward_server.renewal import renew_server_certificate
from tests.support.enrolling import description
from tests.support.founding import contents, new_exchange, running
from tests.support.process import free_port
from tests.support.world import SettableClock

DAY = 24 * 3600


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return new_exchange(tmp_path / "exchange")


@pytest.fixture
def ports() -> dict[str, str]:
    """Ports where nobody is."""
    return {
        "ONWARD__API__LISTEN": f"127.0.0.1:{free_port()}",
        "ONWARD__ENROLMENT__LISTEN": f"127.0.0.1:{free_port()}",
    }


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


async def look(
    folder: Path, environment: dict[str, str], clock: SettableClock
) -> list[Finding]:
    found = examine(folder / "exchange.toml", environment, clock)
    return [finding async for finding in found]


def bad(findings: list[Finding]) -> dict[str, Finding]:
    return {
        finding.subject: finding
        for finding in findings
        if finding.verdict is not Verdict.FINE
    }


async def test_a_new_exchange_is_fine(
    made: Path, ports: dict[str, str], clock: SettableClock
) -> None:
    findings = await look(made, ports, clock)
    assert bad(findings) == {}
    assert [finding.subject for finding in findings] == [
        "configuration",
        "files",
        "disk space",
        "certificate authority",
        "server certificate",
        "operator",
        "port for members",
        "port for enrolment",
        "database",
        "log",
        "statement key",
        "restore guard",
        "clock",
    ]


async def test_looking_changes_nothing(
    made: Path, ports: dict[str, str], clock: SettableClock
) -> None:
    (made / "guard" / "head").unlink()
    before = contents(made)
    await look(made, ports, clock)
    assert contents(made) == before


async def test_a_configuration_that_is_wrong_ends_it(
    made: Path, ports: dict[str, str], clock: SettableClock
) -> None:
    (finding,) = await look(made, {"ONWARD__LIMITS__BATCH": "1"}, clock)
    assert finding.verdict is Verdict.PROBLEM
    assert "batch" in finding.detail


def log_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def p256_key() -> bytes:
    return private_key_pem(ec.generate_private_key(ec.SECP256R1()))


def write(name: str, data: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data())


def accuse(folder: Path) -> None:
    (folder / "witnesses").mkdir()
    (folder / "witnesses" / "accusations.jsonl").write_text("{}\n{}\n")


def damage(name: str, at: int) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.seek(at)
            file.write(os.urandom(4096))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "subject", "detail", "remedy"),
    [
        (
            lambda made: (made / "keys" / "log.key").chmod(0o640),
            "files",
            "open to other users",
            "chmod 600",
        ),
        (
            lambda made: (made / "tls" / "ca.key").unlink(),
            "files",
            "No such file",
            "restore",
        ),
        (
            write("tls/server.key", p256_key),
            "server certificate",
            "not the key",
            "certificate server",
        ),
        (
            write("tls/ca.key", p256_key),
            "authority",
            "not that of its certificate",
            "mend",
        ),
        (
            write("tls/server.pem", lambda: b"no pem"),
            "server",
            "no certificates in PEM",
            "mend",
        ),
        (
            write("operator/keys/tls.key", p256_key),
            "operator",
            "do not match",
            "certificate operator",
        ),
        (
            lambda made: (made / "operator" / "tls.crt").unlink(),
            "operator",
            "cannot be read",
            "mend",
        ),
        (
            write("keys/log.key", log_key),
            "log",
            "does not verify",
            "log_key_file",
        ),
        (
            write(
                "keys/statement.key", lambda: StatementPrivateKey.generate().to_pem()
            ),
            "statement key",
            "not one of its keys",
            "statement_key_file",
        ),
        (
            write("keys/statement.key", lambda: b"no key"),
            "log",
            "statement.key",
            "mend",
        ),
        (damage("db/exchange.sqlite", 4096), "database", "damaged", "restore"),
        (damage("db/exchange.sqlite", 0), "database", "damaged", "restore"),
        (
            lambda made: (made / "guard" / "head").unlink(),
            "restore guard",
            "holds nothing",
            "newest",
        ),
        (
            lambda made: shutil.rmtree(made / "guard"),
            "files",
            "No such file",
            "restore",
        ),
        (
            write("guard/head", lambda: b"77 " + b"ab" * 32 + b"\n"),
            "restore guard",
            "old copy",
            "restore",
        ),
        (
            write("guard/head", lambda: b"2 " + b"ab" * 32 + b"\n"),
            "restore guard",
            "another root",
            "restore",
        ),
        (write("guard/head", lambda: b"nonsense"), "log", "damaged", "mend"),
        (
            write("keys/log-mldsa.key", lambda: b"nonsense"),
            "log",
            "must be ML-DSA-44",
            "mend",
        ),
        (accuse, "witnesses", "2 accusations", "be-witnessed"),
    ],
)
async def test_what_is_broken_is_found(
    made: Path,
    ports: dict[str, str],
    clock: SettableClock,
    spoil: Callable[[Path], object],
    subject: str,
    detail: str,
    remedy: str,
) -> None:
    spoil(made)
    finding = bad(await look(made, ports, clock))[subject]
    assert detail in finding.detail
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("setting", "value", "subject", "detail"),
    [
        ("API__SERVER_NAME", "other.example", "server certificate", "other.example"),
        ("EXCHANGE__TRUST_DOMAIN", "other.example", "operator", "national.example"),
        ("STORAGE__GUARD_FILE", "db/head", "place of the guard", "inside"),
        ("STORAGE__DATABASE_FILE", "gone/db", "disk space", "gone"),
        ("KEYS__LOG_KEY_FILE", "keys/statement.key", "log", "must be Ed25519"),
        ("WITNESSES__POLICY_FILE", "none", "witnesses", "cannot be read"),
        ("WITNESSES__POLICY_FILE", "operator/trust.txt", "witnesses", "nobody has to"),
        ("TLS__CLIENT_CA_FILE", "tls/server.pem", "", ""),
        ("TLS__CLIENT_CA_FILE", "operator/tls.crt", "", ""),
    ],
)
async def test_a_setting_that_does_not_fit_is_found(
    made: Path,
    ports: dict[str, str],
    clock: SettableClock,
    setting: str,
    value: str,
    subject: str,
    detail: str,
) -> None:
    found = bad(await look(made, {**ports, f"ONWARD__{setting}": value}, clock))
    if subject:
        assert detail in found[subject].detail
    else:
        # Both files end with the authority's certificate, which is what counts.
        assert found == {}


async def test_another_authority_for_members_is_found(
    made: Path, ports: dict[str, str], clock: SettableClock
) -> None:
    other = CertificateAuthority.create("national.example", to_datetime(clock.ms))
    (made / "other.pem").write_text(other.certificate_pem)
    environment = {**ports, "ONWARD__TLS__CLIENT_CA_FILE": "other.pem"}
    found = bad(await look(made, environment, clock))
    assert "cannot connect" in found["certificate authority"].detail


@pytest.mark.parametrize(
    ("days", "subject", "verdict", "detail"),
    [
        (80, "operator", Verdict.WARNING, "valid until"),
        (91, "operator", Verdict.PROBLEM, "expired"),
        (340, "server certificate", Verdict.WARNING, "25 days"),
        (366, "server certificate", Verdict.PROBLEM, "expired"),
        (3400, "certificate authority", Verdict.WARNING, "valid until"),
        (-1, "server certificate", Verdict.PROBLEM, "not valid before"),
        (-1, "clock", Verdict.PROBLEM, "in the future"),
    ],
)
async def test_time_that_passed_is_noticed(
    made: Path,
    ports: dict[str, str],
    clock: SettableClock,
    days: int,
    subject: str,
    verdict: Verdict,
    detail: str,
) -> None:
    clock.advance(days * DAY)
    finding = bad(await look(made, ports, clock))[subject]
    assert finding.verdict is verdict
    assert detail in finding.detail
    assert finding.remedy


async def test_a_restored_old_copy_is_noticed(
    made: Path, ports: dict[str, str], clock: SettableClock
) -> None:
    database = made / "db" / "exchange.sqlite"
    old = database.read_bytes()
    async with running(made, clock) as (registry, admin):
        await registry.add_member(admin, description())
    assert bad(await look(made, ports, clock)) == {}
    shutil.rmtree(made / "db")
    database.parent.mkdir(mode=0o700)
    database.write_bytes(old)
    database.chmod(0o600)
    finding = bad(await look(made, ports, clock))["restore guard"]
    assert "4 entries, and 5 were signed" in finding.detail


@contextmanager
def somebody(port: int, context: ssl.SSLContext | None = None) -> Iterator[None]:
    """Answers on a port: with TLS, or by saying something else."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                connection, _ = listener.accept()
                with connection:
                    answer(connection, context)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()


def answer(connection: socket.socket, context: ssl.SSLContext | None) -> None:
    if context is None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        return
    with suppress(OSError):
        context.wrap_socket(connection, server_side=True).close()


def port_of(ports: dict[str, str]) -> int:
    return int(ports["ONWARD__API__LISTEN"].rpartition(":")[2])


async def test_a_port_that_speaks_something_else_is_found(
    made: Path, ports: dict[str, str], clock: SettableClock
) -> None:
    with somebody(port_of(ports)):
        finding = bad(await look(made, ports, clock))["port for members"]
    assert "not with TLS" in finding.detail


async def test_another_exchange_on_the_port_is_found(
    made: Path, ports: dict[str, str], clock: SettableClock
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made / "tls" / "server.pem", made / "tls" / "server.key")
    config = load(made / "exchange.toml", {})
    renew_server_certificate(config, ["other.example"], clock)
    with somebody(port_of(ports), context):
        finding = bad(await look(made, ports, clock))["port for members"]
    assert "another certificate" in finding.detail


async def test_a_port_that_cannot_be_had_is_found(
    made: Path, ports: dict[str, str], clock: SettableClock
) -> None:
    ports["ONWARD__API__LISTEN"] = "192.0.2.1:7443"  # RFC 5737: nobody has it
    found = bad(await look(made, ports, clock))
    assert "port for members" in found
