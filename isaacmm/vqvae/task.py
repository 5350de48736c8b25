"""``task=MotionVQVAE``: what the supervised loop needs to know of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError, nearest
from isaacmm.learn.fit_split import split_clips
from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton
from isaacmm.vqvae import data, measure, usage
from isaacmm.vqvae.baseline import PatchQuantizer
from isaacmm.vqvae.features import MotionFeatures, Start
from isaacmm.vqvae.model import MotionVQVAE, Shape, temporal_difference

log = logging.getLogger(__name__)

NAME = "MotionVQVAE"
KINDS = ("l1", "smooth_l1", "l2")
#: Every so many frames body positions are compared while learning: neighbours say the same.
_POSITION_STRIDE = 4


def make(cfg: DictConfig) -> VQVAETask:
    """The task of a composed configuration: its clips read, its features laid out."""
    settings = OmegaConf.to_container(cfg.task, resolve=True)
    assert isinstance(settings, dict)
    character = CharacterModel.load(OmegaConf.to_container(cfg.character, resolve=True))  # type: ignore[arg-type]
    clips = data.load(OmegaConf.to_container(cfg.motion, resolve=True), character, str(cfg.task.skeleton))  # type: ignore[arg-type]
    return VQVAETask({str(k): v for k, v in settings.items()}, clips, int(cfg.seed))


def robot_hinges(skeleton: Skeleton, settings: Mapping[str, Any]) -> list[int] | None:
    """Hinges of the simulated skeleton in the order of the real robot's joints, None without such a map.

    Raises:
        ConfigError: a map that does not say for each hinge which real joint it is, each once.
    """
    if not settings.get("apply_sim_to_real_map"):
        return None
    where, count = [int(i) for i in settings.get("sim_to_real_idx") or []], int(settings.get("real_dof") or 0)
    if len(where) != skeleton.num_dofs:
        raise ConfigError(
            f"task.sim_to_real_idx has {len(where)} numbers and the clips' skeleton {skeleton.num_dofs} hinges "
            f"({', '.join(skeleton.dof_names[:4])}, ...): give each hinge the number of its real joint, or -1"
        )
    if sorted(i for i in where if i >= 0) != list(range(count)):
        raise ConfigError(
            f"task.sim_to_real_idx: each of the real robot's joints 0 to {count - 1} (task.real_dof={count}) must "
            f"occur once; got {where}"
        )
    return [where.index(i) for i in range(count)]


class VQVAETask:
    """A :class:`~isaacmm.learn.fit.FitTask`.

    Args:
        settings: ``cfg.task``.
        clips: all of one skeleton.
        seed: draws which clips are held out.
    """

    name = NAME
    judged_on = "on clips held out"

    def __init__(self, settings: Mapping[str, Any], clips: Sequence[Motion], seed: int) -> None:
        s = self.settings = dict(settings)
        self.kind = str(s["loss"]["kind"])
        if self.kind not in KINDS:
            raise ConfigError(f"task.loss.kind: there is no '{self.kind}'; {nearest(self.kind, KINDS)}")
        skeleton = clips[0].skeleton
        self.spec = MotionFeatures.make(
            skeleton, float(s["fps"]), str(s["pose"]), bool(s["prefer_expmap"]), robot_hinges(skeleton, s)
        )
        learned, held = split_clips([clip.name for clip in clips], s["held_out"], seed)
        self.held_out = bool(held)
        if not held:
            self.judged_on = "on the clips learned from, none being held out"
            log.warning("there are too few clips to hold one out: figures are of what was learned")
        self.learned = [clips[i] for i in learned]
        self.judged = [clips[i] for i in held] if held else self.learned
        features = [self.spec.extract(clip) for clip in self.learned]
        longest, token = max(len(x) for x in features), 2 ** int(s["halvings"])
        if longest < token:
            raise MotionError(
                f"the longest clip to learn from has {longest} frames at {self.spec.fps:g} fps, and a token stands for "
                f"{token}; give longer clips"
            )
        self.mean, self.scale = data.statistics(
            torch.cat(features), [(piece.start, piece.stop) for piece in self.spec.slices]
        )
        both_sides = bool(s["mirror"]) and skeleton.mirror_bodies != tuple(range(skeleton.num_bodies))
        mirrored = [self.spec.extract(clip.mirror()) for clip in self.learned] if both_sides else []
        self.normal, self.mirrored = ([(x - self.mean) / self.scale for x in f] for f in (features, mirrored))
        self.windows = data.Windows.of([*self.normal, *self.mirrored], self.window)
        self.truth = [self.spec.extract(clip) for clip in self.judged]
        weight = torch.ones(self.spec.size)
        for piece in self.spec.slices:
            if piece.name.startswith("root"):
                weight[piece.start : piece.stop] = float(s["loss"]["root"])
        #: what each number counts in the losses, 1 on average
        self.weight = weight / weight.mean()
        self._baseline: dict[str, float] | None = None

    @property
    def shape(self) -> Shape:
        """Sizes of the network."""
        fields = Shape.__dataclass_fields__
        chosen = {k: v for k, v in self.settings.items() if k in fields}
        return Shape.from_dict({**chosen, "features": self.spec.size})

    @property
    def window(self) -> int:
        """Frames of a training window, whole tokens.

        Raises:
            ConfigError: they are not.
        """
        frames, step = int(self.settings["window"]), 2 ** int(self.settings["halvings"])
        if frames < 2 * step or frames % step:
            raise ConfigError(f"task.window={frames}: wants a multiple of {step} (2^halvings), at least {2 * step}")
        return frames

    # ------------------------------------------------------------- the loop's
    def build(self) -> nn.Module:
        """A network with the statistics of what it will learn from."""
        return MotionVQVAE(self.shape, self.mean, self.scale)

    def begin(self, model: nn.Module) -> None:
        """See :meth:`MotionVQVAE.begin`."""
        assert isinstance(model, MotionVQVAE)
        tokens = int(self.settings["batch"]) * self.window // model.frames_per_token
        model.begin([*self.normal, *self.mirrored], self.weight, tokens)

    def batch(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """``x [B, T, F]`` normalised windows, and ``depth [B]`` layers that each may use."""
        count, layers = int(self.settings["batch"]), int(self.settings["layers"])
        made = {"x": self.windows.sample(count, generator)}
        if self.settings["quantizer"] == "rvq":
            some = torch.randint(1, layers + 1, (count,), generator=generator)
            fewer = torch.rand(count, generator=generator) < float(self.settings["layer_dropout"])
            made["depth"] = torch.where(fewer, some, torch.full_like(some, layers))
        return made

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float | Tensor]]:
        """Reconstruction, its change over time, body positions, commitment."""
        assert isinstance(model, MotionVQVAE)
        x, weights = batch["x"], self.settings["loss"]
        made, quantized = model(x, batch.get("depth"))
        parts = {
            "reconstruction": self._gap(made, x),
            "velocity": self._gap(temporal_difference(made), temporal_difference(x)),
            "commitment": quantized.loss,
        }
        total = parts["reconstruction"] + float(weights["velocity"]) * parts["velocity"] + parts["commitment"]
        if float(weights["position"]):
            offset = int(torch.randint(_POSITION_STRIDE, (1,)))
            here = slice(offset, None, _POSITION_STRIDE)
            a, b = (self.spec.local_positions(model.denormalise(v[:, here])) for v in (made, x))
            parts["position"] = (a - b)[..., 1:, :].abs().mean()
            total = total + float(weights["position"]) * parts["position"]
        return total, {name: value.detach() for name, value in parts.items()}

    def _gap(self, a: Tensor, b: Tensor) -> Tensor:
        kinds = {"l1": functional.l1_loss, "smooth_l1": functional.smooth_l1_loss, "l2": functional.mse_loss}
        gap: Tensor = kinds[self.kind](a, b, reduction="none")
        return (gap * self.weight.to(gap)).mean()

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Errors on whole held-out clips, beside patches without learning; and how the codes are used there."""
        assert isinstance(model, MotionVQVAE)
        model = model.eval()
        device = model.mean.device
        total, counts = measure.Errors(), [torch.zeros(size, dtype=torch.float64) for size in model.quantizer.sizes]
        for truth in self.truth:
            made = model.reconstruct(truth.to(device)).cpu()
            total += measure.compare(self.spec, truth, made)
            if counts:
                tokens = model.encode(truth.to(device)).cpu()
                for layer, count in enumerate(counts):
                    count += usage.histogram(tokens[:, layer], len(count))
        values = total.values()
        base = self._baseline_values(model)
        values = {k: v for name, v0 in values.items() for k, v in ((name, v0), *self._beside(name, base))}
        for layer, count in enumerate(counts):
            mark = f"_{layer}" if len(counts) > 1 else ""
            values[f"codes_used{mark}"] = float((count > 0).sum())
            values[f"perplexity{mark}"] = usage.perplexity(count)
        return values

    @staticmethod
    def _beside(name: str, base: Mapping[str, float]) -> list[tuple[str, float]]:
        key = f"{name}_baseline"
        return [(key, base[key])] if key in base else []

    def _baseline_values(self, model: MotionVQVAE) -> dict[str, float]:
        """Errors of patches (:mod:`.baseline`), worked out once."""
        if self._baseline is None:
            self._baseline = {}
            if model.quantizer.layers:
                patches = PatchQuantizer(self.normal, model.frames_per_token, model.quantizer.sizes)
                total = measure.Errors()
                for truth in self.truth:
                    made = patches.reconstruct((truth - self.mean) / self.scale) * self.scale + self.mean
                    total += measure.compare(self.spec, truth, made)
                self._baseline = total.values("_baseline")
        return self._baseline

    def finish(self, model_ema: nn.Module, folder: Path, figures: Mapping[str, float]) -> list[Path]:
        """A held-out clip before and after as BVH, and the networks as ONNX."""
        from isaacmm.vqvae.export import export

        assert isinstance(model_ema, MotionVQVAE)
        model = model_ema.cpu().eval()
        made: list[Path] = []
        (folder / "motions").mkdir(parents=True, exist_ok=True)
        for clip, truth in list(zip(self.judged, self.truth, strict=True))[:2]:
            for mark, features in (("", truth), ("_reconstructed", model.reconstruct(truth))):
                path = folder / "motions" / f"{clip.name or 'clip'}{mark}.bvh"
                self.spec.motion(features, Start.of(clip), clip.name).save(path)
                made.append(path)
        if model.quantizer.layers:
            made += export(model, self.spec, folder, self.truth[0]).files
        return made

    def meta(self) -> dict[str, Any]:
        """What the weights mean: features with their skeleton, sizes, and who was held out."""
        return {
            "features": self.spec.to_dict(),
            "shape": self.shape.to_dict(),
            "held_out": [clip.name for clip in self.judged] if self.held_out else [],
            "learned": [clip.name for clip in self.learned],
        }
