"""Writes the year as JSON lines, as `kundenclub publish` takes them. Also a program, so that its memory is given back.

python -m kundenclub.demo.prepare FILE LAST_DAY SEED
"""

import sys
from datetime import date
from pathlib import Path

import msgspec

from kundenclub.demo.receipts import Receipt, read_receipts
from kundenclub.demo.year import Tally, TillYear

SEED = 2017


class Prepared(msgspec.Struct):
    """What a file holds. `cents` is what all receipts add up to, returns not taken off."""

    tally: Tally
    cents: int


def write_year(file: Path, last_day: date, seed: int) -> Prepared:
    """The whole year, ending on `last_day`; the same for the same day and seed."""
    cents = 0

    def summed(receipt: Receipt) -> Receipt:
        nonlocal cents
        cents += sum(line.amount_cents for line in receipt.lines)
        return receipt

    year = TillYear(seed, last_day)
    with file.open("wb") as lines:
        for event in year.events(map(summed, read_receipts(last_day))):
            lines.write(b'{"type":"%b","data":%b}\n' % (event.type.encode(), event.data))
    return Prepared(year.tally, cents)


if __name__ == "__main__":
    prepared = write_year(Path(sys.argv[1]), date.fromisoformat(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.buffer.write(msgspec.json.encode(prepared))
