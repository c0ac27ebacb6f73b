"""A member's levels (rules 3.4 to 3.6) as a machine that is fed one event at a time and fits in one database column.

Events in order of the instants at which they take effect cost microseconds; one that comes late is applied in place
where that provably changes no level, else the caller replays the member's history. Either way `timeline_of` gives
what `fold` gives for the same set of events.

How: purchases of one day share their fate. They live until the same midnight, by the same terms, and the last one of
them still worth something has collected what the whole day has. So the state keeps one entry a day of the last year:
its points net of returns (`nets`) and the points collected within the year as of that day (`sums`). A level is held
until the anniversary of the newest entry whose sum reaches the threshold and whose net is above zero (`support`).

Days are keys (`calendar.day_key`): two a day, because the first instant of a day still counts for what ends with it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import msgspec

from programme.calendar import day_key, key_midnight_us, valid_until_key
from programme.points import remaining_cents, total_points
from programme.terms import BASE_LEVEL, WON_LEVELS, Programme, Terms
from programme.timeline import BASIS, Step, Timeline, level_at

_NO_SUPPORT = 0
_FOREVER_US = 2**63 - 1
_HIGHEST_FIRST = WON_LEVELS[::-1]


class KnownPurchase(NamedTuple):
    """A purchase as the levels see it: eligible cents by its own terms, before returns."""

    purchase_id: str
    occurred_us: int
    eligible_cents: int


class KnownReturn(NamedTuple):
    """A return whose purchase is known: eligible cents by the terms of that purchase."""

    purchase_id: str
    occurred_us: int
    eligible_cents: int
    complete: bool


class LevelState(msgspec.Struct, array_like=True):
    """What one member's levels are made of, as of `high_us`. Only this module reads or changes it."""

    high_us: int
    """The latest instant at which an event took effect."""
    steps: list[Step]
    """The timeline before `high_us`; the last step is the level at it."""
    support: list[int]
    """For each level above basis, the highest first, the key of the newest entry that earns it."""
    peak: int
    """No window ever held more points than this."""
    keys: list[int]
    nets: list[int]
    total: int
    """The sum of `nets`, so that a purchase need not add them up."""
    sums: list[int]
    """Points collected within the year as of the entry's day, or less if it earns no level either way."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(LevelState)


def new_state() -> LevelState:
    """The state of a member who has bought nothing."""
    return LevelState(0, list(BASIS), [_NO_SUPPORT] * len(_HIGHEST_FIRST), 0, [], [], 0, [])


def encode(state: LevelState) -> bytes:
    """Pack a state: about 40 bytes, and 8 a purchase day of the last year."""
    return _ENCODER.encode(state)


def decode(packed: bytes) -> LevelState:
    """The inverse of `encode`."""
    return _DECODER.decode(packed)


def add_purchase(programme: Programme, state: LevelState, purchase: KnownPurchase) -> bool:
    """Add a new purchase, without its returns. False: it came too late, `replay` is needed and `state` is void."""
    if purchase.eligible_cents == 0:
        return True
    us, key = purchase.occurred_us, day_key(purchase.occurred_us)
    late = us < state.high_us
    if not late:
        _advance(state, us, key)
    terms = programme.at(us)
    points = _collected(terms, terms.bonus_percent[level_at(state.steps, us)], purchase.eligible_cents)
    if points == 0:
        return True
    if not late:
        _collect(terms, state, key, points)
    elif state.peak + points < programme.lowest_threshold:
        _collect_late(state, key, points)
    else:
        return False
    return True


def add_return(
    programme: Programme,
    state: LevelState,
    purchase: KnownPurchase,
    ret: KnownReturn,
    returned_cents: int,
    completed: bool,
) -> bool:
    """Add a new return of a purchase that was added before. False: as for `add_purchase`.

    `returned_cents` is the sum of the eligible cents of the returns of this purchase that were added before, and
    `completed` whether one of them was complete: so a service that keeps the two with the purchase needs no other
    row. Returns that waited for their purchase are added after it, ascending by their instants.
    """
    if purchase.eligible_cents == 0 or (ret.eligible_cents == 0 and not ret.complete):
        return True
    us = max(ret.occurred_us, purchase.occurred_us)
    if us >= state.high_us:
        _advance(state, us, day_key(us))
    elif state.peak >= programme.lowest_threshold:
        return False
    terms = programme.at(purchase.occurred_us)
    percent = terms.bonus_percent[level_at(state.steps, purchase.occurred_us)]
    before = remaining_cents(purchase.eligible_cents, returned_cents, completed)
    after = remaining_cents(purchase.eligible_cents, returned_cents + ret.eligible_cents, completed or ret.complete)
    points = _collected(terms, percent, before) - _collected(terms, percent, after)
    if points:
        _give_back(programme, state, day_key(purchase.occurred_us), points)
    return True


def replay(programme: Programme, purchases: Sequence[KnownPurchase], returns: Sequence[KnownReturn]) -> LevelState:
    """The state after a whole history, given in any order. The purchases of all returns must be among it."""
    state = new_state()
    bought = {purchase.purchase_id: purchase for purchase in purchases}
    returned: dict[str, tuple[int, bool]] = {}
    for _, purchase, ret in _in_order(bought, returns):
        if ret is None:
            add_purchase(programme, state, purchase)
            continue
        cents, completed = returned.get(ret.purchase_id, (0, False))
        add_return(programme, state, purchase, ret, cents, completed)
        returned[ret.purchase_id] = (cents + ret.eligible_cents, completed or ret.complete)
    return state


def timeline_of(state: LevelState) -> Timeline:
    """The member's timeline, with the lapses that are already certain (rules 3.6)."""
    return (*state.steps, *_upcoming(state, _FOREVER_US))


def _in_order(
    bought: Mapping[str, KnownPurchase], returns: Sequence[KnownReturn]
) -> list[tuple[int, KnownPurchase, KnownReturn | None]]:
    """Purchases, and returns with theirs, by the instant they take effect; of one instant, purchases first."""
    moments: list[tuple[int, KnownPurchase, KnownReturn | None]]
    moments = [(purchase.occurred_us, purchase, None) for purchase in bought.values()]
    for ret in returns:
        purchase = bought[ret.purchase_id]
        moments.append((max(ret.occurred_us, purchase.occurred_us), purchase, ret))
    moments.sort(key=itemgetter(0))
    return moments


def _collected(terms: Terms, bonus_percent: int, cents: int) -> int:
    return total_points(cents, bonus_percent if terms.count_bonus else 0)


def _upcoming(state: LevelState, before_us: int) -> Iterator[Step]:
    """The steps from `high_us` to `before_us` if nothing happens: each level until it lapses, the highest first."""
    level, since_us = state.steps[-1].level, state.high_us
    for held, support in zip(_HIGHEST_FIRST, state.support, strict=True):
        if support == _NO_SUPPORT:
            continue
        until_us = key_midnight_us(valid_until_key(support))
        if until_us > since_us:
            if held != level:
                yield Step(since_us, held)
            level, since_us = held, until_us
        if since_us >= before_us:
            return
    if level != BASE_LEVEL:
        yield Step(since_us, BASE_LEVEL)


def _advance(state: LevelState, us: int, key: int) -> None:
    """Move on to an instant: what lies before it is settled, what is no longer live on it is dropped."""
    if us == state.high_us:
        return
    state.steps.extend(_upcoming(state, us))
    state.high_us = us
    lapsed = 0
    for entry in state.keys:
        if valid_until_key(entry) >= key:
            break
        lapsed += 1
    if lapsed:
        state.total -= sum(state.nets[:lapsed])
        del state.keys[:lapsed], state.nets[:lapsed], state.sums[:lapsed]


def _collect(terms: Terms, state: LevelState, key: int, points: int) -> None:
    """Add points of a purchase at `high_us`."""
    if state.keys and state.keys[-1] == key:
        state.nets[-1] += points
    else:
        state.keys.append(key)
        state.nets.append(points)
        state.sums.append(0)
    state.total += points
    collected = state.sums[-1] = state.total
    state.peak = max(state.peak, collected)
    for index, level in enumerate(_HIGHEST_FIRST):
        if collected >= terms.thresholds[level]:
            state.support[index] = key


def _collect_late(state: LevelState, key: int, points: int) -> None:
    """Add points of an earlier purchase of a member who was never above basis and, with them, still is not.

    None of the entries then earns a level, now or later, so their sums need not be put right.
    """
    state.peak += points
    index = bisect_left(state.keys, key)
    if index < len(state.keys) and state.keys[index] == key:
        state.nets[index] += points
        state.total += points
    elif valid_until_key(key) >= day_key(state.high_us):
        state.keys.insert(index, key)
        state.nets.insert(index, points)
        state.total += points
        state.sums.insert(index, 0)


def _give_back(programme: Programme, state: LevelState, key: int, points: int) -> None:
    """Take points of a purchase back from `high_us` on: from its own day and from all sums it is in."""
    first, end = bisect_left(state.keys, key), bisect_right(state.keys, valid_until_key(key))
    state.sums[first:end] = [collected - points for collected in state.sums[first:end]]
    if first < end and state.keys[first] == key:
        state.nets[first] -= points
        state.total -= points
    for index, level in enumerate(_HIGHEST_FIRST):
        if state.support[index] >= key:
            state.support[index] = _newest_support(programme, state, level, state.support[index])


def _newest_support(programme: Programme, state: LevelState, level: str, newest: int) -> int:
    """The newest entry that earns a level, given that none after `newest` does."""
    for index in range(bisect_right(state.keys, newest) - 1, -1, -1):
        key = state.keys[index]
        threshold = programme.at(key_midnight_us(key)).thresholds[level]
        if state.nets[index] > 0 and state.sums[index] >= threshold:
            return key
    return _NO_SUPPORT
