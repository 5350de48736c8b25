"""From standing into a run, and from a run to standing: a few walking steps in between, speed and cadence changing.

The feet are planned like those of `course`, one stance after the other, at the gait of that moment; at the standing end
like those of `transitions`. That the body gets ahead of its feet while it speeds up, and behind them while it
slows down, comes out of the balance.
"""

from __future__ import annotations

import numpy as np

from isaacmm.gait.body import Body
from isaacmm.gait.course import MOST, REACH, TO_RUN, gait_at, stance_between
from isaacmm.gait.idle import TOE_OUT, WIDTH
from isaacmm.gait.journey import Journey, perform
from isaacmm.gait.noise import Wander
from isaacmm.gait.pattern import LAYOUT, Frame
from isaacmm.gait.stances import Stance, likened
from isaacmm.gait.synthesis import Irregularity, Take
from isaacmm.gait.transitions import (
    FAR,
    STILL,
    ease,
    eased_way,
    fidget,
    gait_stance,
    other,
    stand_offset,
    standing,
)

#: m/s: cadence and rolling of the feet of the first and last steps are those of this walk
SLOWEST = 1.6
#: s of getting up to the running speed or coming down from it, and of steady running at the other end
RAMP, STEADY = 3.0, 1.1
#: s beyond both ends of the clip that are planned too, and samples per second of the plan
BEYOND, RATE = 3.0, 240
#: rad of leaning per m/s^2
LEAN = np.deg2rad(3.0)


def dash(body: Body, speed: float, first: str, fps: float, seed: int, table: dict[str, np.ndarray], stop: bool) -> Take:
    """Standing, then running at `speed` (m/s), the foot `first` leading; `stop`: running, then standing, the foot
    `first` put down last."""
    rng, natural = np.random.default_rng(seed), Irregularity()
    slow, _ = gait_at(body, SLOWEST, 0.0, table)
    # `strike`: the foot `first` comes down for the first time, or for the last
    if stop:
        a = STEADY
        b = a + RAMP
        strike = b - 0.12
        end = strike + 0.5 + STILL
    else:
        strike = STILL + 0.55 + (1 - slow.stance) * slow.duration
        a = strike - (1 - slow.stance) * slow.duration - 0.25
        b = a + RAMP
        end = b + STEADY
    t = np.arange(round(end * fps) + 1) / fps
    fine = np.arange(-BEYOND * RATE, (end + BEYOND) * RATE + 1) / RATE
    part, way_of = ease(fine, a, b), lambda u: speed * eased_way(u, a, b)
    if stop:
        part, way_of = 1 - part, lambda u: speed * (np.asarray(u) - eased_way(u, a, b))
    pace = speed * part
    push = np.gradient(pace, fine)
    u = np.clip((pace - TO_RUN[0]) / (TO_RUN[1] - TO_RUN[0]), 0, 1)
    run = u * u * (3 - 2 * u)
    hurry = np.maximum(pace, SLOWEST)
    found = [gait_at(body, float(v), float(r), table) for v, r in zip(hurry[::12], run[::12], strict=True)]
    at = lambda values: np.interp(fine, fine[::12], values)  # noqa: E731
    stance, rate = at([p.stance for p, _ in found]), at([1 / p.duration for p, _ in found])
    columns = np.stack([at(row) for row in np.array([x for _, x in found]).T], -1)
    phase = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 / RATE)])
    phase -= np.interp(strike, fine, phase)
    when = lambda p: float(np.interp(p, phase, fine))  # noqa: E731
    sample = lambda values, at: float(np.interp(at, fine, values))  # noqa: E731

    behind, rest = stand_offset(body), float(way_of(end))
    feet: dict[str, list[Stance]] = {}
    for side, shift in ((first, 0.0), (other(first), 0.5 if not stop else -0.5)):
        stances, models = [], []
        cycles = range(int(phase[0]) + 2, 1) if stop else range(int(phase[-1]) - 1)
        if not stop:
            share = slow.stance
            held = gait_stance(slow, found[0][1], side, _stand(side, behind), when(shift - 1))
            held.up = when(shift - 1 + share)
            held.strike, held.push = 0.0, (0.5 if side == first else 0.9) * held.push
            held.heel_off, held.down = held.heel_off + FAR, held.down - FAR
            stances.append(held)
            models.append((gait_stance(slow, found[0][1], side, (0.0, 0.0, 0.0), 0.0),
                           gait_stance(slow, found[0][1], side, (slow.stride, 0.0, 0.0), slow.duration)))  # fmt: skip
        for k in cycles:
            down = when(k + shift)
            gait, x = gait_at(body, sample(hurry, down), sample(run, down), table)
            share = sample(stance, down)
            up, middle = when(k + shift + share), when(k + shift + share / 2)
            moving = sample(part, middle)
            jitter = rng.normal(size=2).clip(-2, 2) * [natural.step, natural.side]
            ahead = float(LAYOUT.get(x, "ahead")[0]) - gait.stride * gait.stance / 2
            spot = float(way_of(middle)) + behind + (ahead - behind) * moving + jitter[0]
            sign = 1.0 if side == "left" else -1.0
            hold = (spot, sign * gait.width / 2 + jitter[1], sign * gait.toe_out)
            s, model = stance_between(gait, x, side, hold, down, up)
            s.strike *= min(1.0, sample(pace, middle) / SLOWEST)  # short steps land flat
            stances.append(s)
            models.append(model)
        if stop:
            held = stances[-1]
            held.x, held.y, held.yaw = _stand(side, rest + behind)
            held.up, held.heel_off, held.push = held.down + FAR, FAR - 1, 0.0
            if side == first:
                stances[-2].push *= 0.8
        for p, q, model in zip(stances[:-1], stances[1:], models, strict=False):
            p.detour = likened(p, q, model, body.sole, most=MOST)
        feet[side] = stances
    blend = 1 - ease(t, strike - 0.5 * slow.duration, strike + 0.35) if stop else ease(t, a, strike + 0.3)
    x = np.stack([np.interp(t, fine, column) for column in columns.T], -1)
    stand = standing(body)
    thrust = np.interp(t, fine, push)
    extra = {n: wobble * (1 - 0.7 * blend) for n, wobble in fidget(rng, t).items()}
    extra["abdomen_y"] = extra["abdomen_y"] + LEAN * thrust
    sway = [0.002 * (1 - blend) * Wander(rng, t[-1], 3.0)(t) for _ in range(2)]
    frame = Frame(np.stack([way_of(t) + sway[0], sway[1]], -1), 0 * t)
    clock = np.interp(t, fine, phase) + 9.0 + (0.0 if first == "right" else 0.5)
    still = t > end - 0.4 if stop else t < STILL - 0.25
    parameters = stand + blend[:, None] * (x - stand)
    return perform(body, Journey(t, clock, parameters, frame, feet, fps, extra, fixed=still, reach=REACH))


def _stand(side: str, x: float) -> tuple[float, float, float]:
    """Foothold of a standing foot at `x` m along the way."""
    sign = 1.0 if side == "left" else -1.0
    return x, sign * WIDTH / 2, sign * TOE_OUT
