"""What each network is trained for. Losses are mean absolute differences, as in Holden et al. 2020."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.rows import Rows
from isaacmm.learned_matching.soles import Soles, over_ground

#: How much the parts of a pose vector count, each per its spread over the clips.
POSE = {
    "hip_position": 1.0,
    "hip_rotation": 1.0,
    "dof_position": 1.0,
    "hip_velocity": 0.3,
    "hip_turn": 0.3,
    "dof_velocity": 0.3,
    "velocity": 1.0,
    "turn_rate": 0.5,
    "sole_height": 0.5,
}


@dataclass(frozen=True)
class Weights:
    """Of the parts of the losses.

    Attributes:
        bodies: per 0.1 m of the bodies' places. ground: per 1 m/s of the bodies over the floor.
        contact: cross-entropy of the feet that stand.
        size, smooth: of ``z``: its square, and its rate per second; they keep it small and slow.
        step_x, step_z, step_rate: of the stepper. step_pose, step_soles: of the poses that it leads to, and per 1 m/s
            of their soles over the floor. astray: standard deviation of where every other window begins, per that of
            the state.
        project_x, project_z, project_distance: of the projector.
    """

    bodies: float = 2.0
    ground: float = 0.5
    contact: float = 0.2
    size: float = 1e-3
    smooth: float = 2e-3
    step_x: float = 1.0
    step_z: float = 1.0
    step_rate: float = 0.1
    step_pose: float = 0.5
    step_soles: float = 3.0
    astray: float = 0.1
    project_x: float = 1.0
    project_z: float = 1.0
    project_distance: float = 0.3


class Losses:
    """Of a batch; see :class:`Weights`."""

    def __init__(self, rows: Rows, weights: Weights, close: int = 3) -> None:
        """``close``: rows of each window that compressor and decompressor learn from (kinematics are what costs)."""
        self.rows, self.weights, self.close = rows, weights, close
        self.rate = rows.database.rate
        self.part_weight = torch.zeros(rows.layout.size)
        for name, weight in POSE.items():
            part = rows.layout[name]
            self.part_weight[part] = weight / (part.stop - part.start)
        feet = [rows.skeleton.body(name) - 1 for name in rows.database.character.feet]
        self.soles = Soles(rows.database.character, rows.layout, self.rate)
        count = rows.skeleton.num_bodies - 1
        self.body_weight = torch.ones(count, 1)
        self.body_weight[feet] = 4.0  # what slides is seen
        self.body_weight /= self.body_weight.mean()

    def linear_weight(self) -> Tensor:
        """``[W]``: how much each column counts for the principal components that compression begins with: places more
        than rates, which the features tell in part."""
        weight = torch.full((self.rows.layout.size,), 0.3)
        for name in ("hip_position", "hip_rotation", "dof_position", "velocity", "contact"):
            weight[self.rows.layout[name]] = 1.0
        return weight

    def decompressor(self, model: LearnedMM, x: Tensor, y: Tensor, bodies: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compressor and decompressor on windows ``[b, length, ...]``; the parts, and ``z`` (detached) among them."""
        w = self.weights
        with torch.no_grad():
            rest = model.compress(*(v[:, self.close :] for v in (x, y, bodies)))
        x, y, bodies = (v[:, : self.close] for v in (x, y, bodies))
        z = model.compress(x, y, bodies)
        made = model.decompress(x, z)
        scaled = (made - y).abs() / model.pose_scale
        pose = (scaled * self.part_weight.to(scaled)).sum(-1).mean()
        contact = self._contact(made, y)
        placed = self.rows.place(made.flatten(0, 1)).unflatten(0, (len(x), -1))
        gap = self._by_body(placed - bodies)
        place = 10.0 * (gap.abs() * self.body_weight.to(gap)).mean()
        rate = self._ground(placed, made) - self._ground(bodies, y)
        ground = (rate.abs() * self.body_weight.to(rate)).mean()
        slow = ((z[:, 1:] - z[:, :-1]) * self.rate).abs().mean()
        loss = pose + w.contact * contact + w.bodies * place + w.ground * ground
        loss = loss + w.size * z.square().mean() + w.smooth * slow
        whole = torch.cat((z.detach(), rest), dim=1)
        parts = {"pose": pose, "contact": contact, "bodies_mm": 100.0 * place, "ground": ground, "z": whole}
        return loss, parts

    def _contact(self, made: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the feet that stand, of pose vectors ``[..., W]``."""
        feet = self.rows.layout["contact"]
        return functional.binary_cross_entropy_with_logits(made[..., feet], (y[..., feet] > 0).to(y))

    def _by_body(self, flat: Tensor) -> Tensor:
        return flat.unflatten(-1, (-1, 3))

    def _ground(self, bodies: Tensor, poses: Tensor) -> Tensor:
        """Velocities of the bodies over the floor ``[b, n - 1, B - 1, 3]`` m/s, seen from the heading frame: of a
        standing foot zero. Of bodies ``[b, n, 3 (B - 1)]`` in that frame, which itself moves and turns."""
        own, spin = (poses[..., self.rows.layout[name]] for name in ("velocity", "turn_rate"))
        return over_ground(self._by_body(bodies), own, spin, self.rate)

    def stepper(self, model: LearnedMM, x: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Windows ``x [b, length, K]``, ``z [b, length, Z]``, ``y [b, length, W]``: from the first row on the stepper
        goes by itself.

        Some windows begin a little beside their row: a stepper that finds back does not drift away either. What its
        states look like counts besides the states: latents say of themselves neither how much of a pose hangs on them
        nor whether a foot that stands stays where it is.
        """
        w, dt = self.weights, 1.0 / self.rate
        strength = w.astray * (torch.arange(len(x), device=x.device) % 2)[:, None]
        here_x = x[:, 0] + strength * torch.randn_like(x[:, 0])
        here_z = z[:, 0] + strength * model.latent_scale * torch.randn_like(z[:, 0])
        made: list[tuple[Tensor, ...]] = []
        begin = (here_x[:, None], here_z[:, None])
        for _ in range(x.shape[1] - 1):  # each step needs the one before
            dx, dz = model.rates(here_x, here_z)
            here_x, here_z = here_x + dt * dx, here_z + dt * dz
            made.append((here_x, here_z, dx, dz))
        xs, zs, dxs, dzs = (torch.stack(values, dim=1) for values in zip(*made, strict=True))
        gap_x = (xs - x[:, 1:]).abs().mean()
        gap_z = ((zs - z[:, 1:]) / model.latent_scale).abs().mean()
        straight = slice(0, None, 2)  # the others have to find back first
        rate_x = (dxs - (x[:, 1:] - x[:, :-1]) / dt)[straight] / model.feature_speed
        rate_z = (dzs - (z[:, 1:] - z[:, :-1]) / dt)[straight] / model.latent_speed
        rates = rate_x.abs().mean() + rate_z.abs().mean()
        loss = w.step_x * gap_x + w.step_z * gap_z + w.step_rate * rates
        played = model.decompress(torch.cat((begin[0], xs), dim=1), torch.cat((begin[1], zs), dim=1), learning=False)
        scaled = (played - y)[:, 1:].abs() / model.pose_scale
        pose = (scaled * self.part_weight.to(scaled)).sum(-1).mean() + w.contact * self._contact(played, y)
        soles = self._slide(played, y)
        loss = loss + w.step_pose * pose + w.step_soles * soles
        return loss, {"step_x": gap_x, "step_z": gap_z, "step_rate": rates, "step_pose": pose, "step_soles": soles}

    def _slide(self, played: Tensor, y: Tensor) -> Tensor:
        """Mean difference, m/s, of the soles' velocities over the floor, of poses ``[b, length, W]``; those of feet
        that stand count five times as much as others."""
        contact = y[..., self.rows.layout["contact"]] > 0
        stands = (contact[:, 1:] & contact[:, :-1]).to(y)[..., None, None]
        with torch.no_grad():
            given = self.soles.speed(self.soles.points(y), y)
        made = self.soles.speed(self.soles.points(played), played)
        return ((made - given).abs() * (0.25 + stands)).mean()

    def projector(
        self, model: LearnedMM, query: Tensor, chosen: Tensor, x: Tensor, z: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Queries ``[n, K]``, their prototypes ``[n]``, and what answers them around these."""
        w = self.weights
        made_x, made_z = model.project(query, chosen)
        gap_x = (made_x - x).abs().mean()
        gap_z = ((made_z - z) / model.latent_scale).abs().mean()
        far = ((made_x - query).norm(dim=-1) - (x - query).norm(dim=-1)).abs().mean()
        loss = w.project_x * gap_x + w.project_z * gap_z + w.project_distance * far
        return loss, {"project_x": gap_x, "project_z": gap_z, "project_distance": far}
