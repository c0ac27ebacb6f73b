"""What an amount is worth: eligible cents and points (rules 3.1 to 3.3)."""

from collections.abc import Mapping
from typing import NamedTuple

from programme.terms import Terms


class Points(NamedTuple):
    """Points of one purchase; both parts are at least 0."""

    base: int
    bonus: int

    @property
    def total(self) -> int:
        return self.base + self.bonus


def earning_cents(cents_by_class: Mapping[str, int], terms: Terms) -> int:
    """The sum over the classes that earn; below 0 it is counted as an anomaly (rules 3.1)."""
    earning, total = terms.earning_classes, 0
    for name, cents in cents_by_class.items():
        if name in earning:
            total += cents
    return total


def eligible_cents(cents_by_class: Mapping[str, int], terms: Terms) -> int:
    """The cents that earn points, at least 0 (rules 3.1). A return is judged by the terms of its purchase."""
    return max(0, earning_cents(cents_by_class, terms))


def total_cents(cents_by_class: Mapping[str, int]) -> int:
    """The cents of all classes, whether or not they earn: what lifecycle and revenue count (rules 3.12, 3.13)."""
    return sum(cents_by_class.values())


def unknown_classes(cents_by_class: Mapping[str, int], terms: Terms) -> frozenset[str]:
    """Classes the terms do not know: they earn nothing and are reported, never an error (rules 3.1)."""
    return frozenset(cents_by_class) - terms.earning_classes - terms.other_classes


def points_of(cents: int, bonus_percent: int) -> Points:
    """Points of `cents` eligible cents, rounded down once over the whole receipt (rules 3.2)."""
    base = cents // 100
    return Points(base, total_points(cents, bonus_percent) - base)


def total_points(cents: int, bonus_percent: int) -> int:
    """Both parts of `points_of` together."""
    return cents * (100 + bonus_percent) // 10_000


def remaining_cents(bought: int, returned: int, complete: bool) -> int:
    """What is left of a purchase after all its returns (rules 3.3): of its eligible cents, or of all its cents.

    `returned` is the sum over its returns, `complete` whether one of them is complete.
    """
    return 0 if complete else max(0, bought - returned)
