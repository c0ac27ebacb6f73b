"""Spending points on a voucher, checking and redeeming it. The caller's transaction commits."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from eventing.outbox import enqueue
from programme.instants import format_instant
from programme.terms import Programme

from loyalty import events
from loyalty.errors import (
    InsufficientPoints,
    MemberNotFound,
    PurchaseHasVoucher,
    RewardNotFound,
    VoucherAlreadyRedeemed,
    VoucherCancelled,
    VoucherExpired,
    VoucherNotApplicable,
    VoucherNotFound,
)
from loyalty.points import store as accounts
from loyalty.points.account import Account
from loyalty.points.store import Connection
from loyalty.vouchers import store
from loyalty.vouchers.codes import MalformedCode, VoucherKeys, normalised, voucher_id
from loyalty.vouchers.domain import Voucher, payable_cents, settle, valid_until_us


class Issued(NamedTuple):
    """A voucher just issued, with the code that is shown to its owner, and what is left."""

    voucher: Voucher
    code: str
    balance_points: int


class Redeemed(NamedTuple):
    """A voucher and the instant it was redeemed for the purchase in question."""

    voucher: Voucher
    redeemed_us: int


class Vouchers:
    """The voucher desk: programme and code keys in hand."""

    def __init__(self, programme: Programme, keys: VoucherKeys) -> None:
        self._programme = programme
        self._keys = keys

    async def issue(self, conn: Connection, member_id: str, reward_name: str, now_us: int) -> Issued:
        """Debit a reward's points and issue its voucher (rules 3.10).

        Raises `RewardNotFound`, `MemberNotFound`, `InsufficientPoints`.
        """
        reward = self._programme.at(now_us).rewards.get(reward_name)
        if reward is None:
            raise RewardNotFound(f"The programme has no reward {reward_name!r}.")
        account = await _locked_account(conn, member_id)
        balance = account.available_points(now_us)
        if balance < reward.points:
            raise InsufficientPoints(
                f"{reward_name} costs {reward.points} points.",
                balance_points=balance,
                needed_points=reward.points,
            )
        number = await store.draw_voucher_no(conn)
        code = self._keys.code(number, self._keys.newest)
        voucher = Voucher(
            voucher_no=number,
            voucher_id=voucher_id(code),
            key_version=self._keys.newest,
            account_no=account.account_no,
            reward=reward_name,
            value_cents=reward.value_cents,
            points=reward.points,
            issued_us=now_us,
            valid_until_us=valid_until_us(now_us, reward.valid_years),
            posted_points=reward.points,
        )
        account.post_expiry(now_us)
        charged = voucher.charges_by_year()
        account.add_debits(charged)
        account.post("reward", -reward.points, cause_id=voucher.voucher_id)
        for _, naming in await store.read_namings(conn, [voucher.voucher_id]):  # only after a restored backup
            voucher.add_naming(naming)
        settle(voucher, account, charged, None)
        await store.add_voucher(conn, voucher)
        until = format_instant(voucher.valid_until_us)
        await _save(
            conn,
            account,
            lambda event_no: events.VoucherIssued(
                member_id, event_no, voucher.voucher_id, voucher.value_cents, voucher.points, until
            ),
        )
        return Issued(voucher, code, account.available_points(now_us))

    async def check(self, conn: Connection, code: str) -> Voucher:
        """Look a voucher up by its code. Raises `VoucherNotFound`."""
        voucher = await store.find_voucher(conn, _id_of(code))
        if voucher is None:
            raise VoucherNotFound("There is no voucher with this code.")
        return voucher

    async def redeem(
        self, conn: Connection, code: str, purchase_id: str, cents_by_class: Mapping[str, int], now_us: int
    ) -> Redeemed:
        """Redeem a voucher for a purchase; idempotent per (voucher, purchase) (rules 3.10): asked again, the answer is
        the same, also if the purchase was returned meanwhile.

        Raises `VoucherNotFound`, `VoucherAlreadyRedeemed`, `VoucherCancelled`, `VoucherExpired`,
        `VoucherNotApplicable`, `PurchaseHasVoucher`.
        """
        owner = await store.find_owner(conn, _id_of(code))
        if owner is None:
            raise VoucherNotFound("There is no voucher with this code.")
        account = await _locked_account(conn, owner)
        voucher = await self.check(conn, code)
        known_use = voucher.use_of(purchase_id)
        if known_use is not None:
            return Redeemed(voucher, known_use.since_us)
        self._refuse_unusable(voucher, cents_by_class, now_us)
        key = (account.account_no, purchase_id)
        known = (await accounts.read_positions(conn, [key])).get(key)
        if known is not None and known.purchase.vouchers:
            raise PurchaseHasVoucher(f"Purchase {purchase_id} was paid with another voucher.")
        if not await store.add_redemption(conn, voucher.voucher_no, purchase_id, now_us):
            raise PurchaseHasVoucher(f"Purchase {purchase_id} has redeemed another voucher.")
        charged = voucher.charges_by_year()
        voucher.add_redemption(purchase_id, now_us)
        settle(voucher, account, charged, purchase_id)
        await store.write_vouchers(conn, [voucher])
        await _save(
            conn,
            account,
            lambda event_no: events.VoucherRedeemed(
                owner, event_no, voucher.voucher_id, purchase_id, format_instant(now_us)
            ),
        )
        return Redeemed(voucher, now_us)

    async def cancel(self, conn: Connection, voucher_id: str, now_us: int) -> Voucher:
        """Cancel an unused voucher and give its points back (rules 3.10); a second time changes nothing.

        Raises `VoucherNotFound`, `VoucherAlreadyRedeemed`.
        """
        owner = await store.find_owner(conn, voucher_id)
        if owner is None:
            raise VoucherNotFound("There is no voucher with this id.")
        account = await _locked_account(conn, owner)
        voucher = (await store.read_vouchers(conn, [voucher_id]))[voucher_id]
        if voucher.cancelled_us is not None:
            return voucher
        _refuse_used(voucher)
        charged = voucher.charges_by_year()
        voucher.cancelled_us, voucher.changed = now_us, True
        account.post_expiry(now_us)
        settle(voucher, account, charged, None)
        await store.write_vouchers(conn, [voucher])
        await _save(
            conn,
            account,
            lambda event_no: events.VoucherCancelled(owner, event_no, voucher_id, format_instant(now_us)),
        )
        return voucher

    def code_of(self, voucher: Voucher) -> str:
        """The code of a stored voucher, for its owner's eyes."""
        return self._keys.code(voucher.voucher_no, voucher.key_version)

    def _refuse_unusable(self, voucher: Voucher, cents_by_class: Mapping[str, int], now_us: int) -> None:
        _refuse_used(voucher)
        if voucher.cancelled_us is not None:
            raise VoucherCancelled("The voucher was cancelled.", cancelled_at=format_instant(voucher.cancelled_us))
        until_us = voucher.usable_until_us(self._programme)
        if now_us >= until_us:
            raise VoucherExpired("The voucher has expired.", valid_until=format_instant(until_us))
        payable = payable_cents(cents_by_class, self._programme.at(now_us))
        if payable < voucher.value_cents:
            raise VoucherNotApplicable(
                f"The voucher pays {voucher.value_cents} cents; the basket has {payable} it may pay for.",
                payable_cents=payable,
            )


def _refuse_used(voucher: Voucher) -> None:
    uses = voucher.current_uses()
    if uses:
        raise VoucherAlreadyRedeemed(
            "The voucher was redeemed for another purchase.", redeemed_at=format_instant(uses[0].since_us)
        )


def _id_of(code: str) -> str:
    try:
        return voucher_id(normalised(code))
    except MalformedCode:
        raise VoucherNotFound("There is no voucher with this code.") from None


async def _locked_account(conn: Connection, member_id: str) -> Account:
    """Lock a member's account that exists; asking for an unknown member must not create one."""
    if await accounts.find_account(conn, member_id) is None:
        raise MemberNotFound(f"There is no member {member_id}.")
    await accounts.lock_accounts(conn, [member_id])
    return (await accounts.read_accounts(conn, [member_id]))[member_id]


async def _save(conn: Connection, account: Account, event: Callable[[int], events.AccountEvent]) -> None:
    """Write the account, then publish its new entries and, as the next version, `event`."""
    posted = events.points_posted(account)
    messages = [events.account_message(account, event(account.next_event_no()))]
    await accounts.write_accounts(conn, [account])
    await enqueue(conn, [*posted, *messages])
