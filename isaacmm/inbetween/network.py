"""A trained in-betweener as its users need it: weights, skeleton, and how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm.errors import CheckpointError, MotionError
from isaacmm.inbetween.clips import check_skeleton
from isaacmm.inbetween.masks import LONGEST_GAP
from isaacmm.inbetween.model import Inbetweener
from isaacmm.learn.fit import load_fitted, shipped, shipped_figures
from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton

NAME = "MotionInbetween"
#: A bone (m) that is long enough for its direction to tell whether two skeletons have their axes alike.
_LONG_BONE = 0.05
#: Tests by the frames that are missing between keys: keys all around, and a gap in dense motion.
SPARSE = {1: "x2", 3: "x4", 7: "x8", 15: "x16"}
DENSE = {5: "gap5", 15: "gap15", 30: "gap30", 45: "gap45"}


@dataclass(frozen=True)
class Network:
    """Attributes:
    model: in evaluation mode, on the CPU.
    skeleton: whose joints it knows; bones may differ in length.
    fps: frame rate it learned at.
    evaluation: figures on held-out clips (:meth:`InbetweenTask.evaluate`).
    path: its checkpoint.
    forward: the root's own axis that points ahead ``[3]``.
    """

    model: Inbetweener
    skeleton: Skeleton
    fps: float
    evaluation: Mapping[str, float]
    path: Path
    forward: Tensor = field(default_factory=lambda: torch.tensor([1.0, 0.0, 0.0]))

    @classmethod
    def load(cls, path: Path) -> Network:
        """From a checkpoint file.

        Raises:
            CheckpointError: not one of an in-betweener.
        """
        content = load_fitted(path)
        if content["task"] != NAME:
            raise CheckpointError(f"{path} is a checkpoint of {content['task']}, not of {NAME}")
        meta = content["meta"]
        size = int(content["ema"]["mean"].shape[0])
        model = Inbetweener(size, **meta["network"])
        model.load_state_dict(shipped(content))
        return cls(
            model.eval().requires_grad_(False), skeleton_from_dict(meta["skeleton"]), float(meta["fps"]),
            shipped_figures(content), path, torch.tensor(meta.get("forward", [1.0, 0.0, 0.0])),
        )  # fmt: skip

    @property
    def longest(self) -> float:
        """Longest time (s) between keys that it learned to fill."""
        return (LONGEST_GAP + 1) / self.fps

    def check(self, motion: Motion) -> None:
        """Refuse a clip it cannot serve.

        Raises:
            MotionError: other joints, or the same ones with other axes.
        """
        check_skeleton(motion, self.skeleton)
        mine, theirs = motion.skeleton.offsets[1:], self.skeleton.offsets[1:]
        lengths = mine.norm(dim=-1), theirs.norm(dim=-1)
        long = (lengths[0] > _LONG_BONE) & (lengths[1] > _LONG_BONE)
        along = (mine * theirs).sum(-1) / (lengths[0] * lengths[1]).clamp(min=1e-9)
        if bool((along[long] < 0.7).any()):
            worst = int(along.masked_fill(~long, 1.0).argmin()) + 1
            raise MotionError(
                f"{motion.name or 'clip'}: the joints are called like the network's, but their axes differ (the bone "
                f"to '{motion.skeleton.names[worst]}' points elsewhere)"
            )

    def better(self, missing: float, dense: bool) -> tuple[bool, str]:
        """Whether it beat interpolation where so many frames (at its rate) were missing, and the figures in words.

        Args:
            missing: frames between two keys.
            dense: a gap in dense motion; else keys far apart all around.
        """
        tests = DENSE if dense else SPARSE
        known = {n: label for n, label in tests.items() if f"mpjpe_{label}" in self.evaluation}
        if not known:
            return True, "not measured on held-out clips"
        label = known[min(known, key=lambda n: abs(math.log(n / max(missing, 0.5))))]
        mine, plain = (float(self.evaluation[f"mpjpe_{label}{end}"]) for end in ("", "_baseline"))
        return mine < plain, f"{mine:.1f} mm, interpolation {plain:.1f} mm ({label} on held-out clips)"


def skeleton_to_dict(skeleton: Skeleton) -> dict[str, Any]:
    """As plain data."""
    return {
        "bodies": list(skeleton.names),
        "parents": list(skeleton.parents),
        "offsets": skeleton.offsets.cpu(),
        "rest_rotations": skeleton.rest_rotations.cpu(),
    }


def skeleton_from_dict(data: Mapping[str, Any]) -> Skeleton:
    """Inverse of :func:`skeleton_to_dict`; hinges are not kept."""
    return Skeleton(tuple(data["bodies"]), tuple(data["parents"]), data["offsets"], data["rest_rotations"])


def find(word: str, motion: Motion, runs_dir: Path) -> tuple[Network | None, str]:
    """The network that ``network=word`` means for a clip, or None and the reason in a sentence.

    Args:
        word: a checkpoint, a run folder or its name; ``latest``: the newest that fits the clip's skeleton; ``none``.
        motion: the clip.
        runs_dir: where runs are.

    Raises:
        CheckpointError: ``word`` names nothing, or no in-betweener.
        MotionError: ``word`` names one that does not fit the clip.
    """
    from isaacmm.cli import runs

    if word == "none":
        return None, "as asked for"
    if word != "latest":
        network = Network.load(runs.find_checkpoint(word, runs_dir, "network="))
        try:
            network.check(motion)
        except MotionError as error:
            raise MotionError(f"{error}. {advice(motion)}") from error
        return network, ""
    seen = 0
    for folder in runs.list_runs(runs_dir):
        if runs.task_of(folder) != NAME or not (files := runs.checkpoints(folder)):
            continue
        seen += 1
        network = Network.load(files[0])
        try:
            network.check(motion)
        except MotionError:
            continue
        return network, ""
    if not seen:
        return None, f"no {NAME} has been trained under {runs_dir}/ yet. {advice(motion)}"
    return None, f"none of the {seen} trained under {runs_dir}/ knows this skeleton. {advice(motion)}"


def advice(motion: Motion) -> str:
    """How to get a network for a clip."""
    from isaacmm.character import CharacterModel

    if motion.skeleton.names == CharacterModel.load("humanoid").skeleton.names:
        return f"Train one on clips of the character: python launch.py task={NAME} (motion=FOLDER: on your own)"
    return (
        f"Train one on clips of this skeleton: python launch.py task={NAME} task.skeleton=own motion=FOLDER; or put "
        "the clip onto the character first: python -m isaacmm.motion retarget"
    )


def set_threads() -> None:
    """Inference is small: one thread is faster than waking up more."""
    torch.set_num_threads(1)
