"""Decimal text to float64 and back, vectorised: what a BVH file spends its time on.

numpy's own text reader takes about 200 ns per number. Here a block of text that fits the cache is
treated as one array: separators and decimal points are located, the eight digits before and after
each point are fetched as one 64-bit word, and all words are turned into integers in three
multiply-and-add steps (the "SIMD within a register" way of reading eight digits at once, described
by Lemire and by Mula). The integer is below 2^53 and the power of ten exact, so the division
rounds correctly, as ``float()`` does; beyond 16 significant digits the last bit may differ. Numbers
with an exponent, and anything else unusual, go through ``float()`` one by one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["NumberError", "format_rows", "parse_numbers"]

_BLOCK = 1 << 17
_PAD = 24  # white space around a block, so that the words before the first and after the last number exist

_U = np.uint64
_NIBBLES = _U(0x0F0F0F0F0F0F0F0F)
_BYTES = _U(0x00FF00FF00FF00FF)
_WORDS = _U(0x0000FFFF0000FFFF)
_LOW = _U(0x00000000FFFFFFFF)
#: word masks: keep the last ``n`` of eight characters (high bytes), or the first ``n`` (low bytes)
_KEEP_LAST = np.array([0] + [((1 << 8 * n) - 1) << (64 - 8 * n) for n in range(1, 9)], dtype=_U) & _NIBBLES
_KEEP_FIRST = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=_U) & _NIBBLES


class NumberError(ValueError):
    """A token that is no number. ``index`` counts tokens from the start of the text."""

    def __init__(self, token: str, index: int) -> None:
        super().__init__(f"{token!r} is not a number")
        self.token = token
        self.index = index


def parse_numbers(text: bytes, start: int = 0, stop: int | None = None) -> np.ndarray:
    """All numbers of ``text[start:stop]``, separated by any white space, as float64 ``[n]``.

    Raises:
        NumberError: a token that is no number. ``nan``, ``inf`` and the spellings that C libraries
            print for them (``-1.#IND``) are numbers.
    """
    stop = len(text) if stop is None else stop
    parts: list[np.ndarray] = []
    work = np.empty(_BLOCK + 2 * _PAD, dtype=np.uint8)
    done = 0
    while start < stop:
        end = _cut(text, start, min(start + _BLOCK, stop), stop)
        size = end - start
        if size + 2 * _PAD > len(work):
            work = np.empty(size + 2 * _PAD, dtype=np.uint8)
        block = work[: size + 2 * _PAD]
        block[:_PAD] = 32
        block[_PAD : _PAD + size] = np.frombuffer(text, dtype=np.uint8, count=size, offset=start)
        block[_PAD + size :] = 32
        try:
            values = _parse_block(block)
        except NumberError as error:
            raise NumberError(error.token, error.index + done) from None
        parts.append(values)
        done += len(values)
        start = end
    return np.concatenate(parts) if parts else np.zeros(0)


def _cut(text: bytes, start: int, end: int, stop: int) -> int:
    """The last white space up to ``end``, so that no number is cut in two."""
    if end == stop:
        return end
    while end < stop:
        at = max(text.rfind(space, start + 1, end) for space in (b" ", b"\n", b"\t", b"\r"))
        if at > start:
            return at
        end = min(end + _BLOCK, stop)  # one token longer than a block
    return end


def _parse_block(text: np.ndarray) -> np.ndarray:
    """Numbers of a writable block that begins and ends with white space."""
    white = text <= 32
    ends = np.flatnonzero(white)
    points = int(np.count_nonzero(text == 46))
    signs = int(np.count_nonzero((text == 45) | (text == 43)))
    digits = int(np.count_nonzero((text - np.uint8(48)) < 10))
    odd_at = odd_value = None
    if digits + points + signs + len(ends) != len(text):
        odd_at, odd_value = _take_odd(text, ends)
        ends = np.flatnonzero(text <= 32)
        points = int(np.count_nonzero(text == 46))
        signs = int(np.count_nonzero((text == 45) | (text == 43)))
    starts = ends[:-1] + 1
    ends = ends[1:]
    full = ends > starts
    if not full.all():  # more than one separator between numbers
        starts, ends = starts[full], ends[full]
    if not len(starts):
        return np.zeros(0)
    first = text[starts]
    negative = first == 45
    signed = negative | (first == 43)
    if int(np.count_nonzero(signed)) != signs:  # a sign inside a number
        return _parse_slowly(text)
    decimals = _same_decimals(text, starts, ends, points)
    point = ends - (decimals + 1) if decimals else _points(text, starts, ends)
    if point is None:
        return _parse_slowly(text)
    before = point - starts
    before -= signed
    after = np.maximum(ends - point - 1, 0) if not decimals else np.full(1, decimals)
    longest_before, longest_after = int(before.max()), int(after.max())
    if int(before.min()) == 0 and int((before + after).min()) == 0:  # a sign or a point alone
        return _parse_slowly(text)

    # every 8 characters that start at byte i, as one word
    words = np.ndarray((len(text) - 7,), dtype="<u8", buffer=text.data, strides=(1,)).copy()
    whole = _eight_digits(words[point - 8] & _KEEP_LAST.take(before, mode="clip"))
    parts = _eight_digits(words[point + 1] & _KEEP_FIRST.take(after, mode="clip"))
    sign = 1.0 - 2.0 * negative
    if longest_after <= 8:
        whole *= _U(100_000_000)
        whole += parts
        value = whole.astype(np.float64)
        value /= 1e8
    else:
        tail = _eight_digits(words[point + 9] & _KEEP_FIRST.take(after - 8, mode="clip"))
        value = whole.astype(np.float64) + (parts.astype(np.float64) + tail.astype(np.float64) / 1e8) / 1e8
    value *= sign
    if longest_before > 8 or longest_after > 16:
        for i in np.flatnonzero((before > 8) | (after > 16)):
            value[i] = float(text[starts[i] : ends[i]].tobytes())
    if odd_at is not None:
        value[np.searchsorted(starts, odd_at)] = odd_value
    return value


def _same_decimals(text: np.ndarray, starts: np.ndarray, ends: np.ndarray, points: int) -> int:
    """How many characters follow the point in every number, or 0 if that differs.

    Files mostly have as many decimals in every number, which saves looking for the points.
    """
    if points != len(starts):
        return 0
    found = np.flatnonzero(text[starts[0] : ends[0]] == 46)
    if not len(found):
        return 0
    decimals = int(ends[0] - starts[0] - found[0]) - 1
    guess = ends - (decimals + 1)
    # One point per number on the whole, and one at the guess in each: so none has two.
    return decimals if (guess >= starts).all() and (text[guess] == 46).all() else 0


def _points(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """Position of each number's decimal point, or of its end; None if one has two."""
    is_point = text == 46
    seen = np.cumsum(is_point, dtype=np.int32)
    per_token = seen[ends] - seen[starts - 1]
    if int(per_token.max()) > 1:
        return None
    point = ends.copy()
    point[per_token == 1] = np.flatnonzero(is_point)
    return point


def _eight_digits(word: np.ndarray) -> np.ndarray:
    """Words of eight digit values (first digit in the lowest byte) to the numbers they spell."""
    word = (word * _U(10) + (word >> _U(8))) & _BYTES
    word = (word * _U(100) + (word >> _U(16))) & _WORDS
    return (word * _U(10_000) + (word >> _U(32))) & _LOW


def _take_odd(text: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read the tokens with unusual characters by ``float()`` and replace them by a zero in the block.

    Returns:
        Where these tokens start, and their values.
    """
    usual = (text <= 57) & (text >= 43) & (text != 44) & (text != 47) | (text <= 32)
    token = np.unique(np.searchsorted(ends, np.flatnonzero(~usual)))
    starts = ends[token - 1] + 1
    values = np.empty(len(token))
    for i, (start, end) in enumerate(zip(starts, ends[token], strict=True)):
        spelled = text[start:end].tobytes()
        try:
            values[i] = _float(spelled)
        except ValueError:
            before = text[:start].tobytes()
            raise NumberError(spelled.decode("latin-1"), len(before.split())) from None
        text[start:end] = 32
        text[start] = 48
    return starts, values


def _float(token: bytes) -> float:
    """``float``, and what old C libraries print for not-a-number."""
    if b"#" in token:
        upper = token.upper()
        if b"#IND" in upper or b"NAN" in upper:
            return float("nan")
        if b"#INF" in upper:
            return float("-inf" if upper.startswith(b"-") else "inf")
    if b"_" in token:  # Python would take 1_000 for a number
        raise ValueError(token)
    return float(token)


def _parse_slowly(text: np.ndarray) -> np.ndarray:
    """One token at a time; finds the one that is no number."""
    tokens = text.tobytes().split()
    values = np.empty(len(tokens))
    for i, token in enumerate(tokens):
        try:
            values[i] = _float(token)
        except ValueError:
            raise NumberError(token.decode("latin-1"), i) from None
    return values


# ------------------------------------------------------------------------ writing
@lru_cache(maxsize=16)
def _tables(decimals: int, digits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Text of the three pieces of a number as 32-bit words, unused characters zero.

    Sign and whole part (index ``whole + 10**digits * negative``), point with the first up to three
    decimals, the remaining decimals with the space behind.
    """
    most = 10**digits
    width = 4 if digits == 3 else 8
    lead = "".join(f"{sign}{whole}".rjust(width, "\0") for sign in ("", "-") for whole in range(most))
    high, low = min(decimals, 3), max(decimals - 3, 0)
    first = "".join((f".{i:0{high}d}" if high else "").ljust(4, "\0") for i in range(10**high))
    rest = "".join(((f"{i:0{low}d}" if low else "") + " ").ljust(4, "\0") for i in range(10**low))

    def words(text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), dtype="<u4")

    return words(lead).reshape(2 * most, -1), words(first), words(rest)


def format_rows(values: np.ndarray, decimals: int = 6) -> list[bytes]:
    """Rows of numbers as text: fixed ``decimals`` (0 to 6), spaces between, a newline after each row.

    Args:
        values: ``[rows, columns]``, finite.

    Returns:
        Blocks of text; joined, they are the whole.
    """
    if not 0 <= decimals <= 6:
        raise ValueError(f"decimals={decimals}: from 0 to 6")
    rows, columns = values.shape
    if not columns:
        return [b"\n" * rows]
    step = max(1, 16_384 // columns)
    return [_format_block(values[i : i + step], decimals) for i in range(0, rows, step)]


def _format_block(values: np.ndarray, decimals: int) -> bytes:
    scaled = np.rint(values * 10.0**decimals)
    largest = float(np.abs(scaled).max(initial=0.0)) / 10.0**decimals
    if not largest < 9999:
        rounded = (scaled / 10.0**decimals + 0.0).tolist()  # + 0.0: no minus before a zero
        return "".join(" ".join(f"{v:.{decimals}f}" for v in row) + "\n" for row in rounded).encode()
    number = scaled.astype(np.int64)
    negative = number < 0
    np.abs(number, out=number)
    whole = number // 10**decimals
    fraction = number - whole * 10**decimals
    digits = 3 if largest < 999 else 4
    lead, first, rest = _tables(decimals, digits)
    split = 10 ** max(decimals - 3, 0)
    high = fraction // split
    whole += negative * 10**digits
    words = lead.shape[1]
    out = np.empty((*values.shape, words + 2), dtype="<u4")
    out[..., :words] = lead[whole]
    out[..., words] = first[high]
    out[..., words + 1] = rest[fraction - high * split]
    text = out.view(np.uint8).reshape(len(values), -1)
    last = text[:, -4:]
    last[last == 32] = 10  # the space after a row's last number
    return text.tobytes().translate(None, b"\0")
