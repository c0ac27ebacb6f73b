"""Spending points on what the terms in force offer. The caller's transaction commits."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from programme.instants import format_instant
from programme.terms import Programme
from webapi.problems import Problem

from loyalty import events
from loyalty.errors import InsufficientPoints, MemberNotFound, RewardNotFound
from loyalty.points import store as accounts
from loyalty.points.account import Account
from loyalty.points.store import Connection
from loyalty.rewards import store
from loyalty.rewards.domain import ProductOrder
from loyalty.vouchers.lookup import save_all
from loyalty.vouchers.service import Issued, Payment, Vouchers


class Order(NamedTuple):
    """A reward, by its name in the terms, for a member; `now_us` is the time of the request."""

    member_id: str
    reward_name: str
    now_us: int


class Ordered(NamedTuple):
    """A product just ordered, and what is left."""

    product: ProductOrder
    balance_points: int


Bought = Issued | Ordered


async def spend(
    conn: Connection, programme: Programme, vouchers: Vouchers, member_id: str, reward_name: str, now_us: int
) -> Bought:
    """`spend_all` for one. Raises `RewardNotFound`, `MemberNotFound`, `InsufficientPoints`."""
    [bought] = await spend_all(conn, programme, vouchers, [Order(member_id, reward_name, now_us)])
    if isinstance(bought, Problem):
        raise bought
    return bought


async def spend_all(
    conn: Connection, programme: Programme, vouchers: Vouchers, orders: Sequence[Order]
) -> list[Bought | Problem]:
    """Debit rewards' points, and issue their vouchers or order their products (rules 3.10); each of another member.

    An order ends in `RewardNotFound`, `MemberNotFound` or `InsufficientPoints` without changing anything.
    """
    by_member = await _locked(conn, [order.member_id for order in orders])
    payments = [_payment(programme, by_member.get(order.member_id), order) for order in orders]
    of_vouchers = [each for each in payments if isinstance(each, Payment) and each.reward.kind == "voucher"]
    issued = iter(await vouchers.issue(conn, of_vouchers))
    bought: list[Bought | Problem] = []
    changes: list[tuple[Account, Callable[[int], events.AccountEvent]]] = []
    for payment, order in zip(payments, orders, strict=True):
        if isinstance(payment, Problem):
            bought.append(payment)
            continue
        got = next(issued) if payment.reward.kind == "voucher" else await _order(conn, payment)
        bought.append(got)
        changes.append((payment.account, partial(_event, order.member_id, got)))
    if changes:
        await save_all(conn, changes)
    return bought


async def _locked(conn: Connection, members: Sequence[str]) -> dict[str | None, Account]:
    """The accounts there are. One that is made only now is not among them: nothing is read that was not locked."""
    assert len(members) == len(set(members)), "an account is written once"
    return {account.member_id: account for account in await accounts.lock_accounts(conn, members)}


def _payment(programme: Programme, account: Account | None, order: Order) -> Payment | Problem:
    reward = programme.at(order.now_us).rewards.get(order.reward_name)
    if reward is None:
        return RewardNotFound(f"The programme has no reward {order.reward_name!r}.")
    if account is None:
        return MemberNotFound(f"There is no member {order.member_id}.")
    balance = account.available_points(order.now_us)
    if balance < reward.points:
        detail = f"{order.reward_name} costs {reward.points} points."
        return InsufficientPoints(detail, balance_points=balance, needed_points=reward.points)
    return Payment(account, order.reward_name, reward, order.now_us)


async def _order(conn: Connection, payment: Payment) -> Ordered:
    account, name, reward, now_us = payment
    product = await store.add_product_order(
        conn, account.account_no, name, reward.sku, reward.name, reward.points, now_us
    )
    account.post_expiry(now_us)
    account.add_debits(product.charges_by_year())
    account.post("product", -product.points, cause_id=product.order_id)
    account.correct_expiry()
    return Ordered(product, account.available_points(now_us))


def _event(member_id: str, bought: Bought, event_no: int) -> events.VoucherIssued | events.ProductOrdered:
    if isinstance(bought, Ordered):
        product = bought.product
        ordered_at = format_instant(product.ordered_us)
        return events.ProductOrdered(
            member_id, event_no, product.order_id, product.reward, product.sku, product.name, product.points, ordered_at
        )
    voucher = bought.voucher
    until = format_instant(voucher.valid_until_us)
    return events.VoucherIssued(member_id, event_no, voucher.voucher_id, voucher.value_cents, voucher.points, until)
