"""What the doctor says about the port for strangers."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from pathlib import Path

import msgspec
from cryptography.x509.oid import ExtendedKeyUsageOID

from onward_server.config import Config, Web
from onward_server.doctor.findings import Finding, Verdict
from onward_server.doctor.web import check_web
from onward_server.exchange.clock import SystemClock
from tests.support.certificates import TestAuthority
from tests.support.process import free_port
from tests.support.service import Service, open_service

URL = "https://national.example/log"


def found(config: Config, **values: object) -> dict[str, Finding]:
    """Has the doctor look at a configuration with these values of the section."""
    web = msgspec.structs.replace(config.web, **values)
    changed = msgspec.structs.replace(config, web=web)
    return {finding.subject: finding for finding in check_web(changed, SystemClock())}


async def test_no_port_is_nothing_to_look_at(service: Service) -> None:
    assert service.config.web == Web()
    assert found(service.config) == {}


async def test_a_log_that_answers_is_fine(tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    settings = {"ONWARD__WEB__LISTEN": listen, "ONWARD__WEB__URL": URL}
    async with open_service(tmp_path, settings) as service:
        port = await asked(service.config, listen)
        assert (port.verdict, "national.example/log is there" in port.detail) == (
            Verdict.FINE,
            True,
        )
        # The same port, asked for another log.
        other = msgspec.structs.replace(service.config.exchange, origin="other/log")
        config = msgspec.structs.replace(service.config, exchange=other)
        port = await asked(config, listen)
        assert port.verdict is Verdict.PROBLEM
        assert "not the log other/log" in port.detail


async def asked(config: Config, listen: str) -> Finding:
    """Asks from another thread: the exchange answers in this one."""
    shown = await asyncio.to_thread(found, config, listen=listen)
    return shown["port for strangers"]


async def test_a_port_that_nobody_has_and_one_that_somebody_has(
    service: Service,
) -> None:
    shown = found(service.config, listen=f"127.0.0.1:{free_port()}")
    assert shown["port for strangers"].verdict is Verdict.FINE
    assert "free" in shown["port for strangers"].detail
    assert shown["log's URL"].verdict is Verdict.WARNING
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        address = f"127.0.0.1:{other.getsockname()[1]}"
        shown = found(service.config, listen=address, url=URL)
    assert shown["port for strangers"].verdict is Verdict.PROBLEM
    assert "log's URL" not in shown


async def test_a_certificate_that_ends_soon_or_is_none(
    service: Service, tmp_path: Path
) -> None:
    authority = TestAuthority.create("public authority")
    files = {"certificate_file": tmp_path / "w.pem", "key_file": tmp_path / "w.key"}
    for ends, verdict in (
        (timedelta(days=30), Verdict.FINE),
        (timedelta(days=3), Verdict.WARNING),
        (timedelta(minutes=-1), Verdict.PROBLEM),
    ):
        issued = authority.issue(
            (), ["localhost"], ends=ends, usage=ExtendedKeyUsageOID.SERVER_AUTH
        )
        files["certificate_file"].write_bytes(issued.certificate)
        files["key_file"].write_bytes(issued.key)
        shown = found(service.config, listen="127.0.0.1:0", **files)
        assert shown["web certificate"].verdict is verdict
    files["key_file"].write_bytes(authority.issue(()).key)
    shown = found(service.config, listen="127.0.0.1:0", **files)
    assert shown["web certificate"].verdict is Verdict.PROBLEM
