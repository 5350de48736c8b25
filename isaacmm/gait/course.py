"""Moving on while speed, direction or manner change: faster and slower, round a corner, from walking to running."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isaacmm.gait import gaits
from isaacmm.gait.body import Body
from isaacmm.gait.dynamics import GRAVITY
from isaacmm.gait.journey import SIDES, Journey, perform
from isaacmm.gait.laws import Plan, plan
from isaacmm.gait.noise import Wander
from isaacmm.gait.pattern import LAYOUT, Frame
from isaacmm.gait.stances import Stance, likened
from isaacmm.gait.synthesis import Irregularity, Take, left_of
from isaacmm.gait.transitions import ease, gait_stance

#: s beyond both ends of the clip that are planned too, and samples per second of the plan
BEYOND, RATE = 5.0, 240
#: m/s between which walking turns into running, or back (people change at 1.9 to 2.1 m/s, within a step)
TO_RUN = (1.5, 2.2)
#: A running foot points far down in its swing; it does so no more (times) before it lands on the heel to walk.
MOST = 1.1
#: Share of its length a leg may be planned to be stretched to where there is running: the flight needs some too.
REACH = 0.989


@dataclass(frozen=True)
class Course:
    """What to do when: speed `before` and `after` (m/s), changing over `during` (s, s), and a corner of `corner` rad
    (left positive) within the same time. `running` says whether the speeds before and after are run."""

    before: float
    after: float
    during: tuple[float, float]
    seconds: float
    corner: float = 0.0
    running: tuple[bool, bool] = (False, False)


def gait_at(body: Body, speed: float, run: float, table: dict[str, np.ndarray]) -> tuple[Plan, np.ndarray]:
    """Timing and parameters at a speed, `run` in [0, 1] of the way from walking to running."""
    walk_speed, run_speed = min(speed, gaits.WALKS[-1]), max(speed, gaits.RUNS[0])
    plans = plan(speed, body.leg_length), plan(speed, body.leg_length, True)
    x = gaits.parameters("walk", walk_speed, table), gaits.parameters("run", run_speed, table)
    mix = lambda a, b: (1 - run) * a + run * b  # noqa: E731
    stride, stance, width, toe_out = (
        float(mix(getattr(plans[0], n), getattr(plans[1], n))) for n in ("stride", "stance", "width", "toe_out")
    )
    mixed = Plan(speed, stride, stance, width, toe_out, run > 0.5)
    return mixed, mix(*x)


def stance_between(
    gait: Plan, x: np.ndarray, side: str, hold: tuple[float, float, float], down: float, up: float
) -> tuple[Stance, tuple[Stance, Stance]]:
    """A stance of this gait from `down` to `up` (s), and the two stances whose swing the one after it is like."""
    s = gait_stance(gait, x, side, hold, down)
    stretch = (up - down) / (s.up - s.down)
    s.up, s.flat, s.heel_off = up, s.flat * stretch, s.heel_off * stretch
    return s, (gait_stance(gait, x, side, (0.0, 0.0, 0.0), 0.0),
               gait_stance(gait, x, side, (gait.stride, 0.0, 0.0), gait.duration))  # fmt: skip


def follow(body: Body, course: Course, fps: float, seed: int, table: dict[str, np.ndarray]) -> Take:
    """The clip of a course."""
    rng, natural = np.random.default_rng(seed), Irregularity()
    fine = np.arange(-BEYOND * RATE, (course.seconds + BEYOND) * RATE + 1) / RATE
    part = ease(fine, *course.during)
    speed = course.before + (course.after - course.before) * part
    bend = np.gradient(part, fine)
    if course.before != course.after or not course.corner:
        bend = 0 * bend
    heading = np.concatenate([[0.0], np.cumsum((bend[1:] + bend[:-1]) / 2 / RATE)]) * course.corner
    curvature = bend * course.corner / speed
    if course.running[0] == course.running[1]:
        run = np.full_like(speed, float(course.running[0]))
    else:
        u = np.clip((speed - TO_RUN[0]) / (TO_RUN[1] - TO_RUN[0]), 0, 1)
        run = u * u * (3 - 2 * u)
    found = [gait_at(body, float(v), float(r), table) for v, r in zip(speed[::12], run[::12], strict=True)]
    at = lambda values: np.interp(fine, fine[::12], values)  # noqa: E731
    stride, stance = at([p.stride for p, _ in found]), at([p.stance for p, _ in found])
    parameters = np.stack([at(row) for row in np.array([x for _, x in found]).T], -1)
    lean = -np.arctan(speed**2 * curvature / GRAVITY)
    outward = parameters[:, LAYOUT.slices["z"].start] * np.sin(lean)
    rate = speed / stride * (1 - outward * curvature)
    phase = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 / RATE)])
    step = (speed[1:] + speed[:-1])[:, None] / 2 / RATE * _ahead((heading[1:] + heading[:-1]) / 2)
    point = np.concatenate([np.zeros((1, 2)), np.cumsum(step, 0)])
    t = np.arange(round(course.seconds * fps) + 1) / fps
    start = np.array([np.interp(0.0, fine, point[:, i]) for i in range(2)])

    def when(p: float) -> float:
        return float(np.interp(p, phase, fine))

    def sample(values: np.ndarray, at: np.ndarray | float) -> np.ndarray:
        return np.interp(at, fine, values)

    feet: dict[str, list[Stance]] = {}
    for side, shift, sign in (("right", 0.0, -1.0), ("left", 0.5, 1.0)):
        stances, models = [], []
        for k in range(1, int(phase[-1])):
            down = when(k - shift)
            gait, x = gait_at(body, float(sample(speed, down)), float(sample(run, down)), table)
            share = float(sample(stance, down))
            up, middle = when(k - shift + share), when(k - shift + share / 2)
            jitter = rng.normal(size=3).clip(-2, 2) * [natural.step, natural.side, natural.toe]
            yaw = float(sample(heading, middle))
            along = float(LAYOUT.get(x, "ahead")[0]) - gait.stride * gait.stance / 2 + jitter[0]
            turned = float(sample(lean, middle))
            # legs that turn about each other need room
            width = gait.width + 0.2 * abs(turned) + 0.03 * abs(float(sample(curvature, middle)))
            across = float(sample(outward, middle)) + sign * width / 2 + jitter[1]
            c = np.array([sample(point[:, i], middle) for i in range(2)]) - start
            spot = c + along * _ahead(np.array(yaw)) + across * left_of(np.array(yaw))
            hold = (float(spot[0]), float(spot[1]), yaw + sign * gait.toe_out + jitter[2])
            stance_k, model = stance_between(gait, x, side, hold, down, up)
            stances.append(stance_k)
            models.append(model)
        for a, b, model in zip(stances[:-1], stances[1:], models, strict=False):
            a.detour = likened(a, b, model, body.sole, most=MOST if any(course.running) else np.inf)
        feet[side] = stances
    assert set(feet) == set(SIDES)
    place = np.stack([sample(point[:, i], t) for i in range(2)], -1) - start
    way, tilt = sample(heading, t), sample(lean, t)
    frame = Frame(place + sample(outward, t)[:, None] * left_of(way), way, tilt)
    p = sample(phase, t)
    vary = {name: 1 + natural.amplitude * Wander(rng, p[-1] - p[0] + 2, 2.0)(p)
            for name in ("shoulder", "elbow", "twist", "bend", "yaw", "lean")}  # fmt: skip
    x = np.stack([sample(column, t) for column in parameters.T], -1)
    push = np.deg2rad(2.0) * np.clip(np.gradient(sample(speed, t), t), -2, 2)
    look = 0.5 * (sample(heading, t + 0.4) - way)  # the head turns first
    extra = {"abdomen_y": push, "neck_z": look, "abdomen_z": 0.25 * look}
    reach = REACH if any(course.running) else 0.9985
    return perform(body, Journey(t, p, x, frame, feet, fps, extra, vary, reach=reach))


def _ahead(heading: np.ndarray) -> np.ndarray:
    """Unit vector `[..., 2]` along a heading."""
    return np.stack([np.cos(heading), np.sin(heading)], -1)
