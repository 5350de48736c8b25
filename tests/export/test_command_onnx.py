"""A policy that follows commands can be used with what lies beside it: no torch, no trainer, no clips in mind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from isaacmm import rotation
from isaacmm.envs.humanoid_mm import PHASES, HumanoidMM
from isaacmm.evaluate.session import load_policy_checkpoint
from isaacmm.export import command, matching
from isaacmm.export import onnx as exporter
from isaacmm.export.graph import session
from isaacmm.learn.policy import Policy
from isaacmm.state import ResetState
from tests.evaluate.made import untrained

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "steer_onnx.py"
CLIPS = ("idle", "walk_1.0", "walk_1.4", "turn_left_90")
SETTINGS: dict[str, Any] = {
    "horizons": [0.25, 0.5, 1.0],
    "halflife": 0.3,
    "dt": 1 / 30,
    "offset": torch.linspace(-0.3, 0.5, 12),
    "scale": torch.linspace(0.4, 2.0, 12),
    "starts": {},
}


def few_clips(folder: Path) -> Path:
    """A motion yaml of some of the project's clips."""
    path = folder / "few.yaml"
    path.write_text("clips:\n" + "".join(f"  - {{file: motions/{name}.npz, weight: 1.0}}\n" for name in CLIPS))
    return path


@pytest.fixture(scope="module", params=["none", "residual"])
def content(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("mm")
    _, path = untrained(
        folder, task="HumanoidMM", motion=few_clips(folder), task__env__reference=request.param, num_envs=2,
        train__params__config__minibatch_size=16, task__env__dof_observation="tan_norm", task__env__action="classic",
    )  # fmt: skip
    loaded = load_policy_checkpoint(path)
    loaded["model"]["a2c_network.mu.weight"] *= 3.0  # a policy that does something
    # soles that lie exactly on the floor touch it or not by a rounding of the last digit
    loaded["matching"]["starts"]["walk"]["root_position"][2] += 0.01
    return loaded


def test_the_graph_computes_what_the_trainer_does() -> None:
    model = command.build(SETTINGS)
    onnx.checker.check_model(model, full_check=True)
    assert command.compare(model.SerializeToString(), SETTINGS) < 1e-4
    wrong = {**SETTINGS, "halflife": 0.31}
    assert command.compare(model.SerializeToString(), wrong) > 1e-3


def test_a_command_in_a_loop_is_the_spring_of_the_environment() -> None:
    """Many steps with the state handed on, through the turn at pi."""
    running = session(command.build(SETTINGS).SerializeToString())
    spring = matching.spring(SETTINGS, 1)
    state = np.zeros((1, 6), dtype=np.float32)
    facing = 3.0
    velocity, turn = torch.tensor([[1.5, -0.3]]), torch.tensor([0.9])
    for _ in range(40):
        facing += 0.9 / 30
        feed = {"velocity": [[1.5, -0.3]], "facing": [[facing]], "turn_rate": [[0.9]], "root_yaw": [[facing - 0.2]]}
        arrays = {k: np.array(v, dtype=np.float32) for k, v in feed.items()}
        state, future = running.run(["next_state", "future"], {"state": state, **arrays})
        goal = torch.tensor([facing])
        spring.step(velocity, goal - turn / 30, turn, 1 / 30)
        position, _ = spring.predict(velocity, goal, turn, goal - 0.2)
    np.testing.assert_allclose(state[0, :2], spring.velocity[0], atol=1e-4)
    assert abs(np.exp(1j * state[0, 4]) - np.exp(1j * float(spring.yaw[0]))) < 1e-4
    np.testing.assert_allclose(future[0, :6], position.flatten(), atol=1e-4)


def test_the_example_in_the_sidecar_can_be_computed_by_hand(content: dict[str, Any], tmp_path: Path) -> None:
    """With the formulas written there, in numpy."""
    made = exporter.export(content, tmp_path / "policy.onnx")
    d = json.loads(made.sidecar.read_text())["command"]
    y, dt = d["spring"]["y"], content["matching"]["dt"]
    given = d["example"]["inputs"]
    vx, vy, ax, ay, yaw, rate = given["state"]
    goal, (facing,), (turn,), (root,) = (given[k] for k in ("velocity", "facing", "turn_rate", "root_yaw"))

    def decay(x: Any, v: Any, t: Any) -> tuple[Any, Any]:
        j = v + x * y
        return np.exp(-y * t) * (x + j * t), np.exp(-y * t) * (v - j * y * t)

    def wrap(a: float) -> float:
        return (a + np.pi) % (2 * np.pi) - np.pi

    moves = [decay(v - g, a, dt) for v, a, g in ((vx, ax, goal[0]), (vy, ay, goal[1]))]
    off, drift = decay(wrap(yaw - (facing - turn * dt)), rate - turn, dt)
    t = np.array(d["prediction"]["moments_s"])
    v = [g + decay(x, a, t)[0] for g, (x, a) in zip(goal, moves, strict=True)]
    angle = facing - root + turn * t + decay(wrap(off), drift, t)[0]
    along = np.stack((np.cos(angle) * v[0] - np.sin(angle) * v[1], np.sin(angle) * v[0] + np.cos(angle) * v[1]), 1)
    path = np.cumsum(0.5 * (along[1:] + along[:-1]) * np.diff(t)[:, None], axis=0)
    at = [int(np.abs(t - h).argmin()) for h in d["horizons_s"]]
    facings = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    future = np.concatenate([path[i - 1] for i in at] + [facings[i] for i in at])
    np.testing.assert_allclose(future, d["example"]["outputs"]["future"], atol=1e-4)
    n = d["normalisation"]
    condition = (future - n["offset"]) / n["scale"]
    np.testing.assert_allclose(condition, d["example"]["outputs"]["condition"], atol=1e-3)
    assert len(d["prediction"]["order"]) == len(condition)


def test_what_lies_beside_the_policy(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = content["config"]["task"]["env"]["reference"] != "none"
    if not shown:  # then the clips are not needed
        monkeypatch.setattr(matching, "environment", lambda _: pytest.fail("read the clips"))
    made = exporter.export(content, tmp_path / "policy.onnx")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(["command.onnx", "policy.json", "policy.onnx", *(["matching.npz"] if shown else [])])
    assert "command.onnx" in made.summary()
    sidecar = json.loads(made.sidecar.read_text())
    assert ("twin" in sidecar) == shown
    assert any("command.onnx" in step for step in sidecar["how_to_use"])
    meanings = {part["name"]: part["meaning"] for part in sidecar["observation"]["slices"]}
    assert meanings["future_position"] and meanings["future_facing"]


def test_an_older_checkpoint_without_the_settings_takes_them_from_the_clips(content: dict[str, Any]) -> None:
    old = {k: v for k, v in content.items() if k != "matching"}
    again = matching.of_checkpoint(old)
    assert again is not None
    torch.testing.assert_close(again["offset"], content["matching"]["offset"])
    torch.testing.assert_close(again["scale"], content["matching"]["scale"])


#: Control steps compared: an untrained character is down soon after.
STEPS = 8
_ALONE = """
STEPS = 8
import sys
sys.modules["torch"] = sys.modules["isaacmm"] = None  # importing them is an error
sys.path.insert(0, sys.argv[1])
import numpy as np
from pathlib import Path
from steer_onnx import Player
player = Player(Path(sys.argv[2]), Path(sys.argv[3]))
dt, turn = player.dt, 0.4
player.state = np.array([[1.1, 0, 0, 0, -turn * dt, turn]], dtype=np.float32)
seen, way = [], []
for t in range(STEPS):
    player.step((1.1 if t < 4 else 0.5, 0.1 if t >= 4 else 0.0), turn * t * dt, turn)
    seen.append(player.condition)
    way.append(np.concatenate([player.root_pos, player.root_rot, player.data.qpos[player.q]]))
np.savez(sys.argv[4], condition=seen, way=way)
"""


def test_the_example_walks_as_the_environment_does(content: dict[str, Any], tmp_path: Path) -> None:
    """Closed loop in a process without torch, from the exported files alone."""
    made = exporter.export(content, tmp_path / "policy.onnx")
    env = matching.environment(content)
    assert isinstance(env, HumanoidMM)
    mjcf = str(env.character.mjcf)
    words = [sys.executable, "-c", _ALONE, str(EXAMPLE.parent), str(made.sidecar), mjcf, str(tmp_path / "alone.npz")]
    subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120)
    alone = np.load(tmp_path / "alone.npz")

    begin = content["matching"]["starts"]["walk"]
    parts = ("root_position", "root_rotation_xyzw", "root_velocity", "root_angular_velocity", "dof_positions",
             "dof_velocities")  # fmt: skip
    env.reset(seed=0)
    ids, turn = torch.zeros(1, dtype=torch.int64), torch.tensor([0.4])
    env.simulator.reset(ids, ResetState(*(begin[name][None] for name in parts)))
    state = env.simulator.state()
    env.history = env.observe(state)[:, None].repeat(1, env.amp_frames, 1)
    env.root_yaw = rotation.yaw(state.root_rot)
    env.steps[:] = 0
    env.command.leash = 0.0
    env.command.source = Told(env.dt)
    env.command.reset(ids, torch.zeros(1), torch.tensor([[1.1, 0.0]]), turn, ids)
    env.condition = env._predict()
    env.twins.reset(ids, torch.tensor([begin["row"] + PHASES]), env.condition)
    env.reference = env.twins.row.clone()
    if env.twin_pose is not None:
        env.twin_pose.reset(ids)
    policy = Policy.from_checkpoint(content)
    obs = env.current_observation()
    for t in range(STEPS):
        np.testing.assert_allclose(alone["condition"][t], env.condition[0], atol=1e-3, err_msg=f"step {t}")
        obs = env.step(policy(obs).detach())[0]
        state = env.simulator.state()
        way = torch.cat((state.root_pos[0], state.root_rot[0], state.dof_pos[0]))
        np.testing.assert_allclose(alone["way"][t], way, atol=1e-3, err_msg=f"step {t}")
    env.close()


class Told:
    """The script of the process above."""

    def __init__(self, dt: float) -> None:
        self.dt = dt

    def command(
        self, time: torch.Tensor, root_pos: torch.Tensor, root_yaw: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        late = (time > 3.5 * self.dt).float()
        velocity = torch.stack((1.1 - 0.6 * late, 0.1 * late), dim=-1)
        return velocity, 0.4 * time, torch.full_like(time, 0.4)
