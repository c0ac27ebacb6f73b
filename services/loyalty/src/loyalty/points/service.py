"""Batches of events into the ledger: lock, read, decide in Python, write. One transaction a batch, committed by the
worker.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from eventing.failures import StartOver
from eventing.forgotten import Secret
from eventing.records import Message
from eventing.subscription import Decoded
from eventing.transaction import Transaction
from programme.facts import Purchase, Return
from programme.terms import Programme
from programme.timeline import TimelineChanged

from loyalty.events import points_posted, voucher_used
from loyalty.points import store
from loyalty.points.account import Account
from loyalty.points.domain import Key, Ledger, Outcome, Position, first_difference_us
from loyalty.points.store import Connection
from loyalty.vouchers import store as vouchers

Fact = Purchase | Return

ERASED = "erased_member"
"""What events of an erased member are counted as."""


class PostPurchases:
    """Handles `kundenclub.purchases`."""

    def __init__(self, programme: Programme, secret: Secret) -> None:
        self._programme = programme
        self._secret = secret
        self._expects_repeats = False

    async def __call__(self, transaction: Transaction, batch: Sequence[Decoded[Fact]]) -> None:
        """Post purchases and returns, in the order of the log.

        Who sends again sends much again. After a batch that was mostly repeats they are looked for first: what is known
        already changes nothing, so nothing has to be locked for it.
        """
        unknown = await _without_repeats(transaction.conn, batch) if self._expects_repeats else batch
        repeats = len(batch) - len(unknown)
        if unknown:
            repeats += await self._post(transaction, unknown)
        self._expects_repeats = 2 * repeats > len(batch)

    async def _post(self, transaction: Transaction, batch: Sequence[Decoded[Fact]]) -> int:
        """Returns how many were repeats."""
        facts = [decoded.value for decoded in batch]
        ledger = await self._load(transaction.conn, facts, in_order=not transaction.starts_over)
        repeats = 0
        for event, fact in batch:
            if fact.member_id not in ledger.accounts:
                transaction.ignore(event, ERASED)
                continue
            received_us = event.record.timestamp_us
            if isinstance(fact, Purchase):
                outcome, key = ledger.add_purchase(fact, received_us), fact.purchase_id
            else:
                outcome, key = ledger.add_return(fact, received_us), fact.return_id
            if outcome is Outcome.CONFLICT:
                transaction.dead_letter(event, "conflict", f"{key} is known with other content; the first one stays")
            elif outcome is Outcome.REPEAT:
                repeats += 1
        with transaction.taking_for_new():
            await _save(transaction, ledger)
        return repeats

    async def _load(self, conn: Connection, facts: Sequence[Fact], *, in_order: bool) -> Ledger:
        """With `in_order`, a purchase later than all of its member's is taken for new without a look, as nearly all
        are. One that comes again with a later date, which is a conflict, is stopped by the primary key.
        """
        members = {fact.member_id for fact in facts}
        named = await _vouchers_concerned(conn, facts)
        owner_nos = await vouchers.owners_of(conn, named) if named else set()
        locked = await store.lock_accounts(conn, members, owner_nos, self._secret)
        accounts = {a.member_id: a for a in locked if a.member_id is not None and a.member_id in members}
        if len(accounts) < len(members):
            facts = [fact for fact in facts if fact.member_id in accounts]
        keys: set[Key] = {(accounts[fact.member_id].account_no, fact.purchase_id) for fact in facts}
        new = _later_than_all(accounts, facts) if in_order else set()
        looked_for = list(keys - new)
        positions = await store.read_positions(conn, looked_for) if looked_for else {}
        ledger = Ledger(self._programme, accounts, positions=positions)
        if named:
            ledger.owners = {account.account_no: account for account in locked}
            await _load_vouchers(conn, ledger, named, owner_nos)
        returns = [(accounts[f.member_id].account_no, f.return_id) for f in facts if isinstance(f, Return)]
        if returns:
            ledger.returns = await store.read_returns(conn, returns)
            _check_vouchers_are_loaded(ledger, facts, named)
        expectant = {account.account_no for account in accounts.values() if account.waiting_returns}
        unknown = [key for key in keys if key[0] in expectant and key not in ledger.positions]
        if unknown:
            ledger.waiting = await store.read_returns_of(conn, unknown)
        return ledger


def _later_than_all(accounts: Mapping[str, Account], facts: Sequence[Fact]) -> set[Key]:
    """The keys of the purchases that occurred after every known one of their member, and that nothing else names."""
    later: set[Key] = set()
    for fact in facts:
        if isinstance(fact, Purchase):
            account = accounts[fact.member_id]
            if account.last_purchase_us is None or fact.occurred_us > account.last_purchase_us:
                later.add((account.account_no, fact.purchase_id))
    return later - {(accounts[f.member_id].account_no, f.purchase_id) for f in facts if isinstance(f, Return)}


async def _without_repeats(conn: Connection, batch: Sequence[Decoded[Fact]]) -> list[Decoded[Fact]]:
    """All but the purchases that are stored just so. What a purchase was never changes, so no lock is needed."""
    purchases = [decoded.value for decoded in batch if isinstance(decoded.value, Purchase)]
    known = await store.find_purchases(conn, purchases)
    return [
        decoded for decoded in batch if known.get((decoded.value.member_id, decoded.value.purchase_id)) != decoded.value
    ]


async def _vouchers_concerned(conn: Connection, facts: Sequence[Fact]) -> set[str]:
    """The vouchers whose uses the batch may change: their owners are to be locked with the members."""
    named = {voucher_id for fact in facts if isinstance(fact, Purchase) for voucher_id in fact.vouchers}
    complete = [(fact.member_id, fact.purchase_id) for fact in facts if isinstance(fact, Return) and fact.complete]
    return named | await store.vouchers_named_by(conn, complete) if complete else named


async def _load_vouchers(conn: Connection, ledger: Ledger, named: set[str], owner_nos: set[int]) -> None:
    ledger.vouchers = await vouchers.read_vouchers(conn, named)
    if not owner_nos.issuperset(voucher.account_no for voucher in ledger.vouchers.values()):
        raise StartOver("a voucher issued meanwhile is named whose owner is not locked")


def _check_vouchers_are_loaded(ledger: Ledger, facts: Sequence[Fact], named: set[str]) -> None:
    """A purchase that came between our look at its vouchers and our lock may name others (design 5.3)."""
    for fact in facts:
        if isinstance(fact, Return) and fact.complete:
            position = ledger.positions.get((ledger.accounts[fact.member_id].account_no, fact.purchase_id))
            if position is not None and not named.issuperset(position.purchase.vouchers):
                raise StartOver("a purchase committed meanwhile names vouchers whose owners are not locked")


class ApplyTimelines:
    """Handles `kundenclub.customer-status`: rates purchases by the newest timeline of their member."""

    def __init__(self, programme: Programme, secret: Secret) -> None:
        self._programme = programme
        self._secret = secret

    async def __call__(self, transaction: Transaction, batch: Sequence[Decoded[TimelineChanged]]) -> None:
        """Apply timelines in the order of the log and post what changes by them."""
        conn = transaction.conn
        members = {decoded.value.member_id for decoded in batch}
        locked = await store.lock_accounts(conn, members, secret=self._secret)
        accounts = {account.member_id: account for account in locked if account.member_id is not None}
        changes = [decoded.value for decoded in batch if decoded.value.member_id in accounts]
        for event, change in batch:
            if change.member_id not in accounts:
                transaction.ignore(event, ERASED)
        since = _instants_to_rate_from(accounts, changes)
        ledger = Ledger(self._programme, accounts)
        if since:
            ledger.positions = await store.read_positions_since(conn, since)
        by_account: dict[int, dict[str, Position]] = {}
        for (account_no, purchase_id), position in ledger.positions.items():
            by_account.setdefault(account_no, {})[purchase_id] = position
        for change in changes:
            ledger.apply_timeline(change, by_account.get(accounts[change.member_id].account_no, {}))
        await store.write_timelines(conn, [account for account in accounts.values() if account.has_new_timeline])
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
    await vouchers.write_vouchers(conn, ledger.vouchers.values())
    accounts = ledger.every_account()
    if transaction.publishes:
        for message in _messages(accounts, ledger):
            transaction.publish(message)
    await store.write_accounts(conn, accounts)


def _messages(accounts: Iterable[Account], ledger: Ledger) -> Iterator[Message]:
    for account in accounts:
        yield from points_posted(account)
    for new_use in ledger.new_uses:
        yield from voucher_used(*new_use)
