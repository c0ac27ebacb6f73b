"""One line a purchase, hashed: how two services compare what they know of a member without naming it."""

from collections.abc import Iterable
from hashlib import sha256


def digest(rows: Iterable[tuple[str, int, int]]) -> str:
    """Hex SHA-256 over the lines `<purchase_id> <remaining eligible cents> <bonus percent>`, sorted by the first."""
    text = "".join(f"{purchase_id} {cents} {percent}\n" for purchase_id, cents, percent in sorted(rows))
    return sha256(text.encode()).hexdigest()
