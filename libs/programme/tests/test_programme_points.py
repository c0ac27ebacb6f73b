"""What amounts are worth (rules 3.1 to 3.3)."""

from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programme.points import (
    earning_cents,
    eligible_cents,
    points_of,
    remaining_cents,
    total_points,
    unknown_classes,
)
from programme.terms import load_programme

TERMS = load_programme(Path(__file__).parents[3] / "contracts" / "programme.toml").terms[0]
cents = st.integers(0, 10**9)


@pytest.mark.parametrize(("percent", "total", "bonus"), [(0, 21, 0), (10, 24, 3), (20, 26, 5)])
def test_twenty_one_ninety_earns_as_the_rules_say(percent: int, total: int, bonus: int) -> None:
    points = points_of(2190, percent)
    assert (points.base, points.bonus, points.total) == (21, bonus, total)


@given(cents, st.integers(0, 100))
def test_points_are_rounded_down_once(amount: int, percent: int) -> None:
    points = points_of(amount, percent)
    assert points.total == total_points(amount, percent) == floor(Fraction(amount * (100 + percent), 10000))
    assert points.base == floor(Fraction(amount, 100))
    assert points.bonus >= 0


def test_only_listed_classes_earn() -> None:
    assert eligible_cents({"goods": 1000, "deposit": 500, "spaceship": 700, "food": 250}, TERMS) == 1250
    assert unknown_classes({"goods": 1000, "deposit": 500, "spaceship": 700}, TERMS) == {"spaceship"}


def test_deposit_only_receipt_with_a_negative_total_earns_nothing() -> None:
    assert eligible_cents({"deposit": -825}, TERMS) == 0


def test_exchange_is_netted_within_the_receipt_and_at_least_0() -> None:
    assert eligible_cents({"goods": -2000, "food": 5000}, TERMS) == 3000
    assert eligible_cents({"goods": -5000, "food": 2000}, TERMS) == 0
    assert earning_cents({"goods": -5000, "food": 2000}, TERMS) == -3000


def test_22_partial_returns_of_99_cents_take_all_21_points_back() -> None:
    """22 x floor(0.99) would be 0 points."""
    worth = [points_of(remaining_cents(2190, 99 * returns, False), 0).total for returns in range(23)]
    assert (worth[0], worth[22]) == (21, 0)
    assert worth == sorted(worth, reverse=True)


@given(cents, st.lists(cents), st.booleans())
def test_remaining_is_never_negative_and_0_when_complete(amount: int, back: list[int], complete: bool) -> None:
    remaining = remaining_cents(amount, sum(back), complete)
    assert 0 <= remaining <= amount
    assert remaining == (0 if complete else max(0, amount - sum(back)))
