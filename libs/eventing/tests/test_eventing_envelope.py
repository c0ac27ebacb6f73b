"""CloudEvents in both modes."""

import base64
import json

import pytest
from eventing.envelope import MAX_VALUE_BYTES, new_message, read_event
from eventing.failures import Invalid
from eventing.records import Headers, Record
from eventing.testing import as_record
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

NAMES = st.text(min_size=1, max_size=20)


@given(event_id=NAMES, event_type=NAMES, source=NAMES, key=NAMES, data=st.binary(max_size=50))
def test_what_is_written_is_read(event_id: str, event_type: str, source: str, key: str, data: bytes) -> None:
    message = new_message("t", type=event_type, source=source, key=key, data=data, event_id=event_id, time_us=0)
    event = read_event(as_record(message))
    assert (event.id, event.type, event.source, event.data) == (event_id, event_type, source, data)
    assert event.record.key == key.encode()
    assert dict(message.headers)["ce_partitionkey"] == key.encode()


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (0, b"1970-01-01T00:00:00Z"),
        (1_795_339_800_000_001, b"2026-11-22T09:30:00.000001Z"),
        (4_102_444_799_999_999, b"2099-12-31T23:59:59.999999Z"),
    ],
)
def test_time_is_exact(time_us: int, text: bytes) -> None:
    message = new_message("t", type="x", source="/s", key="k", data=b"", time_us=time_us)
    assert dict(message.headers)["ce_time"] == text


def test_every_event_has_an_id_of_its_own() -> None:
    ids = {dict(new_message("t", type="x", source="/s", key="k", data=b"").headers)["ce_id"] for _ in range(100)}
    assert len(ids) == 100


def structured(**fields: object) -> Record:
    headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    return Record("t", 0, 0, 0, b"k", json.dumps(fields).encode(), headers)


def test_structured_mode_is_read_with_its_data_untouched() -> None:
    event = read_event(structured(specversion="1.0", id="1", type="x", source="/s", data={"a": 1.50}, extra=1))
    assert (event.id, event.type, event.source, event.data) == ("1", "x", "/s", b'{"a": 1.5}')
    encoded = base64.b64encode(b"\0\1").decode()
    event = read_event(structured(specversion="1.0", id="1", type="x", source="/s", data_base64=encoded))
    assert event.data == b"\0\1"


GOOD = dict(new_message("t", type="x", source="/s", key="k", data=b"").headers)


def without(name: str) -> Headers:
    return tuple((key, value) for key, value in GOOD.items() if key != name)


def changed(name: str, value: bytes) -> Headers:
    return (*without(name), (name, value))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Record("t", 0, 0, 0, b"k", None, tuple(GOOD.items())), "no_value"),
        (Record("t", 0, 0, 0, b"k", b" " * (MAX_VALUE_BYTES + 1), tuple(GOOD.items())), "too_large"),
        *[
            (Record("t", 0, 0, 0, b"k", b"{}", headers), "not_a_cloudevent")
            for headers in (
                (),
                without("ce_id"),
                without("ce_type"),
                without("ce_source"),
                without("ce_specversion"),
                changed("ce_specversion", b"0.3"),
                changed("ce_id", b"\xff"),
                changed("ce_type", b""),
            )
        ],
        (structured(specversion="1.0", id="1", type="x"), "not_a_cloudevent"),
        (structured(specversion="0.3", id="1", type="x", source="/s"), "not_a_cloudevent"),
        (structured(specversion="1.0", id=7, type="x", source="/s"), "not_a_cloudevent"),
        (replace(structured(), value=b"\xff"), "not_a_cloudevent"),
        (replace(structured(), value=b"[" * 100_000), "not_a_cloudevent"),
    ],
)
def test_what_is_no_event_is_refused(record: Record, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_event(record)
    assert refused.value.reason == reason


def test_a_value_of_exactly_the_limit_is_read() -> None:
    assert read_event(Record("t", 0, 0, 0, b"k", b" " * MAX_VALUE_BYTES, tuple(GOOD.items()))).type == "x"
