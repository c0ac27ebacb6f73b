"""All SQL on contacts, on who is to be looked at, and on notices.

Locks in this order: the members, then their watches by account number, then the rest.
"""

from collections.abc import Collection, Sequence

import asyncpg
import msgspec
from eventing.database import Connection
from programme.contacts import Notice, Told
from programme.instants import from_datetime, to_datetime

from customer_status.contacts.domain import Look, Recommendation
from customer_status.tiers.rows import timeline_from_row

_LOOK = """
    SELECT account_no, member_id, wakes, member.events, member.generation, member.joined_at, timeline
    FROM contact_watch AS watch JOIN member USING (account_no) WHERE member_id IS NOT NULL"""


async def watch(conn: Connection, account_no: int) -> None:
    """Look after a locked member from now on, and look soon."""
    await conn.execute(
        """
        INSERT INTO contact_watch (account_no) VALUES ($1)
        ON CONFLICT (account_no) DO UPDATE SET wakes = contact_watch.wakes + 1, look_at = '-infinity'""",
        account_no,
    )


async def wake(conn: Connection, account_nos: Collection[int]) -> None:
    """Look soon at those of these locked members who are looked after."""
    await _lock_watches(conn, account_nos)
    await conn.execute(
        "UPDATE contact_watch SET wakes = wakes + 1, look_at = '-infinity' WHERE account_no = ANY ($1::bigint[])",
        list(account_nos),
    )


async def looks_due(
    conn: Connection, after_no: int, to_no: int, limit: int, at_us: int, offers_opened_us: int | None
) -> list[Look]:
    """Members whose time has come, of whom something is known that was not at the last look, or, if they ever were
    above basis, for whom an offer was opened since; with numbers from `after_no` (exclusive) to `to_no`.
    """
    rows = await conn.fetch(
        f"""
        {_LOOK} AND account_no > $1 AND account_no <= $2 AND (
            look_at <= $3 OR watch.events IS DISTINCT FROM member.events
            OR watch.generation IS DISTINCT FROM member.generation
            OR watch.joined_at IS DISTINCT FROM member.joined_at
            OR (looked_at < $4 AND timeline IS NOT NULL))
        ORDER BY account_no LIMIT $5""",
        after_no,
        to_no,
        to_datetime(at_us),
        None if offers_opened_us is None else to_datetime(offers_opened_us),
        limit,
    )
    return [_look(row) for row in rows]


async def looks_at(conn: Connection, account_nos: Collection[int]) -> list[Look]:
    """These members as they are now; read after they were locked."""
    rows = await conn.fetch(f"{_LOOK} AND account_no = ANY ($1::bigint[]) ORDER BY account_no", list(account_nos))
    return [_look(row) for row in rows]


async def note_looks(conn: Connection, looks: Sequence[Look], at_us: int, next_us: Sequence[int]) -> None:
    """Note that these members were looked at, as they were found, and when to look again; not for those somebody asked
    a new look for.
    """
    await _lock_watches(conn, [look.account_no for look in looks])
    await conn.execute(
        """
        UPDATE contact_watch AS watch
        SET events = new.events, generation = new.generation, joined_at = new.joined_at, looked_at = $7,
            look_at = new.look_at
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::int[], $5::timestamptz[], $6::timestamptz[])
          AS new (account_no, wakes, events, generation, joined_at, look_at)
        WHERE watch.account_no = new.account_no AND watch.wakes = new.wakes""",
        [look.account_no for look in looks],
        [look.wakes for look in looks],
        [look.events for look in looks],
        [look.generation for look in looks],
        [None if look.joined_us is None else to_datetime(look.joined_us) for look in looks],
        [to_datetime(us) for us in next_us],
        to_datetime(at_us),
    )


async def highest_watched(conn: Connection) -> int:
    """The highest number of an account that is looked after, 0 if there is none."""
    highest: int = await conn.fetchval("SELECT coalesce(max(account_no), 0) FROM contact_watch")
    return highest


async def told(conn: Connection, account_nos: Collection[int]) -> dict[int, list[Told]]:
    """What was recommended for these members before."""
    found: dict[int, list[Told]] = {}
    rows = await conn.fetch(
        "SELECT account_no, kind, cause, told_at, level FROM contact WHERE account_no = ANY ($1::bigint[])",
        list(account_nos),
    )
    for row in rows:
        each = Told(row["kind"], row["cause"], from_datetime(row["told_at"]), row["level"])
        found.setdefault(row["account_no"], []).append(each)
    return found


async def told_as_often(conn: Connection, since_us: int, times: int) -> list[int]:
    """The accounts with at least so many recommendations since then."""
    rows = await conn.fetch(
        "SELECT account_no FROM contact WHERE told_at >= $1 GROUP BY account_no HAVING count(*) >= $2 ORDER BY 1",
        to_datetime(since_us),
        times,
    )
    return [row["account_no"] for row in rows]


async def insert_contacts(
    conn: Connection, wanted: Sequence[Recommendation], at_us: int
) -> list[tuple[int, Recommendation]]:
    """Add contacts of locked members; returns those that are new, with their numbers, in the order given."""
    keys = {(each.look.account_no, each.contact.kind, each.contact.cause): each for each in wanted}
    rows = await conn.fetch(
        """
        INSERT INTO contact (account_no, kind, cause, level, told_at, channels)
        SELECT account_no, kind, cause, level, $6, string_to_array(channels, ',')
        FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
          WITH ORDINALITY AS new (account_no, kind, cause, level, channels, place)
        ORDER BY place ON CONFLICT (account_no, kind, cause) DO NOTHING
        RETURNING contact_no, account_no, kind, cause""",
        [each.look.account_no for each in keys.values()],
        [each.contact.kind for each in keys.values()],
        [each.contact.cause for each in keys.values()],
        [each.contact.reason.get("level") for each in keys.values()],
        [",".join(each.channels) for each in keys.values()],
        to_datetime(at_us),
    )
    return sorted((row["contact_no"], keys[row["account_no"], row["kind"], row["cause"]]) for row in rows)


async def contacts_of_member(conn: Connection, account_no: int, before: int | None, limit: int) -> list[asyncpg.Record]:
    """What was recommended for a member, newest first."""
    rows: list[asyncpg.Record] = await conn.fetch(
        """
        SELECT contact_no, kind, cause, told_at, channels FROM contact
        WHERE account_no = $1 AND ($2::bigint IS NULL OR contact_no < $2) ORDER BY contact_no DESC LIMIT $3""",
        account_no,
        before,
        limit,
    )
    return rows


async def notices(conn: Connection, account_nos: Collection[int], at_us: int) -> dict[int, list[Notice]]:
    """What will end for these members, and has not ended."""
    found: dict[int, list[Notice]] = {}
    rows = await conn.fetch(
        """
        SELECT account_no, kind, cause, received_at, ends_at, reason FROM contact_notice
        WHERE account_no = ANY ($1::bigint[]) AND ends_at > $2""",
        list(account_nos),
        to_datetime(at_us),
    )
    for row in rows:
        received_us, ends_us = from_datetime(row["received_at"]), from_datetime(row["ends_at"])
        notice = Notice(row["kind"], row["cause"], received_us, ends_us, msgspec.json.decode(row["reason"]))
        found.setdefault(row["account_no"], []).append(notice)
    return found


async def put_notice(conn: Connection, account_no: int, event_no: int, notice: Notice) -> None:
    """Write a notice of a locked member; of one cause the one with the greatest event number stays."""
    await conn.execute(
        """
        INSERT INTO contact_notice AS kept (account_no, event_no, kind, cause, received_at, ends_at, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (account_no, kind, cause) DO UPDATE
        SET event_no = excluded.event_no, ends_at = excluded.ends_at, reason = excluded.reason
        WHERE excluded.event_no > kept.event_no""",
        account_no,
        event_no,
        notice.kind,
        notice.cause,
        to_datetime(notice.received_us),
        to_datetime(notice.ends_us),
        msgspec.json.encode(notice.reason).decode(),
    )


async def end_voucher(conn: Connection, account_no: int, event_no: int, voucher_id: str) -> None:
    """Drop what was noted before of a voucher of a locked member: it is used or gone."""
    await conn.execute(
        """
        DELETE FROM contact_notice
        WHERE account_no = $1 AND kind = 'voucher_expiring' AND event_no < $2 AND reason ->> 'voucher_id' = $3""",
        account_no,
        event_no,
        voucher_id,
    )


async def drop_ended_notices(conn: Connection, after_no: int, to_no: int, at_us: int) -> None:
    """Delete what has ended, of the accounts with numbers from `after_no` (exclusive) to `to_no`."""
    await conn.execute(
        "DELETE FROM contact_notice WHERE account_no > $1 AND account_no <= $2 AND ends_at <= $3",
        after_no,
        to_no,
        to_datetime(at_us),
    )


async def forget(conn: Connection, account_nos: Collection[int]) -> None:
    """Delete what is kept of locked accounts that are erased. Scores stay, without anybody's name."""
    accounts = list(account_nos)
    await _lock_watches(conn, accounts)
    for table in ("contact_watch", "contact_notice", "contact"):
        await conn.execute(f"DELETE FROM {table} WHERE account_no = ANY ($1::bigint[])", accounts)
    await conn.execute("DELETE FROM survey WHERE account_no = ANY ($1::bigint[]) AND score IS NULL", accounts)


async def _lock_watches(conn: Connection, account_nos: Collection[int]) -> None:
    await conn.execute(
        "SELECT FROM contact_watch WHERE account_no = ANY ($1::bigint[]) ORDER BY account_no FOR UPDATE",
        list(account_nos),
    )


def _look(row: asyncpg.Record) -> Look:
    return Look(
        row["account_no"],
        row["member_id"],
        row["wakes"],
        row["events"],
        row["generation"],
        None if row["joined_at"] is None else from_datetime(row["joined_at"]),
        timeline_from_row(row),
    )
