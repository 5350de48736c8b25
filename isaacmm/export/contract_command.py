"""The parts of policy.json that only a policy which follows commands has: how a command becomes its condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from isaacmm.export import command, matching
from isaacmm.matching import springs


def sections(settings: Mapping[str, Any], reference: str) -> dict[str, Any]:
    """Sections ``command``, ``start_states`` and, for ``observe`` and ``residual``, ``twin``.

    Args:
        settings: :func:`isaacmm.export.matching.describe`.
        reference: ``task.env.reference``.
    """
    made = {"command": _command(settings), "start_states": _starts(settings)}
    return made if reference == "none" else {**made, "twin": _twin()}


def _command(settings: Mapping[str, Any]) -> dict[str, Any]:
    times = matching.spring(settings, 1)._times
    count = len(settings["horizons"])
    return {
        "file": "command.onnx",
        "meaning": "a command is a velocity (forward, left of the commanded facing), a facing and its turn rate. A "
        "critically damped spring follows it; where the spring leads during the next second, seen from the body, is "
        "the condition that the policy gets in the slices future_position and future_facing. No database is needed.",
        "inputs": {
            "state": "[n, 6] of the spring: velocity forward, left (m/s), their accelerations, facing (rad), its rate",
            "velocity": "[n, 2] m/s asked for: forward and left of the facing asked for",
            "facing": "[n, 1] rad, where to face now, in the same frame as root_yaw",
            "turn_rate": "[n, 1] rad/s at which that facing goes on turning",
            "root_yaw": "[n, 1] rad, yaw of the root now (after the control step)",
        },
        "outputs": {
            "condition": f"[n, {4 * count}] what goes into the observation",
            "next_state": "[n, 6] the spring's state for the next control step",
            "future": f"[n, {4 * count}] the same before it was normalised: x y (m) per horizon, then cos sin",
        },
        "begin": "state = [forward, left, 0, 0, facing - turn_rate / control_hz, turn_rate] of the first command: "
        "moving evenly for a control step already",
        "horizons_s": [float(h) for h in settings["horizons"]],
        "spring": {
            "halflife_s": float(settings["halflife"]),
            "y": _number(springs.rate(float(settings["halflife"]))),
            "decay": "decay(x, v, t): j = v + x y; x(t) = exp(-y t) (x + j t); v(t) = exp(-y t) (v - j y t)",
            "step_of_velocity": "d, a = decay(v_spring - velocity, a_spring, dt); v_spring = velocity + d; "
            "a_spring = a",
            "step_of_facing": "d, r = decay(wrap(yaw_spring - (facing - turn_rate dt)), rate_spring - turn_rate, dt); "
            "yaw_spring = wrap(facing + d); rate_spring = turn_rate + r",
        },
        "prediction": {
            "moments_s": [_number(t) for t in times],
            "velocity": "v(t) = velocity + decay(v_spring - velocity, a_spring, t)",
            "angle": "g(t) = facing - root_yaw + turn_rate t + decay(wrap(yaw_spring - facing), "
            "rate_spring - turn_rate, t)",
            "path": "trapezoids over the moments of (cos g vx - sin g vy, sin g vx + cos g vy), from (0, 0)",
            "order": [f"{axis} at {h:.3f} s" for h in settings["horizons"] for axis in ("x", "y")]
            + [f"{axis} of facing at {h:.3f} s" for h in settings["horizons"] for axis in ("cos", "sin")],
        },
        "normalisation": {
            "formula": "condition = (future - offset) / scale",
            "offset": _numbers(settings["offset"]),
            "scale": _numbers(settings["scale"]),
        },
        "example": command.example(settings),
    }


def _starts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Moments to begin from; a policy that was trained from the midst of clips knows no standing at attention."""
    return {
        name: {k: _numbers(v) if isinstance(v, Tensor) else v for k, v in state.items()}
        for name, state in settings["starts"].items()
    }


def _twin() -> dict[str, Any]:
    """How the twin is played by somebody else."""
    return {
        "file": "matching.npz",
        "meaning": "the policy is shown (observe) or adds to (residual) the pose of a motion-matching playhead",
        "arrays": "features [F, W] normalised, pose part first (pose_size), then the condition; valid [F]; clip [F]; "
        "first, count [clips]; dof_pos, dof_vel [F, D]; stride: rows per control step",
        "step": [
            "following = row + stride, or row where less than stride rows of the clip are left (ended)",
            "search when: ended, or not valid[following], or |condition - last condition| > jump, or `every` steps "
            "after the last search",
            "query = pose part of features[following], then the condition; best = the valid row with the smallest "
            "squared distance",
            "stay at following (unless ended or it is not valid) when best lies in the same clip within `near` rows, "
            "or |query - features[following]|^2 <= |query - features[best]|^2 + stay_bias; else go to best",
            "when it went to best: offset += dof_pos[clamp(row + stride)] - dof_pos[best], and offset_velocity "
            "likewise of dof_vel; every step: offset, offset_velocity = decay(offset, offset_velocity, 1 / control_hz) "
            "with y = 2 ln 2 / halflife",
            "reference_joint_positions = dof_pos[new row] + offset",
        ],
        "begin": "row = start_states.<name>.row + stride, offset 0",
        "implementation": "examples/steer_onnx.py",
    }


def _number(value: Any) -> float:
    return float(f"{float(value):.7g}")


def _numbers(values: Tensor) -> list[float]:
    return [_number(v) for v in values.tolist()]
