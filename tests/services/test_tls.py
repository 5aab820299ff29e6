"""TLS of the ports: its version, and certificates that change while it runs."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from onward.core.errors import MalformedError
from onward.v1 import log_pb2, log_pb2_grpc
from onward_server.services.tls import Certificates, TlsFiles
from onward_server.telemetry import Telemetry
from tests.support.certificates import Identity, TestAuthority
from tests.support.service import Service, refused
from tests.support.wire import call_over
from tests.support.world import HOTLINE

_PATH = "/onward.v1.LogService/GetCheckpoint"


def context(service: Service, folder: Path, who: str | None) -> ssl.SSLContext:
    """Returns what a plain TLS client of a member would use."""
    made = ssl.create_default_context(cadata=service.authority.pem.decode())
    made.set_alpn_protocols(["h2"])
    if who is not None:
        identity = service.identity(who)
        (folder / "client.pem").write_bytes(identity.certificate + identity.key)
        made.load_cert_chain(folder / "client.pem")
    return made


@pytest.mark.parametrize(
    ("version", "served"),
    [(ssl.TLSVersion.TLSv1_2, False), (ssl.TLSVersion.TLSv1_3, True)],
)
async def test_a_call_over_tls_1_2_is_refused(
    service: Service, tmp_path: Path, version: ssl.TLSVersion, served: bool
) -> None:
    made = context(service, tmp_path, HOTLINE)
    made.maximum_version = version
    answer = await asyncio.to_thread(call_over, made, service.app.api_port, _PATH)
    assert answer.tls_version == version.name.replace("_", ".")
    assert answer.grpc_status == ("0" if served else "16")
    assert ("over TLS 1.3 only" in answer.grpc_message) is not served


async def test_the_enrolment_port_takes_no_tls_1_2_either(
    service: Service, tmp_path: Path
) -> None:
    made = context(service, tmp_path, None)
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    path = "/onward.v1.EnrollmentService/StartEnrollment"
    answer = await asyncio.to_thread(call_over, made, service.app.enrolment_port, path)
    assert answer.grpc_status == "16"
    assert "over TLS 1.3 only" in answer.grpc_message


# --- the server's certificate --------------------------------------------------------


def presented(service: Service, port: int) -> bytes:
    """Returns the fingerprint of the certificate that a port presents."""
    made = ssl.create_default_context(cadata=service.authority.pem.decode())
    made.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("localhost", port)) as plain,
        closing(made.wrap_socket(plain, server_hostname="localhost")) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256())


def write(path: Path, data: bytes) -> None:
    """Replaces a file, as a careful tool does."""
    beside = path.with_suffix(".new")
    beside.write_bytes(data)
    beside.replace(path)


def new_server_identity(service: Service) -> Identity:
    return service.authority.issue(
        ["spiffe://national.example/exchange"],
        dns=["localhost"],
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
    )


async def test_a_new_certificate_is_used_from_the_next_connection_on(
    service: Service,
) -> None:
    tls = service.config.tls
    stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
    await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())
    identity = new_server_identity(service)
    write(tls.key_file, identity.key)
    write(tls.certificate_file, identity.certificate)
    for port in (service.app.api_port, service.app.enrolment_port):
        shown = await asyncio.to_thread(presented, service, port)
        assert shown == identity.fingerprint
    # The connection that was there goes on.
    await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())


async def test_files_that_do_not_fit_leave_the_old_certificate_in_force(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    tls, port = service.config.tls, service.app.api_port
    before = await asyncio.to_thread(presented, service, port)
    good = tls.certificate_file.read_bytes()
    other_key = new_server_identity(service).certificate
    for bad in (other_key, b"garbage", b""):
        write(tls.certificate_file, bad)
        assert await asyncio.to_thread(presented, service, port) == before
    tls.certificate_file.unlink()
    assert await asyncio.to_thread(presented, service, port) == before
    assert capsys.readouterr().out.count("tls.reload_failed") >= 4
    write(tls.certificate_file, good)
    assert await asyncio.to_thread(presented, service, port) == before


async def test_another_authority_for_members_is_taken_over(service: Service) -> None:
    other = TestAuthority.create("another PKI")
    identity = other.issue([HOTLINE])
    request = log_pb2.GetCheckpointRequest()
    stub = log_pb2_grpc.LogServiceStub(service.channel(identity))
    assert (await refused(stub.GetCheckpoint(request))).code is (
        grpc.StatusCode.UNAVAILABLE
    )
    both = service.config.tls.client_ca_file.read_bytes() + other.pem
    write(service.config.tls.client_ca_file, both)
    for who in (identity, HOTLINE):
        stub = log_pb2_grpc.LogServiceStub(service.channel(who))
        assert (await stub.GetCheckpoint(request)).checkpoint


async def test_the_enrolment_port_shows_the_authority_that_tokens_pin(
    service: Service,
) -> None:
    def chain() -> list[bytes]:
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        port = service.app.enrolment_port
        with (
            socket.create_connection(("localhost", port)) as plain,
            closing(unverified.wrap_socket(plain)) as secure,
        ):
            # Public from Python 3.13 on.
            return [
                part.public_bytes(ssl._ssl.ENCODING_DER)  # type: ignore[attr-defined]
                for part in secure._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
            ]

    authority = service.authority.certificate.public_bytes(serialization.Encoding.DER)
    # Also when the file of the certificate is without it.
    tls = service.config.tls
    identity = new_server_identity(service)
    assert authority in await asyncio.to_thread(chain)
    write(tls.key_file, identity.key)
    write(tls.certificate_file, identity.certificate)
    assert authority in await asyncio.to_thread(chain)


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
@pytest.mark.parametrize("damage", ["missing", "garbage"])
async def test_an_exchange_does_not_start_without_sound_files(
    service: Service, name: str, damage: str
) -> None:
    folder = service.config.tls.certificate_file.parent
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(os.urandom(100))
    files = TlsFiles(
        folder / "server.pem", folder / "server.key", client_ca=folder / "ca.pem"
    )
    with pytest.raises(MalformedError, match=name):
        Certificates(files, Telemetry())
