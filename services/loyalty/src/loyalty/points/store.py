"""All SQL of accounts and positions: locks first, reads in a later statement, plain rows in bulk.

`lock_accounts` is the one lock function, for the worker and for HTTP alike. What hangs on an account is read by
*later* statements: one that waits for a lock and joins other tables joins their old versions.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import asyncpg
from eventing.arrays import texts
from eventing.binary_copy import copy_packed
from eventing.failures import StartOver
from eventing.forgotten import Secret, forgotten_among
from programme.facts import Purchase
from programme.instants import to_datetime

from loyalty.points.account import Account
from loyalty.points.domain import Key, KnownReturn, Position
from loyalty.points.entry_store import add_entries
from loyalty.points.rows import (
    POSITION_COLUMNS,
    RETURN_COLUMNS,
    account_of,
    columns,
    key_arrays,
    packed_position,
    position_of,
    position_sums,
    purchase_of,
    return_of,
    return_record,
    sums_arrays,
    timeline_record,
)

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


ACCOUNT_COLUMNS = """
    account_no, member_id, joined_at, balance_points, expired_points, expiry_year, last_entry_no, last_event_no,
    points_by_year, last_purchase_at, waiting_returns, timeline, timeline_generation, timeline_events
"""
ACCOUNT = f"SELECT {ACCOUNT_COLUMNS} FROM account"


async def lock_accounts(
    conn: Connection, member_ids: Iterable[str], owner_nos: Collection[int] = (), secret: Secret | None = None
) -> list[Account]:
    """Lock the members' accounts and those of the owners of vouchers, and return them as they are under the lock; with
    `secret`, create those that are missing.

    Whoever was erased gets none, so some of `member_ids` may have no account afterwards. Only `secret` can tell the
    erased among the new ones: without it nobody is created.

    Ascending by `member_id COLLATE "C"`, nameless ones last by number, new ones after all others. Whoever waits for a
    row that another transaction is adding can only have added smaller ones, so nobody waits in a circle. Raises
    StartOver where another transaction added one first: it is to be locked among the others.
    """
    members = set(member_ids)
    locked = await _lock(conn, members, owner_nos)
    missing = members.difference([account.member_id for account in locked]) if secret is not None else ()
    if secret is None or not missing:
        return locked
    created = await _create(conn, missing)
    if len(created) < len(missing):
        if locked or created:
            raise StartOver("another transaction made an account meanwhile that is to be locked among the others")
        return await _lock(conn, members, owner_nos)  # nothing is held yet
    # A statement of its own: it sees an erasure that committed while this transaction waited for its locks.
    erased = await forgotten_among(conn, secret, missing)
    if erased:
        await conn.execute("DELETE FROM account WHERE member_id = ANY($1::text::text[])", texts(erased))
    return locked + [account for account in created if account.member_id not in erased]


async def _lock(conn: Connection, members: Collection[str], owner_nos: Collection[int]) -> list[Account]:
    """Of a row it had to wait for, a statement with FOR UPDATE returns the version it locked, not that of its snapshot
    (PostgreSQL's documentation, 13.2.1). That holds for the locked row alone, so nothing is joined.
    """
    if not owner_nos:
        rows = await conn.fetch(
            f'{ACCOUNT} WHERE member_id = ANY($1::text::text[]) ORDER BY member_id COLLATE "C" FOR UPDATE',
            texts(members),
        )
    else:
        rows = await conn.fetch(
            f"""
            {ACCOUNT} WHERE member_id = ANY($1::text::text[]) OR account_no = ANY($2::bigint[])
            ORDER BY member_id COLLATE "C" NULLS LAST, account_no FOR UPDATE
            """,
            texts(members),
            list(owner_nos),
        )
    return [account_of(row) for row in rows]


async def _create(conn: Connection, missing: Collection[str]) -> list[Account]:
    """Those that nobody else has added first; it waits until that is certain."""
    rows = await conn.fetch(
        f"""
        INSERT INTO account (member_id) SELECT m FROM unnest($1::text::text[]) AS m ORDER BY m COLLATE "C"
        ON CONFLICT DO NOTHING RETURNING {ACCOUNT_COLUMNS}
        """,
        texts(missing),
    )
    return [account_of(row) for row in rows]


async def read_accounts(conn: Connection, member_ids: Iterable[str]) -> dict[str, Account]:
    """Read accounts without a lock."""
    rows = await conn.fetch(f"{ACCOUNT} WHERE member_id = ANY($1::text::text[])", texts(member_ids))
    return {row["member_id"]: account_of(row) for row in rows}


async def find_account(conn: Connection, member_id: str) -> Account | None:
    """Read one account without a lock; None if there is none."""
    return (await read_accounts(conn, [member_id])).get(member_id)


POSITION = """
    SELECT p.account_no, a.member_id, p.purchase_id, p.occurred_at, p.received_at, p.cents_by_class, p.vouchers,
           p.eligible_cents, p.bonus_percent, p.returned_cents, p.returned_completely, p.posted_points
    FROM purchase_position p JOIN account a USING (account_no)
"""


_KEYS = "JOIN unnest($1::text::bigint[], $2::text::text[]) AS k(account_no, key_id)"


async def read_positions(conn: Connection, keys: Sequence[Key]) -> dict[Key, Position]:
    """The positions of (account_no, purchase_id) `keys` that exist."""
    rows = await conn.fetch(
        f"{POSITION} {_KEYS} ON p.account_no = k.account_no AND p.purchase_id = k.key_id", *key_arrays(keys)
    )
    return {(row["account_no"], row["purchase_id"]): position_of(row) for row in rows}


async def find_purchases(conn: Connection, purchases: Sequence[Purchase]) -> dict[tuple[str, str], Purchase]:
    """What is stored under the business keys of `purchases`, by (member_id, purchase_id); locks nothing."""
    rows = await conn.fetch(
        """
        SELECT a.member_id, p.purchase_id, p.occurred_at, p.cents_by_class, p.vouchers
        FROM unnest($1::text::text[], $2::text::text[]) AS k(member_id, purchase_id)
        JOIN account a USING (member_id)
        JOIN purchase_position p ON p.account_no = a.account_no AND p.purchase_id = k.purchase_id
        """,
        texts([purchase.member_id for purchase in purchases]),
        texts([purchase.purchase_id for purchase in purchases]),
    )
    return {(row["member_id"], row["purchase_id"]): purchase_of(row) for row in rows}


async def read_positions_since(conn: Connection, since: Mapping[int, int]) -> dict[Key, Position]:
    """The positions of each account that occurred strictly after its instant in `since` (account_no -> us)."""
    rows = await conn.fetch(
        f"""{POSITION} JOIN unnest($1::bigint[], $2::timestamptz[]) AS k(account_no, since)
        ON p.account_no = k.account_no AND p.occurred_at > k.since""",
        list(since),
        [to_datetime(us) for us in since.values()],
    )
    return {(row["account_no"], row["purchase_id"]): position_of(row) for row in rows}


RETURN = """
    SELECT r.account_no, a.member_id, r.return_id, r.purchase_id, r.occurred_at, r.received_at, r.cents_by_class,
           r.complete
    FROM purchase_return r JOIN account a USING (account_no)
"""


async def read_returns(conn: Connection, keys: Sequence[Key]) -> dict[Key, KnownReturn]:
    """The returns of (account_no, return_id) `keys` that exist."""
    rows = await conn.fetch(
        f"{RETURN} {_KEYS} ON r.account_no = k.account_no AND r.return_id = k.key_id", *key_arrays(keys)
    )
    return {(row["account_no"], row["return_id"]): return_of(row) for row in rows}


async def read_returns_of(conn: Connection, keys: Sequence[Key]) -> dict[Key, list[KnownReturn]]:
    """The returns that name the (account_no, purchase_id) `keys`."""
    rows = await conn.fetch(
        f"{RETURN} {_KEYS} ON r.account_no = k.account_no AND r.purchase_id = k.key_id", *key_arrays(keys)
    )
    found: dict[Key, list[KnownReturn]] = {}
    for row in rows:
        found.setdefault((row["account_no"], row["purchase_id"]), []).append(return_of(row))
    return found


async def vouchers_named_by(conn: Connection, keys: Sequence[tuple[str, str]]) -> set[str]:
    """The ids of the vouchers that known purchases, by (member_id, purchase_id), name. They never change."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT unnest(p.vouchers) AS voucher_id
        FROM unnest($1::text[], $2::text[]) AS k(member_id, purchase_id)
        JOIN account a USING (member_id)
        JOIN purchase_position p ON p.account_no = a.account_no AND p.purchase_id = k.purchase_id
        """,
        [member_id for member_id, _ in keys],
        [purchase_id for _, purchase_id in keys],
    )
    return {row["voucher_id"] for row in rows}


async def accounts_behind(conn: Connection, year: int, after_no: int, to_no: int) -> list[int]:
    """Numbers above `after_no` and up to `to_no` of accounts whose expiry is not posted up to `year`, ascending."""
    rows = await conn.fetch(
        """
        SELECT account_no FROM account WHERE account_no > $2 AND account_no <= $3 AND expiry_year < $1
        ORDER BY account_no
        """,
        year,
        after_no,
        to_no,
    )
    return [row["account_no"] for row in rows]


async def highest_account_no(conn: Connection) -> int:
    """The number of the newest account, 0 if there is none."""
    number: int = await conn.fetchval("SELECT coalesce(max(account_no), 0) FROM account")
    return number


async def write_positions(conn: Connection, positions: Iterable[Position]) -> None:
    """Add the new positions and update the changed ones."""
    new, changed = [], []
    for position in positions:
        if position.is_new:
            new.append(packed_position(position))
        elif position.changed:
            changed.append(position_sums(position))
    if new:
        await copy_packed(conn, "purchase_position", POSITION_COLUMNS, new)
    if changed:
        await conn.execute(
            """
            UPDATE purchase_position p
            SET returned_cents = u.returned_cents, returned_completely = u.returned_completely,
                bonus_percent = u.bonus_percent, posted_points = u.posted_points
            FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bool[], $5::int[], $6::bigint[])
                AS u(account_no, purchase_id, returned_cents, returned_completely, bonus_percent, posted_points)
            WHERE p.account_no = u.account_no AND p.purchase_id = u.purchase_id
            """,
            *columns(changed, 6),
        )


async def write_returns(conn: Connection, returns: Iterable[KnownReturn]) -> None:
    """Add the new returns; a return never changes."""
    if records := [return_record(row) for row in returns if row.is_new]:
        await conn.copy_records_to_table("purchase_return", records=records, columns=RETURN_COLUMNS)


async def write_accounts(conn: Connection, accounts: Iterable[Account]) -> None:
    """Update the changed accounts and add their new entries to the ledger."""
    changed = [account for account in accounts if account.changed]
    if not changed:
        return
    await conn.execute(
        """
        UPDATE account a
        SET balance_points = u.balance_points, expired_points = u.expired_points, expiry_year = u.expiry_year,
            last_entry_no = u.last_entry_no, last_event_no = u.last_event_no, points_by_year = u.points_by_year,
            last_purchase_at = timestamptz 'epoch' + u.last_purchase_us * interval '1 microsecond',
            waiting_returns = u.waiting_returns
        FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::int[], $5::text::bigint[],
                    $6::text::bigint[], $7::text::int[], $8::text::bigint[], $9::text::jsonb[])
            AS u(account_no, balance_points, expired_points, expiry_year, last_entry_no, last_event_no,
                 waiting_returns, last_purchase_us, points_by_year)
        WHERE a.account_no = u.account_no
        """,
        *sums_arrays(changed),
    )
    await add_entries(conn, [entry for account in changed for entry in account.new_entries])


async def write_timelines(conn: Connection, accounts: Iterable[Account]) -> None:
    """Update the timelines of accounts that got a new one."""
    if records := [timeline_record(account) for account in accounts]:
        await conn.execute(
            """
            UPDATE account a
            SET timeline = u.timeline, timeline_generation = u.generation, timeline_events = u.events
            FROM unnest($1::bigint[], $2::jsonb[], $3::int[], $4::bigint[])
                AS u(account_no, timeline, generation, events)
            WHERE a.account_no = u.account_no
            """,
            *columns(records, 4),
        )


async def write_joined(conn: Connection, account: Account) -> None:
    """Note when a member joined."""
    assert account.joined_us is not None
    joined_at = to_datetime(account.joined_us)
    await conn.execute("UPDATE account SET joined_at = $2 WHERE account_no = $1", account.account_no, joined_at)
