"""`python -m tests.benchmarks.segments`: how long segments of many members take, on generated rows.

Prints one line a figure. The rows are made by SQL, so that ten million purchases take minutes and not an hour: they
have the columns that segments read, and what the worker would have written into them.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from functools import partial
from typing import TypeVar

import asyncpg
from alembic.script import ScriptDirectory
from customer_status.migrate import SCRIPTS, upgrade
from customer_status.segments.service import count_segments, take_snapshot
from devstack import create_service_database, postgres
from programme.calendar import day_of
from programme.terms import load_programme

from tests.benchmarks.servers import CONTRACTS

TODAY = date(2026, 11, 22)
PAST = date(2026, 5, 1)
GOAL_S = 5.0

_T = TypeVar("_T")

# Every fifth member is silver since June; purchases are spread over 500 days, more of them with members of low number.
_MEMBERS = """
    INSERT INTO member (member_id, joined_at, events, timeline)
    SELECT 'M' || to_char(n, 'FM00000000'), timestamptz '2025-01-01', 1,
        CASE WHEN n % 5 = 0 THEN
            '[{"after": null, "level": "basis"}, {"after": "2026-06-01T10:00:00Z", "level": "silver"},
              {"after": "2027-05-31T22:00:00Z", "level": "basis"}]'::jsonb END
    FROM generate_series(1, $1::int) AS n"""
_PURCHASES = """
    INSERT INTO purchase (account_no, purchase_id, occurred_at, received_at, cents_by_class, vouchers, eligible_cents,
        returned_cents, returned_completely, civil_date, total_cents, returned_total_cents)
    SELECT account_no, 's0367-t02-' || to_char(at, 'YYYYMMDD') || '-' || to_char(account_no % 1000000, 'FM000000') || n,
        at, at, '{"deposit":25,"food":900,"goods":1299}', '{}', 2199, 0, false,
        (at AT TIME ZONE 'Europe/Berlin')::date, 500 + (account_no * 7919 + n * 104729) % 20000, 0
    FROM (SELECT account_no, n,
              timestamptz '2025-07-10'
                  + make_interval(hours => ((account_no * 37 + n * 12007 / $1::int) % 12007)::int) AS at
          FROM member, generate_series(1, $1::int) AS n) AS bought"""
_RETURNS = """
    INSERT INTO purchase_return (account_no, return_id, purchase_id, occurred_at, received_at, cents_by_class, complete,
        civil_date, total_cents)
    SELECT account_no, 'r' || purchase_id, purchase_id, occurred_at + interval '9 days', received_at, '{"goods":300}',
        false, civil_date + 9, 300
    FROM purchase WHERE account_no % 33 = 0"""
_TAKEN_BACK = """
    UPDATE purchase SET returned_cents = 300, returned_total_cents = 300 WHERE account_no % 33 = 0"""


async def fill(conn: asyncpg.Connection, members: int, purchases: int) -> None:
    """Members with so many purchases each, and returns of every thirty-third.

    Their purchase days are worked out as those of the members were who were there before there were such columns.
    """
    work_out = ScriptDirectory(str(SCRIPTS)).get_revision("20261122_purchase_days").module.WORK_OUT
    for statement, arguments in (
        (_MEMBERS, (members,)),
        (_PURCHASES, (purchases,)),
        (_RETURNS, ()),
        (_TAKEN_BACK, ()),
        (work_out, ()),
        ("VACUUM (FULL) member, purchase", ()),
        ("VACUUM (ANALYZE)", ()),
    ):
        await conn.execute(statement, *arguments, timeout=3600)


async def measure(conn: asyncpg.Connection) -> None:
    """Each figure twice: the second has what it reads in memory."""
    programme = load_programme(CONTRACTS / "programme.toml")
    for _ in range(2):
        for name, day in (("today", TODAY), (f"as of {PAST}", PAST)):
            async with conn.transaction():
                took, segments = await seconds(partial(count_segments, conn, programme, day_of(day)))
            members = sum(each.members for each in segments)
            print(f"segments {name}: {took:.2f} s, {len(segments)} segments, {members:,} members", flush=True)
        async with conn.transaction():
            took, _ = await seconds(partial(take_snapshot, conn, programme, day_of(TODAY)))
        print(f"snapshot: {took:.2f} s", flush=True)


async def seconds(work: Callable[[], Awaitable[_T]]) -> tuple[float, _T]:
    """How long it took, and what it returned."""
    started = time.monotonic()
    result = await work()
    return time.monotonic() - started, result


async def run(app_url: str, owner_url: str, members: int, purchases: int) -> None:
    """Fill the database as its owner, measure as the application."""
    owner = await asyncpg.connect(owner_url)
    try:
        await fill(owner, members, purchases)
    finally:
        await owner.close()
    conn = await asyncpg.connect(app_url)
    try:
        await measure(conn)
    finally:
        await conn.close()


def main(arguments: Sequence[str]) -> None:
    """A server of its own, gone at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.segments", description=__doc__)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--purchases", type=int, default=10, help="of each member (10)")
    given = parser.parse_args(arguments)
    with postgres() as server:
        database = create_service_database(server, "customer-status")
        upgrade(database.owner_url, database.app_url)
        print(f"{given.members:,} members with {given.purchases} purchases each; goal for 1,000,000: {GOAL_S} s")
        asyncio.run(run(database.app_url, database.owner_url, given.members, given.purchases))


if __name__ == "__main__":
    main(sys.argv[1:])
