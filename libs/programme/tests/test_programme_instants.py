"""Instants: exact both ways, and strict about what is one."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programme.instants import format_instant, from_datetime, parse_instant, to_datetime

moments = st.datetimes(datetime(1999, 1, 1), datetime(2105, 1, 1), timezones=st.just(UTC))


@given(moments)
def test_datetimes_and_text_round_trip_exactly(moment: datetime) -> None:
    us = from_datetime(moment)
    assert to_datetime(us) == moment
    assert parse_instant(format_instant(us)) == us


@given(moments, st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_offsets_name_the_same_instant(moment: datetime, minutes: int) -> None:
    elsewhere = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert parse_instant(elsewhere.isoformat()) == from_datetime(moment) == from_datetime(elsewhere)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2026-11-22T10:15:30+01:00", "2026-11-22T09:15:30Z"),
        ("2026-11-22T10:15:30.5Z", "2026-11-22T10:15:30.500000Z"),
        ("2026-11-22T10:15:30.000000Z", "2026-11-22T10:15:30Z"),
        ("2026-11-22t10:15:30z", "2026-11-22T10:15:30Z"),
        ("2026-11-22T10:15:30-00:00", "2026-11-22T10:15:30Z"),
        ("2000-01-01T00:00:00+23:59", "1999-12-31T00:01:00Z"),
    ],
)
def test_instants_are_written_in_one_form(text: str, canonical: str) -> None:
    assert format_instant(parse_instant(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T10:15:30",
        "2026-11-22 10:15:30Z",
        "2026-11-22T10:15Z",
        "2026-11-22T10:15:30.Z",
        "2026-11-22T10:15:30,5Z",
        "2026-11-22T10:15:30.1234567Z",
        "2026-11-22T10:15:30+0100",
        "2026-11-22T10:15:30+24:00",
        "2026-11-22T10:15:30+01:60",
        "2026-11-22T24:00:00Z",
        "2026-06-30T23:59:60Z",
        "2026-06-30T24:00:00Z",
        "2026-06-30T23:00:00+24:00",
        "2026-02-29T10:15:30Z",
        "2026-W47-7T10:15:30Z",
        "20261122T101530Z",
        "12026-11-22T10:15:30Z",
        "2026-11-22T10:15:30Z\n",
        " 2026-11-22T10:15:30Z",
        "\u0662\u0660\u0662\u0666-11-22T10:15:30Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_other_texts_are_no_instants(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_instant(text)


def test_a_naive_datetime_is_no_instant() -> None:
    with pytest.raises(ValueError, match="offset"):
        from_datetime(datetime(2026, 11, 22))
