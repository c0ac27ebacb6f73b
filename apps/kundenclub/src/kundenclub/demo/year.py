"""The year as the tills report it: real receipts, and around them what the data set does not have.

Made up, from one seed, and so the same in every run: the card number of a household, till numbers, returns, receipts
that reach Kafka late or overtaken by others, and receipts that are sent twice.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random
from typing import NamedTuple

import msgspec
from programme.facts import PURCHASE_COMPLETED, PURCHASE_RETURNED

from kundenclub.demo.receipts import Line, Receipt

RETURNED_SHARE = 0.03
LATE_SHARE = 0.02
OVERTAKEN_SHARE = 0.05
REPEATED_SHARE = 0.01
TILLS_PER_STORE = 12


class TillEvent(NamedTuple):
    """One event as a till sends it; `data` is its JSON."""

    type: str
    member_id: str
    data: bytes


class PurchaseCompleted(msgspec.Struct, gc=False):
    """`kundenclub.purchase.completed.v1`."""

    purchase_id: str
    member_id: str
    occurred_at: str
    channel: str
    store_id: str
    till_id: str
    lines: list[Line]
    currency: str = "EUR"
    vouchers: tuple[str, ...] = ()


class PurchaseReturned(msgspec.Struct, gc=False):
    """`kundenclub.purchase.returned.v1`."""

    return_id: str
    purchase_id: str
    member_id: str
    occurred_at: str
    channel: str
    store_id: str
    till_id: str
    lines: list[Line]
    complete: bool
    currency: str = "EUR"


@dataclass
class Tally:
    """What the year consists of, in events sent."""

    purchases: int = 0
    returns: int = 0
    late: int = 0
    repeated: int = 0

    @property
    def events(self) -> int:
        """All of them, repeats included."""
        return self.purchases + self.returns + self.repeated


class _Held(NamedTuple):
    """An event that reaches Kafka later than it happened."""

    due: datetime
    number: int
    event: TillEvent


class TillYear:
    """Turns receipts into the stream of events in the order in which Kafka gets them."""

    def __init__(self, seed: int, last_day: date) -> None:
        self.tally = Tally()
        self._last_day = last_day
        self._random = Random(seed)
        self._held: list[_Held] = []
        self._held_ever = 0
        self._encode = msgspec.json.Encoder().encode

    def events(self, receipts: Iterable[Receipt]) -> Iterator[TillEvent]:
        """All events of the receipts, which come in the order they were sold."""
        for receipt in receipts:
            while self._held and self._held[0].due <= receipt.sold_at:
                yield heapq.heappop(self._held).event
            yield from self._sold(receipt)
        while self._held:
            yield heapq.heappop(self._held).event

    def _sold(self, receipt: Receipt) -> Iterator[TillEvent]:
        self.tally.purchases += 1
        event = self._purchase(receipt)
        delay = self._delay()
        if delay is None:
            yield event
        else:
            self._hold(receipt.sold_at + delay, event)
        if self._random.random() < REPEATED_SHARE:
            self.tally.repeated += 1
            self._hold(receipt.sold_at + timedelta(minutes=self._random.randrange(1, 3 * 24 * 60)), event)
        if self._random.random() < RETURNED_SHARE:
            self._take_back(receipt)

    def _delay(self) -> timedelta | None:
        chance = self._random.random()
        if chance < LATE_SHARE:
            self.tally.late += 1
            return timedelta(minutes=self._random.randrange(60, 10 * 24 * 60))
        if chance < LATE_SHARE + OVERTAKEN_SHARE:
            return timedelta(seconds=self._random.randrange(30, 15 * 60))
        return None

    def _hold(self, due: datetime, event: TillEvent) -> None:
        self._held_ever += 1
        heapq.heappush(self._held, _Held(due, self._held_ever, event))

    def _purchase(self, receipt: Receipt) -> TillEvent:
        purchase = PurchaseCompleted(
            purchase_id=purchase_id(receipt),
            member_id=member_id(receipt),
            occurred_at=receipt.sold_at.isoformat(),
            channel="pos",
            store_id=f"{receipt.store_id:04d}",
            till_id=_till(receipt),
            lines=receipt.lines,
        )
        return TillEvent(PURCHASE_COMPLETED, purchase.member_id, self._encode(purchase))

    def _take_back(self, receipt: Receipt) -> None:
        """Some or all lines come back within two weeks: perhaps before a late till has reported the sale."""
        taken_back_at = receipt.sold_at + timedelta(minutes=self._random.randrange(60, 14 * 24 * 60))
        if taken_back_at.date() > self._last_day:
            return
        self.tally.returns += 1
        complete = self._random.random() < 0.3
        lines = receipt.lines if complete else self._random.sample(receipt.lines, (len(receipt.lines) + 1) // 2)
        returned = PurchaseReturned(
            return_id=f"{purchase_id(receipt)}-r1",
            purchase_id=purchase_id(receipt),
            member_id=member_id(receipt),
            occurred_at=taken_back_at.isoformat(),
            channel="pos",
            store_id=f"{receipt.store_id:04d}",
            till_id=_till(receipt),
            lines=lines,
            complete=complete,
        )
        self._hold(taken_back_at, TillEvent(PURCHASE_RETURNED, returned.member_id, self._encode(returned)))


def member_id(receipt: Receipt) -> str:
    """The card of the household."""
    return f"M{receipt.household_id:07d}"


def purchase_id(receipt: Receipt) -> str:
    """Store, till and the data set's own basket number, so that every receipt can be found in the data again."""
    return f"s{receipt.store_id:04d}-t{_till(receipt)}-{receipt.basket_id}"


def _till(receipt: Receipt) -> str:
    return f"{receipt.basket_id % TILLS_PER_STORE + 1:02d}"
