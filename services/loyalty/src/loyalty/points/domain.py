"""Post the difference: the one idea that carries the ledger (docs/architecture.md, section 4).

Per purchase a position says what was bought, what came back, at which rate, and how many points are posted.
Whatever arrives, the points *due* are computed from the position and `due - posted` becomes one new entry. A
difference of zero posts nothing, therefore the order of arrival cannot matter. Everything here is pure: it works on
rows that were read under the account locks and marks what has to be written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import msgspec
from programme.calendar import civil_year
from programme.expiry import YEARS_USABLE
from programme.facts import Purchase, Return
from programme.points import eligible_cents, remaining_cents, total_points
from programme.terms import Programme
from programme.timeline import Timeline, TimelineChanged, level_at, step_at

from loyalty.points.account import Account
from loyalty.vouchers.domain import Voucher, settle
from loyalty.vouchers.uses import CompleteReturn, Naming, Use


class Outcome(Enum):
    """What became of a purchase or return: `CONFLICT` is a known key with other content."""

    ACCEPTED = "accepted"
    REPEAT = "repeat"
    CONFLICT = "conflict"


class Position(msgspec.Struct, gc=False):
    """What one purchase is worth, and how much of that is posted."""

    account_no: int
    received_us: int
    purchase: Purchase
    eligible_cents: int
    bonus_percent: int
    returned_cents: int = 0
    returned_completely: bool = False
    posted_points: int = 0
    is_new: bool = False
    changed: bool = False

    def due_points(self) -> int:
        """Rules 3.2 and 3.3: the points of what remains, at the rate the purchase had."""
        remaining = remaining_cents(self.eligible_cents, self.returned_cents, self.returned_completely)
        return total_points(remaining, self.bonus_percent)


class KnownReturn(msgspec.Struct, gc=False):
    """A return that was accepted, whether or not its purchase is known yet."""

    account_no: int
    received_us: int
    fact: Return
    is_new: bool = False


Key = tuple[int, str]


@dataclass(slots=True)
class Ledger:
    """The accounts, positions, returns and vouchers one batch works on.

    `positions` and `returns` hold every row that the batch's business keys name; `waiting` the returns of its
    purchases that came earlier than they did; `vouchers` those that its purchases name or named, and `owners` their
    accounts by number. `new_uses` collects the uses its events make: owner, voucher_id, use.
    """

    programme: Programme
    accounts: dict[str, Account]
    owners: dict[int, Account] = field(default_factory=dict)
    positions: dict[Key, Position] = field(default_factory=dict)
    returns: dict[Key, KnownReturn] = field(default_factory=dict)
    waiting: dict[Key, list[KnownReturn]] = field(default_factory=dict)
    vouchers: dict[str, Voucher] = field(default_factory=dict)
    new_uses: list[tuple[Account, str, Use]] = field(default_factory=list)

    def every_account(self) -> list[Account]:
        """The members' accounts and those of the owners."""
        members = list(self.accounts.values())
        known = {account.account_no for account in members} if self.owners else set()
        return members + [owner for number, owner in self.owners.items() if number not in known]

    def add_purchase(self, purchase: Purchase, received_us: int) -> Outcome:
        """Post a completed purchase, unless its key is known (rules 3.7)."""
        account = self.accounts[purchase.member_id]
        key = (account.account_no, purchase.purchase_id)
        known = self.positions.get(key)
        if known is not None:
            return Outcome.REPEAT if known.purchase == purchase else Outcome.CONFLICT
        terms = self.programme.at(purchase.occurred_us)
        position = Position(
            account.account_no,
            received_us,
            purchase,
            eligible_cents(purchase.cents_by_class, terms),
            terms.bonus_percent[level_at(account.timeline, purchase.occurred_us)],
            is_new=True,
        )
        self.positions[key] = position
        early = self.waiting.pop(key, ())
        for row in early:
            account.waiting_returns -= 1
            self._take_back(position, row.fact)
        account.last_purchase_us = max(account.last_purchase_us or purchase.occurred_us, purchase.occurred_us)
        account.changed = True
        _settle(account, position, "purchase", None)
        if purchase.vouchers:
            self._use_vouchers(position, [row for row in early if row.fact.complete])
        return Outcome.ACCEPTED

    def add_return(self, fact: Return, received_us: int) -> Outcome:
        """Post a return, or let it wait for its purchase (rules 3.3)."""
        account = self.accounts[fact.member_id]
        key = (account.account_no, fact.return_id)
        known = self.returns.get(key)
        if known is not None:
            return Outcome.REPEAT if known.fact == fact else Outcome.CONFLICT
        row = KnownReturn(account.account_no, received_us, fact, is_new=True)
        self.returns[key] = row
        purchase_key = (account.account_no, fact.purchase_id)
        position = self.positions.get(purchase_key)
        account.changed = True
        if position is None:
            account.waiting_returns += 1
            self.waiting.setdefault(purchase_key, []).append(row)
            return Outcome.ACCEPTED
        self._take_back(position, fact)
        _settle(account, position, "return", fact.return_id)
        if fact.complete:
            self._use_vouchers(position, [row])
        return Outcome.ACCEPTED

    def apply_timeline(self, change: TimelineChanged, positions: Mapping[str, Position]) -> bool:
        """Rate the member's `positions` by a new timeline; False if it is older than the one there is.

        `positions` (by purchase_id) must hold every purchase from `first_difference_us` of the two timelines on.
        """
        account = self.accounts[change.member_id]
        version = (change.generation, change.events)
        if version < account.timeline_version:
            return False
        account.timeline, account.timeline_version, account.has_new_timeline = change.steps, version, True
        for position in sorted(positions.values(), key=lambda p: (p.purchase.occurred_us, p.purchase.purchase_id)):
            occurred_us = position.purchase.occurred_us
            level = level_at(change.steps, occurred_us)
            percent = self.programme.at(occurred_us).bonus_percent[level]
            if percent != position.bonus_percent:
                position.bonus_percent, position.changed = percent, True
                _settle(account, position, "level", _cause_of_level(change, occurred_us), level)
        return True

    def _take_back(self, position: Position, fact: Return) -> None:
        """A return is judged by the terms of its purchase (rules 3.11)."""
        terms = self.programme.at(position.purchase.occurred_us)
        position.returned_cents += eligible_cents(fact.cents_by_class, terms)
        position.returned_completely |= fact.complete
        position.changed = True

    def _use_vouchers(self, position: Position, complete_returns: list[KnownReturn]) -> None:
        """Charge the owners of the vouchers a purchase names for this use of them, or give it back (rules 3.10).

        An id that no voucher has costs nobody anything; `loyalty verify` reports it.
        """
        purchase = position.purchase
        ended = tuple(CompleteReturn(row.fact.occurred_us, row.received_us) for row in complete_returns)
        for voucher_id in purchase.vouchers:
            voucher = self.vouchers.get(voucher_id)
            if voucher is None:
                continue
            charged, before = voucher.charges_by_year(), voucher.use_of(purchase.purchase_id)
            voucher.add_naming(
                Naming(position.account_no, purchase.purchase_id, purchase.occurred_us, position.received_us, ended)
            )
            owner, use = self.owners[voucher.account_no], voucher.use_of(purchase.purchase_id)
            settle(voucher, owner, charged, purchase.purchase_id)
            if use is not None and use.until_us is None and (before is None or before.until_us is not None):
                self.new_uses.append((owner, voucher_id, use))


def _settle(account: Account, position: Position, kind: str, cause_id: str | None, level: str | None = None) -> None:
    points = position.due_points() - position.posted_points
    if points == 0:
        return
    position.posted_points += points
    position.changed = True
    year = civil_year(position.purchase.occurred_us)
    account.earned_by_year[year] = account.earned_by_year.get(year, 0) + points
    account.post(kind, points, purchase_id=position.purchase.purchase_id, cause_id=cause_id, level=level)
    if year + YEARS_USABLE <= account.expiry_year:  # younger points count at no boundary that is posted
        account.correct_expiry()


def _cause_of_level(change: TimelineChanged, occurred_us: int) -> str:
    """What the level of a purchase follows from: the arrival that made the step it is rated by, else the latest one
    before the purchase, else the timeline as such.
    """
    step = step_at(change.steps, occurred_us)
    before = [cause for cause in change.causes if cause.occurred_us < occurred_us]
    if not before:
        return f"timeline {change.generation}.{change.events}"
    cause = max(before, key=lambda cause: (cause.occurred_us == step.after_us, cause.occurred_us))
    return f"{cause.kind} {cause.id}"


def first_difference_us(old: Timeline, new: Timeline) -> int | None:
    """The instant after which two timelines tell different levels; None if they never do.

    The first step of every timeline is basis from the beginning of time, so they differ at the earlier `after` of
    the first pair of steps that are not equal.
    """
    for mine, theirs in zip(old, new, strict=False):
        if mine != theirs:
            return min(after for after in (mine.after_us, theirs.after_us) if after is not None)
    longer = max(old, new, key=len)
    shorter = min(len(old), len(new))
    return longer[shorter].after_us if len(longer) > shorter else None
