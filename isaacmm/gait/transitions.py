"""Starting to walk from standing, and coming to a stop."""

from __future__ import annotations

import numpy as np

from isaacmm.gait import gaits
from isaacmm.gait.body import Body
from isaacmm.gait.idle import TOE_OUT, WIDTH
from isaacmm.gait.journey import Journey, perform
from isaacmm.gait.laws import Plan, plan
from isaacmm.gait.noise import Wander
from isaacmm.gait.pattern import LAYOUT, Frame, detours
from isaacmm.gait.stances import Stance, likened
from isaacmm.gait.synthesis import Irregularity, Take

#: s of quiet standing at the standing end, and cycles of steady walking at the other
STILL, STEADY = 0.9, 2.5
#: Time that counts as "for ever" at the ends of a clip (s).
FAR = 20.0


def ease(t: np.ndarray, a: float, b: float) -> np.ndarray:
    """Minimum-jerk step from 0 at `a` to 1 at `b`."""
    u = np.clip((np.asarray(t) - a) / (b - a), 0, 1)
    return u**3 * (10 - 15 * u + 6 * u**2)


def eased_way(t: np.ndarray, a: float, b: float) -> np.ndarray:
    """Integral of `ease`."""
    u = np.clip((np.asarray(t) - a) / (b - a), 0, 1)
    return (b - a) * u**4 * (2.5 - 3 * u + u**2) + np.maximum(np.asarray(t) - b, 0)


def standing(body: Body) -> np.ndarray:
    """Parameters `[P]` of standing as in the idle clip: means only, nothing swings."""
    x = np.zeros(LAYOUT.size)
    deg = np.deg2rad(1.0)
    means = {"z": body.leg_length - 0.009, "lean": 2 * deg, "shoulder": 3 * deg, "elbow": 14 * deg,
             "abduct": 8 * deg, "inward": 8 * deg}  # fmt: skip
    for name, value in means.items():
        x[LAYOUT.slices[name].start] = value
    return x


def stand_offset(body: Body) -> float:
    """Where the ankles are relative to the pelvis (m along the heading): the centre of mass over the soles."""
    x = standing(body)
    dofs = np.zeros(len(body.dof_names))
    dofs[body.dof("abdomen_y")] = LAYOUT.get(x, "lean")[0]
    for side, sign in (("right", -1.0), ("left", 1.0)):
        dofs[body.dof(f"{side}_shoulder_x")] = sign * LAYOUT.get(x, "abduct")[0]
        dofs[body.dof(f"{side}_shoulder_y")] = LAYOUT.get(x, "shoulder")[0]
        dofs[body.dof(f"{side}_elbow")] = -LAYOUT.get(x, "elbow")[0]
    pos, rot = body.fk(np.array([0, 0, body.leg_length]), np.eye(3), dofs)
    centre = (body.mass_points(pos, rot) * body.masses[:, None]).sum(-2) / body.masses.sum()
    return float(centre[0] - 0.8 * (body.sole[0] + body.sole[1]) / 2)


def fidget(rng: np.random.Generator, t: np.ndarray) -> dict[str, np.ndarray]:
    """Breathing and small movements of head and trunk (rad), as in the idle clip; periodic over `t`."""
    span = t[-1] - t[0]
    deg = np.deg2rad(1.0)
    w = lambda shortest: Wander(rng, span, shortest)(t)  # noqa: E731
    breath = np.sin(2 * np.pi * max(1, round(0.25 * span)) / span * t)
    return {
        "abdomen_y": (0.4 * breath + 0.3 * w(4.0)) * deg,
        "abdomen_z": 0.6 * deg * w(4.0),
        "neck_y": (-0.4 * breath + 0.8 * w(4.0)) * deg,
        "neck_z": 1.5 * deg * w(3.0),
        "right_shoulder_y": 0.7 * deg * w(3.0),
        "left_shoulder_y": 0.7 * deg * w(3.0),
        "right_elbow": 0.8 * deg * w(3.0),
        "left_elbow": 0.8 * deg * w(3.0),
    }


def gait_stance(gait: Plan, x: np.ndarray, side: str, spot: tuple[float, float, float], down: float) -> Stance:
    """A stance of steady gait that begins at `down` s, and the swing that follows it there."""
    get = lambda name: float(LAYOUT.get(x, name)[0])  # noqa: E731
    d, bend = gait.duration, detours(x, 1.0 if side == "left" else -1.0)
    return Stance(
        *spot, down=down, up=down + gait.stance * d, strike=get("strike"), push=get("push"), flat=get("flat") * d,
        heel_off=get("heel_off") * d, lift=get("lift"), rise=get("rise"), detour=bend,
    )  # fmt: skip


def liken(feet: dict[str, list[Stance]], gait: Plan, x: np.ndarray, sole: np.ndarray) -> None:
    """Give every swing the detour that makes it one of this gait."""
    for side, stances in feet.items():
        hold = (0.0, 0.0, 0.0)
        model = (gait_stance(gait, x, side, hold, 0.0),
                 gait_stance(gait, x, side, (gait.stride, 0.0, 0.0), gait.duration))  # fmt: skip
        for a, b in zip(stances[:-1], stances[1:], strict=True):
            a.detour = likened(a, b, model, sole)


def other(side: str) -> str:
    """The other side."""
    return "left" if side == "right" else "right"


def _foot(side: str, x: float, blend: float, gait: Plan) -> tuple[float, float, float]:
    """Foothold at `x` between standing (blend 0) and walking (1)."""
    sign = 1.0 if side == "left" else -1.0
    width = WIDTH + blend * (gait.width - WIDTH)
    toe = TOE_OUT + blend * (gait.toe_out - TOE_OUT)
    return x, sign * width / 2, sign * toe


def start(body: Body, speed: float, first: str, fps: float, seed: int, table: dict[str, np.ndarray]) -> Take:
    """Standing, then walking at `speed` (m/s), the foot `first` leading.

    The cadence is that of the steady gait from the first step on, as in people, who reach their speed within two or
    three steps; the first steps are shorter.
    """
    rng, natural = np.random.default_rng(seed), Irregularity()
    gait, x = plan(speed, body.leg_length), gaits.parameters("walk", speed, table)
    d, s = gait.duration, gait.stance
    strike = STILL + 0.55 + (1 - s) * d  # of the first foot
    end = strike + STEADY * d
    t = np.arange(round(end * fps) + 1) / fps
    a, b = strike - (1 - s) * d - 0.25, strike + (0.35 + 0.35 * speed) * d / 2
    way = lambda u: speed * eased_way(u, a, b)  # noqa: E731
    blend = ease(t, a, strike + 0.35 * d)
    behind, ahead = stand_offset(body), float(LAYOUT.get(x, "ahead")[0]) - gait.stride * s / 2
    feet: dict[str, list[Stance]] = {}
    for side, delay in ((first, 0.0), (other(first), d / 2)):
        up = strike + delay - (1 - s) * d
        gentle = 0.5 if side == first else 0.9
        where = _foot(side, behind, 0.0, gait)
        held = gait_stance(gait, x, side, where, up - s * d)
        held.strike, held.push = 0.0, gentle * held.push
        held.heel_off += FAR
        held.down -= FAR
        stances = [held]
        down = strike + delay
        while down < end + d:
            middle = down + s * d / 2
            share = float(ease(np.array(middle), a, b))
            jitter = rng.normal(size=2).clip(-2, 2) * [natural.step, natural.side]
            spot = way(middle) + behind + (ahead - behind) * share + jitter[0]
            hold = _foot(side, float(spot), 1.0, gait)
            stances.append(gait_stance(gait, x, side, (hold[0], hold[1] + jitter[1], hold[2]), down))
            down += d
        feet[side] = stances
    phase = (t - strike) / d + (2.0 if first == "right" else 1.5)
    liken(feet, gait, x, body.sole)
    return _finish(body, t, phase, blend, way(t), x, feet, fps, rng, t < STILL - 0.25)


def stop(body: Body, speed: float, last: str, fps: float, seed: int, table: dict[str, np.ndarray]) -> Take:
    """Walking at `speed` (m/s), then standing; the foot `last` is put down beside the other one at the end."""
    rng, natural = np.random.default_rng(seed), Irregularity()
    gait, x = plan(speed, body.leg_length), gaits.parameters("walk", speed, table)
    d, s = gait.duration, gait.stance
    final = (STEADY + 0.5) * d  # the last foot comes down
    end = final + 0.5 + STILL
    t = np.arange(round(end * fps) + 1) / fps
    a, b = final - d / 2 - (0.30 * speed - 0.06) * d, final + 0.12
    way = lambda u: speed * (np.asarray(u) - eased_way(u, a, b))  # noqa: E731
    blend = 1 - ease(t, final - 0.5 * d, final + 0.35)
    behind, ahead = stand_offset(body), float(LAYOUT.get(x, "ahead")[0]) - gait.stride * s / 2
    rest = float(way(end)) + behind
    feet: dict[str, list[Stance]] = {}
    for side, at in ((last, final), (other(last), final - d / 2)):
        downs = [at - k * d for k in range(int(at / d) + 2, -1, -1)]
        stances = []
        for down in downs:
            middle = down + s * d / 2
            share = 1 - float(ease(np.array(middle), a, b))
            jitter = rng.normal(size=2).clip(-2, 2) * [natural.step, natural.side]
            spot = float(way(middle)) + behind + (ahead - behind) * share + jitter[0]
            hold = _foot(side, spot, 1.0, gait)
            stances.append(gait_stance(gait, x, side, (hold[0], hold[1] + jitter[1], hold[2]), down))
        held = stances[-1]
        held.x, held.y, held.yaw = _foot(side, rest, 0.0, gait)
        held.up, held.heel_off, held.push = held.down + FAR, FAR - 1, 0.0
        if side == last:
            held.strike *= 0.35
            stances[-2].push *= 0.8
        feet[side] = stances
    phase = (t - final) / d + (9.0 if last == "right" else 8.5)
    liken(feet, gait, x, body.sole)
    return _finish(body, t, phase, blend, way(t), x, feet, fps, rng, t > end - 0.4)


def _finish(
    body: Body, t: np.ndarray, phase: np.ndarray, blend: np.ndarray, way: np.ndarray, x: np.ndarray,
    feet: dict[str, list[Stance]], fps: float, rng: np.random.Generator, fixed: np.ndarray,
) -> Take:  # fmt: skip
    """Trunk and arms between standing and walking, then mechanics."""
    stand = standing(body)
    parameters = stand + blend[:, None] * (x - stand)
    push = np.gradient(np.gradient(way, t), t)  # people lean into an acceleration
    extra = {n: a * (1 - 0.7 * blend) for n, a in fidget(rng, t).items()}
    extra["abdomen_y"] = extra["abdomen_y"] + np.deg2rad(2.0) * np.clip(push, -2, 2)
    sway = [0.002 * (1 - blend) * Wander(rng, t[-1], 3.0)(t) for _ in range(2)]
    frame = Frame(np.stack([way + sway[0], sway[1]], -1), 0 * way)
    return perform(body, Journey(t, phase, parameters, frame, feet, fps, extra, fixed=fixed))
