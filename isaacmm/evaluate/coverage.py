"""How much of what the clips do a policy does: both as tokens of the same tokenizer, code by code.

A policy can walk well and still have learned one clip of fifty. The discriminator does not tell (it is shown what the
policy does, not what it leaves out); histograms of motion tokens do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm.errors import CheckpointError
from isaacmm.evaluate.rollout import Rollout
from isaacmm.motion.clip import Motion
from isaacmm.motion.library import MotionLibrary
from isaacmm.vqvae import usage
from isaacmm.vqvae.tokenizer import Tokenizer

#: Episodes shorter than this many tokens are left out: a fall says little about what is imitated.
_SHORTEST = 4

ROWS = (
    ("covered", "%", 1, "Share of the clips' motion (by time) made of codes that the policy uses as well"),
    ("codes", "", 0, "How many codes are used"),
    ("perplexity", "", 1, "exp(entropy) of the codes: how many there are, weighted by how often they occur"),
    ("divergence", "bits", 3, "Jensen-Shannon divergence of the codes' histogram from the clips': 0 alike, 1 disjoint"),
    ("strange", "%", 1, "Share of the motion made of codes that no clip uses"),
)


@dataclass(frozen=True, eq=False)
class Coverage:
    """Three columns: the policy, clips played from random moments for as long (what is within reach), the clips.

    Attributes:
        tokenizer: where the tokens are from.
        histograms: ``policy``, ``played`` and ``clips``, each ``[K]``, counts or weights.
        missed: clips least covered: name -> share (percent) of it made of codes that the policy never uses.
    """

    tokenizer: str
    histograms: dict[str, Tensor]
    missed: dict[str, float] = field(default_factory=dict)

    def column(self, name: str) -> dict[str, float]:
        """The figures of one column."""
        own, clips = self.histograms[name], usage.share(self.histograms["clips"])
        return {
            "covered": 100.0 * float(clips[own > 0].sum()),
            "codes": float((own > 0).sum()),
            "perplexity": usage.perplexity(own),
            "divergence": usage.divergence(own, clips),
            "strange": 100.0 * float(usage.share(own)[clips == 0].sum()),
        }

    @property
    def perplexity_ratio(self) -> float:
        """The policy's perplexity over that of clips played for as long; far below 1: it has collapsed to a few."""
        return usage.perplexity(self.histograms["policy"]) / usage.perplexity(self.histograms["played"])

    def table(self) -> str:
        """The columns side by side."""
        columns = {name: self.column(name) for name in ("policy", "played", "clips")}
        lines = [f"coverage by {self.tokenizer}:", f"  {'':<22}{'policy':>9}{'played':>9}{'clips':>9}"]
        for name, unit, digits, _ in ROWS:
            cells = "".join(f"{column[name]:>9.{digits}f}" for column in columns.values())
            lines.append(f"  {name:<22}{cells}  {unit}".rstrip())
        lines.append(f"  perplexity over that of clips played for as long: {self.perplexity_ratio:.2f}")
        if self.missed:
            lines.append("  least covered: " + ", ".join(f"{k} ({v:.0f} % missing)" for k, v in self.missed.items()))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "tokenizer": self.tokenizer,
            "perplexity_ratio": round(self.perplexity_ratio, 6),
            **{name: {k: round(v, 6) for k, v in self.column(name).items()} for name in self.histograms},
            "missed": {name: round(value, 3) for name, value in self.missed.items()},
            "definitions": {name: {"unit": unit, "definition": text} for name, unit, _, text in ROWS},
        }


def measure(
    text: str, rollout: Rollout, library: MotionLibrary, runs_dir: Path = Path("runs"), seed: int = 0
) -> Coverage:
    """Encode what a policy did and the clips it learned from.

    Args:
        text: the tokenizer's run (:meth:`Tokenizer.load`).
        rollout: of the policy.
        library: its clips, with their weights.
        runs_dir: where runs are found by name.
        seed: draws which clips are played for comparison.

    Raises:
        CheckpointError: no tokenizer, or one of another skeleton.
    """
    tokenizer = Tokenizer.load(text, runs_dir)
    tokenizer.need_tokens()
    if tokenizer.spec.skeleton.names != library.skeleton.names:
        raise CheckpointError(
            f"{tokenizer.path}: learned another skeleton ({len(tokenizer.spec.skeleton.names)} bodies) than the "
            f"policy's ({len(library.skeleton.names)}); train a tokenizer on the policy's clips"
        )
    clips = tokenizer.codes(library.motions)
    done = [codes for codes in tokenizer.codes(episodes(rollout)) if len(codes) >= _SHORTEST]
    if not done:
        raise CheckpointError("coverage: no episode lasted long enough to be encoded; the policy falls at once")
    return of_codes(clips, library.weights.cpu(), library.names, done, tokenizer, seed)


def of_codes(
    clips: Sequence[Tensor],
    weights: Tensor,
    names: Sequence[str],
    done: Sequence[Tensor],
    tokenizer: Tokenizer,
    seed: int = 0,
) -> Coverage:
    """Coverage of episodes ``done`` by ``clips``, both ``[S, L]`` codes; the first layer counts."""
    size = tokenizer.model.quantizer.sizes[0]
    each = torch.stack([usage.share(usage.histogram(codes[:, 0], size)) for codes in clips])
    # a clip counts by its weight, however long it is: that is how often it is drawn
    histograms = {
        "policy": usage.histogram(torch.cat([codes[:, 0] for codes in done]), size),
        "played": usage.histogram(play(clips, weights, [len(codes) for codes in done], seed), size),
        "clips": (each * weights[:, None].double()).sum(0),
    }
    missing = 100.0 * each[:, histograms["policy"] == 0].sum(1)
    order = missing.argsort(descending=True)[:5].tolist()
    missed = {str(names[i]): float(missing[i]) for i in order if missing[i] > 5.0}
    return Coverage(str(tokenizer.path), histograms, missed)


def play(clips: Sequence[Tensor], weights: Tensor, lengths: Sequence[int], seed: int = 0) -> Tensor:
    """First-layer codes ``[sum(lengths)]`` of clips drawn by weight and played from random moments, each as long as
    one of the episodes; a clip that ends begins again."""
    generator = torch.Generator().manual_seed(seed)
    picks = torch.multinomial(weights, len(lengths), replacement=True, generator=generator).tolist()
    moments = torch.rand(len(lengths), generator=generator).tolist()
    parts = []
    for pick, moment, length in zip(picks, moments, lengths, strict=True):
        codes = clips[pick][:, 0]
        parts.append(codes[(torch.arange(length) + int(moment * len(codes))) % len(codes)])
    return torch.cat(parts)


def episodes(rollout: Rollout) -> list[Motion]:
    """Every unbroken piece of every world; of steered worlds the first one."""
    made = []
    for world in range(rollout.num_worlds):
        ends = (rollout.done[:, world].nonzero().flatten() + 1).tolist()
        bounds = sorted({0, *ends, rollout.num_frames})
        pieces = [rollout.segment(world)] if rollout.script else list(pairwise(bounds))
        for start, stop in pieces:
            part = slice(start, stop)
            root = rollout.root_pos[part, world], rollout.root_rot[part, world]
            if stop - start > 1:
                dofs = rollout.dof_pos[part, world]
                made.append(Motion.from_dofs(rollout.character.skeleton, *root, dofs, rollout.fps, f"world_{world}"))
    return made
