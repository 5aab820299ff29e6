"""Being witnessed over real HTTP, by a real witness, seen over real gRPC."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration

from onward.core.errors import StateError
from onward.core.notes import KeyType
from onward.core.statements import statement_digest
from onward.core.tlog_policy import Log, Policy
from onward.core.tlog_proof import TlogProof
from onward.home import Home
from onward.v1 import log_pb2, log_pb2_grpc
from onward_server.app import build
from onward_server.bootstrap import OPERATOR_HOME
from onward_server.exchange.asking import MAX_ANSWER, Reply
from onward_server.web.server import WebPort, WebServer, web_app
from onward_server.web.witness import witness_routes
from onward_server.witness_client import HttpTransport
from onward_server.witnessing.witness import Witness
from tests.support.service import Refused, Service, open_service
from tests.support.witnessing import COSIGNER, make_witness
from tests.support.world import HOTLINE, START_MS

QUICK = {
    "ONWARD__WEB__LISTEN": "127.0.0.1:0",
    "ONWARD__WITNESSES__INTERVAL_SECONDS": "0.02",
    "ONWARD__WITNESSES__HEARTBEAT_SECONDS": "0.2",
}


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    (tmp_path / "witness").mkdir()
    return make_witness(tmp_path / "witness")


@asynccontextmanager
async def answering(witness: Witness) -> AsyncIterator[str]:
    """Serves a witness; yields its URL."""
    server = WebServer(web_app(witness_routes(witness), "/w"), WebPort("127.0.0.1:0"))
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.number}/w/"
    finally:
        await server.stop(0)
        witness.close()


@asynccontextmanager
async def witnessed_by(
    folder: Path, url: str, **settings: str
) -> AsyncIterator[Service]:
    """An exchange whose log this witness is to cosign."""
    policy = folder / "policy"
    policy.write_text(f"witness w {COSIGNER.vkey.format()} {url}\nquorum w\n")
    chosen = {"ONWARD__WITNESSES__POLICY_FILE": str(policy)}
    async with open_service(folder, {**QUICK, **chosen, **settings}) as service:
        yield service


def know(folder: Path, service: Service) -> None:
    """Has the witness know the log."""
    vkey = service.app.ledger._signer.vkey.format()
    (folder / "witness" / "logs").write_text(f"log {vkey}\n")


def trusted(service: Service, url: str) -> Policy:
    """What a stranger trusts: the trust file of a member, and the witness."""
    logs = Home.open(service.folder / OPERATOR_HOME).policy.logs
    lines = [f"log {log.vkey.format()}" for log in logs]
    lines += [f"witness w {COSIGNER.vkey.format()} {url}", "quorum w"]
    return Policy.parse("\n".join(lines))


async def wait_for(
    service: Service, statement: str, seconds: int
) -> log_pb2.GetReceiptResponse:
    stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
    request = log_pb2.GetReceiptRequest(
        digest=statement_digest(statement), wait=Duration(seconds=seconds)
    )
    response: log_pb2.GetReceiptResponse = await stub.GetReceipt(request)
    return response


async def test_a_publisher_waits_for_a_receipt_with_the_quorum(
    tmp_path: Path, witness: Witness
) -> None:
    async with answering(witness) as url, witnessed_by(tmp_path, url) as service:
        know(tmp_path, service)
        published = await service.referrals(HOTLINE).Publish(service.publish_request())
        statement = published.acceptance.statement
        receipt = (await wait_for(service, statement, 30)).receipt
        # Longer than any calendar has is no reason to fail.
        assert (await wait_for(service, statement, 2**60)).receipt == receipt
        policy = trusted(service, url)
        proof = TlogProof.parse(receipt)
        found = proof.verify(statement_digest(statement), policy)
        assert found.times == {"w": START_MS // 1000}
        stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
        both = await stub.GetCheckpoint(log_pb2.GetCheckpointRequest())
        assert policy.open_checkpoint(both.witnessed).times
        assert len(both.checkpoint) < 500  # the newest one is as small as ever
        async with httpx.AsyncClient() as stranger:
            base = f"http://127.0.0.1:{service.app.web_port}"
            shown = (await stranger.get(f"{base}/checkpoint")).text
        assert policy.open_checkpoint(shown).times


async def test_the_trust_file_has_both_keys_and_each_suffices(tmp_path: Path) -> None:
    async with open_service(tmp_path, QUICK) as service:
        logs = Home.open(service.folder / OPERATOR_HOME).policy.logs
        assert [log.vkey.type for log in logs] == [KeyType.ED25519, KeyType.ML_DSA_44]
        async with httpx.AsyncClient() as stranger:
            base = f"http://127.0.0.1:{service.app.web_port}"
            shown = (await stranger.get(f"{base}/checkpoint")).text
        for log in logs:
            head = Policy((Log(log.vkey),)).open_checkpoint(shown).checkpoint
            assert head.size == service.app.ledger.head().size


async def test_an_exchange_without_a_second_key_goes_on_without(
    tmp_path: Path,
) -> None:
    missing = str(tmp_path / "none.key")
    settings = {**QUICK, "ONWARD__KEYS__LOG_MLDSA_KEY_FILE": missing}
    async with open_service(tmp_path, settings) as service:
        async with httpx.AsyncClient() as stranger:
            base = f"http://127.0.0.1:{service.app.web_port}"
            shown = (await stranger.get(f"{base}/checkpoint")).text
        assert shown == service.app.ledger.checkpoint()


async def test_a_witness_that_does_not_answer_is_no_ones_problem(
    tmp_path: Path,
) -> None:
    taken = asyncio.Event()

    async def take(reader: Reader, _: Writer) -> None:
        taken.set()
        await reader.read()

    async with (
        serving(take) as url,
        witnessed_by(tmp_path, url) as service,
    ):
        published = await service.referrals(HOTLINE).Publish(service.publish_request())
        assert service.app.readiness.ready
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await wait_for(service, published.acceptance.statement, 1)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert Refused.of(error.value).reason == "QUORUM_UNMET"
        assert service.verify(published.acceptance) > 0
        await taken.wait()


async def test_an_exchange_that_lost_its_guard_waits_for_a_witness(
    tmp_path: Path, witness: Witness
) -> None:
    async with answering(witness) as url, witnessed_by(tmp_path, url) as service:
        config = service.config
    config.storage.guard_file.unlink()
    app = await build(config)
    try:
        with pytest.raises(StateError, match="no witness can be reached"):
            await app.start()
    finally:
        await app.drain(0)
    assert not config.storage.guard_file.read_bytes()


# --- the transport


@asynccontextmanager
async def serving(
    handler: Callable[[Reader, Writer], Awaitable[None]],
) -> AsyncIterator[str]:
    """Has somebody answer who is no witness; yields the URL."""
    handled: list[asyncio.Task[None]] = []

    async def handle(reader: Reader, writer: Writer) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def accept(reader: Reader, writer: Writer) -> None:
        handled.append(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*handled, return_exceptions=True)
        await server.wait_closed()


async def test_an_answer_is_read_up_to_a_bound() -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        size = MAX_ANSWER + 1
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        writer.write(bytes(size))
        await writer.drain()

    async with serving(answer) as url, HttpTransport(5) as transport:
        assert await transport.post(url, b"body") is None


async def test_redirects_are_answers_and_nobody_is_no_answer() -> None:
    async def answer(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
            b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nno"
        )
        await writer.drain()

    async with HttpTransport(5) as transport:
        async with serving(answer) as url:
            assert await transport.post(url, b"body") == Reply(302, "text/plain", b"no")
        assert await transport.post(url, b"body") is None
        assert await transport.post("http://[", b"body") is None


async def test_whoever_drips_is_given_up() -> None:
    async def drip(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

    async with serving(drip) as url, HttpTransport(0.2) as transport:
        assert await transport.post(url, b"body") is None


async def test_every_member_can_list_what_others_vouch_for(
    tmp_path: Path, witness: Witness
) -> None:
    async with answering(witness) as url, witnessed_by(tmp_path, url) as service:
        know(tmp_path, service)
        for _ in range(2):
            published = await service.referrals(HOTLINE).Publish(
                service.publish_request()
            )
            await wait_for(service, published.acceptance.statement, 30)
        stub = log_pb2_grpc.LogServiceStub(service.channel(HOTLINE))
        token, sizes = "", list[int]()
        while token or not sizes:
            page = await stub.ListVouchers(
                log_pb2.ListVouchersRequest(page_size=1, page_token=token)
            )
            (item,) = page.checkpoints
            opened = trusted(service, url).open_checkpoint(item.checkpoint)
            assert opened.times == {"w": START_MS // 1000}
            assert not item.timestamps
            sizes.append(opened.checkpoint.size)
            token = page.next_page_token
        assert sizes == sorted(set(sizes))
        assert len(sizes) >= 2
        with pytest.raises(grpc.aio.AioRpcError, match="page_token"):
            await stub.ListVouchers(
                log_pb2.ListVouchersRequest(first_size=1, page_token="AQ")
            )
