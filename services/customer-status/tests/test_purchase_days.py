"""The purchase days of a member follow from the set of their purchases and returns, in whatever order these come."""

from datetime import date

from customer_status.tiers.purchase_days import LATELY_DAYS, Bought, PurchaseDays, days_of
from hypothesis import example, given
from hypothesis import strategies as st
from programme.calendar import day_of

FIRST = day_of(date(2025, 12, 30))

purchases = st.tuples(
    st.one_of(st.integers(0, 3), st.sampled_from([LATELY_DAYS - 1, LATELY_DAYS, LATELY_DAYS + 1]), st.integers(0, 900)),
    st.sampled_from([0, 1, 500, 10**9]),
    st.lists(st.tuples(st.integers(-2, 40), st.sampled_from([1, 499, 500, 10**9])), max_size=2),
)
"""A day, cents, and returns: so many days later, so many cents."""
Told = tuple[int, int, list[tuple[int, int]]]


@given(st.lists(purchases, max_size=8), st.lists(st.integers(0, 900), max_size=2), st.randoms(use_true_random=False))
@example([(0, 500, []), (LATELY_DAYS, 500, []), (LATELY_DAYS + 1, 500, [])], [], None)
@example([(0, 500, [(0, 500)]), (1, 500, []), (0, 1, [])], [900], None)
def test_any_order_leads_to_the_same_days(told: list[Told], of_nothing: list[int], rng: object) -> None:
    moments: list[tuple[str, int, int]] = [("of nothing", number, 0) for number in range(len(of_nothing))]
    for number, (_, _, returns) in enumerate(told):
        moments += [("purchase", number, 0), *(("return", number, part) for part in range(len(returns)))]
    if rng is not None:
        rng.shuffle(moments)  # type: ignore[attr-defined]
    found = PurchaseDays()
    bought: set[int] = set()
    back = [0] * len(told)
    for kind, number, part in moments:
        if kind == "of nothing":
            found.add_return(FIRST + of_nothing[number])
            continue
        day, cents, returns = told[number]
        before = max(0, cents - back[number])
        if kind == "purchase":
            bought.add(number)
            found.add_purchase(FIRST + day, cents)
            before = cents  # returns that waited for it count with it
        else:
            found.add_return(FIRST + day + returns[part][0])
            back[number] += returns[part][1]
        if number in bought:
            found.take_back(FIRST + day, before - max(0, cents - back[number]))
    left = [Bought(FIRST + day, max(0, cents - sum(each for _, each in returns))) for day, cents, returns in told]
    returned = [FIRST + day + later for day, _, returns in told for later, _ in returns]
    assert found == days_of(left, [*returned, *(FIRST + day for day in of_nothing)])


def test_days_are_those_on_which_something_was_kept() -> None:
    days = [day_of(date(2025, 12, 30)), day_of(date(2025, 12, 31)), day_of(date(2026, 2, 1))]
    rows = [Bought(days[0], 100), Bought(days[1], 0), Bought(days[2], 7), Bought(days[0], 20)]
    found = days_of(rows, [days[1] + 40])
    assert found == PurchaseDays(days[0], days[2], days[1] + 40, [days[0], days[2]], [120, 127])
    assert found.months() == [1, 2]


def test_of_long_ago_only_the_earliest_day_is_told() -> None:
    newest = FIRST + LATELY_DAYS
    found = days_of([Bought(FIRST - 1, 100), Bought(FIRST, 20), Bought(newest, 3)], [])
    assert found == PurchaseDays(FIRST - 1, newest, None, [FIRST, newest], [20, 23])
    assert days_of([Bought(FIRST - 1, 100), Bought(newest, 0)], []) == PurchaseDays(FIRST - 1, newest, None, [], [])


def test_months_are_told_apart_by_their_year() -> None:
    days = [day_of(each) for each in (date(2025, 1, 1), date(2025, 1, 31), date(2025, 2, 1), date(2026, 2, 1))]
    assert PurchaseDays(days=days).months() == [1, 1, 2, 3]
