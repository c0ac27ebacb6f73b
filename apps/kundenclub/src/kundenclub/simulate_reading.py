"""The events of a file, judged as the services judge them and kept by member, packed: millions fit in memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from programme.facts import Purchase, Refused, Return, accept

from kundenclub.contracts import PURCHASES
from kundenclub.lines import BadLine, read_line

SHOWN_LINES = 10

Fact = Purchase | Return


class History(NamedTuple):
    """What is known of a member: of each business key the first event (rules 3.7), in the order of the file."""

    member_id: str
    facts: list[Fact]
    repeats: int
    conflicts: int


class Histories:
    """Accepted events by member, each about as large as its ids until its member is asked for."""

    def __init__(self) -> None:
        self._packed: dict[str, _Packed] = {}

    def add(self, fact: Fact) -> None:
        """Keep one event more of its member."""
        packed = self._packed.get(fact.member_id)
        if packed is None:
            packed = self._packed[fact.member_id] = _Packed()
        packed.add(fact)

    def __iter__(self) -> Iterator[History]:
        """One history a member, by `member_id` as bytes sort (ids are ASCII)."""
        for member_id in sorted(self._packed):
            yield first_of_each(member_id, self._packed[member_id].facts(member_id))


@dataclass
class Account:
    """What became of the lines of a file."""

    accepted: int = 0
    without_member: int = 0
    other_topics: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    repeats: int = 0
    conflicts: int = 0
    first_lines: list[BadLine] = field(default_factory=list)
    """The first lines that are refused or unreadable."""

    def refuse(self, number: int, refusal: Refused) -> None:
        """Note an event that the services would make a dead letter."""
        self.refused[refusal.reason] += 1
        self._show(BadLine(number, str(refusal)))

    def cannot_read(self, line: BadLine) -> None:
        """Note a line that `publish` would not publish."""
        self.unreadable += 1
        self._show(line)

    def count(self, history: History) -> None:
        """Add what a member's events turned out to be."""
        self.repeats += history.repeats
        self.conflicts += history.conflicts

    def lines(self) -> Iterator[str]:
        """The account as people read it; silent about what did not occur."""
        yield f"{self.accepted:,} events accepted"
        counts = [
            (self.repeats, "repeats: they do nothing"),
            (self.conflicts, "conflicts: the first event of each key counts"),
            (self.without_member, "purchases without a member"),
            (self.other_topics, "events that are no purchases: left out"),
            *((count, f"refused: {reason}") for reason, count in sorted(self.refused.items())),
            (self.unreadable, "lines that cannot be published"),
        ]
        yield from (f"  {count:,} {what}" for count, what in counts if count)
        yield from (f"  line {bad.number}: {bad.reason}" for bad in self.first_lines)
        left_out = self.refused.total() + self.unreadable - len(self.first_lines)
        if left_out:
            yield f"  ... and {left_out:,} lines more"

    def _show(self, line: BadLine) -> None:
        if len(self.first_lines) < SHOWN_LINES:
            self.first_lines.append(line)


def read_histories(
    lines: Iterable[bytes], topic_by_type: Mapping[str, str], received_us: int
) -> tuple[Histories, Account]:
    """Read the lines that `publish` takes, as if each were a record that the log stamps with `received_us`."""
    histories, account = Histories(), Account()
    for number, text in enumerate(lines, 1):
        if text.isspace():
            continue
        line = read_line(number, text, topic_by_type)
        if isinstance(line, BadLine):
            account.cannot_read(line)
        elif line.message.topic != PURCHASES:
            account.other_topics += 1
        else:
            try:
                fact = accept(line.type, line.message.value or b"", line.message.key or None, received_us)
            except Refused as refusal:
                account.refuse(number, refusal)
                continue
            if fact is None:
                account.without_member += 1
            else:
                account.accepted += 1
                histories.add(fact)
    return histories, account


def first_of_each(member_id: str, facts: Iterable[Fact]) -> History:
    """Leave repeats and conflicts out and count them (rules 3.7)."""
    known: dict[tuple[bool, str], Fact] = {}
    repeats = conflicts = 0
    for fact in facts:
        key = (True, fact.purchase_id) if isinstance(fact, Purchase) else (False, fact.return_id)
        first = known.setdefault(key, fact)
        if first is not fact:
            repeats, conflicts = repeats + (first == fact), conflicts + (first != fact)
    return History(member_id, list(known.values()), repeats, conflicts)


class _Bought(msgspec.Struct, array_like=True, tag=0):
    purchase_id: str
    occurred_us: int
    cents_by_class: dict[str, int]
    vouchers: tuple[str, ...]


class _GaveBack(msgspec.Struct, array_like=True, tag=1):
    return_id: str
    purchase_id: str
    occurred_us: int
    cents_by_class: dict[str, int]
    complete: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Bought | _GaveBack]).decode
_ARRAY_32 = b"\xdd"


class _Packed:
    """One member's events as the elements of a MessagePack array, which wants only their number put before them."""

    __slots__ = ("_elements", "_number")

    def __init__(self) -> None:
        self._elements = bytearray()
        self._number = 0

    def add(self, fact: Fact) -> None:
        self._number += 1
        if isinstance(fact, Purchase):
            self._elements += _encode(_Bought(fact.purchase_id, fact.occurred_us, fact.cents_by_class, fact.vouchers))
        else:
            self._elements += _encode(
                _GaveBack(fact.return_id, fact.purchase_id, fact.occurred_us, fact.cents_by_class, fact.complete)
            )

    def facts(self, member_id: str) -> Iterator[Fact]:
        for each in _decode(_ARRAY_32 + self._number.to_bytes(4, "big") + self._elements):
            fact = Purchase if isinstance(each, _Bought) else Return
            yield fact(member_id, *msgspec.structs.astuple(each))
