"""An exchange on a real port with mutual TLS, which can be told to misbehave.

It is honest by itself: its log, directory and receipts are those of the chain builder,
and what members submit is logged as it came. A test can change any answer on its way
out (``tamper``), refuse calls (``failures``), and rewrite history, which an exchange
that works would never do.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from onward.core.errors import OnwardError
from onward.core.sealing import ContentPrivateKey
from onward.core.statements import SignedStatement, parse_statement
from onward.home import Home, MemberSettings
from onward.v1 import (
    directory_pb2,
    directory_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    referral_pb2,
    referral_pb2_grpc,
    statement_pb2,
    vocabulary_pb2,
)
from tests.support.chain_builder import (
    HOTLINE,
    NEVADA,
    OHIO,
    UTAH,
    ChainBuilder,
    Logged,
    established,
)

AGENCIES = (HOTLINE, OHIO, NEVADA, UTAH)

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """How the fake refuses a call."""

    code: grpc.StatusCode
    error: OnwardError | None = None
    rejection: log_pb2.LoggedStatement | None = None

    def status(self) -> bytes:
        """Returns the rich status, as an exchange sends it."""
        if self.error is None:
            return b""
        details: list[Message] = [
            error_details_pb2.ErrorInfo(
                reason=self.error.reason_name,
                domain="onward.v1",
                metadata=dict(self.error.metadata),
            )
        ]
        if self.error.field:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=self.error.field
            )
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        if self.error.retry_after is not None:
            delay = Duration()
            delay.FromTimedelta(timedelta(seconds=self.error.retry_after))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        if self.rejection is not None:
            details.append(self.rejection)
        status = status_pb2.Status(code=self.code.value[0], message=str(self.error))
        for detail in details:
            status.details.append(AnyProto())
            status.details[-1].Pack(detail)
        data: bytes = status.SerializeToString()
        return data


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    lifetime: timedelta | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + (lifetime or timedelta(days=3650)))
    )


@dataclass(slots=True)
class Authority:
    """A certificate authority, for one test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls) -> Authority:
        """Makes one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        builder = _certificate(name, name, key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, name: str, lifetime: timedelta | None = None
    ) -> tuple[bytes, bytes]:
        """Returns a private key and a certificate for a URI or DNS name, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        general = (
            x509.UniformResourceIdentifier(name)
            if "://" in name
            else x509.DNSName(name)
        )
        certificate = (
            _certificate(
                x509.Name([]), self.certificate.subject, key.public_key(), lifetime
            )
            .add_extension(x509.SubjectAlternativeName([general]), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem, certificate.public_bytes(serialization.Encoding.PEM)


@dataclass
class FakeExchange(
    log_pb2_grpc.LogServiceServicer,
    directory_pb2_grpc.DirectoryServiceServicer,
    referral_pb2_grpc.ReferralServiceServicer,
):
    """The fake. Use :func:`running`.

    Attributes:
        builder: log, directory and keys.
        folder: where homes are made.
        tamper: by method, changes each answer (or message of a stream).
        failures: by method, how the next calls are refused, one after the other.
        calls: how many calls came, by method.
        metadata: what came with the last call, by method.
        content: sealed content, by its digest.
        waiting: ids of the referrals that wait for a recipient, by its name.
        attempts: how often each referral was delivered.
        hang_up: ends the streams of now in good order; see :meth:`end_streams`.
    """

    builder: ChainBuilder
    folder: Path
    tamper: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    failures: dict[str, list[Failure]] = field(
        default_factory=lambda: defaultdict(list)
    )
    calls: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    content: dict[bytes, bytes] = field(default_factory=dict)
    waiting: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    attempts: Counter[str] = field(default_factory=Counter)
    retracted: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    content_keys: dict[str, ContentPrivateKey] = field(default_factory=dict)
    hang_up: asyncio.Event = field(default_factory=asyncio.Event)
    wake: asyncio.Condition = field(default_factory=asyncio.Condition)
    address: str = ""
    separate_content: bool = False
    _authority: Authority = field(default_factory=Authority.make)

    def __post_init__(self) -> None:
        for name in AGENCIES:
            self.content_keys[name] = ContentPrivateKey.generate(
                vocabulary_pb2.SEALING_SUITE_P384
            )
            self._list_content_key(name)

    # What a test asks for

    @property
    def now(self) -> datetime:
        """The time of everybody's clock."""
        return self.builder.now

    def home(self, name: str) -> Home:
        """Returns the home of a member, made when it is asked for first."""
        home = Home.create(self.folder / name.rpartition("/")[2])
        if not home.is_enrolled:
            key, chain = self._authority.issue(name)
            home.save_tls_key(key)
            home.add_statement_key(self.builder.parties[name].key)
            home.add_content_key(self.content_keys[name])
            home.save_enrollment(
                MemberSettings(name, self.builder.exchange, self.address, "localhost"),
                certificate_chain=chain,
                server_ca=self._authority.pem,
                trust=self.builder.trust(),
            )
        return home

    def rewrite_history(self, since: int) -> None:
        """Replaces the log's entries from an index on; its key signs that as well."""
        for index in range(since, len(self.builder.log)):
            old = self.builder._leaves[index]
            self.builder._leaves[index] = sha256(b"rewritten" + old).digest()

    def reject(self, referral: SignedStatement) -> log_pb2.LoggedStatement:
        """Logs a referral with the exchange's ``Rejection`` of it."""
        body = statement_pb2.Rejection(
            policy_version="2026-11",
            policy_digest=bytes(32),
            rule="victim-declined",
            sentence="The person concerned does not want it.",
        )
        rejection = self.builder.sign(
            self.builder.exchange,
            referral_id=referral.message.id,
            previous=referral,
            rejection=body,
        )
        first = self.builder.append(referral, rejection)
        return to_proto(self.builder.log[first.index + 1])

    def signed(self, jws: str) -> SignedStatement:
        """Returns a statement as one of its issuer's key."""
        parsed = parse_statement(jws)
        return parsed.verify(self.builder.parties[parsed.message.issuer].key.public)

    async def deliver(self, recipient: str, referral_id: str) -> None:
        """Puts a referral in the way of a recipient, again or for the first time."""
        async with self.wake:
            self.waiting[recipient].append(referral_id)
            self.wake.notify_all()

    async def end_streams(self) -> None:
        """Ends all streams in good order; new ones may begin."""
        ended, self.hang_up = self.hang_up, asyncio.Event()
        ended.set()
        async with self.wake:
            self.wake.notify_all()

    # LogService

    async def GetCheckpoint(self, request: Any, context: _Context) -> Any:
        return log_pb2.GetCheckpointResponse(checkpoint=self.builder.checkpoint())

    async def GetReceipt(self, request: Any, context: _Context) -> Any:
        digests = [item.digest for item in self.builder.log]
        receipt = self.builder.receipt(digests.index(request.digest))
        return log_pb2.GetReceiptResponse(receipt=receipt.format())

    async def GetConsistencyProof(self, request: Any, context: _Context) -> Any:
        tree = self.builder._tree(request.second_size)
        path = tree.consistency_proof(request.first_size)
        return log_pb2.GetConsistencyProofResponse(path=path)

    # DirectoryService

    async def GetMember(self, request: Any, context: _Context) -> Any:
        changes = [
            to_proto(item)
            for item in self.builder.directory()
            if item.statement.message.directory_change.member.name == request.name
        ]
        return directory_pb2.GetMemberResponse(changes=changes)

    async def GetExchangeKeys(self, request: Any, context: _Context) -> Any:
        changes = [
            to_proto(item)
            for item in self.builder.directory()
            if item.statement.body_kind == "key_change"
        ]
        return directory_pb2.GetExchangeKeysResponse(changes=changes)

    async def RenewCertificate(self, request: Any, context: _Context) -> Any:
        """Issues a certificate, but for another key than the one asked for."""
        _, chain = self._authority.issue(caller(context))
        return directory_pb2.RenewCertificateResponse(certificate_chain=chain.decode())

    # ReferralService

    async def Publish(self, request: Any, context: _Context) -> Any:
        return await self._publish(request)

    async def PublishBatch(self, request: Any, context: _Context) -> Any:
        results = [
            referral_pb2.PublishResult(response=await self._publish(item))
            for item in request.requests
        ]
        return referral_pb2.PublishBatchResponse(results=results)

    async def PutContent(self, requests: AsyncIterator[Any], context: _Context) -> Any:
        digest, content = b"", b""
        async for request in requests:
            digest = digest or request.header.content_digest
            content += request.chunk
        assert sha256(content).digest() == digest
        self.content[digest] = content
        return referral_pb2.PutContentResponse()

    async def SubmitStatement(self, request: Any, context: _Context) -> Any:
        statement = self.signed(request.statement)
        kind = statement.body_kind
        if kind == "transfer":
            child = self.signed(request.child.referral)
            first = self.builder.append(
                statement, child, self.builder.acceptance(child)
            )
            await self._accept(child, request.child.sealed_content)
            items = self.builder.log[first.index :]
            return referral_pb2.SubmitStatementResponse(
                statement=to_proto(items[0]),
                child=referral_pb2.PublishResponse(
                    referral=to_proto(items[1]), acceptance=to_proto(items[2])
                ),
            )
        logged = self._find(request.statement) or self.builder.append(statement)
        if kind == "retraction":
            for recipient in self._chain(statement)[0].message.referral.recipients:
                self.retracted[recipient].append(request.statement)
        return referral_pb2.SubmitStatementResponse(statement=to_proto(logged))

    async def GetReferral(self, request: Any, context: _Context) -> Any:
        chain = self.builder.chain(request.referral_id)
        view = referral_pb2.ReferralView(
            referral_id=request.referral_id, statements=map(to_proto, chain)
        )
        return referral_pb2.GetReferralResponse(referral=view)

    async def GetContent(
        self, request: Any, context: _Context
    ) -> AsyncGenerator[Any, None]:
        chain = self.builder.chain(request.referral_id)
        content = self.content[chain[0].statement.message.referral.content_digest]
        for start in range(0, len(content), 256 * 1024):
            chunk = content[start : start + 256 * 1024]
            yield referral_pb2.GetContentResponse(chunk=chunk)
        handover = self._hand_over(request.referral_id, context)
        yield referral_pb2.GetContentResponse(handover=handover)

    async def Receive(
        self, request: Any, context: _Context
    ) -> AsyncGenerator[Any, None]:
        name = caller(context)
        for jws in self.retracted[name]:
            item = self._find(jws)
            assert item
            yield referral_pb2.ReceiveResponse(
                retraction=referral_pb2.RetractionNotice(
                    referral_id=item.statement.message.referral_id,
                    retraction=to_proto(item),
                )
            )
        ended = self.hang_up
        while not ended.is_set():
            async with self.wake:
                await self.wake.wait_for(lambda: self.waiting[name] or ended.is_set())
                delivered = self.waiting[name][:]
                self.waiting[name].clear()
            for referral_id in delivered:
                for event in self._deliver(referral_id, context):
                    yield event

    async def WatchOwn(
        self, request: Any, context: _Context
    ) -> AsyncGenerator[Any, None]:
        start = int(request.resume_token or 0)
        for item in self.builder.log[start:]:
            token = str(item.index + 1)
            if item.statement.message.referral_id:
                yield referral_pb2.WatchOwnResponse(
                    statement=to_proto(item), resume_token=token
                )

    # Inside

    async def _publish(self, request: Any) -> Any:
        statement = self.signed(request.referral)
        logged = self._find(request.referral)
        if logged is None:
            acceptance = self.builder.acceptance(statement)
            logged = self.builder.append(statement, acceptance)
            await self._accept(statement, request.sealed_content)
        return referral_pb2.PublishResponse(
            referral=to_proto(logged),
            acceptance=to_proto(self.builder.log[logged.index + 1]),
        )

    async def _accept(self, referral: SignedStatement, content: bytes) -> None:
        body = referral.message.referral
        if content:
            self.content[body.content_digest] = content
        for recipient in body.recipients:
            await self.deliver(recipient, referral.message.id)

    def _deliver(self, referral_id: str, context: _Context) -> list[Any]:
        referral, acceptance = self.builder.chain(referral_id)[:2]
        self.attempts[referral_id] += 1
        content = self.content[referral.statement.message.referral.content_digest]
        delivery = referral_pb2.Delivery(
            referral=to_proto(referral),
            acceptance=to_proto(acceptance),
            sealed_content=b"" if self.separate_content else content,
            content_separate=self.separate_content,
            attempt=self.attempts[referral_id],
            traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01",
        )
        events = [referral_pb2.ReceiveResponse(delivery=delivery)]
        if not self.separate_content:
            notice = referral_pb2.HandoverNotice(
                referral_id=referral_id, handover=self._hand_over(referral_id, context)
            )
            events.append(referral_pb2.ReceiveResponse(handover=notice))
        return events

    def _hand_over(self, referral_id: str, context: _Context) -> Any:
        referral, acceptance = self.builder.chain(referral_id)[:2]
        (pem,) = context.auth_context()["x509_pem_cert"]
        certificate = x509.load_pem_x509_certificate(pem)
        body = statement_pb2.Handover(
            recipient=caller(context),
            certificate_fingerprint=certificate.fingerprint(hashes.SHA256()),
            content_digest=referral.statement.message.referral.content_digest,
        )
        return to_proto(
            self.builder.answer(self.builder.exchange, acceptance, handover=body)
        )

    def _chain(self, statement: SignedStatement) -> list[SignedStatement]:
        chain = self.builder.chain(statement.message.referral_id)
        return [item.statement for item in chain]

    def _find(self, jws: str) -> Logged | None:
        return next(
            (item for item in self.builder.log if item.statement.jws == jws), None
        )

    def _list_content_key(self, name: str) -> None:
        """Puts a member's present content key in the directory, in place of others."""
        entry = self.builder.parties[name].entry
        template = entry.statement_keys[0]
        key = self.content_keys[name].public.to_proto()
        key.status = vocabulary_pb2.KEY_STATUS_ACTIVE
        key.not_before_time.CopyFrom(template.not_before_time)
        key.not_after_time.CopyFrom(template.not_after_time)
        del entry.content_keys[:]
        entry.content_keys.append(key)
        self.builder.change(name, statement_pb2.DIRECTORY_CHANGE_KIND_KEYS_ROTATED)


class Interceptor(grpc.aio.ServerInterceptor):
    """Counts, refuses and tampers."""

    def __init__(self, exchange: FakeExchange) -> None:
        self._exchange = exchange

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        method = details.method.rpartition("/")[2]
        exchange = self._exchange

        async def arrive(context: _Context) -> None:
            exchange.calls[method] += 1
            exchange.metadata[method] = dict(context.invocation_metadata() or ())
            if exchange.failures[method]:
                failure = exchange.failures[method].pop(0)
                await context.abort(
                    failure.code,
                    str(failure.error or "no reason given"),
                    (("grpc-status-details-bin", failure.status()),),
                )

        def change(response: Any) -> Any:
            return exchange.tamper.get(method, lambda same: same)(response)

        async def unary(request: Any, context: _Context) -> Any:
            await arrive(context)
            return change(
                await (handler.unary_unary or handler.stream_unary)(request, context)
            )

        async def stream(request: Any, context: _Context) -> AsyncIterator[Any]:
            await arrive(context)
            async for response in handler.unary_stream(request, context):
                yield change(response)

        if handler.unary_stream:
            return handler._replace(unary_stream=stream)
        if handler.stream_unary:
            return handler._replace(stream_unary=unary)
        return handler._replace(unary_unary=unary)


@asynccontextmanager
async def running(
    folder: Path,
    *more: Callable[[FakeExchange, grpc.aio.Server], None],
) -> AsyncGenerator[FakeExchange, None]:
    """Runs a fake exchange with its members.

    Args:
        folder: where homes are made.
        more: adds further services.
    """
    exchange = FakeExchange(established(), folder)  # type: ignore[abstract]
    server = grpc.aio.server(interceptors=[Interceptor(exchange)])
    log_pb2_grpc.add_LogServiceServicer_to_server(exchange, server)
    directory_pb2_grpc.add_DirectoryServiceServicer_to_server(exchange, server)
    referral_pb2_grpc.add_ReferralServiceServicer_to_server(exchange, server)
    for add in more:
        add(exchange, server)
    key, chain = exchange._authority.issue("localhost")
    credentials = grpc.ssl_server_credentials(
        [(key, chain)], exchange._authority.pem, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    exchange.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield exchange
    finally:
        await server.stop(None)


def caller(context: _Context) -> str:
    """Returns who is calling, by its certificate."""
    (name,) = context.auth_context()["peer_spiffe_id"]
    return name.decode()


def to_proto(item: Logged) -> log_pb2.LoggedStatement:
    """Returns an entry with its receipt as it is sent."""
    return log_pb2.LoggedStatement(
        statement=item.statement.jws, receipt=item.receipt.format()
    )
