"""Expiry (rules 3.9) against its formula, and against lots that are spent first in, first out."""

from hypothesis import given
from hypothesis import strategies as st
from programme.calendar import boundary_us, civil_year
from programme.expiry import NextExpiry, expired_points, next_expiry
from programme.instants import parse_instant

years = st.integers(2000, 2020)
instants = st.integers(boundary_us(2000), boundary_us(2040))
earned = st.dictionaries(years, st.integers(0, 50))
debited = st.dictionaries(st.integers(2000, 2035), st.integers(-20, 50))


def by_formula(earned: dict[int, int], debited: dict[int, int], at_us: int) -> int:
    """expired(B_k) = max over j <= k of max(0, C_j - D_j), over every 1 January there is."""
    expired = 0
    for year in range(2000, civil_year(at_us) + 1):
        expiring = sum(points for bought, points in earned.items() if bought + 4 <= year)
        spent = sum(points for dated, points in debited.items() if dated < year)
        expired = max(expired, expiring - spent)
    return expired


def by_lots(earned: dict[int, int], spent: dict[int, int], at_us: int) -> int:
    """Lots by year; on each 1 January the old one lapses; spending takes the oldest points first."""
    lots: dict[int, int] = {}
    expired = debt = 0
    for year in range(2000, civil_year(at_us) + 1):
        expired += lots.pop(year - 4, 0)
        lots[year] = earned.get(year, 0)
        debt += spent.get(year, 0)
        for bought in sorted(lots):
            taken = min(debt, lots[bought])
            lots[bought] -= taken
            debt -= taken
    return expired


@given(earned, debited, instants)
def test_expiry_is_the_formula(earned: dict[int, int], debited: dict[int, int], at_us: int) -> None:
    assert expired_points(earned, debited, at_us) == by_formula(earned, debited, at_us)


@given(earned, st.dictionaries(st.integers(2000, 2035), st.integers(0, 50)), instants)
def test_without_give_backs_it_is_first_in_first_out(earned: dict[int, int], spent: dict[int, int], at_us: int) -> None:
    assert expired_points(earned, spent, at_us) == by_lots(earned, spent, at_us)


@given(earned, debited, instants, st.integers(0, 10 * 366 * 86_400_000_000))
def test_what_is_expired_stays_expired(
    earned: dict[int, int], debited: dict[int, int], at_us: int, later_us: int
) -> None:
    later = min(at_us + later_us, boundary_us(2050))
    assert expired_points(earned, debited, at_us) <= expired_points(earned, debited, later)


@given(earned, debited, instants)
def test_the_next_expiry_is_the_first_that_takes_anything(
    earned: dict[int, int], debited: dict[int, int], at_us: int
) -> None:
    already = expired_points(earned, debited, at_us)
    boundaries = [boundary_us(year) for year in range(civil_year(at_us) + 1, 2060)]
    lapses = [(expired_points(earned, debited, boundary) - already, boundary) for boundary in boundaries]
    expected = next((NextExpiry(*lapse) for lapse in lapses if lapse[0] > 0), None)
    assert next_expiry(earned, debited, at_us) == expected


def test_points_of_2026_are_usable_to_the_end_of_2029() -> None:
    last_instant = parse_instant("2029-12-31T22:59:59.999999Z")
    assert expired_points({2026: 100}, {}, last_instant) == 0
    assert expired_points({2026: 100}, {}, last_instant + 1) == 100
    assert next_expiry({2026: 100}, {}, last_instant) == (100, last_instant + 1)
    assert next_expiry({2026: 100}, {}, last_instant + 1) is None


def test_debits_of_the_day_after_a_boundary_do_not_save_points() -> None:
    at_us = parse_instant("2031-01-01T00:00:00Z")
    assert expired_points({2026: 500}, {2029: 500}, at_us) == 0
    assert expired_points({2026: 500}, {2030: 500}, at_us) == 500


def test_negative_balance_and_expiry_together() -> None:
    """More spent than was ever earned: nothing is left to lapse."""
    assert expired_points({2020: 100}, {2021: 300}, parse_instant("2030-01-01T00:00:00Z")) == 0


def test_points_given_back_after_they_would_have_expired_expire_at_the_next_boundary() -> None:
    """Bought with points of 2026, cancelled in 2030, when the others of 2026 were gone."""
    earned, debited = {2026: 500}, {2029: 500, 2030: -500}
    boundary = parse_instant("2030-12-31T23:00:00Z")
    assert expired_points(earned, debited, boundary - 1) == 0
    assert next_expiry(earned, debited, boundary - 1) == (500, boundary)
    assert expired_points(earned, debited, boundary) == 500


def test_a_member_without_points_loses_none() -> None:
    at_us = parse_instant("2026-01-01T00:00:00Z")
    assert expired_points({}, {}, at_us) == 0
    assert next_expiry({}, {}, at_us) is None
