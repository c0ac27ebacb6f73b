"""One member's ledger in words: every entry has a cause, and here it is told."""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
from programme.points import points_of
from rich.table import Table

from kundenclub.demo.checkout import euros
from kundenclub.demo.receipts import BERLIN

TOLD_PER_KIND = 3


class Entry(NamedTuple):
    """A ledger entry beside the purchase it is about, as that purchase stands now."""

    entry_no: int
    kind: str
    points: int
    cause_id: str | None
    purchase_id: str | None
    day: str
    eligible_cents: int
    bonus_percent: int


async def read_ledger(loyalty: asyncpg.Connection, member_id: str) -> list[Entry]:
    """All entries of a member, oldest first; a day is that of the purchase, else of the posting."""
    rows = await loyalty.fetch(
        """SELECT e.entry_no, e.kind, e.points, e.cause_id, e.purchase_id,
                  coalesce(p.occurred_at, e.posted_at) AS at, p.eligible_cents, p.bonus_percent
           FROM ledger_entry e JOIN account a USING (account_no)
           LEFT JOIN purchase_position p USING (account_no, purchase_id)
           WHERE a.member_id = $1 ORDER BY e.entry_no""",
        member_id,
    )
    return [
        Entry(
            row["entry_no"],
            row["kind"],
            row["points"],
            row["cause_id"],
            row["purchase_id"],
            f"{row['at'].astimezone(BERLIN):%d.%m.%Y}",
            row["eligible_cents"] or 0,
            row["bonus_percent"] or 0,
        )
        for row in rows
    ]


def ledger_table(member_id: str, entries: Sequence[Entry]) -> Table:
    """The first entries of each kind and the last one in words; what lies between is counted."""
    table = Table(
        title=f"The ledger of {member_id}, explained",
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for name in ("no.", "points", "balance"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why")
    told: dict[str, int] = {}
    balance = skipped = skipped_points = 0
    for entry in entries:
        balance += entry.points
        told[entry.kind] = told.get(entry.kind, 0) + 1
        if told[entry.kind] > TOLD_PER_KIND and entry is not entries[-1]:
            skipped, skipped_points = skipped + 1, skipped_points + entry.points
            continue
        if skipped:
            table.add_row("...", f"{skipped_points:+,}", "", f"{skipped} more entries like these")
            skipped = skipped_points = 0
        table.add_row(str(entry.entry_no), f"{entry.points:+,}", f"{balance:,}", in_words(entry))
    return table


def in_words(entry: Entry) -> str:
    """Why an entry was posted."""
    match entry.kind:
        case "purchase":
            return f"bought on {entry.day} for EUR {euros(entry.eligible_cents)} that earn points{_bonus(entry)}"
        case "return":
            return f"gave back goods of the purchase of {entry.day}: points of what remains, less what was posted"
        case "level":
            bonus = f"+{entry.bonus_percent} %" if entry.bonus_percent else "no bonus"
            return f"level known only later: the purchase of {entry.day} gets {bonus}, posted as the difference"
        case "reward":
            return "turned points into a voucher of EUR 5"
        case "expiry":
            return f"points expired on 1 January {entry.cause_id}"
        case _:
            return entry.kind


def _bonus(entry: Entry) -> str:
    """What the entry itself says: a bonus that was posted later is an entry of its own."""
    bonus = entry.points - points_of(entry.eligible_cents, 0).total
    return f", {bonus} of them for the level" if bonus > 0 else ""
