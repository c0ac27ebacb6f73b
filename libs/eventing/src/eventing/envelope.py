"""CloudEvents 1.0 over Kafka: binary mode written, binary and structured mode read."""

import functools
import os
import time
from datetime import UTC, datetime
from typing import Final

import msgspec

from eventing.failures import Invalid
from eventing.records import Message, Record

MAX_VALUE_BYTES: Final = 1024 * 1024
_STRUCTURED: Final = b"application/cloudevents+json"


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event and the record that carried it; `data` is the JSON text, not yet judged."""

    id: str
    type: str
    source: str
    data: bytes
    record: Record


class _Structured(msgspec.Struct):
    specversion: str
    id: str
    type: str
    source: str
    data: msgspec.Raw = msgspec.Raw()
    data_base64: bytes | None = None


_structured_decoder: Final = msgspec.json.Decoder(_Structured)


def read_event(record: Record) -> Event:
    """The event in `record`. Raises Invalid for what is no CloudEvent, has no value or more than 1 MiB of it."""
    if record.value is None:
        raise Invalid("no_value", "the record has no value")
    if len(record.value) > MAX_VALUE_BYTES:
        raise Invalid("too_large", f"the value has {len(record.value)} bytes, at most {MAX_VALUE_BYTES} are taken")
    headers = dict(record.headers)
    if None in headers.values():
        headers = {name: header for name, header in record.headers if header is not None}
    if (headers.get("content-type") or b"").lower().startswith(_STRUCTURED):
        return _read_structured(record, record.value)
    return _read_binary(record, record.value, headers)


def _read_binary(record: Record, value: bytes, headers: dict[str, bytes | None]) -> Event:
    if headers.get("ce_specversion") != b"1.0":
        raise Invalid("not_a_cloudevent", "header ce_specversion is missing or not 1.0")
    try:
        event_id, event_type, source = headers["ce_id"], headers["ce_type"], headers["ce_source"]
        if not (event_id and event_type and source):
            raise Invalid("not_a_cloudevent", "id, type or source is empty")
        return Event(event_id.decode(), event_type.decode(), source.decode(), value, record)
    except KeyError as missing:
        raise Invalid("not_a_cloudevent", f"header {missing.args[0]} is missing") from None
    except UnicodeDecodeError:
        raise Invalid("not_a_cloudevent", "a ce_ header is not UTF-8") from None


def _read_structured(record: Record, value: bytes) -> Event:
    try:
        event = _structured_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("not_a_cloudevent", str(error)) from None
    except RecursionError:
        raise Invalid("not_a_cloudevent", "the JSON is nested too deeply") from None
    if event.specversion != "1.0":
        raise Invalid("not_a_cloudevent", "specversion is not 1.0")
    data = event.data_base64 if event.data_base64 is not None else bytes(event.data)
    if not (event.id and event.type and event.source):
        raise Invalid("not_a_cloudevent", "id, type or source is empty")
    return Event(event.id, event.type, event.source, data, record)


def new_message(
    topic: str,
    *,
    type: str,
    source: str,
    key: str,
    data: bytes,
    event_id: str | None = None,
    time_us: int | None = None,
) -> Message:
    """An event in binary mode with `partitionkey` = the record's key.

    `time_us` is the event's time in microseconds since the epoch (default now), `event_id` a random one unless given.
    """
    encoded_key = key.encode()
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", (event_id or os.urandom(16).hex()).encode()),
        ("ce_type", type.encode()),
        ("ce_source", source.encode()),
        ("ce_time", _timestamp(time.time_ns() // 1000 if time_us is None else time_us)),
        ("ce_partitionkey", encoded_key),
        ("content-type", b"application/json"),
    )
    return Message(topic, encoded_key, data, headers)


def _timestamp(time_us: int) -> bytes:
    seconds, microseconds = divmod(time_us, 1_000_000)
    return b"%b.%06dZ" % (_second(seconds), microseconds) if microseconds else b"%bZ" % _second(seconds)


@functools.lru_cache(maxsize=8)
def _second(seconds: int) -> bytes:
    """Messages come thousands a second."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat().encode()
