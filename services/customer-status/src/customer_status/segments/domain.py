"""What a segment is, and the days that decide it on a date: all the calendar the SQL of segments needs; pure."""

import json
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from programme.calendar import date_of, day_of, midnight_us, months_before
from programme.instants import format_instant, to_datetime
from programme.revenue import counts_from
from programme.terms import Programme


class Segment(NamedTuple):
    """How many members share a level, a lifecycle status and a class; `abc` is None for those without revenue."""

    level: str
    lifecycle: str
    abc: str | None
    members: int
    revenue_cents: int


@dataclass(frozen=True)
class Bounds:
    """The civil days and numbers of rules 3.12 and 3.13 for one civil day, by the terms in force then.

    `after` days are the last one that is too early, `from` days the first that counts; days are counted from
    1970-01-01. `end` is the first instant of the next day: everything before it is in.
    """

    on: date
    end: datetime
    timeline_end: str
    on_day: int
    needed_from: int
    """Of the days whose purchases are told apart, the first."""
    new_from: int
    new_below_days: int
    silent_from: int
    regular_after: int
    regular_days: int
    regular_months: int
    regular_month_from: int
    regular_month_before: int
    """The calendar month that the first regular day is in, until before this day."""
    existing_after: int
    revenue_from: int
    a_percent: int
    b_percent: int


def bounds_on(programme: Programme, day: int) -> Bounds:
    """The bounds for a civil day."""
    end_us = midnight_us(day + 1)
    terms = programme.at(midnight_us(day))
    lifecycle = terms.lifecycle
    new_from = day - lifecycle.new_within_days
    regular_after = months_before(day, lifecycle.regular_within_months)
    revenue_from = counts_from(terms.abc, day)
    month = date_of(regular_after + 1).replace(day=1)
    return Bounds(
        on=date_of(day),
        end=to_datetime(end_us),
        # Without its Z, it sorts before every text of the same second, with or without a fraction.
        timeline_end=json.dumps({"end": format_instant(end_us).removesuffix("Z")}),
        on_day=day,
        needed_from=min(new_from, regular_after + 1, revenue_from),
        new_from=new_from,
        new_below_days=lifecycle.new_below_purchase_days,
        silent_from=day - lifecycle.regular_silent_at_most_days,
        regular_after=regular_after,
        regular_days=lifecycle.regular_purchase_days,
        regular_months=lifecycle.regular_purchase_months,
        regular_month_from=day_of(month),
        regular_month_before=day_of(month) + monthrange(month.year, month.month)[1],
        existing_after=months_before(day, lifecycle.existing_within_months),
        revenue_from=revenue_from,
        a_percent=terms.abc.a_percent,
        b_percent=terms.abc.b_percent,
    )
