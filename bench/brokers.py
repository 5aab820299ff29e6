"""Message brokers, each in its own folder, that acknowledge each message they keep.

Nobody signs that, and it proves nothing to anybody else.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aio_pika
import nats
from aio_pika.abc import AbstractChannel
from nats.js import JetStreamContext
from nats.js.api import StorageType

from bench.load import Run, closed
from bench.processes import Server, free_address, serving

_NAME: Final = "referrals"
_SYNCED: Final = "sync_interval: always"
_RABBITMQ: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The program itself: what Debian has on the PATH insists on its user and folder."""


@dataclass(frozen=True, slots=True)
class JetStream:
    """A stream of NATS in a file, with one copy.

    Attributes:
        note: what its acknowledgement is worth.
    """

    server: Server
    stream: JetStreamContext
    note: str

    async def send(self, payloads: Sequence[bytes], callers: int) -> Run[Any]:
        """Publishes, each caller again when its message is acknowledged."""

        async def publish(payload: bytes) -> object:
            return await self.stream.publish(_NAME, payload)

        return await closed(publish, payloads, callers, self.server)

    async def kept(self) -> int:
        """Returns how many messages it holds."""
        return (await self.stream.stream_info(_NAME)).state.messages


@asynccontextmanager
async def open_jetstream(folder: Path) -> AsyncGenerator[JetStream, None]:
    """Runs NATS while the block runs, synced if this version can be."""
    address = free_address()
    config, note = _configured(folder, address)
    command = ("nats-server", "-c", config)
    with serving(command, address, folder / "nats.log") as server:
        client = await nats.connect(f"nats://{address}")
        try:
            stream = client.jetstream()
            await stream.add_stream(
                name=_NAME, subjects=[_NAME], storage=StorageType.FILE
            )
            yield JetStream(server, stream, note)
        finally:
            await client.close()


def _configured(folder: Path, address: str) -> tuple[Path, str]:
    """Writes the configuration of NATS; returns it, and what is to be noted."""
    config = folder / "nats.conf"
    text = f'listen: "{address}"\njetstream {{ store_dir: "{folder}" %s }}\n'
    config.write_text(text % f", {_SYNCED}")
    check = ("nats-server", "-t", "-c", config)
    if not subprocess.run(check, capture_output=True, check=False).returncode:
        return config, ""
    config.write_text(text % "")
    return config, "acknowledged before it is on disk: this version cannot wait"


@dataclass(frozen=True, slots=True)
class RabbitMQ:
    """A quorum queue of RabbitMQ with one member, which syncs before it confirms."""

    server: Server
    channel: AbstractChannel
    note: str = ""

    async def send(self, payloads: Sequence[bytes], callers: int) -> Run[Any]:
        """Publishes persistent messages, each caller again on its confirm."""
        persistent = aio_pika.DeliveryMode.PERSISTENT

        async def publish(payload: bytes) -> object:
            message = aio_pika.Message(payload, delivery_mode=persistent)
            return await self.channel.default_exchange.publish(message, _NAME)

        return await closed(publish, payloads, callers, self.server)

    async def kept(self) -> int:
        """Returns how many messages it holds."""
        queue = await self.channel.declare_queue(_NAME, passive=True)
        return queue.declaration_result.message_count or 0


@asynccontextmanager
async def open_rabbitmq(folder: Path) -> AsyncGenerator[RabbitMQ, None]:
    """Runs RabbitMQ while the block runs, with a port mapper of its own."""
    address, mapper, between = free_address(), free_address(), free_address()
    environment = {
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": _port(mapper),
        "RABBITMQ_NODENAME": f"bench{os.getpid()}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": _port(address),
        "RABBITMQ_DIST_PORT": _port(between),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
    }
    program = _RABBITMQ if _RABBITMQ.exists() else "rabbitmq-server"
    mapping = ("epmd", "-address", "127.0.0.1", "-port", _port(mapper))
    with (
        serving(mapping, mapper, folder / "epmd.log"),
        serving((program,), address, folder / "rabbitmq.log", environment) as server,
    ):
        connection = await aio_pika.connect(f"amqp://guest:guest@{address}/")
        async with connection, connection.channel() as channel:
            arguments: dict[str, Any] = {"x-queue-type": "quorum"}
            await channel.declare_queue(_NAME, durable=True, arguments=arguments)
            yield RabbitMQ(server, channel)


def _port(address: str) -> str:
    return address.rpartition(":")[2]
