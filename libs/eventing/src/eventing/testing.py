"""For tests of what is built on this package: conditions instead of sleeps, records without a broker."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from eventing.records import Message, Record


async def wait_until(condition: Callable[[], Awaitable[object]], *, timeout_s: float = 30.0) -> None:
    """Returns when `condition` holds. Raises AssertionError, naming it, if it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline, f"{condition.__qualname__} does not hold after {timeout_s} s"
        await asyncio.sleep(0.02)


def as_record(message: Message, *, partition: int = 0, offset: int = 0, timestamp_us: int = 0) -> Record:
    """The record `message` becomes once it is in the log."""
    return Record(message.topic, partition, offset, timestamp_us, message.key, message.value, message.headers)
