"""The exchange put together: the only place where objects are wired.

* :func:`build` opens the storage, loads the keys, makes the domain, the services and
  the ports. Nothing is answered yet.
* :meth:`App.start` begins with the ledger, then the ports, then the chores.
* :meth:`App.drain` says that it is not ready any more, ends the streams, and gives the
  calls that run their time; then everything is closed, what was opened last first.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import structlog

from onward_server import settings
from onward_server.background import Chores
from onward_server.config import Config
from onward_server.databases import describe, is_server, open_store, require_file
from onward_server.exchange import timestamps
from onward_server.exchange.accusations import Accusations
from onward_server.exchange.alarming import Alarming
from onward_server.exchange.asking import Transport
from onward_server.exchange.auditing import Auditing
from onward_server.exchange.clock import (
    Clock,
    Entropy,
    system_entropy,
)
from onward_server.exchange.cosigning import LogCosigner
from onward_server.exchange.deciding import Deciding
from onward_server.exchange.delivering import Delivering
from onward_server.exchange.draft import Voice
from onward_server.exchange.enrolment import Enrolment
from onward_server.exchange.erasing import Erasing
from onward_server.exchange.gate import Gate
from onward_server.exchange.guard import Guard, read_guard
from onward_server.exchange.intakes import Intakes
from onward_server.exchange.ledger import Ledger
from onward_server.exchange.log_reader import LogReader
from onward_server.exchange.policies import Policies
from onward_server.exchange.publishing import Publishing
from onward_server.exchange.quotas import Quotas
from onward_server.exchange.reading import Reader
from onward_server.exchange.records import Records
from onward_server.exchange.registry import Registry
from onward_server.exchange.submission import Submission
from onward_server.exchange.timestamps import Timestamps
from onward_server.exchange.vouching import Vouching
from onward_server.exchange.watching import Watching
from onward_server.exchange.witness_check import check_witnesses
from onward_server.exchange.witnessed_log import WitnessedLog
from onward_server.exchange.witnesses import Means, Rhythm, Witnesses
from onward_server.exporting import configure_logging, make_telemetry
from onward_server.material import (
    Material,
    load_authorities,
    load_material,
    load_witnesses,
    make_issuing,
)
from onward_server.observing import StorageState, observed
from onward_server.readiness import ReadinessCheck
from onward_server.replicas import facts
from onward_server.rotation import check_in_force
from onward_server.services.admin import AdminService
from onward_server.services.alert import AlertService
from onward_server.services.audit import AuditService
from onward_server.services.capability import CapabilityService, capabilities
from onward_server.services.custody import CustodyService
from onward_server.services.directory import DirectoryService
from onward_server.services.enrollment import EnrollmentService
from onward_server.services.health import Readiness
from onward_server.services.intake import IntakeService
from onward_server.services.log import LogService
from onward_server.services.policy import PolicyService
from onward_server.services.referral import ReferralDomain, ReferralService
from onward_server.services.server import Surroundings, make_server
from onward_server.services.tls import Certificates
from onward_server.storage.contract import Store
from onward_server.telemetry import Telemetry
from onward_server.timestamp_client import TimestampClient
from onward_server.upkeep import Upkeep
from onward_server.web.server import WebServer, web_app
from onward_server.web.tiles import tile_routes
from onward_server.web.tls import WebCertificate
from onward_server.web.witness import witness_routes
from onward_server.witness_client import HttpTransport
from onward_server.witnessing.founding import open_witness
from onward_server.witnessing.witness import Witness

_WITNESS_APART = (
    "What a witness has cosigned is in a file of its own, so it must be one process "
    "only: run it with `onward-server witness serve`, and set witness.key_file there "
    "and not here"
)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

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
    witness: Witness | None
    transport: Transport | None
    timestamp_client: TimestampClient | None


@dataclass(frozen=True, slots=True)
class Domain:
    """The parts of the domain that services speak for."""

    referral: ReferralDomain
    registry: Registry
    enrolment: Enrolment
    log: LogReader
    witnessed: WitnessedLog
    witnesses: Witnesses | None
    policies: Policies
    auditing: Auditing
    intakes: Intakes
    deciding: Deciding


@dataclass(frozen=True, slots=True)
class Ports:
    """The servers of an exchange, and what surrounds them.

    Attributes:
        servers: for members, and for enrolment.
        numbers: their ports, in the same order.
        web: the port for everybody, if there is one.
    """

    servers: tuple[grpc.aio.Server, grpc.aio.Server]
    numbers: tuple[int, int]
    web: WebServer | None
    gate: Gate
    readiness: Readiness
    upkeep: Upkeep
    chores: Chores


async def build(
    config: Config,
    clock: Clock | None = None,
    entropy: Entropy = system_entropy,
    telemetry: Telemetry | None = None,
) -> App:
    """Puts an exchange together. It listens, and answers once it was started.

    Args:
        config: the configuration.
        clock: tells the time; what the configuration says if None.
        entropy: returns random bytes.
        telemetry: where it tells about itself; nowhere if None. It ends with the app.

    Raises:
        MalformedError: a file or address of the configuration cannot be used.
        UnavailableError: the database cannot be opened.
    """
    clock, telemetry = clock or settings.clock(config), telemetry or Telemetry()
    async with AsyncExitStack() as resources:
        resources.push_async_callback(asyncio.to_thread, telemetry.shutdown)
        material = load_material(config)
        storage = StorageState(clock.monotonic)
        database = await open_store(config)
        resources.push_async_callback(database.close)
        store = observed(database, telemetry, storage)
        voice = Voice(str(config.name), material.statement_key, entropy)
        guard = Guard(config.storage.guard_file)
        ledger = Ledger(store, material.log_signer, voice, clock, guard)
        resources.push_async_callback(ledger.stop)
        witness = None
        if config.witness.key_file:
            require_file(config, _WITNESS_APART)
            witness = open_witness(config.witness, clock, telemetry)
            resources.callback(witness.close)
        transport = None
        if config.witnesses.policy_file:
            transport = HttpTransport(config.witnesses.timeout_seconds)
            resources.push_async_callback(transport.close)
        timestamp_client = None
        if config.timestamps.authorities:
            timestamp_client = TimestampClient(config.timestamps.timeout_seconds)
            resources.push_async_callback(timestamp_client.close)
        basis = Basis(
            config,
            material,
            clock,
            entropy,
            telemetry,
            storage,
            store,
            ledger,
            witness,
            transport,
            timestamp_client,
        )
        domain = _domain(basis)
        return App(basis, domain, _ports(basis, domain), resources.pop_all())


async def run(config: Config) -> None:
    """Runs an exchange in this process until SIGTERM or SIGINT.

    Raises:
        MalformedError: a file or address of the configuration cannot be used.
        StateError: the database is older than the log, a key is not in force, or a
            replica with another configuration runs.
        UnavailableError: the database cannot be opened.
    """
    configure_logging(config.telemetry.log_level)
    app = await build(
        config, telemetry=make_telemetry(config.telemetry, config.exchange.trust_domain)
    )
    try:
        await app.start()
    except BaseException:
        await app.drain(0)
        raise
    _quieten_collector()
    await app.serve_until_stopped()


def _quieten_collector() -> None:
    """Spares the garbage collector what was made at the start and lives as long.

    By default it looks through all of it again and again under load
    (``bench/README.md``).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class App:
    """One exchange in this process.

    Attributes:
        api_port: the port for members.
        enrolment_port: the port on which members enrol.
        web_port: the port for everybody; 0 where there is none.
        readiness: whether it is ready.
        ledger: its ledger.
    """

    def __init__(
        self, basis: Basis, domain: Domain, ports: Ports, resources: AsyncExitStack
    ) -> None:
        self.ledger = basis.ledger
        self.readiness = ports.readiness
        self.api_port, self.enrolment_port = ports.numbers
        self.web_port = ports.web.number if ports.web else 0
        self._basis = basis
        self._domain = domain
        self._ports = ports
        self._resources = resources

    async def start(self) -> None:
        """Begins to answer.

        Raises:
            StateError: the database is older than what was signed, or has another
                history; a key of the configuration is not the one in force; or a
                replica with another configuration runs. Nothing may be signed.
            UnavailableError: the database cannot be read.
        """
        basis = self._basis
        await basis.store.join(facts(basis.config, basis.material))
        if is_server(basis.config):
            database, replica = describe(basis.config), basis.store.replica
            _log.info("app.joined", database=database, replica=replica)
        await self.ledger.start()
        await check_in_force(self._basis.store, self._basis.material)
        await self._domain.witnessed.begin()
        if self._domain.witnesses is not None:
            await self._domain.witnesses.begin()
            head = self.ledger.head()
            note = self._domain.witnessed.note(head)
            askings = self._domain.witnesses.askings.values()
            lost = read_guard(self._basis.config.storage.guard_file) is None
            await check_witnesses(askings, head, note, needed=lost)
        await self._domain.policies.begin()
        for server in self._ports.servers:
            await server.start()
        if self._ports.web is not None:
            await self._ports.web.start()
        upkeep = self._ports.upkeep
        await upkeep.readiness.examine()
        running = self._ports.chores.running(upkeep.chores())
        await self._resources.enter_async_context(running)
        _log.info(
            "app.started",
            exchange=self.ledger.exchange,
            api_port=self.api_port,
            enrolment_port=self.enrolment_port,
            web_port=self.web_port,
            ready=self.readiness.ready,
        )
        if self._basis.config.test.clock:
            _log.warning("app.clock_is_settable", file=self._basis.config.test.clock)

    async def serve_until_stopped(self) -> None:
        """Serves until SIGTERM or SIGINT, and then drains.

        A second signal ends the process at once.
        """
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
        self._ports.gate.drain()
        self.ledger.hub.wake_all()
        stopping = [server.stop(grace) for server in self._ports.servers]
        if self._ports.web is not None:
            stopping.append(self._ports.web.stop(grace))
        await asyncio.gather(*stopping)
        await self._resources.aclose()
        _log.info("app.stopped")


def _domain(basis: Basis) -> Domain:
    """Makes the domain."""
    ledger, store, clock = basis.ledger, basis.store, basis.clock
    limits = settings.limits(basis.config)
    reader = Reader(ledger, clock, limits)
    publishing = Publishing(ledger, store, reader, clock, limits)
    issuing = make_issuing(basis.config, basis.material, basis.entropy)
    erasing = Erasing(ledger, store, clock, limits)
    witnessed, witnesses = _witnesses(basis)
    return Domain(
        ReferralDomain(
            publishing,
            Submission(ledger, store, reader, publishing, erasing),
            Delivering(ledger, store, clock, basis.entropy, limits),
            Watching(ledger, store, clock, limits),
            Records(ledger, store, Vouching(ledger, store, witnessed)),
            erasing,
            limits,
        ),
        Registry(ledger, store, issuing, clock),
        Enrolment(ledger, store, issuing, clock),
        LogReader(ledger, store, witnessed),
        witnessed,
        witnesses,
        Policies(ledger, store),
        Auditing(ledger, store),
        Intakes(ledger, store, reader, clock, limits),
        Deciding(ledger, store, reader),
    )


def _witnesses(basis: Basis) -> tuple[WitnessedLog, Witnesses | None]:
    """Makes what knows which checkpoints are witnessed, and what asks for it."""
    section, clock = basis.config.witnesses, basis.clock
    policy = load_witnesses(section.policy_file)
    cosigner = LogCosigner(basis.material.log_cosigner)
    witnessed = WitnessedLog(basis.ledger, basis.store, policy, cosigner, clock)
    if basis.transport is None:
        return witnessed, None
    accusations = Accusations(section.evidence_file, clock)
    rhythm = Rhythm(section.interval_seconds, section.heartbeat_seconds)
    means = Means(basis.transport, accusations, clock, basis.entropy, rhythm)
    return witnessed, Witnesses(basis.ledger, witnessed, policy.witnesses, means)


def _timestamps(basis: Basis) -> Timestamps | None:
    """Makes what has the log's checkpoints stamped, if anybody is to do that."""
    section = basis.config.timestamps
    if basis.timestamp_client is None:
        return None
    means = timestamps.Means(
        basis.timestamp_client, basis.clock, basis.entropy, section.interval_seconds
    )
    return Timestamps(basis.ledger, basis.store, load_authorities(section), means)


def _ports(basis: Basis, domain: Domain) -> Ports:
    """Makes the servers, and what surrounds them."""
    config, telemetry = basis.config, basis.telemetry
    gate = Gate(basis.ledger.directory, config.exchange.trust_domain, basis.clock)
    quotas = Quotas(
        settings.allowances(config), settings.places(config), basis.clock.monotonic
    )
    readiness, chores = Readiness(), Chores(telemetry, basis.store.leads)
    around = Surroundings(gate, quotas, telemetry, readiness)
    certificates = (
        Certificates(settings.api_files(config), telemetry),
        Certificates(settings.enrolment_files(config), telemetry),
    )
    api, api_port = make_server(
        settings.api_port(config),
        _api_services(basis, domain),
        certificates[0],
        around,
    )
    enrolment, enrolment_port = make_server(
        settings.enrolment_port(config),
        {"onward.v1.EnrollmentService": EnrollmentService(domain.enrolment)},
        certificates[1],
        around,
    )
    web, web_certificates = _web(basis, domain)
    check = ReadinessCheck(
        basis.ledger,
        basis.storage,
        certificates,
        chores,
        readiness,
        telemetry,
        basis.clock,
    )
    upkeep = _upkeep(basis, domain, [*certificates, *web_certificates], quotas, check)
    numbers = api_port, enrolment_port
    return Ports((api, enrolment), numbers, web, gate, readiness, upkeep, chores)


def _web(
    basis: Basis, domain: Domain
) -> tuple[WebServer | None, Sequence[WebCertificate]]:
    """Makes the port for everybody, if there is to be one, and its certificate."""
    section = basis.config.web
    if not section.listen:
        return None, ()
    routes = tile_routes(domain.log)
    if basis.witness is not None:
        routes += witness_routes(basis.witness)
    port = settings.web_port(section, basis.telemetry)
    server = WebServer(web_app(routes, settings.web_prefix(section)), port)
    return server, [port.certificate] if port.certificate else ()


def _upkeep(
    basis: Basis,
    domain: Domain,
    certificates: Sequence[Certificates | WebCertificate],
    quotas: Quotas,
    check: ReadinessCheck,
) -> Upkeep:
    """Makes what looks after the exchange."""
    return Upkeep(
        basis.ledger,
        domain.referral.erasing,
        Alarming(basis.ledger, basis.store, basis.clock),
        domain.referral.records,
        certificates,
        quotas,
        check,
        basis.telemetry,
        basis.clock,
        basis.store.leads,
        is_server(basis.config),
        domain.witnesses,
        _timestamps(basis),
    )


def _api_services(basis: Basis, domain: Domain) -> Mapping[str, object]:
    """Makes the services for members."""
    referral, registry = domain.referral, domain.registry
    told = capabilities(
        basis.ledger.exchange,
        basis.material.log_signer.vkey.format(),
        referral.limits,
        clock_settable=bool(basis.config.test.clock),
    )
    return {
        "onward.v1.ReferralService": ReferralService(referral),
        "onward.v1.IntakeService": IntakeService(
            domain.intakes, domain.deciding, referral.limits
        ),
        "onward.v1.AlertService": AlertService(referral.watching),
        "onward.v1.CustodyService": CustodyService(referral.records),
        "onward.v1.AuditService": AuditService(domain.auditing),
        "onward.v1.LogService": LogService(domain.log),
        "onward.v1.DirectoryService": DirectoryService(registry),
        "onward.v1.CapabilityService": CapabilityService(told),
        "onward.v1.PolicyService": PolicyService(domain.policies),
        "onward.v1.AdminService": AdminService(
            registry, referral.erasing, referral.records, domain.policies
        ),
    }
