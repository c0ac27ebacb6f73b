"""Where a member stands with the shop on a civil day (rules 3.12): from the days they bought something they kept."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from programme.calendar import month_of_day, months_before
from programme.terms import Lifecycle

INTERESSENT, NEUKUNDE, STAMMKUNDE = "interessent", "neukunde", "stammkunde"
BESTANDSKUNDE, ALTKUNDE = "bestandskunde", "altkunde"
LIFECYCLES = (INTERESSENT, NEUKUNDE, STAMMKUNDE, BESTANDSKUNDE, ALTKUNDE)
"""In the order in which they are asked: the first that fits is it."""


class Standing(NamedTuple):
    """A member's status and flags; a flag is raised if it has a day."""

    status: str
    at_risk_since_day: int | None
    """The first day of the silence that is too long."""
    reactivated_day: int | None
    """The day of the purchase that ended a long silence."""


def standing_on(numbers: Lifecycle, purchase_days: Sequence[int], day: int) -> Standing:
    """The standing on a civil day, by the numbers of the terms in force then.

    `purchase_days` are the distinct days, ascending, with a purchase of which something remained by then; later ones
    are left out. The member is known.
    """
    days = purchase_days[: bisect_right(purchase_days, day)]
    if not days:
        return Standing(INTERESSENT, None, None)
    status = _status(numbers, days, day)
    at_risk_since = None if status == ALTKUNDE else _at_risk_since(numbers, days)
    if at_risk_since is not None and day < at_risk_since:
        at_risk_since = None
    return Standing(status, at_risk_since, _reactivated(numbers, days, day))


def _status(numbers: Lifecycle, days: Sequence[int], day: int) -> str:
    if day - days[0] <= numbers.new_within_days and len(days) < numbers.new_below_purchase_days:
        return NEUKUNDE
    if day - days[-1] <= numbers.regular_silent_at_most_days:
        recent = days[bisect_right(days, months_before(day, numbers.regular_within_months)) :]
        months = {month_of_day(each) for each in recent}
        if len(recent) >= numbers.regular_purchase_days and len(months) >= numbers.regular_purchase_months:
            return STAMMKUNDE
    return BESTANDSKUNDE if days[-1] > months_before(day, numbers.existing_within_months) else ALTKUNDE


def _at_risk_since(numbers: Lifecycle, days: Sequence[int]) -> int | None:
    """The first day of a silence that is longer than so many medians and at least so many days."""
    if len(days) < max(2, numbers.at_risk_purchase_days):
        return None
    intervals = sorted(later - earlier for earlier, later in pairwise(days))
    # Both middle ones, the same one twice if their number is odd: twice the median, a whole number.
    twice_median = intervals[(len(intervals) - 1) // 2] + intervals[len(intervals) // 2]
    longer_than = numbers.at_risk_intervals * twice_median // 2
    return days[-1] + max(longer_than + 1, numbers.at_risk_silent_days)


def _reactivated(numbers: Lifecycle, days: Sequence[int], day: int) -> int | None:
    """The latest purchase day, not too long ago, on which the last one before it was out of the months."""
    for index in range(len(days) - 1, 0, -1):
        if day - days[index] > numbers.reactivated_days:
            return None
        if days[index - 1] <= months_before(days[index], numbers.reactivated_after_months):
            return days[index]
    return None
