"""From a plan of stances, a pelvis path and a blend of patterns to a clip that a floor could carry."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from isaacmm.gait.balance import Balancer, support_edges
from isaacmm.gait.body import Body
from isaacmm.gait.dynamics import GRAVITY, wrench
from isaacmm.gait.flight import FreeFall
from isaacmm.gait.pattern import Frame, carry, set_leg
from isaacmm.gait.stances import Stance, track
from isaacmm.gait.synthesis import FALLS, REACH, Take

SIDES = ("right", "left")
#: Share of the weight below which a foot counts as landing or leaving
FAINT = 0.05
#: m the pelvis path is shifted at once at most, where there is running
STEP = 0.08


@dataclass
class Journey:
    """Everything that is decided before mechanics has its say; T samples at `fps`.

    `t` `[T]` s; `phase` `[T]` cycles and `parameters` `[T, P]` of trunk and arms (`pattern`); `frame` the pelvis path;
    `feet` stances of "right" and "left"; `extra` angles (rad, `[T]`) added to single hinges; `vary` see `carry`;
    `fixed` `[T]` bool: where the pelvis path is left alone; `reach` the share of its length a leg may be stretched to.
    """

    t: np.ndarray
    phase: np.ndarray
    parameters: np.ndarray
    frame: Frame
    feet: dict[str, list[Stance]]
    fps: float
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    vary: dict[str, np.ndarray] = field(default_factory=dict)
    fixed: np.ndarray | None = None
    reach: float = REACH[False]


def lower(need: np.ndarray, fps: float) -> np.ndarray:
    """A smooth function that lies over `need` `[T]`."""
    return gaussian_filter1d(
        maximum_filter1d(need, max(1, round(0.3 * fps)), mode="nearest"), 0.1 * fps, mode="nearest"
    )


def perform(body: Body, journey: Journey, rounds: int = 8, margin: float = 0.006) -> Take:
    """The clip, its pelvis path shifted until the centre of pressure stays `margin` (m) inside the soles."""
    t, fps = journey.t, journey.fps
    tracks = {side: track(journey.feet[side], t, body.sole) for side in SIDES}
    lean = np.broadcast_to(journey.frame.lean, t.shape)
    frame = Frame(journey.frame.position[:, None], journey.frame.heading[:, None], lean[:, None])
    vary = {n: f[:, None] for n, f in journey.vary.items()}
    weight = body.masses.sum() * GRAVITY
    leg = body.thigh_length + body.shin_length
    shift, lift = np.zeros((len(t), 2)), np.zeros(len(t))
    fixed = np.zeros(len(t), bool) if journey.fixed is None else journey.fixed.copy()
    fixed[:4] = fixed[-4:] = True
    balancer, best = None, (np.inf, shift, lift)
    contacts = np.stack([tracks[side][2] for side in SIDES], -1)
    air = np.asarray(~contacts.any(-1))

    def posed(shift: np.ndarray, lift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Root and hinges, and the share of their length that the legs are stretched to."""
        root_pos, root_rot, dofs = (
            a[:, 0] for a in carry(body, journey.parameters, journey.phase[:, None], frame, lift[:, None], vary)
        )
        root_pos[:, :2] += shift
        for name, angle in journey.extra.items():
            dofs[:, body.dof(name)] += angle
        legs = [set_leg(body, side, root_pos, root_rot, dofs, *tracks[side][:2]) for side in SIDES]
        return root_pos, root_rot, dofs, np.stack(legs, -1).max(-1)

    for attempt in range(rounds + 1):
        if attempt == rounds:
            _, shift, lift = best
        for _ in range(6):
            root_pos, root_rot, dofs, reach = posed(shift, lift)
            need = (reach - journey.reach) * leg
            if need.max() <= 0:
                break
            lift = lift - 1.3 * lower(np.maximum(need, 0), fps)
        if attempt == rounds:
            break
        pos, rot = body.fk(root_pos, root_rot, dofs)
        floor = wrench(body, pos, rot, 1 / fps)
        if balancer is None:
            corners = np.concatenate([body.sole_corners(pos, rot, side) for side in SIDES], 1)
            touching = (corners[..., 2] < 0.004) & np.repeat(contacts, 4, 1)
            normals, offsets = support_edges(corners[..., :2], touching, margin)
            balancer = Balancer(fps, float(floor["com"][:, 2].mean()), normals, offsets, fixed)
        load, pressure = floor["force"][:, 2] / weight, floor["pressure"]
        if air.any():  # where a foot lands or leaves there is no pressure to speak of, but there may be a moment
            faint = load < FAINT
            load = np.where(faint, FAINT, load)
            pressure = np.where(faint[:, None], floor["lever"] / (weight * FAINT), pressure)
        beyond = balancer.beyond(pressure, load)
        if beyond.max() < 0.002:
            break
        error = float(np.square(beyond).sum())
        best = min(best, (error, shift, lift), key=lambda b: b[0])
        if error > 4 * best[0]:  # far from the linear model, as in running: half way back
            shift, lift = (shift + best[1]) / 2, best[2]
            continue
        new = balancer.correct(pressure, load, shift)
        if air.any():  # far from the linear model in running: small steps
            new = shift + (new - shift) * min(1.0, STEP / np.abs(new - shift).max())
        shift = new
    if air.any():
        fall, more = FreeFall(air, fps, False, fixed), np.zeros((len(t), 3))
        for _ in range(2 * FALLS):
            floor = wrench(body, *body.fk(root_pos, root_rot, dofs), 1 / fps)
            more = fall.correct(floor["force"] / body.masses.sum(), more)
            root_pos, root_rot, dofs, reach = posed(shift + more[:, :2], lift + more[:, 2])
            need = (reach - REACH[True]) * leg
            if need.max() > 0:
                lift = lift - 1.3 * lower(np.maximum(need, 0), fps)
                root_pos, root_rot, dofs, _ = posed(shift + more[:, :2], lift + more[:, 2])
    return Take(root_pos, root_rot, dofs, contacts, fps)
