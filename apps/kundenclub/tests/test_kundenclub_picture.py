"""The demo's picture of the club: what it shows, and that it is one."""

import struct
from datetime import date
from pathlib import Path
from typing import Any

from customer_status.audit.state import MemberState
from customer_status.segments.domain import Segment
from kundenclub.demo.club import Club, picture_of
from kundenclub.demo.picture import Picture, Share, draw

LAST_DAY = date(2026, 6, 30)


def member(member_id: str, *steps: tuple[str, str]) -> MemberState:
    timeline: list[dict[str, Any]] = [
        {"after": None, "level": "basis"},
        *({"after": after, "level": level} for after, level in steps),
    ]
    return MemberState(member_id, "basis", timeline, 1, "")


def test_members_are_counted_by_the_level_of_each_week_from_their_first_purchase_on() -> None:
    levels = [
        member("M1", ("2026-06-30T21:59:59Z", "silver")),  # the last second of the day in Berlin
        member("M2", ("2026-06-10T10:00:00Z", "silver"), ("2026-06-20T10:00:00Z", "gold")),
        member("M3", ("2026-06-30T22:00:00Z", "silver")),
        member("joined"),
    ]
    since = {"M1": date(2026, 6, 23), "M2": date(2026, 6, 1), "M3": date(2026, 6, 24)}
    segments = [
        Segment("gold", "stammkunde", "A", 1, 900),
        Segment("silver", "neukunde", "A", 2, 100),
        Segment("basis", "altkunde", None, 1, 0),
    ]
    picture = picture_of(Club(LAST_DAY, segments, since), levels)
    assert picture.days[-4:] == [date(2026, 6, 9), date(2026, 6, 16), date(2026, 6, 23), LAST_DAY]
    assert {level: counts[-4:] for level, counts in picture.members_by_level.items()} == {
        "basis": [1, 0, 1, 1],
        "silver": [0, 1, 0, 1],
        "gold": [0, 0, 1, 1],
    }
    assert picture.shares_by_class == {"A": Share(3, 1_000), "B": Share(0, 0), "C": Share(0, 0)}


def test_it_is_drawn_without_a_screen(tmp_path: Path) -> None:
    days = [date(2026, 1, 1), date(2026, 6, 1), date(2026, 12, 31)]
    by_level = {"basis": [1, 5, 9], "silver": [0, 2, 3], "gold": [0, 0, 1]}
    shares = {"A": Share(1, 900_000_00), "B": Share(0, 0), "C": Share(2, 1)}
    draw(Picture(days, by_level, shares), tmp_path / "club.png")
    data = (tmp_path / "club.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1200, 450)
