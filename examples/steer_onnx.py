"""Run an exported policy in MuJoCo with onnxruntime alone: no torch, nothing of the trainer.

    python examples/steer_onnx.py runs/my_run/policy.json --mjcf isaacmm/assets/humanoid.xml --seconds 20

It reads policy.json, and beside it policy.onnx, command.onnx and, for a policy that is shown its twin, matching.npz.
Everything here is what a game engine has to do in its own language: build the observation, make commands into the
condition, run the network, and drive the joints. The command script at the end is the part to replace by a gamepad.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import mujoco
import numpy as np
import onnxruntime

Array = np.ndarray


# ------------------------------------------------------------------------------------------- rotations (xyzw)
def yaw_of(q: Array) -> float:
    x, y, z, w = q
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def matrix(q: Array) -> Array:
    out = np.empty(9)
    mujoco.mju_quat2Mat(out, np.array([q[3], q[0], q[1], q[2]], dtype=np.float64))
    return out.reshape(3, 3)


def two_columns(m: Array) -> Array:
    """First two columns of a rotation matrix: m00 m10 m20 m01 m11 m21."""
    return m[:, :2].T.reshape(-1)


# ------------------------------------------------------------------------------------------------- the twin
class Twin:
    """Motion matching: the pose of the clips that answers the condition (`twin` in policy.json)."""

    def __init__(self, path: Path, row: int, dt: float) -> None:
        with np.load(path) as file:
            self.d = {key: file[key] for key in file.files}
        self.pose_size, self.stride = int(self.d["pose_size"]), int(self.d["stride"])
        self.every, self.dt = int(self.d["every"]), dt
        self.allowed = np.flatnonzero(self.d["valid"])
        self.table = self.d["features"][self.allowed]
        self.row, self.timer, self.last = row + self.stride, 0, None
        self.offset = np.zeros(self.d["dof_pos"].shape[1])
        self.velocity = np.zeros_like(self.offset)

    def pose(self) -> Array:
        """Hinge angles of the next control step."""
        return self.d["dof_pos"][self.row] + self.offset

    def step(self, condition: Array) -> None:
        d, before = self.d, self.row
        clip = d["clip"][before]
        end = d["first"][clip] + d["count"][clip] - 1
        ended = end - before < self.stride
        here = before if ended else before + self.stride
        self.timer -= 1
        jump = self.last is not None and np.linalg.norm(condition - self.last) > float(d["jump"])
        self.last, self.row, jumped = condition, here, False
        if self.timer < 0 or ended or jump or not d["valid"][here]:
            query = np.concatenate([d["features"][here, : self.pose_size], condition])
            cost = ((self.table - query) ** 2).sum(1)
            best = int(self.allowed[cost.argmin()])
            near = d["clip"][best] == d["clip"][here] and abs(best - here) <= int(d["near"])
            staying = ((d["features"][here] - query) ** 2).sum()
            good_enough = near or staying <= cost.min() + float(d["stay_bias"])
            jumped = not (good_enough and not ended and d["valid"][here])
            self.row = best if jumped else here
            self.timer = self.every - 1
        if jumped:  # the pose does not jump: what it would have jumped by fades
            old = min(before + self.stride, end)
            self.offset = self.offset + d["dof_pos"][old] - d["dof_pos"][self.row]
            self.velocity = self.velocity + d["dof_vel"][old] - d["dof_vel"][self.row]
        y = 2 * math.log(2) / float(d["halflife"])
        j, fade = self.velocity + self.offset * y, math.exp(-y * self.dt)
        self.offset, self.velocity = fade * (self.offset + j * self.dt), fade * (self.velocity - j * y * self.dt)


# ----------------------------------------------------------------------------------------------- the character
class Player:
    """A policy in control of one character in MuJoCo.

    Args:
        sidecar: policy.json.
        mjcf: the character's model.
        start: key of `start_states` to begin with.
    """

    def __init__(self, sidecar: Path, mjcf: Path, start: str = "walk") -> None:
        self.spec = json.loads(sidecar.read_text(encoding="utf-8"))
        self.dt = 1.0 / self.spec["rates"]["control_hz"]
        self.policy = _session(sidecar.with_name(self.spec["network"]["file"]))
        self.command = _session(sidecar.with_name(self.spec["command"]["file"]))
        self._build_model(mjcf)
        begin = self.spec["start_states"][start]
        self._place(begin)
        self.state = np.array([begin["spring_state"]], dtype=np.float32)
        reference = self.spec["action"]["reference"]
        self.twin = None
        if reference != "none":
            self.twin = Twin(sidecar.with_name(self.spec["twin"]["file"]), begin["row"], self.dt)
        self.residual = reference == "residual"
        self.condition = np.zeros(0)
        self._first = True

    def _build_model(self, mjcf: Path) -> None:
        """As in training: bodies touch the floor, not each other (unless trained otherwise)."""
        model = mujoco.MjSpec.from_file(str(mjcf))
        model.option.timestep = 1.0 / self.spec["rates"]["physics_hz"]
        for geom in model.geoms:
            if geom.contype or geom.conaffinity:
                in_world = geom.parent.name == "world"
                geom.contype = 1 if in_world or self.spec["rates"].get("self_collision") else 0
                geom.conaffinity = 0 if in_world else 1
        self.model = model.compile()
        self.data = mujoco.MjData(self.model)
        self.substeps = round(self.dt / self.model.opt.timestep)
        joints = [self.model.joint(dof["name"]).id for dof in self.spec["dofs"]]
        self.q, self.v = self.model.jnt_qposadr[joints], self.model.jnt_dofadr[joints]
        servo = {int(self.model.actuator_trnid[a, 0]): a for a in range(self.model.nu)}
        self.servos = np.array([servo[j] for j in joints])
        bodies = self.spec["bodies"]
        self.body = {b["name"]: self.model.body(b["name"]).id for b in bodies}
        self.rest = {b["name"]: matrix(np.array(b["rest_rotation_xyzw"])) for b in bodies}
        self.parent = {b["name"]: b["parent"] for b in bodies}
        self.root = bodies[0]["name"]
        free = self.model.body_jntadr[self.body[self.root]]
        self.root_q, self.root_v = int(self.model.jnt_qposadr[free]), int(self.model.jnt_dofadr[free])

    def _place(self, begin: dict) -> None:
        q, v, rot = self.root_q, self.root_v, np.array(begin["root_rotation_xyzw"])
        self.data.qpos[q : q + 3] = begin["root_position"]
        self.data.qpos[q + 3 : q + 7] = rot[[3, 0, 1, 2]]
        self.data.qpos[self.q] = begin["dof_positions"]
        self.data.qvel[v : v + 3] = begin["root_velocity"]
        self.data.qvel[v + 3 : v + 6] = matrix(rot).T @ np.array(begin["root_angular_velocity"])
        self.data.qvel[self.v] = begin["dof_velocities"]
        self.data.ctrl[self.servos] = begin["dof_positions"]
        mujoco.mj_kinematics(self.model, self.data)

    # ------------------------------------------------------------------ what it knows
    @property
    def root_pos(self) -> Array:
        return self.data.qpos[self.root_q : self.root_q + 3].copy()

    @property
    def root_rot(self) -> Array:
        """xyzw."""
        return self.data.qpos[self.root_q + 3 : self.root_q + 7][[1, 2, 3, 0]].copy()

    @property
    def yaw(self) -> float:
        return yaw_of(self.root_rot)

    def observation(self) -> Array:
        """The slices of `observation` in policy.json, float32 [1, O]."""
        rot, yaw = matrix(self.root_rot), self.yaw
        c, s = math.cos(yaw), math.sin(yaw)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])  # from the world into the heading frame
        qvel, v = self.data.qvel, self.root_v
        place = {name: self.data.xpos[i] for name, i in self.body.items()}
        half = len(self.condition) // 2
        parts = {
            "root_height": lambda part: self.root_pos[2:],
            "root_rotation": lambda part: two_columns(turn @ rot),
            "root_velocity": lambda part: turn @ qvel[v : v + 3],
            "root_angular_velocity": lambda part: turn @ rot @ qvel[v + 3 : v + 6],
            "joint_positions": self._joints,
            "joint_velocities": lambda part: qvel[self.v],
            "key_body_positions": lambda part: np.concatenate(
                [turn @ (place[name] - place[self.root]) for name in part["items"]]
            ),
            "future_position": lambda part: self.condition[:half],
            "future_facing": lambda part: self.condition[half:],
            "reference_joint_positions": lambda part: self.twin.pose() if self.twin else np.zeros(0),
        }
        obs = np.zeros((1, self.spec["observation"]["size"]), dtype=np.float32)
        for part in self.spec["observation"]["slices"]:
            obs[0, part["start"] : part["stop"]] = parts[part["name"]](part)
        return obs

    def _joints(self, part: dict) -> Array:
        angles = self.data.qpos[self.q]
        if part["stop"] - part["start"] == len(angles):
            return angles
        by_body: dict[str, list[int]] = {}
        for d, dof in enumerate(self.spec["dofs"]):
            by_body.setdefault(dof["body"], []).append(d)
        balls = [two_columns(self._local(body)) for body, dofs in by_body.items() if len(dofs) > 1]
        hinges = [angles[dofs] for dofs in by_body.values() if len(dofs) == 1]
        return np.concatenate([*balls, *hinges])

    def _local(self, body: str) -> Array:
        """Rotation of a joint: of its body against the parent, without the rest rotation."""
        mine, theirs = (self.data.xmat[self.body[name]].reshape(3, 3) for name in (body, self.parent[body]))
        return self.rest[body].T @ theirs.T @ mine

    # ------------------------------------------------------------------ one control step
    def step(self, velocity: tuple[float, float], facing: float, turn_rate: float = 0.0) -> None:
        """Go ``velocity`` (m/s forward, left), face ``facing`` (rad, world) and keep turning."""
        feed = {
            "state": self.state, "velocity": [velocity], "facing": [[facing]], "turn_rate": [[turn_rate]],
            "root_yaw": [[self.yaw]],
        }  # fmt: skip
        feed = {name: np.array(value, dtype=np.float32) for name, value in feed.items()}
        condition, self.state = self.command.run(["condition", "next_state"], feed)
        self.condition = condition[0]
        if self.twin is not None and not self._first:
            self.twin.step(self.condition)
        elif self.twin is not None:
            self.twin.last = self.condition
        self._first = False
        action = self.policy.run(["action"], {"obs": self.observation()})[0][0]
        rule = self.spec["action"]
        if rule["clip"]:
            action = np.clip(action, *rule["clip"])
        target = np.array(rule["offset"]) + np.array(rule["scale"]) * action
        if self.residual and self.twin is not None:
            target = target + self.twin.pose()
        self.data.ctrl[self.servos] = target
        mujoco.mj_step(self.model, self.data, self.substeps)
        mujoco.mj_kinematics(self.model, self.data)  # positions of the moment the step ended in


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def script(time: float) -> tuple[tuple[float, float], float, float]:
    """What to do when: two circles, left about, then right about. (velocity, facing, turn rate)"""
    rate, half = 0.5, 2 * math.pi / 0.5
    time = time % (2 * half)
    facing = rate * time if time < half else rate * (2 * half - time)
    return (1.2, 0.0), facing, rate if time < half else -rate


def main() -> None:
    parser = argparse.ArgumentParser(description="Run an exported policy with onnxruntime and MuJoCo.")
    parser.add_argument("sidecar", type=Path, help="policy.json, or the run folder it lies in")
    parser.add_argument("--mjcf", type=Path, default=Path(__file__).parent.parent / "isaacmm/assets/humanoid.xml")
    parser.add_argument("--seconds", type=float, default=20.0)
    words = parser.parse_args()
    sidecar = words.sidecar / "policy.json" if words.sidecar.is_dir() else words.sidecar
    try:
        known = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{sidecar} cannot be read: {error}; give the policy.json beside an exported policy.onnx")
    if "command" not in known:
        parser.error(f"{sidecar}: this policy follows no commands; one of task=HumanoidMM does")
    player = Player(sidecar, words.mjcf)
    way = [player.root_pos]
    for t in range(round(words.seconds / player.dt)):
        player.step(*script(t * player.dt))
        way.append(player.root_pos)
        if way[-1][2] < 0.5:
            print(f"fell after {(t + 1) * player.dt:.1f} s")
            break
    gone = np.linalg.norm(np.diff(np.array(way)[:, :2], axis=0), axis=1).sum()
    print(f"went {gone:.1f} m in {(len(way) - 1) * player.dt:.1f} s, to {np.round(way[-1][:2], 2).tolist()}")


if __name__ == "__main__":
    main()
