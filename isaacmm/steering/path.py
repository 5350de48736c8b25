"""Paths on the ground, and commands that keep a character on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import ConfigError
from isaacmm.steering.source import FASTEST, Command, Starts, times

#: Distance between the points that a path is resampled to (m).
SPACING = 0.02
#: Shorter and longer paths (m) are taken for a mistake of the unit.
SHORTEST, LONGEST = 0.1, 20_000.0
#: How far ahead one may look on a path (m).
NEAREST, FARTHEST = 0.2, 20.0


class GroundPath:
    """A line on the ground, resampled to even steps of arc length.

    Attributes:
        points: ``[M, 2]`` m; a closed path does not repeat its first point.
        heading: ``[M]`` rad, continuous, direction of the path.
        curvature: ``[M]`` 1/m, left positive, averaged over 0.5 m.
        length: m.
    """

    def __init__(
        self, points: Sequence[tuple[float, float]] | Tensor, closed: bool = False, name: str = "path"
    ) -> None:
        corners = torch.as_tensor(points, dtype=torch.float64).reshape(-1, 2)
        if len(corners) < (3 if closed else 2) or not bool(torch.isfinite(corners).all()):
            raise ConfigError(f"{name}: a path needs {3 if closed else 2} or more points of finite numbers")
        if closed:
            corners = torch.cat((corners, corners[:1]))
        steps = (corners[1:] - corners[:-1]).norm(dim=-1)
        keep = torch.cat((torch.ones(1, dtype=torch.bool), steps > 1e-9))
        corners, steps = corners[keep], steps[keep[1:]]
        if len(steps) == 0:
            raise ConfigError(f"{name}: all points of the path are one and the same")
        along = torch.cat((steps.new_zeros(1), steps.cumsum(0)))
        self.name, self.closed, self.length = name, closed, float(along[-1])
        if not SHORTEST <= self.length <= LONGEST:
            raise ConfigError(
                f"{name}: the path is {self.length:g} m long; paths of {SHORTEST:g} m to {LONGEST / 1000:g} km can be "
                "followed. Points are in metres"
            )
        count = max(8, round(self.length / SPACING))
        at = torch.arange(count if closed else count + 1, dtype=torch.float64) * (self.length / count)
        piece = (torch.searchsorted(along, at, right=True) - 1).clamp(0, len(steps) - 1)
        share = ((at - along[piece]) / steps[piece]).clamp(0.0, 1.0)[:, None]
        dense = corners[piece] + share * (corners[piece + 1] - corners[piece])
        self.step = self.length / count
        following = torch.roll(dense, -1, 0) if closed else torch.cat((dense[1:], 2 * dense[-1:] - dense[-2:-1]))
        direction = following - dense
        angle = torch.atan2(direction[:, 1], direction[:, 0])
        turns = rotation.wrap_angle(angle[1:] - angle[:-1])
        heading = torch.cat((angle[:1], angle[0] + turns.cumsum(0)))
        reach = max(1, min(round(0.25 / self.step), (len(dense) - 1) // 2))
        index = torch.arange(len(dense))
        ahead, behind = index + reach, index - reach
        if closed:
            around = rotation.wrap_angle(angle[0] - angle[-1]) + heading[-1] - heading[0]
            bend = (
                heading[ahead % count]
                + around * (ahead // count)
                - heading[behind % count]
                - around * (behind // count)
            )
            span = torch.full_like(bend, 2 * reach * self.step)
        else:
            ahead, behind = ahead.clamp(max=len(dense) - 1), behind.clamp(min=0)
            bend, span = heading[ahead] - heading[behind], (ahead - behind) * self.step
        self.points, self.heading = dense.float(), heading.float()
        self.curvature = (bend / span).float()

    def __len__(self) -> int:
        return len(self.points)

    def distance(self, pos: Tensor) -> Tensor:
        """Distance ``[...]`` m of ``pos [..., 2]`` (path frame) from the nearest point of the path."""
        flat = pos.reshape(-1, 2)
        nearest = [torch.cdist(part, self.points.to(part)).amin(dim=1) for part in flat.split(4096)]
        return torch.cat(nearest).reshape(pos.shape[:-1])

    # ------------------------------------------------------------- known shapes
    @classmethod
    def circle(cls, radius: float = 3.0) -> GroundPath:
        """A left-hand circle that begins at the origin along +x."""
        t = torch.arange(720) / 720 * 2 * math.pi
        return cls(torch.stack((radius * t.sin(), radius * (1 - t.cos())), -1), closed=True, name="circle")

    @classmethod
    def figure_eight(cls, radius: float = 2.5) -> GroundPath:
        """A left-hand and a right-hand circle that touch at the origin; it begins along +x."""
        t = torch.arange(720) / 720 * 2 * math.pi
        left = torch.stack((radius * t.sin(), radius * (1 - t.cos())), -1)
        return cls(torch.cat((left, left * torch.tensor([1.0, -1.0]))), closed=True, name="figure_eight")

    @classmethod
    def slalom(cls, width: float = 1.2, wave: float = 8.0, length: float = 48.0) -> GroundPath:
        """A sine of amplitude ``width / 2`` and wavelength ``wave`` m along +x."""
        x = torch.linspace(0, length, 2000)
        phase = 2 * math.pi * x / wave
        return cls(torch.stack((x, 0.5 * width * (1 - torch.cos(phase))), -1), name="slalom")

    @classmethod
    def square(cls, side: float = 5.0) -> GroundPath:
        """A left-hand square that begins in the middle of a side."""
        h = side / 2
        return cls([(0, 0), (h, 0), (h, side), (-h, side), (-h, 0)], closed=True, name="square")


class PathFollower:
    """Pure pursuit: face a point on the path a little ahead, and go (Coulter 1992, CMU-RI-TR-92-01).

    The path lies where each character begins, along its facing. In bends the speed falls so that the turn rate stays
    below ``turn_limit``; an open path ends in standing.

    Args:
        path: to follow.
        speed: m/s.
        lookahead: m; default 0.6 m and a third of a second's way.
        turn_limit: rad/s.
        loop: closed paths go round and round; False stops after one round.
    """

    #: How far ahead of its last progress a character is looked for on the path (m).
    WINDOW = 1.5

    def __init__(
        self,
        path: GroundPath,
        speed: float = 1.3,
        lookahead: float | None = None,
        turn_limit: float = 1.5,
        loop: bool = True,
    ) -> None:
        if not 0 < speed <= FASTEST:
            raise ConfigError(
                f"{path.name}: a path is followed at a speed above 0 m/s and at most {FASTEST:g} m/s, not {speed:g}"
            )
        if lookahead is not None and not NEAREST <= lookahead <= FARTHEST:
            raise ConfigError(f"{path.name}: lookahead is from {NEAREST:g} to {FARTHEST:g} m, not {lookahead:g}")
        self.path, self.speed, self.turn_limit, self.loop = path, speed, turn_limit, loop
        self.name = path.name
        self.own_lookahead = lookahead  # None: by the speed
        self.lookahead = 0.6 + speed / 3.0 if lookahead is None else lookahead
        self.duration = path.length / speed
        self._starts = Starts()
        #: steps of the path that each character has gone ``[N]``
        self.progress = torch.zeros(0, dtype=torch.int64)

    def reset(self, ids: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        """See :class:`~isaacmm.steering.source.Source`."""
        self._starts.reset(ids, root_pos, root_yaw)
        if len(self.progress) < len(self._starts.yaw):
            more = len(self._starts.yaw) - len(self.progress)
            self.progress = torch.cat((self.progress.to(root_pos.device), ids.new_zeros(more)))
        self.progress[ids] = 0

    def on_path(self, root_pos: Tensor) -> Tensor:
        """``root_pos [N, 2]`` in the frame of the path."""
        pos, yaw = self._starts.pos, self._starts.yaw
        return _turn(root_pos - pos, self.path.heading[0].to(yaw) - yaw) + self.path.points[0].to(root_pos)

    def command(self, time: Tensor | float, root_pos: Tensor, root_yaw: Tensor) -> Command:
        """See :class:`~isaacmm.steering.source.Source`; the time only tells new episodes."""
        begins = self._starts.of(times(time, root_yaw), root_pos, root_yaw)
        if len(self.progress) != len(root_yaw):
            self.progress = torch.zeros(len(root_yaw), dtype=torch.int64, device=root_yaw.device)
        self.progress = self.progress.masked_fill(begins, 0)
        here = self.on_path(root_pos)
        points, curvature = self.path.points.to(root_pos), self.path.curvature.to(root_pos)
        window = torch.arange(round(self.WINDOW / self.path.step), device=root_pos.device)
        candidates = self._wrap(self.progress[:, None] + window)
        gap = (points[candidates] - here[:, None]).norm(dim=-1)
        self.progress = self.progress + gap.argmin(dim=1)
        rest = self._left()
        target = points[self._wrap(self.progress + round(self.lookahead / self.path.step))]
        wish = target - here
        start = self._starts.yaw
        heading = torch.atan2(wish[:, 1], wish[:, 0]) + start - self.path.heading[0].to(start)
        reach = torch.arange(0, round(self.lookahead / self.path.step), 5, device=root_pos.device)
        bend = curvature[self._wrap(self.progress[:, None] + reach)]
        sharpest = bend.abs().amax(dim=1)
        speed = torch.full_like(root_yaw, self.speed)
        speed = torch.minimum(speed, self.turn_limit / sharpest.clamp(min=1e-6)).clamp(min=min(0.6, self.speed))
        # an end is approached with the speed from which a person stops within the way that is left
        speed = torch.where(rest < 0.3, torch.zeros_like(speed), torch.minimum(speed, (2.0 * rest).clamp(min=0.4)))
        heading = torch.where(rest < max(0.3, 0.5 * self.lookahead), root_yaw, heading)
        turn = torch.where(speed > 0, bend.mean(dim=1) * speed, torch.zeros_like(speed))
        return Command(torch.stack((speed, torch.zeros_like(speed)), -1), rotation.wrap_angle(heading), turn)

    def error(self, root_pos: Tensor) -> Tensor:
        """Distance ``[T, N]`` m of tracks ``root_pos [T, N, 2]`` from the path."""
        return torch.stack([self.path.distance(self.on_path(p)) for p in root_pos])

    def line(self, root_pos: Tensor, root_yaw: Tensor) -> Tensor:
        """The path ``[N, M, 2]`` in the world, as each character is to follow it from where it began.

        Before they have begun: as if they stood at ``root_pos [N, 2]``, facing ``root_yaw [N]``.
        """
        begun = len(self._starts.yaw) == len(root_yaw)
        pos, yaw = (self._starts.pos, self._starts.yaw) if begun else (root_pos, root_yaw)
        points = self.path.points.to(pos) - self.path.points[0].to(pos)
        return _turn(points[None], (yaw - self.path.heading[0].to(yaw))[:, None]) + pos[:, None]

    def _left(self) -> Tensor:
        if self.path.closed and self.loop:
            return torch.full(self.progress.shape, math.inf, device=self.progress.device)
        return ((len(self.path) - 1 - self.progress) * self.path.step).clamp(min=0.0)

    def _wrap(self, index: Tensor) -> Tensor:
        if self.path.closed and self.loop:
            return index % len(self.path)
        return index.clamp(max=len(self.path) - 1)


def _turn(vector: Tensor, angle: Tensor) -> Tensor:
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack((cos * vector[..., 0] - sin * vector[..., 1], sin * vector[..., 0] + cos * vector[..., 1]), -1)
