"""Frames at any times between a clip's keys."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.inbetween.keys import Windows
from isaacmm.inbetween.network import Network
from isaacmm.inbetween.pose import Kinematics, decode, encode, local_rotations, to_motion
from isaacmm.motion.clip import Motion

#: Keys on each side of a gap that the network is shown, and how far they may be (s): as in training.
_CONTEXT, _SPAN = 10, 64 / 30
#: Gaps that are filled at once.
_CHUNK = 256


@dataclass(frozen=True)
class Keys:
    """Poses that are given.

    Attributes:
        seconds: ``[K]`` ascending (float64).
        pos: root ``[K, 3]`` m.
        rot: local rotations ``[K, B, 4]``.
        skeleton_of: the clip they are of.
    """

    seconds: Tensor
    pos: Tensor
    rot: Tensor
    skeleton_of: Motion

    @classmethod
    def of(cls, motion: Motion, frames: Tensor | None = None) -> Keys:
        """Frames ``[K]`` of a clip (None: all)."""
        frames = torch.arange(motion.num_frames) if frames is None else frames
        rot = local_rotations(motion)[frames]
        return cls(frames.double() / motion.fps, motion.root_pos[frames], rotation.make_continuous(rot), motion)

    def __len__(self) -> int:
        return len(self.seconds)

    def some(self, which: Tensor) -> Keys:
        """The keys ``which``."""
        return replace(self, seconds=self.seconds[which], pos=self.pos[which], rot=self.rot[which])

    def motion(self, pos: Tensor, rot: Tensor, fps: float) -> Motion:
        """A clip of the same skeleton and name."""
        return to_motion(self.skeleton_of.skeleton, pos, rot, fps, self.skeleton_of.name)


def interpolated(keys: Keys, seconds: Tensor) -> tuple[Tensor, Tensor]:
    """Plain interpolation at ``seconds [Q]``: root ``[Q, 3]``, local rotations ``[Q, B, 4]``."""
    gap = _gap_of(keys, seconds)
    start, end = keys.seconds[gap], keys.seconds[gap + 1]
    share = ((seconds - start) / (end - start)).clamp(0.0, 1.0).to(keys.pos)
    pos = torch.lerp(keys.pos[gap], keys.pos[gap + 1], share[:, None])
    a, b = keys.rot[gap], keys.rot[gap + 1]
    return pos, rotation.slerp(a, b, share[:, None].expand(a.shape[:-1]))


def _gap_of(keys: Keys, seconds: Tensor) -> Tensor:
    """``[Q]`` number of the key at or before each time, such that another key follows."""
    found = torch.searchsorted(keys.seconds, seconds + 1e-9, right=True) - 1
    return found.clamp(0, len(keys) - 2)


def filled(
    network: Network, keys: Keys, seconds: Tensor, noise: float = 0.0, use: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Root ``[Q, 3]`` and local rotations ``[Q, B, 4]`` at ``seconds [Q]``, by the network.

    At keys without noise the keys themselves come out.

    Args:
        network: it fits the clip (:meth:`Network.check`).
        keys: at least two.
        seconds: when.
        noise: spread of the keys' rotations (rad); with it, keys are corrected too.
        use: ``[K - 1]`` bool, gaps to use the network in; interpolation in the others.
    """
    pos, rot = interpolated(keys, seconds)
    gap = _gap_of(keys, seconds)
    nearest = torch.where((seconds - keys.seconds[gap + 1]).abs() < 1e-6, gap + 1, gap)
    at_key = (seconds - keys.seconds[nearest]).abs() < 1e-6
    asked = torch.ones_like(at_key) if noise > 0 else ~at_key
    if use is not None:
        asked &= use[gap]
    order = asked.nonzero().flatten()
    if not len(order):
        return pos, rot
    # queries of one gap side by side: slot of each among its gap's
    gaps, count = torch.unique_consecutive(gap[order], return_counts=True)
    slot = torch.arange(len(order)) - torch.repeat_interleave(count.cumsum(0) - count, count)
    row = torch.repeat_interleave(torch.arange(len(gaps)), count)
    table = torch.full((len(gaps), int(count.max())), -1)
    table[row, slot] = order
    for rows in torch.arange(len(gaps)).split(_CHUNK):
        width = int(count[rows].max())
        _fill_some(network, keys, seconds, gaps[rows], table[rows, :width], noise, pos, rot)
    return pos, rot


def _fill_some(
    network: Network, keys: Keys, seconds: Tensor, gaps: Tensor, table: Tensor, noise: float,
    pos: Tensor, rot: Tensor,
) -> None:  # fmt: skip
    """Fill ``gaps [g]`` whose queries are ``table [g, q]`` (-1: none), into ``pos`` and ``rot``."""
    index, valid = _context(network, keys, gaps)
    asked = table >= 0
    query = table.clamp(min=0)
    windows = Windows(
        torch.cat((keys.pos[index], pos[query]), dim=1), torch.cat((keys.rot[index], rot[query]), dim=1),
        keys.skeleton_of.skeleton.offsets, network.forward,
    )  # fmt: skip
    anchor = torch.full((len(gaps),), _CONTEXT - 1)  # the slot of the key before the gap
    here, turn, start = windows.moved(anchor)
    when = torch.cat((keys.seconds[index], seconds[query]), dim=1)
    first, last = keys.seconds[gaps][:, None], keys.seconds[gaps + 1][:, None]
    none = torch.zeros_like(index, dtype=when.dtype)
    since, until = seconds[query] - first, last - seconds[query]
    key = (since < 1e-6) | (until < 1e-6)  # only noisy keys are asked for
    known = torch.cat((valid, key & asked), dim=1)
    since, until = (torch.cat((none, x.masked_fill(key, 0.0)), dim=1) for x in (since, until))
    parts = (known, when - first, since, until, torch.full_like(when, noise))
    clock = torch.stack([p.to(keys.pos.dtype) for p in parts], dim=-1)
    with torch.no_grad():
        out = network.model(encode(here.pos, here.rot), clock)[:, index.shape[1] :]
    got_pos, got_rot = decode(out)
    back = replace(windows, pos=got_pos, rot=got_rot).moved_back(turn, start)
    pos[query[asked]], rot[query[asked]] = back.pos[asked], back.rot[asked]


def _context(network: Network, keys: Keys, gaps: Tensor) -> tuple[Tensor, Tensor]:
    """Keys ``[g, 20]`` around each gap, not nearer to each other than frames of training, and which are there."""
    spacing = float(torch.diff(keys.seconds).median())
    stride = max(1, round(1.0 / (network.fps * spacing)))
    steps = torch.arange(_CONTEXT) * stride
    index = torch.cat((gaps[:, None] - steps.flip(0), gaps[:, None] + 1 + steps), dim=1)
    there = (index >= 0) & (index < len(keys))
    index = index.clamp(0, len(keys) - 1)
    length = keys.seconds[gaps + 1] - keys.seconds[gaps]
    reach = ((_SPAN - length) / 2).clamp(min=_CONTEXT / network.fps)[:, None]
    when = keys.seconds[index]
    near = (when >= keys.seconds[gaps][:, None] - reach) & (when <= keys.seconds[gaps + 1][:, None] + reach)
    return index, there & near


def distance(keys: Keys, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """Mean distance of joints (mm) of two sets of poses ``(pos [Q, 3], rot [Q, B, 4])``."""
    kinematics = Kinematics(keys.skeleton_of.skeleton.parents)
    offsets = keys.skeleton_of.skeleton.offsets
    first, second = (kinematics(p, rotation.to_matrix(r), offsets)[0] for p, r in (a, b))
    return 1000.0 * float((first - second).norm(dim=-1).mean())


@dataclass(frozen=True)
class Check:
    """What leaving known frames out says about a clip: mean distances in mm."""

    network: float
    interpolation: float

    def __str__(self) -> str:
        return f"network {self.network:.1f} mm, interpolation {self.interpolation:.1f} mm"


def check_keys(network: Network, keys: Keys) -> Check | None:
    """Leave out every second key and ask for it; None where that would be too few or too far apart."""
    inner = torch.arange(len(keys))[1:-1:2]
    rest = torch.tensor([k for k in range(len(keys)) if k % 2 == 0 or k == len(keys) - 1])
    left = keys.some(rest)
    if len(keys) < 5 or float(torch.diff(left.seconds).max()) > network.longest:
        return None
    return _compare(network, left, keys.some(inner))


def check_gap(network: Network, keys: Keys, length: float, most: int = 16) -> Check | None:
    """Cut gaps of ``length`` s into dense stretches of the clip and fill them; None where there is no such stretch."""
    spacing = float(torch.diff(keys.seconds).median())
    count = max(1, round(length / spacing) - 1)
    span = count + 2
    solid = torch.diff(keys.seconds) < 1.5 * spacing
    whole = solid.unfold(0, span, 1).all(dim=1) if len(solid) >= span else torch.zeros(0, dtype=torch.bool)
    places = whole.nonzero().flatten() + 1
    places = places[places > _CONTEXT] if bool((places > _CONTEXT).any()) else places
    if not len(places):
        return None
    chosen = places[torch.linspace(0, len(places) - 1, min(most, len(places))).round().long()].unique()
    found = []
    for first in chosen.tolist():  # a handful of gaps, not frames
        inner = torch.arange(first, first + count)
        outer = torch.cat((torch.arange(first), torch.arange(first + count, len(keys))))
        found.append(_compare(network, keys.some(outer), keys.some(inner)))
    n = len(found)
    return Check(sum(c.network for c in found) / n, sum(c.interpolation for c in found) / n)


def _compare(network: Network, left: Keys, wanted: Keys) -> Check:
    real = (wanted.pos, wanted.rot)
    return Check(
        distance(left, filled(network, left, wanted.seconds), real),
        distance(left, interpolated(left, wanted.seconds), real),
    )
