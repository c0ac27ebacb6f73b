"""A worker process: events in, events out, probes and metrics, until SIGTERM or SIGINT."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from eventing.backoff import Backoff, is_set_within
from eventing.batch_loop import run_batches
from eventing.batches import Poster
from eventing.database import Connection, Session, close, connect
from eventing.failures import WorkerStopped
from eventing.kafka import KafkaConfig
from eventing.observer import observe
from eventing.probes import serve_probes
from eventing.relay import Relay, RelayPace
from eventing.status import Status
from eventing.subscription import Subscription
from eventing.supervisor import Patience, Supervisor
from eventing.topics import TopicSpec, check_topics

log = structlog.get_logger(__name__)

Part = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Runs beside the work until the event is set. It waits for servers that are away itself: what it raises ends all."""


@dataclass(frozen=True)
class WorkerConfig:
    """`service` is the consumer group, the name of the relay's lock and of the database sessions.

    `topics` are the contracts of all topics read or written. So many `lanes` post at the same time, each other
    partitions over a connection of its own. A batch that is not done `shutdown_s` after a signal is rolled back.
    `at_start` is called once the database is there, before anything is read, and may raise WorkerStopped; `parts` run
    beside the work.
    """

    service: str
    database_url: str = field(repr=False)
    kafka: KafkaConfig
    topics: Sequence[TopicSpec]
    metrics_port: int
    metrics_host: str = "127.0.0.1"
    batch_size: int = 1_000
    lanes: int = 2
    single_attempts: int = 3
    failures_in_row_limit: int = 10
    shutdown_s: float = 10.0
    patience: Patience = field(default_factory=Patience)
    relay_pace: RelayPace = field(default_factory=RelayPace)
    at_start: Callable[[Connection], Awaitable[None]] | None = None
    parts: Sequence[Part] = ()


def main(config: WorkerConfig, subscriptions: Sequence[Subscription[Any]]) -> None:
    """Runs the worker. Exits with 1 and one clear line where only an operator can help."""
    try:
        run_batches(run_worker(config, subscriptions))
    except WorkerStopped as stopped:
        log.critical("worker_stopped", why=str(stopped))
        raise SystemExit(1) from None


async def run_worker(config: WorkerConfig, subscriptions: Sequence[Subscription[Any]]) -> None:
    """Runs until SIGTERM or SIGINT. Raises WorkerStopped where only an operator can help."""
    stop, status = asyncio.Event(), Status()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve_probes(config.metrics_host, config.metrics_port, status) as port:
        log.info("worker_started", service=config.service, metrics_port=port)
        await _until_stopped(_work(config, subscriptions, stop, status), stop, config.shutdown_s)
    log.info("worker_finished", service=config.service)


async def _until_stopped(work: Any, stop: asyncio.Event, shutdown_s: float) -> None:
    """Waits for `work` to fail, or to end within `shutdown_s` of `stop`."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await asyncio.wait({task}, timeout=shutdown_s)
        if not task.done():
            log.warning("shutdown_takes_too_long", seconds=shutdown_s)
    finally:
        stopped.cancel()
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _work(
    config: WorkerConfig, subscriptions: Sequence[Subscription[Any]], stop: asyncio.Event, status: Status
) -> None:
    await _wait_until_usable(config, stop, status)
    by_topic = {subscription.topic: subscription for subscription in subscriptions}
    sessions = [Session(config.database_url, application_name=f"{config.service}-worker") for _ in range(config.lanes)]
    posters = [
        Poster(
            session,
            by_topic,
            single_attempts=config.single_attempts,
            failures_in_row_limit=config.failures_in_row_limit,
            status=status,
        )
        for session in sessions
    ]
    supervisor = Supervisor(
        config.kafka,
        config.service,
        by_topic,
        posters,
        batch_size=config.batch_size,
        status=status,
        patience=config.patience,
    )
    relay = Relay(config.service, config.database_url, config.kafka, config.relay_pace)
    try:
        await _all_or_none(
            supervisor.run(stop),
            relay.run(stop),
            observe(config.database_url, config.service, stop),
            *(part(stop) for part in config.parts),
        )
    finally:
        for session in sessions:
            await session.close()


async def _all_or_none(*parts: Any) -> None:
    """Runs the parts until all have ended; the first to fail ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except* WorkerStopped as stopped:
        raise stopped.exceptions[0] from None


async def _wait_until_usable(config: WorkerConfig, stop: asyncio.Event, status: Status) -> None:
    """Returns when database, broker and topics can be used; meanwhile says what is waited for."""
    status.waiting_for("kafka", "not yet joined the group")
    backoff, attempt = Backoff(first_s=0.5, most_s=5.0), 0
    while not stop.is_set():
        database_there = await _database_is_there(config, status)
        if await _topics_are_there(config, status) and database_there:
            return
        await is_set_within(stop, backoff.delay_s(attempt))
        attempt += 1


async def _database_is_there(config: WorkerConfig, status: Status) -> bool:
    try:
        conn = await connect(config.database_url, application_name=f"{config.service}-start")
        try:
            await conn.fetchval("SELECT count(*) FROM (SELECT FROM event_progress LIMIT 1) AS migrated")
            if config.at_start is not None:
                await config.at_start(conn)
        finally:
            await close(conn)
    except WorkerStopped:
        raise
    except Exception as error:
        status.waiting_for("database", str(error) or repr(error))
        return False
    status.ready("database")
    return True


async def _topics_are_there(config: WorkerConfig, status: Status) -> bool:
    try:
        findings = await check_topics(config.kafka, config.topics)
    except (KafkaError, OSError, TimeoutError) as error:
        status.waiting_for("broker", str(error) or repr(error))
        return False
    status.ready("broker")
    blocking = [str(finding) for finding in findings if finding.blocks]
    if blocking:
        status.waiting_for("topics", "; ".join(blocking))
        return False
    status.ready("topics")
    for finding in findings:
        log.error("topic_differs_from_contract", finding=str(finding))
    return True
