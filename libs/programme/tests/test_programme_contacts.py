"""Contacts (rules 3.17): what is due when, on both sides of each boundary, and what holds for any history of looks."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programme.calendar import civil_day, date_of, day_of, midnight_us
from programme.contacts import (
    CONTACT_KINDS,
    Bought,
    Contact,
    Facts,
    Notice,
    OpenOffer,
    Told,
    contacts_to_tell,
    due_contacts,
)
from programme.instants import format_instant, parse_instant
from programme.terms import LEVELS, Terms, load_programme
from programme.timeline import BASIS, Step, Timeline, level_at

(TERMS,) = load_programme(Path(__file__).parents[3] / "contracts" / "programme.toml").terms
DAY_US = 86_400_000_000
WON, LAPSES = parse_instant("2026-03-10T10:00:00Z"), parse_instant("2027-03-09T23:00:00Z")
SILVER: Timeline = (*BASIS, Step(WON, "silver"), Step(LAPSES, "basis"))


def terms(**numbers: Any) -> Terms:
    """The shipped terms with other numbers of contacts."""
    return msgspec.structs.replace(TERMS, contacts=msgspec.structs.replace(TERMS.contacts, **numbers))


def due(facts: Facts, at: str | int) -> list[tuple[str, str]]:
    found = due_contacts(TERMS, facts, parse_instant(at) if isinstance(at, str) else at)
    return [(each.kind, each.cause) for each in found]


def told(contact: Contact, at_us: int) -> Told:
    return Told(contact.kind, contact.cause, at_us, contact.reason.get("level"))


@pytest.mark.parametrize(
    ("at", "is_due"),
    [
        ("2026-03-10T10:00:00Z", False),  # the level holds for what is strictly later
        ("2026-03-10T10:00:00.000001Z", True),
        ("2026-03-24T22:59:59.999999Z", True),  # the end of the 14th day after it
        ("2026-03-24T23:00:00Z", False),
    ],
)
def test_a_promotion_is_told_from_its_instant_until_it_is_long_over(at: str, is_due: bool) -> None:
    assert due(Facts(timeline=SILVER), at) == [("promotion", "silver:2026-03-10T10:00:00Z")] * is_due


@pytest.mark.parametrize(
    ("at", "days"),
    [
        ("2027-01-08T22:59:59.999999Z", None),
        ("2027-01-08T23:00:00Z", 60),
        ("2027-02-23T22:59:59.999999Z", 60),
        ("2027-02-23T23:00:00Z", 14),
        ("2027-03-09T22:59:59.999999Z", 14),
        ("2027-03-09T23:00:00Z", None),
    ],
)
def test_a_coming_lapse_is_warned_of_60_and_14_days_before(at: str, days: int | None) -> None:
    facts = Facts(timeline=SILVER, missing_points=lambda: 500)
    found = due_contacts(TERMS, facts, parse_instant(at))
    assert [each.kind for each in found] == ["lapse_warning"] * (days is not None)
    for each in found:
        assert each.reason == {
            "level": "silver",
            "next_level": "basis",
            "lapses_at": "2027-03-09T23:00:00Z",
            "days_before": days,
            "missing_points": 500,
        }


@pytest.mark.parametrize(
    ("at", "is_due"),
    [
        ("2027-03-09T23:00:00Z", False),
        ("2027-03-09T23:00:00.000001Z", True),
        ("2027-03-24T22:59:59.999999Z", True),
        ("2027-03-24T23:00:00Z", False),
    ],
)
def test_a_lapse_is_told_from_after_its_instant_until_it_is_long_over(at: str, is_due: bool) -> None:
    assert due(Facts(timeline=SILVER), at) == [("lapse", "basis:2027-03-09T23:00:00Z")] * is_due


def test_a_warning_that_was_missed_is_not_told_after_the_later_one() -> None:
    facts = Facts(timeline=SILVER)
    [late] = contacts_to_tell(TERMS, facts, [], LAPSES - 10 * DAY_US)
    assert late.reason["days_before"] == 14
    assert contacts_to_tell(TERMS, facts, [told(late, LAPSES - 10 * DAY_US)], LAPSES - 9 * DAY_US) == []


def test_who_buys_again_is_warned_of_the_new_lapse() -> None:
    [first] = contacts_to_tell(TERMS, Facts(timeline=SILVER), [], LAPSES - 60 * DAY_US)
    later = LAPSES + 30 * DAY_US
    moved = Facts(timeline=(*SILVER[:2], Step(later, "basis")))
    [second] = contacts_to_tell(TERMS, moved, [told(first, LAPSES - 60 * DAY_US)], later - 59 * DAY_US)
    assert (second.kind, second.reason["days_before"]) == ("lapse_warning", 60)


def test_only_the_level_that_holds_is_told_of() -> None:
    gold = (*BASIS, Step(WON, "silver"), Step(WON + DAY_US, "gold"), Step(LAPSES, "basis"))
    [contact] = due_contacts(TERMS, Facts(timeline=gold), WON + 2 * DAY_US)
    assert contact.reason == {"level": "gold", "previous_level": "silver", "since": format_instant(WON + DAY_US)}
    lost = (*BASIS, Step(WON, "silver"), Step(WON + DAY_US, "basis"))
    assert due(Facts(timeline=lost), WON + 2 * DAY_US) == [("lapse", f"basis:{format_instant(WON + DAY_US)}")]


def test_a_late_event_that_moves_a_promotion_does_not_tell_it_again_but_a_higher_one_is() -> None:
    [first] = contacts_to_tell(TERMS, Facts(timeline=SILVER), [], WON + DAY_US)
    before = [told(first, WON + DAY_US)]
    earlier = (*BASIS, Step(WON - 3 * DAY_US, "silver"), Step(LAPSES, "basis"))
    assert contacts_to_tell(TERMS, Facts(timeline=earlier), before, WON + 2 * DAY_US) == []
    gold = (*BASIS, Step(WON - 3 * DAY_US, "gold"), Step(LAPSES, "basis"))
    [contact] = contacts_to_tell(TERMS, Facts(timeline=gold), before, WON + 2 * DAY_US)
    assert contact.reason["level"] == "gold"


@pytest.mark.parametrize(
    ("at", "is_due"),
    [
        ("2026-03-12T22:59:59.999999Z", False),
        ("2026-03-12T23:00:00Z", True),  # 13 March, the third day after
        ("2026-03-27T22:59:59.999999Z", True),
        ("2026-03-27T23:00:00Z", False),
    ],
)
def test_a_survey_follows_some_days_after_a_purchase(at: str, is_due: bool) -> None:
    bought = [Bought("p1", WON), Bought("p2", WON + 1)]
    assert due(Facts(bought=bought), at) == [("survey", "p2")] * is_due


@pytest.mark.parametrize(("days", "number"), [(89, 0), (90, 1)])
def test_a_survey_is_asked_once_in_90_days(days: int, number: int) -> None:
    asked = midnight_us(civil_day(WON) - days + 3) + 5 * 3_600_000_000
    facts = Facts(bought=[Bought("p2", WON)])
    found = contacts_to_tell(TERMS, facts, [Told("survey", "p1", asked)], midnight_us(civil_day(WON) + 3))
    assert len(found) == number


def test_silence_is_told_once_and_so_is_its_end() -> None:
    first = day_of(date_of(civil_day(WON)))
    days = [first, first + 20, first + 40]
    facts = Facts(bought=[Bought(f"p{day}", midnight_us(day)) for day in days])
    too_long = days[-1] + TERMS.lifecycle.at_risk_silent_days
    assert ("at_risk", date_of(days[-1]).isoformat()) not in due(facts, midnight_us(too_long) - 1)
    [contact] = contacts_to_tell(TERMS, facts, [], midnight_us(too_long))
    before = [told(contact, midnight_us(too_long))]
    late = Facts(bought=[*facts.bought, Bought("late", midnight_us(days[-1] + 2))])
    again = contacts_to_tell(TERMS, late, before, midnight_us(too_long + 5))
    assert [each.kind for each in again] == [], "told of this silence, though it began two days later than thought"
    back = days[-1] + 400
    returned = Facts(bought=[*facts.bought, Bought("back", midnight_us(back))])
    [contact] = contacts_to_tell(TERMS, returned, before, midnight_us(back) + 1)
    assert (contact.kind, contact.cause) == ("reactivation", date_of(back).isoformat())
    assert contacts_to_tell(TERMS, returned, [told(contact, midnight_us(back) + 1)], midnight_us(back + 1)) == []


def test_an_invitation_is_for_members_of_the_level_while_the_offer_is_open() -> None:
    offer = OpenOffer(17, "Late night", "gold", WON, WON + 9 * DAY_US)
    gold = (*BASIS, Step(WON - 200 * DAY_US, "gold"))
    silver = (*BASIS, Step(WON - 200 * DAY_US, "silver"))
    assert due(Facts(timeline=gold, offers=[offer]), WON - 1) == []
    assert due(Facts(timeline=gold, offers=[offer]), WON) == [("invitation", "17")]
    assert due(Facts(timeline=gold, offers=[offer]), WON + 9 * DAY_US) == []
    assert due(Facts(timeline=silver, offers=[offer]), WON) == []


def test_a_month_has_room_for_so_many_and_the_more_important_ones_go_first() -> None:
    at_us = parse_instant("2026-03-31T21:59:59.999999Z")
    notices = [Notice("voucher_expiring", f"v{number}", 0, at_us + DAY_US, {}) for number in range(3)]
    facts = Facts(joined_us=at_us - 2, timeline=(*BASIS, Step(at_us - 1, "silver")), notices=notices)
    before = [Told("invitation", "1", parse_instant("2026-02-28T23:00:00Z"))]
    first = contacts_to_tell(TERMS, facts, before, at_us)
    assert [each.kind for each in first] == ["promotion", "welcome", "voucher_expiring"]
    now = [*before, *(told(each, at_us) for each in first)]
    assert contacts_to_tell(TERMS, facts, now, at_us) == []
    assert [each.cause for each in contacts_to_tell(TERMS, facts, now, at_us + 1)] == ["v1", "v2"], "April has begun"


LEVEL_STEPS = st.lists(st.tuples(st.integers(0, 300), st.sampled_from(LEVELS)), max_size=6)
LOOKS = st.lists(st.integers(-5, 330), max_size=60)
NUMBERS = st.fixed_dictionaries(
    {
        "most_a_month": st.integers(1, 3),
        "late_at_most_days": st.integers(1, 20),
        "survey_every_days": st.integers(1, 40),
    }
)


def timeline_from(steps: list[tuple[int, str]]) -> Timeline:
    """Steps of any levels at some midnights, each another level than the one before."""
    timeline: list[Step] = list(BASIS)
    for day, level in sorted(dict(steps).items()):
        if level != timeline[-1].level:
            timeline.append(Step(midnight_us(civil_day(WON) + day), level))
    return tuple(timeline)


@settings(deadline=None)
@given(LEVEL_STEPS, st.lists(st.integers(0, 300), max_size=8), LOOKS, NUMBERS)
def test_any_history_of_looks_tells_each_thing_once_in_its_time_and_no_more_than_allowed(
    steps: list[tuple[int, str]], bought: list[int], looks: list[int], numbers: dict[str, int]
) -> None:
    chosen = terms(**numbers)
    timeline = timeline_from(steps)
    purchases = [Bought(f"p{n}", midnight_us(civil_day(WON) + day) + 1) for n, day in enumerate(bought)]
    facts = Facts(joined_us=WON, timeline=timeline, bought=purchases)
    done: list[Told] = []
    for look in sorted(looks):
        at_us = midnight_us(civil_day(WON) + look) + 2
        new = contacts_to_tell(chosen, facts, done, at_us)
        assert contacts_to_tell(chosen, facts, [*done, *(told(each, at_us) for each in new)], at_us) == []
        for each in new:
            assert each.kind in CONTACT_KINDS
            assert each.due_us <= at_us < each.until_us
            if each.kind in ("promotion", "lapse"):
                assert each.reason["level"] == level_at(timeline, at_us)
                assert (each.due_us, each.reason["level"]) in timeline
                assert civil_day(at_us) <= civil_day(each.due_us) + numbers["late_at_most_days"]
            done.append(told(each, at_us))
    assert max(Counter((each.kind, each.cause) for each in done).values(), default=0) <= 1
    months = Counter(date_of(civil_day(each.told_us)).replace(day=1) for each in done)
    assert max(months.values(), default=0) <= numbers["most_a_month"]
    asked = [civil_day(each.told_us) for each in done if each.kind == "survey"]
    assert all(later - earlier >= numbers["survey_every_days"] for earlier, later in pairwise(asked))


@settings(deadline=None)
@given(LEVEL_STEPS, st.integers(0, 25), st.integers(1, 20))
def test_who_looks_at_least_so_often_misses_no_change_of_level(
    steps: list[tuple[int, str]], pause_days: int, late_days: int
) -> None:
    """Whoever is down for `pause_days` after each look tells every change of level that still stands at a look, and is
    not longer over than `late_days`.
    """
    chosen = terms(most_a_month=1000, late_at_most_days=late_days)
    timeline = timeline_from(steps)
    done: list[Told] = []
    looks = range(-5, 330, pause_days + 1)
    for look in looks:
        at_us = midnight_us(civil_day(WON) + look) + 2
        done += [told(each, at_us) for each in contacts_to_tell(chosen, Facts(timeline=timeline), done, at_us)]
    causes = {each.cause for each in done if each.kind in ("promotion", "lapse")}
    for step, following in pairwise((*timeline[1:], None)):
        if step is None or step.after_us is None:
            continue
        first, last = civil_day(step.after_us), civil_day(step.after_us) + late_days
        seen = [
            day
            for day in (civil_day(WON) + look for look in looks)
            if first <= day <= last and (following is None or day < civil_day(following.after_us or 0))
        ]
        assert (f"{step.level}:{format_instant(step.after_us)}" in causes) == bool(seen)
