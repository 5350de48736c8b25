"""The number scanner against float(), and the number printer against format()."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isaacmm.motion.io import numbers
from isaacmm.motion.io.numbers import NumberError, format_rows, parse_numbers

digits = st.text("0123456789", max_size=9)
plain = st.builds(
    lambda sign, whole, point, part: (
        sign + (whole or ("" if point and part else "0")) + point + (part if point else "")
    ),
    st.sampled_from(["", "-", "+"]),
    digits,
    st.sampled_from(["", "."]),
    st.text("0123456789", max_size=20),
)
scientific = st.builds(
    lambda v, e, letter: f"{v}{letter}{e}",
    st.integers(-9999, 9999),
    st.integers(-12, 12),
    st.sampled_from("eE"),
)
space = st.sampled_from([" ", "  ", "\t", "\n", "\r\n", " \n\n "])


@given(st.lists(st.tuples(st.one_of(plain, scientific), space), max_size=30))
@example([("-0.000001", " "), ("7", "\n"), (".5", " "), ("5.", " "), ("123456789.123456789", " ")])
@example([("1e3", " ")])
@settings(max_examples=100, deadline=None)
def test_reads_what_float_reads(words: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in words).encode()
    expected = np.array([float(word) for word, _ in words])
    np.testing.assert_allclose(parse_numbers(text), expected, rtol=3e-16, atol=0)


def test_fixed_decimals_are_read_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, over many blocks, for every usual number of decimals."""
    monkeypatch.setattr(numbers, "_BLOCK", 4096)
    draw = np.random.default_rng(0)
    for decimals in range(9):
        words = [f"{v:.{decimals}f}" for v in draw.normal(0, 300, 3000)]
        text = " ".join(words).encode()
        assert (parse_numbers(text) == np.array([float(word) for word in words])).all()


def test_reads_a_part_of_a_text() -> None:
    text = b"head 1 2 3 tail"
    assert parse_numbers(text, 5, 10).tolist() == [1, 2, 3]
    assert parse_numbers(b"", 0).tolist() == []
    assert parse_numbers(b" \n ").tolist() == []
    assert parse_numbers(b"4").tolist() == [4]


def test_a_number_longer_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "_BLOCK", 16)
    text = b"1.5 " + b"0" * 100 + b"2.25 3.5 " * 20
    assert parse_numbers(text)[:3].tolist() == [1.5, 2.25, 3.5]
    assert len(parse_numbers(text)) == 41


def test_not_a_number_is_a_number() -> None:
    values = parse_numbers(b"1 nan -1.#IND00 inf -1.#INF 1.#QNAN0 2")
    assert values[[0, -1]].tolist() == [1, 2]
    assert np.isnan(values[[1, 2, 5]]).all()
    assert values[3] == math.inf and values[4] == -math.inf


@pytest.mark.parametrize("word", ["abc", "1-2", "--3", "1.2.3", "-", ".", "1,5", "0x10", "1_000", "1e", "é"])
def test_what_is_no_number_is_named_with_its_place(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in (1 << 17, 64):
        monkeypatch.setattr(numbers, "_BLOCK", block)
        text = b"1.5 " * 30 + word.encode("latin-1") + b" 2.5" * 30
        with pytest.raises(NumberError) as caught:
            parse_numbers(text)
        assert caught.value.index == 30
        assert caught.value.token == word


@pytest.mark.parametrize("decimals", range(7))
def test_prints_what_format_prints(decimals: int) -> None:
    draw = np.random.default_rng(decimals)
    for spread in (1.0, 500.0, 5_000.0, 1e7):
        values = draw.normal(0, spread, (40, 7))
        values[0, :3] = 0.0, -1e-9, 999.9999996
        printed = b"".join(format_rows(values, decimals)).decode()
        assert len(printed.splitlines()) == 40
        back = np.array([[float(word) for word in line.split()] for line in printed.splitlines()])
        np.testing.assert_allclose(back, values, atol=0.5001 * 10.0**-decimals, rtol=0)
        assert "-0" + ("." + "0" * decimals if decimals else "") not in printed.split()
        assert all(len(word.partition(".")[2]) == decimals for word in printed.split())


def test_nothing_to_print() -> None:
    assert b"".join(format_rows(np.zeros((0, 3)))) == b""
    with pytest.raises(ValueError, match="decimals"):
        format_rows(np.zeros((1, 1)), 9)
