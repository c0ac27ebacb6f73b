"""Events from the log into the copies, by the very handlers that post them live, judged as they were judged live."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import asyncpg

from eventing.backoff import Backoff
from eventing.batches import judge
from eventing.commands import Refused
from eventing.database import Connection
from eventing.failures import Invalid, is_transient
from eventing.publishing import key_hash
from eventing.rebuild_log import LogReader, Tell, one_ahead
from eventing.records import Partition, Record
from eventing.subscription import Decoded, Subscription
from eventing.transaction import Transaction

BATCH: Final = 2000
_TELL_EVERY_S: Final = 2.0
_ATTEMPTS: Final = 10
_BACKOFF: Final = Backoff(first_s=0.02, most_s=2.0)


class Lane(NamedTuple):
    """One way from the log into the copies. While the database works for one, another one decodes and decides."""

    log: LogReader
    copies: asyncpg.Connection


@dataclass
class Replay:
    """Reads `partitions`, as many at once as there are lanes, all of one topic before the next, each from where it was.

    `only` limits it to records of these keys. Keys that a foreign partitioner put elsewhere are noted in `misplaced`.
    """

    lanes: Sequence[Lane]
    subscriptions: Mapping[str, Subscription[Any]]
    counts: Mapping[str, int]
    partitions: Sequence[Partition]
    tell: Tell
    only: frozenset[bytes] | None = None
    misplaced: set[bytes] = field(default_factory=set)
    events: int = 0
    _offsets: dict[Partition, int] = field(default_factory=dict)
    _told_at: float = field(default_factory=time.monotonic)

    def behind(self, ends: Mapping[Partition, int]) -> int:
        """How many offsets there are to read until `ends`."""
        return sum(max(0, ends.get(each, 0) - self._offsets.get(each, 0)) for each in self.partitions)

    async def to(self, live: Connection, ends: Mapping[Partition, int]) -> None:
        """Brings the copies to where the live tables are at the offsets `ends`.

        Events that are dead letters had no effect there. One that was published again is in the log again. Raises
        Refused if the log has lost its beginning, and what a handler raises.
        """
        for topic in self.subscriptions:
            waiting = [
                (
                    partition,
                    ends.get(partition, 0),
                    await _dead_letters(live, partition, self._offsets.get(partition, 0)),
                )
                for partition in self.partitions
                if partition.topic == topic and self._offsets.get(partition, 0) < ends.get(partition, 0)
            ]
            replaying = [asyncio.create_task(self._replay(lane, waiting)) for lane in self.lanes]
            try:
                await asyncio.gather(*replaying)
            finally:
                for task in replaying:
                    task.cancel()
                await asyncio.gather(*replaying, return_exceptions=True)

    async def _replay(self, lane: Lane, waiting: list[tuple[Partition, int, frozenset[int]]]) -> None:
        """Takes partitions from those that wait, until none is left."""
        while waiting:
            partition, end, refused = waiting.pop(0)
            start = self._offsets.get(partition)
            if start is None:
                start = await self._beginning(lane.log, partition)
            if end > (log_end := await lane.log.ends_at(partition)):
                where = f"{partition.topic}[{partition.number}]"
                raise Refused(f"{where}: the log ends at offset {log_end}, but was read to {end}: was it made anew?")
            async for batch in one_ahead(self._decoded(lane.log, partition, start, end, refused)):
                await self._apply(lane.copies, partition.topic, batch)
            self._offsets[partition] = max(start, end)

    async def _beginning(self, log: LogReader, partition: Partition) -> int:
        begins = await log.begins_at(partition)
        if begins and not self.subscriptions[partition.topic].tombstones:
            where = f"{partition.topic}[{partition.number}]"
            raise Refused(f"{where}: the log begins at offset {begins}; without its beginning nothing can be rebuilt")
        return begins

    async def _decoded(
        self, log: LogReader, partition: Partition, start: int, end: int, refused: frozenset[int]
    ) -> AsyncIterator[list[Decoded[Any]]]:
        subscription, count = self.subscriptions[partition.topic], self.counts[partition.topic]
        async for records in log.read(partition, start, end, BATCH):
            batch = []
            for record in records:
                if record.key and key_hash(record.key) % count != partition.number:
                    self.misplaced.add(record.key)
                if record.offset not in refused and (self.only is None or record.key in self.only):
                    batch += _accepted(subscription, record)
            self.events += len(batch)
            self._tell(partition, records[-1].offset + 1, end)
            yield batch

    def _tell(self, partition: Partition, offset: int, end: int) -> None:
        if time.monotonic() - self._told_at > _TELL_EVERY_S:
            self._told_at = time.monotonic()
            self.tell(f"{partition.topic}[{partition.number}]: {offset:,} of {end:,}")

    async def _apply(self, copies: asyncpg.Connection, topic: str, batch: Sequence[Decoded[Any]]) -> None:
        """All at once; after one that only the handler finds invalid, one by one, as the worker does."""
        if not batch:
            return
        try:
            await self._retried(copies, topic, batch)
        except Invalid:
            if len(batch) > 1:
                for each in batch:
                    await self._apply(copies, topic, [each])

    async def _retried(self, copies: asyncpg.Connection, topic: str, batch: Sequence[Decoded[Any]]) -> None:
        """A key with events in several partitions makes lanes wait for each other, so some start over."""
        for attempt in range(_ATTEMPTS):
            try:
                async with copies.transaction():
                    transaction = Transaction(copies, publishes=False, starts_over=attempt > 0)
                    await self.subscriptions[topic].apply(transaction, batch)
                return
            except Exception as error:
                if not is_transient(error) or copies.is_closed() or attempt == _ATTEMPTS - 1:
                    raise
            await _BACKOFF.wait(attempt)


def _accepted(subscription: Subscription[Any], record: Record) -> list[Decoded[Any]]:
    judged = judge(subscription, record).judged
    if isinstance(judged, Exception):
        where = f"{record.topic}[{record.partition}]@{record.offset}"
        raise Refused(f"{where} cannot be decoded and is no dead letter: {judged!r}") from judged
    return [judged] if isinstance(judged, Decoded) else []


async def _dead_letters(live: Connection, partition: Partition, start: int) -> frozenset[int]:
    rows = await live.fetch(
        "SELECT record_offset FROM dead_letter WHERE topic = $1 AND partition = $2 AND record_offset >= $3",
        *partition,
        start,
    )
    return frozenset(row["record_offset"] for row in rows)
