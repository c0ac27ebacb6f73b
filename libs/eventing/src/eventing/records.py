"""What comes out of the log and what goes into it."""

from typing import NamedTuple

import msgspec

Headers = tuple[tuple[str, bytes | None], ...]
"""Names and values; Kafka knows a value that is null."""


class Partition(NamedTuple):
    """One partition of one topic; sorts by topic, then number."""

    topic: str
    number: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as the log keeps it. `timestamp_us` is the record's own timestamp, microseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_us: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record to be published. The key chooses the partition; a value of None is a tombstone.

    Packed it is an array: rows in outboxes outlive the program that wrote them.
    """

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers
