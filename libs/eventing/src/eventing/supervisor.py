"""Owns the consumer: positions it, keeps one fetch ahead of the database, and builds it anew when it misbehaves."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from eventing import metrics, progress
from eventing.backoff import Backoff, is_set_within
from eventing.batches import Batch, Poster, judge
from eventing.consumer import Consumer, EventsDeleted, UnreadableRecord
from eventing.failures import WorkerStopped
from eventing.kafka import KafkaConfig
from eventing.progress import Progress, ProgressLost, Step
from eventing.records import Partition, Record
from eventing.status import Status
from eventing.subscription import Subscription

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.5
_LOST_IN_ROW: Final = 5


Lane = Sequence[Batch]
"""Batches that one poster posts, one after the other."""


class _Unhealthy(Exception):
    """The consumer answers, but does not do its work."""


@dataclass(frozen=True)
class Patience:
    """How long what is waited for, in seconds."""

    stall_s: float = 30.0  # without a record while the log goes on
    rebalance_s: float = 60.0  # without an answer from the consumer
    resume_check_s: float = 5.0  # between looks whether an operator resumed a partition
    commit_s: float = 5.0  # between reports of our offsets to Kafka


class Supervisor:
    """Runs until `stop` is set, or raises WorkerStopped where only an operator can help.

    Each of the `posters` has a connection of its own, and posts other partitions than the others at the same time:
    while the server works for one, Python works for the other.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        group: str,
        subscriptions: Mapping[str, Subscription[Any]],
        posters: Sequence[Poster],
        *,
        batch_size: int,
        status: Status,
        patience: Patience = Patience(),
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._subscriptions = subscriptions
        self._posters = posters
        self._poster = posters[0]
        self._batch_size = batch_size
        self._status = status
        self._patience = patience
        self._backoff = Backoff(first_s=0.5)
        self._paused: set[Partition] = set()
        self._last_record = self._last_resume_check = self._last_commit = time.monotonic()
        self._committing: asyncio.Task[None] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Consumes with one consumer after the other, waiting longer while they fail without any progress."""
        failures = 0
        while not stop.is_set():
            consumer = Consumer(self._kafka, self._group, self._subscriptions)
            before = dict(self._poster.believed)
            try:
                await asyncio.wait_for(consumer.start(), self._patience.rebalance_s)
                await self._consume(consumer, stop)
            except WorkerStopped:
                raise
            except Exception as error:
                failures = 0 if self._poster.believed != before else failures + 1
                metrics.REBUILDS.labels(type(error).__name__).inc()
                log.warning("consumer_is_built_anew", error=repr(error), failures_in_row=failures)
                self._status.waiting_for("kafka", repr(error))
            finally:
                await self._close(consumer)
            if not stop.is_set():
                await is_set_within(stop, self._backoff.delay_s(failures))

    async def _close(self, consumer: Consumer) -> None:
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
            self._committing = None
        await consumer.stop()

    async def _consume(self, consumer: Consumer, stop: asyncio.Event) -> None:
        """Posts what was fetched while the next fetch runs; before every seek that fetch is awaited and dropped."""
        generation, lost_in_row = -1, 0
        ahead = asyncio.create_task(self._fetch(consumer))
        try:
            while not stop.is_set():
                lanes = await self._fetched(ahead)
                if lanes is None or consumer.generation != generation or await self._is_resumed():
                    generation, lanes = await self._position(consumer), []
                ahead = asyncio.create_task(self._fetch(consumer))
                try:
                    await self._post(consumer, lanes)
                    lost_in_row = 0 if lanes else lost_in_row
                except ProgressLost as lost:
                    log.info("progress_lost", detail=str(lost))
                    generation, lost_in_row = -1, lost_in_row + 1
                    if lost_in_row >= _LOST_IN_ROW:
                        raise _Unhealthy("others move the progress of partitions this consumer holds") from lost
                await self._look_after(consumer, bool(lanes))
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _post(self, consumer: Consumer, lanes: Sequence[Lane]) -> None:
        """All lanes come to their end, also when one fails: a commit that is cut off would leave us in doubt."""
        posting = [self._post_lane(consumer, *each) for each in zip(self._posters, lanes, strict=False)]
        failures = [result for result in await asyncio.gather(*posting, return_exceptions=True) if result is not None]
        for failure in sorted(failures, key=lambda failure: isinstance(failure, ProgressLost)):
            raise failure

    async def _post_lane(self, consumer: Consumer, poster: Poster, lane: Lane) -> None:
        for batch in lane:
            if batch.generation == consumer.generation:
                await poster.post(batch)

    async def _fetch(self, consumer: Consumer) -> list[Lane]:
        """For each poster what no other gets records of; only the first waits for some."""
        lanes: list[Lane] = []
        taken: set[Partition] = set()
        for _ in self._posters:
            generation = consumer.generation
            by_topic: defaultdict[str, list[Record]] = defaultdict(list)
            for record in await consumer.poll(self._batch_size, 0 if lanes else _POLL_S, but=taken):
                by_topic[record.topic].append(record)
            if not by_topic:
                break
            lanes.append([self._judged(consumer, generation, *of_topic) for of_topic in by_topic.items()])
            taken |= {Partition(r.topic, r.partition) for records in by_topic.values() for r in records}
        return lanes

    def _judged(self, consumer: Consumer, generation: int, topic: str, records: Sequence[Record]) -> Batch:
        if misplaced := consumer.count_misplaced(topic, records):
            metrics.MISPLACED.labels(topic).inc(misplaced)
        subscription = self._subscriptions[topic]
        return Batch(topic, generation, [judge(subscription, record) for record in records])

    async def _fetched(self, ahead: asyncio.Task[list[Lane]]) -> Sequence[Lane] | None:
        """What `ahead` brought; None if one partition was paused or moved for it, so that all are to be positioned."""
        done, _ = await asyncio.wait({ahead}, timeout=self._patience.rebalance_s)
        if not done:
            raise _Unhealthy(f"no answer for {self._patience.rebalance_s} s")
        try:
            return ahead.result()
        except UnreadableRecord as unreadable:
            partition, reason = unreadable.partition, str(unreadable)
            await self._poster.retried("pause", lambda conn: progress.pause(conn, partition, reason))
            return None
        except EventsDeleted as deleted:
            if not self._subscriptions[deleted.partition.topic].deletes:
                raise
            log.warning("deleted_events_are_passed_over", detail=str(deleted))
            step = Step(deleted.partition.number, deleted.offset, deleted.begin)
            topic = deleted.partition.topic
            await self._poster.retried("pass_over", lambda conn: progress.advance(conn, topic, [step]))
            return None

    async def _position(self, consumer: Consumer) -> int:
        """Seeks every assigned partition to its stored offset; returns the generation that holds from here on."""
        while (partitions := await consumer.assigned(self._patience.rebalance_s)) is not None:
            stored = await self._load(partitions)
            self._paused = {p for p, row in stored.items() if row.paused_at is not None}
            offsets = {p: row.next_offset for p, row in stored.items()}
            if consumer.start_at(offsets, self._paused):
                self._adopt(offsets, stored)
                return consumer.generation
        raise _Unhealthy(f"no assignment for {self._patience.rebalance_s} s")

    def _adopt(self, offsets: dict[Partition, int], stored: Mapping[Partition, Progress]) -> None:
        for poster in self._posters:
            poster.believed = offsets
        self._last_record = time.monotonic()
        self._status.ready("kafka")
        metrics.PAUSED.set(len(self._paused))
        metrics.LAG.clear()
        log.info("positioned", offsets={f"{p.topic}[{p.number}]": offset for p, offset in sorted(offsets.items())})
        for partition in sorted(self._paused):
            log.error("partition_is_paused", **partition._asdict(), reason=stored[partition].paused_reason)

    async def _is_resumed(self) -> bool:
        now = time.monotonic()
        if not self._paused or now - self._last_resume_check < self._patience.resume_check_s:
            return False
        self._last_resume_check = now
        stored = await self._load(self._paused)
        return any(row.paused_at is None for row in stored.values())

    async def _load(self, partitions: Iterable[Partition]) -> dict[Partition, Progress]:
        return await self._poster.retried("load_progress", lambda conn: progress.load(conn, partitions))

    async def _look_after(self, consumer: Consumer, progressed: bool) -> None:
        now = time.monotonic()
        if progressed:
            self._last_record = now
        elif now - self._last_record > self._patience.stall_s:
            self._last_record = now
            if await consumer.is_behind():
                raise _Unhealthy(f"no record for {self._patience.stall_s} s while the log goes on")
        if now - self._last_commit > self._patience.commit_s and (self._committing is None or self._committing.done()):
            self._last_commit = now
            self._committing = asyncio.create_task(self._report(consumer, dict(self._poster.believed)))

    async def _report(self, consumer: Consumer, offsets: dict[Partition, int]) -> None:
        """Lag for Prometheus and for Kafka's own monitors. Nothing depends on it, so failing is only worth a line."""
        for partition, offset in offsets.items():
            if (lag := consumer.lag(partition, offset)) is not None:
                metrics.LAG.labels(*partition).set(lag)
        if offsets:
            try:
                await consumer.commit(offsets)
            except Exception as error:
                log.info("offsets_not_reported", error=repr(error))
