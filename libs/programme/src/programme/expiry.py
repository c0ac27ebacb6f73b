"""Points that have lapsed (rules 3.9): a function of time and events, whether or not anyone has posted it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from programme.calendar import boundary_us, civil_year

YEARS_USABLE = 4
"""Points of a purchase of year y expire on 1 January of year y + 4."""


class NextExpiry(NamedTuple):
    """Points that lapse at a boundary unless they are spent before."""

    points: int
    at_us: int


class Expiry(NamedTuple):
    """Points that lapse on 1 January of `year` unless they are spent before."""

    year: int
    points: int


def expired_points(earned_by_year: Mapping[int, int], debited_by_year: Mapping[int, int], at_us: int) -> int:
    """Points expired at an instant, at least 0.

    `earned_by_year`: points by civil year of the purchase, net of all returns known, and credits by adjustment.
    `debited_by_year`: debits less give-backs, by the civil year of their date.
    """
    return expired_by(earned_by_year, debited_by_year, civil_year(at_us))


def expired_by(earned_by_year: Mapping[int, int], debited_by_year: Mapping[int, int], year: int) -> int:
    """Points expired at 00:00 Berlin on 1 January of `year`: the greatest excess of expiring points over debits, over
    all boundaries up to then. The two mappings are those of `expired_points`.
    """
    if min(earned_by_year, default=year) + YEARS_USABLE > year and min(debited_by_year.values(), default=0) >= 0:
        return 0  # nothing was bought long enough ago: the common case, and every posting asks
    excess = 0
    for boundary in _boundaries(earned_by_year, debited_by_year):
        if boundary <= year:
            expiring = sum(points for bought, points in earned_by_year.items() if bought + YEARS_USABLE <= boundary)
            debited = sum(points for spent, points in debited_by_year.items() if spent < boundary)
            excess = max(excess, expiring - debited)
    return excess


def by_year(points: Iterable[tuple[int, int]]) -> dict[int, int]:
    """(instant, points) added up by the civil year of the instant, without zeros."""
    sums: dict[int, int] = {}
    for us, each in points:
        year = civil_year(us)
        sums[year] = sums.get(year, 0) + each
    return {year: total for year, total in sums.items() if total}


def total_by_year(*years: Mapping[int, int]) -> dict[int, int]:
    """Several mappings of years to points added up, without zeros."""
    sums: dict[int, int] = {}
    for each in years:
        for year, points in each.items():
            sums[year] = sums.get(year, 0) + points
    return {year: total for year, total in sums.items() if total}


def next_expiry(earned_by_year: Mapping[int, int], debited_by_year: Mapping[int, int], at_us: int) -> NextExpiry | None:
    """What lapses at the first boundary after an instant at which anything does, if nothing more is spent."""
    first = next(expiries(earned_by_year, debited_by_year, civil_year(at_us)), None)
    return None if first is None else NextExpiry(first.points, boundary_us(first.year))


def expiries(earned_by_year: Mapping[int, int], debited_by_year: Mapping[int, int], year: int) -> Iterator[Expiry]:
    """What lapses at each boundary after 1 January of `year`, if nothing more is spent: together, what can be spent."""
    already = expired_by(earned_by_year, debited_by_year, year)
    for boundary in _boundaries(earned_by_year, debited_by_year):
        if boundary > year:
            points = expired_by(earned_by_year, debited_by_year, boundary) - already
            if points > 0:
                already += points
                yield Expiry(boundary, points)


def _boundaries(earned_by_year: Mapping[int, int], debited_by_year: Mapping[int, int]) -> list[int]:
    """The years on whose 1 January one of the two sums changes, ascending; in between neither does."""
    return sorted({year + YEARS_USABLE for year in earned_by_year} | {year + 1 for year in debited_by_year})
