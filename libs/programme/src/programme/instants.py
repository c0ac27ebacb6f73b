"""Instants as integers: microseconds since 1970-01-01T00:00:00Z. Every conversion is exact."""

import re
from datetime import UTC, datetime, timedelta

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def parse_instant(text: str) -> int:
    """Read an RFC 3339 instant with an offset and at most six fraction digits (rules 3.1).

    Stricter than ISO 8601: no week dates, no space, no comma, no leap second, no hour 24
    (which some versions of Python read as the next day). Raises ValueError.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError("not an RFC 3339 instant with an offset and at most 6 fraction digits")
    return from_datetime(datetime.fromisoformat(text.upper()))


def format_instant(us: int) -> str:
    """Write `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`: six fraction digits, or none where they are zero."""
    return to_datetime(us).replace(tzinfo=None).isoformat() + "Z"


def to_datetime(us: int) -> datetime:
    """The aware UTC datetime of an instant, for the edges (PostgreSQL, HTTP)."""
    return _EPOCH + us * _MICROSECOND


def from_datetime(value: datetime) -> int:
    """The instant of an aware datetime. Raises ValueError for a naive one."""
    if value.tzinfo is None:
        raise ValueError("a datetime without an offset is not an instant")
    return (value - _EPOCH) // _MICROSECOND
