"""The networks of learned motion matching (Holden, Kanoun, Perepichka, Popa 2020, "Learned Motion Matching").

``x`` are the features that are matched, ``z`` what a moment has besides them. The *compressor* finds ``z`` (while
training only), the *decompressor* makes the pose from both, the *stepper* moves both on in time, the *projector* finds
both for a query, as a search would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isaacmm.errors import ConfigError

#: Share by which the statistics of ``z`` follow a batch.
MOMENTUM = 0.02
#: Of the least squares that compression begins with, in squares of a feature.
RIDGE = 0.003


def mlp(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Linear layers with ``activation`` in between."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        layers += [nn.Linear(a, b)] + ([activation()] if i < len(sizes) - 2 else [])
    return nn.Sequential(*layers)


class LearnedMM(nn.Module):
    """The four networks and every statistic that they need.

    Compressor and decompressor are a linear map each, with a network that adds to it: the linear maps begin as
    principal components (:meth:`begin`), which is nearly the right answer already, and the networks at nothing.
    The statistics of ``z`` follow it while it is being found; they scale what stepper and projector see and give.

    Args:
        spec: sizes: ``features`` (K), ``pose`` (W), ``bodies`` (of the compressor's view), ``latent`` (Z), and hidden
            layers ``compressor``, ``decompressor``, ``stepper``, ``projector``.
    """

    pose_mean: Tensor
    pose_scale: Tensor
    body_mean: Tensor
    body_scale: Tensor
    feature_speed: Tensor
    latent_mean: Tensor
    latent_scale: Tensor
    latent_speed: Tensor

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.spec = dict(spec)
        k, w, b, z = (int(spec[name]) for name in ("features", "pose", "bodies", "latent"))
        if z < 1:
            raise ConfigError(f"task.latent is {z}; a moment needs at least one number besides its features")
        self.features, self.latent = k, z
        self.compressor = mlp([w + k + b, *spec["compressor"], z], nn.ELU)
        self.decompressor = mlp([k + z, *spec["decompressor"], w], nn.ReLU)
        self.stepper = mlp([k + z, *spec["stepper"], k + z], nn.ReLU)
        self.projector = mlp([k, *spec["projector"], k + z], nn.ReLU)
        self.compress_linear = nn.Linear(w + k, z)
        self.decompress_linear = nn.Linear(k + z, w)
        for name, size in (("pose", w), ("body", b)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.register_buffer("feature_speed", torch.ones(k))
        self.register_buffer("latent_mean", torch.zeros(z))
        self.register_buffer("latent_scale", torch.ones(z))
        self.register_buffer("latent_speed", torch.ones(z))

    # -------------------------------------------------------------- the networks
    def compress(self, x: Tensor, y: Tensor, bodies: Tensor) -> Tensor:
        """``z [n, Z]`` of features ``[n, K]``, pose vectors ``[n, W]`` and bodies ``[n, 3 (B - 1)]``."""
        seen = torch.cat(((y - self.pose_mean) / self.pose_scale, x), dim=-1)
        more = (bodies - self.body_mean) / self.body_scale
        return self.compress_linear(seen) + self.compressor(torch.cat((seen, more), dim=-1))

    def decompress(self, x: Tensor, z: Tensor) -> Tensor:
        """Pose vectors ``[n, W]`` (SI, contacts as logits) of ``x [n, K]``, ``z [n, Z]``."""
        seen = torch.cat((x, z), dim=-1)
        return self.pose_mean + self.pose_scale * (self.decompress_linear(seen) + self.decompressor(seen))

    def rates(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Rates per second of ``x [n, K]`` and ``z [n, Z]``."""
        out = self.stepper(torch.cat((x, (z - self.latent_mean) / self.latent_scale), dim=-1))
        return out[..., : self.features] * self.feature_speed, out[..., self.features :] * self.latent_speed

    def step(self, x: Tensor, z: Tensor, dt: float) -> tuple[Tensor, Tensor]:
        """``x`` and ``z`` after ``dt`` s; ``dt`` is the time between the rows of the database."""
        dx, dz = self.rates(x, z)
        return x + dt * dx, z + dt * dz

    def project(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """``x [n, K]`` and ``z [n, Z]`` of the row that a search would find for ``query [n, K]``."""
        out = self.projector(query)
        return query + out[..., : self.features], self.latent_mean + self.latent_scale * out[..., self.features :]

    # ------------------------------------------------------------------- begin
    @torch.no_grad()
    def begin(self, x: Tensor, y: Tensor, weight: Tensor) -> None:
        """The best linear answer: poses ``y [n, W]`` by least squares from ``x [n, K]``, then the principal components
        of what remains, its columns weighted by ``weight [W]``."""
        target = (y - self.pose_mean) / self.pose_scale
        ones = torch.cat((x, torch.ones_like(x[:, :1])), dim=1)
        # features may be tied to each other, or hardly vary: a ridge keeps what is far from the clips within bounds
        square = ones.T @ ones + RIDGE * len(x) * torch.eye(ones.shape[1])
        fitted = torch.linalg.solve(square, ones.T @ target)  # [K + 1, W]
        rest = (target - ones @ fitted) * weight
        _, _, basis = torch.linalg.svd(rest, full_matrices=False)
        basis = basis[: self.latent]
        if len(basis) < self.latent:  # fewer rows or columns than latents: the others say nothing
            basis = torch.cat((basis, basis.new_zeros(self.latent - len(basis), basis.shape[1])))
        spread = (rest @ basis.T).std(0).mean().clamp(min=1e-6)
        up = basis * weight / spread  # z = up (target - fitted(x))
        self.compress_linear.weight.copy_(torch.cat((up, -(up @ fitted[:-1].T)), dim=1))
        self.compress_linear.bias.copy_(-(up @ fitted[-1]))
        self.decompress_linear.weight.copy_(torch.cat((fitted[:-1].T, (basis * spread / weight).T), dim=1))
        self.decompress_linear.bias.copy_(fitted[-1])
        for network in (self.compressor, self.decompressor):
            last = network[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    # ---------------------------------------------------------------- statistics
    @torch.no_grad()
    def follow(self, z: Tensor, rate: float, share: float = MOMENTUM) -> None:
        """Let the statistics of ``z`` follow windows ``[b, length, Z]`` at ``rate`` rows per second."""
        flat, speed = z.flatten(0, 1), (z[:, 1:] - z[:, :-1]).flatten(0, 1) * rate
        self.latent_mean.lerp_(flat.mean(0), share)
        self.latent_scale.lerp_(flat.std(0).clamp(min=1e-3), share)
        self.latent_speed.lerp_(speed.square().mean(0).sqrt().clamp(min=1e-3), share)

    def count(self, name: str) -> int:
        """Numbers in a network, with its linear map and statistics."""
        own = sum(p.numel() for p in getattr(self, name).parameters())
        statistics = {"decompressor": 2 * len(self.pose_mean), "stepper": self.features + 3 * self.latent}
        linear = self.decompress_linear.weight.numel() + len(self.pose_mean) if name == "decompressor" else 0
        return own + linear + statistics.get(name, 2 * self.latent)

    def memory(self, bytes_per_number: int = 4) -> int:
        """Bytes of what runs: decompressor, stepper, projector."""
        return bytes_per_number * sum(self.count(name) for name in ("decompressor", "stepper", "projector"))
