"""A made-up history of a club that has everything in it that is awkward, the same for the same seed.

There is no conflict in it: of two events with one business key and different content the first in the log counts, and
that alone depends on the order (rules 3.7).
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from programme.calendar import anniversary_day, civil_day, day_of, midnight_us
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED
from programme.instants import parse_instant, to_datetime

from tests.proofs.terms import AWKWARD_DATES

FIRST_US, LAST_US = parse_instant("2021-11-01T00:00:00Z"), parse_instant("2026-11-20T00:00:00Z")
DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
AWKWARD_DAYS = [day_of(date) + off for date in AWKWARD_DATES for off in (0, 0, 0, -1, 1)]
OFFSETS_H = (0, 1, 2, 1, 2, -5, 9)
CLASSES = ("goods", "food", "service", "book", "deposit", "tobacco", "gift_card", "hover_board")
CENTS = (99, 250, 1_990, 2_190, 4_321, 9_999, 10_000, 33_333, 50_000, 90_909, 99_900, 100_000, 250_000)

Event = dict[str, Any]


@dataclass
class History:
    """Events as JSON objects `{"type", "data"}`, and how often each awkward thing is among them."""

    events: list[Event] = field(default_factory=list)
    refused: int = 0
    contains: Counter[str] = field(default_factory=Counter)


def make_history(*, events: int, members: int, seed: int) -> History:
    """At least `events` events of `members` members."""
    return _Author(seed, members).write(events)


@dataclass(frozen=True)
class _Bought:
    member_id: str
    purchase_id: str
    us: int
    cents: int


class _Author:
    def __init__(self, seed: int, members: int) -> None:
        self.chance = random.Random(seed)
        self.history = History()
        self.members = [f"M{number:06}" for number in range(members)]
        self.bought: dict[str, list[_Bought]] = {member_id: [] for member_id in self.members}
        self.numbers = iter(range(10**9))

    def write(self, events: int) -> History:
        """Every member shops at least once; some a hundred times more than others."""
        weights = [self.chance.paretovariate(1.2) for _ in self.members]
        for member_id in self.members:
            self._shop(member_id)
        while len(self.history.events) < events:
            for member_id in self.chance.choices(self.members, weights, k=min(1000, events // 10)):
                self._shop(member_id)
        self.history.events += list(self._odd_ones(max(1, events // 2000)))
        return self.history

    def _shop(self, member_id: str) -> None:
        us = self._instant(member_id)
        number = next(self.numbers)
        purchase_id = f"t{number % 7:02}-{number:08}" if number % 3 else f"{self.chance.randrange(2**64):016x}"
        lines = self._lines()
        cents = sum(line["amount_cents"] for line in lines if line["product_class"] in CLASSES[:3])
        purchase = _Bought(member_id, purchase_id, us, max(0, cents))
        self.bought[member_id].append(purchase)
        data: dict[str, Any] = {"currency": "EUR", "lines": lines, "channel": self.chance.choice(("pos", "webshop"))}
        if self.chance.random() < 0.01:
            data["vouchers"] = [f"{self.chance.randrange(2**128):032x}"]
            self._note("purchases that name a voucher nobody issued")
        self._add(PURCHASE_COMPLETED, purchase_id=purchase_id, member_id=member_id, us=us, **data)
        if self.chance.random() < 0.003:
            self._note("purchase ids under two cards")
            other = self.chance.choice(self.members)
            if other != member_id:
                self._add(PURCHASE_COMPLETED, purchase_id=purchase_id, member_id=other, us=us, **data)
        if self.chance.random() < 0.12:
            self._give_back(purchase)

    def _instant(self, member_id: str) -> int:
        """Anywhere, at an awkward hour, together with another purchase, or where a year after one ends."""
        kind, before = self.chance.random(), self.bought[member_id]
        if before and kind < 0.08:
            self._note("purchases at the same microsecond as another")
            return self.chance.choice(before).us
        if before and kind < 0.16:
            end = midnight_us(anniversary_day(civil_day(self.chance.choice(before).us)))
            if end < LAST_US:
                self._note("purchases where a year ends, a microsecond before or after")
                return end + self.chance.choice((-1, 0, 1))
        if kind < 0.35:
            self._note("purchases on a leap day, a change of the clock, a turn of year or of terms")
            hour_us = self.chance.choice((0, 1, -1, 1, 2, 3, 12)) * HOUR_US + self.chance.choice((0, 0, 1, -1, 12_345))
            return midnight_us(self.chance.choice(AWKWARD_DAYS)) + hour_us
        us = self.chance.randrange(FIRST_US, LAST_US)
        return us if self.chance.random() < 0.3 else us - us % 1_000_000

    def _lines(self) -> list[dict[str, Any]]:
        lines = [self._line() for _ in range(self.chance.choice((1, 1, 2, 3)))]
        kind = self.chance.random()
        if kind < 0.04:
            self._note("exchanges")
            lines.append({"product_class": "goods", "amount_cents": -self.chance.choice(CENTS[:5])})
        elif kind < 0.05:
            self._note("negative totals")
            lines.append({"product_class": "goods", "amount_cents": -400_000})
        elif kind < 0.06:
            self._note("baskets of nothing")
            return [{"product_class": "goods", "amount_cents": 0}]
        return lines

    def _line(self) -> dict[str, Any]:
        name = self.chance.choices(CLASSES, (60, 60, 20, 10, 8, 4, 4, 4))[0]
        if name == CLASSES[-1]:
            self._note("lines of a class the terms do not know")
        return {"product_class": name, "amount_cents": self.chance.choice(CENTS)}

    def _give_back(self, purchase: _Bought) -> None:
        kind = self.chance.random()
        if kind < 0.15:
            self._note("purchases given back in many parts")
            for _ in range(self.chance.randint(5, 22)):
                self._return(purchase, 99)
        elif kind < 0.45:
            self._note("complete returns")
            self._return(purchase, self.chance.choice((0, purchase.cents)), complete=True)
        elif kind < 0.55:
            self._note("more given back than bought")
            self._return(purchase, purchase.cents + 1_000)
        elif kind < 0.6:
            self._note("returns under another card")
            self._return(purchase, 500, member_id=self.chance.choice(self.members))
        else:
            self._note("partial returns")
            for _ in range(self.chance.randint(1, 3)):
                self._return(purchase, self.chance.randint(1, max(1, purchase.cents)))

    def _return(self, purchase: _Bought, cents: int, *, member_id: str | None = None, complete: bool = False) -> None:
        """Before its purchase by a till's clock, in the same instant, or up to three years later."""
        us = purchase.us + self.chance.choice((-HOUR_US, -1, 0, 1, HOUR_US, DAY_US, 20 * DAY_US, 400 * DAY_US))
        if us <= purchase.us:
            self._note("returns dated before or with their purchase")
        name = self.chance.choice(("goods", "goods", "food", "book", "deposit"))
        lines = [{"product_class": name, "amount_cents": cents}] if cents or not complete else []
        self._add(
            PURCHASE_RETURNED,
            return_id=f"r{next(self.numbers):08}",
            purchase_id=purchase.purchase_id,
            member_id=member_id or purchase.member_id,
            us=min(us, LAST_US),
            lines=lines,
            complete=complete,
        )

    def _odd_ones(self, count: int) -> Iterator[Event]:
        """What the services skip or refuse, whenever it comes."""
        for number in range(count):
            data = {
                "purchase_id": f"odd-{number}",
                "member_id": self.chance.choice(self.members),
                "occurred_at": "2026-01-10T10:00:00Z",
                "currency": "EUR",
                "lines": [{"product_class": "goods", "amount_cents": 100_000}],
            }
            yield {"type": PURCHASE_COMPLETED, "data": data | {"member_id": None}}
            yield {"type": PURCHASE_COMPLETED, "data": data | {"currency": "USD"}}
            yield {"type": PURCHASE_COMPLETED, "data": data | {"occurred_at": "2099-01-10T10:00:00Z"}}
        self.history.refused = 2 * count
        self.history.contains["events refused"] = 2 * count
        self.history.contains["purchases without a card"] = count

    def _add(self, event_type: str, *, us: int, **data: Any) -> None:
        self.history.events.append({"type": event_type, "data": data | {"occurred_at": self._written(us)}})

    def _written(self, us: int) -> str:
        """The instant as a till anywhere in the world writes it."""
        offset_h = self.chance.choice(OFFSETS_H)
        local = to_datetime(us + offset_h * HOUR_US).replace(tzinfo=None)
        return f"{local.isoformat()}{offset_h:+03}:00"

    def _note(self, what: str) -> None:
        self.history.contains[what] += 1


def written(event: Event) -> str:
    """An event as a line of a file for `kundenclub publish`."""
    return json.dumps(event) + "\n"
