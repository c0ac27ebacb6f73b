"""What a segment is, and the days that decide it on a date: all the calendar the SQL of segments needs; pure."""

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from programme.calendar import FIRST_YEAR, date_of, day_of, midnight_us, month_of_day, months_before
from programme.instants import format_instant, to_datetime
from programme.revenue import counts_from
from programme.terms import Programme

_FIRST_DAY = day_of(date(FIRST_YEAR, 1, 1))


class Segment(NamedTuple):
    """How many members share a level, a lifecycle status and a class; `abc` is None for those without revenue."""

    level: str
    lifecycle: str
    abc: str | None
    members: int
    revenue_cents: int


@dataclass(frozen=True)
class Bounds:
    """The dates and numbers of rules 3.12 and 3.13 for one civil day, by the terms in force then.

    `after` dates are the last one that is too early, `from` dates the first that counts. `end` is the first instant of
    the next day: everything before it is in.
    """

    on: date
    end: datetime
    timeline_end: str
    new_from: date
    new_below_days: int
    silent_from: date
    regular_after: date
    regular_days: int
    regular_months: int
    month_starts: list[date]
    existing_after: date
    revenue_from: date
    a_percent: int
    b_percent: int

    @property
    def days_from(self) -> date:
        """The first date whose purchase days are told apart."""
        return min(self.new_from, date_of(day_of(self.regular_after) + 1))

    @property
    def days(self) -> str:
        """A bit for each of those dates."""
        return "0" * ((self.on - self.days_from).days + 1)

    @property
    def regular_bit(self) -> int:
        """The first bit, from 1, of the dates that count for regular customers."""
        return (self.regular_after - self.days_from).days + 2


def bounds_on(programme: Programme, day: int) -> Bounds:
    """The bounds for a civil day."""
    end_us = midnight_us(day + 1)
    terms = programme.at(midnight_us(day))
    lifecycle = terms.lifecycle
    regular_after = months_before(day, lifecycle.regular_within_months)
    return Bounds(
        on=date_of(day),
        end=to_datetime(end_us),
        # Without its Z, it sorts before every text of the same second, with or without a fraction.
        timeline_end=json.dumps({"end": format_instant(end_us).removesuffix("Z")}),
        new_from=_date(day - lifecycle.new_within_days),
        new_below_days=lifecycle.new_below_purchase_days,
        silent_from=_date(day - lifecycle.regular_silent_at_most_days),
        regular_after=date_of(regular_after),
        regular_days=lifecycle.regular_purchase_days,
        regular_months=lifecycle.regular_purchase_months,
        month_starts=_month_starts(regular_after + 1, day),
        existing_after=date_of(months_before(day, lifecycle.existing_within_months)),
        revenue_from=date_of(counts_from(terms.abc, day)),
        a_percent=terms.abc.a_percent,
        b_percent=terms.abc.b_percent,
    )


def _date(day: int) -> date:
    return date_of(max(_FIRST_DAY, day))


def _month_starts(first: int, last: int) -> list[date]:
    months = range(month_of_day(first), month_of_day(last) + 1)
    return [date(month // 12, month % 12 + 1, 1) for month in months]
