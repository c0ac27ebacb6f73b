"""What a checkout does with a voucher: reserve, release, redeem, undo (rules 3.10). The caller's transaction commits.

Whoever changes a voucher holds the lock of its owner's account. One voucher a purchase, whoever owns them, is held by
unique constraints.
"""

from collections.abc import Mapping
from typing import NamedTuple

from programme.instants import format_instant
from programme.terms import Programme
from webapi.problems import Problem

from loyalty import events
from loyalty.errors import (
    PurchaseHasVoucher,
    RedemptionIsFinal,
    VoucherAlreadyRedeemed,
    VoucherCancelled,
    VoucherExpired,
    VoucherNotApplicable,
    VoucherReserved,
)
from loyalty.points import store as accounts
from loyalty.points.store import Connection
from loyalty.vouchers import store
from loyalty.vouchers.domain import MINUTE_US, Voucher, payable_cents, settle
from loyalty.vouchers.lookup import Desk, find_code, lock_owner, save
from loyalty.vouchers.store import Owned
from loyalty.vouchers.uses import Reservation

UNUSABLE = (
    VoucherAlreadyRedeemed,
    VoucherReserved,
    VoucherCancelled,
    VoucherExpired,
    VoucherNotApplicable,
    PurchaseHasVoucher,
)
"""What a checkout is refused for."""


class Redeemed(NamedTuple):
    """A voucher and the instant it was redeemed for the purchase in question."""

    voucher: Voucher
    redeemed_us: int


class Checkout:
    """The checkout's calls, by the programme in hand."""

    def __init__(self, programme: Programme) -> None:
        self._programme = programme

    async def reserve(
        self, conn: Connection, code: str, purchase_id: str, cents_by_class: Mapping[str, int], now_us: int
    ) -> Voucher:
        """Hold a voucher for a purchase; the same purchase renews it. It never outlasts the voucher's own end.

        Raises what `redeem` does.
        """
        desk = await self._desk(conn, await find_code(conn, code), purchase_id, now_us)
        voucher = desk.voucher
        await self._refuse(conn, voucher, purchase_id, cents_by_class, now_us)
        until_us = now_us + self._programme.at(now_us).reservation_minutes * MINUTE_US
        until_us = min(until_us, voucher.usable_until_us(self._programme))
        if not await store.write_reservation(conn, voucher.voucher_no, purchase_id, now_us, until_us):
            raise PurchaseHasVoucher(f"Purchase {purchase_id} has reserved another voucher.")
        voucher.reservation = Reservation(purchase_id, until_us)
        at, until = format_instant(now_us), format_instant(until_us)
        await save(
            conn,
            desk.account,
            lambda no: events.VoucherReserved(desk.owner, no, voucher.voucher_id, purchase_id, at, until),
        )
        return voucher

    async def release(self, conn: Connection, code: str, purchase_id: str, now_us: int) -> Voucher:
        """End the reservation of a purchase. One that has none has nothing to release, and that is told alike.

        Raises `VoucherNotFound`.
        """
        desk = await lock_owner(conn, await find_code(conn, code))
        voucher = desk.voucher
        if not voucher.is_reserved_for(purchase_id, now_us):
            return voucher
        await store.delete_reservation(conn, voucher.voucher_no)
        voucher.reservation = None
        await save(
            conn,
            desk.account,
            lambda no: events.VoucherReleased(desk.owner, no, voucher.voucher_id, purchase_id, format_instant(now_us)),
        )
        return voucher

    async def redeem(
        self, conn: Connection, code: str, purchase_id: str, cents_by_class: Mapping[str, int], now_us: int
    ) -> Redeemed:
        """Redeem a voucher for a purchase, reserved or not; idempotent per (voucher, purchase): asked again, the answer
        is the same, also if the purchase was returned meanwhile.

        Raises `VoucherNotFound`, `VoucherAlreadyRedeemed`, `VoucherReserved`, `VoucherCancelled`, `VoucherExpired`,
        `VoucherNotApplicable`, `PurchaseHasVoucher`.
        """
        desk = await self._desk(conn, await find_code(conn, code), purchase_id, now_us)
        voucher, account = desk.voucher, desk.account
        known_use = voucher.use_of(purchase_id)
        if known_use is not None:
            return Redeemed(voucher, known_use.since_us)
        await self._refuse(conn, voucher, purchase_id, cents_by_class, now_us)
        if not await store.add_redemption(conn, voucher.voucher_no, purchase_id, now_us):
            raise PurchaseHasVoucher(f"Purchase {purchase_id} has redeemed another voucher.")
        if voucher.reservation is not None:
            await store.delete_reservation(conn, voucher.voucher_no)
            voucher.reservation = None
        charged = voucher.charges_by_year()
        voucher.add_redemption(purchase_id, now_us)
        settle(voucher, account, charged, purchase_id)
        await store.write_vouchers(conn, [voucher])
        at = format_instant(now_us)
        await save(
            conn, account, lambda no: events.VoucherRedeemed(desk.owner, no, voucher.voucher_id, purchase_id, at)
        )
        return Redeemed(voucher, now_us)

    async def undo(self, conn: Connection, code: str, purchase_id: str, now_us: int) -> Voucher:
        """Take a redemption back: the order failed. One that there is not, or no longer, is told alike.

        Raises `VoucherNotFound`, and `RedemptionIsFinal` once a purchase event has named the voucher.
        """
        desk = await lock_owner(conn, await find_code(conn, code))
        voucher, account = desk.voucher, desk.account
        if purchase_id in voucher.namings:
            raise RedemptionIsFinal(
                f"The event of purchase {purchase_id} names the voucher: only a return ends its use."
            )
        if purchase_id not in voucher.redemptions:
            return voucher
        await store.undo_redemption(conn, voucher.voucher_no, purchase_id, now_us)
        charged = voucher.charges_by_year()
        voucher.undo_redemption(purchase_id, now_us)
        settle(voucher, account, charged, purchase_id)
        await store.write_vouchers(conn, [voucher])
        at = format_instant(now_us)
        await save(conn, account, lambda no: events.VoucherUndone(desk.owner, no, voucher.voucher_id, purchase_id, at))
        return voucher

    async def refusal(
        self, conn: Connection, voucher: Voucher, purchase_id: str, cents_by_class: Mapping[str, int], now_us: int
    ) -> Problem | None:
        """What `redeem` would raise for a voucher just read, and changes nothing."""
        if voucher.use_of(purchase_id) is not None:
            return None
        try:
            await self._refuse(conn, voucher, purchase_id, cents_by_class, now_us)
        except UNUSABLE as refused:
            return refused
        return None

    async def _desk(self, conn: Connection, owned: Owned, purchase_id: str, now_us: int) -> Desk:
        """Lock, unless it is plain without the lock that another purchase has used the voucher.

        Of many who want one voucher all but the first are told so at once, and need not queue for the lock.
        """
        if owned.redeemed_for is not None and owned.redeemed_for != purchase_id:
            voucher = (await store.read_vouchers(conn, [owned.voucher_id]))[owned.voucher_id]
            if voucher.use_of(purchase_id) is None:
                _refuse_used(voucher)
        return await lock_owner(conn, owned)

    async def _refuse(
        self, conn: Connection, voucher: Voucher, purchase_id: str, cents_by_class: Mapping[str, int], now_us: int
    ) -> None:
        self._refuse_unusable(voucher, purchase_id, cents_by_class, now_us)
        key = (voucher.account_no, purchase_id)
        known = (await accounts.read_positions(conn, [key])).get(key)
        if known is not None and known.purchase.vouchers:
            raise PurchaseHasVoucher(f"Purchase {purchase_id} was paid with another voucher.")
        if await store.has_other_voucher(conn, voucher.voucher_no, purchase_id, now_us):
            raise PurchaseHasVoucher(f"Purchase {purchase_id} has redeemed or reserved another voucher.")

    def _refuse_unusable(
        self, voucher: Voucher, purchase_id: str, cents_by_class: Mapping[str, int], now_us: int
    ) -> None:
        _refuse_used(voucher)
        if voucher.cancelled_us is not None:
            raise VoucherCancelled("The voucher was cancelled.", cancelled_at=format_instant(voucher.cancelled_us))
        until_us = voucher.usable_until_us(self._programme)
        if now_us >= until_us:
            raise VoucherExpired("The voucher has expired.", valid_until=format_instant(until_us))
        held = voucher.reservation_at(now_us)
        if held is not None and held.purchase_id != purchase_id:
            raise VoucherReserved(
                "The voucher is reserved for another purchase.", reserved_until=format_instant(held.until_us)
            )
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
