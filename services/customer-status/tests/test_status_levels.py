"""What a member is told about their level."""

from typing import Any

import pytest
from customer_status.status.domain import Bought
from customer_status.status.levels import Status, status_at
from programme.calendar import civil_day
from programme.fold import fold
from programme.instants import parse_instant
from programme.terms import Programme
from programme.timeline import Timeline


class Member:
    def __init__(self, programme: Programme, *bought: tuple[str, int]) -> None:
        self.programme = programme
        instants = [parse_instant(occurred_at) for occurred_at, _ in bought]
        self.rows = [
            Bought(f"p{number}", instants[number], civil_day(instants[number]), cents, cents)
            for number, (_, cents) in enumerate(bought)
        ]
        self.timeline: Timeline = fold(programme, [row.known() for row in self.rows], [])

    def at(self, instant: str) -> Status:
        return status_at(self.programme, self.timeline, self.rows, parse_instant(instant))


def test_a_member_without_purchases_is_basis_since_ever(programme: Programme) -> None:
    assert Member(programme).at("2026-06-01T00:00:00Z") == Status("basis", None, None, 0, "silver", 1000, None)


def test_silver_tells_the_way_to_gold_and_what_keeps_it(programme: Programme) -> None:
    member = Member(programme, ("2026-01-10T10:00:00Z", 60_000), ("2026-03-10T10:00:00Z", 50_000))
    status = member.at("2026-06-01T00:00:00Z")
    assert status.level == "silver"
    assert status.since_us == parse_instant("2026-03-10T10:00:00Z")
    assert status.held_until_us == parse_instant("2027-03-09T23:00:00Z")
    assert status.collected_points == 1100
    assert (status.next_level, status.points_to_next_level) == ("gold", 1900)
    # Of the 1,100 points only the 500 of March still live when the level lapses.
    assert status.points_to_keep_level == 500


def test_gold_has_no_next_level(programme: Programme) -> None:
    status = Member(programme, ("2026-01-10T10:00:00Z", 300_000)).at("2026-06-01T00:00:00Z")
    assert (status.level, status.next_level, status.points_to_next_level) == ("gold", None, None)
    assert status.points_to_keep_level == 1, "the 3,000 points still live; any purchase worth a point prolongs"


def test_points_lapse_out_of_the_running_year(programme: Programme) -> None:
    member = Member(programme, ("2025-01-10T10:00:00Z", 50_000), ("2026-01-09T10:00:00Z", 10_000))
    assert member.at("2026-01-09T23:00:00Z").collected_points == 600, "the last instant, inclusive"
    assert member.at("2026-01-09T23:00:00.000001Z").collected_points == 100


def test_returned_points_are_not_collected(programme: Programme) -> None:
    member = Member(programme, ("2026-01-10T10:00:00Z", 50_000), ("2026-01-11T10:00:00Z", 10_000))
    member.rows[0].returned_completely = True
    member.rows[1].returned_cents = 5_000
    assert member.at("2026-06-01T00:00:00Z").collected_points == 50


@pytest.mark.parametrize(
    ("instant", "level"), [("2026-01-10T10:00:00Z", "basis"), ("2026-01-10T10:00:00.000001Z", "silver")]
)
def test_a_level_begins_after_its_instant(programme: Programme, instant: str, level: str) -> None:
    assert Member(programme, ("2026-01-10T10:00:00Z", 100_000)).at(instant).level == level


@pytest.mark.parametrize("more", [1, 250, 499, 500])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_the_points_that_keep_a_level_do_so_however_they_are_collected(
    programme: Programme, more: int, pieces: int
) -> None:
    """Collected at the very end of the level in one or several purchases, 500 points hold it; fewer do not."""
    bought: Any = [("2026-01-10T10:00:00Z", 60_000), ("2026-03-10T10:00:00Z", 50_000)]
    # Silver collects 10 % more: 455 euros are worth 500 points.
    cents = -(-more * 10_000 // 110 // pieces)
    last = [(f"2027-03-09T22:0{n}:00Z", cents) for n in range(pieces)]
    after = Member(programme, *bought, *last).at("2027-06-01T00:00:00Z")
    collected = sum(row.remaining_cents * 110 // 10_000 for row in Member(programme, *bought, *last).rows[2:])
    assert (after.level == "silver") == (collected >= 500)
