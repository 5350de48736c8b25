"""``task=MotionInbetween`` for the loop of :mod:`isaacmm.learn.fit`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.inbetween import benchmark, clips, masks, metrics
from isaacmm.inbetween.benchmark import Fill, Statistics
from isaacmm.inbetween.clips import ClipPack
from isaacmm.inbetween.keys import Gaps, Windows, disturb, interpolate
from isaacmm.inbetween.model import Inbetweener
from isaacmm.inbetween.network import NAME, skeleton_to_dict
from isaacmm.inbetween.pose import decode, encode, matrices
from isaacmm.learn.fit_split import split_clips
from isaacmm.motion.clip import Motion

log = logging.getLogger(__name__)


class InbetweenTask:
    """Learns from clips of one skeleton family to correct plain interpolation.

    Args:
        motions: at ``config["fps"]``, all with the same joints.
        config: the ``task`` section.
        seed: chooses the clips that are held out.
        whose: ``own`` or ``character``, for the checkpoint.
    """

    name = NAME
    judged_on = "on clips held out"

    def __init__(self, motions: Sequence[Motion], config: Mapping[str, Any], seed: int, whose: str = "own") -> None:
        self.config, self.whose = dict(config), whose
        train, held = split_clips([m.name for m in motions], config["held_out"], seed)
        self.held_names = [motions[i].name for i in held]
        learned = [motions[i] for i in train]
        mirrored = clips.with_mirrors(learned) if config["mirror"] else learned
        self.pack = ClipPack(mirrored)
        self.judge = ClipPack([motions[i] for i in held]) if held else ClipPack(learned)
        if not held:
            self.judged_on = "on the clips learned from, none being held out"
            log.warning("no clip is held out: figures below are measured on what is learned from")
        if self.pack.longest < masks.PAST + 7:
            raise MotionError(
                f"the longest clip has {self.pack.longest} frames at {self.pack.fps:g} fps; in-betweening learns from "
                f"at least {masks.PAST + 7} in a row"
            )
        self.longest = min(masks.LONGEST, self.pack.longest)
        self.statistics = Statistics.of(ClipPack(learned))
        self.count = int(config["batch"])
        self.exports = {"bvh": True, "onnx": True}

    # ------------------------------------------------------------------ learn
    def build(self) -> nn.Module:
        """A network with the clips' statistics; untrained it is plain interpolation."""
        size = 3 + 6 * self.pack.rot.shape[1]
        model = Inbetweener(size, **{str(k): v for k, v in dict(self.config["network"]).items()})
        generator = torch.Generator().manual_seed(0)
        some = self.pack.draw(512, min(33, self.longest), generator)
        frames = encode(*_frames(some.canonical(torch.full((512,), 8)))).flatten(0, 1)
        model.mean.copy_(frames.mean(0))
        model.std.copy_(frames.std(0).clamp(min=0.05))
        return model

    def begin(self, model: nn.Module) -> None:
        """Nothing: what it adds to interpolation begins at zero."""

    def batch(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Windows with one mask: real frames, interpolated frames, clock, bones."""
        mask = masks.draw(generator, self.longest)
        length = len(mask.known)
        starts = self.pack.pick(self.count, length, generator)
        windows = self.pack.windows(starts, length)
        known = mask.known.expand(self.count, -1)
        keys = mask.known.nonzero().flatten()
        anchor = keys[torch.randint(len(keys), (self.count,), generator=generator)]
        windows = windows.canonical(anchor)
        noise = torch.full((self.count,), mask.noise)
        shown = disturb(windows, noise, generator) if mask.noise else windows
        gaps = Gaps.of(known, (torch.arange(length) / self.pack.fps).expand(self.count, -1))
        made = {
            "frames": encode(*_frames(interpolate(shown, gaps))),
            "clock": gaps.clock(anchor, noise),
            "pos": windows.pos,
            "rot": windows.rot,
            "offsets": windows.offsets,
        }
        standing = self.pack.standing(starts, length)
        return made if standing is None else {**made, "standing": standing}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float | Tensor]]:
        """Rotations of bodies, positions and speeds of joints, of frames that are not keys; speeds of standing feet."""
        clock = batch["clock"]
        asked = ((clock[..., 0] == 0) | (clock[..., 4] > 0)).float()
        share = asked.mean().clamp(min=1e-3)
        pos, matrix = matrices(model(batch["frames"], clock))
        offsets = batch["offsets"][:, None]
        at, rot = self.pack.kinematics(pos, matrix, offsets)
        real_at, real_rot = self.pack.kinematics(batch["pos"], rotation.to_matrix(batch["rot"]), offsets)
        std = self.statistics.std.to(at).view(-1, 3)
        turned = ((rot - real_rot).abs().mean(dim=(-1, -2, -3)) * asked).mean() / share
        placed = (((at - real_at) / std).abs().mean(dim=(-1, -2)) * asked).mean() / share
        speed, real_speed = (torch.diff(x, dim=1) * self.pack.fps for x in (at, real_at))
        moved = (speed - real_speed).abs().mean()
        weights = self.config["loss"]
        total = weights["rotation"] * turned + weights["position"] * placed + weights["velocity"] * moved
        parts = {"rotation": turned, "position": placed, "velocity": moved}
        if "standing" in batch and weights["feet"]:
            assert self.pack.feet is not None
            points, real_points = (self.pack.feet.points_of(*x) for x in ((at, rot), (real_at, real_rot)))
            parts["feet"] = metrics.slide_gap(points, real_points, batch["standing"], self.pack.fps)
            total = total + weights["feet"] * parts["feet"]
        return total, {name: value.detach() for name, value in parts.items()}

    # --------------------------------------------------------------- evaluate
    def evaluate(self, model: nn.Module, most: int = 150) -> dict[str, float]:
        """The benchmark on the clips held out: gaps, up-sampling, noisy keys, each beside interpolation."""
        found: dict[str, float] = {}
        fill = filler(model)
        for label, scores in self.scores(fill, most).items():
            base = self._baseline(label, most)
            for name, value in scores.items():
                if name == "windows":
                    continue
                key = f"{name}_{label}"
                found[key] = value
                if name != "slide_real":
                    found[f"{key}_baseline"] = base[name]
        return found

    def score(self, values: Mapping[str, float]) -> float:
        """Mean logarithm of the ratios to interpolation: L2P of gaps, positions of rates."""
        keys = [k for k in values if k.startswith(("l2p_gap", "mpjpe_x")) and not k.endswith("_baseline")]
        ratios = [max(values[k], 1e-9) / max(values[f"{k}_baseline"], 1e-9) for k in keys]
        return sum(math.log(ratio) for ratio in ratios) / max(len(ratios), 1)

    def scores(self, fill: Fill, most: int) -> dict[str, dict[str, float]]:
        """Scores by test: ``gap15``, ``x8``, ``noise``; tests for which the clips are too short are left out."""
        pack, statistics = self.judge, self.statistics
        tests = {f"gap{n}": benchmark.gap_scores(pack, statistics, fill, n, most) for n in benchmark.GAPS}
        tests |= {f"x{r}": benchmark.rate_scores(pack, statistics, fill, r, most) for r in benchmark.RATES}
        tests["noise"] = benchmark.noise_scores(pack, statistics, fill, most)
        return {name: values for name, values in tests.items() if values}

    def _baseline(self, label: str, most: int) -> dict[str, float]:
        if not hasattr(self, "_plain"):
            self._plain = self.scores(benchmark.plain, most)
        return self._plain[label]

    def finish(self, model_ema: nn.Module, folder: Path, figures: Mapping[str, float]) -> list[Path]:
        """``inbetween.onnx`` with its sidecar, ``evaluation.json``, sample motions and a picture."""
        from isaacmm.inbetween import export, results

        assert isinstance(model_ema, Inbetweener)
        facts = {
            "clips": len(self.pack.names), "held_out": self.held_names, "fps": float(self.pack.fps),
            "skeleton": self.whose, "note": "" if self.held_names else "measured on the clips that were learned from",
        }  # fmt: skip
        files = [results.figures(folder / "evaluation.json", figures, facts)]
        fill = filler(model_ema)
        if self.exports["bvh"]:
            files += results.samples(folder / "motions", self.judge, fill)
        if picture := results.picture(folder / "inbetween.png", self.judge, fill, figures):
            files.append(picture)
        if self.exports["onnx"]:
            generator = torch.Generator().manual_seed(1)
            batches = [self.batch(i, generator) for i in range(6)]
            probes = [(b["frames"][:n], b["clock"][:n]) for b, n in zip(batches, (2, 1, 3, 8, 5, 2), strict=True)]
            done = export.export(
                model_ema, folder / "inbetween.onnx", self.pack.skeleton, float(self.pack.fps),
                self.pack.forward.tolist(), probes, facts,
            )
            log.warning(done.summary())
            files += [done.path, done.sidecar, *([done.half] if done.half else [])]
        return files

    def meta(self) -> dict[str, Any]:
        """Skeleton, rate, tests' statistics and clips: what is needed to use the weights."""
        skeleton = self.pack.skeleton
        return {
            "fps": float(self.pack.fps),
            "whose": self.whose,
            "forward": self.pack.forward.tolist(),
            "network": {str(k): v for k, v in dict(self.config["network"]).items()},
            "skeleton": skeleton_to_dict(skeleton),
            "features": ["root position (m)", "two columns of every body's local rotation, x then y"],
            "statistics": {"mean": self.statistics.mean, "std": self.statistics.std},
            "held_out": list(self.held_names),
            "clips": list(self.pack.names),
        }


def _frames(windows: Windows) -> tuple[Tensor, Tensor]:
    return windows.pos, windows.rot


def filler(model: nn.Module) -> Fill:
    """The network as something that fills windows, wherever these stand."""
    device = next(model.parameters()).device

    def fill(windows: Windows, gaps: Gaps, anchor: Tensor, noise: Tensor) -> Windows:
        here, turn, start = windows.moved(anchor)
        frames = encode(*_frames(interpolate(here, gaps)))
        with torch.no_grad():
            out = model(frames.to(device), gaps.clock(anchor, noise).to(device)).cpu()
        pos, rot = decode(out)
        return replace(windows, pos=pos, rot=rot).moved_back(turn, start)

    return fill


def make(cfg: DictConfig) -> InbetweenTask:
    """The task of a composed configuration, its clips read."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    task = plain["task"]
    character = CharacterModel.load(plain["character"])
    motions, whose = clips.load(plain["motion"], character, str(task["skeleton"]), float(task["fps"]))
    made = InbetweenTask(motions, task, int(plain["seed"]), whose)
    made.exports = {"bvh": bool(plain["export_bvh"]), "onnx": bool(plain["export_onnx"])}
    return made
