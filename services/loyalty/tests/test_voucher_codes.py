"""Voucher codes: derived, checked, read as people type them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loyalty.vouchers.codes import ALPHABET, MalformedCode, grouped, normalised, parse_keys, voucher_id

KEYS = parse_keys("1:" + "11" * 32 + ",2:" + "22" * 32)
CODE = KEYS.code(1, 1)


def test_a_code_is_the_same_every_time_and_differs_by_number_and_key() -> None:
    assert KEYS.code(1, 1) == CODE
    assert len({KEYS.code(number, version) for number in range(1000) for version in (1, 2)}) == 2000


def test_the_newest_key_issues() -> None:
    assert KEYS.newest == 2


def test_voucher_id_is_the_first_half_of_the_codes_sha256() -> None:
    assert voucher_id(CODE) == hashlib.sha256(CODE.encode()).hexdigest()[:32]


@pytest.mark.parametrize("typed", [grouped(CODE), CODE.lower(), f" {grouped(CODE)} "])
def test_codes_are_read_as_people_type_them(typed: str) -> None:
    assert normalised(typed) == CODE


def test_i_and_l_are_one_and_o_is_zero() -> None:
    code = next(c for c in (KEYS.code(n, 1) for n in range(1000)) if "1" in c and "0" in c)
    assert normalised(code.replace("1", "I", 1).replace("0", "o", 1)) == code
    assert normalised(code.replace("1", "l", 1)) == code


@given(st.integers(0, 10**12), st.integers(0, 15), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_noticed(number: int, place: int, character: str) -> None:
    code = KEYS.code(number, 1)
    if code[place] != character:
        with pytest.raises(MalformedCode):
            normalised(code[:place] + character + code[place + 1 :])


@given(st.integers(0, 10**12), st.integers(0, 14))
def test_two_swapped_neighbours_are_always_noticed(number: int, place: int) -> None:
    code = KEYS.code(number, 1)
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    if swapped != code:
        with pytest.raises(MalformedCode):
            normalised(swapped)


@pytest.mark.parametrize("text", ["", "0", "U" * 16, "0" * 17, "é" * 16, "ßßßßßßßß"])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(MalformedCode):
        normalised(text)


@pytest.mark.parametrize("text", ["", "1", "1:zz", "1:" + "11" * 31, "a:" + "11" * 32])
def test_wrong_keys_are_refused_without_telling_them(text: str) -> None:
    with pytest.raises(ValueError, match="version:64-hex-digits") as refused:
        parse_keys(text)
    assert "11" * 31 not in str(refused.value)
