"""The orders in which one history reaches the log. Each may repeat events, none loses or changes one."""

import random
from collections.abc import Callable

from programme.facts import PURCHASE_RETURNED
from programme.instants import parse_instant

from tests.proofs.history import Event

Order = Callable[[list[Event], random.Random], list[Event]]


def _occurred_us(event: Event) -> int:
    return parse_instant(event["data"]["occurred_at"])


def as_it_happened(events: list[Event], chance: random.Random) -> list[Event]:
    """By the instants of the tills, each event once."""
    return sorted(events, key=_occurred_us)


def backwards(events: list[Event], chance: random.Random) -> list[Event]:
    """The newest first: every event changes the past of what is known already."""
    return sorted(events, key=_occurred_us, reverse=True)


def shuffled_with_repeats(events: list[Event], chance: random.Random) -> list[Event]:
    """Any order; a tenth of the accepted events comes again, half of those under a new event id."""
    accepted = [event for event in events if not event["data"]["purchase_id"].startswith("odd-")]
    again = chance.sample(accepted, len(events) // 10)
    log = events + [_sent_anew(event) if chance.random() < 0.5 else event for event in again]
    chance.shuffle(log)
    return log


def returns_first(events: list[Event], chance: random.Random) -> list[Event]:
    """All returns wait for their purchases."""
    return sorted(events, key=lambda event: (event["type"] != PURCHASE_RETURNED, chance.random()))


def tills_offline_for_months(events: list[Event], chance: random.Random) -> list[Event]:
    """As it happened, but a third of the events come up to two years late, many at once, and twice."""
    delay_us = 730 * 86_400_000_000
    heard = [(_occurred_us(e) + (chance.randrange(delay_us) if chance.random() < 0.33 else 0), e) for e in events]
    log = [event for _, event in sorted(heard, key=lambda pair: pair[0])]
    late = [event for event in log[-len(log) // 20 :] if not event["data"]["purchase_id"].startswith("odd-")]
    return log + late


ORDERS: tuple[Order, ...] = (
    as_it_happened,
    backwards,
    shuffled_with_repeats,
    returns_first,
    tills_offline_for_months,
)


def _sent_anew(event: Event) -> Event:
    """The same content in other bytes, so that `kundenclub publish` gives it another event id."""
    return event | {"data": event["data"] | {"sent": "again"}}
