"""The SQL that adds entries to the ledger. Nothing else is ever done to them."""

from collections.abc import Sequence

from eventing.binary_copy import copy_packed
from eventing.database import Connection
from msgspec.structs import astuple

from loyalty.points.account import Entry
from loyalty.points.rows import ENTRY_COLUMNS, columns, packed_entry

FEW = 100
ADD_FEW = f"""
    INSERT INTO ledger_entry ({", ".join(ENTRY_COLUMNS)})
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[])
"""


async def add_entries(conn: Connection, entries: Sequence[Entry]) -> None:
    """Add new entries: many by COPY, which takes less for each; few by a statement, which is one way to the server and
    back where COPY is two, and somebody waits for the account meanwhile.
    """
    if len(entries) > FEW:
        await copy_packed(conn, "ledger_entry", ENTRY_COLUMNS, [packed_entry(entry) for entry in entries])
    elif entries:
        await conn.execute(ADD_FEW, *columns([astuple(entry) for entry in entries], len(ENTRY_COLUMNS)))
