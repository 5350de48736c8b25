"""Which frames are keys, and plain interpolation between them: the baseline, and what the network corrects."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from isaacmm import rotation

#: Numbers that tell the network about a frame's place among the keys (:meth:`Gaps.clock`).
CLOCK = ("known", "seconds", "since_key", "until_key", "noise")


@dataclass(frozen=True)
class Windows:
    """Short stretches of motion, ``n`` of them.

    Attributes:
        pos: root ``[n, T, 3]`` m.
        rot: local rotations ``[n, T, B, 4]`` (:mod:`isaacmm.inbetween.pose`).
        offsets: bones ``[n, B, 3]`` m.
        forward: the root's own axis that points ahead ``[3]`` (:func:`forward_axis`).
    """

    pos: Tensor
    rot: Tensor
    offsets: Tensor
    forward: Tensor = field(default_factory=lambda: torch.tensor([1.0, 0.0, 0.0]))

    def canonical(self, anchor: Tensor) -> Windows:
        """Moved and turned so that frame ``anchor [n]`` stands over the origin and faces +x; heights stay."""
        return self.moved(anchor)[0]

    def moved(self, anchor: Tensor) -> tuple[Windows, Tensor, Tensor]:
        """As :meth:`canonical`, with the turns ``[n, 4]`` and starts ``[n, 3]`` that lead back."""
        row = torch.arange(len(self.pos), device=self.pos.device)
        ahead = rotation.rotate(self.rot[row, anchor, 0], self.forward.to(self.rot))
        turn = rotation.from_yaw(-torch.atan2(ahead[:, 1], ahead[:, 0]))
        start = self.pos[row, anchor] * self.pos.new_tensor([1.0, 1.0, 0.0])
        pos = rotation.rotate(turn[:, None], self.pos - start[:, None])
        root = rotation.multiply(turn[:, None], self.rot[:, :, 0])
        rot = torch.cat((root[:, :, None], self.rot[:, :, 1:]), dim=2)
        return replace(self, pos=pos, rot=rot), turn, start

    def moved_back(self, turn: Tensor, start: Tensor) -> Windows:
        """Inverse of :meth:`moved`."""
        back = rotation.inverse(turn)[:, None]
        root = rotation.multiply(back, self.rot[:, :, 0])
        rot = torch.cat((root[:, :, None], self.rot[:, :, 1:]), dim=2)
        return replace(self, pos=rotation.rotate(back, self.pos) + start[:, None], rot=rot)


def forward_axis(pos: Tensor, rot: Tensor) -> Tensor:
    """The root's own axis (one of six) that points ahead: in the direction of travel, and level.

    Exporters let a root's axes point anywhere, so +x may be up, and then its heading is noise.

    Args:
        pos: ``[N, 3]`` m, of frames that follow each other (a few seams do not matter).
        rot: the root's ``[N, 4]``.
    """
    axes = torch.cat((torch.eye(3), -torch.eye(3))).to(pos)
    ahead = rotation.rotate(rot[1:, None], axes)  # [N - 1, 6, 3]
    step = torch.diff(pos, dim=0) * pos.new_tensor([1.0, 1.0, 0.0])
    travel = (ahead * step.clamp(-0.2, 0.2)[:, None]).sum(-1).mean(0)  # a seam between clips is no step
    level = 1.0 - ahead[..., 2].abs().mean(0)
    travel = travel / travel.abs().max().clamp(min=1e-4)
    return axes[int((level + travel + 0.1 * axes[:, 0]).argmax())]  # in doubt +x, as our own characters have it


@dataclass(frozen=True)
class Gaps:
    """Where each frame lies between keys.

    Attributes:
        known: ``[n, T]`` bool.
        before, after: ``[n, T]`` the key at or before, at or after each frame; the nearest key outside the keys' range.
        seconds: ``[n, T]`` time of each frame.
    """

    known: Tensor
    before: Tensor
    after: Tensor
    seconds: Tensor

    @classmethod
    def of(cls, known: Tensor, seconds: Tensor) -> Gaps:
        """From ``known [n, T]`` and ``seconds [n, T]``; every row needs a key.

        Raises:
            ValueError: a row without any key: there is nothing to go by, and attention would see nothing.
        """
        if not bool(known.any(dim=1).all()):
            raise ValueError("every window needs at least one key")
        count = known.shape[1]
        index = torch.arange(count, device=known.device).expand_as(known)
        before = torch.where(known, index, -1).cummax(dim=1).values
        after = count - 1 - torch.where(known, count - 1 - index, -1).flip(1).cummax(dim=1).values.flip(1)
        none_before, none_after = before < 0, after >= count
        return cls(known, torch.where(none_before, after, before), torch.where(none_after, before, after), seconds)

    def share(self) -> Tensor:
        """How far each frame is from the key before to the key after, ``[n, T]`` in [0, 1]."""
        start, end = self.seconds.gather(1, self.before), self.seconds.gather(1, self.after)
        share = ((self.seconds - start) / (end - start).clamp(min=1e-6)).clamp(0.0, 1.0)
        return share.masked_fill(self.before == self.after, 0.0)

    def clock(self, anchor: Tensor, noise: Tensor) -> Tensor:
        """``[n, T, 5]``: known, seconds since frame ``anchor [n]``, seconds since and until a key, ``noise [n]``."""
        start, end = self.seconds.gather(1, self.before), self.seconds.gather(1, self.after)
        zero = self.seconds.gather(1, anchor[:, None])
        parts = (
            self.known.to(start), self.seconds - zero, self.seconds - start, end - self.seconds,
            noise[:, None].expand_as(start),
        )  # fmt: skip
        return torch.stack(parts, dim=-1)


def interpolate(windows: Windows, gaps: Gaps) -> Windows:
    """Root positions linearly, rotations by slerp, from the keys alone; outside the keys the nearest one is held."""
    share = gaps.share()
    row = torch.arange(len(share), device=share.device)[:, None]
    pos = torch.lerp(windows.pos[row, gaps.before], windows.pos[row, gaps.after], share[..., None])
    a, b = windows.rot[row, gaps.before], windows.rot[row, gaps.after]
    rot = rotation.slerp(a, b, share[..., None].expand(a.shape[:-1]))
    return replace(windows, pos=pos, rot=rot)


def disturb(windows: Windows, angle: Tensor, generator: torch.Generator, metres_per_radian: float = 0.25) -> Windows:
    """Windows with Gaussian noise: rotations turned by about ``angle [n]`` rad, the root moved in proportion."""
    turn = torch.randn(*windows.rot.shape[:-1], 3, generator=generator) * (angle / 3**0.5)[:, None, None, None]
    step = torch.randn(windows.pos.shape, generator=generator) * (angle * metres_per_radian)[:, None, None]
    rot = rotation.multiply(windows.rot, rotation.from_rotvec(turn))
    return replace(windows, pos=windows.pos + step, rot=rot)


def root_noise(angle: float, metres_per_radian: float = 0.25) -> float:
    """Noise of the root's position (m) that goes with rotations noisy by ``angle`` rad."""
    return angle * metres_per_radian
