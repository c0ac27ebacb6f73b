"""Arrays as the text PostgreSQL reads them, for `$1::text::bigint[]`.

asyncpg asks every element of an array twice whether it is a container; with a dozen arrays of a batch's length that is
a tenth of a worker's time. Casting the whole array from one text costs a third of it.
"""

from collections.abc import Collection, Iterable, Sequence

import msgspec

_decode_numbers = msgspec.json.Decoder(list[int]).decode
_encode = msgspec.json.Encoder().encode
_BETWEEN = "\0"
"""No text of PostgreSQL has one."""


def numbers(values: Collection[int | None]) -> str:
    """The text of an array of integers; None is NULL."""
    return "{" + _encode([*values]).decode()[1:-1] + "}"


def texts(values: Iterable[str]) -> str:
    """The text of an array of text, json or anything else that is written as text. Raises ValueError for a NUL."""
    elements = list(values)
    if not elements:
        return "{}"
    joined = _BETWEEN.join(elements)
    if joined.count(_BETWEEN) >= len(elements):
        raise ValueError("a text with a NUL, which PostgreSQL has no place for")
    escaped = joined.replace("\\", "\\\\").replace('"', '\\"').replace(_BETWEEN, '","')
    return f'{{"{escaped}"}}'


def lists(values: Sequence[Sequence[int]]) -> str:
    """The text of an array of texts, each that of an array of integers: unnest takes no lists of several lengths."""
    if not values:
        return "{}"
    inner = msgspec.json.encode(values).decode()[2:-2].replace("],[", '}","{')
    return f'{{"{{{inner}}}"}}'


def read_numbers(text: str) -> list[int]:
    """The integers of an array that was selected as text."""
    return _decode_numbers(f"[{text[1:-1]}]")
