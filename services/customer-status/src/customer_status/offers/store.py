"""All SQL on offers, slots and claims.

Locks in this order: the member (tiers/store), the offer, then its slots and claims. Whoever claims or cancels changes
the offer's row first, so of one offer's claims all changes come one after the other.
"""

from collections.abc import Collection, Sequence

import asyncpg
from eventing.database import Connection
from programme.instants import from_datetime, to_datetime

from customer_status.offers.domain import Claim, Draft, Offer, Slot, levels_up_to

OFFER = """
    SELECT offer_id, kind, title, description, least_level, opens_at, closes_at, capacity, invites, claimed, closed_at
    FROM offer"""
_CLAIM_COLUMNS = "claim_no, offer_id, account_no, slot_no, level, claimed_at, cancelled_at"
_CLAIM = f"SELECT {_CLAIM_COLUMNS} FROM offer_claim"
FREE_SLOT = """
    EXISTS (SELECT FROM offer_slot AS slot WHERE slot.offer_id = offer.offer_id AND slot.removed_at IS NULL
            AND slot.starts_at > $2 AND NOT EXISTS (
                SELECT FROM offer_claim AS claim WHERE claim.offer_id = slot.offer_id AND claim.slot_no = slot.slot_no
                AND claim.cancelled_at IS NULL))"""
OPEN = "closed_at IS NULL AND opens_at <= $2 AND closes_at > $2 AND least_level = ANY ($3::text[])"


async def insert_offer(conn: Connection, draft: Draft, at_us: int, changed_by: str) -> int:
    """Add an offer; returns its number."""
    offer_id: int = await conn.fetchval(
        """
        INSERT INTO offer (kind, title, description, least_level, opens_at, closes_at, capacity, invites,
                           changed_at, changed_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING offer_id""",
        draft.kind,
        *_changeable(draft),
        to_datetime(at_us),
        changed_by,
    )
    return offer_id


async def lock_offer(conn: Connection, offer_id: int) -> None:
    """Lock an offer's row, if there is one; read it in a later statement."""
    await conn.execute("SELECT FROM offer WHERE offer_id = $1 FOR UPDATE", offer_id)


async def find_offer(conn: Connection, offer_id: int) -> Offer | None:
    """An offer; None if unknown."""
    row = await conn.fetchrow(f"{OFFER} WHERE offer_id = $1", offer_id)
    return None if row is None else offer_from_row(row)


async def offers_after(conn: Connection, after: int, limit: int) -> list[Offer]:
    """All offers, closed ones too, by number."""
    rows = await conn.fetch(f"{OFFER} WHERE offer_id > $1 ORDER BY offer_id LIMIT $2", after, limit)
    return [offer_from_row(row) for row in rows]


async def claimable_after(
    conn: Connection, after: int, limit: int, account_no: int, level: str, at_us: int
) -> list[Offer]:
    """The offers that a member of this level may claim and has not claimed, by number."""
    rows = await conn.fetch(
        f"""
        {OFFER} WHERE offer_id > $1 AND {OPEN} AND (capacity IS NULL OR claimed < capacity)
        AND (kind <> 'consultation' OR {FREE_SLOT})
        AND NOT EXISTS (SELECT FROM offer_claim AS mine WHERE mine.offer_id = offer.offer_id
                        AND mine.account_no = $4 AND mine.cancelled_at IS NULL)
        ORDER BY offer_id LIMIT $5""",
        after,
        to_datetime(at_us),
        list(levels_up_to(level)),
        account_no,
        limit,
    )
    return [offer_from_row(row) for row in rows]


async def update_offer(conn: Connection, offer_id: int, draft: Draft, at_us: int, changed_by: str) -> None:
    """Write a locked offer. The table's checks keep `capacity` from falling below what is claimed."""
    await conn.execute(
        """
        UPDATE offer SET title = $2, description = $3, least_level = $4, opens_at = $5, closes_at = $6, capacity = $7,
            invites = $8, changed_at = $9, changed_by = $10 WHERE offer_id = $1""",
        offer_id,
        *_changeable(draft),
        to_datetime(at_us),
        changed_by,
    )


async def close_offer(conn: Connection, offer_id: int, at_us: int, changed_by: str) -> None:
    """Close an offer that is not closed yet; claims stay."""
    await conn.execute(
        """
        UPDATE offer SET closed_at = $2, changed_at = $2, changed_by = $3
        WHERE offer_id = $1 AND closed_at IS NULL""",
        offer_id,
        to_datetime(at_us),
        changed_by,
    )


async def slots_of(conn: Connection, offer_ids: Collection[int]) -> dict[int, list[Slot]]:
    """The slots of these offers by time, without those that were removed."""
    found: dict[int, list[Slot]] = {offer_id: [] for offer_id in offer_ids}
    rows = await conn.fetch(
        """
        SELECT slot.offer_id, slot.slot_no, starts_at, ends_at, label, claim.claim_no IS NULL AS is_free
        FROM offer_slot AS slot
        LEFT JOIN offer_claim AS claim
          ON claim.offer_id = slot.offer_id AND claim.slot_no = slot.slot_no AND claim.cancelled_at IS NULL
        WHERE slot.offer_id = ANY ($1::bigint[]) AND removed_at IS NULL ORDER BY starts_at, slot.slot_no""",
        list(offer_ids),
    )
    for row in rows:
        starts_us, ends_us = from_datetime(row["starts_at"]), from_datetime(row["ends_at"])
        found[row["offer_id"]].append(Slot(row["slot_no"], starts_us, ends_us, row["label"], row["is_free"]))
    return found


async def add_slots(conn: Connection, offer_id: int, slots: Sequence[Slot]) -> None:
    """Add slots to a locked offer. One that is there, of the same time and label, is not added again."""
    highest: int = await conn.fetchval("SELECT coalesce(max(slot_no), 0) FROM offer_slot WHERE offer_id = $1", offer_id)
    await conn.executemany(
        """
        INSERT INTO offer_slot (offer_id, slot_no, starts_at, ends_at, label) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (offer_id, starts_at, label) DO UPDATE SET removed_at = NULL""",
        [
            (offer_id, highest + count, to_datetime(slot.starts_us), to_datetime(slot.ends_us), slot.label)
            for count, slot in enumerate(slots, start=1)
        ],
    )


async def remove_slots(conn: Connection, offer_id: int, slot_nos: Collection[int], at_us: int) -> None:
    """Take slots off a locked offer."""
    await conn.execute(
        """
        UPDATE offer_slot SET removed_at = $3
        WHERE offer_id = $1 AND slot_no = ANY ($2::int[]) AND removed_at IS NULL""",
        offer_id,
        list(slot_nos),
        to_datetime(at_us),
    )


async def take_seat(conn: Connection, offer_id: int, level: str, at_us: int) -> bool:
    """Count one more claim if the offer is open, for this level, and not full. The condition reads only the row that
    it locks, so it holds whoever else claims, cancels or changes the offer meanwhile.
    """
    taken = await conn.fetchval(
        f"""
        UPDATE offer SET claimed = claimed + 1
        WHERE offer_id = $1 AND {OPEN} AND (capacity IS NULL OR claimed < capacity) RETURNING true""",
        offer_id,
        to_datetime(at_us),
        list(levels_up_to(level)),
    )
    return taken is not None


async def give_seat_back(conn: Connection, offer_id: int) -> None:
    """Count one claim less."""
    await conn.execute("UPDATE offer SET claimed = claimed - 1 WHERE offer_id = $1", offer_id)


async def insert_claim(
    conn: Connection, offer_id: int, account_no: int, slot_no: int | None, level: str, at_us: int
) -> Claim | None:
    """Add a claim; None if somebody has the slot."""
    row = await conn.fetchrow(
        f"""
        INSERT INTO offer_claim (offer_id, account_no, slot_no, level, claimed_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING RETURNING {_CLAIM_COLUMNS}""",
        offer_id,
        account_no,
        slot_no,
        level,
        to_datetime(at_us),
    )
    return None if row is None else _claim(row)


async def newest_claim(conn: Connection, offer_id: int, account_no: int) -> Claim | None:
    """A member's claim of an offer, the newest if there were several; only that one can be uncancelled."""
    row = await conn.fetchrow(
        f"{_CLAIM} WHERE offer_id = $1 AND account_no = $2 ORDER BY claim_no DESC LIMIT 1", offer_id, account_no
    )
    return None if row is None else _claim(row)


async def cancel_claim(conn: Connection, claim_no: int, at_us: int) -> None:
    """Mark a claim as cancelled."""
    await conn.execute("UPDATE offer_claim SET cancelled_at = $2 WHERE claim_no = $1", claim_no, to_datetime(at_us))


async def claims_of_member(conn: Connection, account_no: int, before: int | None, limit: int) -> list[Claim]:
    """A member's claims, newest first, cancelled ones too."""
    rows = await conn.fetch(
        f"{_CLAIM} WHERE account_no = $1 AND ($2::bigint IS NULL OR claim_no < $2) ORDER BY claim_no DESC LIMIT $3",
        account_no,
        before,
        limit,
    )
    return [_claim(row) for row in rows]


async def claims_of_offer(conn: Connection, offer_id: int, after: int, limit: int) -> list[tuple[Claim, str | None]]:
    """An offer's claims in the order in which they were made, with their members; None: erased."""
    rows = await conn.fetch(
        f"""
        SELECT {_CLAIM_COLUMNS}, member_id FROM offer_claim LEFT JOIN member USING (account_no)
        WHERE offer_id = $1 AND claim_no > $2 ORDER BY claim_no LIMIT $3""",
        offer_id,
        after,
        limit,
    )
    return [(_claim(row), row["member_id"]) for row in rows]


async def forget(conn: Connection, account_nos: Collection[int], at_us: int) -> None:
    """Cancel the open claims of locked accounts that are erased; their seats are free again."""
    held = "account_no = ANY ($1::bigint[]) AND cancelled_at IS NULL"
    accounts = list(account_nos)
    await conn.execute(
        f"""
        SELECT FROM offer WHERE offer_id IN (SELECT offer_id FROM offer_claim WHERE {held})
        ORDER BY offer_id FOR UPDATE""",
        accounts,
    )
    await conn.execute(
        f"""
        WITH freed AS (SELECT offer_id, count(*)::int AS seats FROM offer_claim WHERE {held} GROUP BY 1)
        UPDATE offer SET claimed = claimed - seats FROM freed WHERE offer.offer_id = freed.offer_id""",
        accounts,
    )
    await conn.execute(f"UPDATE offer_claim SET cancelled_at = $2 WHERE {held}", accounts, to_datetime(at_us))


async def miscounted(conn: Connection) -> list[str]:
    """Offers whose number of claims is not that of their rows."""
    rows = await conn.fetch(
        """
        SELECT format('offer %s counts %s', offer_id, claimed) AS text FROM offer
        WHERE claimed <> (SELECT count(*) FROM offer_claim AS claim
                          WHERE claim.offer_id = offer.offer_id AND cancelled_at IS NULL) ORDER BY offer_id"""
    )
    return [row["text"] for row in rows]


def _changeable(draft: Draft) -> tuple[object, ...]:
    return (
        draft.title,
        draft.description,
        draft.least_level,
        to_datetime(draft.opens_us),
        to_datetime(draft.closes_us),
        draft.capacity,
        draft.invites,
    )


def offer_from_row(row: asyncpg.Record) -> Offer:
    draft = Draft(
        kind=row["kind"],
        title=row["title"],
        description=row["description"],
        least_level=row["least_level"],
        opens_us=from_datetime(row["opens_at"]),
        closes_us=from_datetime(row["closes_at"]),
        capacity=row["capacity"],
        invites=row["invites"],
    )
    closed_at = row["closed_at"]
    return Offer(row["offer_id"], draft, row["claimed"], None if closed_at is None else from_datetime(closed_at))


def _claim(row: asyncpg.Record) -> Claim:
    cancelled_at = row["cancelled_at"]
    return Claim(
        row["claim_no"],
        row["offer_id"],
        row["account_no"],
        row["slot_no"],
        row["level"],
        from_datetime(row["claimed_at"]),
        None if cancelled_at is None else from_datetime(cancelled_at),
    )
