"""What the commands that fill gaps share: the network, when to trust it, and what to tell."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isaacmm.errors import MotionError, nearest
from isaacmm.motion.clip import Motion
from isaacmm.motion.commands import batch
from isaacmm.motion.io import registry

if TYPE_CHECKING:
    from isaacmm.inbetween.fill import Keys
    from isaacmm.inbetween.network import Network


def add(parser: argparse.ArgumentParser) -> None:
    """``--network``, ``--runs``, ``--denoise``, ``--trust``."""
    parser.add_argument("--network", default="latest",
                        help="run of task=MotionInbetween, a checkpoint, latest, or none (%(default)s)")  # fmt: skip
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are (%(default)s)")
    parser.add_argument("--denoise", type=float, default=0.0, metavar="DEGREES",
                        help="the given frames are noisy by about so much; they are corrected too")  # fmt: skip
    parser.add_argument("--trust", action="store_true", help="use the network even where interpolation did better")


def words(given: argparse.Namespace, kinds: Mapping[str, Callable[[str], object]]) -> None:
    """Settings among the clips, written ``rate=8``, are taken as ``--rate 8``.

    Raises:
        MotionError: an unknown setting, or a value it cannot have.
    """
    kinds = {"network": str, "runs": Path, "denoise": float, **kinds}
    rest = []
    for word in given.clips:
        name, equals, value = str(word).partition("=")
        if not equals or Path(word).exists() or "/" in name or "." in name:
            rest.append(word)
            continue
        if name not in kinds:
            raise MotionError(f"{word}: no such setting; {nearest(name, kinds)}")
        try:
            setattr(given, name, kinds[name](value))
        except ValueError:
            raise MotionError(f"{word}: wants a number") from None
    given.clips = rest


def take_out(given: argparse.Namespace, usage: str) -> None:
    """The last of several names is where to write, unless ``--out`` says."""
    if given.out is None:
        if len(given.clips) < 2:
            raise MotionError(f"say where to write: {usage}, or --out FOLDER for several clips")
        given.out = Path(given.clips.pop())
    if not given.clips:
        raise MotionError(f"say which clip: {usage}")


@dataclass
class Filled:
    """A clip, and what is to be told about how it was made."""

    motion: Motion
    lines: list[str] = field(default_factory=list)

    def written(self, place: Path) -> batch.Result:
        """Write it."""
        registry.write(self.motion.validate(), place)
        return {
            "out": str(place), "frames": self.motion.num_frames, "fps": self.motion.fps, "notes": self.lines,
        }  # fmt: skip


def say(result: batch.Result) -> str:
    """For people."""
    head = f"wrote {result['out']}: {result['frames']} frames at {result['fps']:g} fps"
    return "\n".join([head, *(f"  {line}" for line in result["notes"])])


class Filling:
    """Fills clips by the network that the command line names, or by interpolation, and says which."""

    def __init__(self, given: argparse.Namespace) -> None:
        if not 0.0 <= given.denoise <= 30.0:
            raise MotionError(f"denoise={given.denoise:g}: give the noise in degrees, from 0 to 30")
        self.word, self.runs, self.trust = str(given.network), given.runs, bool(given.trust)
        self.noise = math.radians(given.denoise)

    def upsample(self, motion: Motion, rate: int) -> Filled:
        """Every frame of the clip is a key."""
        from isaacmm.inbetween.fill import Keys

        keys = Keys.of(motion)
        seconds = torch.arange((len(keys) - 1) * rate + 1).double() / (rate * motion.fps)
        return self._filled(motion, keys, seconds, rate * motion.fps, dense=False)

    def between_poses(self, motion: Motion, count: int) -> Filled:
        """``count`` frames, at the clip's rate, between each two of its frames."""
        from isaacmm.inbetween.fill import Keys

        keys = Keys.of(motion)
        keys = replace(keys, seconds=keys.seconds * (count + 1))
        seconds = torch.arange((len(keys) - 1) * (count + 1) + 1).double() / motion.fps
        return self._filled(motion, keys, seconds, motion.fps, dense=False)

    def between(self, motion: Motion, known: Tensor) -> Filled:
        """Frames ``known [T]`` bool are keys; what is outside of them is left out."""
        from isaacmm.inbetween.fill import Keys

        which = known.nonzero().flatten()
        keys = Keys.of(motion, which)
        seconds = torch.arange(int(which[0]), int(which[-1]) + 1).double() / motion.fps
        dense = float(known.float().mean()) > 0.5
        made = self._filled(motion, keys, seconds, motion.fps, dense)
        dropped = motion.num_frames - len(seconds)
        if dropped:
            made.lines.append(f"{dropped} frames outside the first and last key are left out")
        return made

    # ------------------------------------------------------------------ inside
    def _filled(self, motion: Motion, keys: Keys, seconds: Tensor, fps: float, dense: bool) -> Filled:
        from isaacmm.inbetween import fill
        from isaacmm.inbetween.network import find, set_threads

        if len(keys) < 2:
            raise MotionError(f"{motion.name}: has {len(keys)} frame(s); at least two poses are needed")
        set_threads()
        network, why = find(self.word, motion, self.runs)
        if network is None:
            pos, rot = fill.interpolated(keys, seconds)
            return Filled(keys.motion(pos, rot, fps), [f"by plain interpolation: {why}"])
        use, lines = self._use(network, keys, dense)
        pos, rot = fill.filled(network, keys, seconds, self.noise, use)
        name = network.path.parent.parent.name if network.path.parent.name == "nn" else network.path.name
        head = f"by the network {name}" if bool(use.any()) else f"by plain interpolation, not by the network {name}"
        return Filled(keys.motion(pos, rot, fps), [head, *lines])

    def _use(self, network: Network, keys: Keys, dense: bool) -> tuple[Tensor, list[str]]:
        """Which gaps ``[K - 1]`` the network fills, and why."""
        from isaacmm.inbetween import fill

        lengths = torch.diff(keys.seconds)
        use = lengths <= network.longest * 1.01
        lines = []
        if not bool(use.all()):
            long = int((~use).sum())
            lines.append(
                f"{long} gaps longer than the {network.longest:.2f} s it learned, up to {float(lengths.max()):.2f} s, "
                "are interpolated"
            )
        if self.noise > 0:
            return use, lines
        real = lengths[use & (lengths > 1.5 * lengths.min())] if dense else lengths[use]
        if not len(real):
            return use, lines
        typical = float(real.median())
        better, figures = network.better(typical * network.fps - 1, dense)
        lines.append(f"gaps of {typical:.2f} s: {figures}")
        check = fill.check_gap(network, keys, typical) if dense else fill.check_keys(network, keys)
        if check is not None:
            what = "gaps like it cut elsewhere into this clip" if dense else "every second frame of this clip left out"
            lines.append(f"{what}: {check}")
            better = check.network < check.interpolation  # what the clip itself says counts more
        if not better and not self.trust:
            lines.append("interpolation did better: it is used instead (--trust: use the network all the same)")
            use = torch.zeros_like(use)
        return use, lines
