"""What a rebuild compares and repairs here: accounts, positions, returns and entries (docs/architecture.md, 5.8)."""

import asyncio
from collections.abc import Iterable, Sequence

from eventing.database import Connection
from eventing.rebuild_report import Difference
from eventing.transaction import Transaction

from loyalty.audit.store import AccountHistory, EntrySum, entry_sums, histories_of
from loyalty.events import points_posted
from loyalty.points.account import Account
from loyalty.points.store import (
    lock_accounts,
    write_accounts,
    write_positions,
    write_returns,
    write_timelines,
)
from loyalty.rebuild import store
from loyalty.rebuild.differences import NOT_REPAIRED, Sides, differences, points_by_year, posted_of
from loyalty.vouchers.domain import settle
from loyalty.vouchers.store import owners_of, read_vouchers, write_vouchers


class AccountSides:
    """Accounts, by member_id. Erased ones have none and are left out."""

    async def keys_after(self, conn: Connection, key: str, limit: int) -> list[str]:
        """The next members, as bytes sort."""
        return await store.members_after(conn, key, limit)

    async def differences(self, live: Connection, copies: Connection, keys: Sequence[str]) -> list[Difference]:
        """Only members whose rows have another fingerprint are read: those who spent points, and hardly any other."""
        mine, right = await asyncio.gather(store.fingerprints(live, keys), store.fingerprints(copies, keys))
        suspects = [key for key in keys if mine.get(key) != right.get(key) or not mine[key].is_consistent]
        if not suspects:
            return []
        return [
            Difference(key, cause, detail)
            for key, sides in (await _sides(live, copies, suspects)).items()
            for cause, detail in differences(sides)
        ]

    async def repair(self, live: Connection, copies: Connection, keys: Sequence[str]) -> None:
        """Put the positions and returns of the copies in the place of those that differ, and post `due - posted`.

        Members whom only the log knows, or of whom a timeline or a voucher is gone, stay as they are. Vouchers follow
        the purchases that name them, so their owners are locked and settled too.
        """
        known = [history.account.member_id or "" for history in await histories_of(live, keys)]
        if not known:
            return
        sides = await _sides(live, copies, known)
        named = _named(sides.values())
        owner_nos = await owners_of(live, named)
        locked = await lock_accounts(live, known, owner_nos)
        every = await _sides(live, copies, known)
        # Whoever was erased before the lock was ours has no account to repair.
        wrong = {key: each for key, each in every.items() if each.live is not None and _is_repairable(each)}
        further = owner_nos - {_live(each).account.account_no for each in wrong.values()}
        owners = {owner.account_no: owner for owner in locked if owner.account_no in further}
        charged_before = {
            voucher_id: voucher.charges_by_year() for voucher_id, voucher in (await read_vouchers(live, named)).items()
        }
        for each in wrong.values():
            await _replace_rows(live, each)
        vouchers = await read_vouchers(live, named)
        for voucher_id, voucher in vouchers.items():
            if (owner := owners.get(voucher.account_no)) is not None:
                settle(voucher, owner, charged_before[voucher_id], None)
        await write_vouchers(live, vouchers.values())
        accounts = [*owners.values()]
        # Their vouchers are read again: which purchases name them may have changed.
        for each in (await _sides(live, copies, list(wrong))).values():
            accounts.append(_post_differences(each))
            await write_vouchers(live, _live(each).vouchers)
        await _save(live, accounts)


async def _sides(live: Connection, copies: Connection, keys: Sequence[str]) -> dict[str, Sides]:
    kept = {history.account.member_id: history for history in await histories_of(live, keys)}
    right = {history.account.member_id: history for history in await histories_of(copies, keys)}
    numbers = [history.account.account_no for history in kept.values()]
    sums: dict[int, list[EntrySum]] = {number: [] for number in numbers}
    for row in await entry_sums(live, numbers):
        sums[row.account_no].append(row)
    by_reward = await store.points_of_rewards(live, numbers)
    by_adjustment = await store.points_of_adjustments(live, numbers)
    found = {}
    for key in keys:
        history = kept.get(key)
        number = history.account.account_no if history else 0
        posted = posted_of(sums.get(number, []), by_reward.get(number, {}), by_adjustment.get(number, {}))
        found[key] = Sides(history, posted, right.get(key))
    return found


def _is_repairable(sides: Sides) -> bool:
    causes = [cause for cause, _ in differences(sides)]
    return bool(causes) and not NOT_REPAIRED.intersection(causes)


async def _replace_rows(live: Connection, sides: Sides) -> None:
    """The rows of the log instead of the live ones; what is posted for them is put right by `_post_differences`."""
    number = _live(sides).account.account_no
    await store.delete_rows(live, number)
    if sides.right is not None:
        for position in sides.right.positions:
            position.account_no, position.posted_points, position.is_new = number, position.due_points(), True
        for row in sides.right.returns:
            row.account_no, row.is_new = number, True
        await write_positions(live, sides.right.positions)
        await write_returns(live, sides.right.returns)


def _post_differences(sides: Sides) -> Account:
    """Make the account's row that of its entries, then add entries until they are what is due."""
    account, right = _live(sides).account, sides.right.account if sides.right else Account(0, None)
    timeline = right.timeline, right.timeline_version
    account.has_new_timeline = timeline != (account.timeline, account.timeline_version)
    account.timeline, account.timeline_version = timeline
    account.waiting_returns, account.last_purchase_us = right.waiting_returns, right.last_purchase_us
    posted, due = sides.posted, sides.due
    account.balance_points, account.last_entry_no = posted.balance, posted.last_entry_no
    account.expired_points, account.changed = posted.expired, True
    account.expiry_year = min(account.expiry_year, right.expiry_year) or account.expiry_year
    for purchase_id in sorted(posted.by_purchase.keys() | due.keys()):
        points = due.get(purchase_id, 0) - posted.by_purchase.get(purchase_id, 0)
        account.post("rebuild", points, purchase_id=purchase_id, cause_id="rebuild")
    for voucher in _live(sides).vouchers:
        points = voucher.due_points() - posted.by_reward.get(voucher.voucher_id, 0)
        account.post("rebuild", -points, cause_id=voucher.voucher_id)
        voucher.posted_points, voucher.changed = voucher.due_points(), True
        voucher.notice_due_us = None if voucher.has_ended() else voucher.issued_us  # the job finds out when
    for product in _live(sides).products:
        points = product.points - posted.by_reward.get(product.order_id, 0)
        account.post("rebuild", -points, cause_id=product.order_id)
    for adjustment in _live(sides).adjustments:
        points = adjustment.posted_points() - posted.by_adjustment.get(adjustment.adjustment_id, 0)
        account.post("rebuild", points, cause_id=f"adjustment {adjustment.adjustment_id}")
    account.earned_by_year, account.debited_by_year = points_by_year(sides)
    account.correct_expiry()
    return account


async def _save(live: Connection, accounts: Sequence[Account]) -> None:
    transaction = Transaction(live)
    for account in accounts:
        for message in points_posted(account):
            transaction.publish(message)
    await write_accounts(live, accounts)
    await write_timelines(live, [account for account in accounts if account.has_new_timeline])
    await transaction.flush()


def _live(sides: Sides) -> AccountHistory:
    assert sides.live is not None, "members without an account are left out"
    return sides.live


def _named(every: Iterable[Sides]) -> set[str]:
    """The vouchers that purchases of these members name, on either side."""
    histories = [history for sides in every for history in (sides.live, sides.right) if history is not None]
    return {voucher_id for each in histories for p in each.positions for voucher_id in p.purchase.vouchers}
