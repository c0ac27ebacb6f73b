"""What one batch of purchases and returns does to the levels of its members.

Pure: it works on rows that were read under the members' locks, and marks what has to be written. A purchase or return
that comes in the order of time moves a member's packed levels by itself; any other leaves the member `late`, and the
levels are computed anew from all rows. Both ways lead to the same levels (docs/rules.md 3.5), so the order of arrival
decides only what it costs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from programme.calendar import civil_day
from programme.facts import Purchase, Return
from programme.fold import KnownPurchase, KnownReturn
from programme.levels import LevelState, add_purchase, add_return, new_state, replay, timeline_of
from programme.points import eligible_cents, remaining_cents, total_cents
from programme.terms import Programme
from programme.timeline import BASIS, MOST_CAUSES, Cause, Timeline

from customer_status.tiers.purchase_days import PurchaseDays

Key = tuple[int, str]
"""(account_no, purchase_id) or (account_no, return_id)."""


class Outcome(Enum):
    """What became of a purchase or return: `CONFLICT` is a known key with other content (rules 3.7)."""

    ACCEPTED = "accepted"
    REPEAT = "repeat"
    CONFLICT = "conflict"


@dataclass(slots=True)
class Member:
    """A member's row, read under its lock."""

    account_no: int
    member_id: str
    generation: int = 1
    events: int = 0
    waiting_returns: int = 0
    levels: LevelState = field(default_factory=new_state)
    published: Timeline = BASIS
    purchase_days: PurchaseDays = field(default_factory=PurchaseDays)
    changed: bool = False
    late: bool = False
    causes: list[Cause] = field(default_factory=list)

    def bought_before(self, us: int) -> bool:
        """Whether every known purchase was made on an earlier day than that of `us`."""
        last = self.purchase_days.last_purchase_day
        return last is None or last < civil_day(us)

    def told_causes(self, timeline: Timeline) -> tuple[Cause, ...]:
        """What arrived in this batch, by instant. An event names so many: those that made a step come first."""
        steps = {step.after_us for step in timeline}
        chosen = sorted(self.causes, key=lambda cause: (cause.occurred_us not in steps, cause.occurred_us))[
            :MOST_CAUSES
        ]
        return tuple(sorted(chosen, key=lambda cause: cause.occurred_us))


@dataclass(slots=True)
class PurchaseRow:
    """One purchase and what came back of it, in cents that earn points and in all cents. `day` is its civil day."""

    account_no: int
    received_us: int
    fact: Purchase
    eligible_cents: int
    total_cents: int
    day: int
    returned_cents: int = 0
    returned_total_cents: int = 0
    returned_completely: bool = False

    @property
    def remaining_cents(self) -> int:
        """Eligible cents that no return took back (rules 3.3)."""
        return remaining_cents(self.eligible_cents, self.returned_cents, self.returned_completely)

    @property
    def remaining_total_cents(self) -> int:
        """What no return took back, of all classes: what lifecycle and revenue count (rules 3.12, 3.13)."""
        return remaining_cents(self.total_cents, self.returned_total_cents, self.returned_completely)

    def take_back(self, back: KnownReturn, total: int) -> None:
        """Count one more return; `total` is the cents of all its classes."""
        self.returned_cents += back.eligible_cents
        self.returned_total_cents += total
        self.returned_completely |= back.complete

    def known(self) -> KnownPurchase:
        """The purchase as the level rules take it."""
        return KnownPurchase(self.fact.purchase_id, self.fact.occurred_us, self.eligible_cents)


class ReturnRow(NamedTuple):
    """One return, whether or not its purchase is known; `total_cents` of all classes, `day` is its civil day."""

    account_no: int
    received_us: int
    fact: Return
    total_cents: int
    day: int


@dataclass(slots=True)
class Batch:
    """The rows one batch works on, and those it adds or changes.

    `purchases` and `returns` hold every row that the batch's business keys name; `waiting` the returns of its
    purchases that came earlier than they did.
    """

    programme: Programme
    members: dict[str, Member]
    purchases: dict[Key, PurchaseRow] = field(default_factory=dict)
    returns: dict[Key, ReturnRow] = field(default_factory=dict)
    waiting: dict[Key, list[ReturnRow]] = field(default_factory=dict)
    new_purchases: dict[Key, PurchaseRow] = field(default_factory=dict)
    changed_purchases: dict[Key, PurchaseRow] = field(default_factory=dict)
    new_returns: list[ReturnRow] = field(default_factory=list)

    def take(self, fact: Purchase | Return, received_us: int) -> Outcome:
        """Take a purchase or return, in the order of the log."""
        if isinstance(fact, Purchase):
            return self.add_purchase(fact, received_us)
        return self.add_return(fact, received_us)

    def add_purchase(self, purchase: Purchase, received_us: int) -> Outcome:
        """Take a purchase, with the returns that waited for it."""
        member = self.members[purchase.member_id]
        key = (member.account_no, purchase.purchase_id)
        known = self.purchases.get(key)
        if known is not None:
            return Outcome.REPEAT if known.fact == purchase else Outcome.CONFLICT
        row = new_purchase_row(self.programme, member.account_no, purchase, received_us)
        self.purchases[key] = self.new_purchases[key] = row
        member.events += 1
        member.changed = True
        member.causes.append(Cause("purchase", purchase.purchase_id, purchase.occurred_us))
        member.late = member.late or not add_purchase(self.programme, member.levels, row.known())
        member.purchase_days.add_purchase(row.day, row.remaining_total_cents)
        early = self.waiting.pop(key, [])
        member.waiting_returns -= len(early)
        for each in sorted(early, key=lambda row: row.fact.occurred_us):
            self._take_back(member, row, each)
        return Outcome.ACCEPTED

    def add_return(self, fact: Return, received_us: int) -> Outcome:
        """Take a return, or let it wait for its purchase (rules 3.3)."""
        member = self.members[fact.member_id]
        key = (member.account_no, fact.return_id)
        known = self.returns.get(key)
        if known is not None:
            return Outcome.REPEAT if known.fact == fact else Outcome.CONFLICT
        row = self.returns[key] = new_return_row(member.account_no, fact, received_us)
        self.new_returns.append(row)
        member.events += 1
        member.changed = True
        member.purchase_days.add_return(row.day)
        purchase_key = (member.account_no, fact.purchase_id)
        purchase = self.purchases.get(purchase_key)
        if purchase is None:
            member.waiting_returns += 1
            self.waiting.setdefault(purchase_key, []).append(row)
            return Outcome.ACCEPTED
        if purchase_key not in self.new_purchases:
            self.changed_purchases[purchase_key] = purchase
        member.causes.append(Cause("return", fact.return_id, max(fact.occurred_us, purchase.fact.occurred_us)))
        self._take_back(member, purchase, row)
        return Outcome.ACCEPTED

    def _take_back(self, member: Member, purchase: PurchaseRow, row: ReturnRow) -> None:
        known = known_return(self.programme, purchase, row.fact)
        member.late = member.late or not add_return(
            self.programme,
            member.levels,
            purchase.known(),
            known,
            purchase.returned_cents,
            purchase.returned_completely,
        )
        before = purchase.remaining_total_cents
        purchase.take_back(known, row.total_cents)
        member.purchase_days.take_back(purchase.day, before - purchase.remaining_total_cents)

    def changed_members(self) -> list[Member]:
        """The members whose rows have to be written."""
        return [member for member in self.members.values() if member.changed]


def new_purchase_row(programme: Programme, account_no: int, fact: Purchase, received_us: int) -> PurchaseRow:
    """A purchase nothing came back of, judged by the terms at its own instant (rules 3.11)."""
    eligible = eligible_cents(fact.cents_by_class, programme.at(fact.occurred_us))
    return PurchaseRow(
        account_no, received_us, fact, eligible, total_cents(fact.cents_by_class), civil_day(fact.occurred_us)
    )


def new_return_row(account_no: int, fact: Return, received_us: int) -> ReturnRow:
    """A return as it came."""
    return ReturnRow(account_no, received_us, fact, total_cents(fact.cents_by_class), civil_day(fact.occurred_us))


def known_return(programme: Programme, purchase: PurchaseRow, fact: Return) -> KnownReturn:
    """A return as the level rules take it: judged by the terms of its purchase (rules 3.1)."""
    eligible = eligible_cents(fact.cents_by_class, programme.at(purchase.fact.occurred_us))
    return KnownReturn(fact.purchase_id, fact.occurred_us, eligible, fact.complete)


def replayed(programme: Programme, purchases: Iterable[PurchaseRow], returns: Iterable[ReturnRow]) -> LevelState:
    """The levels computed anew from all rows of one member."""
    by_id = {row.fact.purchase_id: row for row in purchases}
    known = [
        known_return(programme, by_id[row.fact.purchase_id], row.fact)
        for row in returns
        if row.fact.purchase_id in by_id
    ]
    return replay(programme, [row.known() for row in by_id.values()], known)


def changed_timeline(member: Member) -> Timeline | None:
    """The member's timeline if it is not the one that was published last."""
    timeline = timeline_of(member.levels)
    return None if timeline == member.published else timeline
