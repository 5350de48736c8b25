"""A trained tokenizer, ready for use: motions in, tokens out, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm.cli import runs
from isaacmm.errors import CheckpointError, MotionError
from isaacmm.learn.fit import KIND, load_fitted, shipped
from isaacmm.motion.clip import Motion
from isaacmm.vqvae.features import MotionFeatures, Start
from isaacmm.vqvae.model import MotionVQVAE, Shape
from isaacmm.vqvae.tokens import Tokens

TASK = "MotionVQVAE"


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A network and what its features mean.

    Attributes:
        model: on the CPU, in evaluation mode.
        spec: features and skeleton.
        path: the checkpoint.
        meta: of the checkpoint.
        config: that it was trained with.
    """

    model: MotionVQVAE
    spec: MotionFeatures
    path: Path
    meta: Mapping[str, Any]
    config: Mapping[str, Any]

    @classmethod
    def load(cls, text: str | Path, runs_dir: Path = Path("runs")) -> Tokenizer:
        """From a checkpoint file, a run folder or its name, or ``latest`` (the newest run of this task).

        Raises:
            CheckpointError: there is none, or it is something else.
        """
        path = find(str(text), runs_dir)
        content = load_fitted(path)
        if content["task"] != TASK:
            raise CheckpointError(f"{path} is a checkpoint of {content['task']}, not of {TASK}")
        meta = content["meta"]
        model = MotionVQVAE(Shape.from_dict(meta["shape"]))
        model.load_state_dict(shipped(content))
        return cls(model.eval().requires_grad_(False), MotionFeatures.from_dict(meta["features"]), path, meta,
                   content["config"])  # fmt: skip

    @property
    def digest(self) -> str:
        """Twelve letters that are others for other weights."""
        found = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            found.update(name.encode())
            found.update(value.contiguous().numpy().tobytes())
        return found.hexdigest()[:12]

    def need_tokens(self) -> None:
        """Refuse a network without a quantizer.

        Raises:
            CheckpointError: it is one.
        """
        if not self.model.quantizer.layers:
            raise CheckpointError(f"{self.path} was trained with quantizer=none: it reconstructs, but makes no tokens")

    # ------------------------------------------------------------------ motions
    def encode(self, motion: Motion) -> Tokens:
        """A clip of the tokenizer's skeleton as tokens."""
        features = self.spec.extract(motion)
        return Tokens(self.model.encode(features), len(features), Start.of(motion), motion.name, self.digest)

    def codes(self, motions: Sequence[Motion]) -> list[Tensor]:
        """Tokens ``[S, L]`` of each clip."""
        return [self.model.encode(self.spec.extract(motion)) for motion in motions]

    def decode(self, tokens: Tokens, window: int | None = None) -> Motion:
        """The clip that tokens stand for.

        Args:
            tokens: of this tokenizer.
            window: decode pieces of so many frames by themselves and butt them together, to see what that costs.

        Raises:
            MotionError: they are another tokenizer's, or of codes that this one does not have.
        """
        self.check(tokens)
        if window is None:
            features = self.model.decode(tokens.codes, tokens.frames)
        else:
            step = max(1, window // self.model.frames_per_token)
            features = torch.cat([self.model.decode(piece) for piece in tokens.codes.split(step)])[: tokens.frames]
        return self.spec.motion(features, tokens.start, tokens.name)

    def check(self, tokens: Tokens) -> None:
        """Refuse tokens that mean something else here.

        Raises:
            MotionError: what is wrong with them.
        """
        self.need_tokens()
        where = tokens.name or "tokens"
        sizes, (_, layers) = self.model.quantizer.sizes, tokens.codes.shape
        if tokens.tokenizer and tokens.tokenizer != self.digest:
            raise MotionError(
                f"{where}: made by the tokenizer {tokens.tokenizer}, this one is {self.digest} ({self.path}); tokens "
                "mean nothing to another tokenizer. Tokenize the clip again"
            )
        fewer = hasattr(self.model.quantizer, "books") and 1 <= layers <= len(sizes)  # coarse layers alone will do
        if layers != len(sizes) and not fewer:
            raise MotionError(f"{where}: {layers} numbers per line, this tokenizer has {len(sizes)} per step")
        for layer in range(layers):
            column = tokens.codes[:, layer]
            odd = (column < 0) | (column >= sizes[layer])
            if bool(odd.any()):
                at = int(odd.nonzero()[0])
                raise MotionError(
                    f"{where}: step {at} holds code {int(column[at])}; this tokenizer has 0 to {sizes[layer] - 1}"
                )

    def reconstruct(self, motion: Motion, quantize: bool = True) -> Motion:
        """A clip through the network."""
        features = self.spec.extract(motion)
        return self.spec.motion(self.model.reconstruct(features, quantize), Start.of(motion), motion.name)

    # ------------------------------------------------------------------ what it costs
    def rates(self) -> dict[str, float]:
        """Bits per token step, per second, and how much smaller than float32 that is.

        ``ratio_pose``: beside root position, root rotation and joint rotations or hinge angles, which is what a clip
        is; ``ratio_features``: beside what the network sees.
        """
        skeleton, bits = self.spec.skeleton, self.model.quantizer.bits
        numbers = 7 + (skeleton.num_dofs or 4 * skeleton.num_joints)
        frames = self.model.frames_per_token
        return {
            "bits_per_token": bits,
            "bits_per_second": bits * self.spec.fps / frames,
            "ratio_pose": 32.0 * numbers * frames / max(bits, 1e-9),
            "ratio_features": 32.0 * self.spec.size * frames / max(bits, 1e-9),
        }


def find(text: str, runs_dir: Path) -> Path:
    """The checkpoint that ``text`` names; ``latest`` looks only at runs of this task.

    Raises:
        CheckpointError: there is none.
    """
    if text != "latest":
        return runs.find_checkpoint(text, runs_dir, "")
    for folder in runs.list_runs(runs_dir):
        for path in runs.checkpoints(folder)[:1]:
            if _is_ours(path):
                return path
    raise CheckpointError(f"latest: no run of task={TASK} under {runs_dir}/ has a checkpoint yet; train one first")


def _is_ours(path: Path) -> bool:
    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception:  # whatever it is, it is none of ours
        return False
    return isinstance(content, dict) and content.get("kind") == KIND and content.get("task") == TASK


def histograms(tokenizer: Tokenizer, codes: Sequence[Tensor]) -> Tensor:
    """``[clips, K]`` counts of the first layer's codes."""
    from isaacmm.vqvae import usage

    size = tokenizer.model.quantizer.sizes[0]
    return torch.stack([usage.histogram(c[:, 0], size) for c in codes])
