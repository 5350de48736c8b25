"""Networks as their files have them: what is played by onnxruntime, with the precision that is stored."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm.export.graph import session
from isaacmm.learned_matching.graphs import Precision, build
from isaacmm.learned_matching.networks import LearnedMM


class Stored(LearnedMM):
    """As its base, but decompressor, stepper and projector run in onnxruntime on stored weights.

    Args:
        model: whose networks.
        rate: steps per second of the stepper.
        precision: of the stored weights.
    """

    def __init__(self, model: LearnedMM, rate: float, precision: Precision) -> None:
        super().__init__(model.spec)
        self.load_state_dict(model.state_dict())
        self.rate = rate
        made = build(model, rate, precision)
        self._running = {name: session(graph.SerializeToString()) for name, graph in made.items()}

    def _run(self, name: str, given: str, value: Tensor) -> Tensor:
        return torch.from_numpy(self._running[name].run(None, {given: value.detach().numpy()})[0])

    def decompress(self, x: Tensor, z: Tensor, learning: bool = True) -> Tensor:
        """As of the base."""
        return self._run("decompressor", "state", torch.cat((x, z), dim=-1))

    def step(self, x: Tensor, z: Tensor, dt: float) -> tuple[Tensor, Tensor]:
        """As of the base; ``dt`` is that of the file."""
        assert abs(dt * self.rate - 1.0) < 1e-6
        return self._split(self._run("stepper", "state", torch.cat((x, z), dim=-1)))

    def project(self, query: Tensor, chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As of the base; the file chooses for itself."""
        return self._split(self._run("projector", "query", query))

    def _split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        return state[..., : self.features], state[..., self.features :]
