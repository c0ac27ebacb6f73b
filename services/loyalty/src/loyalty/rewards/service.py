"""Spending points on what the terms in force offer. The caller's transaction commits."""

from typing import NamedTuple

from programme.instants import format_instant
from programme.terms import Programme

from loyalty import events
from loyalty.errors import RewardNotFound
from loyalty.points.account import Account
from loyalty.points.store import Connection
from loyalty.rewards import store
from loyalty.rewards.domain import ProductOrder
from loyalty.vouchers.lookup import account_that_affords, save
from loyalty.vouchers.service import Issued, Vouchers


class Ordered(NamedTuple):
    """A product just ordered, and what is left."""

    product: ProductOrder
    balance_points: int


async def spend(
    conn: Connection, programme: Programme, vouchers: Vouchers, member_id: str, reward_name: str, now_us: int
) -> Issued | Ordered:
    """Debit a reward's points, and issue its voucher or order its product (rules 3.10).

    Raises `RewardNotFound`, `MemberNotFound`, `InsufficientPoints`.
    """
    reward = programme.at(now_us).rewards.get(reward_name)
    if reward is None:
        raise RewardNotFound(f"The programme has no reward {reward_name!r}.")
    if reward.kind == "voucher":
        return await vouchers.issue(conn, member_id, reward_name, now_us)
    account = await account_that_affords(conn, member_id, reward_name, reward.points, now_us)
    product = await store.add_product_order(
        conn, account.account_no, reward_name, reward.sku, reward.name, reward.points, now_us
    )
    _debit(account, product, now_us)
    ordered_at = format_instant(now_us)
    await save(
        conn,
        account,
        lambda event_no: events.ProductOrdered(
            member_id, event_no, product.order_id, reward_name, product.sku, product.name, product.points, ordered_at
        ),
    )
    return Ordered(product, account.available_points(now_us))


def _debit(account: Account, product: ProductOrder, now_us: int) -> None:
    account.post_expiry(now_us)
    account.add_debits(product.charges_by_year())
    account.post("product", -product.points, cause_id=product.order_id)
    account.correct_expiry()
