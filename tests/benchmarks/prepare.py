"""Databases as they are before a run: an account for every member, and a timeline for every fifth.

They come from a history that both services' real workers read, so nothing in them is made up.
"""

import asyncio

from kundenclub.processes import ProcessFailed
from loyalty.points.expiry_job import now_us, post_due_expiry

from tests.benchmarks.drain import drain
from tests.benchmarks.processes import run_command
from tests.benchmarks.servers import SERVICES, Servers, database_of
from tests.benchmarks.workload import SILVER_EVERY, Workload

KEPT = {"loyalty": "loyalty_kept", "customer-status": "customer_status_kept"}
GROWN = "loyalty_grown"


async def prepare(servers: Servers, workload: Workload) -> int:
    """Migrate, let both services read the history, keep the databases, publish the events; returns their bytes."""
    await asyncio.gather(*(run_command(servers.environment, service, "migrate") for service in SERVICES))
    for service in SERVICES:
        async with servers.admin(database_of(service)) as conn:
            await conn.execute(
                """INSERT INTO event_progress (topic, partition, next_offset)
                   SELECT 'kundenclub.purchases', n, 0 FROM generate_series(0, 11) AS n"""
            )
    await servers.publish(workload.history())
    await drain(servers, dict.fromkeys(SERVICES, 1))
    async with servers.admin("loyalty") as conn:
        last_no: int | None = 0
        while last_no is not None:  # once a year's work, which else each run would begin with
            last_no = await post_due_expiry(conn, now_us(), last_no)
        with_timeline = await conn.fetchval("SELECT count(*) FROM account WHERE timeline IS NOT NULL")
    if with_timeline != (workload.members - 1) // SILVER_EVERY + 1:
        raise ProcessFailed(f"{with_timeline} of {workload.members} members have a timeline: the rules have changed")
    for service in SERVICES:
        await servers.keep_as(service, KEPT[service])
    return await servers.publish(workload.measured())


async def grow(servers: Servers, rows: int) -> int:
    """Keep a copy of loyalty's database with about `rows` more purchases and entries; returns how many entries it has.

    Written in the order of time, a purchase of every account after the other; the primary keys are built at the end.
    By the rules, so that the worker's own checks of a sample have nothing to say.
    """
    await servers.reset("loyalty", KEPT["loyalty"])
    async with servers.admin("loyalty") as conn:
        await conn.execute("ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_pkey")
        await conn.execute("ALTER TABLE purchase_position DROP CONSTRAINT purchase_position_pkey")
        accounts = await conn.fetchval("SELECT count(*) FROM account")
        each = max(1, rows // accounts)
        for n in range(each):
            await conn.execute(_MORE_POSITIONS.format(n=n, each=each))
            await conn.execute(_MORE_ENTRIES.format(n=n, each=each))
        await conn.execute(f"UPDATE account SET last_entry_no = last_entry_no + {each}, {_MORE_POINTS.format(each)}")
        await conn.execute("SET maintenance_work_mem = '1GB'")
        await conn.execute("ALTER TABLE ledger_entry ADD PRIMARY KEY (account_no, entry_no)")
        await conn.execute("ALTER TABLE purchase_position ADD PRIMARY KEY (account_no, purchase_id)")
        entries = await conn.fetchval("SELECT count(*) FROM ledger_entry")
    await servers.keep_as("loyalty", GROWN)
    return int(entries)


_PURCHASE_ID = "to_char({n}, 'FM\"g\"00000') || '-t02-20250101-' || to_char(account_no, 'FM000000000')"
_MORE_POSITIONS = f"""
    INSERT INTO purchase_position (account_no, purchase_id, occurred_at, received_at, cents_by_class, vouchers,
        eligible_cents, returned_cents, returned_completely, bonus_percent, posted_points)
    SELECT account_no, {_PURCHASE_ID}, timestamptz '2025-01-01' + interval '1 year' * {{n}} / {{each}}, now(),
        '{{{{"deposit":25,"food":900,"goods":1299}}}}', '{{{{}}}}', 2199, 0, false, 0, 21
    FROM account"""
_MORE_ENTRIES = f"""
    INSERT INTO ledger_entry (account_no, entry_no, kind, points, purchase_id)
    SELECT account_no, last_entry_no + {{n}} + 1, 'purchase', 21, {_PURCHASE_ID} FROM account"""
_MORE_POINTS = """balance_points = balance_points + 21 * {0},
    points_by_year = points_by_year || jsonb_build_object('2025', jsonb_build_array(21 * {0}, 0))"""
