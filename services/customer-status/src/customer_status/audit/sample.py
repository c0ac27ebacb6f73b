"""`verify` on a few members at a time, for the worker to do all the time."""

import random

from eventing.database import Connection
from eventing.report import Report
from programme.terms import Programme

from customer_status.audit.store import highest_account_no, histories_from
from customer_status.audit.verify import check_member

MEMBERS_AT_ONCE = 20


async def check_some(conn: Connection, report: Report, programme: Programme) -> int:
    """Check the members that follow a number chosen at random, in the snapshot that is open; returns how many."""
    first = random.randint(1, max(1, await highest_account_no(conn)))
    histories = await histories_from(conn, first, MEMBERS_AT_ONCE)
    for history in histories:
        check_member(report, programme, history)
    return len(histories)
