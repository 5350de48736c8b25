"""AMPAgent in one of several processes."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import torch
from torch import Tensor

from isaacmm.learn.distributed import Team
from isaacmm.learn.rl_games.agent import AMPAgent, Stats

#: Of the discriminator's state, what is the same in all processes.
SHARED_STYLE = ("discriminator", "normalizer", "optimizer")
_SUMS = ("samples_per_second", "diverged_worlds")
#: the same in all processes, or a matter of the first one's clock
_FIRST = ("iteration", "seconds", "samples", "learning_rate")
_PER_EPISODE = ("survival", "full_episodes")


class DistributedAgent(AMPAgent):
    """Every process has its own worlds, replay and random numbers, and the same networks to the last bit.

    All processes together do what one would do with all worlds and the sum of the minibatches: gradients of actor,
    critic and discriminator are averaged before clipping and step, normalisers take in the batches of all as one,
    advantages are normalised over all, and the learning rate follows the mean KL, so it is the same everywhere.

    Args:
        base_name, params: as :class:`AMPAgent`.
        team: the processes, its lanes open.
    """

    def __init__(self, base_name: str, params: dict[str, Any], team: Team) -> None:
        super().__init__(base_name, params)
        self.team = team
        self._diverged = 0
        #: shared state on the CPU after the last complete iteration (first process only), and who may write it out
        self.complete: dict[str, Any] | None = None
        self.writing = threading.Lock()
        for statistics in (getattr(self.model, name, None) for name in ("running_mean_std", "value_mean_std")):
            if statistics is not None:
                statistics.merge = team.moments
        self._share_demonstrations()
        judge = list(self.style.discriminator.parameters())
        self.style.optimizer.register_step_pre_hook(lambda *_: team.average_gradients(judge, "style"))
        self.synchronise()

    def _share_demonstrations(self) -> None:
        """The discriminator's first statistics are those of everybody's clips; so are all later ones."""
        normalizer, team = self.style.normalizer, self.team
        normalizer.mean, normalizer.var, _ = team.moments(normalizer.mean, normalizer.var, 1, "style")
        normalizer.merge = partial(team.moments, lane="style")

    def synchronise(self) -> None:
        """Networks and statistics of the first process for everybody."""
        for module in (self.model, self.style.discriminator, self.style.normalizer):
            self.team.copy_from_first(module.state_dict().values())
        self._remember()

    # ------------------------------------------------------------------ train
    def iterate(self) -> Stats:
        """As :meth:`AMPAgent.iterate`; the numbers are those of all processes."""
        before = self.frame
        stats = super().iterate()
        self.frame = before + (self.frame - before) * self.team.count
        stats["samples"] = float(self.frame)
        stats = self._together(stats)
        self.seconds, self._diverged = stats["seconds"], round(stats["diverged_worlds"])
        self._remember()
        return stats

    def _together(self, stats: Stats) -> Stats:
        """Means over the processes; sums where that is the meaning; episodes count alike wherever they ended."""
        count, ended = self.team.count, float(self.episodes.count)
        names = sorted(stats)
        own: list[float] = [ended]
        for name in names:
            weight = 1.0 / count
            if name in _SUMS:
                weight = 1.0
            elif name in _FIRST:
                weight = float(self.team.first)
            elif name in _PER_EPISODE:
                weight = ended
            own.append(weight * stats[name] if weight else 0.0)
        all_ended, *values = self.team.add_up(own)
        found = dict(zip(names, values, strict=True))
        for name in _PER_EPISODE:
            found[name] /= max(all_ended, 1.0)
        return {name: found[name] for name in stats}

    def trancate_gradients_and_step(self) -> None:
        """As :meth:`AMPAgent.trancate_gradients_and_step`, with everybody's gradients."""
        self.model.a2c_network.join()
        self.team.average_gradients(self.model.parameters())
        super().trancate_gradients_and_step()

    def _normalised(self, advantages: Tensor) -> Tensor:
        rows = advantages.numel()
        var, mean = torch.var_mean(advantages.double(), correction=0)
        mean, var, rows = self.team.moments(mean, var, rows)
        std = (var * (rows / max(rows - 1, 1))).sqrt()
        return (advantages - mean.float()) / (std.float() + 1e-8)

    def _step_size(self, kl: Tensor) -> Tensor:
        return self.team.sum(kl) / self.team.count

    @property
    def diverged(self) -> int:
        """Worlds of all processes that blew up so far."""
        return self._diverged

    @property
    def worlds(self) -> int:
        """Worlds of all processes."""
        return self.env.num_envs * self.team.count

    # ------------------------------------------------------------- checkpoint
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As :meth:`AMPAgent.load_state_dict`, each process its own."""
        super().load_state_dict(state)
        self._diverged = round(self.team.add_up([float(self.env.diverged_total)])[0])
        self._remember()

    def _remember(self) -> None:
        """Keep what all processes share as it is now: an iteration that is broken off leaves half of it changed."""
        if not self.team.first:
            return
        style = self.style
        parts: tuple[Any, ...] = (style.discriminator, style.normalizer, style.optimizer)
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "style": {name: part.state_dict() for name, part in zip(SHARED_STYLE, parts, strict=True)},
        }
        self.complete = {**moved(content, "cpu", copy=True), "counters": self.counters()}


def moved(content: Any, device: torch.device | str, copy: bool = False) -> Any:
    """Tensors anywhere in ``content`` on another device; with ``copy``, never the same memory."""
    if isinstance(content, Tensor):
        return content.detach().to(device, copy=copy)
    if isinstance(content, dict):
        return {key: moved(value, device, copy) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(moved(value, device, copy) for value in content)
    return content
