"""From a code or a member to the locked account that is to change, and its way back to the tables.

The only place that says that there is no voucher with a code: whoever guesses codes comes by here.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from eventing.outbox import enqueue
from eventing.records import Message

from loyalty import events
from loyalty.errors import VoucherNotFound
from loyalty.points import store as accounts
from loyalty.points.account import Account
from loyalty.points.store import Connection
from loyalty.vouchers import store
from loyalty.vouchers.codes import MalformedCode, normalised, voucher_id
from loyalty.vouchers.domain import Voucher
from loyalty.vouchers.store import Owned


class Desk(NamedTuple):
    """A voucher and its owner's account, which is locked, and the owner's name."""

    voucher: Voucher
    account: Account
    owner: str


async def find_code(conn: Connection, code: str) -> Owned:
    """Whose voucher a code is. Raises `VoucherNotFound`: unknown, malformed and erased owners' codes answer alike."""
    try:
        owned = await store.find_owner(conn, voucher_id(normalised(code)))
    except MalformedCode:
        owned = None
    if owned is None:
        raise VoucherNotFound("There is no voucher with this code.")
    return owned


async def find_id(conn: Connection, voucher_id: str) -> Owned:
    """Whose voucher an id names. Raises `VoucherNotFound`."""
    owned = await store.find_owner(conn, voucher_id)
    if owned is None:
        raise VoucherNotFound("There is no voucher with this id.")
    return owned


async def lock_owner(conn: Connection, owned: Owned) -> Desk:
    """Lock the owner's account, and read it and the voucher after. Raises `VoucherNotFound` if just erased."""
    account = await _locked(conn, owned.account_no)
    if account is None or account.member_id is None:
        raise VoucherNotFound("There is no voucher with this code.")
    voucher = (await store.read_vouchers(conn, [owned.voucher_id]))[owned.voucher_id]
    return Desk(voucher, account, account.member_id)


async def save(conn: Connection, account: Account, event: Callable[[int], events.AccountEvent]) -> None:
    """Write the account, then publish its new entries and, as the next version, `event`."""
    await save_all(conn, [(account, event)])


async def save_all(conn: Connection, changes: Sequence[tuple[Account, Callable[[int], events.AccountEvent]]]) -> None:
    """`save` for several accounts, each once, in as many statements as for one."""
    messages: list[Message] = []
    for account, event in changes:
        messages += events.points_posted(account)
        messages.append(events.account_message(account, event(account.next_event_no())))
    await accounts.write_accounts(conn, [account for account, _ in changes])
    await enqueue(conn, messages)


async def _locked(conn: Connection, account_no: int) -> Account | None:
    """By its number: to lock by a name would create the account of a member who was erased meanwhile."""
    return next(iter(await accounts.lock_accounts(conn, (), [account_no])), None)
