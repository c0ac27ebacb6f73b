"""The calendar against zoneinfo and datetime, over its whole range."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from programme import calendar
from programme.instants import from_datetime, parse_instant, to_datetime

BERLIN = ZoneInfo("Europe/Berlin")
FIRST, LAST = datetime(1999, 1, 2, tzinfo=UTC), datetime(2105, 12, 30, tzinfo=UTC)

instants = st.integers(from_datetime(FIRST), from_datetime(LAST))
days = st.integers(calendar.day_of(date(1999, 1, 1)), calendar.day_of(date(2104, 12, 30)))


def anniversary(civil: date) -> date:
    if (civil.month, civil.day) == (2, 29):
        return date(civil.year + 1, 3, 1)
    return civil.replace(year=civil.year + 1)


@given(instants)
@example(parse_instant("2026-03-28T23:00:00Z"))
@example(parse_instant("2026-06-30T22:00:00Z"))
@example(parse_instant("2026-06-30T21:59:59.999999Z"))
@example(parse_instant("2025-12-31T23:00:00Z"))
def test_civil_dates_are_those_of_berlin(us: int) -> None:
    civil = to_datetime(us).astimezone(BERLIN).date()
    assert calendar.date_of(calendar.civil_day(us)) == civil
    assert calendar.civil_year(us) == civil.year


def test_every_midnight_is_the_first_instant_of_its_day() -> None:
    for day in range(calendar.day_of(date(1999, 1, 2)), calendar.day_of(date(2105, 12, 31))):
        first = calendar.midnight_us(day)
        assert (calendar.civil_day(first - 1), calendar.civil_day(first)) == (day - 1, day)
        assert to_datetime(first).astimezone(BERLIN).time() == datetime.min.time()


def test_every_anniversary_is_the_same_date_next_year() -> None:
    day = calendar.day_of(date(1999, 1, 1))
    while day < calendar.day_of(date(2104, 12, 31)):
        civil = calendar.date_of(day)
        assert calendar.date_of(calendar.anniversary_day(day)) == anniversary(civil)
        day += 1


@pytest.mark.parametrize(
    ("bought", "until"),
    [
        ("2024-02-29T12:00:00Z", "2025-02-28T23:00:00Z"),
        ("2023-02-28T12:00:00Z", "2024-02-27T23:00:00Z"),
        ("2023-03-01T12:00:00Z", "2024-02-29T23:00:00Z"),
        ("2025-03-30T12:00:00Z", "2026-03-29T22:00:00Z"),
        ("2025-06-30T22:00:00Z", "2026-06-30T22:00:00Z"),
        ("2025-06-30T21:59:59Z", "2026-06-29T22:00:00Z"),
    ],
)
def test_a_purchase_is_live_to_the_midnight_of_its_anniversary(bought: str, until: str) -> None:
    assert calendar.valid_until_us(parse_instant(bought)) == parse_instant(until)


@given(instants, st.sampled_from([0, 0, 1, -1]) | st.integers(-(2**45), 2**45))
def test_keys_compare_as_valid_until_does(bought: int, offset_us: int) -> None:
    until = calendar.valid_until_us(min(bought, from_datetime(datetime(2103, 1, 1, tzinfo=UTC))))
    bought = min(bought, from_datetime(datetime(2103, 1, 1, tzinfo=UTC)))
    later = max(from_datetime(FIRST), min(until + offset_us, from_datetime(LAST)))
    last_key = calendar.valid_until_key(calendar.day_key(bought))
    assert (later <= until) == (calendar.day_key(later) <= last_key)
    assert calendar.key_midnight_us(last_key) == until


@given(instants, instants)
def test_keys_keep_the_order_of_instants(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert calendar.day_key(low) <= calendar.day_key(high)


@given(days)
def test_boundaries_are_midnights_of_the_first_of_january(day: int) -> None:
    year = calendar.year_of_day(day)
    boundary = datetime(year, 1, 1, tzinfo=BERLIN).astimezone(UTC)
    assert calendar.boundary_us(year) == from_datetime(boundary)


@pytest.mark.parametrize("year", [1970, 1998, 2106, 2500])
def test_outside_its_range_the_calendar_refuses_to_answer(year: int) -> None:
    us = from_datetime(datetime(year, 6, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="1999 to 2105"):
        calendar.civil_day(us)
    with pytest.raises(ValueError, match="1999 to 2105"):
        calendar.midnight_us(us // int(timedelta(days=1) / timedelta(microseconds=1)))
    with pytest.raises(ValueError, match="1999 to 2105"):
        calendar.anniversary_day(us // 86_400_000_000)
