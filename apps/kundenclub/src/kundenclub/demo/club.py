"""Who is what in the club at the end of the year: segments, ABC classes, and how the levels grew."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from customer_status.audit.state import MemberState as Levels
from customer_status.segments.domain import Segment
from customer_status.segments.service import count_segments
from programme.calendar import day_of, midnight_us
from programme.lifecycle import LIFECYCLES
from programme.revenue import ABC_CLASSES
from programme.terms import LEVELS, Programme
from programme.timeline import level_at, steps_from_json
from rich.table import Table

from kundenclub.databases import Databases
from kundenclub.demo.checkout import euros
from kundenclub.demo.picture import Picture, Share

WEEKS = 52


@dataclass(frozen=True)
class Club:
    """The segments of the last day, and since which day each member has bought something."""

    last_day: date
    segments: list[Segment]
    member_since: dict[str, date]


async def read_club(databases: Databases, programme: Programme, last_day: date) -> Club:
    """From customer-status, at the end of the last day of the year."""
    conn = databases.customer_status
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        segments = await count_segments(conn, programme, day_of(last_day))
        rows = await conn.fetch(
            """SELECT member_id, first_date
               FROM (SELECT account_no, min(civil_date) AS first_date FROM purchase GROUP BY 1) AS bought
               JOIN member USING (account_no) WHERE member_id IS NOT NULL"""
        )
    return Club(last_day, segments, {row["member_id"]: row["first_date"] for row in rows})


def segments_table(club: Club) -> Table:
    """Members by lifecycle and ABC class, with the revenue of each lifecycle status."""
    table = Table(title=f"Members by lifecycle and ABC class, {club.last_day}", title_justify="left", box=None)
    table.pad_edge, table.header_style = False, "bold"
    table.add_column("lifecycle", no_wrap=True)
    for name in (*ABC_CLASSES, "no revenue", "members", "revenue EUR"):
        table.add_column(name, justify="right", no_wrap=True)
    for lifecycle in LIFECYCLES:
        of = [segment for segment in club.segments if segment.lifecycle == lifecycle]
        counts = [sum(each.members for each in of if each.abc == abc) for abc in (*ABC_CLASSES, None)]
        cells = [f"{count:,}" for count in (*counts, sum(counts))]
        table.add_row(lifecycle, *cells, euros(sum(each.revenue_cents for each in of)))
    return table


def picture_of(club: Club, levels: Sequence[Levels]) -> Picture:
    """Members by level at the end of each week of the year, and what the ABC classes brought in."""
    days = [club.last_day - timedelta(weeks=week) for week in range(WEEKS, -1, -1)]
    counts = [_levels_on(club, levels, day) for day in days]
    return Picture(
        days=days,
        members_by_level={level: [count[level] for count in counts] for level in LEVELS},
        shares_by_class={abc: _share(club.segments, abc) for abc in ABC_CLASSES},
    )


def _levels_on(club: Club, levels: Sequence[Levels], day: date) -> Counter[str]:
    """Of those who had bought something by the end of the day."""
    end_us = midnight_us(day_of(day) + 1)
    return Counter(
        level_at(steps_from_json(member.timeline), end_us)
        for member in levels
        if member.member_id in club.member_since and club.member_since[member.member_id] <= day
    )


def _share(segments: Sequence[Segment], abc: str) -> Share:
    of = [segment for segment in segments if segment.abc == abc]
    return Share(sum(each.members for each in of), sum(each.revenue_cents for each in of))
