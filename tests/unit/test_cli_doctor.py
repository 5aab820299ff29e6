"""``onward doctor`` on homes that are damaged, and on ways that lead nowhere."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_bytes

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from onward._clock import system_clock
from onward._queue import Queue
from onward.cli import _doctor, _doctor_network
from onward.cli._doctor_exchange import check_keys
from onward.cli._doctor_network import check_way
from onward.cli._findings import Finding, Verdict
from onward.core.directory import MemberEntry
from onward.core.errors import ForkError
from onward.home import Home, MemberSettings
from onward.v1 import log_pb2, statement_pb2
from onward.v1.vocabulary_pb2 import MEMBER_KIND_LAW_ENFORCEMENT
from tests.support.certificates import Identity, TestAuthority
from tests.support.chain_builder import HOTLINE, OHIO, START, established
from tests.support.world import Party

AUTHORITY = TestAuthority.create("the exchange's")
STRANGER = TestAuthority.create("somebody's")
SERVER = AUTHORITY.issue([], ["localhost"], usage=ExtendedKeyUsageOID.SERVER_AUTH)
UNREACHABLE = "localhost:1"


def make_home(
    path: Path, member: Identity | None = None, address: str = UNREACHABLE
) -> Home:
    """Makes the home of a member to which nothing is wrong yet."""
    identity = member or AUTHORITY.issue([OHIO])
    home = Home.create(path)
    home.save_tls_key(identity.key)
    home.save_enrollment(
        MemberSettings(OHIO, established().exchange, address, "localhost"),
        certificate_chain=identity.certificate,
        server_ca=AUTHORITY.pem,
        trust=established().trust(),
    )
    return home


def examined(
    home: Home, capsys: pytest.CaptureFixture[str], shift: timedelta = timedelta()
) -> dict[str, Finding]:
    """Returns what the doctor finds wrong, by its subject, and checks its exit code."""

    def clock() -> datetime:
        return system_clock() + shift

    code = _doctor.examine(home.path, as_json=True, clock=clock)
    told = json.loads(capsys.readouterr().out)
    found = [Finding(**item) for item in told["findings"]]
    assert told["problems"] == any(item.verdict == Verdict.PROBLEM for item in found)
    assert code == int(told["problems"])
    wrong = {item.subject: item for item in found if item.verdict != Verdict.FINE}
    assert all(item.remedy for item in wrong.values())
    return wrong


def test_a_home_to_which_nothing_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(examined(make_home(tmp_path / "home"), capsys)) == ["address"]


def test_intakes_that_are_not_registered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = make_home(tmp_path / "home")
    queue = Queue(home)
    for content in (b"first", b"second"):
        queue.add(statement_pb2.Intake(), content, token_bytes)
    assert examined(home, capsys)["intakes"].detail == "2 wait in the queue"
    file = queue.refuse(queue.waiting()[0])
    queue.end(queue.waiting()[0], 1, log_pb2.LoggedStatement())
    assert str(file) in examined(home, capsys)["intakes"].detail


def test_no_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "onward enroll" in examined(Home(tmp_path), capsys)["home"].remedy


def test_private_keys_that_others_may_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = make_home(tmp_path / "home")
    file = home.path / "keys" / "tls.key"
    file.chmod(0o640)
    assert f"chmod 600 {file}" in examined(home, capsys)["permissions"].remedy
    file.chmod(0o600)
    file.parent.chmod(0o755)
    assert f"chmod 700 {file.parent}" in examined(home, capsys)["permissions"].remedy


@pytest.mark.parametrize(
    ("days", "verdict", "detail"),
    [
        (-1, Verdict.PROBLEM, "only from"),
        (10, None, ""),
        (17, Verdict.WARNING, "until"),
        (31, Verdict.PROBLEM, "expired"),
    ],
)
def test_the_dates_of_the_certificate(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    days: int,
    verdict: Verdict | None,
    detail: str,
) -> None:
    home = make_home(tmp_path / "home")  # its certificate is valid for 30 days
    found = examined(home, capsys, timedelta(days=days)).get("certificate")
    assert (found and found.verdict) == verdict
    assert found is None or detail in found.detail


@pytest.mark.parametrize("names", [[HOTLINE], [], [OHIO, HOTLINE]])
def test_a_certificate_of_another_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    home = make_home(tmp_path / "home", AUTHORITY.issue(names))
    assert f"not of {OHIO} alone" in examined(home, capsys)["certificate"].detail


def test_a_key_of_another_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = make_home(tmp_path / "home")
    home.save_tls_key(AUTHORITY.issue([OHIO]).key)
    assert "its key is not the one" in examined(home, capsys)["certificate"].detail


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("member.toml", "settings"),
        ("tls.crt", "certificate"),
        ("keys/tls.key", "certificate"),
        ("trust.txt", "trust"),
    ],
)
def test_what_cannot_be_read_does_not_end_the_other_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, subject: str
) -> None:
    home = make_home(tmp_path / "home")
    home.keep_fork(ForkError("forked", "first", "second"))
    (home.path / name).write_text("garbage")
    assert examined(home, capsys).keys() >= {subject, "log"}


def test_evidence_of_a_fork(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = make_home(tmp_path / "home")
    file = home.keep_fork(ForkError("forked", "first", "second"))
    assert str(file) in examined(home, capsys)["log"].detail


def test_a_clock_that_is_slow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = established()
    item = exchange.publish(HOTLINE, OHIO)
    home = make_home(tmp_path / "home")
    logged = [entry.bundled() for entry in exchange.chain(item.id)]
    home.add_receipts(
        item.id,
        [
            log_pb2.LoggedStatement(statement=i.statement, receipt=i.receipt)
            for i in logged
        ],
    )
    signed = START - system_clock()
    assert "clock" not in examined(home, capsys, signed)
    assert "slow" in examined(home, capsys, signed - timedelta(hours=1))["clock"].detail


# --- the way ------------------------------------------------------------------------


def context(
    folder: Path, identity: Identity, accepted: TestAuthority | None
) -> ssl.SSLContext:
    """Returns a server's side of TLS, for which members need a certificate."""
    (folder / "server.crt").write_bytes(identity.certificate)
    (folder / "server.key").write_bytes(identity.key)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / "server.crt", folder / "server.key")
    if accepted:
        made.load_verify_locations(cadata=accepted.pem.decode())
        made.verify_mode = ssl.CERT_REQUIRED
    return made


@contextmanager
def serving(server: ssl.SSLContext | None) -> Iterator[str]:
    """Answers one connection; yields the address. Without TLS it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                if server is None:
                    connection.recv(10_000)
                    connection.recv(1)
                    return
                with server.wrap_socket(connection, server_side=True) as channel:
                    channel.sendall(b"settings")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def way(
    folder: Path, server: Identity = SERVER, accepted: TestAuthority = AUTHORITY
) -> list[Finding]:
    """Returns what the doctor finds on the way to a server."""
    with serving(context(folder, server, accepted)) as address:
        home = make_home(folder / "home", address=address)
        return list(check_way(home, system_clock))


def test_a_way_that_leads_to_the_exchange(tmp_path: Path) -> None:
    found = way(tmp_path)
    assert [item.verdict for item in found] == [Verdict.FINE, Verdict.FINE]
    assert "TLSv1.3" in found[1].detail


def test_a_refused_certificate_explains_socket_closed(tmp_path: Path) -> None:
    (_, found) = way(tmp_path, accepted=STRANGER)
    assert found.verdict == Verdict.PROBLEM
    assert "Socket closed" in found.detail
    assert "operator" in found.remedy


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (STRANGER.issue([], ["localhost"], usage=ExtendedKeyUsageOID.SERVER_AUTH), ""),
        (
            AUTHORITY.issue(
                [],
                ["localhost"],
                begins=timedelta(days=-2),
                ends=timedelta(days=-1),
                usage=ExtendedKeyUsageOID.SERVER_AUTH,
            ),
            "expired",
        ),
        (
            AUTHORITY.issue(
                [], ["other.example"], usage=ExtendedKeyUsageOID.SERVER_AUTH
            ),
            "Hostname mismatch",
        ),
    ],
    ids=["another authority", "expired", "another name"],
)
def test_a_server_that_is_not_to_be_trusted(
    tmp_path: Path, server: Identity, why: str
) -> None:
    (_, found) = way(tmp_path, server)
    assert found.verdict == Verdict.PROBLEM
    assert "not to be trusted" in found.detail
    assert why in found.detail


def test_a_server_that_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_doctor_network, "_TIMEOUT", 0.1)
    with serving(None) as address:
        home = make_home(tmp_path / "home", address=address)
        (_, found) = check_way(home, system_clock)
    assert "says nothing" in found.detail


def test_a_key_in_the_directory_that_the_home_does_not_have(tmp_path: Path) -> None:
    party = Party(OHIO, MEMBER_KIND_LAW_ENFORCEMENT)
    planted = Party(OHIO, MEMBER_KIND_LAW_ENFORCEMENT)
    home = make_home(tmp_path / "home")
    home.add_statement_key(party.key)
    home.add_content_key(party.content_key)
    now = system_clock()
    entry = party.entry(int(now.timestamp() * 1000))
    assert not [
        finding
        for finding in check_keys(home, MemberEntry.from_proto(entry), lambda: now)
        if finding.verdict != Verdict.FINE
    ]
    entry.content_keys.extend(planted.entry(int(now.timestamp() * 1000)).content_keys)
    (found,) = [
        finding
        for finding in check_keys(home, MemberEntry.from_proto(entry), lambda: now)
        if finding.verdict != Verdict.FINE
    ]
    assert found.subject == "content key"
    assert planted.content_key.public.key_id in found.detail
