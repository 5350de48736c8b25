"""Play learned motion matching with onnxruntime and numpy alone, and write BVH: no torch, nothing of the trainer.

    python examples/learned_mm_onnx.py runs/my_run/onnx/learned_mm.json --seconds 20 --out walk.bvh

It reads learned_mm.json and the three networks beside it. Everything here is what a game engine has to do in its own
language: a command becomes the path of a spring, the projector finds the moment that answers it, the stepper goes on
from there, the decompressor makes poses, and jumps are inertialized. Feet that stand are told (`contact`); holding
them to the floor is left to the engine's own IK. The command script at the end is the part to replace by a gamepad.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Array = np.ndarray


# -------------------------------------------------------------------------------------------------- small things
def decay(x: Any, v: Any, halflife: float, t: Any) -> tuple[Any, Any]:
    """Offset and velocity of a critically damped spring after t seconds on its way to zero."""
    y = 2 * math.log(2) / halflife
    j, fade = v + x * y, np.exp(-y * t)
    return fade * (x + j * t), fade * (v - j * y * t)


def wrap(angle: Any) -> Any:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def turned(v: Array, angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([c * v[0] - s * v[1], s * v[0] + c * v[1]])


def shortened(v: Array, most: float) -> Array:
    return v * min(1.0, most / max(float(np.linalg.norm(v)), 1e-9))


def about(axis: Array, angle: float) -> Array:
    """Rotation matrix about a unit axis (Rodrigues)."""
    x, y, z = axis
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * (k @ k)


def from_vector(v: Array) -> Array:
    angle = float(np.linalg.norm(v))
    return np.eye(3) if angle < 1e-9 else about(v / angle, angle)


def to_vector(m: Array) -> Array:
    """Rotation vector of a matrix, of less than half a turn."""
    v = 0.5 * np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    sine, cosine = float(np.linalg.norm(v)), 0.5 * (np.trace(m) - 1)
    return v if sine < 1e-9 else v * (math.atan2(sine, cosine) / sine)


def from_columns(c: Array) -> Array:
    """Rotation matrix of two columns that need not be quite orthonormal."""
    x = c[:3] / np.linalg.norm(c[:3])
    y = c[3:] - (x @ c[3:]) * x
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def from_quaternion(q: Array) -> Array:
    x, y, z, w = q
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


# ------------------------------------------------------------------------------------------- the command's spring
class CommandSpring:
    """Velocity (forward, left of the facing) and facing that follow what is asked for."""

    def __init__(self, horizons: list[float], halflife: float) -> None:
        self.halflife = halflife
        self.velocity, self.acceleration, self.yaw, self.rate = np.zeros(2), np.zeros(2), 0.0, 0.0
        ends = [0.0, *horizons]
        self.times = np.array([0.0] + [a + (b - a) * i / 4 for a, b in zip(ends, horizons, strict=False)
                                       for i in (1, 2, 3, 4)])  # fmt: skip

    def step(self, velocity: Array, facing: float, turn_rate: float, dt: float) -> None:
        gap, self.acceleration = decay(self.velocity - velocity, self.acceleration, self.halflife, dt)
        self.velocity = velocity + gap
        gap, rate = decay(wrap(self.yaw - facing), self.rate - turn_rate, self.halflife, dt)
        self.yaw, self.rate = wrap(facing + turn_rate * dt + gap), turn_rate + rate

    def ahead(self, velocity: Array, facing: float, turn_rate: float, yaw: float) -> Array:
        """x y per horizon, then cos sin per horizon, seen from a character that faces ``yaw``."""
        t = self.times
        gap = self.velocity - velocity
        v = velocity + decay(gap[None], self.acceleration[None], self.halflife, t[:, None])[0]
        turn = decay(wrap(self.yaw - facing), self.rate - turn_rate, self.halflife, t)[0]
        angle = facing - yaw + turn_rate * t + turn
        c, s = np.cos(angle), np.sin(angle)
        along = np.stack([c * v[:, 0] - s * v[:, 1], s * v[:, 0] + c * v[:, 1]], axis=1)
        path = np.cumsum(0.5 * (along[1:] + along[:-1]) * np.diff(t)[:, None], axis=0)
        return np.concatenate([path[3::4].ravel(), np.stack([c, s], axis=1)[4::4].ravel()])


# --------------------------------------------------------------------------------------------------- the character
class Player:
    """One character that goes where it is told.

    Args:
        sidecar: learned_mm.json.
        start: key of `starts` to begin with.
    """

    def __init__(self, sidecar: Path, start: str = "stand") -> None:
        self.spec = spec = json.loads(sidecar.read_text(encoding="utf-8"))
        self.rules = spec["play"]
        self.dt = 1.0 / self.rules["rate_hz"]
        self.net = {name: _session(sidecar.with_name(n["file"])) for name, n in spec["networks"].items()}
        self.parts = {p["name"]: slice(p["start"], p["stop"]) for p in spec["pose"]}
        f = spec["features"]
        self.count, self.pose_size = f["size"], f["pose_size"]
        self.offset, self.scale = (np.array(f[k])[self.pose_size :] for k in ("offset", "scale"))
        self.low, self.high = np.array([d["limits"] for d in spec["dofs"]]).T
        self.state = np.array([spec["starts"][start]["state"]], dtype=np.float32)
        self.pose = self._decompress()
        self.every = max(1, round(self.rules["search_seconds"] / self.dt))
        self.alone = 0.0  # s since the last projection that was gone to
        self.timer, self.last, self.jumps = 0, self.state[0, self.pose_size : self.count], 0
        self.spring = CommandSpring(f["horizons_s"], self.rules["command_halflife_s"])
        self.spring.velocity, self.spring.rate = self._of("velocity").copy(), float(self._of("turn_rate")[0])
        self.pos, self.yaw, self.point = np.zeros(2), 0.0, np.zeros(2)
        self.drift = np.zeros(3)
        # what a jump would have made the pose jump by: hinges, hip position, hip rotation
        self.gap, self.gap_rate = np.zeros((2, len(spec["dofs"]) + 6))

    def step(self, velocity: tuple[float, float], facing: float, turn_rate: float = 0.0) -> None:
        """Go ``velocity`` (m/s forward, left), face ``facing`` (rad, world) and keep turning."""
        asked, halflife, dt = np.array(velocity), self.rules["halflife_s"], self.dt
        self.spring.step(asked, facing, turn_rate, dt)
        path = (self.spring.ahead(asked, facing, turn_rate, self.yaw) - self.offset) / self.scale
        before = self.pose
        self.state = self.net["stepper"].run(None, {"state": self.state})[0]
        old = self.pose = self._decompress()
        jumped = self._search(path)
        # the ground goes on as the old motion did; the new one's velocity takes over gradually
        way, turn = (0.5 * dt * (before[self.parts[k]] + old[self.parts[k]]) for k in ("velocity", "turn_rate"))
        self._travel(way + dt * self.drift[:2], float(turn[0] + dt * self.drift[2]))
        self.drift = self.drift * 2.0 ** (-dt / halflife)
        self.gap, self.gap_rate = decay(self.gap, self.gap_rate, halflife, dt)
        if jumped:
            self.pose = self._decompress()
            self.drift += np.concatenate([old[self.parts[k]] - self._of(k) for k in ("velocity", "turn_rate")])
            apart = {k: old[self.parts[k]] - self._of(k) for k in self.parts}
            was, now = (from_columns(p[self.parts["hip_rotation"]]) for p in (old, self.pose))
            self.gap += np.concatenate([apart["dof_position"], apart["hip_position"], to_vector(was @ now.T)])
            self.gap_rate += np.concatenate([apart[k] for k in ("dof_velocity", "hip_velocity", "hip_turn")])

    def _search(self, path: Array) -> bool:
        """Ask the projector where to be, if it is time to; whether it was another moment than this."""
        rules = self.rules
        self.timer -= 1
        self.alone += self.dt
        due = self.timer < 0 or np.linalg.norm(path - self.last) > rules["jump"]
        self.last = path
        if not due:
            return False
        self.timer = self.every - 1
        here = self.state[0, : self.count]
        query = np.concatenate([here[: self.pose_size], path]).astype(np.float32)
        found = self.net["projector"].run(None, {"query": query[None]})[0]
        x = found[0, : self.count]
        near = ((x - here) ** 2).sum() <= rules["near"]
        good = near or ((query - here) ** 2).sum() <= ((query - x) ** 2).sum() + rules["stay_bias"]
        if good and self.alone < rules["patience_s"] - 1e-4:  # a stepper that is alone for long goes astray
            return False
        self.state, self.alone = found, 0.0
        self.jumps += 1
        return True

    def _travel(self, way: Array, turn: float) -> None:
        """The ground point moves as the motion says, and is led gently to where the spring is."""
        lead, dt = self.rules["leading"], self.dt
        self.pos, self.yaw = self.pos + turned(way, self.yaw), wrap(self.yaw + turn)
        self.point = self.point + turned(self.spring.velocity, self.spring.yaw) * dt
        gap, aside = self.point - self.pos, wrap(self.spring.yaw - self.yaw)
        speed = float(np.linalg.norm(way))
        step = shortened(gap * (1 - 2 ** (-dt / lead["position_halflife_s"])), lead["share"] * speed)
        most = lead["share"] * abs(turn) + lead["turning"] * speed
        twist = float(np.clip(aside * (1 - 2 ** (-dt / lead["facing_halflife_s"])), -most, most))
        self.pos, self.yaw = self.pos + step, wrap(self.yaw + twist)
        self.point = self.pos + shortened(gap - step, lead["clamp_distance_m"])
        reach = lead["clamp_angle_rad"]
        self.spring.yaw = wrap(self.yaw + float(np.clip(aside - twist, -reach, reach)))

    # ------------------------------------------------------------------ what it looks like
    @property
    def dofs(self) -> Array:
        """Hinge angles, rad, within their limits."""
        return np.clip(self._of("dof_position") + self.gap[:-6], self.low, self.high)

    @property
    def root(self) -> tuple[Array, Array]:
        """Place (m) and rotation (matrix) of the hips in the world."""
        hip = self._of("hip_position") + self.gap[-6:-3]
        turn = from_vector(self.gap[-3:]) @ from_columns(self._of("hip_rotation"))
        about_z = about(np.array([0.0, 0.0, 1.0]), self.yaw)
        return np.array([*self.pos, 0.0]) + about_z @ hip, about_z @ turn

    @property
    def standing(self) -> list[str]:
        """Feet that stand."""
        return [f for f, on in zip(self.spec["feet"], self._of("contact") > 0, strict=True) if on]

    def _decompress(self) -> Array:
        return self.net["decompressor"].run(None, {"state": self.state})[0][0].astype(np.float64)

    def _of(self, name: str) -> Array:
        return self.pose[self.parts[name]]

    def frame(self) -> tuple[Array, list[Array]]:
        """Place of the root (m) and rotations of all bodies against their parents (matrices), z up."""
        place, root = self.root
        rotations = {b["name"]: from_quaternion(np.array(b["rest_rotation_xyzw"])) for b in self.spec["bodies"]}
        for dof, angle in zip(self.spec["dofs"], self.dofs, strict=True):
            rotations[dof["body"]] = rotations[dof["body"]] @ about(np.array(dof["axis"]), float(angle))
        local = list(rotations.values())
        return place, [root, *local[1:]]


# ------------------------------------------------------------------------------------------------------------ BVH
#: From x forward, y left, z up (m) to x left, y up, z forward (cm).
AXES = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


def euler_zxy(m: Array) -> tuple[float, ...]:
    """Degrees of Z, then X, then Y (each about the axis turned by those before)."""
    return tuple(math.degrees(a) for a in (
        math.atan2(-m[0, 1], m[1, 1]), math.asin(max(-1.0, min(1.0, m[2, 1]))), math.atan2(-m[2, 0], m[2, 2]),
    ))  # fmt: skip


def write_bvh(path: Path, bodies: list[dict], frames: list[tuple[Array, list[Array]]], dt: float) -> None:
    """``frames`` of :meth:`Player.frame`."""
    lines, order = ["HIERARCHY"], []

    def joint(name: str, depth: int) -> None:
        index = next(i for i, b in enumerate(bodies) if b["name"] == name)
        order.append(index)
        pad, children = "  " * depth, [b["name"] for b in bodies if b["parent"] == name]
        offset = 100 * AXES @ np.array(bodies[index]["offset"]) if depth else np.zeros(3)
        channels = "Zrotation Xrotation Yrotation"
        channels = f"3 {channels}" if depth else f"6 Xposition Yposition Zposition {channels}"
        lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {name}")
        lines.extend([pad + "{", f"{pad}  OFFSET {_row(offset)}", f"{pad}  CHANNELS {channels}"])
        for child in children:
            joint(child, depth + 1)
        if not children:
            lines.extend([f"{pad}  End Site", pad + "  {", f"{pad}    OFFSET 0 0 5", pad + "  }"])
        lines.append(pad + "}")

    joint(bodies[0]["name"], 0)
    lines += ["MOTION", f"Frames: {len(frames)}", f"Frame Time: {dt:.7f}"]
    for place, rotations in frames:
        angles = [a for i in order for a in euler_zxy(AXES @ rotations[i] @ AXES.T)]
        lines.append(_row([*(100 * AXES @ place), *angles]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(values: Iterable[float]) -> str:
    return " ".join(f"{float(v):.5f}" for v in values)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def script(time: float) -> tuple[tuple[float, float], float, float]:
    """What to do when: stand, walk a circle to the left, run straight on, stop. (velocity, facing, turn rate)"""
    rate = 0.5
    if time < 1.0:
        return (0.0, 0.0), 0.0, 0.0
    if time < 10.0:
        return (1.2, 0.0), rate * (time - 1.0), rate
    speed = 2.8 if time < 15.0 else 0.0
    return (speed, 0.0), rate * 9.0, 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Play learned motion matching with onnxruntime and numpy.")
    parser.add_argument("sidecar", type=Path, help="learned_mm.json")
    parser.add_argument("--seconds", type=float, default=18.0)
    parser.add_argument("--out", type=Path, default=Path("learned_mm.bvh"))
    words = parser.parse_args()
    player = Player(words.sidecar)
    frames, way = [], [player.pos]
    for t in range(round(words.seconds / player.dt)):
        player.step(*script(t * player.dt))
        frames.append(player.frame())
        way.append(player.pos)
    write_bvh(words.out, player.spec["bodies"], frames, player.dt)
    gone = np.linalg.norm(np.diff(np.array(way), axis=0), axis=1).sum()
    print(f"{words.out}: {len(frames)} frames, {gone:.1f} m, {player.jumps} jumps")


if __name__ == "__main__":
    main()
