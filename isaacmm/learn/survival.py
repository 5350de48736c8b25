"""How long episodes last."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class EpisodeMeter:
    """Mean length of episodes that ended lately, and how many ended by the clock rather than a fall.

    Short episodes end more often, so a plain mean over the ends of one iteration favours falls while
    learning; the last ``window`` ends are what a person would call "lately".
    """

    def __init__(self, num_envs: int, dt: float, device: torch.device | str = "cpu", window: int | None = None) -> None:
        self.dt = dt
        window = window or max(100, num_envs)
        self.steps = torch.zeros(window, device=device)
        self.timed_out = torch.zeros(window, device=device)
        self.count = 0

    def add(self, dones: Tensor, episode_steps: Tensor, truncated: Tensor) -> None:
        """Take in a rollout, all ``[T, N]``."""
        steps = episode_steps[dones].float()
        late = truncated[dones].float()
        n = min(len(steps), len(self.steps))
        if n:
            self.steps = torch.cat((self.steps[n:], steps[-n:]))
            self.timed_out = torch.cat((self.timed_out[n:], late[-n:]))
            self.count = min(len(self.steps), self.count + n)

    def stats(self) -> dict[str, float]:
        """``survival`` s and ``full_episodes`` share; zero before the first end."""
        if not self.count:
            return {"survival": 0.0, "full_episodes": 0.0}
        return {
            "survival": float(self.steps[-self.count :].mean()) * self.dt,
            "full_episodes": float(self.timed_out[-self.count :].mean()),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """For resuming."""
        return {"steps": self.steps.clone(), "timed_out": self.timed_out.clone(), "count": torch.tensor(self.count)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.steps, self.timed_out = state["steps"].clone(), state["timed_out"].clone()
        self.count = int(state["count"])
