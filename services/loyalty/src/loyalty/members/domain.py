"""Ledger entries in words: what caused each of them (docs/architecture.md, section 4)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from programme.calendar import civil_day, date_of


class LedgerLine(NamedTuple):
    """One entry as it is stored."""

    entry_no: int
    posted_at: datetime
    kind: str
    points: int
    purchase_id: str | None
    cause_id: str | None
    level: str | None


class Moment(NamedTuple):
    """When a purchase or return happened, and when the log had it."""

    occurred_us: int
    received_us: int


class Moments(NamedTuple):
    """Those of one member's purchases and returns that some entries speak of, by id."""

    purchases: Mapping[str, Moment]
    returns: Mapping[str, Moment]
    reasons: Mapping[str, str] = MappingProxyType({})
    """The reason codes of adjustments."""

    def of(self, kind: str, business_id: str) -> Moment | None:
        """The moment of a "purchase" or "return"; None for anything else."""
        return {"purchase": self.purchases, "return": self.returns}.get(kind, {}).get(business_id)


class Cause(NamedTuple):
    """What an entry follows from: `kind` says what `id` names, `text` tells it to people."""

    kind: str
    id: str | None
    text: str


class LevelCause(NamedTuple):
    """What made a purchase be rated anew: a purchase, a return, or a timeline as such."""

    kind: str
    id: str

    @classmethod
    def of(cls, line: LedgerLine) -> "LevelCause":
        """The cause of an entry of kind level, stored as `<kind> <id>`."""
        kind, _, business_id = (line.cause_id or "timeline").partition(" ")
        return cls(kind, business_id)


def named_ids(lines: Sequence[LedgerLine]) -> tuple[set[str], set[str]]:
    """The purchases and the returns that `tell` must know the moments of."""
    purchases = {line.purchase_id for line in lines if line.purchase_id is not None}
    returns = {line.cause_id for line in lines if line.kind == "return" and line.cause_id is not None}
    for line in lines:
        if line.kind == "level":
            cause = LevelCause.of(line)
            if cause.kind == "purchase":
                purchases.add(cause.id)
            elif cause.kind == "return":
                returns.add(cause.id)
    return purchases, returns


def tell(line: LedgerLine, moments: Moments) -> Cause:
    """The cause of an entry, in words that end with its points."""
    points = f"{line.points:+}"
    match line.kind:
        case "purchase":
            assert line.purchase_id is not None
            return Cause("purchase", line.purchase_id, f"{_dated('purchase', line.purchase_id, moments)}: {points}")
        case "return":
            assert line.cause_id is not None
            back = _dated("return", line.cause_id, moments)
            return Cause("return", line.cause_id, f"{back} took back goods of {line.purchase_id}: {points}")
        case "level":
            cause = LevelCause.of(line)
            return Cause(*cause, f"{_new_level(line, cause, moments)}: {points}")
        case "reward":
            return Cause("voucher", line.cause_id, f"voucher {line.cause_id} was issued: {points}")
        case "voucher":
            return Cause("voucher", line.cause_id, f"{_uses(line)}: {points}")
        case "product":
            return Cause("product", line.cause_id, f"{line.cause_id} was ordered: {points}")
        case "adjustment":
            reason = moments.reasons.get(line.cause_id or "", "unknown")
            return Cause("adjustment", line.cause_id, f"adjustment {line.cause_id} by staff, {reason}: {points}")
        case "expiry":
            return Cause("expiry", line.cause_id, f"{_expiry(line)}: {points}")
        case _:
            what = _mended(line)
            return Cause(line.kind, line.purchase_id or line.cause_id, f"{what} was put right from the log: {points}")


def _mended(line: LedgerLine) -> str:
    """A rebuild mends positions, which its entry names as its purchase, what rewards cost, and adjustments."""
    if line.purchase_id is not None:
        return f"purchase {line.purchase_id}"
    named = line.cause_id or ""
    return named if named.startswith(("adjustment ", "product-")) else f"voucher {named}"


def adjustment_ids(lines: Sequence[LedgerLine]) -> list[int]:
    """The adjustments that `tell` must know the reasons of."""
    return [int(line.cause_id) for line in lines if line.kind == "adjustment" and line.cause_id is not None]


def _dated(kind: str, business_id: str, moments: Moments) -> str:
    """`purchase X of 2026-03-03`, the civil date in Berlin."""
    moment = moments.of(kind, business_id)
    if moment is None:
        return f"{kind} {business_id}"
    return f"{kind} {business_id} of {date_of(civil_day(moment.occurred_us))}"


def _new_level(line: LedgerLine, cause: LevelCause, moments: Moments) -> str:
    """Late is a cause that was received after the purchase it rates anew; else the level only came after the points."""
    assert line.purchase_id is not None
    rating = f"{line.purchase_id} is {line.level or 'rated otherwise'} now"
    heard, rated = moments.of(*cause), moments.of("purchase", line.purchase_id)
    if heard is None or rated is None:
        return f"{cause.kind} {cause.id} came; {rating}"
    dated = _dated(cause.kind, cause.id, moments)
    if heard.received_us > rated.received_us:
        return f"{dated} arrived late; {rating}"
    return f"{dated} was judged after {line.purchase_id} was posted; {rating}"


def _uses(line: LedgerLine) -> str:
    if line.purchase_id is None:
        return f"voucher {line.cause_id} was {'charged' if line.points < 0 else 'given back'}"
    if line.points < 0:
        return f"purchase {line.purchase_id} used voucher {line.cause_id}, which nothing had paid for"
    return f"the use of voucher {line.cause_id} by purchase {line.purchase_id} was given back"


def _expiry(line: LedgerLine) -> str:
    boundary = f"1 January {line.cause_id}"
    if line.points < 0:
        return f"points that were not spent by {boundary} expired"
    return f"fewer points than posted had expired by {boundary}"
