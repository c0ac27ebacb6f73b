"""Where a member stands (rules 3.12): the rule once more as it reads, and every boundary day on both sides."""

from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from programme.calendar import anniversary_day, civil_day, date_of, day_of, months_before
from programme.instants import parse_instant
from programme.lifecycle import LIFECYCLES, standing_on
from programme.terms import Lifecycle, load_programme

NUMBERS = load_programme(Path(__file__).parents[3] / "contracts" / "programme.toml").terms[0].lifecycle
SMALL = Lifecycle(9, 3, 4, 2, 3, 8, 3, 3, 5, 4, 6, 2)
days_of_years = st.integers(day_of(date(2019, 1, 1)), day_of(date(2026, 12, 31)))
histories = st.lists(days_of_years, max_size=40, unique=True).map(sorted)
frequent = st.builds(
    lambda first, gaps: [first + sum(gaps[: n + 1]) for n in range(len(gaps))],
    days_of_years,
    st.lists(st.integers(1, 130) | st.integers(1, 3) | st.integers(360, 372), min_size=1, max_size=25),
)


def d(text: str) -> int:
    return day_of(date.fromisoformat(text))


def by_definition(n: Lifecycle, purchase_days: Sequence[int], day: int) -> tuple[str, bool, bool]:
    """Rules 3.12, sentence by sentence, on dates and fractions."""
    today = date_of(day)
    days = [date_of(each) for each in purchase_days if date_of(each) <= today]
    if not days:
        return "interessent", False, False
    silent = (today - days[-1]).days
    recent = [each for each in days if is_within(each, n.regular_within_months, today)]
    if (today - days[0]).days <= n.new_within_days and len(days) < n.new_below_purchase_days:
        status = "neukunde"
    elif (
        len(recent) >= n.regular_purchase_days
        and len({(each.year, each.month) for each in recent}) >= n.regular_purchase_months
        and silent <= n.regular_silent_at_most_days
    ):
        status = "stammkunde"
    elif is_within(days[-1], n.existing_within_months, today):
        status = "bestandskunde"
    else:
        status = "altkunde"
    at_risk = (
        status != "altkunde"
        and len(days) >= max(2, n.at_risk_purchase_days)
        and silent >= n.at_risk_silent_days
        and silent > n.at_risk_intervals * median(Fraction((b - a).days) for a, b in pairwise(days))
    )
    reactivated = any(
        not is_within(a, n.reactivated_after_months, b) and (today - b).days <= n.reactivated_days
        for a, b in pairwise(days)
    )
    return status, at_risk, reactivated


def is_within(earlier: date, months: int, today: date) -> bool:
    """Whether the months after `earlier` are not over: they end when the same date begins, or 1st of the next month."""
    number = earlier.year * 12 + earlier.month - 1 + months
    try:
        end = date(number // 12, number % 12 + 1, earlier.day)
    except ValueError:
        end = date((number + 1) // 12, (number + 1) % 12 + 1, 1)
    return today < end


@given(histories | frequent, days_of_years, st.sampled_from([NUMBERS, SMALL]))
@example([d("2024-02-29")], d("2025-02-28"), NUMBERS)
@example([d("2024-02-29")], d("2025-03-01"), NUMBERS)
def test_the_standing_is_the_definition(days: list[int], day: int, numbers: Lifecycle) -> None:
    standing = standing_on(numbers, days, day)
    told = (standing.status, standing.at_risk_since_day is not None, standing.reactivated_day is not None)
    assert told == by_definition(numbers, days, day)
    assert standing.status in LIFECYCLES


@given(frequent, st.integers(0, 500), st.sampled_from([NUMBERS, SMALL]))
def test_flags_tell_the_day_they_were_raised(days: list[int], later: int, numbers: Lifecycle) -> None:
    day = days[-1] + later
    standing = standing_on(numbers, days, day)
    if (since := standing.at_risk_since_day) is not None:
        assert since <= day
        assert by_definition(numbers, days, since)[1]
        assert not by_definition(numbers, days, since - 1)[1]
    if (on := standing.reactivated_day) is not None:
        assert by_definition(numbers, days, on)[2]
        assert not by_definition(numbers, [each for each in days if each < on], on)[2]


@given(days_of_years, st.integers(0, 30), st.integers(-40, 2000))
def test_what_is_after_the_date_months_before_is_within_them(day: int, months: int, ago: int) -> None:
    assert (day - ago > months_before(day, months)) == is_within(date_of(day - ago), months, date_of(day))


@given(days_of_years, st.integers(300, 400))
def test_twelve_months_are_a_year_of_rules_3_4(day: int, ago: int) -> None:
    assert (day - ago > months_before(day, 12)) == (day < anniversary_day(day - ago))


def test_months_before_the_calendar_are_before_everything() -> None:
    assert months_before(d("1999-05-01"), 12) < d("1999-01-01")
    assert months_before(d("2026-01-01"), 1_000_000_000) < d("1999-01-01")


def status(days: Sequence[str], day: str) -> str:
    return standing_on(NUMBERS, [d(each) for each in days], d(day)).status


LEAP = ["2023-03-01", "2023-04-01", "2023-05-01", "2023-05-02", "2023-06-01", "2024-01-01"]
SIX_IN_FOUR = ["2026-01-31", "2026-02-01", "2026-03-01", "2026-03-02", "2026-03-03", "2026-04-01"]


@pytest.mark.parametrize(
    ("days", "day", "expected"),
    [
        ([], "2026-06-01", "interessent"),
        (["2026-06-02"], "2026-06-01", "interessent"),
        (["2026-06-01"], "2026-06-01", "neukunde"),
        (["2026-01-01"], "2026-04-01", "neukunde"),
        (["2026-01-01"], "2026-04-02", "bestandskunde"),
        (["2024-01-01"], "2024-03-31", "neukunde"),  # a leap year: the 90th day is one date earlier
        (["2024-01-01"], "2024-04-01", "bestandskunde"),
        (["2026-01-01", "2026-01-02"], "2026-01-03", "neukunde"),
        (["2026-01-01", "2026-01-02", "2026-01-03"], "2026-01-03", "bestandskunde"),
        (SIX_IN_FOUR, "2026-04-01", "stammkunde"),
        (SIX_IN_FOUR[1:], "2026-04-01", "bestandskunde"),  # five days
        (["2026-02-02", *SIX_IN_FOUR[1:]], "2026-04-01", "bestandskunde"),  # six days in three months
        (SIX_IN_FOUR, "2026-06-30", "stammkunde"),  # the 90th silent day
        (SIX_IN_FOUR, "2026-07-01", "bestandskunde"),
        # The last 12 months as of 31 January 2027 begin on 1 February 2026; as of 30 January, one day earlier.
        ([*SIX_IN_FOUR[:5], "2027-01-20"], "2027-01-30", "stammkunde"),
        ([*SIX_IN_FOUR[:5], "2027-01-20"], "2027-01-31", "bestandskunde"),
        # ... and on 29 February of a leap year on 1 March of the year before.
        (LEAP, "2024-02-29", "stammkunde"),
        (LEAP, "2024-03-01", "bestandskunde"),
        (["2025-03-10"], "2026-03-09", "bestandskunde"),
        (["2025-03-10"], "2026-03-10", "altkunde"),
        (["2024-02-29"], "2025-02-28", "bestandskunde"),
        (["2024-02-29"], "2025-03-01", "altkunde"),
        (["2023-02-28"], "2024-02-27", "bestandskunde"),
        (["2023-02-28"], "2024-02-28", "altkunde"),
    ],
)  # fmt: skip
def test_the_status_on_both_sides_of_its_boundaries(days: list[str], day: str, expected: str) -> None:
    assert status(days, day) == expected


def at_risk(days: Sequence[str], day: str) -> bool:
    return standing_on(NUMBERS, [d(each) for each in days], d(day)).at_risk_since_day is not None


@pytest.mark.parametrize(
    ("days", "last_calm_day"),
    [
        (["2026-01-01", "2026-01-11", "2026-01-21"], "2026-03-21"),  # median 10: the 60 days decide
        (["2026-01-01", "2026-02-10", "2026-03-22"], "2026-06-10"),  # median 40: more than 80 days
        (["2026-01-01", "2026-01-30", "2026-03-02"], "2026-05-01"),  # 29 and 31: the mean of two, more than 60 days
        (["2026-01-01", "2026-01-30", "2026-03-03"], "2026-05-03"),  # 29 and 32: more than 61 days
    ],
)
def test_at_risk_from_its_first_day_on(days: list[str], last_calm_day: str) -> None:
    following = (date.fromisoformat(last_calm_day) + timedelta(1)).isoformat()
    assert not at_risk(days, last_calm_day)
    assert at_risk(days, following)


def test_at_risk_needs_three_purchase_days_and_ends_with_altkunde() -> None:
    assert not at_risk(["2026-01-01", "2026-01-02"], "2026-11-01")
    days = ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert at_risk(days, "2027-01-02")
    assert not at_risk(days, "2027-01-03")
    assert status(days, "2027-01-03") == "altkunde"


def reactivated(days: Sequence[str], day: str) -> int | None:
    return standing_on(NUMBERS, [d(each) for each in days], d(day)).reactivated_day


def test_reactivated_for_90_days_after_the_purchase_of_an_altkunde() -> None:
    days = ["2025-03-10", "2026-03-10"]
    assert reactivated(days, "2026-03-09") is None
    assert reactivated(days, "2026-03-10") == d("2026-03-10")
    assert reactivated([*days, "2026-05-01"], "2026-06-08") == d("2026-03-10")
    assert reactivated([*days, "2026-05-01"], "2026-06-09") is None
    assert reactivated(["2025-03-11", "2026-03-10"], "2026-03-10") is None, "silent for less than 12 months"
    assert reactivated(["2024-02-29", "2025-02-28"], "2025-02-28") is None
    assert reactivated(["2024-02-29", "2025-03-01"], "2025-03-01") == d("2025-03-01")


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        ("2026-03-29T00:30:00+01:00", "2026-03-29"),  # the day clocks go forward
        ("2026-03-28T22:59:59.999999Z", "2026-03-28"),
        ("2026-03-29T22:00:00Z", "2026-03-30"),
        ("2026-10-25T21:59:59Z", "2026-10-25"),
        ("2026-10-25T22:59:59.999999Z", "2026-10-25"),  # 25 hours long
        ("2026-10-25T23:00:00Z", "2026-10-26"),
    ],
)
def test_a_purchase_day_is_the_date_in_berlin(instant: str, expected: str) -> None:
    """Days with 23 and 25 hours are days like others: standings know dates only."""
    assert civil_day(parse_instant(instant)) == d(expected)
