"""CloudEvents 1.0 over Kafka: binary mode written, binary and structured mode read."""

import os
import time
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from eventing.failures import Invalid
from eventing.records import Message, Record

MAX_VALUE_BYTES: Final = 1024 * 1024
_STRUCTURED: Final = b"application/cloudevents+json"


class Event(NamedTuple):
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
    headers = {name: header for name, header in record.headers if header is not None}
    if (headers.get("content-type") or b"").lower().startswith(_STRUCTURED):
        return _read_structured(record, record.value)
    return _read_binary(record, record.value, headers)


def _read_binary(record: Record, value: bytes, headers: dict[str, bytes]) -> Event:
    if headers.get("ce_specversion") != b"1.0":
        raise Invalid("not_a_cloudevent", "header ce_specversion is missing or not 1.0")
    try:
        event_id, event_type = headers["ce_id"].decode(), headers["ce_type"].decode()
        source = headers["ce_source"].decode()
    except KeyError as missing:
        raise Invalid("not_a_cloudevent", f"header {missing.args[0]} is missing") from None
    except UnicodeDecodeError:
        raise Invalid("not_a_cloudevent", "a ce_ header is not UTF-8") from None
    return _checked(Event(event_id, event_type, source, value, record))


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
    return _checked(Event(event.id, event.type, event.source, data, record))


def _checked(event: Event) -> Event:
    if not (event.id and event.type and event.source):
        raise Invalid("not_a_cloudevent", "id, type or source is empty")
    return event


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
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", (event_id or os.urandom(16).hex()).encode()),
        ("ce_type", type.encode()),
        ("ce_source", source.encode()),
        ("ce_time", _timestamp(time.time_ns() // 1000 if time_us is None else time_us)),
        ("ce_partitionkey", key.encode()),
        ("content-type", b"application/json"),
    )
    return Message(topic, key.encode(), data, headers)


def _timestamp(time_us: int) -> bytes:
    seconds, microseconds = divmod(time_us, 1_000_000)
    text = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds, tzinfo=None).isoformat()
    return f"{text}Z".encode()
