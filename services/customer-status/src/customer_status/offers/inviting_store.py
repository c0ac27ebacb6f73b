"""All SQL on the offers that members are told of."""

from collections.abc import Collection

from eventing.database import Connection
from programme.contacts import OpenOffer
from programme.instants import from_datetime, to_datetime
from programme.terms import LEVELS

from customer_status.offers.store import FREE_SLOT, OFFER, OPEN, offer_from_row

MOST_INVITING = 100


async def inviting_offers(conn: Connection, at_us: int) -> list[OpenOffer]:
    """Open offers that members are told of and that have a seat left; at most `MOST_INVITING`, the oldest."""
    rows = await conn.fetch(
        f"""
        {OFFER} WHERE offer_id > $1 AND {OPEN} AND invites AND (capacity IS NULL OR claimed < capacity)
        AND (kind <> 'consultation' OR {FREE_SLOT}) ORDER BY offer_id LIMIT {MOST_INVITING}""",
        0,
        to_datetime(at_us),
        list(LEVELS),
    )
    offers = [offer_from_row(row) for row in rows]
    return [
        OpenOffer(each.offer_id, each.draft.title, each.draft.least_level, each.draft.opens_us, each.draft.closes_us)
        for each in offers
    ]


async def last_opened_us(conn: Connection, at_us: int) -> int | None:
    """When members last got something new to be told of: an offer that opened, or an open one that was changed."""
    opened = await conn.fetchval(
        """
        SELECT max(greatest(opens_at, changed_at)) FROM offer
        WHERE invites AND closed_at IS NULL AND opens_at <= $1 AND closes_at > $1""",
        to_datetime(at_us),
    )
    return None if opened is None else from_datetime(opened)


async def claimed_offers(
    conn: Connection, account_nos: Collection[int], offer_ids: Collection[int]
) -> set[tuple[int, int]]:
    """Which of these accounts hold a claim of which of these offers."""
    rows = await conn.fetch(
        """
        SELECT account_no, offer_id FROM offer_claim
        WHERE account_no = ANY ($1::bigint[]) AND offer_id = ANY ($2::bigint[]) AND cancelled_at IS NULL""",
        list(account_nos),
        list(offer_ids),
    )
    return {(row["account_no"], row["offer_id"]) for row in rows}
