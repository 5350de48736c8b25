"""Find the gait that is closest to the published joint curves *and* obeys mechanics.

Curves alone, put on a body, slip and fall over; exact feet alone look wooden.  So the gait is a nonlinear least
squares problem: stay near the joint curves and the usual motion of pelvis, trunk and arms (in units of their
standard deviation), keep the centre of pressure that the motion asks for inside the feet, ask no more
friction or twist than a floor gives, fall freely while running in the air, clear the floor in the swing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from isaacmm.gait import curves
from isaacmm.gait.body import Body
from isaacmm.gait.dynamics import GRAVITY, wrench
from isaacmm.gait.foot import bump
from isaacmm.gait.laws import Plan
from isaacmm.gait.pattern import DETOUR, LAYOUT, pose, straight

SAMPLES = 64


@dataclass(frozen=True)
class Prior:
    """Expected value and spread of every parameter."""

    mean: np.ndarray
    spread: np.ndarray


def prior(body: Body, plan: Plan) -> Prior:
    """Usual motion of pelvis, trunk and arms at this speed (amplitudes: Inman, Perry; Orendurff 2004), feet at the
    knots' values.  Spreads say how far mechanics may pull each block."""
    mean, spread = np.zeros(LAYOUT.size), np.ones(LAYOUT.size)

    def put(name: str, values: dict[int, float], tolerance: float | dict[int, float]) -> None:
        """Fill a block: index within it -> value."""
        cut = LAYOUT.slices[name]
        spread[cut] = tolerance if not isinstance(tolerance, dict) else 1.0
        if isinstance(tolerance, dict):
            for i, t in tolerance.items():
                spread[cut.start + i] = t
        for i, v in values.items():
            mean[cut.start + i] = v

    deg = np.deg2rad(1.0)
    v, run = plan.speed, plan.running
    pace = v / 3.0 if run else v / 1.3
    loose = 2.0 if run else 1.0  # running is less even within its step
    put("x", {}, {i: loose * t for i, t in enumerate((0.01, 0.01, 0.003, 0.003, 0.001, 0.001))})
    sway = 0.010 if run else 0.024 - 0.006 * pace
    put("y", {1: -sway}, {0: 0.006, 1: 0.006, 2: 0.003, 3: 0.003, 4: 0.001, 5: 0.001})
    if run:
        # lowest in mid stance, highest in mid flight
        height, half = body.leg_length - 0.045, 0.042
        lowest = 2 * np.pi * plan.stance
        wave2 = {1: -half * np.cos(lowest), 2: -half * np.sin(lowest)}
    else:
        # fast steps are too long for straight legs with short feet: the hip stays lower (a bent knee in mid stance)
        height = body.leg_length - 0.010 - 0.008 * pace - 0.03 * max(0.0, v - 1.2)
        wave2 = {1: -(0.027 + 0.0233 * (v - 0.7)) / 2}  # Orendurff 2004, centre of mass
    put(
        "z",
        {0: height, **wave2},
        {0: 0.01, **{i + 1: loose * t for i, t in enumerate((0.003, 0.006, 0.003, 0.003, 0.002, 0.002, 0.001, 0.001))}},
    )
    # right heel strike: right side of the pelvis forward (positive yaw), left side about to drop
    put(
        "yaw",
        {0: (6 * min(pace, 1.1) if run else 4 * pace) * deg},
        {i: t / loose * deg for i, t in enumerate((1.5, 1.5, 0.5, 0.5, 0.2, 0.2))},
    )
    put(
        "roll",
        {1: -(4 if run else 3.5) * deg},
        {0: 0.8 * deg, 1: 0.8 * deg, 2: 0.4 * deg, 3: 0.4 * deg, 4: 0.2 * deg, 5: 0.2 * deg},
    )
    put(
        "pitch",
        {0: (4 if run else 0.5) * deg},
        {0: deg, 1: 0.5 * deg, 2: 0.5 * deg, 3: 0.25 * deg, 4: 0.25 * deg},
    )
    put(
        "lean",
        {0: (4 if run else 1.5) * deg},
        {0: deg, 1: 0.5 * deg, 2: 0.5 * deg, 3: 0.25 * deg, 4: 0.25 * deg},
    )
    put("bend", {1: 3 * deg}, 1.5 * deg)
    put("twist", {0: -(14 if run else 8) * pace * deg}, 3 * deg)
    if run:
        # arms swing further up to 3 m/s and then only faster
        around = {0: 2.5 * deg, **dict.fromkeys(range(1, 7), 1.5 * deg)}
        put("shoulder", {0: 8 * deg, 1: 23 * min(pace, 1.0) * deg}, around)
        put("elbow", {0: 70 * deg, 1: -10 * deg}, {0: 3 * deg, **dict.fromkeys(range(1, 7), 2 * deg)})
        put("abduct", {0: 15 * deg}, 3 * deg)
        put("inward", {0: 15 * deg}, 5 * deg)
    else:
        put("shoulder", {0: 5 * deg, 1: 16 * pace * deg}, 3 * deg)
        put("elbow", {0: (16 + 9 * pace) * deg, 1: -8 * pace * deg}, 4 * deg)
        put("abduct", {0: 7 * deg}, 2 * deg)
        put("inward", {0: 8 * deg}, 4 * deg)
    put("ahead", {0: plan.stride * plan.stance * (0.36 if run else 0.34)}, 0.06)
    put("strike", {0: (10 if run else 10 + 7 * pace) * deg}, 4 * deg)
    put("push", {0: (58 if run else 62 + 10 * pace) * deg}, 6 * deg)
    put("lift", {0: 1.8}, 0.5)
    put("rise", {0: 3.0}, 1.5)
    put("flat", {0: 0.07 if run else 0.115}, 0.015)
    put("heel_off", {0: plan.stance * (0.36 if run else 0.55)}, 0.03)
    for axis in ("along", "side", "up"):
        put(f"swing_{axis}", {}, loose**2 * 0.06 if axis != "side" else 0.01)
    put("swing_pitch", {}, loose**2 * 20 * deg)
    return Prior(mean, spread)


def curve_targets(body: Body, plan: Plan, phase: np.ndarray, gain: float) -> dict[str, np.ndarray]:
    """Published curves at this speed as the humanoid's hinge angles (rad)."""
    series = curves.leg_curves(plan.running)
    hip = curves.evaluate(series["hip"], phase, gain) - np.deg2rad(curves.PELVIC_TILT)
    knee = curves.evaluate(series["knee"], phase, gain)
    ankle = curves.evaluate(series["ankle"], phase, gain)
    return {"hip_y": -hip, "knee": np.maximum(knee, np.deg2rad(2.0)), "ankle_y": -ankle}


def slipless_stride(body: Body, plan: Plan, gain: float, samples: int = 200) -> float:
    """Distance (m) per cycle that the curves alone travel when the lowest sole edge never slips."""
    phase = np.arange(samples) / samples
    angle = curve_targets(body, plan, phase, gain)

    def edges(shift: float) -> tuple[np.ndarray, np.ndarray]:
        at = np.interp
        hip, knee, ankle = (
            at((phase + shift) % 1, phase, angle[n], period=1) for n in ("hip_y", "knee", "ankle_y")
        )
        foot = hip + knee + ankle
        # x forward and z up of the ankle relative to the hip, then of both sole edges
        x = -body.thigh_length * np.sin(hip) - body.shin_length * np.sin(hip + knee)
        z = -body.thigh_length * np.cos(hip) - body.shin_length * np.cos(hip + knee)
        ex = np.stack([x + e * np.cos(foot) + body.sole[3] * np.sin(foot) for e in body.sole[:2]], -1)
        ez = np.stack([z - e * np.sin(foot) + body.sole[3] * np.cos(foot) for e in body.sole[:2]], -1)
        return ex, ez

    (rx, rz), (lx, lz) = edges(0.0), edges(0.5)
    ex, ez = np.concatenate([rx, lx], -1), np.concatenate([rz, lz], -1)
    low = np.argmin(ez, -1)
    step = np.roll(ex, -1, 0) - ex
    return float(-np.take_along_axis(step, low[:, None], 1).sum())


def curve_gain(body: Body, plan: Plan) -> float:
    """Amplitude of the curves whose slip-free stride is the planned one (bisection); flight is subtracted."""
    flight = plan.stride * max(0.0, 1 - 2 * plan.stance) if plan.running else 0.0
    low, high = 0.3, 1.6
    for _ in range(40):
        middle = (low + high) / 2
        if slipless_stride(body, plan, middle) < plan.stride - flight:
            low = middle
        else:
            high = middle
    return (low + high) / 2


class Problem:
    """Residuals of one gait; `residuals` takes any number of parameter vectors at once."""

    def __init__(self, body: Body, plan: Plan, samples: int = SAMPLES) -> None:
        self.body, self.plan = body, plan
        self.phase = np.arange(samples) / samples
        self.dt = plan.duration / samples
        self.prior = prior(body, plan)
        self.floor = 1.0
        #: so that the sum of squares does not depend on the number of samples
        self.root = 1 / np.sqrt(samples)
        # faster runners swing their legs further; the published curves are those of about 3 m/s
        self.gain = 1 + 0.1 * (plan.speed - 2.6) if plan.running else curve_gain(body, plan)
        self.targets = curve_targets(body, plan, self.phase, min(self.gain, 1.15))
        self.prior = Prior(self.swing_from_curves(self.prior.mean), self.prior.spread)

    def motion(self, parameters: np.ndarray) -> dict[str, np.ndarray]:
        """Pose, body transforms and floor wrench over one cycle for parameters `[..., P]`."""
        frame, holds = straight(self.plan, parameters, self.phase)
        out = pose(self.body, self.plan, parameters, self.phase, frame, holds)
        pos, rot = self.body.fk(out["root_pos"], out["root_rot"], out["dofs"])
        out.update(
            wrench(self.body, pos, rot, self.dt, np.array([self.plan.stride, 0.0, 0.0])), pos=pos, rot=rot
        )
        return out

    def residuals(self, parameters: np.ndarray) -> np.ndarray:
        """`[..., P]` -> `[..., R]`, each in units of what is usual or tolerable, times its weight."""
        motion = self.motion(parameters)
        parts = [(parameters - self.prior.mean) / self.prior.spread]
        parts += self._from_curves(motion) + self._from_floor(motion) + self._from_legs(motion)
        return np.concatenate(parts, -1)

    def _from_curves(self, motion: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Distance of hip, knee and ankle from the published curves."""
        parts = []
        for name, target in self.targets.items():
            sd = np.deg2rad(curves.CURVE_SD[name.split("_")[0]])
            stress = {"knee": 10, "hip_y": 6, "ankle_y": 8}[name] if self.plan.running else 6
            off = motion["dofs"][..., self.body.dof(f"right_{name}")] - target
            parts.append(stress * self.root * off / sd)
        return parts

    def _from_floor(self, motion: dict[str, np.ndarray]) -> list[np.ndarray]:
        """What a floor cannot do, and forces that jump; the weight of all of it grows during the solve."""
        run, weight, n = self.plan.running, self.floor * self.root, len(self.phase)
        scale = self.body.masses.sum() * GRAVITY
        force = motion["force"] / scale
        up = force[..., 2]
        standing = weight * (motion["contacts"].any(-1) if run else np.ones(up.shape, bool))
        # moments (body weight times m) that no pressure within the support gives
        low, high = self.support(motion)
        lever, carried = motion["lever"] / scale, up[..., None]
        over = np.maximum(low * carried - lever, 0) + np.maximum(lever - high * carried, 0)
        parts = [10 * standing * over[..., i] / 0.02 for i in range(2)]
        parts.append(4 * standing * motion["twist"] / 8.0)
        friction = np.linalg.norm(force[..., :2], axis=-1) - 0.3 * np.maximum(up, 0.0)
        parts.append(5 * standing * np.maximum(friction, 0) / 0.1)
        parts.append(5 * standing * np.maximum(0.15 - up, 0) / 0.1)
        if run:
            air = weight * ~motion["contacts"].any(-1)
            parts += [10 * air * force[..., i] / 0.1 for i in range(3)]
            parts += [2 * air * motion["moment"][..., i] / 10.0 for i in range(3)]
            parts.append(6 * self.root * (up - self.hump()) / 0.12)
        else:
            parts.append(3 * weight * np.maximum(up - 1.25, 0) / 0.1)
        jump = np.diff(force, axis=-2) * n / SAMPLES
        return parts + [4 * weight * jump[..., i] / (0.6 if run else 0.1) for i in range(3)]

    def _from_legs(self, motion: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Knees short of straight, hinges without kinks, feet clear of the floor in mid swing."""
        body, plan, run, n = self.body, self.plan, self.plan.running, len(self.phase)
        parts = [20 * self.root * np.maximum(motion["reach"][..., 0] - 0.9988, 0) / 0.0008]
        leg = motion["dofs"][..., [body.dof(f"right_{j}") for j in ("hip_y", "knee", "ankle_y")]]
        before, after = np.roll(leg, 1, -2), np.roll(leg, -1, -2)
        third = (after - 3 * leg + 3 * before - np.roll(leg, 2, -2)) * (n / SAMPLES) ** 3
        parts += [self.root * third[..., i] / np.deg2rad(1.0) for i in range(3)]
        # where the toe leaves, hinges accelerate no faster than in recorded gait (rad/s^2)
        spurt = np.abs(after - 2 * leg + before) / self.dt**2
        most = 320 if run else 110 + 30 * plan.speed
        parts += [6 * self.root * self.floor * np.maximum(spurt[..., i] - most, 0) / 40 for i in range(3)]
        if run:  # rad/s, the ankle's at push-off
            rate = np.abs(after[..., 2] - before[..., 2]) / (2 * self.dt)
            parts.append(6 * self.root * self.floor * np.maximum(rate - 13.0, 0) / 0.4)
        height = body.sole_corners(motion["pos"], motion["rot"], "right")[..., 2].min(-1)
        u = (self.phase - plan.stance) / (1 - plan.stance)
        wanted = (0.03 if run else 0.018) * np.clip(np.minimum(u, 1 - u) / 0.25, 0, 1)
        parts.append(8 * self.root * (u > 0) * np.maximum(wanted - height, 0) / 0.005)
        return parts

    def hump(self) -> np.ndarray:
        """Vertical force (body weights) of running on springs: half a sine wave per stance that carries the weight."""
        share = self.plan.stance
        out = np.zeros_like(self.phase)
        for shift in (0.0, 0.5):
            f = (self.phase + shift) % 1 / share
            out += np.pi / (4 * share) * np.where(f < 1, np.sin(np.pi * np.minimum(f, 1)), 0)
        return out

    def swing_from_curves(self, parameters: np.ndarray) -> np.ndarray:
        """The parameters with swing detours that follow the published curves at the given pelvis motion."""
        body, plan, x = self.body, self.plan, parameters.copy()
        for a in ("along", "up", "pitch"):
            x[LAYOUT.slices[f"swing_{a}"]] = 0
        frame, holds = straight(plan, x, self.phase)
        out = pose(body, plan, x, self.phase, frame, holds)
        pos, rot = body.fk(out["root_pos"], out["root_rot"], out["dofs"])
        hip, knee, ankle = (self.targets[n] for n in ("hip_y", "knee", "ankle_y"))
        foot, thigh = body.body("right_foot"), body.body("right_thigh")
        wanted = {
            "along": pos[:, thigh, 0]
            - body.thigh_length * np.sin(hip)
            - body.shin_length * np.sin(hip + knee),
            "up": pos[:, thigh, 2] - body.thigh_length * np.cos(hip) - body.shin_length * np.cos(hip + knee),
            "pitch": hip + knee + ankle,
        }
        have = {
            "along": pos[:, foot, 0],
            "up": pos[:, foot, 2],
            "pitch": np.arctan2(-rot[:, foot, 2, 0], np.hypot(rot[:, foot, 0, 0], rot[:, foot, 1, 0])),
        }
        u = (self.phase - plan.stance) / (1 - plan.stance)
        swing = u > 0
        basis = np.stack([bump(u[swing], row) for row in np.eye(DETOUR)], -1)
        for a, target in wanted.items():
            gap = (target - have[a])[swing]
            ridge = 0.3 * np.eye(DETOUR)
            x[LAYOUT.slices[f"swing_{a}"]] = np.linalg.solve(basis.T @ basis + ridge, basis.T @ gap)
        return x

    def support(self, m: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Box `[..., T, 2]` (low, high) around everything that touches the floor."""
        low = np.full(m["contacts"].shape[:-1] + (2,), np.inf)
        high = -low
        for i, side in enumerate(("right", "left")):
            corners = self.body.sole_corners(m["pos"], m["rot"], side)
            # edges lift within a few millimetres instead of at once
            touching = m["contacts"][..., i, None] & (corners[..., 2] < 0.004)
            xy = corners[..., :2]
            low = np.minimum(low, np.where(touching[..., None], xy, np.inf).min(-2))
            high = np.maximum(high, np.where(touching[..., None], xy, -np.inf).max(-2))
        return np.where(np.isfinite(low), low, -10), np.where(np.isfinite(high), high, 10)

    def jacobian(self, parameters: np.ndarray) -> np.ndarray:
        """Forward differences, all perturbed vectors at once."""
        step = 1e-6 * self.prior.spread
        values = self.residuals(np.concatenate([parameters[None], parameters + np.diag(step)]))
        return ((values[1:] - values[:1]) / step[:, None]).T

    def solve(
        self,
        iterations: int = 30,
        start: np.ndarray | None = None,
        stages: tuple[tuple[float, float], ...] = ((0.0, 0.3), (0.1, 0.3), (0.4, 0.3), (1.0, 0.9)),
    ) -> np.ndarray:
        """Parameters of the best gait found."""
        low, high = np.full(LAYOUT.size, -np.inf), np.full(LAYOUT.size, np.inf)
        for name, (a, b) in {
            "strike": (0.02, 0.6),
            "push": (0.3, 1.3),
            "lift": (0.0, 2.8),
            "rise": (0.0, 8.0),
            "flat": (0.04, 0.16),
            "heel_off": (0.08 if self.plan.running else 0.12, 0.5),
        }.items():
            low[LAYOUT.slices[name]], high[LAYOUT.slices[name]] = a, b
        x = self.prior.mean if start is None else start
        for self.floor, share in stages:
            x = least_squares(
                self.residuals,
                np.clip(x, low + 1e-6, high - 1e-6),
                jac=self.jacobian,
                bounds=(low, high),
                x_scale=self.prior.spread,
                max_nfev=int(share * iterations),
            ).x
        return x
