"""Everything that is held about one member (GDPR Art. 15 and 20), read in one snapshot."""

from typing import NamedTuple

from eventing.database import Connection

from customer_status.audit.store import History, histories_of
from customer_status.errors import ExportTooLarge, MemberNotFound
from customer_status.export.store import Stored, rows_of, stored
from customer_status.tiers.store import find_account_no

MOST_ROWS = 50_000
"""Of all tables together; some 20 MiB of JSON. Forty years of three purchases a day are fewer."""


class Export(NamedTuple):
    """What was bought and given back, and what features keep."""

    history: History
    stored: Stored


async def export(conn: Connection, member_id: str) -> Export:
    """Raises `MemberNotFound`, `ExportTooLarge`."""
    account_no = await find_account_no(conn, member_id)
    if account_no is None:
        raise MemberNotFound(f"There is no member {member_id}.")
    rows = await rows_of(conn, account_no)
    if rows > MOST_ROWS:
        raise ExportTooLarge(f"{rows} rows are held, an answer has at most {MOST_ROWS}.", rows=rows)
    [history] = (await histories_of(conn, [member_id])).values()
    return Export(history, await stored(conn, account_no))
