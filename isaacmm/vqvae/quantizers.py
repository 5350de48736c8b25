"""Quantizers: latent vectors ``[B, T, C]`` to tokens ``[B, T, L]`` and back.

All of what a quantizer learns besides gradients is in buffers, so it is saved, loaded, moved between devices and
copied (never averaged) with the weights; nothing is initialised twice. Nothing here draws from the global generator:
which encoder outputs replace dead codes follows from a step counter, the batch itself being random enough.

Sources: VQ and its losses, van den Oord et al. 2017, "Neural Discrete Representation Learning", sec. 3.2 and
appendix A.1 (moving averages); replacing dead codes, Dhariwal et al. 2020, "Jukebox"; residual quantization,
Zeghidour et al. 2021, "SoundStream", sec. III-C; finite scalar quantization, Mentzer et al. 2023.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from isaacmm.errors import ConfigError, nearest
from isaacmm.vqvae import usage

#: The codebooks with one token per step; ``ema*`` by moving averages, the others by gradients.
BOOKS = ("ema", "reset", "ema_reset", "orig")
NAMES = (*BOOKS, "rvq", "fsq", "none")
#: A new code counts as used this many times as much as a dead one: it has some 70 steps to find something to stand for.
_FRESH = 2.0


@dataclass(frozen=True)
class Quantized:
    """What a quantizer makes of latent vectors.

    Attributes:
        vectors: ``[B, T, C]``, gradients pass straight through.
        tokens: ``[B, T, L]`` int64.
        loss: scalar, commitment (and codebook) loss, already weighted.
    """

    vectors: Tensor
    tokens: Tensor
    loss: Tensor


class Quantizer(nn.Module):
    """What all have in common.

    Attributes:
        sizes: number of codes of each of the ``L`` layers.
    """

    sizes: tuple[int, ...] = ()

    @property
    def layers(self) -> int:
        """``L``, tokens per step."""
        return len(self.sizes)

    @property
    def bits(self) -> float:
        """Bits that one step takes: ``sum(log2(sizes))``."""
        return sum(math.log2(size) for size in self.sizes)

    def encode(self, z: Tensor) -> Tensor:
        """Tokens ``[..., L]`` of latent vectors ``[..., C]``."""
        raise NotImplementedError

    def decode(self, tokens: Tensor) -> Tensor:
        """Latent vectors ``[..., C]`` of tokens ``[..., L]``."""
        raise NotImplementedError

    def forward(self, z: Tensor, depth: Tensor | None = None) -> Quantized:
        """Quantize ``z [B, T, C]``; ``depth [B]``: how many layers each row may use (residual quantizers)."""
        raise NotImplementedError

    def begin(self, rows: Tensor, per_step: int) -> None:
        """Start from latent vectors ``rows [n, C]`` of all clips, of which a training step shows ``per_step``."""


class Codebook(Quantizer):
    """One table of ``K`` vectors; the nearest one is taken.

    Args:
        dim: ``C``.
        size: ``K``.
        kind: ``orig`` learns the vectors by gradients; ``ema`` as moving averages of what is assigned to them;
            ``reset`` and ``ema_reset`` likewise, and replace codes that are hardly used by encoder outputs.
        decay: of the moving averages, per training step.
        commitment: weight of ``|z - code|^2`` with gradients to ``z``.
        reset_below: a code is dead when its (moving average) use falls below this share of the mean use.
    """

    codebook: Tensor
    code_sum: Tensor
    code_count: Tensor
    initialised: Tensor
    steps: Tensor

    def __init__(
        self,
        dim: int,
        size: int,
        kind: str = "ema_reset",
        decay: float = 0.99,
        commitment: float = 0.02,
        reset_below: float = 0.1,
    ) -> None:
        super().__init__()
        if kind not in BOOKS:
            raise ConfigError(f"quantizer '{kind}' is no codebook; {nearest(kind, BOOKS)}")
        self.sizes = (size,)
        self.averaged = kind.startswith("ema")
        self.resets = kind.endswith("reset")
        self.decay, self.commitment, self.reset_below = decay, commitment, reset_below
        self.register_buffer("codebook", torch.zeros(size, dim))
        self.register_buffer("code_sum", torch.zeros(size, dim) if self.averaged else torch.zeros(0, dim))
        # made once and changed in place, so that an optimiser keeps hold of it. What is used outside of training is
        # always the buffer: an average of weights would smear codes that have just begun anew
        self.learned = None if self.averaged else nn.Parameter(torch.zeros(size, dim))
        self.register_buffer("code_count", torch.zeros(size))
        self.register_buffer("initialised", torch.tensor(False))
        self.register_buffer("steps", torch.tensor(0))

    def encode(self, z: Tensor) -> Tensor:
        """Index of the nearest code: the largest ``z.e - |e|^2 / 2``."""
        score = z @ self.codebook.T - 0.5 * self.codebook.square().sum(-1)
        return score.argmax(-1, keepdim=True)

    def decode(self, tokens: Tensor) -> Tensor:
        return functional.embedding(tokens[..., 0], self.codebook)

    def forward(self, z: Tensor, depth: Tensor | None = None, used: Tensor | None = None) -> Quantized:
        """As :meth:`Quantizer.forward`; rows where ``used [B]`` is 0 count neither for losses nor for averages."""
        rows = z.detach().reshape(-1, z.shape[-1])
        if self.training:
            self._begin(rows)
            if self.learned is not None:
                self.codebook.copy_(self.learned.detach())
        tokens = self.encode(z.detach())
        codes = self.decode(tokens)
        weight = torch.ones_like(z[..., 0]) if used is None else used[:, None].expand(z.shape[:2]).to(z)
        loss = self.commitment * _mean((z - codes.detach()).square(), weight)
        if self.learned is not None and self.training:
            loss = loss + _mean((z.detach() - functional.embedding(tokens[..., 0], self.learned)).square(), weight)
        if self.training:
            self._learn(rows, tokens.flatten(), weight.flatten())
        return Quantized(z + (codes - z).detach(), tokens, loss)

    @torch.no_grad()
    def begin(self, rows: Tensor, per_step: int) -> None:
        """Codes at the middles of clusters of ``rows``, as often used as those are large."""
        size = len(self.codebook)
        draw = torch.Generator().manual_seed(size)
        # fewer rows than codes: the same ones again, a little apart
        some = torch.cat([torch.randperm(len(rows), generator=draw) for _ in range(-(-size // len(rows)))])[:size]
        apart = 1.0 + 0.01 * (torch.arange(size) // len(rows))[:, None]
        centres, which = usage.lloyd(rows, rows[some] * apart.to(rows), rounds=8)
        self.codebook.copy_(centres)
        if self.learned is not None:
            self.learned.copy_(centres)
        self.code_count.copy_(usage.share(usage.histogram(which, size)) * per_step)
        if self.averaged:
            self.code_sum.copy_(centres * self.code_count[:, None])
        self.initialised.fill_(True)

    @torch.no_grad()
    def _begin(self, rows: Tensor) -> None:
        """Codes of the very first batch, without :meth:`begin`: encoder outputs. That it has happened is saved."""
        if bool(self.initialised):
            return
        everyone = torch.ones_like(self.code_count, dtype=torch.bool)
        self._replace(everyone, rows, rows.new_tensor(_FRESH * self.reset_below * len(rows) / len(everyone)))
        self.initialised.fill_(True)

    @torch.no_grad()
    def _learn(self, rows: Tensor, tokens: Tensor, weight: Tensor) -> None:
        """Moving averages of how often each code is used, and of what it stands for; dead codes begin anew."""
        self.steps += 1
        count = torch.zeros_like(self.code_count).index_add_(0, tokens, weight)
        self.code_count.lerp_(count, 1.0 - self.decay)
        if self.averaged:
            total = torch.zeros_like(self.code_sum).index_add_(0, tokens, rows * weight[:, None])
            self.code_sum.lerp_(total, 1.0 - self.decay)
            alive = self.code_count > 1e-4  # sum and count of an unused code shrink alike, until nothing is left
            mean = self.code_sum / self.code_count.clamp(min=1e-4)[:, None]
            self.codebook.copy_(torch.where(alive[:, None], mean, self.codebook))
        if self.resets:
            dead = self.reset_below * self.code_count.mean()
            self._replace(self.code_count < dead, rows, _FRESH * dead)

    def _replace(self, which: Tensor, rows: Tensor, count: Tensor) -> None:
        """Give the codes ``which [K]`` bool encoder outputs spread over the batch, and ``count`` as their use."""
        rank = torch.cumsum(which, 0) - 1
        stride = (len(rows) // which.sum().clamp(min=1)).clamp(min=1)
        pick = (rank * stride + self.steps) % len(rows)
        # more codes than rows: the same row again, a little apart
        fresh = rows[pick] * (1.0 + 0.01 * (rank * stride // len(rows)))[:, None]
        self.codebook.copy_(torch.where(which[:, None], fresh, self.codebook))
        if self.learned is not None:
            self.learned.copy_(torch.where(which[:, None], fresh, self.learned))
        self.code_count.copy_(torch.where(which, count, self.code_count))
        if self.averaged:
            self.code_sum.copy_(torch.where(which[:, None], fresh * count, self.code_sum))


class ResidualQuantizer(Quantizer):
    """Codebooks one after the other, each for what the ones before it left over.

    Args:
        dim, size, decay, commitment, reset_below: as :class:`Codebook`.
        layers: ``L``.
    """

    def __init__(self, dim: int, size: int, layers: int = 6, **book: float) -> None:
        super().__init__()
        self.sizes = (size,) * layers
        self.books = nn.ModuleList(Codebook(dim, size, "ema_reset", **book) for _ in range(layers))

    @torch.no_grad()
    def begin(self, rows: Tensor, per_step: int) -> None:
        """Layer by layer, each on what the ones before it leave over."""
        for book in self.books:
            assert isinstance(book, Codebook)
            book.begin(rows, per_step)
            rows = rows - book.decode(book.encode(rows))

    def encode(self, z: Tensor) -> Tensor:
        tokens = []
        for book in self.books:
            assert isinstance(book, Codebook)
            tokens.append(book.encode(z))
            z = z - book.decode(tokens[-1])
        return torch.cat(tokens, dim=-1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Of tokens ``[..., l]`` with the first ``l <= L`` layers: fewer layers, coarser vectors."""
        total: Tensor | None = None
        for layer, book in zip(range(tokens.shape[-1]), self.books, strict=False):
            assert isinstance(book, Codebook)
            part = book.decode(tokens[..., layer : layer + 1])
            total = part if total is None else total + part
        if total is None:
            raise ConfigError("a residual quantizer decodes at least one layer of tokens")
        return total

    def forward(self, z: Tensor, depth: Tensor | None = None) -> Quantized:
        rest, total = z, torch.zeros_like(z)
        tokens, loss = [], z.new_zeros(())
        for layer, book in enumerate(self.books):
            used = None if depth is None else (depth > layer).to(z)
            assert isinstance(book, Codebook)
            made = book(rest, used=used)
            codes = made.vectors.detach()
            if used is not None:
                codes = codes * used[:, None, None]
            rest, total = rest - codes, total + codes
            tokens.append(made.tokens)
            loss = loss + made.loss
        return Quantized(z + (total - z).detach(), torch.cat(tokens, dim=-1), loss)


class FiniteScalarQuantizer(Quantizer):
    """No table: a few numbers per token, each rounded to one of a few levels.

    Args:
        dim: ``C``.
        levels: number of levels of each number, such as ``[8, 5, 5, 5]`` (1,000 codes).
        groups: ``L``: so many independent tokens per step, each with these levels.
    """

    reach: Tensor
    offset: Tensor
    basis: Tensor
    count: Tensor

    def __init__(self, dim: int, levels: Sequence[int] = (8, 5, 5, 5), groups: int = 1) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ConfigError(f"fsq levels {list(levels)}: wants at least one number, each 2 or more")
        self.sizes = (math.prod(levels),) * groups
        self.groups, self.numbers = groups, len(levels)
        count = torch.tensor(levels, dtype=torch.int64)
        # tanh reaches +-half; even numbers of levels are shifted by half a step, so that rounding gives that many
        self.register_buffer("reach", (count - 1) * (1.0 + 1e-3) / 2.0)
        self.register_buffer("offset", torch.where(count % 2 == 0, 0.5, 0.0))
        self.register_buffer("count", count)
        self.register_buffer("basis", torch.cumprod(torch.cat((torch.ones(1).long(), count[:-1])), 0))
        self.into = nn.Linear(dim, groups * len(levels))
        self.back = nn.Linear(groups * len(levels), dim)

    @torch.no_grad()
    def begin(self, rows: Tensor, per_step: int) -> None:
        """The first ``groups * numbers`` latent numbers (the largest principal components), each over its spread."""
        wanted = self.groups * self.numbers
        if wanted > rows.shape[1]:
            return
        spread = rows[:, :wanted].std(0).clamp(min=1e-4)
        middle = rows[:, :wanted].mean(0)
        for weight in (self.into.weight, self.back.weight):
            weight.zero_()
        index = torch.arange(wanted)
        self.into.weight[index, index] = 1.0 / spread
        self.into.bias.copy_(-middle / spread)
        # levels lie at tanh of a spread: 1.3 of it reaches from end to end about as far as the rows do
        self.back.weight[index, index] = 1.3 * spread
        self.back.bias.zero_()
        self.back.bias[:wanted] = middle

    def bound(self, x: Tensor) -> Tensor:
        """``x [..., n]`` squashed into the range that rounds to the levels (Mentzer et al. 2023, appendix A)."""
        shift = torch.atanh(self.offset / self.reach)
        return torch.tanh(x + shift) * self.reach - self.offset

    def digits(self, z: Tensor) -> Tensor:
        """Rounded levels ``[..., L, n]``, integers as floats from ``-floor(levels / 2)`` on; straight through."""
        x = self.bound(self.into(z).unflatten(-1, (self.groups, self.numbers)))
        return x + (x.round() - x).detach()

    def mix(self, digits: Tensor) -> Tensor:
        """Latent vectors of ``digits [..., L, n]``, which are scaled to about [-1, 1] first."""
        return self.back((digits / (self.count // 2)).flatten(-2))

    def index(self, digits: Tensor) -> Tensor:
        """Digits to tokens ``[..., L]``."""
        return ((digits.round().long() + self.count // 2) * self.basis).sum(-1)

    def encode(self, z: Tensor) -> Tensor:
        return self.index(self.digits(z))

    def decode(self, tokens: Tensor) -> Tensor:
        digits = tokens.unsqueeze(-1) // self.basis % self.count - self.count // 2
        return self.mix(digits.to(self.reach))

    def forward(self, z: Tensor, depth: Tensor | None = None) -> Quantized:
        digits = self.digits(z)
        return Quantized(self.mix(digits), self.index(digits.detach()), z.new_zeros(()))


class NoQuantizer(Quantizer):
    """Lets everything through: the bound that quantizers are measured against."""

    def encode(self, z: Tensor) -> Tensor:
        raise ConfigError("quantizer=none makes no tokens: it is the bound that the others are compared with")

    def decode(self, tokens: Tensor) -> Tensor:
        raise ConfigError("quantizer=none knows no tokens: it is the bound that the others are compared with")

    def forward(self, z: Tensor, depth: Tensor | None = None) -> Quantized:
        return Quantized(z, z.new_zeros(*z.shape[:-1], 0, dtype=torch.int64), z.new_zeros(()))


def make(
    name: str,
    dim: int,
    *,
    codes: int = 512,
    layers: int = 6,
    levels: Sequence[int] = (8, 5, 5, 5),
    groups: int = 1,
    decay: float = 0.99,
    commitment: float = 0.02,
    reset_below: float = 0.1,
) -> Quantizer:
    """The quantizer called ``name`` (one of :data:`NAMES`) for vectors of ``dim`` numbers.

    Raises:
        ConfigError: no such quantizer.
    """
    book = {"decay": decay, "commitment": commitment, "reset_below": reset_below}
    if name in BOOKS:
        return Codebook(dim, codes, name, **book)
    if name == "rvq":
        return ResidualQuantizer(dim, codes, layers, **book)
    if name == "fsq":
        return FiniteScalarQuantizer(dim, levels, groups)
    if name == "none":
        return NoQuantizer()
    raise ConfigError(f"quantizer: there is no '{name}'; {nearest(name, NAMES)}")


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``values [B, T, C]`` over rows with their ``weight [B, T]``; 0 where no row counts."""
    return (values.mean(-1) * weight).sum() / weight.sum().clamp(min=1.0)
