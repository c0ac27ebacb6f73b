"""Civil dates in Europe/Berlin as integers: days since 1970-01-01.

Rules 3.4 and 3.9 compare instants with midnights thousands of times per member, so all midnights are computed
once, at import. Instants of events are written with years 2000 to 2099; the range leaves room for every offset and
for the boundaries that follow from them.
"""

from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from programme.instants import parse_instant

FIRST_YEAR = 1999
LAST_YEAR = 2105

_BERLIN = ZoneInfo("Europe/Berlin")
_DAY_US = 86_400_000_000
_WINTER_US = 3_600_000_000
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_FIRST_DAY = date(FIRST_YEAR, 1, 1).toordinal() - _EPOCH_ORDINAL
_LAST_DAY = date(LAST_YEAR, 12, 31).toordinal() - _EPOCH_ORDINAL


def _midnights() -> Iterator[int]:
    """Asks the time zone for single days only in months that end with another offset than they began with."""
    months = [(year, month) for year in range(FIRST_YEAR, LAST_YEAR + 1) for month in range(1, 13)]
    for (year, month), following in pairwise([*months, (LAST_YEAR + 1, 1)]):
        days = range(day_of(date(year, month, 1)), day_of(date(*following, 1)))
        offset_us, next_offset_us = _offset_us(date(year, month, 1)), _offset_us(date(*following, 1))
        if offset_us == next_offset_us:
            yield from (day * _DAY_US - offset_us for day in days)
        else:
            yield from (day * _DAY_US - _offset_us(date_of(day)) for day in days)


def _offset_us(day: date) -> int:
    offset = datetime(day.year, day.month, day.day, tzinfo=_BERLIN).utcoffset()
    assert offset is not None
    return offset // _MICROSECOND


def _anniversaries() -> Iterator[int]:
    """A leap day lies between a date and its next year's if it is the end of one's own February or of the next."""
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        january, march, end = day_of(date(year, 1, 1)), day_of(date(year, 3, 1)), day_of(date(year + 1, 1, 1))
        this_year, next_year = end - january, day_of(date(year + 2, 1, 1)) - end
        yield from range(january + this_year, march + this_year)
        yield from range(march + next_year, end + next_year)


def day_of(value: date) -> int:
    """The day number of a calendar date."""
    return value.toordinal() - _EPOCH_ORDINAL


def date_of(day: int) -> date:
    """The calendar date of a day number."""
    return date.fromordinal(day + _EPOCH_ORDINAL)


_MIDNIGHT_US = list(_midnights())
_ANNIVERSARY = list(_anniversaries())
_YEAR = [date_of(day).year for day in range(_FIRST_DAY, _LAST_DAY + 1)]
_MONTH = [
    year * 12 + month - 1
    for year in range(FIRST_YEAR, LAST_YEAR + 1)
    for month in range(1, 13)
    for _ in range(monthrange(year, month)[1])
]
_VALID_UNTIL_KEY = [2 * day for day in _ANNIVERSARY]


def civil_day(us: int) -> int:
    """The Berlin date of an instant. Raises ValueError outside 1999 to 2105."""
    day = (us + _WINTER_US) // _DAY_US
    if not _FIRST_DAY <= day < _LAST_DAY:
        raise ValueError(f"instant outside the years {FIRST_YEAR} to {LAST_YEAR}")
    # In summer a date begins an hour earlier than Central European Time says.
    return day + (us >= _MIDNIGHT_US[day - _FIRST_DAY + 1])


def parse_civil_instant(text: str) -> int:
    """`parse_instant`, within the years that have civil days. Raises ValueError."""
    us = parse_instant(text)
    civil_day(us)
    return us


def midnight_us(day: int) -> int:
    """The instant at which a civil day begins (00:00 Berlin). Raises ValueError outside 1999 to 2105."""
    return _MIDNIGHT_US[_index(day)]


def anniversary_day(day: int) -> int:
    """The same date next year; 1 March for 29 February (rules 3.4)."""
    return _ANNIVERSARY[_index(day)]


def valid_until_us(us: int) -> int:
    """The last instant at which a purchase made at `us` is live, inclusive (rules 3.4)."""
    return midnight_us(anniversary_day(civil_day(us)))


def day_key(us: int) -> int:
    """Twice the civil day, plus 1 unless `us` is its first instant: keys order as instants do, but for one day's.

    `s <= valid_until_us(q)` is the same as `day_key(s) <= valid_until_key(day_key(q))`, with small numbers.
    """
    day = civil_day(us)
    return 2 * day + (us != _MIDNIGHT_US[day - _FIRST_DAY])


def valid_until_key(key: int) -> int:
    """The key of `valid_until_us` of a purchase made on the day of `key`. Takes what `day_key` gave, unchecked."""
    return _VALID_UNTIL_KEY[(key >> 1) - _FIRST_DAY]


def key_midnight_us(key: int) -> int:
    """The first instant of the day of `key`. Takes what `day_key` or `valid_until_key` gave, unchecked."""
    return _MIDNIGHT_US[(key >> 1) - _FIRST_DAY]


def civil_year(us: int) -> int:
    """The Berlin calendar year of an instant. Raises ValueError outside 1999 to 2105."""
    return _YEAR[civil_day(us) - _FIRST_DAY]


def year_of_day(day: int) -> int:
    """The calendar year of a civil day. Raises ValueError outside 1999 to 2105."""
    return _YEAR[_index(day)]


def months_before(day: int, months: int) -> int:
    """The same date so many months earlier, or the last one of that month if it is shorter (rules 3.12).

    What lies after it is within these months as of `day`; 12 of them are the year of rules 3.4. Before the calendar
    begins: the day before it. Raises ValueError outside 1999 to 2105.
    """
    date = date_of(_index(day) + _FIRST_DAY)
    year, month = divmod(date.year * 12 + date.month - 1 - months, 12)
    if year < FIRST_YEAR:
        return _FIRST_DAY - 1
    first = date.replace(year=year, month=month + 1, day=1)
    return day_of(first) + min(date.day, monthrange(year, month + 1)[1]) - 1


def month_of_day(day: int) -> int:
    """The calendar month of a civil day, counted from the year 0. Raises ValueError outside 1999 to 2105."""
    return _MONTH[_index(day)]


def months_of_days(days: Iterable[int]) -> list[int]:
    """`month_of_day` of many. Takes days of purchases, unchecked."""
    return [_MONTH[day - _FIRST_DAY] for day in days]


def boundary_us(year: int) -> int:
    """1 January of `year`, 00:00 Berlin: the instants at which points expire (rules 3.9)."""
    return midnight_us(day_of(date(year, 1, 1)))


def _index(day: int) -> int:
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise ValueError(f"day outside the years {FIRST_YEAR} to {LAST_YEAR}")
    return day - _FIRST_DAY
