"""What the club owes its members: points that can still be spent, and vouchers that can still be used. Pure.

Every account is counted, nameless ones too. The sum is compared with the ledger account by account, and what differs is
told; by expiry year and level it adds up by itself, because it is the same numbers in other heaps.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from programme.expiry import expired_by, expiries
from programme.terms import Reward, Terms

from loyalty.vouchers.domain import Voucher

Years = Mapping[int, int]


class Sums(NamedTuple):
    """What an account got and gave, by civil year."""

    earned: Years
    debited: Years

    @property
    def points(self) -> int:
        """The sum of all that is not expiry."""
        return sum(self.earned.values()) - sum(self.debited.values())


class Standing(NamedTuple):
    """An account at the report's moment, and now: what its entries add up to, and the expiry they hold."""

    is_nameless: bool
    level: str
    then: Sums
    now: Sums
    entry_points: int
    expired_points: int


class Heap(NamedTuple):
    """Points of one level that expire at the start of a year unless they are spent."""

    year: int
    level: str


@dataclass
class Liability:
    """All accounts added up, at a moment in civil year `year`. `rate` is what gives points their value."""

    at_us: int
    year: int
    rate: Reward | None
    heaps: Counter[Heap] = field(default_factory=Counter)
    negative_accounts: int = 0
    negative_points: int = 0
    nameless_accounts: int = 0
    nameless_points: int = 0
    voucher_counts: Counter[int] = field(default_factory=Counter)
    voucher_cents: Counter[int] = field(default_factory=Counter)
    entry_points: int = 0
    later_points: int = 0
    unposted_expiry_points: int = 0
    differing_accounts: int = 0
    difference_points: int = 0

    def add_account(self, account: Standing) -> None:
        """Count an account."""
        expired = expired_by(account.then.earned, account.then.debited, self.year)
        balance = account.then.points - expired
        for expiry in expiries(account.then.earned, account.then.debited, self.year):
            self.heaps[Heap(expiry.year, account.level)] += expiry.points
        if balance < 0:
            self.negative_accounts += 1
            self.negative_points += balance
        if account.is_nameless:
            self.nameless_accounts += 1
            self.nameless_points += balance
        self.entry_points += account.entry_points
        self.later_points += account.now.points - account.then.points
        self.unposted_expiry_points += expired - account.expired_points
        self._compare(account.entry_points - (account.now.points - account.expired_points))

    def add_stray_entries(self, points: int) -> None:
        """Count entries that belong to no account."""
        self.entry_points += points
        self._compare(points)

    def add_vouchers(self, open_until: Iterable[tuple[Voucher, int]]) -> None:
        """Count vouchers that can still be used, each with the last civil year it can."""
        for voucher, year in open_until:
            self.voucher_counts[year] += 1
            self.voucher_cents[year] += voucher.value_cents

    @property
    def points(self) -> int:
        """All that members could spend."""
        return sum(self.heaps.values())

    @property
    def unexplained_points(self) -> int:
        """What the heaps and negative balances do not add up to, by the entries; 0 where everything is right."""
        by_entries = self.entry_points - self.later_points - self.unposted_expiry_points
        return by_entries - (self.points + self.negative_points)

    @property
    def is_reconciled(self) -> bool:
        """Whether the report is that of the ledger, to the point, account by account."""
        return not self.differing_accounts and not self.unexplained_points

    def by(self, name: str) -> dict[int | str, int]:
        """Points by `year` or by `level`."""
        sums: Counter[int | str] = Counter()
        for heap, points in self.heaps.items():
            sums[getattr(heap, name)] += points
        return dict(sorted(sums.items(), key=lambda item: str(item[0])))

    def value_cents(self, points: int) -> int:
        """What points would buy, rounded down; 0 if the terms have no voucher."""
        return 0 if self.rate is None else points * self.rate.value_cents // self.rate.points

    def _compare(self, difference: int) -> None:
        self.differing_accounts += difference != 0
        self.difference_points += difference


def rate_of(terms: Terms) -> Reward | None:
    """The voucher that gives points their highest value: nobody is owed less than the books say."""
    vouchers = [reward for reward in terms.rewards.values() if reward.kind == "voucher"]
    return max(vouchers, key=lambda reward: reward.value_cents / reward.points, default=None)
