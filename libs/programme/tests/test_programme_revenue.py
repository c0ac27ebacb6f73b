"""A, B and C (rules 3.13)."""

from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programme.calendar import day_of
from programme.points import total_cents
from programme.revenue import abc_classes, counts_from
from programme.terms import Abc, load_programme

NUMBERS = load_programme(Path(__file__).parents[3] / "contracts" / "programme.toml").terms[0].abc
revenues = st.dictionaries(st.text("abAB-_09", min_size=1, max_size=4), st.integers(0, 5) | st.integers(0, 10**9))
percents = st.tuples(st.integers(0, 99), st.integers(1, 100)).map(sorted).filter(lambda pair: pair[0] < pair[1])


def by_definition(numbers: Abc, revenue: Mapping[str, int]) -> dict[str, str]:
    """Rules 3.13, as it reads: walk down the ranking until the one who reaches the share."""
    ranking = sorted((each for each in revenue if revenue[each]), key=lambda each: each.encode())
    ranking.sort(key=lambda each: revenue[each], reverse=True)
    total = sum(revenue.values())
    shares = [Fraction(sum(revenue[each] for each in ranking[: n + 1]), total) for n in range(len(ranking))]
    first = [n for n, share in enumerate(shares) if share >= Fraction(numbers.a_percent, 100)]
    second = [n for n, share in enumerate(shares) if share >= Fraction(numbers.b_percent, 100)]
    last_a = first[0] if first and numbers.a_percent else -1
    last_b = second[0] if second else -1
    return {each: "A" if n <= last_a else "B" if n <= last_b else "C" for n, each in enumerate(ranking)}


@given(revenues, percents)
def test_classes_are_the_definition(revenue: dict[str, int], percents: list[int]) -> None:
    numbers = Abc(12, *percents)
    assert abc_classes(numbers, revenue) == by_definition(numbers, revenue)


@given(revenues)
def test_the_same_revenue_in_any_order_gives_the_same_classes(revenue: dict[str, int]) -> None:
    backwards = dict(reversed(revenue.items()))
    assert abc_classes(NUMBERS, backwards) == abc_classes(NUMBERS, revenue)


@pytest.mark.parametrize(
    ("revenue", "expected"),
    [
        ({}, {}),
        ({"M1": 0}, {}),
        ({"M1": 1}, {"M1": "A"}),
        # M1 reaches exactly 80 %, M2 exactly 95 %.
        ({"M1": 80, "M2": 15, "M3": 5}, {"M1": "A", "M2": "B", "M3": "C"}),
        # One cent less: the next one reaches it.
        ({"M1": 79, "M2": 15, "M3": 6}, {"M1": "A", "M2": "A", "M3": "B"}),
        ({"M1": 80, "M2": 14, "M3": 6}, {"M1": "A", "M2": "B", "M3": "B"}),
        # A tie at the boundary is decided by member_id as bytes sort: capitals first.
        ({"b": 20, "a": 20, "B": 20, "A": 20, "c": 20}, {"A": "A", "B": "A", "a": "A", "b": "A", "c": "B"}),
        ({"M2": 100, "M1": 100, "M0": 0}, {"M1": "A", "M2": "A"}),
    ],
)
def test_shares_on_both_sides_of_their_boundaries(revenue: dict[str, int], expected: dict[str, str]) -> None:
    assert abc_classes(NUMBERS, revenue) == expected


@pytest.mark.parametrize(
    ("day", "first"),
    [
        ("2026-11-22", "2025-11-23"),
        ("2024-02-29", "2023-03-01"),
        ("2025-02-28", "2024-02-29"),
        ("2025-03-01", "2024-03-02"),
    ],
)
def test_revenue_counts_from_the_day_after_the_same_date_a_year_ago(day: str, first: str) -> None:
    assert counts_from(NUMBERS, day_of(date.fromisoformat(day))) == day_of(date.fromisoformat(first))


def test_all_cents_count_not_only_those_that_earn() -> None:
    assert total_cents({"goods": 1000, "gift_card": 5000, "spaceship": 700, "deposit": -25}) == 6675
