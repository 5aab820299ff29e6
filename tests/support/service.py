"""A whole exchange in this process: real ports, real mutual TLS, real storage.

Members are put into the directory by a change of the ledger, as enrolment does, and
their certificates are signed by the exchange's own authority. So a test holds every
key, and can present any certificate.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from onward.core.statements import statement_digest
from onward.core.tlog_policy import Policy
from onward.core.tlog_proof import TlogProof
from onward.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    log_pb2,
    referral_pb2,
    referral_pb2_grpc,
    statement_pb2,
    vocabulary_pb2,
)
from onward_server.app import App, build
from onward_server.bootstrap import Founding, found
from onward_server.config import Config, load
from onward_server.exchange.clock import SystemClock
from onward_server.telemetry import Telemetry
from tests.support.certificates import Identity, TestAuthority
from tests.support.world import (
    AUDITOR,
    HOTLINE,
    NEVADA,
    STATE_POLICE,
    TRUST_DOMAIN,
    Party,
    SettableClock,
    World,
)

OPERATOR = f"spiffe://{TRUST_DOMAIN}/operator/admin"
ONLY_PUBLISHES = f"spiffe://{TRUST_DOMAIN}/agency/only-publishes"
ONLY_RECEIVES = f"spiffe://{TRUST_DOMAIN}/agency/only-receives"
SUSPENDED = f"spiffe://{TRUST_DOMAIN}/agency/suspended"
PENDING = f"spiffe://{TRUST_DOMAIN}/agency/pending"
STRANGER = f"spiffe://{TRUST_DOMAIN}/agency/stranger"
FOREIGNER = "spiffe://elsewhere.example/agency/national-hotline"

_KIND = vocabulary_pb2
_MEMBERS = tuple(
    partial(Party, *of)
    for of in (
        (HOTLINE, _KIND.MEMBER_KIND_HOTLINE),
        (STATE_POLICE, _KIND.MEMBER_KIND_LAW_ENFORCEMENT, ("US-OH",)),
        (NEVADA, _KIND.MEMBER_KIND_LAW_ENFORCEMENT, ("US-NV",)),
        (AUDITOR, _KIND.MEMBER_KIND_AUDITOR, ("US-OH",), (_KIND.ROLE_AUDITOR,)),
        (OPERATOR, _KIND.MEMBER_KIND_OPERATOR, (), (_KIND.ROLE_OPERATOR,)),
        (
            ONLY_PUBLISHES,
            _KIND.MEMBER_KIND_HOTLINE,
            ("US",),
            (_KIND.ROLE_PUBLISHER,),
        ),
        (
            ONLY_RECEIVES,
            _KIND.MEMBER_KIND_LAW_ENFORCEMENT,
            ("US",),
            (_KIND.ROLE_RECIPIENT,),
        ),
        (SUSPENDED, _KIND.MEMBER_KIND_HOTLINE),
        (PENDING, _KIND.MEMBER_KIND_HOTLINE),
    )
)
_STATUS = {
    SUSPENDED: _KIND.MEMBER_STATUS_SUSPENDED,
    PENDING: _KIND.MEMBER_STATUS_PENDING,
}

_LIBERAL = {
    "ONWARD__QUOTAS__READS_BURST": "100000",
    "ONWARD__QUOTAS__STATEMENTS_BURST": "100000",
    "ONWARD__QUOTAS__PUBLISH_BURST": "100000",
}


class RunningClock(SettableClock):
    """The machine's clock; a test can move it on."""

    def __init__(self) -> None:
        self.shift_ms = 0

    @property
    def ms(self) -> int:  # type: ignore[override]
        """The time in milliseconds."""
        return time.time_ns() // 1_000_000 + self.shift_ms

    def advance(self, seconds: float) -> None:
        """Moves on."""
        self.shift_ms += int(seconds * 1000)


@dataclass(slots=True)
class Service:
    """A running exchange.

    Attributes:
        folder: where everything of it is.
        clock: what it takes for the time.
        world: signs for its members.
        authority: signs certificates.
    """

    folder: Path
    config: Config
    app: App
    clock: RunningClock
    world: World
    authority: TestAuthority
    _identities: dict[str, Identity] = field(default_factory=dict)
    _channels: list[grpc.aio.Channel] = field(default_factory=list)

    def identity(self, name: str) -> Identity:
        """Returns a member's key and certificate, always the same."""
        if name not in self._identities:
            self._identities[name] = self.authority.issue([name])
        return self._identities[name]

    def channel(self, who: str | Identity | None) -> grpc.aio.Channel:
        """Opens a connection for members; closed with the service."""
        identity = self.identity(who) if isinstance(who, str) else who
        return self._open(self.app.api_port, identity)

    def enrolment_channel(self) -> grpc.aio.Channel:
        """Opens a connection to the enrolment port."""
        return self._open(self.app.enrolment_port, None)

    def referrals(self, who: str | Identity) -> referral_pb2_grpc.ReferralServiceStub:
        """Returns the service of publishers and recipients."""
        return referral_pb2_grpc.ReferralServiceStub(self.channel(who))

    def publish_request(self, **fields: Any) -> referral_pb2.PublishRequest:
        """Returns a signed referral of the hotline to the state police."""
        sending = self.world.referral(**fields)
        return referral_pb2.PublishRequest(
            referral=sending.jws, sealed_content=sending.sealed
        )

    def verify(self, logged: log_pb2.LoggedStatement) -> int:
        """Verifies a receipt as a stranger would; returns the size it leads to."""
        vkey = self.app.ledger._signer.vkey.format()
        policy = Policy.parse(f"log {vkey}\nquorum none\n")
        proof = TlogProof.parse(logged.receipt)
        digest = statement_digest(logged.statement)
        return proof.verify(digest, policy).checkpoint.size

    async def suspend(self, name: str) -> None:
        """Suspends a member, as the operator would."""
        await self._admin.SuspendMember(admin_pb2.SuspendMemberRequest(name=name))

    async def reinstate(self, name: str) -> None:
        """Reinstates a member, as the operator would."""
        await self._admin.ReinstateMember(admin_pb2.ReinstateMemberRequest(name=name))

    async def revoke_certificate(self, name: str, fingerprint: bytes) -> None:
        """Revokes a certificate, as the operator would."""
        await self._admin.RevokeCertificate(
            admin_pb2.RevokeCertificateRequest(name=name, fingerprint=fingerprint)
        )

    @property
    def _admin(self) -> admin_pb2_grpc.AdminServiceStub:
        """The service of operators."""
        return admin_pb2_grpc.AdminServiceStub(self.channel(OPERATOR))

    async def close(self) -> None:
        """Closes the connections of this test."""
        for channel in self._channels:
            await channel.close()

    def _open(self, port: int, identity: Identity | None) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            self.authority.pem,
            identity.key if identity else None,
            identity.certificate if identity else None,
        )
        # Of its own, so that no test shares a connection with another identity.
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        channel = grpc.aio.secure_channel(f"localhost:{port}", credentials, options)
        self._channels.append(channel)
        return channel


@asynccontextmanager
async def open_service(
    folder: Path,
    settings: Mapping[str, str] | None = None,
    telemetry: Telemetry | None = None,
) -> AsyncIterator[Service]:
    """Founds an exchange, starts it, and fills its directory.

    Args:
        folder: a new folder.
        settings: environment variables over its configuration.
        telemetry: where it tells about itself.
    """
    home = folder / "exchange"
    founding = Founding(
        home,
        TRUST_DOMAIN,
        listen="127.0.0.1:0",
        enrolment_listen="127.0.0.1:0",
        other_hosts=("127.0.0.1",),
    )
    founded = await found(founding, SystemClock(), os.urandom)
    config = load(founded.config_file, {**_LIBERAL, **(settings or {})})
    clock = RunningClock()
    app = await build(config, clock, telemetry=telemetry)
    await app.start()
    service = Service(
        home,
        config,
        app,
        clock,
        World(app._basis.store, app.ledger, clock),
        TestAuthority.load(
            config.tls.ca_certificate_file.read_bytes(),
            config.tls.ca_key_file.read_bytes(),
        ),
    )
    try:
        await _populate(service.world)
        yield service
    finally:
        await service.close()
        await app.drain(0)


async def _populate(world: World) -> None:
    """Puts members of every role and status into the directory."""
    for make in _MEMBERS:
        party = make()
        world.parties[party.name] = party
        entry = party.entry(world.clock.ms)
        entry.status = _STATUS.get(party.name, _KIND.MEMBER_STATUS_ACTIVE)
        await world.change(statement_pb2.DIRECTORY_CHANGE_KIND_ENROLLED, entry)


@dataclass(frozen=True, slots=True)
class Refused:
    """How a call was refused."""

    code: grpc.StatusCode
    details: str
    correlation_id: str
    status: status_pb2.Status | None

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Refused:
        """Reads the rich status of an error."""
        trailing = dict(error.trailing_metadata() or ())
        packed = trailing.get("grpc-status-details-bin")
        status = status_pb2.Status.FromString(packed) if packed else None
        correlation_id = str(trailing.get("onward-correlation-id", ""))
        return cls(error.code(), error.details() or "", correlation_id, status)

    def detail(self, kind: type[Any]) -> Any:
        """Returns the one detail of a kind."""
        (found_one,) = self.every(kind)
        return found_one

    def every(self, kind: type[Any]) -> list[Any]:
        """Returns the details of a kind."""
        found_all = []
        for packed in self.status.details if self.status else ():
            message = kind()
            if packed.Unpack(message):
                found_all.append(message)
        return found_all

    @property
    def reason(self) -> str:
        """The reason of the one ErrorInfo; empty when the transport refused."""
        if self.status is None:
            return ""
        info = self.detail(error_details_pb2.ErrorInfo)
        assert info.domain == "onward.v1"
        assert info.metadata["correlation_id"] == self.correlation_id
        return str(info.reason)


async def refused(call: Awaitable[Any]) -> Refused:
    """Makes a call that must be refused, and returns how it was."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return Refused.of(caught.value)


async def first(call: Any) -> Any:
    """Returns the first message of a stream."""
    return await anext(aiter(call))
