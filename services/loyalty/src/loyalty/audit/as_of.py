"""Two clocks: what was true of a member at one instant, by what was known at another (docs/architecture.md, section 4).

Not a sum of ledger entries: the rules once more, over the purchases, returns and vouchers that had happened by the one
and were known by the other.
"""

from dataclasses import dataclass
from typing import NamedTuple

from programme.expiry import by_year, expired_points, total_by_year
from programme.fold import KnownPurchase, KnownReturn, fold, judged_returns
from programme.points import Points, points_of, remaining_cents
from programme.terms import Programme
from programme.timeline import Timeline, bonus_percent_at

from loyalty.adjustments.domain import Adjustment, credited_by_year
from loyalty.adjustments.domain import debited_by_year as debited_by_adjustments
from loyalty.audit.store import AccountHistory
from loyalty.points.domain import Position
from loyalty.rewards.domain import ProductOrder, debited_by_year
from loyalty.vouchers.domain import Voucher


class Bought(NamedTuple):
    """A purchase with what was left of it, in eligible cents, and the rate it had."""

    purchase_id: str
    occurred_us: int
    remaining_cents: int
    bonus_percent: int

    @property
    def points(self) -> Points:
        return points_of(self.remaining_cents, self.bonus_percent)


@dataclass(frozen=True)
class AsOf:
    """What there was of a member."""

    purchases: list[Bought]
    vouchers: list[Voucher]
    products: list[ProductOrder]
    timeline: Timeline
    adjustments: list[Adjustment]

    def balance_points(self, moment_us: int) -> int:
        """Rules 3.8: less what has expired at `moment_us`."""
        earned = sum(bought.points.total for bought in self.purchases)
        return earned - self.spent_points() - self.expired_points(moment_us) + self.adjusted_points()

    def spent_points(self) -> int:
        """Points spent on vouchers and products, net of those given back."""
        return sum(voucher.due_points() for voucher in self.vouchers) + sum(each.points for each in self.products)

    def adjusted_points(self) -> int:
        """What staff gave, less what they took."""
        return sum(adjustment.posted_points() for adjustment in self.adjustments)

    def expired_points(self, moment_us: int) -> int:
        """Rules 3.9."""
        return expired_points(self.earned_by_year(), self.debited_by_year(), moment_us)

    def earned_by_year(self) -> dict[int, int]:
        """Points of the purchases net of returns, and those that staff gave, by civil year."""
        bought = by_year((b.occurred_us, b.points.total) for b in self.purchases)
        return total_by_year(bought, credited_by_year(self.adjustments))

    def debited_by_year(self) -> dict[int, int]:
        """What vouchers and products cost and staff took, by the civil year it is dated."""
        spent = debited_by_year(self.vouchers, self.products)
        return total_by_year(spent, debited_by_adjustments(self.adjustments))


def as_of(history: AccountHistory, programme: Programme, at_us: int | None, known_us: int | None) -> AsOf | None:
    """The member at `at_us` by what was known at `known_us`; None if nothing had happened or nothing was known.

    Purchases have the rate that is stored with them. Only for `known_us` levels are computed here: the timeline there
    was then is kept by nobody.
    """

    def counts(occurred_us: int, received_us: int) -> bool:
        return (at_us is None or occurred_us <= at_us) and (known_us is None or received_us <= known_us)

    positions = [row for row in history.positions if counts(row.purchase.occurred_us, row.received_us)]
    returns = [row.fact for row in history.returns if counts(row.fact.occurred_us, row.received_us)]
    vouchers = [voucher for each in history.vouchers if (voucher := each.as_of(at_us, known_us)) is not None]
    products = [each for each in history.products if counts(each.ordered_us, each.ordered_us)]
    adjustments = [each for each in history.adjustments if each.is_known(at_us, known_us)]
    joined_us = history.account.joined_us
    joined = joined_us is not None and counts(joined_us, joined_us)
    anything = positions or returns or vouchers or products or adjustments or joined
    if (at_us, known_us) != (None, None) and not anything:
        return None
    known = judged_returns(
        programme, {row.purchase.purchase_id: row.purchase.occurred_us for row in positions}, returns
    )
    timeline = history.account.timeline if known_us is None else _timeline(programme, positions, known)
    bought = _bought(programme, positions, known, None if known_us is None else timeline)
    return AsOf(bought, vouchers, products, timeline, adjustments)


def _timeline(programme: Programme, positions: list[Position], returns: list[KnownReturn]) -> Timeline:
    purchases = [
        KnownPurchase(row.purchase.purchase_id, row.purchase.occurred_us, row.eligible_cents) for row in positions
    ]
    return fold(programme, purchases, returns)


def _bought(
    programme: Programme, positions: list[Position], returns: list[KnownReturn], timeline: Timeline | None
) -> list[Bought]:
    returned: dict[str, int] = {}
    for back in returns:
        returned[back.purchase_id] = returned.get(back.purchase_id, 0) + back.eligible_cents
    complete = {back.purchase_id for back in returns if back.complete}
    found = []
    for row in positions:
        name, us = row.purchase.purchase_id, row.purchase.occurred_us
        percent = row.bonus_percent if timeline is None else bonus_percent_at(programme, timeline, us)
        remaining = remaining_cents(row.eligible_cents, returned.get(name, 0), name in complete)
        found.append(Bought(name, us, remaining, percent))
    return found
