"""`verify` on a few accounts at a time, for the worker to do all the time."""

import random

import asyncpg
from eventing.report import Report
from programme.terms import Programme

from loyalty.audit.store import histories_from
from loyalty.audit.verify import check_accounts

ACCOUNTS_AT_ONCE = 20
_HIGHEST = "SELECT coalesce(max(account_no), 1) FROM account"


async def check_some(conn: asyncpg.Connection, report: Report, programme: Programme) -> int:
    """Check the accounts that follow a number chosen at random, in the snapshot that is open; returns how many."""
    first = random.randint(1, await conn.fetchval(_HIGHEST))
    histories = await histories_from(conn, first, ACCOUNTS_AT_ONCE)
    await check_accounts(conn, report, programme, histories)
    return len(histories)
