"""Issuing, checking, cancelling and listing vouchers. The caller's transaction commits."""

from collections.abc import Sequence
from typing import NamedTuple

from programme.calendar import civil_year
from programme.instants import format_instant
from programme.terms import Programme, Reward

from loyalty import events
from loyalty.errors import VoucherAlreadyRedeemed
from loyalty.points.account import Account
from loyalty.points.store import Connection
from loyalty.vouchers import store
from loyalty.vouchers.checkout import Checkout
from loyalty.vouchers.codes import VoucherKeys, voucher_id
from loyalty.vouchers.domain import Voucher, VoucherState, settle, valid_until_us
from loyalty.vouchers.lookup import find_code, find_id, lock_owner, save

MOST_LOOKED_AT = 1_000
"""Vouchers read for one page of those in one state."""


class Issued(NamedTuple):
    """A voucher just issued, with the code that is shown to its owner, and what is left."""

    voucher: Voucher
    code: str
    balance_points: int


class Payment(NamedTuple):
    """A reward, its name in the terms, and the locked account that can pay for it."""

    account: Account
    name: str
    reward: Reward
    now_us: int


class Vouchers(Checkout):
    """The voucher desk: programme and code keys in hand."""

    def __init__(self, programme: Programme, keys: VoucherKeys) -> None:
        super().__init__(programme)
        self._keys = keys

    async def issue(self, conn: Connection, payments: Sequence[Payment]) -> list[Issued]:
        """Debit rewards that are vouchers, and store these (rules 3.10). The caller saves the accounts."""
        if not payments:
            return []
        numbers = await store.draw_voucher_nos(conn, len(payments))
        codes = [self._keys.code(number, self._keys.newest) for number in numbers]
        vouchers = [self._new(*each) for each in zip(payments, numbers, codes, strict=True)]
        by_id = {voucher.voucher_id: voucher for voucher in vouchers}
        for named_id, naming in await store.read_namings(conn, by_id.keys()):  # only after a restored backup
            by_id[named_id].add_naming(naming)
        for payment, voucher in zip(payments, vouchers, strict=True):
            _debit(payment.account, voucher, payment.now_us)
        await store.add_vouchers(conn, vouchers)
        return [
            Issued(voucher, code, payment.account.available_points(payment.now_us))
            for payment, voucher, code in zip(payments, vouchers, codes, strict=True)
        ]

    def _new(self, payment: Payment, number: int, code: str) -> Voucher:
        voucher = Voucher(
            voucher_no=number,
            voucher_id=voucher_id(code),
            key_version=self._keys.newest,
            account_no=payment.account.account_no,
            reward=payment.name,
            value_cents=payment.reward.value_cents,
            points=payment.reward.points,
            issued_us=payment.now_us,
            valid_until_us=valid_until_us(payment.now_us, payment.reward.valid_years),
            posted_points=payment.reward.points,
        )
        voucher.notice_due_us = voucher.next_notice_us(self._programme, payment.now_us)
        return voucher

    async def check(self, conn: Connection, code: str) -> Voucher:
        """Look a voucher up by its code. Raises `VoucherNotFound`."""
        owned = await find_code(conn, code)
        return (await store.read_vouchers(conn, [owned.voucher_id]))[owned.voucher_id]

    async def cancel(self, conn: Connection, voucher_id: str, now_us: int) -> Voucher:
        """Cancel an unused voucher, reserved or not, and give its points back (rules 3.10); a second time changes
        nothing.

        Raises `VoucherNotFound`, `VoucherAlreadyRedeemed`.
        """
        desk = await lock_owner(conn, await find_id(conn, voucher_id))
        voucher, account = desk.voucher, desk.account
        if voucher.cancelled_us is not None:
            return voucher
        if uses := voucher.current_uses():
            raise VoucherAlreadyRedeemed("A purchase has used it.", redeemed_at=format_instant(uses[0].since_us))
        charged = voucher.charges_by_year()
        voucher.cancelled_us, voucher.changed = now_us, True
        if voucher.reservation is not None:
            await store.delete_reservation(conn, voucher.voucher_no)
            voucher.reservation = None
        account.post_expiry(now_us)
        settle(voucher, account, charged, None)
        await store.write_vouchers(conn, [voucher])
        at = format_instant(now_us)
        await save(conn, account, lambda event_no: events.VoucherCancelled(desk.owner, event_no, voucher_id, at))
        return voucher

    async def page(
        self,
        conn: Connection,
        account_no: int,
        state: VoucherState | None,
        before_no: int | None,
        limit: int,
        now_us: int,
    ) -> tuple[Sequence[Voucher], int | None]:
        """At most `limit` vouchers of an account with a smaller number than `before_no`, newest first, and the number
        to go on before. Those in one state only are looked for among the next `MOST_LOOKED_AT`.
        """
        fetched = limit + 1 if state is None else MOST_LOOKED_AT
        found = await store.vouchers_before(conn, account_no, before_no, fetched)
        fitting = [each for each in found if state is None or each.state_at(now_us, self._programme) == state]
        if len(fitting) > limit:
            return fitting[:limit], fitting[limit - 1].voucher_no
        return fitting, found[-1].voucher_no if len(found) == fetched else None

    def code_of(self, voucher: Voucher) -> str:
        """The code of a stored voucher, for its owner's eyes."""
        return self._keys.code(voucher.voucher_no, voucher.key_version)


def _debit(account: Account, voucher: Voucher, now_us: int) -> None:
    account.post_expiry(now_us)
    charged = {civil_year(voucher.issued_us): voucher.points}
    account.add_debits(charged)
    account.post("reward", -voucher.points, cause_id=voucher.voucher_id)
    settle(voucher, account, charged, None)
