"""Everything that is held about one member (GDPR Art. 15 and 20), read in one snapshot."""

from typing import NamedTuple

from programme.terms import Programme

from loyalty.audit.store import AccountHistory, history_of
from loyalty.errors import ExportTooLarge, MemberNotFound
from loyalty.export.store import rows_of
from loyalty.members.domain import Cause, LedgerLine
from loyalty.members.service import Standing, explain_entries, standing_now
from loyalty.members.store import entries_before
from loyalty.points.store import Connection, find_account

MOST_ROWS = 50_000
"""Entries, purchases and returns; some 20 MiB of JSON. Fifty years of three purchases a day are more."""


class Export(NamedTuple):
    """The member's standing, history and ledger."""

    standing: Standing
    history: AccountHistory
    entries: list[tuple[LedgerLine, Cause]]


async def export(conn: Connection, programme: Programme, member_id: str, now_us: int) -> Export:
    """Raises `MemberNotFound`, `ExportTooLarge`."""
    account = await find_account(conn, member_id)
    if account is None:
        raise MemberNotFound(f"There is no member {member_id}.")
    rows = await rows_of(conn, account.account_no)
    if rows > MOST_ROWS:
        raise ExportTooLarge(f"{rows} rows are held, an answer has at most {MOST_ROWS}.", rows=rows)
    standing = await standing_now(conn, programme, member_id, now_us)
    history = await history_of(conn, member_id)
    assert standing is not None, "the same snapshot"
    assert history is not None, "the same snapshot"
    lines = await entries_before(conn, account.account_no, None, MOST_ROWS)
    return Export(standing, history, await explain_entries(conn, account.account_no, lines))
