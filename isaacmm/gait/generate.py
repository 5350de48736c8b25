"""The list of clips the project comes with, and how each is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.gait.body import ASSET, Body
from isaacmm.gait.fit import Problem
from isaacmm.gait.laws import plan
from isaacmm.gait.synthesis import Take, travel
from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton

#: Raised whenever the same arguments give other numbers.
GENERATOR_VERSION = 1
FPS = 60.0


@dataclass(frozen=True)
class Spec:
    """One clip: name, manner, speed (m/s), curvature (1/m, left positive), tags, seconds."""

    name: str
    manner: str
    speed: float
    curvature: float = 0.0
    tags: tuple[str, ...] = ()
    seconds: float = 8.0


def specs() -> list[Spec]:
    """All clips, in the order of the manifest."""
    out = [Spec(f"walk_{v / 10:.1f}", "walk", v / 10, tags=("walk", "straight")) for v in range(6, 19, 2)]
    return out


def to_motion(take: Take, skeleton: Skeleton, spec: Spec) -> Motion:
    """The raw arrays as a clip of the humanoid, float32."""
    f = lambda a: torch.as_tensor(np.asarray(a), dtype=torch.float64)  # noqa: E731
    quaternion = rotation.make_continuous(rotation.from_matrix(f(take.root_rot)))
    motion = Motion.from_dofs(skeleton, f(take.root_pos).float(), quaternion.float(), f(take.dofs).float(),
                              take.fps, spec.name)
    motion.contacts = torch.as_tensor(take.contacts)
    motion.tags = spec.tags
    return motion


class Generator:
    """Makes clips; the fitted gait of each manner and speed is kept, since arcs share it with straight ways."""

    def __init__(self, body: Body | None = None, seed: int = 0) -> None:
        self.body = body or Body.load(ASSET)
        self.seed = seed
        self._fits: dict[tuple[str, float], np.ndarray] = {}

    def parameters(self, manner: str, speed: float) -> np.ndarray:
        """Fitted parameters of a gait."""
        key = (manner, round(speed, 4))
        if key not in self._fits:
            self._fits[key] = Problem(self.body, plan(speed, self.body.leg_length, manner == "run")).solve()
        return self._fits[key]

    def take(self, spec: Spec) -> Take:
        """Raw arrays of one clip; every clip has a random stream of its own."""
        stream = np.random.SeedSequence([self.seed, *spec.name.encode()]).generate_state(1)[0]
        gait = plan(spec.speed, self.body.leg_length, spec.manner == "run")
        return travel(self.body, gait, self.parameters(spec.manner, spec.speed), spec.curvature, spec.seconds, FPS,
                      int(stream))


def generate(out: Path, chosen: Sequence[Spec], seed: int = 0, report: Callable[[int, Spec, Motion], None] | None = None
             ) -> list[Path]:
    """Write the chosen clips into a folder; returns their paths."""
    generator, skeleton = Generator(seed=seed), Skeleton.from_mjcf(ASSET)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, spec in enumerate(chosen):
        motion = to_motion(generator.take(spec), skeleton, spec)
        paths.append(out / f"{spec.name}.npz")
        motion.save(paths[-1])
        if report:
            report(i, spec, motion)
    return paths
