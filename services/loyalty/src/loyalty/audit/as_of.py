"""Two clocks: what was true of a member at one instant, by what was known at another (docs/architecture.md, section 4).

Not a sum of ledger entries: the rules once more, over the purchases, returns and vouchers that had happened by the one
and were known by the other.
"""

from dataclasses import dataclass
from typing import NamedTuple

from programme.expiry import by_year
from programme.facts import Return
from programme.fold import KnownPurchase, KnownReturn, fold
from programme.points import eligible_cents, remaining_cents, total_points
from programme.terms import Programme
from programme.timeline import Timeline, bonus_percent_at

from loyalty.audit.store import AccountHistory
from loyalty.points.domain import Position
from loyalty.vouchers.domain import Voucher, debited_by_year


class Bought(NamedTuple):
    """A purchase with what was left of it, in eligible cents, and the rate it had."""

    purchase_id: str
    occurred_us: int
    remaining_cents: int
    bonus_percent: int


@dataclass(frozen=True)
class AsOf:
    """What there was of a member."""

    purchases: list[Bought]
    vouchers: list[Voucher]
    timeline: Timeline

    def earned_by_year(self) -> dict[int, int]:
        """Points of the purchases net of returns, by their civil year."""
        return by_year((b.occurred_us, total_points(b.remaining_cents, b.bonus_percent)) for b in self.purchases)

    def debited_by_year(self) -> dict[int, int]:
        """What the vouchers cost, by the civil year it is dated."""
        return debited_by_year(self.vouchers)


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
    joined_us = history.account.joined_us
    joined = joined_us is not None and counts(joined_us, joined_us)
    if (at_us, known_us) != (None, None) and not (positions or returns or vouchers or joined):
        return None
    known = _known_returns(programme, positions, returns)
    timeline = history.account.timeline if known_us is None else _timeline(programme, positions, known)
    return AsOf(_bought(programme, positions, known, None if known_us is None else timeline), vouchers, timeline)


def _known_returns(programme: Programme, positions: list[Position], returns: list[Return]) -> list[KnownReturn]:
    """The returns whose purchase is there, judged by its terms; the others wait."""
    terms = {row.purchase.purchase_id: programme.at(row.purchase.occurred_us) for row in positions}
    return [
        KnownReturn(
            fact.purchase_id,
            fact.occurred_us,
            eligible_cents(fact.cents_by_class, terms[fact.purchase_id]),
            fact.complete,
        )
        for fact in returns
        if fact.purchase_id in terms
    ]


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
