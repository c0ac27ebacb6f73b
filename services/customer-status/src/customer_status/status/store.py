"""What the status call reads: one member's rows, by their keys."""

from datetime import date, datetime
from typing import NamedTuple

import asyncpg
import msgspec
from eventing.database import Connection
from programme.calendar import date_of
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


# All in one statement: it sees one moment, and costs one way to the server and back.
STATUS = """
    SELECT joined_at, timeline, newest.snapshot_date, abc, name, email, assigned_at, bought.*, back.*
    FROM member
    LEFT JOIN contact_person USING (account_no)
    LEFT JOIN (SELECT max(snapshot_date) AS snapshot_date FROM segment_snapshot WHERE snapshot_date <= $2) AS newest
        ON true
    LEFT JOIN segment_snapshot_member AS ranked
        ON ranked.snapshot_date = newest.snapshot_date AND ranked.account_no = member.account_no
    CROSS JOIN LATERAL (
        SELECT array_agg(purchase_id) AS purchase_ids, array_agg(occurred_at) AS bought_at,
            array_agg(civil_date - date '1970-01-01') AS days, array_agg(eligible_cents) AS eligible_cents,
            array_agg(total_cents) AS total_cents, array_agg(returned_cents) AS returned_cents,
            array_agg(returned_total_cents) AS returned_total_cents,
            array_agg(returned_completely) AS returned_completely
        FROM purchase WHERE purchase.account_no = member.account_no
    ) AS bought
    CROSS JOIN LATERAL (
        SELECT array_agg(return_id) AS return_ids, array_agg(purchase_id) AS returned_ids,
            array_agg(occurred_at) AS returned_at, array_agg(cents_by_class) AS cents_by_class,
            array_agg(complete) AS complete
        FROM purchase_return WHERE purchase_return.account_no = member.account_no
    ) AS back
    WHERE member_id = $1"""


async def find_member(conn: Connection, member_id: str, day: int) -> Found | None:
    """All of a member, and the class of the newest snapshot of `day` or before; None if unknown."""
    row = await conn.fetchrow(STATUS, member_id, date_of(day))
    if row is None:
        return None
    joined_us = None if row["joined_at"] is None else from_datetime(row["joined_at"])
    person = None if row["name"] is None else ContactPerson(row["name"], row["email"], row["assigned_at"])
    known = Known(joined_us, timeline_from_row(row), _bought(row), _given_back(row))
    return Found(known, row["abc"], row["snapshot_date"], person)


def _bought(row: asyncpg.Record) -> list[Bought]:
    if row["purchase_ids"] is None:
        return []
    columns = (
        row["purchase_ids"],
        map(from_datetime, row["bought_at"]),
        row["days"],
        row["eligible_cents"],
        row["total_cents"],
        row["returned_cents"],
        row["returned_total_cents"],
        row["returned_completely"],
    )
    return [Bought(*each) for each in zip(*columns, strict=True)]


def _given_back(row: asyncpg.Record) -> list[GivenBack]:
    if row["return_ids"] is None:
        return []
    columns = (
        row["return_ids"],
        row["returned_ids"],
        map(from_datetime, row["returned_at"]),
        map(_cents, row["cents_by_class"]),
        row["complete"],
    )
    return [GivenBack(*each) for each in zip(*columns, strict=True)]
