"""The days on which a member lately bought something they kept, and how much: what segments are counted from.

Pure. With it the segments of a date take one row a member instead of all their purchases. It follows from the set of
a member's purchases and returns alone, in whatever order they came; `days_of` says how, and the worker moves it on by
one event at a time.

Only the days that are at most `LATELY_DAYS` before the newest purchase are in it: a year as of any day of the last
quarter of a year. Who asks for more than that reads the purchases.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from programme.calendar import months_of_days

LATELY_DAYS = 460


class Bought(NamedTuple):
    """A purchase by its civil day, and what remains of it, in cents of all classes."""

    day: int
    remaining_cents: int


@dataclass(slots=True)
class PurchaseDays:
    """`days` are those with something kept, ascending; `kept_cents` what is kept of all of them up to each."""

    first_event_day: int | None = None
    """Of the purchases and returns, the earliest."""
    last_purchase_day: int | None = None
    last_return_day: int | None = None
    days: list[int] = field(default_factory=list)
    kept_cents: list[int] = field(default_factory=list)

    def add_purchase(self, day: int, cents: int) -> None:
        """A new purchase, of which so many cents remain."""
        self._note(day)
        if self.last_purchase_day is None or day > self.last_purchase_day:
            self.last_purchase_day = day
            self._forget_before(day - LATELY_DAYS)
        self._add(day, cents)

    def add_return(self, day: int) -> None:
        """A new return, whether or not its purchase is known."""
        self._note(day)
        self.last_return_day = day if self.last_return_day is None else max(day, self.last_return_day)

    def take_back(self, purchase_day: int, cents: int) -> None:
        """So many cents less remain of a purchase of that day."""
        self._add(purchase_day, -cents)

    def months(self) -> list[int]:
        """How many calendar months the days up to each are in."""
        count, last, told = 0, None, []
        for month in months_of_days(self.days):
            if month != last:
                count, last = count + 1, month
            told.append(count)
        return told

    def _note(self, day: int) -> None:
        if self.first_event_day is None or day < self.first_event_day:
            self.first_event_day = day

    def _forget_before(self, first: int) -> None:
        gone = bisect_left(self.days, first)
        if gone:
            before = self.kept_cents[gone - 1]
            del self.days[:gone]
            self.kept_cents = [cents - before for cents in self.kept_cents[gone:]]

    def _add(self, day: int, cents: int) -> None:
        assert self.last_purchase_day is not None, "the purchase is known"
        if cents == 0 or day < self.last_purchase_day - LATELY_DAYS:
            return
        if not self.days or day > self.days[-1]:
            self.days.append(day)
            self.kept_cents.append(cents + (self.kept_cents[-1] if self.kept_cents else 0))
            return
        at = bisect_left(self.days, day)
        before = self.kept_cents[at - 1] if at else 0
        if self.days[at] != day:
            self.days.insert(at, day)
            self.kept_cents.insert(at, before)
        for later in range(at, len(self.days)):
            self.kept_cents[later] += cents
        if self.kept_cents[at] == before:
            del self.days[at], self.kept_cents[at]


def days_of(purchases: Iterable[Bought], return_days: Iterable[int]) -> PurchaseDays:
    """What `PurchaseDays` says of all purchases and returns of a member."""
    bought, returned = list(purchases), list(return_days)
    last = max((row.day for row in bought), default=None)
    kept: defaultdict[int, int] = defaultdict(int)
    for row in bought:
        if last is not None and row.day >= last - LATELY_DAYS and row.remaining_cents > 0:
            kept[row.day] += row.remaining_cents
    days = sorted(kept)
    return PurchaseDays(
        first_event_day=min([*(row.day for row in bought), *returned], default=None),
        last_purchase_day=last,
        last_return_day=max(returned, default=None),
        days=days,
        kept_cents=list(accumulate(kept[day] for day in days)),
    )
