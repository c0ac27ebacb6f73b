"""Voucher codes: 16 characters of Crockford's base 32, 15 of them derived by HMAC and one check character.

The code is derived from the voucher's number under a key that is kept outside the database (with its version), so it
can be shown to its owner again, and a stolen table holds no usable code. Vouchers are looked up by `voucher_id`, the
first 32 hex digits of the SHA-256 of the code, which is also what purchase events carry (rules 3.10).
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans({"I": "1", "L": "1", "O": "0", "-": None, " ": None})
_RANDOM_CHARACTERS = 15
_BITS = 5
_PRIMITIVE_POLYNOMIAL = 0b100101
"""x^5 + x^2 + 1 makes GF(32); x generates its 31 non-zero elements."""


class MalformedCode(ValueError):
    """Not a voucher code: wrong length, a character outside the alphabet, or a wrong check character."""


class VoucherKeys(NamedTuple):
    """HMAC keys by version; the highest version issues, the others still read."""

    keys: Mapping[int, bytes]

    @property
    def newest(self) -> int:
        """The version new vouchers are issued under."""
        return max(self.keys)

    def code(self, voucher_no: int, version: int) -> str:
        """The code of a voucher, 16 characters. Raises `KeyError` if the key's version is not configured."""
        mac = hmac.digest(self.keys[version], f"voucher:{voucher_no}".encode(), hashlib.sha256)
        bits = int.from_bytes(mac) >> (len(mac) * 8 - _RANDOM_CHARACTERS * _BITS)
        values = [(bits >> shift) & 31 for shift in range(70, -1, -_BITS)]
        return "".join(ALPHABET[value] for value in [*values, _check(values)])


def parse_keys(text: str) -> VoucherKeys:
    """Read `1:<64 hex digits>,2:<64 hex digits>`. Raises `ValueError` that names no key material."""
    keys: dict[int, bytes] = {}
    for part in filter(None, text.split(",")):
        version, _, digits = part.strip().partition(":")
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        if not version.isdigit() or len(key) != 32:
            raise ValueError("each key is written as version:64-hex-digits")
        keys[int(version)] = key
    if not keys:
        raise ValueError("at least one key, written as version:64-hex-digits")
    return VoucherKeys(keys)


def grouped(code: str) -> str:
    """The code as people read it: `ABCD-EFGH-JKMN-PQRS`."""
    return "-".join(code[i : i + 4] for i in range(0, len(code), 4))


def normalised(text: str) -> str:
    """The code as it was issued, read case-insensitively, with I and L as 1 and O as 0. Raises `MalformedCode`."""
    code = text.upper().translate(_READ_AS) if text.isascii() else ""
    if len(code) != _RANDOM_CHARACTERS + 1 or any(character not in ALPHABET for character in code):
        raise MalformedCode
    values = [ALPHABET.index(character) for character in code]
    if _check(values[:-1]) != values[-1]:
        raise MalformedCode
    return code


def voucher_id(code: str) -> str:
    """The public name of a normalised code (rules 3.10)."""
    return hashlib.sha256(code.encode()).hexdigest()[:32]


def _check(values: list[int]) -> int:
    """Weighted sum over GF(32): one wrong character or two neighbours swapped are always noticed."""
    total = 0
    for value in values:
        total = _times_x(total ^ value)
    return total


def _times_x(value: int) -> int:
    value <<= 1
    return value ^ _PRIMITIVE_POLYNOMIAL if value & 32 else value
