"""The narrow port to aiokafka's consumer: start, seek, poll, pause, commit, lag, stop.

The client is not trusted. It rebalances in the background, swallows what a listener raises, starts at committed
offsets of its own choice and may lose its heartbeat for good. So a record is handed out only if nobody but `start_at`
has chosen the offset it was read from: every change of the assignment, and every call of `start_at`, makes a new
`generation`, and what was fetched under an older one is thrown away. Whoever polls rebuilds the consumer on errors.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CorruptRecordException, NoOffsetForPartitionError, OffsetOutOfRangeError

from eventing.failures import WorkerStopped
from eventing.kafka import KafkaConfig, stop_client
from eventing.publishing import key_hash
from eventing.records import Partition, Record

_UNREADABLE: Final = (UnicodeDecodeError, CorruptRecordException)


class UnreadableRecord(Exception):
    """A record whose bytes the client cannot parse; it would raise at the same place for ever."""

    def __init__(self, partition: Partition, offset: int, error: Exception) -> None:
        super().__init__(f"no record can be read at or soon after offset {offset}: {error!r}")
        self.partition = partition


class EventsDeleted(WorkerStopped):
    """The log begins only after the offset asked for: what lay between was deleted before it was read."""

    def __init__(self, partition: Partition, offset: int, begin: int, message: str) -> None:
        super().__init__(message)
        self.partition = partition
        self.offset = offset
        self.begin = begin


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """A member of the group `group` on `topics`; used by one task at a time."""

    def __init__(self, kafka: KafkaConfig, group: str, topics: Iterable[str]) -> None:
        self.generation = 0
        self._topics = sorted(topics)
        self._started_at: int | None = None  # the generation in which every assigned partition was positioned
        self._assigned = asyncio.Event()
        self._polling = False
        self._client = AIOKafkaConsumer(
            **kafka.client_options(group),
            group_id=group,
            session_timeout_ms=kafka.session_timeout_ms,
            rebalance_timeout_ms=kafka.session_timeout_ms,
            heartbeat_interval_ms=kafka.session_timeout_ms // 5,
            max_poll_interval_ms=300_000,
            # One assignor: two make members join three times. Range: partitions of the same number meet in a worker.
            partition_assignment_strategy=(RangePartitionAssignor,),
            auto_offset_reset="none",
            enable_auto_commit=False,
            isolation_level="read_committed",
            check_crcs=True,
            fetch_min_bytes=1,
            fetch_max_wait_ms=500,
            fetch_max_bytes=16 * 1024 * 1024,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            exclude_internal_topics=True,
        )

    # Called by aiokafka, which swallows what these raise: they only count.

    def on_partitions_revoked(self, revoked: object) -> None:
        self.generation += 1
        self._assigned.clear()

    def on_partitions_assigned(self, assigned: object) -> None:
        self.generation += 1
        self._assigned.set()

    async def start(self) -> None:
        """Connects and joins the group. Raises KafkaError; call `stop` in any case."""
        self._client.subscribe(self._topics, listener=self)
        await self._client.start()

    async def stop(self) -> None:
        """Leaves the group and closes the connections, within a bounded time; a broken client is only dropped."""
        await stop_client(self._client)

    async def assigned(self, timeout_s: float) -> frozenset[Partition] | None:
        """The partitions of the current generation, or None if a rebalance is not over after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._assigned.wait(), timeout_s)
        if not self._assigned.is_set():
            return None
        return frozenset(Partition(tp.topic, tp.partition) for tp in self._client.assignment())

    def start_at(self, offsets: Mapping[Partition, int], paused: Iterable[Partition]) -> bool:
        """Positions every assigned partition, pauses some. Returns False if the assignment is another one by now.

        Never while a poll is under way: that one would take records from the new offsets and throw them away as old.
        """
        if self._polling:
            raise RuntimeError("start_at during a poll would lose records")
        mine = {Partition(tp.topic, tp.partition) for tp in self._client.assignment()}
        if not self._assigned.is_set() or mine != offsets.keys():
            return False
        waiting = set(paused)
        for partition, offset in offsets.items():
            self._client.seek(TopicPartition(*partition), offset)
            (self._client.pause if partition in waiting else self._client.resume)(TopicPartition(*partition))
        self.generation += 1
        self._started_at = self.generation
        return True

    async def poll(self, max_records: int, timeout_s: float, *, but: Collection[Partition] = ()) -> list[Record]:
        """Records in log order per partition, none if there are none yet or the generation changed meanwhile.

        Of the partitions in `but` there are none.

        Raises KafkaError if the client is broken, WorkerStopped if the log no longer has an offset asked for,
        UnreadableRecord if one partition cannot be read on. After that, `start_at` is needed.
        """
        generation = self.generation
        wanted = self._client.assignment() - {TopicPartition(*partition) for partition in but} if but else ()
        if but and not wanted:
            return []
        self._polling = True
        try:
            fetched = await self._client.getmany(*wanted, timeout_ms=round(timeout_s * 1000), max_records=max_records)
        except NoOffsetForPartitionError:
            fetched = {}  # the client looked for a committed offset before `start_at` was called
        except _UNREADABLE:
            await self._find_unreadable()
            raise
        except OffsetOutOfRangeError as out_of_range:
            if generation == self.generation:
                await self._explain_out_of_range(out_of_range)
            raise
        finally:
            self._polling = False
        if not generation == self.generation == self._started_at:
            return []
        return [
            Record(tp.topic, tp.partition, r.offset, r.timestamp * 1000, r.key, r.value, r.headers)
            for tp, records in fetched.items()
            for r in records
        ]

    async def _find_unreadable(self) -> None:
        """Asks partition by partition, for the client does not say where it failed. What is read here is dropped."""
        for tp in sorted(self._client.assignment() - self._client.paused()):
            try:
                await self._client.getmany(tp, timeout_ms=500)
            except _UNREADABLE as error:
                offset = await self._client.position(tp)
                raise UnreadableRecord(Partition(tp.topic, tp.partition), offset, error) from error

    def count_misplaced(self, topic: str, records: Iterable[Record]) -> int:
        """How many a producer with another partitioner than Java's wrote; events of their keys may be handled apart."""
        count = len(self._client.partitions_for_topic(topic) or ())
        return sum(1 for r in records if count and r.key and key_hash(r.key) % count != r.partition)

    async def _explain_out_of_range(self, error: OffsetOutOfRangeError) -> None:
        """Raises WorkerStopped if the log really begins later or ends earlier; otherwise a new consumer may help."""
        offsets: dict[TopicPartition, int] = error.args[0]
        begins, ends = await self._client.beginning_offsets(offsets), await self._client.end_offsets(offsets)
        for tp, offset in offsets.items():
            if begins[tp] <= offset <= ends[tp]:
                continue
            message = (
                f"{tp.topic}[{tp.partition}]: the next event to read has offset {offset}, but the log has only"
                f" {begins[tp]} to {ends[tp]}. Events were deleted or the topic was made anew. Bring them"
                " back; an operator who decides otherwise sets next_offset in event_progress"
            )
            if offset < begins[tp]:
                partition = Partition(tp.topic, tp.partition)
                raise EventsDeleted(partition, offset, begins[tp], message) from error
            raise WorkerStopped(message) from error

    def lag(self, partition: Partition, next_offset: int) -> int | None:
        """Records between `next_offset` and the end last heard of, None before the first fetch."""
        end = self._client.last_stable_offset(TopicPartition(*partition))
        return None if end is None else max(0, end - next_offset)

    async def is_behind(self) -> bool:
        """Whether the log goes on after what was fetched, asked of the leaders and not of the fetch in doubt."""
        waiting = self._client.assignment() - self._client.paused()
        ends = await self._client.end_offsets(waiting) if waiting else {}
        positions = {tp: await self._client.position(tp) for tp in waiting}
        return any(positions[tp] < end for tp, end in ends.items())

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tells the group's coordinator how far we are, for lag monitors only. Raises KafkaError."""
        await self._client.commit({TopicPartition(*partition): offset for partition, offset in offsets.items()})
