"""The BVH file as text: hierarchy, channels, numbers. No conversion of axes, units or angles.

Files in circulation break every assumption one can make about lines, so the hierarchy is read word
by word, the numbers without looking at lines at all, and only their count has to be right.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from isaacmm.errors import MotionError
from isaacmm.motion.io.numbers import NumberError, format_rows, parse_numbers

log = logging.getLogger(__name__)

CHANNELS = ("xposition", "yposition", "zposition", "xrotation", "yrotation", "zrotation")

_MOTION = re.compile(
    rb"(?:^|[\r}])[ \t]*MOTION\s+Frames\s*:?\s*(?P<frames>\d+)\s+Frame\s*Time\s*:?\s*(?P<time>[-+0-9.,eE]+)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass
class BvhText:
    """What a BVH file says, in its own axes and units.

    Attributes:
        names, parents: joints in file order; the root's parent is -1.
        offsets: ``[J, 3]``.
        channels: per joint its channel names, lower case, in file order.
        end_sites: ``{joint: offset}`` of the last end site below each joint that has one.
        values: ``[T, C]`` channel values; angles in degrees.
        frame_time: seconds per frame.
        frame_time_digits: decimals the file gives for it.
    """

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[tuple[float, float, float]] = field(default_factory=list)
    channels: list[tuple[str, ...]] = field(default_factory=list)
    end_sites: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    values: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    frame_time: float = 1.0 / 30.0
    frame_time_digits: int = 8

    @property
    def num_channels(self) -> int:
        """``C``."""
        return sum(len(names) for names in self.channels)

    @property
    def fps(self) -> float:
        """Frames per second; a whole number if the written frame time can be its rounding (0.033333: 30)."""
        whole = round(1.0 / self.frame_time)
        if whole and abs(1.0 / whole - self.frame_time) <= 10.0**-self.frame_time_digits:
            return float(whole)
        return 1.0 / self.frame_time

    def column(self, index: int) -> str:
        """Name of a channel column, for messages."""
        for name, channels in zip(self.names, self.channels, strict=True):
            if index < len(channels):
                return f"{name} {channels[index]}"
            index -= len(channels)
        return "?"


# ------------------------------------------------------------------------- read
def parse(path: Path, cut_short: str = "error") -> BvhText:
    """Read a BVH file.

    Args:
        path: the file.
        cut_short: what to do when the text ends inside a frame: ``"error"``, or ``"keep"`` the whole
            frames before it.

    Raises:
        MotionError: no BVH, damaged hierarchy (with its line), numbers that do not fit the channels.
    """
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    found = _MOTION.search(data)
    if not found:
        what = "its MOTION part is cut short" if b"HIERARCHY" in data[:200].upper() else "it has no HIERARCHY"
        raise MotionError(
            f"{path}: not a complete BVH file: {what} (expected MOTION, 'Frames: n', 'Frame Time: t'); "
            "copy or export it again."
        )
    text = _Hierarchy(data[: found.start()], path).read()
    frames = int(found["frames"])
    text.frame_time, text.frame_time_digits = _frame_time(found["time"], path)
    channels = text.num_channels
    if not channels:
        raise MotionError(f"{path}: no joint has a channel, so nothing moves; export it with animation.")
    numbers = _numbers(data, found.end(), text, path)
    text.values = _frames(numbers, frames, channels, data, found.end(), path, cut_short)
    return text


def _numbers(data: bytes, start: int, text: BvhText, path: Path) -> np.ndarray:
    """All values, in file order."""
    try:
        return parse_numbers(data, start)
    except NumberError as error:
        token = error.token.encode("latin-1")
        if data.endswith(token):  # cut off inside its last number
            return parse_numbers(data, start, len(data) - len(token))
        frame, column = divmod(error.index, text.num_channels)
        raise MotionError(
            f"{path}: {error.token!r} is not a number (frame {frame}, {text.column(column)}); "
            "export the clip again or correct the file there."
        ) from None


def _frame_time(spelled: bytes, path: Path) -> tuple[float, int]:
    """Seconds and the number of decimals they are given with."""
    plain = spelled.decode().replace(",", ".").lower()
    try:
        seconds = float(plain)
    except ValueError:
        seconds = 0.0
    if not 1e-5 < seconds < 100.0:
        raise MotionError(
            f"{path}: a frame time of {spelled.decode()!r} s is not possible; correct it, e.g. 0.0333333"
        )
    mantissa, _, exponent = plain.partition("e")
    decimals = len(mantissa.partition(".")[2]) - (int(exponent) if exponent else 0)
    return seconds, decimals


def _frames(
    numbers: np.ndarray, frames: int, channels: int, data: bytes, start: int, path: Path, cut_short: str
) -> np.ndarray:
    """``[T, C]``; what the header says about ``T`` yields to what is there."""
    whole, rest = divmod(len(numbers), channels)
    first_line = len(data[start : start + 200_000].lstrip().split(b"\n", 1)[0].split())
    if rest and (cut_short != "keep" or not whole):
        if first_line != channels and frames and len(numbers) % frames == 0:
            reason = (
                f"its {frames} frames hold {len(numbers) // frames} numbers each, the joints have {channels} "
                "channels; the hierarchy belongs to another motion"
            )
        else:
            reason = (
                f"the file ends inside frame {whole} of {frames} ({rest} of its {channels} numbers are "
                "there); copy or export it again, or read it with cut_short='keep' to keep the whole frames"
            )
        raise MotionError(f"{path}: {reason}.")
    if not whole:
        raise MotionError(f"{path}: holds no frames; export it with animation.")
    if rest or whole != frames:
        log.warning("%s: the header announces %d frames, %d are there; read these", path, frames, whole)
    return numbers[: whole * channels].reshape(whole, channels)


class _Hierarchy:
    """The words of a HIERARCHY, read one after the other."""

    def __init__(self, data: bytes, path: Path) -> None:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        self.path = path
        # a joint's name may hold spaces, so it is taken with its line; all else is single words
        self.lines = [
            (number, part.strip())
            for number, line in enumerate(text.splitlines(), start=1)
            for part in re.split(r"([{}])", line)
            if part.strip()
        ]
        self.at = 0
        self.text = BvhText()

    def fail(self, problem: str) -> MotionError:
        number = self.lines[min(self.at, len(self.lines) - 1)][0] if self.lines else 1
        return MotionError(
            f"{self.path}, line {number}: {problem}; export the file again or correct it there."
        )

    def read(self) -> BvhText:
        stack: list[int] = []  # open joints; -2 is an end site
        opening: int | None = None
        while self.at < len(self.lines):
            line = self.lines[self.at][1]
            word, _, rest = line.partition(" ") if "\t" not in line.split(" ")[0] else line.partition("\t")
            keyword = word.upper()
            if keyword == "HIERARCHY":
                pass
            elif keyword in ("ROOT", "JOINT"):
                opening = self.joint(keyword, rest.strip(), stack)
            elif keyword == "END":
                opening = -2
            elif line == "{":
                if opening is None:
                    raise self.fail("a '{' without a joint before it")
                stack.append(opening)
                opening = None
            elif line == "}":
                if not stack:
                    raise self.fail("a '}' too many")
                stack.pop()
            elif keyword == "OFFSET":
                self.offset(rest.split(), stack)
                continue
            elif keyword == "CHANNELS":
                self.channels(rest.split(), stack)
                continue
            else:
                raise self.fail(f"{line[:40]!r} is not part of a BVH hierarchy")
            self.at += 1
        if stack:
            raise self.fail(f"the hierarchy ends with {len(stack)} '{{' still open")
        if not self.text.names:
            raise self.fail("the hierarchy has no ROOT")
        return self.text

    def joint(self, keyword: str, name: str, stack: list[int]) -> int:
        text = self.text
        if keyword == "ROOT" and text.names:
            raise self.fail("a second ROOT: only files with one figure are read")
        if keyword == "JOINT" and (not stack or stack[-1] < 0):
            raise self.fail(f"joint {name!r} is not inside another joint")
        name = name or f"joint_{len(text.names)}"
        if name in text.names:
            unique = next(f"{name}_{n}" for n in range(2, 10_000) if f"{name}_{n}" not in text.names)
            log.warning("%s: two joints are named %r; the second is read as %r", self.path, name, unique)
            name = unique
        text.names.append(name)
        text.parents.append(stack[-1] if stack else -1)
        text.offsets.append((0.0, 0.0, 0.0))
        text.channels.append(())
        return len(text.names) - 1

    def words(self, have: list[str], count: int, what: str) -> list[str]:
        """``count`` words, going on in the next lines where a line was broken."""
        self.at += 1
        while len(have) < count:
            if self.at >= len(self.lines) or self.lines[self.at][1] in "{}":
                raise self.fail(f"{what}: {len(have)} given, {count} needed")
            have = have + self.lines[self.at][1].split()
            self.at += 1
        return have

    def offset(self, words: list[str], stack: list[int]) -> None:
        if not stack:
            raise self.fail("an OFFSET outside a joint")
        words = self.words(words, 3, "OFFSET")
        try:
            x, y, z = (float(word) for word in words[:3])
        except ValueError:
            raise self.fail(f"OFFSET {' '.join(words)!r} is not three numbers") from None
        if stack[-1] >= 0:
            self.text.offsets[stack[-1]] = (x, y, z)
        else:
            self.text.end_sites[self.text.names[stack[-2]]] = (x, y, z)

    def channels(self, words: list[str], stack: list[int]) -> None:
        if not stack or stack[-1] < 0:
            raise self.fail("CHANNELS outside a joint")
        words = self.words(words, 1, "CHANNELS")
        if not words[0].isdigit():
            raise self.fail(f"CHANNELS needs a number first, not {words[0]!r}")
        count = int(words[0])
        self.at -= 1
        words = self.words(words, 1 + count, "CHANNELS")
        names = tuple(word.lower() for word in words[1 : 1 + count])
        for name in names:
            if name not in CHANNELS:
                raise self.fail(f"{name!r} is not a channel (known: {', '.join(CHANNELS)})")
        if len({n for n in names if n.endswith("position")}) != sum(n.endswith("position") for n in names):
            raise self.fail("a joint has the same position channel twice")
        self.text.channels[stack[-1]] = names


# ------------------------------------------------------------------------ write
def blocks(text: BvhText, decimals: int = 6) -> Iterator[bytes]:
    """The file, block by block; joints must be in depth-first order (parents before their children)."""
    yield ("\n".join(_hierarchy_lines(text)) + "\n").encode()
    time = f"{text.frame_time:.8f}".rstrip("0")
    time += "0" * max(0, 6 - len(time.partition(".")[2]))
    yield f"MOTION\nFrames: {len(text.values)}\nFrame Time: {time}\n".encode()
    yield from format_rows(text.values, decimals)


def _hierarchy_lines(text: BvhText) -> Iterator[str]:
    yield "HIERARCHY"
    open_joints: list[int] = []
    capital = {name: name[0].upper() + name[1:] for name in CHANNELS}
    for joint, (name, parent) in enumerate(zip(text.names, text.parents, strict=True)):
        while open_joints and open_joints[-1] != parent:
            yield from _close(text, open_joints)
        depth = "\t" * len(open_joints)
        yield f"{depth}{'JOINT' if open_joints else 'ROOT'} {name}"
        yield f"{depth}{{"
        yield f"{depth}\tOFFSET {_triple(text.offsets[joint])}"
        channels = text.channels[joint]
        yield f"{depth}\tCHANNELS {len(channels)} {' '.join(capital[c] for c in channels)}".rstrip()
        open_joints.append(joint)
    while open_joints:
        yield from _close(text, open_joints)


def _close(text: BvhText, open_joints: list[int]) -> Iterator[str]:
    joint = open_joints.pop()
    depth = "\t" * len(open_joints)
    name = text.names[joint]
    if name in text.end_sites and joint not in text.parents:
        yield f"{depth}\tEnd Site"
        yield f"{depth}\t{{"
        yield f"{depth}\t\tOFFSET {_triple(text.end_sites[name])}"
        yield f"{depth}\t}}"
    yield f"{depth}}}"


def _triple(offset: tuple[float, float, float]) -> str:
    return " ".join(f"{value + 0.0:.6f}" for value in offset)
