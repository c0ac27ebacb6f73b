"""One batch of events into the database: together if possible, one by one if not.

Together: progress, effects, dead letters and outbox row in one transaction. Transient failures are waited out here,
for ever in sum. After an unknown failure every event gets a transaction and a few attempts of its own; one that still
fails becomes a dead letter, and too many of those in a row pause their partition until an operator resumes it.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog

from eventing import metrics, progress
from eventing.backoff import Backoff
from eventing.database import Connection, Session
from eventing.dead_letters import Refusal
from eventing.envelope import Event, read_event
from eventing.failures import UNKNOWN_FAILURE, Invalid, StartOver, is_transient
from eventing.progress import ProgressLost, Step
from eventing.records import Partition, Record
from eventing.status import Status
from eventing.subscription import Decoded, Subscription
from eventing.transaction import Transaction

log = structlog.get_logger(__name__)

R = TypeVar("R")


class Skipped(NamedTuple):
    """A record that is passed over, and why."""

    outcome: str


class Item(msgspec.Struct, frozen=True, gc=False):
    """A record and what was made of it; an Exception is a failure nobody expected while decoding."""

    record: Record
    judged: Decoded[Any] | Refusal | Skipped | Exception


@dataclass(frozen=True)
class Batch:
    """Items of one topic, in log order per partition, fetched under one `generation` of the consumer."""

    topic: str
    generation: int
    items: Sequence[Item]


def judge(subscription: Subscription[Any], record: Record) -> Item:
    """Reads and decodes one record. Does no I/O and never raises."""
    if record.value is None and subscription.tombstones:
        return Item(record, Skipped("tombstone"))
    event: Event | None = None
    try:
        event = read_event(record)
        if event.type not in subscription.types:
            return Item(record, Skipped("unknown_type"))
        value = subscription.decode(event)
    except Invalid as invalid:
        return Item(record, Refusal(record, event, invalid.reason, invalid.detail))
    except Exception as error:
        return Item(record, error)
    return Item(record, Skipped("skipped") if value is None else Decoded(event, value))


@dataclass
class Poster:
    """Writes batches over one connection, and knows how far each partition is believed to be read."""

    session: Session
    subscriptions: Mapping[str, Subscription[Any]]
    single_attempts: int = 3
    failures_in_row_limit: int = 10
    backoff: Backoff = field(default_factory=Backoff)
    believed: dict[Partition, int] = field(default_factory=dict)
    status: Status = field(default_factory=Status)
    starts_over: bool = False

    async def post(self, batch: Batch) -> None:
        """Returns when every item has taken effect, is a dead letter, or waits behind a paused partition.

        Raises ProgressLost if the stored progress is not what we believe: load it, seek, and fetch again.
        """
        try:
            await self.retried("post", lambda conn: self._post_together(conn, batch.topic, batch.items))
        except ProgressLost:
            raise
        except Exception:
            log.exception("batch_failed_trying_single_events", topic=batch.topic, events=len(batch.items))
            await self._post_one_by_one(batch)

    async def retried(self, step: str, work: Callable[[Connection], Awaitable[R]]) -> R:
        """Does `work` on the session's connection, again and again while it fails for transient reasons."""
        attempt = 0
        while True:
            try:
                result = await work(await self.session.connection())
                self.status.ready("database")
                return result
            except Exception as error:
                if not (is_transient(error) or self.session.is_broken()):
                    raise
                self.status.waiting_for("database", f"{step}: {error!r}")
                metrics.RETRIES.labels(step).inc()
            await self.backoff.wait(attempt)
            attempt += 1

    async def _post_together(self, conn: Connection, topic: str, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item.judged, Exception):
                raise item.judged
        steps = self._steps(items)
        started = time.perf_counter()
        transaction = Transaction(conn, starts_over=self.starts_over)
        try:
            async with conn.transaction():
                await progress.advance(conn, topic, steps)
                for item in items:
                    if isinstance(item.judged, Refusal):
                        transaction.refuse(item.judged)
                decoded = [item.judged for item in items if isinstance(item.judged, Decoded)]
                if decoded:
                    await self.subscriptions[topic].apply(transaction, decoded)
                await transaction.flush()
        except StartOver:
            self.starts_over = True  # what is tried next are the same items
            raise
        self.starts_over = False
        self._committed(topic, steps)
        metrics.BATCH_SECONDS.labels(topic).observe(time.perf_counter() - started)
        _count(topic, items, transaction)

    async def _post_one_by_one(self, batch: Batch) -> None:
        paused: set[int] = set()
        for item in batch.items:
            if item.record.partition not in paused and not await self._post_single(batch.topic, item):
                paused.add(item.record.partition)
        if paused:
            raise ProgressLost(f"{batch.topic}: partitions {sorted(paused)} are paused now")

    async def _post_single(self, topic: str, item: Item) -> bool:
        """Returns False if giving up on the item paused its partition."""
        for attempt in range(self.single_attempts):
            try:
                await self.retried("post", lambda conn: self._post_together(conn, topic, [item]))
                return True
            except ProgressLost:
                raise
            except Invalid as invalid:  # only the handler could find it out: trying again cannot help
                await self._refuse(item, invalid)
                return True
            except Exception as error:
                failure = error
                metrics.RETRIES.labels("single").inc()
            await self.backoff.wait(attempt)
        record = item.record
        log.error("event_given_up", topic=topic, partition=record.partition, offset=record.offset, exc_info=failure)
        try:
            return not await self.retried("give_up", lambda conn: self._give_up(conn, item, failure))
        except ProgressLost:
            raise
        except Exception as error:  # not even a dead letter: only this partition may stand still for it
            log.critical("event_cannot_be_given_up", topic=topic, partition=record.partition, exc_info=error)
            partition, reason = Partition(topic, record.partition), f"offset {record.offset}: {error!r}"
            await self.retried("pause", lambda conn: progress.pause(conn, partition, reason))
            return False

    async def _give_up(self, conn: Connection, item: Item, failure: Exception) -> bool:
        topic, reason = item.record.topic, f"{type(failure).__name__}: {failure}"
        [step] = self._steps([item])
        async with conn.transaction():
            paused = await progress.advance_past_failure(
                conn, topic, step, limit=self.failures_in_row_limit, reason=reason
            )
            transaction = Transaction(conn)
            transaction.refuse(_refusal(item, UNKNOWN_FAILURE, reason))
            await transaction.flush()
        self._committed(topic, [step])
        metrics.EVENTS.labels(topic, UNKNOWN_FAILURE).inc()
        if paused:
            log.critical("partition_paused", topic=topic, partition=step.number, reason=reason)
        return paused

    async def _refuse(self, item: Item, invalid: Invalid) -> None:
        refused = Item(item.record, _refusal(item, invalid.reason, invalid.detail))
        await self.retried("post", lambda conn: self._post_together(conn, item.record.topic, [refused]))

    def _steps(self, items: Sequence[Item]) -> list[Step]:
        ends = {item.record.partition: item.record.offset + 1 for item in items}
        topic = items[0].record.topic
        return [Step(number, self.believed[Partition(topic, number)], end) for number, end in ends.items()]

    def _committed(self, topic: str, steps: Sequence[Step]) -> None:
        for step in steps:
            self.believed[Partition(topic, step.number)] = step.next_offset
        metrics.LAST_PROGRESS.set_to_current_time()


def _refusal(item: Item, reason: str, detail: str) -> Refusal:
    event = item.judged.event if isinstance(item.judged, Decoded) else None
    return Refusal(item.record, event, reason, detail)


def _count(topic: str, items: Sequence[Item], transaction: Transaction) -> None:
    special = dict(transaction.ignored)
    for refusal in transaction.refusals:
        special[refusal.record.partition, refusal.record.offset] = "dead_letter"
    outcomes = Counter(special.values())
    outcomes.update([item.judged.outcome for item in items if isinstance(item.judged, Skipped)])
    outcomes["applied"] = len(items) - outcomes.total()
    for outcome, count in outcomes.items():
        metrics.EVENTS.labels(topic, outcome).inc(count)
