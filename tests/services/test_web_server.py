"""The port for strangers: what it bounds, what it keeps to itself, and its end."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from onward.core.errors import MalformedError, QuotaError, Reason, UnavailableError
from onward_server.telemetry import Telemetry
from onward_server.web import server as web
from onward_server.web.server import MAX_BODY, WebPort, WebServer, web_app
from onward_server.web.tls import WebCertificate
from tests.support.certificates import Identity, TestAuthority
from tests.support.service import open_service

LOCAL = "127.0.0.1:0"
SECRET = "the path of the database"


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def defect(_request: Request) -> Response:
    raise ValueError(SECRET)


async def unavailable(_request: Request) -> Response:
    raise UnavailableError(
        Reason.ERROR_REASON_STORAGE_UNAVAILABLE, "not now", retry_after=5.0
    )


async def too_often(_request: Request) -> Response:
    raise QuotaError(Reason.ERROR_REASON_QUOTA_EXCEEDED, "too much", retry_after=1.0)


async def malformed(_request: Request) -> Response:
    raise MalformedError("that is no checkpoint")


async def endless(_request: Request) -> Response:
    await asyncio.Event().wait()
    return PlainTextResponse("never")


ROUTES = (
    Route("/echo", echo, methods=["POST"]),
    Route("/defect", defect),
    Route("/unavailable", unavailable),
    Route("/too-often", too_often),
    Route("/malformed", malformed),
    Route("/endless", endless),
)


@asynccontextmanager
async def serving(
    routes: Sequence[BaseRoute] = ROUTES, certificate: WebCertificate | None = None
) -> AsyncIterator[WebServer]:
    server = WebServer(web_app(routes), WebPort(LOCAL, certificate))
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving() as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.number}") as opened,
    ):
        yield opened


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/malformed", 400, "that is no checkpoint\n"),
        ("/too-often", 429, "too much\n"),
        ("/unavailable", 503, "not now\n"),
        ("/defect", 500, "Internal Server Error"),
        ("/nothing", 404, "not found\n"),
    ],
)
async def test_a_refusal_says_what_a_stranger_may_know(
    client: httpx.AsyncClient, path: str, status: int, text: str
) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.text) == (status, text)
    assert SECRET not in str(answer.headers)
    if status in {429, 503}:
        assert int(answer.headers["retry-after"]) > 0


async def test_a_body_has_a_largest_size(client: httpx.AsyncClient) -> None:
    largest = os.urandom(MAX_BODY)
    answer = await client.post("/echo", content=largest)
    assert answer.content == largest
    assert (await client.post("/echo", content=largest + b"x")).status_code == 413

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield largest

    # Without a stated length too.
    assert (await client.post("/echo", content=parts())).status_code == 413
    assert (await client.post("/echo", content=b"still here")).text == "still here"


async def test_what_takes_too_long_is_ended(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "REQUEST_SECONDS", 0.05)
    answer = await client.get("/endless")
    assert answer.status_code == 503


@pytest.mark.parametrize(
    "sent", [b"", b"GET /nothing HTTP/1.1\r\n", b"G", b"\x16\x03\x01\x02"]
)
async def test_a_connection_without_a_request_is_ended(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(web, "IDLE_SECONDS", 0.05)
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.number)
        writer.write(sent)
        assert b"200" not in await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_dripping_does_not_keep_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "IDLE_SECONDS", 0.2)
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.number)

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.01)

        writer.write(b"GET / HTTP/1.1\r\nX: ")
        dripping = asyncio.create_task(drip())
        assert await asyncio.wait_for(reader.read(), 10) == b""
        dripping.cancel()
        writer.close()


async def test_a_head_has_a_largest_size(client: httpx.AsyncClient) -> None:
    # How much arrives at once is up to the network; all of this does not.
    with suppress(httpx.WriteError, httpx.ReadError):
        answer = await client.get("/nothing", headers={"X": "x" * 2**20})
        assert answer.status_code == 400
    assert (await client.get("/malformed")).status_code == 400


async def test_more_connections_than_it_bears_are_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 3)
    async with serving() as server:
        url = f"http://127.0.0.1:{server.number}"
        open_ones = [
            await asyncio.open_connection("127.0.0.1", server.number) for _ in range(2)
        ]
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/nothing")).status_code == 503
        for _, writer in open_ones:
            writer.close()
            await writer.wait_closed()
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/nothing")).status_code == 404


async def test_far_more_connections_are_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 2)
    async with serving() as server:
        opened = [
            await asyncio.open_connection("127.0.0.1", server.number) for _ in range(5)
        ]
        reader, _ = opened[4]
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        for _, writer in opened:
            writer.close()


@pytest.mark.parametrize("address", ["192.0.2.1:80", "127.0.0.1:70000"])
def test_an_address_that_cannot_be_had_is_refused(address: str) -> None:
    with pytest.raises(MalformedError, match=address):
        WebServer(web_app(ROUTES), WebPort(address))


async def test_a_port_is_taken_by_one_only() -> None:
    async with serving() as server:
        with pytest.raises(MalformedError, match="taken by another program"):
            WebServer(web_app(ROUTES), WebPort(f"127.0.0.1:{server.number}"))


async def test_it_speaks_over_ipv6() -> None:
    server = WebServer(web_app(ROUTES), WebPort("[::1]:0"))
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://[::1]:{server.number}") as client:
        assert (await client.get("/malformed")).status_code == 400
    await server.stop(0)


async def test_what_was_begun_is_finished_before_it_ends() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        begun.set()
        await go_on.wait()
        return PlainTextResponse("done")

    server = WebServer(web_app([Route("/slow", slow)]), WebPort(LOCAL))
    await server.start()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.number}"
    ) as client:
        asked = asyncio.create_task(client.get("/slow"))
        await begun.wait()
        stopping = asyncio.create_task(server.stop(10))
        await asyncio.sleep(0)
        go_on.set()
        assert (await asked).text == "done"
        await stopping
        with pytest.raises(httpx.ConnectError):
            await client.get("/slow")


async def test_it_ends_in_time_whatever_runs() -> None:
    server = WebServer(web_app(ROUTES), WebPort(LOCAL))
    await server.start()
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.number}"
    ) as client:
        asked = asyncio.create_task(client.get("/endless"))
        await asyncio.sleep(0.05)
        await asyncio.wait_for(server.stop(0.05), 5)
        with pytest.raises(httpx.HTTPError):
            (await asked).raise_for_status()


async def test_a_server_that_never_started_can_be_stopped() -> None:
    server = WebServer(web_app(ROUTES), WebPort(LOCAL))
    await server.stop(0)
    again = WebServer(web_app(ROUTES), WebPort(f"127.0.0.1:{server.number}"))
    await again.stop(0)


# --- HTTPS ----------------------------------------------------------------------------


class Files:
    """A certificate for this machine, in files."""

    def __init__(self, folder: Path) -> None:
        self.authority = TestAuthority.create("public authority")
        self.certificate, self.key = folder / "web.pem", folder / "web.key"
        self.issued = self.issue()

    def issue(self) -> Identity:
        """Replaces the files."""
        self.issued = self.authority.issue(
            (), ["localhost"], usage=ExtendedKeyUsageOID.SERVER_AUTH
        )
        self.certificate.write_bytes(self.issued.certificate)
        self.key.write_bytes(self.issued.key)
        return self.issued

    def settings(self) -> dict[str, str]:
        return {
            "ONWARD__WEB__LISTEN": LOCAL,
            "ONWARD__WEB__CERTIFICATE_FILE": str(self.certificate),
            "ONWARD__WEB__KEY_FILE": str(self.key),
        }

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        # Strict about what authorities of this day have, and ours for tests has not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    async def presented(self, port: int) -> bytes:
        """Returns the certificate that a stranger is shown."""
        _, writer = await asyncio.open_connection(
            "localhost", port, ssl=self.context(), family=2
        )
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return shown


def der(identity: Identity) -> bytes:
    return ssl.PEM_cert_to_DER_cert(identity.certificate.decode())


async def test_an_exchange_serves_https_and_takes_new_certificates_over(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path)
    async with open_service(tmp_path, files.settings()) as service:
        port = service.app.web_port
        url = f"https://localhost:{port}"
        async with httpx.AsyncClient(base_url=url, verify=files.context()) as client:
            answer = await client.get("/checkpoint")
        assert answer.text.startswith(service.app.ledger.checkpoint())
        first = files.issued
        assert await files.presented(port) == der(first)
        # A key without its certificate is not taken over, and the port goes on.
        files.key.write_bytes(TestAuthority.create("x").issue(()).key)
        await service.app._ports.upkeep.watch_certificates()
        assert await files.presented(port) == der(first)
        # A whole one is, for the next handshake.
        second = files.issue()
        await service.app._ports.upkeep.watch_certificates()
        assert await files.presented(port) == der(second)


async def test_https_is_tls_1_3(tmp_path: Path) -> None:
    files = Files(tmp_path)
    certificate = WebCertificate(files.certificate, files.key, Telemetry())
    async with serving(certificate=certificate) as server:
        old = files.context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("localhost", server.number, ssl=old, family=2)


async def test_a_certificate_that_is_none_is_refused_at_the_start(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path)
    files.key.write_bytes(b"no key")
    with pytest.raises(MalformedError, match=r"web\.key"):
        WebCertificate(files.certificate, files.key, Telemetry())
    with pytest.raises(MalformedError, match="cannot be read"):
        WebCertificate(tmp_path / "nothing.pem", files.key, Telemetry())
