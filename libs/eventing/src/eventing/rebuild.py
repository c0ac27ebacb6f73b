"""What the tables should hold, computed once more from the beginning of the log, compared and, if wanted, repaired.

A few partitions at a time, those of the same number of all topics together, so that memory and disk stay bounded:
their events are replayed into empty copies of the tables (`rebuild_schema`) while the workers go on. Comparing needs no
lock: a snapshot of the live tables holds their rows and the offsets that belong to them, and the copies are brought to
exactly those offsets. Repairing holds the progress rows for a moment at a time, so that the live tables stand still at
known offsets.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import asyncpg

from eventing import progress
from eventing.commands import Refused
from eventing.database import Connection, allow_long_statements, close, connect
from eventing.kafka import KafkaConfig
from eventing.log_ends import read_end_offsets
from eventing.publishing import key_hash
from eventing.rebuild_log import LogReader, Tell
from eventing.rebuild_replay import BATCH, Lane, Replay
from eventing.rebuild_report import Difference, RebuildReport, rows_nobody_sent
from eventing.rebuild_schema import empty, empty_copies
from eventing.records import Partition
from eventing.subscription import Subscription

_KEYS_READ: Final = 5000
_KEYS_COMPARED: Final = 500
_KEYS_REPAIRED: Final = 100
_CLOSE: Final = 5 * BATCH
_CHASES: Final = 20
_LANES: Final = 2
_MOST_UNEXPLAINED: Final = 0.1


class Sides(Protocol):
    """What a service knows of its own tables. `live` and `copies` see tables of the same names."""

    async def keys_after(self, conn: Connection, key: str, limit: int) -> list[str]:
        """The next keys of events that have rows, ascending as bytes."""
        ...

    async def differences(self, live: Connection, copies: Connection, keys: Sequence[str]) -> list[Difference]:
        """How the live rows of these keys differ from what they should be; a key may have rows on one side only."""
        ...

    async def repair(self, live: Connection, copies: Connection, keys: Sequence[str]) -> None:
        """Make the live rows what they should be where that is possible, in the transaction that is open on `live`."""
        ...


@dataclass
class Rebuild:
    """One run. `subscriptions` in the order in which their topics are best read; `owner_url` may create a schema.

    Partitions are worked on together as long as they have at most `records_together` records.
    """

    service: str
    owner_url: str
    kafka: KafkaConfig
    subscriptions: Sequence[Subscription[Any]]
    sides: Sides
    apply: bool
    tell: Tell
    even_if_events_were_lost: bool = False
    records_together: int = 1_000_000
    report: RebuildReport = field(default_factory=RebuildReport)
    _misplaced: set[bytes] = field(default_factory=set)

    async def run(self) -> RebuildReport:
        """Compare everything, and repair what differs if `apply`. Raises Refused, KafkaError and asyncpg's errors."""
        live = await connect(self.owner_url, application_name=f"{self.service}-rebuild", posting=True)
        try:
            async with AsyncExitStack() as opened:
                copies = await opened.enter_async_context(empty_copies(self.owner_url, self.service, _LANES))
                logs = [LogReader(self.kafka, f"{self.service}-rebuild-{n}", self.tell) for n in range(_LANES)]
                lanes = [
                    Lane(await opened.enter_async_context(log), conn) for log, conn in zip(logs, copies, strict=True)
                ]
                await self._run(lanes, live)
        finally:
            await close(live)
        return self.report

    async def _run(self, lanes: Sequence[Lane], live: asyncpg.Connection) -> None:
        by_topic = {subscription.topic: subscription for subscription in self.subscriptions}
        counts = await self._partition_counts(by_topic)
        every = [Partition(topic, number) for topic in by_topic for number in range(counts[topic])]

        def replay(partitions: Sequence[Partition], only: frozenset[bytes] | None = None) -> Replay:
            return Replay(lanes, by_topic, counts, partitions, self.tell, only)

        groups = _groups(counts, await _offsets(live, every), self.records_together)
        if len(groups) == 1:
            await self._round(replay(every), lambda key: True, live, scan=None)
            return
        scan, count = replay(every, only=frozenset()), len(every) // len(counts)
        for numbers in groups:
            partitions = [Partition(topic, number) for topic in counts for number in numbers]
            await self._round(replay(partitions), partial(_is_at_home, frozenset(numbers), count), live, scan)
        if self._misplaced:
            misplaced = frozenset(self._misplaced)
            await self._round(replay(every, misplaced), lambda key: key.encode() in misplaced, live, scan=None)

    async def _partition_counts(self, topics: Collection[str]) -> dict[str, int]:
        found = Counter(partition.topic for partition in await read_end_offsets(self.kafka, topics))
        if missing := [topic for topic in topics if not found[topic]]:
            raise Refused(f"no such topics: {', '.join(missing)}")
        return {topic: found[topic] for topic in topics}

    async def _round(
        self, replay: Replay, compares: Callable[[str], bool], live: asyncpg.Connection, scan: Replay | None
    ) -> None:
        """Replay some partitions, and compare the keys that have all their events in them."""
        await empty(replay.lanes[0].copies)
        await self._chase(replay, live)
        found = await self._compare(replay, compares, live)
        if scan is not None:
            found = await self._without_misplaced(found, replay, scan, live)
        self.report.add(found)
        if self.apply and found:
            self._refuse_a_log_that_lost_events(found, replay)
            await self._repair(replay, live, list(dict.fromkeys(each.key for each in found)))

    def _refuse_a_log_that_lost_events(self, found: Sequence[Difference], replay: Replay) -> None:
        """Repairing would throw away what only the tables still know."""
        unexplained = rows_nobody_sent(found)
        if not self.even_if_events_were_lost and unexplained > _MOST_UNEXPLAINED * (replay.events + unexplained):
            raise Refused(
                f"{unexplained:,} rows that nobody sent, beside {replay.events:,} events: the log has lost events."
                " None of them was repaired. If it is right all the same: --even-if-the-log-lost-events"
            )

    async def _chase(self, replay: Replay, live: asyncpg.Connection) -> None:
        """Read what there is without holding a snapshot or a lock, until little is left."""
        for _ in range(_CHASES):
            ends = await _offsets(live, replay.partitions)
            if replay.behind(ends) == 0:
                return
            last = replay.behind(ends) < _CLOSE
            await replay.to(live, ends)
            if last:
                return

    async def _compare(
        self, replay: Replay, compares: Callable[[str], bool], live: asyncpg.Connection
    ) -> list[Difference]:
        found: list[Difference] = []
        seen: set[str] = set()
        async with live.transaction(isolation="repeatable_read", readonly=True):
            await allow_long_statements(live)
            await _allow_long_pauses(live)
            await replay.to(live, await _offsets(live, replay.partitions))
            for side in (live, replay.lanes[0].copies):
                async for keys in self._keys(side, compares):
                    if new := [key for key in keys if key not in seen]:
                        found += await self.sides.differences(live, replay.lanes[0].copies, new)
                        seen.update(new)
        if replay.only is None:  # the others were counted before
            self.report.keys += len(seen)
            self.report.events += replay.events
        return found

    async def _keys(self, conn: Connection, wanted: Callable[[str], bool]) -> AsyncIterator[list[str]]:
        last, chosen = "", list[str]()
        while keys := await self.sides.keys_after(conn, last, _KEYS_READ):
            last = keys[-1]
            chosen += [key for key in keys if wanted(key)]
            while len(chosen) >= _KEYS_COMPARED:
                yield chosen[:_KEYS_COMPARED]
                del chosen[:_KEYS_COMPARED]
        if chosen:
            yield chosen

    async def _without_misplaced(
        self, found: list[Difference], replay: Replay, scan: Replay, live: Connection
    ) -> list[Difference]:
        """Leave out keys that have events in other partitions, which these copies lack: they get a round of their own.

        Only where there are differences the keys of the whole log are looked at, once.
        """
        if found:
            await scan.to(live, await _offsets(live, scan.partitions))
        self._misplaced |= replay.misplaced | scan.misplaced
        return [each for each in found if each.key.encode() not in self._misplaced]

    async def _repair(self, replay: Replay, live: asyncpg.Connection, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), _KEYS_REPAIRED):
            some = keys[first : first + _KEYS_REPAIRED]
            await self._chase(replay, live)
            async with live.transaction():
                await _allow_long_pauses(live)
                await _lock_offsets(live, replay.partitions)
                await replay.to(live, await _offsets(live, replay.partitions))
                await self.sides.repair(live, replay.lanes[0].copies, some)
                left = {each.key for each in await self.sides.differences(live, replay.lanes[0].copies, some)}
            self.report.repaired += len(some) - len(left)
            self.tell(f"repaired {self.report.repaired:,}")


def _groups(counts: Mapping[str, int], ends: Mapping[Partition, int], most: int) -> list[list[int]]:
    """The numbers of partitions that are worked on together: all of them, if the topics have not equally many.

    Then a key has events under several numbers.
    """
    if len(set(counts.values())) > 1:
        return [list(range(max(counts.values())))]
    groups: list[list[int]] = []
    room = 0
    for number in range(max(counts.values())):
        records = sum(ends.get(Partition(topic, number), 0) for topic in counts)
        if not groups or records > room:
            groups.append([])
            room = most
        groups[-1].append(number)
        room -= records
    return groups


def _is_at_home(numbers: frozenset[int], count: int, key: str) -> bool:
    return key_hash(key.encode()) % count in numbers


async def _allow_long_pauses(live: Connection) -> None:
    """In this transaction: while the copies catch up, nothing is heard of it."""
    await live.execute("SET LOCAL idle_in_transaction_session_timeout = '10min'")


async def _lock_offsets(conn: Connection, partitions: Sequence[Partition]) -> None:
    """The order of the workers' own locks, so that nobody waits in a circle."""
    await conn.execute(
        """SELECT FROM event_progress p
           JOIN unnest($1::text[], $2::int[]) AS t(topic, partition) USING (topic, partition)
           ORDER BY topic, partition FOR UPDATE OF p""",
        [partition.topic for partition in partitions],
        [partition.number for partition in partitions],
    )


async def _offsets(conn: Connection, partitions: Sequence[Partition]) -> dict[Partition, int]:
    wanted = set(partitions)
    return {row.partition: row.next_offset for row in await progress.load_all(conn) if row.partition in wanted}
