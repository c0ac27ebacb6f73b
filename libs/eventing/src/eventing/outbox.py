"""Messages to be published, stored with the change they tell of.

One row carries all messages of one transaction, and is inserted when every lock of that transaction is held. Ids are
drawn one by one (identity, cache 1) and the locks are kept until the commit, so of two rows about the same locked
thing the one with the smaller id was committed first. The relay relies on that and on nothing else.

The messages of a row repeat most of their headers, so the row is compressed: that saves a third of all WAL, and costs
less than writing it. Rows of earlier versions are not compressed and are read as well.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from eventing.database import Connection
from eventing.failures import Invalid
from eventing.records import Message

MAX_MESSAGE_BYTES: Final = 1_000_000  # a broker refuses more than 1 MiB by default, overhead included

_ZLIB: Final = b"\x78"
"""How a zlib stream begins (RFC 1950), and no msgpack array."""
_FAST: Final = 1

watchers: Final[list[Callable[[Sequence[Message]], None]]] = []
"""For tests: each is told of what is stored, at the one place that everything passes."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Message])


async def enqueue(conn: Connection, messages: Sequence[Message]) -> None:
    """Stores `messages` in one row. Call it last in the transaction.

    No NOTIFY: it makes the commits of all that notify wait for each other.

    Raises Invalid for a message no broker would take: found here, it fails the change and not the relay, and no
    retry can help.
    """
    if not messages:
        return
    for watch in watchers:
        watch(messages)
    packed = _encoder.encode(messages)
    if len(packed) > MAX_MESSAGE_BYTES:  # otherwise none of them can be larger
        _check_sizes(messages)
    compressed = zlib.compress(packed, _FAST)
    await conn.execute("INSERT INTO outbox (messages, message_count) VALUES ($1, $2)", compressed, len(messages))


def unpack(packed: bytes) -> list[Message]:
    """The messages of one row, in order."""
    return _decoder.decode(zlib.decompress(packed) if packed.startswith(_ZLIB) else packed)


async def depth(conn: Connection) -> tuple[int, float]:
    """The number of unpublished messages and the age of the oldest in seconds."""
    rows = await conn.fetch(
        """SELECT coalesce(sum(message_count), 0) AS messages,
                  coalesce(extract(epoch FROM now() - min(created_at)), 0) AS oldest_s FROM outbox"""
    )
    return int(rows[0]["messages"]), float(rows[0]["oldest_s"])


def _check_sizes(messages: Sequence[Message]) -> None:
    for message in messages:
        if (size := _size(message)) > MAX_MESSAGE_BYTES:
            detail = f"a message for {message.topic} has {size} bytes, at most {MAX_MESSAGE_BYTES} are taken"
            raise Invalid("message_too_large", detail)


def _size(message: Message) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in message.headers)
    return len(message.key) + len(message.value or b"") + headers
