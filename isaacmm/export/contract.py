"""policy.json: what every number that goes into and comes out of policy.onnx means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from isaacmm import __version__, rotation
from isaacmm.character import CharacterModel
from isaacmm.envs.actions import ActionMap
from isaacmm.export import contract_command as commands
from isaacmm.learn.policy import Policy
from isaacmm.sim import registry

FORMAT = "isaacmm-policy"
VERSION = 1

_MEANING = {
    "root_height": "height of the root body's frame above the floor",
    "root_rotation": "root rotation with the heading taken out, R_heading^-1 R_root, as the first two columns of "
    "its matrix: m00 m10 m20 m01 m11 m21",
    "root_velocity": "velocity of the root body's frame origin, in the heading frame",
    "root_angular_velocity": "angular velocity of the root body, in the heading frame",
    "joint_positions": "hinge angles in the order of `dofs`; in tan_norm layout, for each joint with several hinges "
    "(in body order) the first two columns of its rotation matrix, then the angles of the single hinges",
    "joint_velocities": "hinge velocities in the order of `dofs`",
    "key_body_positions": "x y z of each body named in `items`, from the root's origin, in the heading frame",
    "command_direction": "where to go: cos and sin of (commanded yaw - yaw of the root)",
    "command_speed": "how fast to go along that direction",
    "reference_joint_positions": "hinge angles of the playing reference clip one control step ahead",
    "future_position": "where the command leads, x y per horizon, in the heading frame; normalised, see `command`",
    "future_facing": "where the command has it face, cos sin per horizon, in the heading frame; normalised, see "
    "`command`",
}


def contract(content: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The sidecar of a checkpoint's policy, as plain data.

    Args:
        content: of the checkpoint (with ``config`` and ``observation``).
        settings: how it is commanded (:func:`isaacmm.export.matching.describe`), for a policy of HumanoidMM.
    """
    config = content["config"]
    env = config["task"]["env"]
    character = CharacterModel.load(config["character"])
    told = {} if settings is None else commands.sections(settings, str(env.get("reference", "none")))
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"isaacmm {__version__}",
        "network": _network(content, character),
        "observation": _observation(content["observation"], Policy.from_checkpoint(content)),
        "action": _action(env, character),
        "dofs": _dofs(character),
        "default_pose": _default_pose(character),
        "bodies": _bodies(character),
        "drive": {
            "law": "torque = clamp(kp (target - q), -effort, effort) - kd dq",
            "units": "kp Nm/rad, kd Nm s/rad, effort Nm",
            "note": "kd is damping of the joint, outside the torque limit",
        },
        "rates": {
            "control_hz": float(env["control_hz"]),
            "physics_hz": float(env["physics_hz"]),
            "self_collision": bool(env.get("self_collision", False)),
            "note": "one inference per control step; its target is held for all physics steps in between",
        },
        "conventions": {
            "quaternion_order": "xyzw",
            "up": "+z",
            "forward": "+x",
            "left": "+y",
            "handedness": "right",
            "length": "m",
            "angle": "rad",
            "time": "s",
            "heading_frame": "at the root, z up, x where the root's +x axis points on the ground",
            "yaw_of_quaternion": "atan2(2 (w z + x y), 1 - 2 (y y + z z))",
        },
        **told,
        "training": _training(content),
        "how_to_use": _how_to_use(env, settings is not None),
    }


def to_text(sidecar: Mapping[str, Any]) -> str:
    """As JSON that a person can read: lists of numbers stay on one line."""
    return _json(sidecar, 0) + "\n"


def digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration, the same whatever the order of its keys."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


# ------------------------------------------------------------------------ parts
def _network(content: Mapping[str, Any], character: CharacterModel) -> dict[str, Any]:
    size = max(int(part["stop"]) for part in content["observation"])
    return {
        "file": "policy.onnx",
        "input": {"name": "obs", "dtype": "float32", "shape": ["n", size]},
        "output": {"name": "action", "dtype": "float32", "shape": ["n", character.skeleton.num_dofs]},
        "normalisation": "inside the network: feed raw observations",
        "deterministic": True,
        "memory": False,
    }


def _observation(slices: list[Mapping[str, Any]], policy: Policy) -> dict[str, Any]:
    """The parts; what the normaliser saw in training is there to check one's own observations against."""
    std = 1.0 / policy.scale
    return {
        "size": max(int(part["stop"]) for part in slices),
        "slices": [
            {
                "name": part["name"],
                "start": int(part["start"]),
                "stop": int(part["stop"]),
                "unit": part["unit"],
                "frame": part["frame"],
                "items": list(part["items"]),
                "meaning": _MEANING.get(str(part["name"]), ""),
                "mean_in_training": _numbers(policy.mean[int(part["start"]) : int(part["stop"])]),
                "std_in_training": _numbers(std[int(part["start"]) : int(part["stop"])]),
            }
            for part in slices
        ],
    }


def _action(env: Mapping[str, Any], character: CharacterModel) -> dict[str, Any]:
    actions = ActionMap(character.skeleton, str(env["action"]))
    residual = str(env.get("reference", "none")) == "residual"
    clip = [-1.0, 1.0] if actions.kind == "classic" else None
    formula = "offset + scale * " + ("clamp(action, -1, 1)" if clip else "action")
    return {
        "size": character.skeleton.num_dofs,
        "kind": actions.kind,
        "meaning": "targets of the PD drives, one per hinge in the order of `dofs`",
        "unit_of_target": "rad",
        "target": formula + (" + reference_joint_positions" if residual else ""),
        "clip": clip,
        "offset": _numbers(actions.offset),
        "scale": _numbers(actions.scale),
        "reference": str(env.get("reference", "none")),
        "limits": "targets are not clipped to the joint limits; a target beyond one presses against it",
    }


def _dofs(character: CharacterModel) -> list[dict[str, Any]]:
    s = character.skeleton
    return [
        {
            "name": name,
            "body": s.names[s.dof_bodies[d]],
            "axis": _numbers(s.dof_axes[d]),
            "limits": _numbers(s.dof_limits[d]),
            "kp": _number(character.kp[d]),
            "kd": _number(character.kd[d]),
            "effort": _number(character.effort[d]),
            "armature": _number(character.armature[d]),
        }
        for d, name in enumerate(s.dof_names)
    ]


def _default_pose(character: CharacterModel) -> dict[str, Any]:
    """The zero pose, standing on its soles."""
    s = character.skeleton
    origin, upright = torch.zeros(1, 3), rotation.identity(1)
    pos, rot = s.fk(origin, upright, s.dofs_to_joint_rot(torch.zeros(1, s.num_dofs)))
    height = -character.sole_points(pos, rot)[..., 2].min()
    return {
        "root_position": [0.0, 0.0, _number(height)],
        "root_rotation_xyzw": [0.0, 0.0, 0.0, 1.0],
        "dof_positions": [0.0] * s.num_dofs,
        "note": "standing upright, facing +x; an action of the radians kind is relative to it",
    }


def _bodies(character: CharacterModel) -> list[dict[str, Any]]:
    s = character.skeleton
    return [
        {
            "name": name,
            "parent": s.names[s.parents[i]] if s.parents[i] >= 0 else None,
            "offset": _numbers(s.offsets[i]),
            "rest_rotation_xyzw": _numbers(s.rest_rotations[i]),
            "mass": _number(character.body_mass[i]),
        }
        for i, name in enumerate(s.names)
    ]


def _training(content: Mapping[str, Any]) -> dict[str, Any]:
    config, counters = content["config"], content.get("counters", {})
    motion = config.get("motion", {})
    return {
        "task": config["task"]["name"],
        "reward_combine": config["train"]["params"]["config"].get("reward_combine"),
        "motions": str(motion.get("name", "")),
        "command": config["task"]["env"].get("command", {}),
        "iteration": int(counters.get("iteration", 0)),
        "samples": int(counters.get("samples", 0)),
        "seed": config.get("seed"),
        "simulator": registry.label(config),
        "config_sha256": digest(config),
    }


def _how_to_use(env: Mapping[str, Any], commanded: bool = False) -> list[str]:
    steps = [
        "read the character's state and build `obs` slice by slice, float32",
        "run the network: action = policy(obs); no normalisation, no noise",
        "target[i] = " + ("offset[i] + scale[i] * clamp(action[i], -1, 1)" if env["action"] == "classic"
                          else "action[i]") + " rad for dof i",
        "hold the targets for one control step (1 / control_hz), letting the PD drives act at physics_hz",
    ]  # fmt: skip
    reference = str(env.get("reference", "none"))
    if commanded:
        steps.insert(
            0,
            "run command.onnx once per control step (or compute it, see `command`), keep its next_state, and put its "
            "condition into the slices future_position and future_facing",
        )
    if reference != "none" and commanded:
        steps.insert(
            1,
            "play the twin by the same condition (see `twin`) and put its pose into reference_joint_positions",
        )
    elif reference != "none":
        steps.insert(
            1,
            "fill reference_joint_positions from a clip of the same character at the time of the next control "
            "step, and keep that time advancing",
        )
    if reference == "residual":
        at = next(i for i, step in enumerate(steps) if step.startswith("target[i]"))
        steps[at] = steps[at].replace(" rad for", " + reference_joint_positions[i] rad for")
    return steps


def _number(value: Tensor | float) -> float | None:
    """Seven digits, which is what float32 holds, and seven decimals; infinity becomes null."""
    number = float(value)
    return round(float(f"{number:.7g}"), 7) + 0.0 if abs(number) != float("inf") else None


def _numbers(values: Tensor) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _json(value: Any, depth: int) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list, tuple)) or len(flat) + depth <= 200:
        return flat
    inner, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict):
        rows = [f"{json.dumps(str(k), ensure_ascii=False)}: {_json(v, depth + 1)}" for k, v in value.items()]
        return "{" + inner + ("," + inner).join(rows) + end + "}"
    if all(not isinstance(v, (dict, list, tuple)) for v in value) and not any(" " in str(v) for v in value):
        return flat
    return "[" + inner + ("," + inner).join(_json(v, depth + 1) for v in value) + end + "]"
