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
from torch.nn import functional

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

    Compressor, decompressor and stepper are a linear map each, with a network that adds to it. All of them begin in
    closed form (:meth:`begin` and its like): principal components, then least squares for the linear maps and for the
    last layers; gradients have little left to do, which is what makes a fit a matter of minutes on one core. The
    statistics of ``z`` follow it while it is being found; they scale what stepper and projector see and give.

    Args:
        spec: sizes: ``features`` (K), ``pose`` (W), ``bodies`` (of the compressor's view), ``latent`` (Z),
            ``prototypes`` (C), and hidden layers ``compressor``, ``decompressor``, ``stepper``, ``projector``.
    """

    pose_mean: Tensor
    pose_scale: Tensor
    body_mean: Tensor
    body_scale: Tensor
    feature_speed: Tensor
    latent_mean: Tensor
    latent_scale: Tensor
    latent_speed: Tensor
    prototype_x: Tensor
    prototype_z: Tensor

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
        self.projector = mlp([2 * k + z, *spec["projector"], k + z], nn.ReLU)
        self.step_linear = nn.Linear(k + z, k + z)
        self.compress_linear = nn.Linear(w + k, z)
        self.decompress_linear = nn.Linear(k + z, w)
        for name, size in (("pose", w), ("body", b)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.register_buffer("feature_speed", torch.ones(k))
        self.register_buffer("latent_mean", torch.zeros(z))
        self.register_buffer("latent_scale", torch.ones(z))
        self.register_buffer("latent_speed", torch.ones(z))
        self.register_buffer("prototype_x", torch.zeros(int(spec["prototypes"]), k))
        self.register_buffer("prototype_z", torch.zeros(int(spec["prototypes"]), z))

    # -------------------------------------------------------------- the networks
    def compress(self, x: Tensor, y: Tensor, bodies: Tensor) -> Tensor:
        """``z [n, Z]`` of features ``[n, K]``, pose vectors ``[n, W]`` and bodies ``[n, 3 (B - 1)]``."""
        seen = torch.cat(((y - self.pose_mean) / self.pose_scale, x), dim=-1)
        more = (bodies - self.body_mean) / self.body_scale
        return self.compress_linear(seen) + self.compressor(torch.cat((seen, more), dim=-1))

    def decompress(self, x: Tensor, z: Tensor, learning: bool = True) -> Tensor:
        """Pose vectors ``[n, W]`` (SI, contacts as logits) of ``x [n, K]``, ``z [n, Z]``; unless ``learning``, only
        these get gradients, not the weights."""
        seen = torch.cat((x, z), dim=-1)
        if learning:
            scaled = self.decompress_linear(seen) + self.decompressor(seen)
        else:
            scaled = _at_rest(self.decompress_linear, seen) + _at_rest(self.decompressor, seen)
        return self.pose_mean + self.pose_scale * scaled

    def rates(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Rates per second of ``x [n, K]`` and ``z [n, Z]``."""
        seen = torch.cat((x, (z - self.latent_mean) / self.latent_scale), dim=-1)
        out = self.step_linear(seen) + self.stepper(seen)
        return out[..., : self.features] * self.feature_speed, out[..., self.features :] * self.latent_speed

    def step(self, x: Tensor, z: Tensor, dt: float) -> tuple[Tensor, Tensor]:
        """``x`` and ``z`` after ``dt`` s; ``dt`` is the time between the rows of the database."""
        dx, dz = self.rates(x, z)
        return x + dt * dx, z + dt * dz

    def choose(self, query: Tensor) -> Tensor:
        """Prototypes ``[n]`` nearest to ``query [n, K]``."""
        table = self.prototype_x
        return torch.addmm(table.square().sum(-1), query, table.T, alpha=-2.0).argmin(dim=-1)

    def project(self, query: Tensor, chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``x [n, K]`` and ``z [n, Z]`` of the row that a search would find for ``query [n, K]``, around its prototype
        ``chosen [n]``."""
        chosen = self.choose(query) if chosen is None else chosen
        x, z = self.prototype_x[chosen], self.prototype_z[chosen]
        out = self.projector(torch.cat((query, x, (z - self.latent_mean) / self.latent_scale), dim=-1))
        return x + out[..., : self.features], z + self.latent_scale * out[..., self.features :]

    # ------------------------------------------------------------------- begin
    @torch.no_grad()
    def begin(self, x: Tensor, y: Tensor, weight: Tensor) -> None:
        """The best linear answer: poses ``y [n, W]`` by least squares from ``x [n, K]``, then the principal components
        of what remains, its columns weighted by ``weight [W]``."""
        target = (y - self.pose_mean) / self.pose_scale
        ones = _with_one(x)
        fitted = _least_squares(ones, target)
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
        last = self.compressor[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        seen = torch.cat((x, self.compress_linear(torch.cat((target, x), dim=1))), dim=1)
        _begin_last(self.decompressor, seen, target - self.decompress_linear(seen))

    @torch.no_grad()
    def begin_steps(self, x: Tensor, z: Tensor, next_x: Tensor, next_z: Tensor, rate: float) -> None:
        """Rates, by least squares, of ``x [n, K]``, ``z [n, Z]`` towards what follows ``1 / rate`` s later."""
        seen = torch.cat((x, (z - self.latent_mean) / self.latent_scale), dim=1)
        speed = torch.cat(((next_x - x) * rate / self.feature_speed, (next_z - z) * rate / self.latent_speed), dim=1)
        fitted = _least_squares(_with_one(seen), speed)
        self.step_linear.weight.copy_(fitted[:-1].T)
        self.step_linear.bias.copy_(fitted[-1])
        _begin_last(self.stepper, seen, speed - self.step_linear(seen))

    @torch.no_grad()
    def begin_projections(self, query: Tensor, chosen: Tensor, x: Tensor, z: Tensor) -> None:
        """By least squares, from queries ``[n, K]`` and their prototypes ``[n]`` to ``x [n, K]``, ``z [n, Z]``."""
        near_x, near_z = self.prototype_x[chosen], self.prototype_z[chosen]
        seen = torch.cat((query, near_x, (near_z - self.latent_mean) / self.latent_scale), dim=1)
        _begin_last(self.projector, seen, torch.cat((x - near_x, (z - near_z) / self.latent_scale), dim=1))

    @torch.no_grad()
    def settle(self, x: Tensor, y: Tensor, bodies: Tensor) -> None:
        """The decompressor's last layers by least squares, for the latents as they are.

        Gradient steps leave weights with noise that only a falling learning rate takes away. What stops learning
        before that is put to its best once more.
        """
        target, last = (y - self.pose_mean) / self.pose_scale, self.decompressor[-1]
        assert isinstance(last, nn.Linear)
        seen = torch.cat((x, self.compress(x, y, bodies)), dim=1)
        given = torch.cat((seen, self.decompressor[:-1](seen)), dim=1)
        rest = target - self.decompress_linear(seen) - self.decompressor(seen)
        ridge = 1e-4 * float(given.square().mean())
        more = _least_squares(_with_one(given).double(), rest.double(), ridge).to(y)
        self.decompress_linear.weight.add_(more[: seen.shape[1]].T)
        last.weight.add_(more[seen.shape[1] : -1].T)
        last.bias.add_(more[-1])

    # ---------------------------------------------------------------- statistics
    @torch.no_grad()
    def follow(self, z: Tensor, rate: float, share: float = MOMENTUM) -> None:
        """Let the statistics of ``z`` follow windows ``[b, length, Z]`` at ``rate`` rows per second."""
        flat, speed = z.flatten(0, 1), (z[:, 1:] - z[:, :-1]).flatten(0, 1) * rate
        self.latent_mean.lerp_(flat.mean(0), share)
        self.latent_scale.lerp_(flat.std(0).clamp(min=1e-3), share)
        self.latent_speed.lerp_(speed.square().mean(0).sqrt().clamp(min=1e-3), share)

    def count(self, name: str) -> int:
        """Numbers in a network, with its linear map, prototypes and statistics."""
        own = sum(p.numel() for p in getattr(self, name).parameters())
        more = {
            "decompressor": self.decompress_linear.weight.numel() + 3 * len(self.pose_mean),
            "stepper": self.features + 3 * self.latent + sum(p.numel() for p in self.step_linear.parameters()),
            "projector": self.prototype_x.numel() + self.prototype_z.numel() + 2 * self.latent,
        }
        return own + more.get(name, 0)

    def memory(self, bytes_per_number: int = 4) -> int:
        """Bytes of what runs: decompressor, stepper, projector."""
        return bytes_per_number * sum(self.count(name) for name in ("decompressor", "stepper", "projector"))


def _at_rest(network: nn.Module, given: Tensor) -> Tensor:
    """``network(given)`` whose weights get no gradients."""
    for layer in network if isinstance(network, nn.Sequential) else (network,):
        if isinstance(layer, nn.Linear):
            given = functional.linear(given, layer.weight.detach(), layer.bias.detach())
        else:
            given = layer(given)
    return given


def _with_one(given: Tensor) -> Tensor:
    return torch.cat((given, torch.ones_like(given[:, :1])), dim=1)


def _least_squares(given: Tensor, wanted: Tensor, ridge: float = RIDGE) -> Tensor:
    """``[a, b]`` that makes ``wanted [n, b]`` of ``given [n, a]``. Columns may be tied to each other, or hardly vary: a
    ridge keeps what is far from the clips within bounds."""
    square = given.T @ given
    square = square + ridge * len(given) * torch.eye(given.shape[1], device=given.device)
    return torch.linalg.solve(square, given.T @ wanted)


def _begin_last(network: nn.Sequential, given: Tensor, wanted: Tensor) -> None:
    """The last layer of ``network`` by least squares; the others are random, and good enough to begin with (Huang, Zhu,
    Siew 2006, "Extreme learning machine")."""
    last = network[-1]
    assert isinstance(last, nn.Linear)
    hidden = network[:-1](given)
    fitted = _least_squares(_with_one(hidden), wanted, RIDGE * float(hidden.square().mean()))
    last.weight.copy_(fitted[:-1].T)
    last.bias.copy_(fitted[-1])
