"""JSON lines `{"type", "data"}`, and the message each becomes."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from eventing.envelope import new_message
from eventing.records import Message
from msgspec.structs import replace

SOURCE = "kundenclub/publish"


class Line(NamedTuple):
    """A line that can be published."""

    type: str
    message: Message


class BadLine(NamedTuple):
    """A line that cannot be published, or was not."""

    number: int
    reason: str


class _Written(msgspec.Struct):
    type: str
    data: msgspec.Raw


class _Keyed(msgspec.Struct):
    member_id: Any = None


_decode_written = msgspec.json.Decoder(_Written).decode
_decode_keyed = msgspec.json.Decoder(_Keyed).decode


def read_line(number: int, text: bytes, topic_by_type: Mapping[str, str]) -> Line | BadLine:
    """What a line says. Its number is for people: the first is 1."""
    try:
        written = _decode_written(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return BadLine(number, f'not a JSON object with "type" and "data": {error}')
    topic = topic_by_type.get(written.type)
    if topic is None:
        return BadLine(number, f"no topic carries events of type {written.type[:80]!r}")
    return Line(written.type, to_message(topic, written.type, bytes(written.data)))


def to_message(topic: str, type: str, data: bytes) -> Message:
    """The event with `data` as it is, valid or not: to judge it is the services' part.

    The key is the member_id; an event without one has none. The event's id follows from its content, so that a file
    published twice is the same events twice, which is what it is.
    """
    event_id = hashlib.sha256(b"%b\n%b" % (type.encode(), data)).hexdigest()[:32]
    message = new_message(topic, type=type, source=SOURCE, key=_member_id(data), data=data, event_id=event_id)
    if message.key:
        return message
    return replace(message, headers=tuple(header for header in message.headers if header[1]))


def _member_id(data: bytes) -> str:
    try:
        member_id = _decode_keyed(data).member_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return member_id if isinstance(member_id, str) else ""
