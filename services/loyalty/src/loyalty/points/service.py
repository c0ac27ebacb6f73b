"""Batches of events into the ledger: lock, read, decide in Python, write. One transaction a batch, committed by the
worker.
"""

from collections.abc import Sequence

from eventing.subscription import Decoded
from eventing.transaction import Transaction
from programme.facts import Purchase, Return
from programme.terms import Programme
from programme.timeline import TimelineChanged

from loyalty.events import points_posted
from loyalty.points import store
from loyalty.points.domain import Account, Key, Ledger, Outcome, Position, first_difference_us

Fact = Purchase | Return


class PostPurchases:
    """Handles `kundenclub.purchases`."""

    def __init__(self, programme: Programme) -> None:
        self._programme = programme

    async def __call__(self, transaction: Transaction, batch: Sequence[Decoded[Fact]]) -> None:
        """Post purchases and returns, in the order of the log."""
        facts = [decoded.value for decoded in batch]
        ledger = await self._load(transaction, facts)
        for event, fact in batch:
            received_us = event.record.timestamp_us
            if isinstance(fact, Purchase):
                outcome, key = ledger.add_purchase(fact, received_us), fact.purchase_id
            else:
                outcome, key = ledger.add_return(fact, received_us), fact.return_id
            if outcome is Outcome.CONFLICT:
                transaction.dead_letter(event, "conflict", f"{key} is known with other content; the first one stays")
        await _save(transaction, ledger)

    async def _load(self, transaction: Transaction, facts: Sequence[Fact]) -> Ledger:
        conn = transaction.conn
        members = {fact.member_id for fact in facts}
        await store.lock_accounts(conn, members)
        accounts = await store.read_accounts(conn, members)
        keys: set[Key] = {(accounts[fact.member_id].account_no, fact.purchase_id) for fact in facts}
        ledger = Ledger(self._programme, accounts, positions=await store.read_positions(conn, list(keys)))
        returns = [(accounts[f.member_id].account_no, f.return_id) for f in facts if isinstance(f, Return)]
        if returns:
            ledger.returns = await store.read_returns(conn, returns)
        expectant = {account.account_no for account in accounts.values() if account.waiting_returns}
        unknown = [key for key in keys if key[0] in expectant and key not in ledger.positions]
        if unknown:
            ledger.waiting = await store.read_returns_of(conn, unknown)
        return ledger


class ApplyTimelines:
    """Handles `kundenclub.customer-status`: rates purchases by the newest timeline of their member."""

    def __init__(self, programme: Programme) -> None:
        self._programme = programme

    async def __call__(self, transaction: Transaction, batch: Sequence[Decoded[TimelineChanged]]) -> None:
        """Apply timelines in the order of the log and post what changes by them."""
        conn = transaction.conn
        changes = [decoded.value for decoded in batch]
        members = {change.member_id for change in changes}
        await store.lock_accounts(conn, members)
        accounts = await store.read_accounts(conn, members)
        since = _instants_to_rate_from(accounts, changes)
        ledger = Ledger(self._programme, accounts)
        if since:
            ledger.positions = await store.read_positions_since(conn, since)
        by_account: dict[int, dict[str, Position]] = {}
        for (account_no, purchase_id), position in ledger.positions.items():
            by_account.setdefault(account_no, {})[purchase_id] = position
        for change in changes:
            ledger.apply_timeline(change, by_account.get(accounts[change.member_id].account_no, {}))
        await _save(transaction, ledger)


def _instants_to_rate_from(accounts: dict[str, Account], changes: Sequence[TimelineChanged]) -> dict[int, int]:
    """For each account whose purchases may get another rate, the earliest instant after which they may.

    Compared with the stored timeline only: where two new ones of a batch differ, at least one of them differs from
    the stored one. Most timelines only move a lapse in the future, and then no position is read at all.
    """
    since: dict[int, int] = {}
    for change in changes:
        account = accounts[change.member_id]
        first = first_difference_us(account.timeline, change.steps)
        if first is not None and account.last_purchase_us is not None and first < account.last_purchase_us:
            since[account.account_no] = min(first, since.get(account.account_no, first))
    return since


async def _save(transaction: Transaction, ledger: Ledger) -> None:
    conn = transaction.conn
    await store.write_positions(conn, ledger.positions.values())
    await store.write_returns(conn, ledger.returns.values())
    for account in ledger.accounts.values():
        for message in points_posted(account):
            transaction.publish(message)
    await store.write_accounts(conn, ledger.accounts.values())
