"""What a member had bought and given back by an instant, and which of it made each step of their timeline; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from programme.benefit_terms import OFFER_KINDS, OfferTerms
from programme.calendar import civil_day, valid_until_us
from programme.fold import KnownPurchase, KnownReturn, fold
from programme.lifecycle import Standing, standing_on
from programme.points import eligible_cents, remaining_cents, total_cents
from programme.terms import LEVELS, Programme
from programme.timeline import Timeline


@dataclass(slots=True)
class Bought:
    """A purchase and what came back of it, as far as a status needs it."""

    purchase_id: str
    occurred_us: int
    day: int
    eligible_cents: int
    total_cents: int
    returned_cents: int = 0
    returned_total_cents: int = 0
    returned_completely: bool = False

    @property
    def remaining_cents(self) -> int:
        """Eligible cents that no return took back (rules 3.3)."""
        return remaining_cents(self.eligible_cents, self.returned_cents, self.returned_completely)

    @property
    def is_worth_something(self) -> bool:
        """Whether anything of it remains, of whatever class (rules 3.12)."""
        return remaining_cents(self.total_cents, self.returned_total_cents, self.returned_completely) > 0

    def known(self) -> KnownPurchase:
        """The purchase as the level rules take it."""
        return KnownPurchase(self.purchase_id, self.occurred_us, self.eligible_cents)


class GivenBack(NamedTuple):
    """A return, waiting or not."""

    return_id: str
    purchase_id: str
    occurred_us: int
    cents_by_class: dict[str, int]
    complete: bool


@dataclass(frozen=True)
class Known:
    """Everything known of a member; `timeline` is the one it leads to."""

    joined_us: int | None
    timeline: Timeline
    purchases: Sequence[Bought]
    returns: Sequence[GivenBack]

    def at(self, programme: Programme, at_us: int) -> "Known | None":
        """What had happened by an instant, and the timeline of that; None if nothing had."""
        purchases = [row for row in self.purchases if row.occurred_us <= at_us]
        returns = [row for row in self.returns if row.occurred_us <= at_us]
        if not (purchases or returns or (self.joined_us is not None and self.joined_us <= at_us)):
            return None
        timeline = self.timeline
        if len(returns) < len(self.returns):
            purchases = _with_returns(programme, purchases, returns)
        if (len(purchases), len(returns)) != (len(self.purchases), len(self.returns)):
            by_id = {row.purchase_id: row for row in purchases}
            known = [_known_return(programme, by_id[r.purchase_id], r) for r in returns if r.purchase_id in by_id]
            timeline = fold(programme, [row.known() for row in purchases], known)
        return Known(self.joined_us, timeline, purchases, returns)

    def standing(self, programme: Programme, at_us: int) -> Standing:
        """Lifecycle and flags of the civil day of an instant."""
        days = sorted({row.day for row in self.purchases if row.is_worth_something})
        return standing_on(programme.at(at_us).lifecycle, days, civil_day(at_us))


def benefits_of(level: str, offers: OfferTerms) -> list[str]:
    """The kinds of offers that members of a level may claim."""
    return [kind for kind in OFFER_KINDS if LEVELS.index(level) >= LEVELS.index(offers.least_level[kind])]


class StepCause(NamedTuple):
    """A purchase or return behind a step; `kind` is `purchase` or `return`."""

    kind: str
    id: str
    occurred_us: int


class ToldStep(NamedTuple):
    """A step and why: `start`, `collected`, `returned` or `lapsed`, with what was bought or given back for it."""

    after_us: int | None
    level: str
    reason: str
    causes: tuple[StepCause, ...]


def told_steps(known: Known) -> list[ToldStep]:
    """The timeline with the purchases and returns that made each step of it (rules 3.5).

    A level is won by the purchases of its instant. It ends by the returns that take effect then, or lapses a year after
    the last purchases that earned it.
    """
    [start, *_] = known.timeline
    told = [ToldStep(start.after_us, start.level, "start", ())]
    by_id = {row.purchase_id: row for row in known.purchases}
    for before, step in pairwise(known.timeline):
        assert step.after_us is not None, "only the first step holds since ever"
        if LEVELS.index(step.level) > LEVELS.index(before.level):
            bought = (row for row in known.purchases if row.occurred_us == step.after_us)
            told.append(ToldStep(step.after_us, step.level, "collected", _purchases(bought)))
        elif returned := _returns_at(step.after_us, known.returns, by_id):
            told.append(ToldStep(step.after_us, step.level, "returned", returned))
        else:
            last = (r for r in known.purchases if r.remaining_cents and valid_until_us(r.occurred_us) == step.after_us)
            told.append(ToldStep(step.after_us, step.level, "lapsed", _purchases(last)))
    return told


def _purchases(rows: Iterable[Bought]) -> tuple[StepCause, ...]:
    causes = [StepCause("purchase", row.purchase_id, row.occurred_us) for row in rows]
    return tuple(sorted(causes, key=lambda cause: (cause.occurred_us, cause.id)))


def _returns_at(us: int, returns: Iterable[GivenBack], purchases: dict[str, Bought]) -> tuple[StepCause, ...]:
    """Those that take effect at an instant: not before their purchase (rules 3.5)."""
    causes = [
        StepCause("return", row.return_id, row.occurred_us)
        for row in returns
        if row.purchase_id in purchases and max(row.occurred_us, purchases[row.purchase_id].occurred_us) == us
    ]
    return tuple(sorted(causes, key=lambda cause: (cause.occurred_us, cause.id)))


def _with_returns(programme: Programme, purchases: Iterable[Bought], returns: Iterable[GivenBack]) -> list[Bought]:
    """The purchases with these returns and no others."""
    bare = [Bought(r.purchase_id, r.occurred_us, r.day, r.eligible_cents, r.total_cents) for r in purchases]
    by_id = {row.purchase_id: row for row in bare}
    for back in returns:
        row = by_id.get(back.purchase_id)
        if row is not None:
            row.returned_cents += _known_return(programme, row, back).eligible_cents
            row.returned_total_cents += total_cents(back.cents_by_class)
            row.returned_completely |= back.complete
    return bare


def _known_return(programme: Programme, purchase: Bought, back: GivenBack) -> KnownReturn:
    """A return as the level rules take it: judged by the terms of its purchase (rules 3.1)."""
    eligible = eligible_cents(back.cents_by_class, programme.at(purchase.occurred_us))
    return KnownReturn(back.purchase_id, back.occurred_us, eligible, back.complete)
