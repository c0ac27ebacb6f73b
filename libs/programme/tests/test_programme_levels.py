"""Levels: the incremental state, the fold and the rules' own words (rules 3.3 to 3.6) must always agree."""

import sys
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programme.calendar import day_of, midnight_us
from programme.fold import KnownPurchase, KnownReturn, fold
from programme.instants import from_datetime, parse_instant, to_datetime
from programme.levels import (
    LevelState,
    add_purchase,
    add_return,
    decode,
    encode,
    new_state,
    replay,
    timeline_of,
)
from programme.terms import LEVELS, WON_LEVELS, Programme, load_programme
from programme.timeline import BASIS, Step, Timeline, level_at

PROGRAMME = load_programme(Path(__file__).parents[3] / "contracts" / "programme.toml")
Event = KnownPurchase | KnownReturn
History = tuple[list[KnownPurchase], list[KnownReturn]]
BERLIN = ZoneInfo("Europe/Berlin")


@lru_cache(maxsize=10_000)
def valid_until(us: int) -> int:
    """Rules 3.4, by datetime alone."""
    civil = to_datetime(us).astimezone(BERLIN).date()
    leap_day = (civil.month, civil.day) == (2, 29)
    anniversary = date(civil.year + 1, 3, 1) if leap_day else civil.replace(year=civil.year + 1)
    return from_datetime(datetime(anniversary.year, anniversary.month, anniversary.day, tzinfo=BERLIN))


class ByDefinition:
    """Rules 3.5, word for word, without a thought for speed."""

    def __init__(self, programme: Programme, purchases: list[KnownPurchase], returns: list[KnownReturn]) -> None:
        self.programme, self.purchases, self.returns = programme, purchases, returns
        self.percent: dict[str, int] = {}
        for purchase in sorted(purchases, key=lambda p: p.occurred_us):
            terms = programme.at(purchase.occurred_us)
            self.percent[purchase.purchase_id] = terms.bonus_percent[self.level(purchase.occurred_us)]

    def effective(self, ret: KnownReturn) -> int:
        (bought,) = (p for p in self.purchases if p.purchase_id == ret.purchase_id)
        return max(ret.occurred_us, bought.occurred_us)

    def worth(self, purchase: KnownPurchase, t: int) -> int:
        """What counts of a purchase's points, net of the returns in effect before t."""
        back = [r for r in self.returns if r.purchase_id == purchase.purchase_id and self.effective(r) < t]
        remaining = max(0, purchase.eligible_cents - sum(r.eligible_cents for r in back))
        if any(r.complete for r in back):
            remaining = 0
        if not self.programme.at(purchase.occurred_us).count_bonus:
            return remaining // 100
        return remaining * (100 + self.percent[purchase.purchase_id]) // 10000

    def collected(self, t: int, s: int) -> int:
        return sum(self.worth(q, t) for q in self.purchases if q.occurred_us <= s <= valid_until(q.occurred_us))

    def holds(self, level: str, t: int) -> bool:
        return any(
            self.worth(p, t) > 0
            and self.collected(t, p.occurred_us) >= self.programme.at(p.occurred_us).thresholds[level]
            for p in self.purchases
            if p.occurred_us < t <= valid_until(p.occurred_us)
        )

    def level(self, t: int) -> str:
        return next((level for level in reversed(LEVELS[1:]) if self.holds(level, t)), LEVELS[0])

    def timeline(self) -> Timeline:
        """Levels change after nothing but purchases, returns and ends of years."""
        changes = {p.occurred_us for p in self.purchases} | {valid_until(p.occurred_us) for p in self.purchases}
        steps = list(BASIS)
        for us in sorted(changes | {self.effective(r) for r in self.returns}):
            level = self.level(us + 1)
            if level != steps[-1].level:
                steps.append(Step(us, level))
        return tuple(steps)


# Days around which the calendar is awkward, each also a year earlier or later: leap days, both changes of the clock,
# turns of the year and of the terms below.
AWKWARD_DAYS = [
    day_of(date(year, month, day)) + off
    for year in (2023, 2024, 2025)
    for month, day in ((2, 28), (3, 1), (3, 31), (10, 27), (12, 31))
    for off in (-1, 0, 1)
]
AWKWARD_TIMES = [0, 0, 1, -1, 3_600_000_000, 43_200_000_000, 43_200_000_000]

instants = st.builds(
    lambda day, offset_us: midnight_us(day) + offset_us,
    st.sampled_from(AWKWARD_DAYS),
    st.sampled_from(AWKWARD_TIMES),
)
cents = st.sampled_from([0, 50, 83, 99, 100, 909, 20_000, 45_454, 50_000, 83_333, 90_909, 99_999, 100_000, 300_000])


@st.composite
def programmes(draw: st.DrawFn) -> Programme:
    """One to three terms with their own thresholds, rates and count_bonus."""
    starts = draw(st.lists(st.sampled_from(AWKWARD_DAYS), max_size=2, unique=True).map(sorted))
    dates = [date(2000, 1, 1), *(date(1970, 1, 1) + timedelta(days=day) for day in starts)]
    return Programme(
        tuple(
            msgspec.structs.replace(
                PROGRAMME.terms[0],
                valid_from=valid_from,
                thresholds=dict(
                    zip(WON_LEVELS, draw(st.sampled_from([(1000, 3000), (500, 1000), (1, 2000)])), strict=True)
                ),
                bonus_percent=dict(
                    zip(LEVELS, draw(st.sampled_from([(0, 10, 20), (5, 3, 100), (0, 0, 50)])), strict=True)
                ),
                count_bonus=draw(st.booleans()),
            )
            for valid_from in dates
        )
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Few moments, and the ends of their years, so that things happen at once or just before or after each other."""
    moments = draw(st.lists(instants, min_size=1, max_size=4, unique=True))
    ends = [valid_until(us) + offset_us for us in moments for offset_us in (-1, 0, 0, 1)]
    often = st.sampled_from(moments) | st.sampled_from(ends) | instants
    bought = draw(st.lists(st.tuples(often, cents), min_size=1, max_size=10))
    purchases = [KnownPurchase(f"p{number}", us, amount) for number, (us, amount) in enumerate(bought)]
    ids = st.sampled_from([p.purchase_id for p in purchases])
    returns = draw(st.lists(st.builds(KnownReturn, ids, often, cents, st.booleans()), max_size=5))
    return purchases, returns


class Member:
    """A service in little: rows, and the packed state between events."""

    def __init__(self, programme: Programme) -> None:
        self.programme = programme
        self.packed = encode(new_state())
        self.purchases: dict[str, KnownPurchase] = {}
        self.waiting: list[KnownReturn] = []
        self.returns: list[KnownReturn] = []
        self.returned: dict[str, tuple[int, bool]] = {}
        self.replays = 0

    def hear(self, event: Event) -> Timeline:
        state = decode(self.packed)
        if not self._apply(state, event):
            self.replays += 1
            state = replay(self.programme, list(self.purchases.values()), self.returns)
        self.packed = encode(state)
        return timeline_of(state)

    def _apply(self, state: LevelState, event: Event) -> bool:
        if isinstance(event, KnownReturn) and event.purchase_id not in self.purchases:
            self.waiting.append(event)
            return True
        if isinstance(event, KnownReturn):
            return self._give_back(state, event)
        self.purchases[event.purchase_id] = event
        fits = add_purchase(self.programme, state, event)
        came = [ret for ret in self.waiting if ret.purchase_id == event.purchase_id]
        self.waiting = [ret for ret in self.waiting if ret.purchase_id != event.purchase_id]
        for ret in sorted(came, key=lambda ret: ret.occurred_us):
            fits = self._give_back(state, ret) and fits
        return fits

    def _give_back(self, state: LevelState, ret: KnownReturn) -> bool:
        amount, completed = self.returned.get(ret.purchase_id, (0, False))
        self.returns.append(ret)
        self.returned[ret.purchase_id] = (amount + ret.eligible_cents, completed or ret.complete)
        bought = self.purchases[ret.purchase_id]
        return add_return(self.programme, state, bought, ret, amount, completed)


def takes_effect(bought: dict[str, KnownPurchase], event: Event) -> tuple[int, bool]:
    return max(event.occurred_us, bought[event.purchase_id].occurred_us), isinstance(event, KnownReturn)


@settings(max_examples=150, deadline=None)
@given(programmes(), histories(), st.lists(instants, max_size=5))
def test_fold_is_the_definition(programme: Programme, history: History, probes: list[int]) -> None:
    definition = ByDefinition(programme, *history)
    timeline = fold(programme, *history)
    assert timeline == definition.timeline()
    for us in probes:
        assert level_at(timeline, us) == definition.level(us)


@settings(max_examples=250, deadline=None)
@given(programmes(), histories(), st.randoms(use_true_random=False))
def test_state_is_the_fold_after_every_event_in_any_order(programme: Programme, history: History, random: Any) -> None:
    events: list[Event] = [*history[0], *history[1]]
    random.shuffle(events)
    member = Member(programme)
    for event in events:
        timeline = member.hear(event)
        assert timeline == fold(programme, list(member.purchases.values()), member.returns)


@settings(max_examples=120, deadline=None)
@given(programmes(), histories())
def test_events_in_order_need_no_replay(programme: Programme, history: History) -> None:
    bought = {purchase.purchase_id: purchase for purchase in history[0]}
    events: list[Event] = [*history[0], *history[1]]
    events.sort(key=lambda event: takes_effect(bought, event))
    member = Member(programme)
    for event in events:
        timeline = member.hear(event)
    assert member.replays == 0
    assert timeline == fold(programme, *history)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(instants, st.integers(0, 9_000)), min_size=1, max_size=11), st.data())
def test_late_events_of_a_member_never_above_basis_need_no_replay(
    bought: list[tuple[int, int]], data: st.DataObject
) -> None:
    """And nothing of them is lost: what comes after is judged as by the fold."""
    purchases = [KnownPurchase(f"p{number}", us, amount) for number, (us, amount) in enumerate(bought)]
    member = Member(PROGRAMME)
    for purchase in purchases:
        member.hear(purchase)
        if data.draw(st.booleans()):
            amount = data.draw(st.integers(0, 9_000))
            member.hear(KnownReturn(purchase.purchase_id, data.draw(instants), amount, data.draw(st.booleans())))
    assert member.replays == 0
    heard: list[Event] = [*purchases, *member.returns]
    last = max(takes_effect(member.purchases, event)[0] for event in heard)
    for number in range(3):
        last += data.draw(st.sampled_from([0, 1, 86_400_000_000, 200 * 86_400_000_000]))
        amount = data.draw(st.sampled_from([500, 10_000, 50_000, 100_000, 300_000]))
        timeline = member.hear(KnownPurchase(f"q{number}", last, amount))
        assert timeline == fold(PROGRAMME, list(member.purchases.values()), member.returns)
    assert member.replays == 0


def at(text: str) -> int:
    return parse_instant(text)


def test_a_purchase_that_crosses_the_threshold_keeps_the_old_rate() -> None:
    state = new_state()
    add_purchase(PROGRAMME, state, KnownPurchase("p1", at("2026-01-10T10:00:00Z"), 100_000))
    assert timeline_of(state) == (
        Step(None, "basis"),
        Step(at("2026-01-10T10:00:00Z"), "silver"),
        Step(at("2027-01-09T23:00:00Z"), "basis"),
    )


def test_a_late_purchase_that_reaches_a_threshold_exactly_wins_the_level() -> None:
    member = Member(PROGRAMME)
    member.hear(KnownPurchase("p1", at("2026-01-20T10:00:00Z"), 60_000))
    timeline = member.hear(KnownPurchase("late", at("2026-01-10T10:00:00Z"), 40_000))
    assert timeline[:2] == (*BASIS, Step(at("2026-01-20T10:00:00Z"), "silver"))


def test_a_purchase_at_the_last_instant_of_another_ones_year_counts_it() -> None:
    last = at("2027-01-09T23:00:00Z")
    first = KnownPurchase("p1", at("2026-01-10T10:00:00Z"), 60_000)
    for us, level in ((last, "silver"), (last + 1, "basis")):
        timeline = fold(PROGRAMME, [first, KnownPurchase("p2", us, 40_000)], [])
        assert level_at(timeline, us + 1) == level
    returned = [KnownReturn("p1", last + 5, 60_000, False)]
    timeline = fold(PROGRAMME, [first, KnownPurchase("p2", last, 40_000)], returned)
    assert timeline[1:] == (Step(last, "silver"), Step(last + 5, "basis"))


def test_a_late_purchase_of_more_than_a_year_ago_is_in_no_window_of_today() -> None:
    member = Member(PROGRAMME)
    today = at("2026-01-20T10:00:00Z")
    member.hear(KnownPurchase("p1", today, 5_000))
    member.hear(KnownPurchase("late", at("2025-01-10T10:00:00Z"), 90_000))
    assert member.hear(KnownPurchase("p2", today, 10_000)) == BASIS
    assert member.replays == 0


def test_late_purchases_add_up_to_a_level() -> None:
    member = Member(PROGRAMME)
    member.hear(KnownPurchase("p1", at("2026-01-20T10:00:00Z"), 50_000))
    member.hear(KnownPurchase("late", at("2026-01-19T10:00:00Z"), 40_000))
    assert member.replays == 0
    timeline = member.hear(KnownPurchase("later", at("2026-01-18T10:00:00Z"), 40_000))
    assert timeline[:2] == (*BASIS, Step(at("2026-01-20T10:00:00Z"), "silver"))


def test_a_late_purchase_keeps_no_level_that_others_won() -> None:
    member = Member(PROGRAMME)
    member.hear(KnownPurchase("p1", at("2026-01-20T10:00:00Z"), 5_000))
    member.hear(KnownPurchase("late", at("2026-01-10T10:00:00Z"), 5_000))
    member.hear(KnownPurchase("p2", at("2026-01-21T10:00:00Z"), 100_000))
    timeline = member.hear(KnownReturn("p2", at("2026-01-22T10:00:00Z"), 100_000, False))
    assert member.replays == 0
    assert timeline[1:] == (Step(at("2026-01-21T10:00:00Z"), "silver"), Step(at("2026-01-22T10:00:00Z"), "basis"))


def test_returns_after_a_complete_one_take_nothing_more() -> None:
    purchases = [
        KnownPurchase("p1", at("2026-01-20T10:00:00Z"), 50_000),
        KnownPurchase("p2", at("2026-01-21T10:00:00Z"), 100_000),
    ]
    returns = [KnownReturn("p1", at(f"2026-01-{day}T10:00:00Z"), 100, day == 22) for day in (22, 23, 24)]
    assert level_at(fold(PROGRAMME, purchases, returns), at("2026-01-25T10:00:00Z")) == "silver"


def test_return_of_an_old_purchase_reaches_the_sums_of_days_still_kept() -> None:
    """The returned purchase itself has left the year; the day it helped to silver has not."""
    bought = [
        KnownPurchase("old", at("2025-01-10T10:00:00Z"), 60_000),
        KnownPurchase("crossing", at("2025-12-20T10:00:00Z"), 50_000),
        KnownPurchase("later", at("2026-02-01T10:00:00Z"), 100),
    ]
    member = Member(PROGRAMME)
    for purchase in bought:
        member.hear(purchase)
    timeline = member.hear(KnownReturn("old", at("2026-02-02T10:00:00Z"), 60_000, False))
    assert member.replays == 0
    assert timeline[1:] == (
        Step(at("2025-12-20T10:00:00Z"), "silver"),
        Step(at("2026-02-02T10:00:00Z"), "basis"),
    )


def test_late_return_of_nothing_needs_no_replay() -> None:
    member = Member(PROGRAMME)
    member.hear(KnownPurchase("p1", at("2026-01-10T10:00:00Z"), 200_000))
    member.hear(KnownPurchase("p2", at("2026-01-20T10:00:00Z"), 200_000))
    before = member.packed
    member.hear(KnownReturn("p1", at("2026-01-15T10:00:00Z"), 0, False))
    assert (member.replays, member.packed) == (0, before)


def test_packed_state_is_small() -> None:
    """A hundred purchase days of a year in about a kilobyte."""
    state = new_state()
    for number in range(300):
        us = at("2026-01-01T12:00:00Z") + number * 4 * 86_400_000_000
        add_purchase(PROGRAMME, state, KnownPurchase(f"p{number}", us, 4_321))
    assert len(state.keys) < 100
    assert len(encode(state)) < 1_200


def lines_executed(programme: Programme, purchases: list[KnownPurchase], returns: list[KnownReturn]) -> int:
    executed = 0

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal executed
        executed += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        fold(programme, purchases, returns)
    finally:
        sys.settrace(before)
    return executed


def busy_history(years: int) -> History:
    start = from_datetime(datetime(2010, 1, 1, 9, tzinfo=UTC))
    hours = range(0, years * 365 * 24, 9)
    purchases = [KnownPurchase(f"p{hour}", start + hour * 3_600_000_000, 500 + hour * 37 % 9_000) for hour in hours]
    returns = [
        KnownReturn(p.purchase_id, p.occurred_us + 20 * 86_400_000_000, p.eligible_cents // 2, False)
        for p in purchases[::5]
    ]
    return purchases, returns


@pytest.mark.parametrize("years", [2, 4])
def test_work_of_the_fold_grows_linearly(years: int) -> None:
    """Twice the years, twice the work, though every purchase is weighed against a year of others."""
    once, twice = (lines_executed(PROGRAMME, *busy_history(years * factor)) for factor in (1, 2))
    assert twice < 2.2 * once
