"""The exchange put together: the only place where objects are wired.

* :func:`build` opens the storage, loads the keys, makes the domain, the services and
  the ports. Nothing is answered yet.
* :meth:`App.start` begins with the ledger, then the ports, then the chores.
* :meth:`App.drain` says that it is not ready any more, ends the streams, and gives the
  calls that run their time; then everything is closed, what was opened last first.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import structlog

from onward.v1 import vocabulary_pb2
from onward_server import telemetry as names
from onward_server.background import Chore, Chores
from onward_server.config import Config
from onward_server.exchange.clock import (
    Clock,
    Entropy,
    SystemClock,
    system_entropy,
    to_datetime,
)
from onward_server.exchange.delivering import Delivering
from onward_server.exchange.draft import Voice
from onward_server.exchange.enrolment import Enrolment
from onward_server.exchange.erasing import Erasing
from onward_server.exchange.gate import Gate
from onward_server.exchange.guard import Guard
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.limits import Limits
from onward_server.exchange.log_reader import LogReader
from onward_server.exchange.policy import DisclosurePolicy
from onward_server.exchange.publishing import Publishing
from onward_server.exchange.quotas import Allowance, Place, Quotas, Resource
from onward_server.exchange.reading import Reader
from onward_server.exchange.records import Records
from onward_server.exchange.registry import Registry
from onward_server.exchange.submission import Submission
from onward_server.exchange.watching import Watching
from onward_server.exporting import configure_logging, make_telemetry
from onward_server.material import Material, load_material, make_issuing
from onward_server.observing import StorageState, observed, urgency_name
from onward_server.readiness import ReadinessCheck
from onward_server.services.admin import AdminService
from onward_server.services.capability import CapabilityService, capabilities
from onward_server.services.custody import CustodyService
from onward_server.services.directory import DirectoryService
from onward_server.services.enrollment import EnrollmentService
from onward_server.services.health import Readiness
from onward_server.services.log import LogService
from onward_server.services.referral import ReferralDomain, ReferralService
from onward_server.services.server import Port, Surroundings, make_server
from onward_server.services.tls import Certificates, TlsFiles
from onward_server.storage.contract import Store
from onward_server.storage.sqlite import open_sqlite
from onward_server.telemetry import Telemetry

_API_MESSAGE = 4 * 1024 * 1024
_ENROLMENT_MESSAGE = 64 * 1024
_ENROLMENT_CONNECTION = 120.0
_DAY = timedelta(days=1)
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_DELIVERY_STATES = {
    state: name.removeprefix("DELIVERY_STATE_")
    for name, state in vocabulary_pb2.DeliveryState.items()
    if state
}
_URGENCIES = [urgency for urgency in vocabulary_pb2.Urgency.values() if urgency]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Basis:
    """What everything else stands on."""

    config: Config
    material: Material
    clock: Clock
    entropy: Entropy
    telemetry: Telemetry
    storage: StorageState
    store: Store
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Domain:
    """The parts of the domain that services speak for."""

    referral: ReferralDomain
    registry: Registry
    enrolment: Enrolment
    log: LogReader


async def build(
    config: Config,
    clock: Clock | None = None,
    entropy: Entropy = system_entropy,
    telemetry: Telemetry | None = None,
) -> App:
    """Puts an exchange together. It listens, and answers once it was started.

    Args:
        config: the configuration.
        clock: tells the time; the machine's clocks if None.
        entropy: returns random bytes.
        telemetry: where it tells about itself; nowhere if None. It ends with the app.

    Raises:
        MalformedError: a file or address of the configuration cannot be used.
        UnavailableError: the database cannot be opened.
    """
    clock, telemetry = clock or SystemClock(), telemetry or Telemetry()
    async with AsyncExitStack() as resources:
        resources.push_async_callback(asyncio.to_thread, telemetry.shutdown)
        material = load_material(config)
        storage = StorageState(clock.monotonic)
        database = await open_sqlite(str(config.storage.database_file))
        resources.push_async_callback(database.close)
        store = observed(database, telemetry, storage)
        voice = Voice(str(config.name), material.statement_key, entropy)
        guard = Guard(config.storage.guard_file)
        ledger = Ledger(store, material.log_signer, voice, clock, guard)
        resources.push_async_callback(ledger.stop)
        basis = Basis(
            config, material, clock, entropy, telemetry, storage, store, ledger
        )
        return App(basis, _domain(basis), resources.pop_all())


async def run(config: Config) -> None:
    """Runs an exchange in this process until SIGTERM or SIGINT.

    Raises:
        MalformedError: a file or address of the configuration cannot be used.
        UnavailableError: the database cannot be opened, or is older than the log.
    """
    configure_logging(config.telemetry.log_level)
    app = await build(config, telemetry=make_telemetry(config))
    try:
        await app.start()
    except BaseException:
        await app.drain(0)
        raise
    await app.serve_until_stopped()


class App:
    """One exchange in this process.

    Attributes:
        api_port: the port for members.
        enrolment_port: the port on which members enrol.
        readiness: whether it is ready.
        ledger: its ledger.
    """

    def __init__(self, basis: Basis, domain: Domain, resources: AsyncExitStack) -> None:
        self._basis = basis
        self._domain = domain
        self._resources = resources
        self.ledger = basis.ledger
        self.readiness = Readiness()
        self._gate = Gate(
            basis.ledger.directory, basis.config.exchange.trust_domain, basis.clock
        )
        self._quotas = _quotas(basis)
        around = Surroundings(self._gate, self._quotas, basis.telemetry, self.readiness)
        self._certificates = _api_certificates(basis), _enrolment_certificates(basis)
        api, self.api_port = make_server(
            _api_port(basis.config),
            _api_services(basis, domain),
            self._certificates[0],
            around,
        )
        enrolment, self.enrolment_port = make_server(
            _enrolment_port(basis.config),
            {"onward.v1.EnrollmentService": EnrollmentService(domain.enrolment)},
            self._certificates[1],
            around,
        )
        self._servers = api, enrolment
        self._chores = Chores(basis.telemetry)
        self._check = ReadinessCheck(
            basis.ledger,
            basis.storage,
            self._certificates,
            self._chores,
            self.readiness,
            basis.telemetry,
            basis.clock,
        )

    async def start(self) -> None:
        """Begins to answer.

        Raises:
            UnavailableError: the database is older than what was signed, or has another
                history; nothing may be signed.
        """
        await self.ledger.start()
        for server in self._servers:
            await server.start()
        await self._check.examine()
        await self._resources.enter_async_context(self._chores.running(self._routine()))
        _log.info(
            "app.started",
            exchange=self.ledger.exchange,
            api_port=self.api_port,
            enrolment_port=self.enrolment_port,
            ready=self.readiness.ready,
        )

    async def serve_until_stopped(self) -> None:
        """Serves until SIGTERM or SIGINT, and then drains."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, stopped.set)
        try:
            await stopped.wait()
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)
            await self.drain(self._basis.config.api.drain_seconds)

    async def drain(self, grace: float) -> None:
        """Ends the exchange; what was begun is finished where the time allows.

        Args:
            grace: seconds that calls may go on.
        """
        _log.info("app.draining", grace=grace)
        self.readiness.close()
        self._gate.drain()
        self.ledger.hub.wake_all()
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        await self._resources.aclose()
        _log.info("app.stopped")

    def _routine(self) -> list[Chore]:
        """Returns what is done again and again."""
        return [
            Chore("readiness", 5, self._check.examine),
            Chore("retention", 60, self._sweep),
            Chore("certificates", 10, self._watch_certificates),
            Chore("gauges", 15, self._gauge),
        ]

    async def _sweep(self) -> None:
        """Erases what is due."""
        erased = await self._domain.referral.erasing.sweep()
        if erased:
            self._basis.telemetry.tell(names.ERASED, erased)
            _log.info("retention.erased", contents=erased)

    async def _watch_certificates(self) -> None:
        """Takes over changed certificates early, and tells how long they last."""
        for certificates in self._certificates:
            certificates.refresh()
        left = min(found.not_after for found in self._certificates) - to_datetime(
            self._basis.clock.now_ms()
        )
        self._basis.telemetry.tell(names.CERTIFICATE_LEFT, left / _DAY)

    async def _gauge(self) -> None:
        """Tells what waits."""
        tell, now = self._basis.telemetry.tell, self._basis.clock.now_ms()
        tell(names.STREAMS_OPEN, self._quotas.taken(Place.STREAM))
        status = await self._domain.referral.records.status()
        for state, name in _DELIVERY_STATES.items():
            facts = {names.STATE: name}
            tell(names.DELIVERIES, status.deliveries.get(state, 0), facts)
        for urgency in _URGENCIES:
            waiting = now - status.oldest_waiting.get(urgency, now)
            facts = {names.URGENCY: urgency_name(urgency)}
            tell(names.OLDEST_WAITING, waiting / 1000, facts)


def _domain(basis: Basis) -> Domain:
    """Makes the domain."""
    ledger, store, clock = basis.ledger, basis.store, basis.clock
    limits = _limits(basis.config)
    reader = Reader(ledger, clock, limits)
    policy = DisclosurePolicy.load_default()
    publishing = Publishing(ledger, store, reader, policy, clock, limits)
    issuing = make_issuing(basis.config, basis.material, basis.entropy)
    return Domain(
        ReferralDomain(
            publishing,
            Submission(ledger, store, reader, publishing),
            Delivering(ledger, store, clock, basis.entropy, limits),
            Watching(ledger, store, clock, limits),
            Records(ledger, store),
            Erasing(ledger, store, clock, limits),
            limits,
        ),
        Registry(ledger, store, issuing, clock),
        Enrolment(ledger, store, issuing, clock),
        LogReader(ledger, store),
    )


def _api_services(basis: Basis, domain: Domain) -> Mapping[str, object]:
    """Makes the services for members."""
    referral, registry = domain.referral, domain.registry
    told = capabilities(
        basis.ledger.exchange,
        basis.material.log_signer.vkey.format(),
        referral.limits,
    )
    return {
        "onward.v1.ReferralService": ReferralService(referral),
        "onward.v1.CustodyService": CustodyService(referral.records),
        "onward.v1.LogService": LogService(domain.log),
        "onward.v1.DirectoryService": DirectoryService(registry),
        "onward.v1.CapabilityService": CapabilityService(told),
        "onward.v1.AdminService": AdminService(
            registry, referral.erasing, referral.records
        ),
    }


def _api_port(config: Config) -> Port:
    return Port(
        config.api.listen,
        _API_MESSAGE,
        config.api.connection_age_seconds,
        config.api.drain_seconds,
        reflection=True,
    )


def _enrolment_port(config: Config) -> Port:
    return Port(
        config.enrolment.listen,
        _ENROLMENT_MESSAGE,
        _ENROLMENT_CONNECTION,
        config.api.drain_seconds,
    )


def _api_certificates(basis: Basis) -> Certificates:
    tls = basis.config.tls
    files = TlsFiles(tls.certificate_file, tls.key_file, client_ca=tls.client_ca_file)
    return Certificates(files, basis.telemetry)


def _enrolment_certificates(basis: Basis) -> Certificates:
    """Clients pin the authority, so it is in the chain."""
    tls = basis.config.tls
    files = TlsFiles(tls.certificate_file, tls.key_file, issuer=tls.ca_certificate_file)
    return Certificates(files, basis.telemetry)


def _limits(config: Config) -> Limits:
    limits = config.limits
    return Limits(
        inline_content=limits.inline_content_size,
        content=limits.content_size,
        batch_items=limits.batch_items,
        clock_tolerance=limits.clock_tolerance_seconds,
        lease=limits.lease_seconds,
        heartbeat=limits.heartbeat_seconds,
        upload_kept=limits.upload_hours * 3600,
    )


def _quotas(basis: Basis) -> Quotas:
    quotas, enrolment = basis.config.quotas, basis.config.enrolment
    return Quotas(
        {
            Resource.PUBLISH: Allowance(
                quotas.publish_per_second, quotas.publish_burst
            ),
            Resource.STATEMENTS: Allowance(
                quotas.statements_per_second, quotas.statements_burst
            ),
            Resource.READS: Allowance(quotas.reads_per_second, quotas.reads_burst),
            Resource.UPLOAD_BYTES: Allowance(
                quotas.upload_bytes_per_second, quotas.upload_burst_bytes
            ),
            Resource.ENROLMENT: Allowance(
                enrolment.calls_per_minute / 60, enrolment.calls_per_minute
            ),
        },
        {
            Place.STREAM: quotas.streams,
            Place.ENROLMENT: enrolment.concurrent_calls,
        },
        basis.clock.monotonic,
    )
