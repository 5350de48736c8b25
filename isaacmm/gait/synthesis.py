"""From a fitted gait to a clip: a path, footholds on it, small natural irregularity, 60 frames a second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from isaacmm.gait.body import Body, axis_rotation
from isaacmm.gait.dynamics import GRAVITY, wrench
from isaacmm.gait.flight import FreeFall
from isaacmm.gait.laws import Plan
from isaacmm.gait.noise import Wander
from isaacmm.gait.pattern import LAYOUT, Frame, pose

#: Share of its length a leg may be stretched to: a knee bent by 4 degrees walking, by 14 running.
REACH = {False: 0.9994, True: 0.993}

#: Rounds of correcting the flight of a run
FALLS = 3


@dataclass(frozen=True)
class Take:
    """Raw arrays of a clip: root_pos `[T, 3]`, root_rot `[T, 3, 3]`, dofs `[T, D]`, contacts `[T, 2]`."""

    root_pos: np.ndarray
    root_rot: np.ndarray
    dofs: np.ndarray
    contacts: np.ndarray
    fps: float


@dataclass(frozen=True)
class Irregularity:
    """Standard deviations of what differs from step to step in healthy gait (order of 2 %)."""

    rate: float = 0.012  # of the cadence
    speed: float = 0.015  # of the speed
    step: float = 0.004  # m, foothold along the path
    side: float = 0.005  # m, foothold across it
    toe: float = np.deg2rad(0.8)
    amplitude: float = 0.05  # of trunk and arm swings


def walk_path(arc: np.ndarray, curvature: float) -> tuple[np.ndarray, np.ndarray]:
    """Point `[..., 2]` and heading at an arc length (m) of the circle that starts at the origin along +x."""
    heading = curvature * arc
    x = arc * np.sinc(heading / np.pi)
    y = arc * np.sinc(heading / (2 * np.pi)) * np.sin(heading / 2)
    return np.stack([x, y], -1), heading


def left_of(heading: np.ndarray) -> np.ndarray:
    """Unit vector `[..., 2]` to the left of a heading."""
    return np.stack([-np.sin(heading), np.cos(heading)], -1)


def dip(need: np.ndarray, fps: float) -> np.ndarray:
    """A smooth periodic function that lies over `need` `[T + 1]` (first and last sample are the same moment)."""
    ring = maximum_filter1d(need[:-1], max(1, round(0.3 * fps)), mode="wrap")
    ring = gaussian_filter1d(ring, 0.1 * fps, mode="wrap")
    return np.concatenate([ring, ring[:1]])


def travel(
    body: Body,
    plan: Plan,
    parameters: np.ndarray,
    curvature: float = 0.0,
    seconds: float = 8.0,
    fps: float = 60.0,
    seed: int = 0,
    natural: Irregularity | None = None,
) -> Take:
    """A clip of steady locomotion along a circle (or straight line).

    The clip holds a whole number of cycles and its irregularity is periodic, so its last frame is its first one,
    moved on: played in a loop it has no seam.

    Args:
        curvature: 1/m, positive to the left. seconds: wished duration. natural: irregularity, None for default.
    """
    natural = natural or Irregularity()
    rng = np.random.default_rng(seed)
    # The path is the pelvis's; a body that leans into the curve stands on the outside of it, where the steps are
    # longer: they are kept at their length, so the cadence rises, as people's does in a turn.
    lean = -np.arctan(plan.speed**2 * curvature / GRAVITY)
    outward = LAYOUT.get(parameters, "z")[0] * np.sin(lean)
    duration = plan.duration / (1 - outward * curvature)
    # leaning legs cross each other's way: a wider base keeps the swinging foot off the other shin
    width = plan.width + 0.2 * abs(lean)
    cycles = max(2, round(seconds / duration))
    frames = round(cycles * duration * fps)
    stride = plan.speed * frames / fps / cycles
    t = np.arange(frames + 1) / frames

    rate, pace = Wander(rng, cycles, 3.0), Wander(rng, cycles, 3.0)

    def timing(x: np.ndarray) -> np.ndarray:
        """Phase at x = cycles that would have passed at an even cadence."""
        # a wave of length L and height h has a slope of h 2 pi / L; three cycles is the shortest
        return x + natural.rate * 3 / (2 * np.pi) * (rate(x) - rate(np.zeros(1)))

    def arc(phase: np.ndarray) -> np.ndarray:
        return stride * (phase + natural.speed * 3 / (2 * np.pi) * (pace(phase) - pace(np.zeros(1))))

    phase = np.maximum(timing(cycles * t), 0.0)
    position, heading = walk_path(arc(phase), curvature)
    frame = Frame(position + outward * left_of(heading), heading, lean)
    ahead = LAYOUT.get(parameters, "ahead")[0]
    k = np.arange(cycles + 3)
    holds = {}
    for name, shift, sign in (("right", 0.0, -1.0), ("left", 0.5, 1.0)):
        jitter = rng.normal(size=(cycles, 3)).clip(-2, 2)
        jitter = (jitter - jitter.mean(0))[k % cycles] * [natural.step, natural.side, natural.toe]
        # where the foot belongs follows from where the pelvis is when it passes over it, in mid stance
        middle = k - shift + plan.stance / 2
        spot = arc(middle) - stride * plan.stance / 2 + ahead + jitter[:, 0]
        point, yaw = walk_path(spot, curvature)
        across = outward + sign * width / 2 + jitter[:, 1]
        holds[name] = np.concatenate(
            [point + across[:, None] * left_of(yaw), (yaw + sign * plan.toe_out + jitter[:, 2])[:, None]], -1
        )
    vary = {
        name: 1 + natural.amplitude * Wander(rng, cycles, 2.0)(phase)
        for name in ("shoulder", "elbow", "twist", "bend", "yaw", "lean")
    }
    out = pose(body, plan, parameters, phase, frame, holds, vary=vary)
    lift = np.zeros(len(phase))
    for _ in range(6):  # a longer step than planned asks for a lower pelvis; never pull the knee straight
        need = (out["reach"].max(-1) - REACH[plan.running]) * (body.thigh_length + body.shin_length)
        if need.max() <= 0:
            break
        lift -= 1.3 * dip(np.maximum(need, 0), fps)
        out = pose(body, plan, parameters, phase, frame, holds, lift=lift, vary=vary)
    if plan.running:
        fall = FreeFall(np.asarray(~out["contacts"][:-1].any(-1)), fps, periodic=True)
        more = np.zeros((frames, 3))
        for _ in range(FALLS):
            more = fall.correct(_acceleration(body, out, frame, fps), more)
            ring = np.concatenate([more, more[:1]])
            moved = Frame(frame.position + _turned(ring, heading)[:, :2], heading, lean)
            out = pose(body, plan, parameters, phase, moved, holds, lift=lift + ring[:, 2], vary=vary)
    return Take(out["root_pos"], out["root_rot"], out["dofs"], out["contacts"], fps)


def _turned(vectors: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Vectors `[T, 3]` turned about the vertical by `angle` (rad)."""
    return (axis_rotation(2, angle + np.zeros(len(vectors))) @ vectors[..., None])[..., 0]


def _acceleration(body: Body, out: dict[str, np.ndarray], frame: Frame, fps: float) -> np.ndarray:
    """What floor force over mass `[T, 3]` (m/s^2: forward, left, up) a looping clip of T + 1 frames asks for."""
    turn = frame.heading[-1] - frame.heading[0]
    way = frame.position[-1] - _turned(np.append(frame.position[0], 0.0)[None], turn)[0, :2]
    back = axis_rotation(2, np.array(-turn))
    # the frame before the first one is the last but one, moved back by one round
    root_pos = np.concatenate([(out["root_pos"][-2:-1] - np.append(way, 0.0)) @ back.T, out["root_pos"]])
    root_rot = np.concatenate([back @ out["root_rot"][-2:-1], out["root_rot"]])
    dofs = np.concatenate([out["dofs"][-2:-1], out["dofs"]])
    force = wrench(body, *body.fk(root_pos, root_rot, dofs), 1 / fps)["force"]
    return _turned(force / body.masses.sum(), -frame.heading[:-1])
