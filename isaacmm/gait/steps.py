"""Stepping without a fitted gait: turning on the spot, sideways, backwards. From standing, back to standing.

There are no published joint curves to follow here, so the plan is simple (where and when the feet go, how they roll)
and mechanics does the rest: `balance` finds the weight shifts, inverse kinematics the legs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from isaacmm.gait.body import Body
from isaacmm.gait.idle import TOE_OUT, WIDTH
from isaacmm.gait.journey import SIDES, Journey, perform
from isaacmm.gait.noise import Wander
from isaacmm.gait.pattern import DETOUR, LAYOUT, Frame
from isaacmm.gait.stances import Stance
from isaacmm.gait.synthesis import Irregularity, Take
from isaacmm.gait.transitions import FAR, ease, eased_way, fidget, other, stand_offset, standing

DEG = np.deg2rad(1.0)
#: s of standing before anything moves and after everything has come to rest
STILL = 0.7
#: s between the decision and the first foot's leaving: the weight has to move over first
SHIFT = 0.5
#: A knee bent by 16 degrees: legs that swing sideways land so that they still give.
REACH = 0.99


@dataclass(frozen=True)
class Style:
    """How feet roll and what swings: `strike`, `push` rad (see `Stance`), `height` m of the swing, `stance` share of
    the cycle, `waves` amplitudes of pattern series: (name, index of the coefficient, value)."""

    strike: float
    push: float
    height: float
    stance: float
    waves: tuple[tuple[str, int, float], ...] = ()


PIVOT = Style(0.0, 0.24, 0.032, 0.64, (("y", 1, -0.02), ("roll", 1, -2.0 * DEG), ("bend", 1, 1.5 * DEG),
                                       ("z", 0, -0.008)))  # fmt: skip
SIDEWAYS = Style(0.0, 0.22, 0.032, 0.64, (("y", 1, -0.02), ("roll", 1, -2.0 * DEG), ("bend", 1, 1.5 * DEG),
                                           ("z", 0, -0.02), ("abduct", 0, 3 * DEG)))  # fmt: skip
#: The forward gait run backwards: toes land, the heel leaves last; pelvis and arms follow the legs.
BACKWARDS = Style(-0.22, -0.14, 0.035, 0.64, (
    ("y", 1, -0.02), ("roll", 1, -3.0 * DEG), ("bend", 1, 2.5 * DEG), ("z", 0, -0.014), ("z", 1, -0.006),
    ("yaw", 0, -2.5 * DEG), ("twist", 0, 5 * DEG), ("shoulder", 1, -8 * DEG), ("elbow", 0, 6 * DEG),
    ("lean", 0, 2 * DEG),
))  # fmt: skip


def stand_on(body: Body, side: str, centre: tuple[float, float], heading: float) -> tuple[float, float, float]:
    """Foothold (x, y, yaw) of a foot beside `centre` (m, below the pelvis) while standing at `heading`."""
    sign = 1.0 if side == "left" else -1.0
    along, across = stand_offset(body), sign * WIDTH / 2
    c, s = np.cos(heading), np.sin(heading)
    return centre[0] + c * along - s * across, centre[1] + s * along + c * across, heading + sign * TOE_OUT


def walk_stances(
    holds: list[tuple[float, float, float]], downs: list[float], swing: float, both: float, style: Style
) -> list[Stance]:
    """Stances of one foot that lands at the times `downs` on `holds[1:]` after swings of `swing` s; both feet are
    down for `both` s."""
    detour = np.zeros((4, DETOUR))
    detour[2, 0] = style.height
    landings, leavings = [-FAR, *downs], [d - swing for d in downs] + [downs[-1] + FAR]
    out = []
    for hold, down, up in zip(holds, landings, leavings, strict=True):
        # the heel rises once the other foot is down: nobody stands on one forefoot here
        out.append(Stance(*hold, down=down, up=up, strike=0.0 if down < 0 else style.strike, push=style.push, lift=2.0,
                          flat=0.16, heel_off=up - down - both, detour=detour))  # fmt: skip
    out[-1].push, out[-1].heel_off = 0.0, 2 * FAR
    return out


def turn(body: Body, angle: float, fps: float, seed: int, step: float = 0.5) -> Take:
    """Turning on the spot by `angle` (rad, to the left): the left foot opens, the right one follows, and so on.

    Each foot advances by 55 degrees at most; 45 degrees take one step of each foot (1 s), 180 five steps.
    """
    rng = np.random.default_rng(seed)
    count = 2 if angle < 55 * DEG else int(np.ceil(angle / (45 * DEG))) + 1
    targets = [min(angle, angle * (k + 1) / (count - 1)) for k in range(count)]
    begin = STILL + SHIFT
    strikes = [begin + 0.62 * step + k * step for k in range(count)]
    end = strikes[-1] + 0.35 + STILL
    t = np.arange(round(end * fps) + 1) / fps
    swing = 2 * (1 - PIVOT.stance) * step
    feet, yaws = {}, []
    for i, side in enumerate(("left", "right")):
        downs, goals = strikes[i::2], targets[i::2]
        jitter = rng.normal(size=(len(downs), 3)).clip(-2, 2) * [0.004, 0.004, 0.8 * DEG]
        jitter[-1] = 0
        holds = [stand_on(body, side, (0.0, 0.0), 0.0)]
        for goal, j in zip(goals, jitter, strict=True):
            x, y, yaw = stand_on(body, side, (0.0, 0.0), goal)
            holds.append((x + j[0], y + j[1], yaw + j[2]))
        feet[side] = walk_stances(holds, downs, swing, step - swing, PIVOT)
        before = [0.0, *goals[:-1]]
        yaws.append(sum((b - a) * ease(t, d - swing, d) for a, b, d in zip(before, goals, downs, strict=True)))
    # the pelvis turns with the mean of the feet, evenly, and a little ahead of them
    lead = np.interp(t + 0.06, t, np.asarray(sum(yaws)) / 2)
    heading = gaussian_filter1d(lead, 0.16 * fps, mode="nearest")
    look = np.interp(t + 0.25, t, heading) - heading
    extra = fidget(rng, t)
    extra["neck_z"] = extra["neck_z"] + 0.75 * look
    extra["abdomen_z"] = extra["abdomen_z"] + 0.3 * look
    rate = gaussian_filter1d(np.gradient(heading, t), 0.1 * fps)
    for side, sign in (("right", 1.0), ("left", -1.0)):  # arms lag behind the turning trunk
        extra[f"{side}_shoulder_y"] = extra[f"{side}_shoulder_y"] - 0.07 * sign * rate
        extra[f"{side}_elbow"] = extra[f"{side}_elbow"] - 0.05 * rate
    blend = ease(t, begin - 0.3, strikes[0]) - ease(t, strikes[-1] - 0.2, strikes[-1] + 0.35)
    phase = (t - strikes[0]) / (2 * step) + 3.5
    return _finish(body, t, phase, blend, np.zeros((len(t), 2)), heading, feet, fps, rng, extra, PIVOT)


def sideways(body: Body, speed: float, fps: float, seed: int) -> Take:
    """Side steps to the left: the left foot opens, the right one closes. Faster means quicker and longer steps."""
    cycle = 1.5 - 1.5 * speed
    return wander_off(body, (0.0, speed), cycle, round(4.6 / cycle), "left", SIDEWAYS, fps, seed)


def backwards(body: Body, speed: float, fps: float, seed: int) -> Take:
    """Walking backwards: half the step length of walking forwards at a lower cadence."""
    cycle = 1.4 - 0.5 * speed
    return wander_off(body, (-speed, 0.0), cycle, round(5.5 / cycle), "left", BACKWARDS, fps, seed)


def wander_off(
    body: Body, velocity: tuple[float, float], cycle: float, cycles: int, first: str, style: Style, fps: float,
    seed: int,
) -> Take:  # fmt: skip
    """Standing, `cycles` cycles of `cycle` s at a velocity (m/s: forward, left) without turning, standing again."""
    rng, natural = np.random.default_rng(seed), Irregularity()
    v = np.asarray(velocity)
    begin = STILL + SHIFT
    swing = (1 - style.stance) * cycle
    downs = {first: [begin + swing + k * cycle for k in range(cycles)]}
    downs[other(first)] = [d + cycle / 2 for d in downs[first]]
    final = downs[other(first)][-1]
    end = final + 0.45 + STILL
    t = np.arange(round(end * fps) + 1) / fps
    a, b = (begin - 0.25, begin + swing + 0.5 * cycle), (final - 0.75 * cycle, final + 0.15)
    way = lambda u: eased_way(u, *a) - eased_way(u, *b)  # noqa: E731
    # the feet must not meet when they close: further apart on average the longer the side steps
    apart = max(WIDTH, 0.135 + abs(v[1]) * cycle / 2) if v[1] else WIDTH - 0.05
    feet = {}
    for side in SIDES:
        sign = 1.0 if side == "left" else -1.0
        holds = [stand_on(body, side, (0.0, 0.0), 0.0)]
        for down in downs[side]:
            middle = down + style.stance * cycle / 2
            moving = float(ease(np.array(middle), *a) - ease(np.array(middle), *b))
            centre = v * float(way(middle))
            x, y, yaw = stand_on(body, side, (centre[0], centre[1]), 0.0)
            j = rng.normal(size=2).clip(-2, 2) * [natural.step, natural.side]
            holds.append((x + j[0], y + moving * sign * (apart - WIDTH) / 2 + j[1], yaw))
        rest = v * float(way(end))
        holds[-1] = stand_on(body, side, (rest[0], rest[1]), 0.0)
        feet[side] = walk_stances(holds, downs[side], swing, cycle / 2 - swing, style)
        feet[side][-1].strike *= 0.5
    blend = ease(t, begin - 0.3, begin + swing) - ease(t, final - 0.3 * cycle, final + 0.3)
    phase = (t - downs["right"][0]) / cycle + 4.0
    path = way(t)[:, None] * v
    crouch = ("z", 0, -0.05 * max(0.0, abs(v[1]) - 0.2))  # wide steps need bent knees
    style = replace(style, waves=(*style.waves, crouch))
    return _finish(body, t, phase, blend, path, 0 * t, feet, fps, rng, fidget(rng, t), style)


def _finish(
    body: Body, t: np.ndarray, phase: np.ndarray, blend: np.ndarray, path: np.ndarray, heading: np.ndarray,
    feet: dict[str, list[Stance]], fps: float, rng: np.random.Generator, extra: dict[str, np.ndarray], style: Style,
) -> Take:  # fmt: skip
    """Trunk and arms between standing and stepping, then mechanics."""
    stand = standing(body)
    waves = np.zeros_like(stand)
    for name, index, value in style.waves:
        waves[LAYOUT.slices[name].start + index] += value
    sway = 0.002 * np.stack([Wander(rng, t[-1], 3.0)(t) for _ in range(2)], -1)
    frame = Frame(path + (1 - blend)[:, None] * (sway - sway[0]), heading)
    fixed = (t < STILL - 0.1) | (t > t[-1] - 0.3)
    parameters = stand + blend[:, None] * waves
    return perform(body, Journey(t, phase, parameters, frame, feet, fps, extra, fixed=fixed, reach=REACH))
