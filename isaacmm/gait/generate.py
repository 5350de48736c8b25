"""The list of clips the project comes with, and how each is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.gait import gaits, steps, transitions
from isaacmm.gait.body import ASSET, Body
from isaacmm.gait.course import Course, follow
from isaacmm.gait.dash import dash
from isaacmm.gait.idle import stand
from isaacmm.gait.laws import plan
from isaacmm.gait.synthesis import Take, travel
from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton

#: Raised whenever the same arguments give other numbers.
GENERATOR_VERSION = 2
FPS = 60.0


@dataclass(frozen=True)
class Spec:
    """One clip: name, manner, speed (m/s), curvature (1/m, left positive), tags, seconds (0: as long as it takes),
    `angle` degrees turned on the spot or round a corner, `before` the speed (m/s) that changes to `speed`.

    A clip whose name has `_right` is the mirror image of the one with `_left`.
    """

    name: str
    manner: str
    speed: float
    curvature: float = 0.0
    tags: tuple[str, ...] = ()
    seconds: float = 8.0
    angle: float = 0.0
    before: float = 0.0

    @property
    def steady(self) -> bool:
        """The same cycle again and again."""
        return self.manner in ("walk", "run")

    @property
    def runs(self) -> bool:
        """Running is in it."""
        return "run" in self.tags

    @property
    def grain(self) -> float:
        """Steps its numbers are kept in: 2^-16 (15 micrometres, 0.9 thousandths of a degree) make files a quarter
        smaller. Standing and the straight walks, which figures elsewhere were measured on, are kept as they are (0)."""
        return 2.0**-16 if self.manner not in ("idle", "walk") or self.curvature else 0.0


def specs() -> list[Spec]:
    """All clips, in the order of the manifest."""
    out = [Spec(gaits.key("walk", v), "walk", v, tags=("walk", "straight")) for v in gaits.WALKS]
    for v, k in ((1.0, 0.25), (1.0, 0.5), (1.4, 0.25), (1.4, 0.5)):
        out += _turns("walk", v, k)
    for v, k in ((0.8, 0.5), (0.8, 1.0), (1.0, 1.0), (1.2, 0.25), (1.2, 0.5), (1.6, 0.25)):
        out += _turns("walk", v, k, 5.0)
    out += [Spec(gaits.key("run", v), "run", v, tags=("run", "straight"), seconds=3.6) for v in gaits.RUNS]
    out += _turns("run", 2.6, 0.2, 3.7) + _turns("run", 2.2, 0.3, 3.7)
    out.append(Spec("idle", "idle", 0.0, tags=("idle",), seconds=12.0))
    out += [
        Spec(f"{kind}_walk_{v:.1f}_{side}", kind, v, tags=("walk", kind), seconds=0.0)
        for kind in ("start", "stop")
        for v in (0.8, 1.2, 1.6)
        for side in ("left", "right")
    ]
    out += [
        Spec(f"turn_{side}_{angle}", "turn", 0.0, 0.0, ("turn-in-place", f"turn-{side}"), 0.0, sign * angle)
        for angle in (45, 90, 180)
        for side, sign in (("left", 1.0), ("right", -1.0))
    ]
    out += [
        Spec(f"side_{side}_{v:.1f}", "side", v, tags=("walk", "side", f"side-{side}"), seconds=0.0)
        for v in (0.3, 0.5)
        for side in ("left", "right")
    ]
    out += [
        Spec(f"corner_{v:.1f}_{side}_{angle}", "corner", v, 0.0, ("walk", f"turn-{side}"), 0.0, sign * angle)
        for v, angle in ((1.0, 90), (1.4, 45))
        for side, sign in (("left", 1.0), ("right", -1.0))
    ]
    out += [
        Spec(f"run_{kind}_2.6_{side}", kind, 2.6, tags=("run", kind), seconds=0.0)
        for kind in ("start", "stop")
        for side in ("left", "right")
    ]
    for a, b in ((0.6, 1.6), (1.6, 0.6), (1.4, 2.8), (2.6, 1.6)):
        first, second = (gaits.key("run" if v > 2 else "walk", v) for v in (a, b))
        tags = tuple(dict.fromkeys(n.split("_")[0] for n in (first, second)))
        out.append(Spec(f"change_{first}_to_{second}", "change", b, 0.0, (*tags, "straight", "change"), 0.0, before=a))
    out += [Spec(f"back_{v:.1f}", "back", v, tags=("walk", "back"), seconds=0.0) for v in (0.4, 0.7)]
    return out


def _turns(manner: str, speed: float, curvature: float, seconds: float = 8.0) -> list[Spec]:
    """The left and the right arc of a curvature (1/m); the right one is the mirror image of the left one."""
    return [
        Spec(
            f"{gaits.key(manner, speed)}_{side}_{curvature:.2f}",
            manner,
            speed,
            sign * curvature,
            (manner, f"turn-{side}"),
            seconds,
        )
        for side, sign in (("left", 1.0), ("right", -1.0))
    ]


#: Hinges of running clips that move little mass are kept in steps of 0.014 degrees, which makes room for more clips.
LIGHT, LIGHT_GRAIN = ("neck", "shoulder", "elbow"), 2.0**-12


def to_motion(take: Take, skeleton: Skeleton, spec: Spec) -> Motion:
    """The raw arrays as a clip of the humanoid, float32."""

    def f(a: np.ndarray | Tensor) -> Tensor:
        values = torch.as_tensor(a, dtype=torch.float64)
        return (values / spec.grain).round() * spec.grain if spec.grain else values

    quaternion = rotation.make_continuous(rotation.from_matrix(torch.as_tensor(take.root_rot)))
    dofs = f(take.dofs)
    if spec.runs:
        quaternion = f(quaternion)
        light = [i for i, n in enumerate(skeleton.dof_names) if any(part in n for part in LIGHT)]
        dofs[:, light] = (dofs[:, light] / LIGHT_GRAIN).round() * LIGHT_GRAIN
    motion = Motion.from_dofs(
        skeleton, f(take.root_pos).float(), quaternion.float(), dofs.float(), take.fps, spec.name
    )
    motion.contacts = torch.as_tensor(take.contacts)
    motion.tags = spec.tags
    return motion


def _take(spec: Spec, body: Body, stream: int, table: dict[str, np.ndarray]) -> Take:
    """The raw arrays of a clip or, where there are two sides, of the left one."""
    if spec.manner == "idle":
        return stand(body, spec.seconds, FPS, stream)
    if spec.manner in ("start", "stop") and spec.runs:
        return dash(body, spec.speed, "left", FPS, stream, table, stop=spec.manner == "stop")
    if spec.manner == "start":
        return transitions.start(body, spec.speed, "left", FPS, stream, table)
    if spec.manner == "stop":
        return transitions.stop(body, spec.speed, "left", FPS, stream, table)
    if spec.manner == "turn":
        return steps.turn(body, np.deg2rad(abs(spec.angle)), FPS, stream)
    if spec.manner == "side":
        return steps.sideways(body, spec.speed, FPS, stream)
    if spec.manner == "back":
        return steps.backwards(body, spec.speed, FPS, stream)
    if spec.manner == "corner":
        time = 1.4 * abs(spec.angle) / 45 - 0.2
        course = Course(spec.speed, spec.speed, (1.2, 1.2 + time), 2.8 + time, np.deg2rad(abs(spec.angle)))
        return follow(body, course, FPS, stream, table)
    if spec.manner == "change":
        runs = spec.before > 2, spec.speed > 2
        during, seconds = ((1.0, 4.8), 6.0) if any(runs) else ((1.3, 3.8), 6.0)
        return follow(body, Course(spec.before, spec.speed, during, seconds, running=runs), FPS, stream, table)
    gait = plan(spec.speed, body.leg_length, spec.manner == "run")
    parameters = gaits.parameters(spec.manner, spec.speed, table)
    return travel(body, gait, parameters, abs(spec.curvature), spec.seconds, FPS, stream)


def make(
    spec: Spec,
    skeleton: Skeleton,
    body: Body,
    seed: int = 0,
    table: dict[str, np.ndarray] | None = None,
    takes: dict[str, Take] | None = None,
) -> Motion:
    """One clip. Every clip has a random stream of its own, so that it does not matter which ones are made.

    `takes` keeps what has been made, by the name of the left one, so that its mirror image costs nothing.
    """
    mirrored = "_right" in spec.name
    stream_name = spec.name.replace("_right", "_left")
    stream = int(np.random.SeedSequence([seed, *stream_name.encode()]).generate_state(1)[0])
    takes = {} if takes is None else takes
    if stream_name not in takes:
        takes[stream_name] = _take(spec, body, stream, table or gaits.load())
    take = takes[stream_name]
    motion = to_motion(take, skeleton, spec)
    if mirrored:
        motion = motion.mirror()
        motion.name, motion.tags = spec.name, spec.tags
    return motion


def generate(
    out: Path,
    chosen: Sequence[Spec],
    seed: int = 0,
    report: Callable[[int, Spec, Motion], None] | None = None,
) -> list[Motion]:
    """Write the chosen clips into a folder and return them."""
    body, skeleton, table = Body.load(ASSET), Skeleton.from_mjcf(ASSET), gaits.load()
    out.mkdir(parents=True, exist_ok=True)
    motions: list[Motion] = []
    takes: dict[str, Take] = {}
    for i, spec in enumerate(chosen):
        motions.append(make(spec, skeleton, body, seed, table, takes))
        motions[-1].save(out / f"{spec.name}.npz")
        if report:
            report(i, spec, motions[-1])
    return motions
