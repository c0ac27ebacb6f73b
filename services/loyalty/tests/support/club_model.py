"""A model of the rules of a page, for the state machine: it keeps nothing but what happened, and computes every number
anew from the formulas of docs/rules.md. It shares calendar and terms with the service, and no other code.
"""

import math
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from loyalty.errors import (
    PurchaseHasVoucher,
    VoucherAlreadyRedeemed,
    VoucherCancelled,
    VoucherExpired,
    VoucherReserved,
)
from programme.calendar import boundary_us, civil_day, civil_year, midnight_us
from programme.terms import Programme
from webapi.problems import Problem

OPEN = math.inf
PURCHASE_IDS = tuple(f"p{n}" for n in range(9))

END = boundary_us(2100)
"""Later than everything: all that happened counts, and all that ended has."""
Step = tuple[int, str]
BASIS: list[Step] = [(0, "basis")]


class Bought(NamedTuple):
    us: int
    cents: dict[str, int]
    vouchers: frozenset[str]


class GaveBack(NamedTuple):
    us: int
    purchase_id: str
    cents: dict[str, int]
    complete: bool


@dataclass
class ModelVoucher:
    """What the API did with a voucher; what events did is in the purchases that name it."""

    owner: str
    points: int
    issued_us: int
    redeemed: dict[str, int] = field(default_factory=dict)
    undone: list[tuple[str, int, int]] = field(default_factory=list)
    """Purchase, redeemed at, undone at."""
    held: tuple[str, int] = ("", 0)
    """The purchase that reserved it, and until when."""
    cancelled_us: float = OPEN


@dataclass
class Model:
    """All that happened, and the formulas of the rules over it; `t` is the instant up to which events count."""

    programme: Programme
    purchases: dict[tuple[str, str], Bought] = field(default_factory=dict)
    returns: dict[tuple[str, str], GaveBack] = field(default_factory=dict)
    timelines: dict[str, tuple[tuple[int, int], list[Step]]] = field(default_factory=dict)
    vouchers: dict[str, ModelVoucher] = field(default_factory=dict)
    products: list[tuple[str, int, int]] = field(default_factory=list)
    """Of each product ordered: member, points, instant."""
    conflicts: int = 0

    def hear(self, known: dict[tuple[str, str], Any], key: tuple[str, str], fact: Bought | GaveBack) -> None:
        """Rules 3.7."""
        self.conflicts += known.setdefault(key, fact) != fact

    def eligible(self, cents: dict[str, int], us: int) -> int:
        """Rules 3.1."""
        return max(0, sum(cents[name] for name in cents if name in self.programme.at(us).earning_classes))

    def remaining(self, member: str, purchase_id: str, t: int) -> int:
        """Rules 3.3."""
        bought = self.purchases[member, purchase_id]
        backs = [r for (m, _), r in self.returns.items() if (m, r.purchase_id) == (member, purchase_id) and r.us <= t]
        if any(back.complete for back in backs):
            return 0
        left = self.eligible(bought.cents, bought.us) - sum(self.eligible(back.cents, bought.us) for back in backs)
        return max(0, left)

    def percent(self, member: str, us: int) -> int:
        """Rules 3.6: the last step whose `after` is strictly earlier."""
        _, steps = self.timelines.get(member, ((0, 0), BASIS))
        level = [name for after, name in steps if after < us][-1]
        return self.programme.at(us).bonus_percent[level]

    def rows(self, member: str, t: int) -> list[tuple[str, int, int, int]]:
        """Of each purchase known: id, remaining cents, percent, civil year."""
        return [
            (number, self.remaining(member, number, t), self.percent(member, bought.us), civil_year(bought.us))
            for (m, number), bought in sorted(self.purchases.items())
            if m == member and bought.us <= t
        ]

    def uses(self, voucher_id: str, t: int) -> dict[str, tuple[int, float]]:
        """Rules 3.10: since when and until when each purchase uses the voucher."""
        voucher, found = self.vouchers[voucher_id], {}
        for number in PURCHASE_IDS:
            named = {m: b for (m, n), b in self.purchases.items() if n == number and voucher_id in b.vouchers}
            naming = {m: b.us for m, b in named.items() if b.us <= t}
            if naming:
                found[number] = (min(naming.values()), max(self.ended(m, number, t) for m in naming))
            elif voucher.redeemed.get(number, OPEN) <= t:
                found[number] = (voucher.redeemed[number], OPEN)
        for number, since, undone in voucher.undone:
            if since <= t < undone and number not in found:
                found[number] = (since, OPEN)  # it was not undone yet
        return found

    def ended(self, member: str, purchase_id: str, t: int) -> float:
        """From when on a purchase is completely returned."""
        backs = [r for (m, _), r in self.returns.items() if (m, r.purchase_id) == (member, purchase_id)]
        first = min((back.us for back in backs if back.complete and back.us <= t), default=OPEN)
        return max(first, self.purchases[member, purchase_id].us)

    def cost(self, voucher_id: str, at: int, t: int) -> int:
        """What a voucher costs its owner, a step function of `at`, by what happened up to `t`."""
        voucher = self.vouchers[voucher_id]
        if voucher.issued_us > t:
            return 0
        uses = sum(since <= at < until for since, until in self.uses(voucher_id, t).values())
        is_cancelled = voucher.cancelled_us <= min(at, t) and not uses
        return voucher.points * ((voucher.issued_us <= at) + max(uses, 1) - 1 - is_cancelled)

    def state(self, member: str, t: int, now_us: int) -> dict[str, Any]:
        """Rules 3.2, 3.8 and 3.9, as `loyalty state` prints them."""
        rows = self.rows(member, t)
        points = [(left * (100 + percent) // 10_000, left // 100, year) for _, left, percent, year in rows]
        own = [voucher_id for voucher_id, voucher in self.vouchers.items() if voucher.owner == member]
        expired = 0
        for boundary in range(2000, civil_year(now_us) + 1):
            expiring = sum(total for total, _, year in points if year + 4 <= boundary)
            debited = sum(self.cost(voucher_id, boundary_us(boundary) - 1, t) for voucher_id in own)
            debited += self.ordered(member, min(t, boundary_us(boundary) - 1))
            expired = max(expired, expiring - debited)
        earned, spent = sum(total for total, _, _ in points), sum(self.cost(one, END, t) for one in own)
        spent += self.ordered(member, t)
        text = "".join(f"{number} {left} {percent}\n" for number, left, percent, _ in rows)
        return {
            "member_id": member,
            "balance": earned - spent - expired,
            "earned": earned,
            "bonus": sum(total - base for total, base, _ in points),
            "spent": spent,
            "expired": expired,
            "adjusted": 0,
            "purchases": len(rows),
            "digest": sha256(text.encode()).hexdigest(),
        }

    def end(self, voucher_id: str) -> int:
        """From when on a voucher that nothing uses cannot be used."""
        ended = [until for _, until in self.uses(voucher_id, END).values() if until != OPEN]
        ends = [midnight_us(civil_day(int(until)) + 31) for until in ended]
        return max([boundary_us(civil_year(self.vouchers[voucher_id].issued_us) + 4), *ends])

    def is_named(self, voucher_id: str, purchase_id: str) -> bool:
        """Whether an event of the purchase names the voucher."""
        return any(number == purchase_id and voucher_id in b.vouchers for (_, number), b in self.purchases.items())

    def ordered(self, member: str, t: int) -> int:
        """Points spent on products up to an instant."""
        return sum(points for who, points, us in self.products if who == member and us <= t)

    def refusal(self, voucher_id: str, purchase_id: str, now_us: int) -> type[Problem] | None:
        """Why the API refuses to redeem a voucher for a purchase that has not used it yet."""
        voucher, uses = self.vouchers[voucher_id], self.uses(voucher_id, END)
        if any(until == OPEN for _, until in uses.values()):
            return VoucherAlreadyRedeemed
        if voucher.cancelled_us < OPEN:
            return VoucherCancelled
        if now_us >= self.end(voucher_id):
            return VoucherExpired
        holder, until_us = voucher.held
        if now_us < until_us and holder != purchase_id:
            return VoucherReserved
        bought = self.purchases.get((voucher.owner, purchase_id))
        if bought is not None and bought.vouchers:
            return PurchaseHasVoucher
        others = [other for other in self.vouchers.values() if other is not voucher]
        taken = any(purchase_id in other.redeemed for other in others)
        held = any(other.held[0] == purchase_id and now_us < other.held[1] for other in others)
        return PurchaseHasVoucher if taken or held else None
