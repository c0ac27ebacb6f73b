"""What the status call reads: one member's rows, by their keys."""

from datetime import date, datetime
from typing import NamedTuple

import msgspec
from eventing.database import Connection
from programme.calendar import date_of, day_of
from programme.instants import from_datetime

from customer_status.status.domain import Bought, GivenBack, Known
from customer_status.tiers.rows import timeline_from_row

_cents = msgspec.json.Decoder(dict[str, int]).decode


class ContactPerson(NamedTuple):
    """Who looks after a member."""

    name: str
    email: str | None
    assigned_at: datetime


class Found(NamedTuple):
    """A member: what is known, the class in the newest snapshot (`abc_on` is None without one), and who looks after."""

    known: Known
    abc: str | None
    abc_on: date | None
    contact_person: ContactPerson | None


MEMBER = """
    SELECT member.account_no, joined_at, timeline, newest.snapshot_date, abc, name, email, assigned_at
    FROM member
    LEFT JOIN contact_person USING (account_no)
    LEFT JOIN (SELECT max(snapshot_date) AS snapshot_date FROM segment_snapshot WHERE snapshot_date <= $2) AS newest
        ON true
    LEFT JOIN segment_snapshot_member AS ranked
        ON ranked.snapshot_date = newest.snapshot_date AND ranked.account_no = member.account_no
    WHERE member_id = $1"""
PURCHASES = """
    SELECT purchase_id, occurred_at, civil_date, eligible_cents, total_cents, returned_cents, returned_total_cents,
        returned_completely
    FROM purchase WHERE account_no = $1"""
RETURNS = """
    SELECT return_id, purchase_id, occurred_at, cents_by_class, complete FROM purchase_return WHERE account_no = $1"""


async def find_member(conn: Connection, member_id: str, day: int) -> Found | None:
    """All of a member, and the class of the newest snapshot of `day` or before; None if unknown."""
    row = await conn.fetchrow(MEMBER, member_id, date_of(day))
    if row is None:
        return None
    purchases = [
        Bought(each[0], from_datetime(each[1]), day_of(each[2]), each[3], each[4], each[5], each[6], each[7])
        for each in await conn.fetch(PURCHASES, row["account_no"])
    ]
    returns = [
        GivenBack(each[0], each[1], from_datetime(each[2]), _cents(each[3]), each[4])
        for each in await conn.fetch(RETURNS, row["account_no"])
    ]
    joined_us = None if row["joined_at"] is None else from_datetime(row["joined_at"])
    person = None if row["name"] is None else ContactPerson(row["name"], row["email"], row["assigned_at"])
    known = Known(joined_us, timeline_from_row(row), purchases, returns)
    return Found(known, row["abc"], row["snapshot_date"], person)
