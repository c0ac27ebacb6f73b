"""What a member is told about their level: since when, until when, and how far it is to the next."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from programme.calendar import anniversary_day, midnight_us
from programme.points import total_points
from programme.terms import BASE_LEVEL, LEVELS, Programme
from programme.timeline import Timeline, level_at

from customer_status.status.domain import Bought


class Status(NamedTuple):
    """`since_us` and `held_until_us` are None where there is no such step; points are whole points."""

    level: str
    since_us: int | None
    held_until_us: int | None
    collected_points: int
    next_level: str | None
    points_to_next_level: int | None
    points_to_keep_level: int | None


def status_at(programme: Programme, timeline: Timeline, purchases: Iterable[Bought], at_us: int) -> Status:
    """The status at an instant, by the terms in force then (rules 3.4 and 3.5).

    `collected_points` are those a purchase made at `at_us` would find collected. `points_to_keep_level` more, collected
    by `held_until_us` in whatever purchases, hold the level beyond it: the points that are still live then count.
    """
    worth = [
        (until_us, _collected(programme, timeline, row))
        for row in purchases
        if row.occurred_us <= at_us <= (until_us := midnight_us(anniversary_day(row.day)))
    ]
    thresholds = programme.at(at_us).thresholds
    current = bisect_left(timeline, at_us, lo=1, key=lambda step: step.after_us or 0) - 1
    step = timeline[current]
    held_until_us = timeline[current + 1].after_us if current + 1 < len(timeline) else None
    collected = _live_points(worth, at_us)
    next_level = LEVELS[LEVELS.index(step.level) + 1] if step.level != LEVELS[-1] else None
    keep = None
    if held_until_us is not None and step.level != BASE_LEVEL:
        # One point at least: only a purchase worth something prolongs a level.
        keep = max(1, thresholds[step.level] - _live_points(worth, held_until_us))
    return Status(
        level=step.level,
        since_us=step.after_us,
        held_until_us=held_until_us,
        collected_points=collected,
        next_level=next_level,
        points_to_next_level=None if next_level is None else max(0, thresholds[next_level] - collected),
        points_to_keep_level=keep,
    )


def _collected(programme: Programme, timeline: Timeline, row: Bought) -> int:
    terms = programme.at(row.occurred_us)
    bonus_percent = terms.bonus_percent[level_at(timeline, row.occurred_us)] if terms.count_bonus else 0
    return total_points(row.remaining_cents, bonus_percent)


def _live_points(worth: Iterable[tuple[int, int]], at_us: int) -> int:
    return sum(points for until_us, points in worth if at_us <= until_us)
