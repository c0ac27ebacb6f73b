"""How Kafka is reached, and the settings all three clients share. No default of aiokafka is relied on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.helpers import create_ssl_context

log = structlog.get_logger(__name__)

_STOP_S: Final = 5.0


@dataclass(frozen=True)
class KafkaConfig:
    """Where the brokers are and who we are to them.

    `session_timeout_ms` is how long a silent worker keeps its partitions. A request may take a little longer than
    that, because joining the group waits for members that are gone.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    session_timeout_ms: int = 10_000

    def client_options(self, client_id: str) -> dict[str, Any]:
        """Keyword arguments of every aiokafka client."""
        encrypted = self.security_protocol.endswith("SSL")
        return {
            "client_id": client_id,
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
            "ssl_context": create_ssl_context(cafile=self.ca_file and str(self.ca_file)) if encrypted else None,
            "request_timeout_ms": self.session_timeout_ms + 2_000,
            "retry_backoff_ms": 100,
            "metadata_max_age_ms": 60_000,
            "connections_max_idle_ms": 540_000,
        }


async def stop_client(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Closes a client within a bounded time; one that cannot be closed is dropped.

    In a task of its own, because aiokafka cancels its own tasks on the way and may let that through to us.
    """
    closing = asyncio.create_task(client.stop())
    await asyncio.wait({closing}, timeout=_STOP_S)
    if not closing.done():
        closing.cancel()
    error: object = (await asyncio.gather(closing, return_exceptions=True))[0]
    if error is not None:
        log.warning("client_not_closed_cleanly", client=type(client).__name__, error=repr(error))


@contextlib.asynccontextmanager
async def open_producer(config: KafkaConfig, client_id: str) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer: idempotent, every write acknowledged by all replicas in sync, keys hashed as in Java."""
    producer = AIOKafkaProducer(
        **config.client_options(client_id),
        acks="all",
        enable_idempotence=True,
        compression_type=None,
        linger_ms=0,  # batches are built by publishing.py
        max_batch_size=256 * 1024,
        max_request_size=2 * 1024 * 1024,
    )
    try:
        await producer.start()
        yield producer
    finally:
        await stop_client(producer)


@contextlib.asynccontextmanager
async def open_admin(config: KafkaConfig, client_id: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client. Its calls put errors into their answers instead of raising them."""
    admin = AIOKafkaAdminClient(**config.client_options(client_id))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
