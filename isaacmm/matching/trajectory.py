"""The trajectory a command asks for: where to be and where to face during the next second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.matching import springs


class CommandSpring:
    """Per world a local velocity and a facing that follow their goals like critically damped springs.

    The velocity is given in the frame of the facing: ``(forward, left)`` m/s; the facing is a world angle. A goal may
    keep turning (``turn_rate``). A person neither changes speed nor turns at once, and clips do not either; the spring
    (Holden et al. 2020, "Learned Motion Matching", accompanying code: halflife 0.27 s) makes commands answerable.

    Attributes:
        velocity, acceleration: ``[N, 2]``, in the frame of the facing.
        yaw, yaw_rate: ``[N]`` rad, rad/s, world.
    """

    def __init__(
        self,
        num_envs: int,
        horizons: Sequence[float],
        halflife: float = 0.27,
        device: torch.device | str = "cpu",
        substeps: int = 4,
    ) -> None:
        self.halflife = halflife
        self.velocity = torch.zeros(num_envs, 2, device=device)
        self.acceleration = torch.zeros(num_envs, 2, device=device)
        self.yaw = torch.zeros(num_envs, device=device)
        self.yaw_rate = torch.zeros(num_envs, device=device)
        ends = torch.tensor([0.0, *horizons], device=device)
        part = torch.arange(1, substeps + 1, device=device) / substeps
        #: moments at which the path is integrated ``[M]`` s; every ``substeps``-th is a horizon
        self._times = torch.cat((ends[:1], (ends[:-1, None] + part * (ends[1:] - ends[:-1])[:, None]).flatten()))
        self._steps = self._times[1:] - self._times[:-1]
        self._at = torch.arange(1, len(horizons) + 1, device=device) * substeps
        one, zero = torch.ones_like(self._times), torch.zeros_like(self._times)
        #: what is left of an offset at those moments, and what a unit of velocity has made of it
        self._keep, self._drift = (springs.decay(x, v, halflife, self._times)[0] for x, v in ((one, zero), (zero, one)))

    @classmethod
    def like(cls, other: CommandSpring, num_envs: int) -> CommandSpring:
        """A spring with the settings of ``other`` for ``num_envs`` worlds, at rest."""
        spring = cls.__new__(cls)
        spring.halflife = other.halflife
        spring._times, spring._steps, spring._at = other._times, other._steps, other._at
        spring._keep, spring._drift = other._keep, other._drift
        spring.velocity = torch.zeros(num_envs, 2, device=other.yaw.device)
        spring.acceleration = torch.zeros_like(spring.velocity)
        spring.yaw = torch.zeros(num_envs, device=other.yaw.device)
        spring.yaw_rate = torch.zeros_like(spring.yaw)
        return spring

    def reset(self, ids: Tensor, yaw: Tensor, velocity: Tensor, yaw_rate: Tensor) -> None:
        """Worlds ``ids [n]`` start out moving as given, evenly."""
        self.yaw[ids], self.yaw_rate[ids], self.velocity[ids] = yaw, yaw_rate, velocity
        self.acceleration[ids] = 0.0

    def step(self, velocity: Tensor, yaw: Tensor, turn_rate: Tensor, dt: float) -> None:
        """Advance by ``dt`` s towards ``velocity [N, 2]`` and facing ``yaw [N]`` that turns at ``turn_rate [N]``."""
        self.velocity, self.acceleration = springs.follow(
            self.velocity, self.acceleration, velocity, 0.0, self.halflife, dt
        )
        offset = rotation.wrap_angle(self.yaw - yaw)
        offset, drift = springs.decay(offset, self.yaw_rate - turn_rate, self.halflife, dt)
        self.yaw = rotation.wrap_angle(yaw + turn_rate * dt + offset)
        self.yaw_rate = turn_rate + drift

    def predict(
        self, velocity: Tensor, yaw: Tensor, turn_rate: Tensor, facing: Tensor, ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Path and facings at the horizons, seen from bodies that face ``facing [N]``.

        Goals as in :meth:`step`. The path starts at the body. With ``ids [n]`` only those worlds are asked about, and
        everything else that is given is theirs, ``[n]``.

        Returns:
            Positions ``[N, K, 2]`` m and facings as unit vectors ``[N, K, 2]``, in the body's heading frame.
        """
        mine = [self.velocity, self.acceleration, self.yaw, self.yaw_rate]
        v, a, angle, rate = mine if ids is None else [value[ids] for value in mine]
        # at fixed times a spring is a weighted sum of where it is and how fast it moves
        keep, drift = self._keep, self._drift
        v = velocity[:, None] + (v - velocity)[:, None] * keep[:, None] + a[:, None] * drift[:, None]
        offset = rotation.wrap_angle(angle - yaw)[:, None] * keep + (rate - turn_rate)[:, None] * drift
        angle = (yaw - facing)[:, None] + turn_rate[:, None] * self._times + offset
        facings = torch.stack((torch.cos(angle), torch.sin(angle)), dim=-1)
        (cos, sin), (forward, left) = facings.unbind(-1), v.unbind(-1)
        along = torch.stack((cos * forward - sin * left, sin * forward + cos * left), dim=-1)
        path = torch.cumsum(0.5 * (along[:, 1:] + along[:, :-1]) * self._steps[:, None], dim=1)
        return path[:, self._at - 1], facings[:, self._at]

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs."""
        return {name: getattr(self, name).clone() for name in ("velocity", "acceleration", "yaw", "yaw_rate")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`state_dict`."""
        for name in ("velocity", "acceleration", "yaw", "yaw_rate"):
            getattr(self, name).copy_(state[name])
