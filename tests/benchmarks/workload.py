"""The events that are measured, and the history before them that gives every member an account and some a level.

The same arguments give the same events. Purchase ids and instants ascend, as tills make them.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from eventing.envelope import new_message
from eventing.records import Message
from kundenclub.contracts import PURCHASES
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED

SOURCE = "urn:benchmark"
SILVER_EVERY = 5
SILVER_CENTS = 110_000
REPEATS_PERCENT = 1
RETURNS_PERCENT = 3
REMEMBERED = 50_000
"""Repeats and returns are of one of the last so many purchases."""
PURCHASE_PREFIX = "s0367-"
"""Of the measured purchases' ids, and of no other's."""
_CLASSES = ("food", "deposit", "goods")


@dataclass(frozen=True)
class Workload:
    """`events` records about `members` members, all on `day` or, for the history, 60 days before it."""

    events: int
    members: int
    day: datetime
    seed: int = 1

    def history(self) -> Iterator[Message]:
        """One purchase a member; that of every fifth is large enough for a level, and so for a timeline."""
        day = self.day - timedelta(days=60)
        for n in range(self.members):
            cents = SILVER_CENTS if n % SILVER_EVERY == 0 else 1_000
            yield purchase(f"h{n:09}", member_id(n), day + timedelta(milliseconds=n), (cents, 25, 500))

    def measured(self) -> Iterator[Message]:
        """Purchases of three lines, 1 % of the events repeated, 3 % returns of one line."""
        chance = random.Random(self.seed)
        step = timedelta(hours=16) / self.events
        recent: list[tuple[str, str, Message]] = []
        for n in range(self.events):
            instant, dice = self.day + n * step, chance.random() * 100
            if recent and dice < REPEATS_PERCENT:
                yield chance.choice(recent)[2]
                continue
            if recent and dice < REPEATS_PERCENT + RETURNS_PERCENT:
                member, purchase_id, _ = chance.choice(recent)
                yield _returned(f"r{n:09}", purchase_id, member, instant)
                continue
            member, purchase_id = member_id(chance.randrange(self.members)), f"{PURCHASE_PREFIX}t02-20261122-{n:09}"
            cents = (398 + n % 1_000, 25, 1_299 + n % 777)
            message = purchase(purchase_id, member, instant, cents)
            recent.append((member, purchase_id, message))
            if len(recent) > 2 * REMEMBERED:
                del recent[:REMEMBERED]
            yield message


def member_id(n: int) -> str:
    """The n-th member."""
    return f"M{n:07}"


def purchase(purchase_id: str, member: str, instant: datetime, cents: tuple[int, int, int]) -> Message:
    """A purchase of three lines, about 750 bytes of data."""
    lines = [_line(number, amount) for number, amount in enumerate(cents)]
    data = _head(member, instant) | {"purchase_id": purchase_id, "lines": lines, "vouchers": []}
    return _message(PURCHASE_COMPLETED, member, data)


def _returned(return_id: str, purchase_id: str, member: str, instant: datetime) -> Message:
    data = _head(member, instant) | {"return_id": return_id, "purchase_id": purchase_id, "lines": [_line(0, 398)]}
    return _message(PURCHASE_RETURNED, member, data)


def _head(member: str, instant: datetime) -> dict[str, Any]:
    return {
        "member_id": member,
        "occurred_at": instant.isoformat(timespec="microseconds"),
        "channel": "pos",
        "store_id": "0367",
        "till_id": "02",
        "receipt_no": "2026-0367-02-004711",
        "currency": "EUR",
    }


def _line(number: int, amount_cents: int) -> dict[str, Any]:
    return {
        "line": number + 1,
        "sku": f"4006381{number:06}",
        "text": "Kaffee gemahlen 500 g",
        "product_class": _CLASSES[number],
        "quantity": 1,
        "amount_cents": amount_cents,
        "tax_percent": 19,
    }


def _message(event_type: str, member: str, data: dict[str, Any]) -> Message:
    return new_message(PURCHASES, type=event_type, source=SOURCE, key=member, data=json.dumps(data).encode())


def yesterday() -> datetime:
    """06:00 of the last day that is over everywhere the events could be from."""
    return datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0) - timedelta(days=1)
