"""The log read again from its beginning, beside the workers: outside their group, believing no stored offset."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError

from eventing.commands import Refused
from eventing.kafka import KafkaConfig, stop_client
from eventing.records import Partition, Record

T = TypeVar("T")

Tell = Callable[[str], None]

_SILENCE_S: Final = 60.0
# What is read is there already. The client asks for what comes after it too, and whatever it asks next waits for that.
_FETCH_WAIT_MS: Final = 10
_UNREADABLE: Final = (UnicodeDecodeError, CorruptRecordException)


class LogReader:
    """Reads one partition at a time. Use as a context manager; it raises KafkaError if the brokers are away.

    Records that the client cannot parse are passed over, and `warn` is told: the worker was led past them too.
    """

    def __init__(self, kafka: KafkaConfig, name: str, warn: Tell) -> None:
        self._warn = warn
        self._options = kafka.client_options(name)

    async def __aenter__(self) -> "LogReader":
        self._client = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            check_crcs=True,
            fetch_min_bytes=1,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            fetch_max_bytes=16 * 1024 * 1024,
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )
        try:
            await self._client.start()
        except BaseException:
            await stop_client(self._client)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_client(self._client)

    async def begins_at(self, partition: Partition) -> int:
        """The first offset the log still has."""
        tp = TopicPartition(*partition)
        begins: int = (await self._client.beginning_offsets([tp]))[tp]
        return begins

    async def ends_at(self, partition: Partition) -> int:
        """The offset after the last record."""
        tp = TopicPartition(*partition)
        ends: int = (await self._client.end_offsets([tp]))[tp]
        return ends

    async def read(self, partition: Partition, start: int, end: int, most: int) -> AsyncIterator[list[Record]]:
        """The records from offset `start` to before `end`, at most `most` at once, in order.

        Raises Refused if some of them were deleted, TimeoutError if the log does not come for a minute.
        """
        tp = TopicPartition(*partition)
        self._client.assign([tp])
        self._client.seek(tp, start)
        position, heard, at_once = start, time.monotonic(), most
        while position < end:
            try:
                fetched = await self._client.getmany(tp, timeout_ms=1000, max_records=at_once)
            except OffsetOutOfRangeError:
                raise Refused(f"{_where(partition)}: the log has no offset {position}") from None
            except _UNREADABLE as error:
                # Those before it were lost with the error: again, fewer at once, until it is the next one.
                if at_once == 1:
                    self._warn(f"{_where(partition)}: no record can be read at offset {position}: {error!r}")
                    position += 1
                at_once = max(1, at_once // 2)
                self._client.seek(tp, position)
                continue
            at_once = min(most, at_once * 2)
            if records := [_record(tp, r) for r in fetched.get(tp, ()) if r.offset < end]:
                yield records
            at: int = await self._client.position(tp)  # beyond what compaction and aborted transactions left out
            if at > position:
                position, heard = at, time.monotonic()
            elif time.monotonic() - heard > _SILENCE_S:
                raise TimeoutError(f"{_where(partition)} brings nothing after offset {position}")
        self._client.pause(tp)


def _where(partition: Partition) -> str:
    return f"{partition.topic}[{partition.number}]"


def _record(tp: TopicPartition, r: Any) -> Record:
    return Record(tp.topic, tp.partition, r.offset, r.timestamp * 1000, r.key, r.value, r.headers)


async def one_ahead(source: AsyncIterator[T]) -> AsyncIterator[T]:
    """The same, asking for the next one while the last one is worked on."""

    async def following() -> T | None:
        return await anext(source, None)

    pending = asyncio.create_task(following())
    try:
        while (item := await pending) is not None:
            pending = asyncio.create_task(following())
            yield item
    finally:
        pending.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await pending
