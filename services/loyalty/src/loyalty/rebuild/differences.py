"""How an account's live rows differ from those that the log makes; pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from eventing.rebuild_report import Found, compare_rows
from programme.expiry import by_year, expired_by, total_by_year

from loyalty.adjustments.domain import credited_by_year
from loyalty.adjustments.domain import debited_by_year as debited_by_adjustments
from loyalty.audit.store import AccountHistory, EntrySum
from loyalty.points.account import Account
from loyalty.points.domain import KnownReturn, Position
from loyalty.rewards.domain import debited_by_year

ONLY_IN_THE_LOG = "known to the log only: erased, or its row is lost"
TIMELINE_IS_GONE = "timeline no longer on its topic, run `customer-status republish` first"
VOUCHER_IS_GONE = "entries of a voucher or product order there is not: bring its row back"
ADJUSTMENT_IS_GONE = "entries of an adjustment there is not: bring its row back"
NOT_REPAIRED = frozenset({TIMELINE_IS_GONE, VOUCHER_IS_GONE, ADJUSTMENT_IS_GONE})


class Posted(NamedTuple):
    """What the entries of an account add up to: by purchase, by voucher or product order, by adjustment, of expiry, in
    all; their numbers.
    """

    by_purchase: Mapping[str, int]
    by_reward: Mapping[str, int]
    by_adjustment: Mapping[int, int]
    expired: int
    balance: int
    entries: int
    last_entry_no: int


class Sides(NamedTuple):
    """A member as the tables have it, what is posted, and as the log makes it. None: there is no row."""

    live: AccountHistory | None
    posted: Posted
    right: AccountHistory | None

    @property
    def due(self) -> dict[str, int]:
        """The points due for each purchase, by what the log says."""
        return {p.purchase.purchase_id: p.due_points() for p in self.right.positions} if self.right else {}


def posted_of(sums: Sequence[EntrySum], by_reward: Mapping[str, int], by_adjustment: Mapping[int, int]) -> Posted:
    """`sums` of one account's entries."""
    return Posted(
        by_purchase={row.purchase_id: row.points for row in sums if row.purchase_id is not None},
        by_reward=by_reward,
        by_adjustment=by_adjustment,
        expired=-sum(row.points for row in sums if row.kind == "expiry"),
        balance=sum(row.points for row in sums),
        entries=sum(row.entries for row in sums),
        last_entry_no=max((row.last_entry_no for row in sums), default=0),
    )


def differences(sides: Sides) -> Iterator[Found]:
    """Causes and details. A member who is not in the log is one of whom nothing was ever heard."""
    if sides.live is None:
        yield ONLY_IN_THE_LOG, ""
        return
    account, right = sides.live.account, _account(sides.right)
    if account.timeline_version > right.timeline_version:
        yield TIMELINE_IS_GONE, ""
        return
    if (account.timeline_version, account.timeline) != (right.timeline_version, right.timeline):
        yield "wrong timeline", ""
    yield from compare_rows("purchase", _positions(sides.live), _positions(sides.right), _position)
    yield from compare_rows("return", _returns(sides.live), _returns(sides.right), _return)
    yield from _points(sides)
    if account.waiting_returns != right.waiting_returns:
        yield "wrong number of waiting returns", f"{account.waiting_returns}, in the log {right.waiting_returns}"
    if account.last_purchase_us != right.last_purchase_us:
        yield "wrong last purchase", ""
    yield from _sums(sides, sides.live)


def points_by_year(sides: Sides) -> tuple[dict[int, int], dict[int, int]]:
    """What was earned by the purchases of the log, and by the rewards and adjustments there are; by civil year."""
    positions = sides.right.positions if sides.right else ()
    vouchers, products = (sides.live.vouchers, sides.live.products) if sides.live else ((), ())
    adjustments = sides.live.adjustments if sides.live else ()
    earned = by_year((position.purchase.occurred_us, position.due_points()) for position in positions)
    return (
        total_by_year(earned, credited_by_year(adjustments)),
        total_by_year(debited_by_year(vouchers, products), debited_by_adjustments(adjustments)),
    )


def _points(sides: Sides) -> Iterator[Found]:
    """The points of each purchase: what is due, what its entries add up to, what its position says."""
    posted, due = sides.posted.by_purchase, sides.due
    for purchase_id in sorted(posted.keys() | due.keys()):
        if posted.get(purchase_id, 0) != due.get(purchase_id, 0):
            yield "wrong points", f"{purchase_id} {posted.get(purchase_id, 0)} posted, {due.get(purchase_id, 0)} due"
    for purchase_id, position in sorted(_positions(sides.live).items()):
        if position.posted_points != posted.get(purchase_id, 0):
            says = f"{purchase_id} {position.posted_points}, by its entries {posted.get(purchase_id, 0)}"
            yield "wrong posted points", says


def _sums(sides: Sides, live: AccountHistory) -> Iterator[Found]:
    """What an account's row and its vouchers say of its entries."""
    account, posted = live.account, sides.posted
    if account.balance_points != posted.balance:
        yield "wrong balance", f"{account.balance_points}, by its entries {posted.balance}"
    if not posted.entries == posted.last_entry_no == account.last_entry_no:
        numbers = f"{posted.entries} entries to number {posted.last_entry_no}, the account says {account.last_entry_no}"
        yield "wrong numbers of entries", numbers
    for voucher in live.vouchers:
        both = (voucher.posted_points, posted.by_reward.get(voucher.voucher_id, 0))
        if both != (voucher.due_points(),) * 2:
            says = f"{voucher.voucher_id} {both[0]}, by its entries {both[1]}, due {voucher.due_points()}"
            yield "wrong points of a voucher", says
    for product in live.products:
        points = posted.by_reward.get(product.order_id, 0)
        if points != product.points:
            yield "wrong points of a product", f"{product.order_id} {points} by its entries, due {product.points}"
    known = {voucher.voucher_id for voucher in live.vouchers} | {product.order_id for product in live.products}
    for lost_id in sorted(posted.by_reward.keys() - known):
        if posted.by_reward[lost_id]:
            yield VOUCHER_IS_GONE, f"{lost_id} {posted.by_reward[lost_id]} points"
    yield from _adjustments(live, posted)
    earned, debited = points_by_year(sides)
    if (earned, debited) != account.points_by_year():
        yield "wrong points by year", ""
    if sides.right is not None and account.expiry_year > sides.right.account.expiry_year:
        yield "expiry posted up to a year to come", str(account.expiry_year)
    due = expired_by(earned, debited, account.expiry_year)
    if (account.expired_points, posted.expired) != (due, due):
        yield "wrong expiry", f"{account.expired_points}, by its entries {posted.expired}, due {due}"


def _adjustments(live: AccountHistory, posted: Posted) -> Iterator[Found]:
    due = {each.adjustment_id: each.posted_points() for each in live.adjustments}
    for adjustment_id in sorted(due.keys() | posted.by_adjustment.keys()):
        points = posted.by_adjustment.get(adjustment_id, 0)
        if adjustment_id not in due and points:
            yield ADJUSTMENT_IS_GONE, f"{adjustment_id} {points} points"
        elif points != due.get(adjustment_id, 0):
            yield "wrong points of an adjustment", f"{adjustment_id} {points} posted, {due.get(adjustment_id, 0)} due"


def _position(purchase_id: str, live: Position, right: Position) -> Iterator[Found]:
    content = ("purchase", "received_us", "eligible_cents")
    if any(getattr(live, name) != getattr(right, name) for name in content):
        yield "purchase with other content", purchase_id
    for name in ("returned_cents", "returned_completely"):
        kept, due = getattr(live, name), getattr(right, name)
        if kept != due:
            yield "wrong sum", f"{purchase_id} {name} {kept}, due {due}"
    if live.bonus_percent != right.bonus_percent:
        yield "wrong rate", f"{purchase_id} {live.bonus_percent} %, due {right.bonus_percent} %"


def _return(return_id: str, live: KnownReturn, right: KnownReturn) -> Iterator[Found]:
    if (live.fact, live.received_us) != (right.fact, right.received_us):
        yield "return with other content", return_id


def _positions(history: AccountHistory | None) -> dict[str, Position]:
    return {position.purchase.purchase_id: position for position in history.positions} if history else {}


def _returns(history: AccountHistory | None) -> dict[str, KnownReturn]:
    return {row.fact.return_id: row for row in history.returns} if history else {}


def _account(history: AccountHistory | None) -> Account:
    return history.account if history else Account(0, None)
