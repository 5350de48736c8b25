"""A gait as a few numbers: Fourier series of the trunk and the arms, rolling and swing of the feet.

`Pattern` holds named parameter blocks; `pose` turns phases, footholds and a moving path frame into dof angles.  It
is used twice: over one exact cycle for thousands of candidate parameter sets at once when a gait is fitted, and
along the whole, slightly irregular way when a clip is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isaacmm.gait.body import Body, axis_rotation
from isaacmm.gait.foot import Roll, foot_pose
from isaacmm.gait.laws import Plan
from isaacmm.gait.leg import leg_angles

#: name -> (kind, harmonics). "even"/"odd": harmonics of the stride a left-right symmetric motion may contain, "all":
#: a limb whose other side does the same half a cycle later.  A mean value is harmonic 0.
SERIES: dict[str, tuple[int, ...]] = {
    "x": (2, 4, 6),
    "y": (1, 3, 5),
    "z": (0, 2, 4, 6, 8),
    "roll": (1, 3, 5),
    "pitch": (0, 2, 4),
    "yaw": (1, 3, 5),
    "bend": (1, 3),
    "lean": (0, 2, 4),
    "twist": (1, 3),
    "shoulder": (0, 1, 2, 3),
    "elbow": (0, 1, 2, 3),
    "abduct": (0, 1),
    "inward": (0, 1),
}
SCALARS = ("ahead", "strike", "push", "lift", "rise", "flat", "heel_off")
DETOUR = 5


def series_size(name: str) -> int:
    """Number of coefficients of a series: one for the mean, a cosine and a sine per harmonic."""
    return sum(1 if k == 0 else 2 for k in SERIES[name])


def wave(phase: np.ndarray, coefficients: np.ndarray, name: str) -> np.ndarray:
    """Value of a series at `phase` (cycles); `coefficients` `[..., n]` broadcast against it (last axis added)."""
    total, i = np.zeros(()), 0
    for k in SERIES[name]:
        if k == 0:
            total, i = total + coefficients[..., 0:1], i + 1
            continue
        angle = 2 * np.pi * k * phase
        cosine, sine = coefficients[..., i : i + 1], coefficients[..., i + 1 : i + 2]
        total, i = total + cosine * np.cos(angle) + sine * np.sin(angle), i + 2
    return total


@dataclass(frozen=True)
class Layout:
    """Names and slices of the parameter vector."""

    slices: dict[str, slice]
    size: int

    @classmethod
    def build(cls) -> Layout:
        """The one layout there is."""
        slices, at = {}, 0
        blocks = [(n, series_size(n)) for n in SERIES] + [(n, 1) for n in SCALARS]
        blocks += [(f"swing_{a}", DETOUR) for a in ("along", "side", "up", "pitch")]
        for name, size in blocks:
            slices[name] = slice(at, at + size)
            at += size
        return cls(slices, at)

    def get(self, vector: np.ndarray, name: str) -> np.ndarray:
        """Block of `[..., P]`."""
        return vector[..., self.slices[name]]


LAYOUT = Layout.build()


@dataclass(frozen=True)
class Frame:
    """The moving path frame at every sample: origin on the floor (m), heading and inward lean (rad)."""

    position: np.ndarray  # [..., T, 2]
    heading: np.ndarray  # [..., T]
    lean: np.ndarray | float = 0.0  # right-hand roll about the heading


def roll_of(parameters: np.ndarray, plan: Plan) -> Roll:
    """The rolling law of the feet, fields `[..., 1]`."""
    get = lambda name: LAYOUT.get(parameters, name)  # noqa: E731
    return Roll(
        get("flat"),
        get("heel_off"),
        plan.stance + 0 * get("flat"),
        get("strike"),
        get("push"),
        get("lift"),
        get("rise"),
    )


def carry(
    body: Body,
    parameters: np.ndarray,
    phase: np.ndarray,
    frame: Frame,
    lift: np.ndarray | float = 0.0,
    vary: dict[str, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Root pose and hinges of trunk, head and arms at `phase`; the legs' hinges stay zero.

    Args:
        parameters: `[..., P]`. phase: `[..., T]` cycles. lift: added to the root height (m).
        vary: optional factors `[..., T]` on the oscillation of a series.

    Returns:
        root_pos `[..., T, 3]`, root_rot `[..., T, 3, 3]`, dofs `[..., T, D]`.
    """

    def value(name: str, shift: float = 0.0) -> np.ndarray:
        c = LAYOUT.get(parameters, name)
        out = wave(phase + shift, c, name)
        if vary and name in vary:
            mean = c[..., 0:1] if SERIES[name][0] == 0 else 0.0
            out = mean + (out - mean) * vary[name]
        return out

    x, y, z = value("x"), value("y"), value("z") + lift
    c, s = np.cos(frame.heading), np.sin(frame.heading)
    # leaning into a curve turns the whole body about the path line on the floor
    cl, sl = np.cos(frame.lean), np.sin(frame.lean)
    side, height = y * cl - z * sl, y * sl + z * cl
    root_pos = np.stack(
        [
            frame.position[..., 0] + c * x - s * side,
            frame.position[..., 1] + s * x + c * side,
            height + 0 * x,
        ],
        -1,
    )
    root_rot = (
        axis_rotation(2, frame.heading + value("yaw"))
        @ axis_rotation(0, value("roll") + frame.lean)
        @ axis_rotation(1, value("pitch"))
    )
    dofs = np.zeros(root_pos.shape[:-1] + (len(body.dof_names),))

    def put(name: str, angle: np.ndarray) -> None:
        dofs[..., body.dof(name)] = angle

    put("abdomen_x", value("bend"))
    put("abdomen_y", value("lean"))
    put("abdomen_z", value("twist"))
    # the head looks along the path: it undoes most of what pelvis and trunk do
    put("neck_x", -0.8 * (value("bend") + value("roll")) - 0.5 * frame.lean)
    put("neck_y", -0.8 * (value("lean") + value("pitch")))
    put("neck_z", -0.9 * (value("twist") + value("yaw")))
    for side_name, shift, sign in (("right", 0.0, -1.0), ("left", 0.5, 1.0)):
        put(f"{side_name}_shoulder_x", sign * value("abduct", shift))
        put(f"{side_name}_shoulder_y", value("shoulder", shift))
        put(f"{side_name}_shoulder_z", -sign * value("inward", shift))
        put(f"{side_name}_elbow", -value("elbow", shift))
    return root_pos, root_rot, dofs


def set_leg(
    body: Body,
    side: str,
    root_pos: np.ndarray,
    root_rot: np.ndarray,
    dofs: np.ndarray,
    ankle: np.ndarray,
    foot_rot: np.ndarray,
) -> np.ndarray:
    """Write into `dofs` the hinges that put a foot where it belongs; returns the used share of the leg's length."""
    hip = root_pos + root_rot @ body.offsets[body.body(f"{side}_thigh")]
    # the knee bends in a plane half way between pelvis and foot
    axis = root_rot[..., :, 1] + foot_rot[..., :, 1]
    angles, reach = leg_angles(hip, root_rot, ankle, foot_rot, axis, body.thigh_length, body.shin_length)
    first = body.dof(f"{side}_hip_x")
    dofs[..., first : first + 7] = angles
    return reach


def pose(
    body: Body,
    plan: Plan,
    parameters: np.ndarray,
    phase: np.ndarray,
    frame: Frame,
    footholds: dict[str, np.ndarray],
    lift: np.ndarray | float = 0.0,
    vary: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Root pose and dof angles at `phase`, measured from a heel strike of the right foot.

    Args:
        parameters: `[..., P]`. phase: `[..., T]` cycles, >= 0.
        footholds: for "right" and "left" `[..., K, 3]`; the left foot's cycle k starts at phase k - 1/2.
        lift: added to the root height (m). vary: optional factors `[..., T]` on the oscillation of a series.

    Returns:
        root_pos `[..., T, 3]`, root_rot `[..., T, 3, 3]`, dofs `[..., T, D]`, contacts `[..., T, 2]` (right,
        left), reach `[..., T, 2]` (share of the leg's length in use).
    """
    root_pos, root_rot, dofs = carry(body, parameters, phase, frame, lift, vary)
    roll = roll_of(parameters, plan)
    contacts, reaches = [], []
    for side_name, shift, sign in (("right", 0.0, -1.0), ("left", 0.5, 1.0)):
        detour = detours(parameters, sign)
        ankle, foot_rot, contact = foot_pose(
            phase + shift, footholds[side_name], roll, body.sole, detour[..., None, :, :]
        )
        contacts.append(contact)
        reaches.append(set_leg(body, side_name, root_pos, root_rot, dofs, ankle, foot_rot))
    return {
        "root_pos": root_pos,
        "root_rot": root_rot,
        "dofs": dofs,
        "contacts": np.stack(contacts, -1),
        "reach": np.stack(reaches, -1),
    }


def detours(parameters: np.ndarray, sign: float) -> np.ndarray:
    """Bump weights `[..., 4, n]` of a swing: along, sideways, up, pitch; `sign` +1 for the left foot."""
    rows = np.stack([LAYOUT.get(parameters, f"swing_{a}") for a in ("along", "side", "up", "pitch")], -2)
    return rows * np.array([1.0, sign, 1.0, 1.0])[:, None]


def straight(plan: Plan, parameters: np.ndarray, phase: np.ndarray) -> tuple[Frame, dict[str, np.ndarray]]:
    """Frame and footholds of an exact straight gait for phases in [0, 1.5)."""
    ahead = LAYOUT.get(parameters, "ahead")
    frame = Frame(np.stack([plan.stride * phase, 0 * phase], -1), 0 * phase)
    k = np.arange(4)
    holds = {}
    for name, shift, sign in (("right", 0.0, -1.0), ("left", -0.5, 1.0)):
        x = ahead + plan.stride * (k + shift)
        rest = np.broadcast_to(np.array([sign * plan.width / 2, sign * plan.toe_out]), x.shape + (2,))
        holds[name] = np.concatenate([x[..., None], rest], -1)
    return frame, holds
