"""The state of all members from all their events: what both services must agree with, in one pure function."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from programme.calendar import civil_year
from programme.digest import digest
from programme.expiry import expired_points
from programme.facts import Purchase, Return
from programme.fold import KnownPurchase, fold, judged_returns
from programme.points import eligible_cents, points_of, remaining_cents
from programme.terms import Programme
from programme.timeline import Timeline, bonus_percent_at, level_at, steps_to_json


class MemberState(msgspec.Struct, frozen=True):
    """What is true of a member by their purchases and returns alone; spending is not among those."""

    member_id: str
    purchases: int
    earned: int
    bonus: int
    expired: int
    digest: str
    level: str
    timeline: Timeline

    def to_json(self) -> dict[str, Any]:
        """The JSON object `state` prints, with the timeline as in its event."""
        return {**msgspec.structs.asdict(self), "timeline": steps_to_json(self.timeline)}


def state_of(programme: Programme, events: Iterable[Purchase | Return], at_us: int) -> list[MemberState]:
    """One state for every member named in an event, ascending by member_id.

    Repeats do nothing, and of events in conflict the first counts (rules 3.7); otherwise the order does not matter.
    `at_us` decides level and expiry; it leaves no event out.
    """
    histories: defaultdict[str, _History] = defaultdict(_History)
    for event in events:
        history = histories[event.member_id]
        if isinstance(event, Purchase):
            history.purchases.setdefault(event.purchase_id, event)
        else:
            history.returns.setdefault(event.return_id, event)
    return [_member_state(programme, member_id, histories[member_id], at_us) for member_id in sorted(histories)]


@dataclass
class _History:
    purchases: dict[str, Purchase] = field(default_factory=dict)
    returns: dict[str, Return] = field(default_factory=dict)


@dataclass
class _Position:
    """A purchase with what came back of it."""

    known: KnownPurchase
    returned_cents: int = 0
    complete: bool = False

    @property
    def remaining_cents(self) -> int:
        return remaining_cents(self.known.eligible_cents, self.returned_cents, self.complete)


def _member_state(programme: Programme, member_id: str, history: _History, at_us: int) -> MemberState:
    positions = _positions(programme, history)
    occurred_us = {purchase.purchase_id: purchase.occurred_us for purchase in history.purchases.values()}
    returns = judged_returns(programme, occurred_us, history.returns.values())
    for ret in returns:
        position = positions[ret.purchase_id]
        position.returned_cents += ret.eligible_cents
        position.complete = position.complete or ret.complete
    timeline = fold(programme, [position.known for position in positions.values()], returns)
    return _evaluate(programme, member_id, list(positions.values()), timeline, at_us)


def _positions(programme: Programme, history: _History) -> dict[str, _Position]:
    return {
        purchase.purchase_id: _Position(
            KnownPurchase(
                purchase.purchase_id,
                purchase.occurred_us,
                eligible_cents(purchase.cents_by_class, programme.at(purchase.occurred_us)),
            )
        )
        for purchase in history.purchases.values()
    }


def _evaluate(
    programme: Programme, member_id: str, positions: list[_Position], timeline: Timeline, at_us: int
) -> MemberState:
    earned_by_year: defaultdict[int, int] = defaultdict(int)
    bonus = 0
    rows = []
    for position in positions:
        purchase_id, occurred_us, _ = position.known
        percent = bonus_percent_at(programme, timeline, occurred_us)
        points = points_of(position.remaining_cents, percent)
        earned_by_year[civil_year(occurred_us)] += points.total
        bonus += points.bonus
        rows.append((purchase_id, position.remaining_cents, percent))
    return MemberState(
        member_id=member_id,
        purchases=len(positions),
        earned=sum(earned_by_year.values()),
        bonus=bonus,
        expired=expired_points(earned_by_year, {}, at_us),
        digest=digest(rows),
        level=level_at(timeline, at_us),
        timeline=timeline,
    )
