"""Events from the log into the copies, by the very handlers that post them live, judged as they were judged live."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from eventing.batches import judge
from eventing.commands import Refused
from eventing.database import Connection
from eventing.failures import Invalid
from eventing.publishing import key_hash
from eventing.rebuild_log import LogReader, one_ahead
from eventing.records import Partition, Record
from eventing.subscription import Decoded, Subscription
from eventing.transaction import Transaction

BATCH: Final = 1000
_TELL_EVERY_S: Final = 2.0

Tell = Callable[[str], None]


@dataclass
class Replay:
    """Reads `partitions` one after the other, those of the first subscription first, each from where it was left.

    `only` limits it to records of these keys. Keys that a foreign partitioner put elsewhere are noted in `misplaced`.
    """

    log: LogReader
    copies: asyncpg.Connection
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
        for partition in self.partitions:
            start, end = self._offsets.get(partition), ends.get(partition, 0)
            if start is None:
                start = await self._beginning(partition)
            if start < end:
                refused = await _dead_letters(live, partition, start)
                async for batch in one_ahead(self._decoded(partition, start, end, refused)):
                    await self._apply(partition.topic, batch)
            self._offsets[partition] = max(start, end)

    async def _beginning(self, partition: Partition) -> int:
        begins = await self.log.begins_at(partition)
        if begins and not self.subscriptions[partition.topic].tombstones:
            where = f"{partition.topic}[{partition.number}]"
            raise Refused(f"{where}: the log begins at offset {begins}; without its beginning nothing can be rebuilt")
        return begins

    async def _decoded(
        self, partition: Partition, start: int, end: int, refused: frozenset[int]
    ) -> AsyncIterator[list[Decoded[Any]]]:
        subscription, count = self.subscriptions[partition.topic], self.counts[partition.topic]
        async for records in self.log.read(partition, start, end, BATCH):
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

    async def _apply(self, topic: str, batch: Sequence[Decoded[Any]]) -> None:
        """All at once; after one that only the handler finds invalid, one by one, as the worker does."""
        if not batch:
            return
        try:
            async with self.copies.transaction():
                await self.subscriptions[topic].apply(Transaction(self.copies), batch)
        except Invalid:
            if len(batch) > 1:
                for each in batch:
                    await self._apply(topic, [each])


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
