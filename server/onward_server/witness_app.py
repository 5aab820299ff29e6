"""A witness that is no exchange: one process, one port, one file.

It answers ``POST <prefix>/add-checkpoint`` and nothing else, until SIGTERM or SIGINT.
An exchange that witnesses others does the same on its own port for everybody; see
:mod:`onward_server.app`.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from typing import Final

import structlog

from onward_server import settings
from onward_server.background import Chore, Chores
from onward_server.config import WitnessConfig
from onward_server.exchange.clock import SystemClock
from onward_server.exporting import configure_logging, make_telemetry
from onward_server.web.server import WebPort, WebServer, web_app
from onward_server.web.witness import witness_routes
from onward_server.witnessing.founding import open_witness

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_GRACE: Final = 5.0

_log = structlog.get_logger(__name__)


async def run_witness(config: WitnessConfig) -> None:
    """Runs a witness in this process until SIGTERM or SIGINT.

    Raises:
        MalformedError: a file or address of the configuration cannot be used.
        UnavailableError: the database is missing or cannot be used.
    """
    configure_logging(config.telemetry.log_level)
    telemetry = make_telemetry(config.telemetry, config.witness.name)
    with ExitStack() as resources:
        resources.callback(telemetry.shutdown)
        witness = open_witness(config.witness, SystemClock(), telemetry)
        resources.callback(witness.close)
        port = settings.web_port(config.web, telemetry)
        app = web_app(witness_routes(witness), settings.web_prefix(config.web))
        server = WebServer(app, port)
        async with Chores(telemetry).running(_chores(port)):
            await server.start()
            _log.info(
                "witness.started",
                vkey=witness.cosigner.vkey.format(),
                port=server.number,
                logs=len(witness.logs.present()),
            )
            await _stopped()
            await server.stop(_GRACE)
    _log.info("witness.stopped")


def _chores(port: WebPort) -> list[Chore]:
    """Returns what is to be done again and again."""
    certificate = port.certificate
    if certificate is None:
        return []

    async def refresh() -> None:
        certificate.refresh()

    return [Chore("certificates", 10, refresh)]


async def _stopped() -> None:
    """Waits until the process is told to stop; a second signal ends it at once."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    for number in _STOP_SIGNALS:
        loop.remove_signal_handler(number)
