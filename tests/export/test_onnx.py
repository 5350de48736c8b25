"""policy.onnx computes what the policy computes; policy.json says what its numbers mean."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from isaacmm.envs.actions import ActionMap
from isaacmm.errors import CheckpointError
from isaacmm.evaluate.session import load_policy_checkpoint
from isaacmm.export import ExportError, contract
from isaacmm.export import onnx as exporter
from isaacmm.learn.build import make_env
from isaacmm.learn.policy import Policy
from tests.helpers import character

Made = tuple[DictConfig, Path]


@pytest.fixture(scope="module")
def content(run_with_checkpoint: Made) -> dict[str, Any]:
    loaded = load_policy_checkpoint(run_with_checkpoint[1])
    # as if it had been trained: a normaliser that does something
    draw = torch.Generator().manual_seed(1)
    size = loaded["model"]["running_mean_std.running_mean"].shape
    loaded["model"]["running_mean_std.running_mean"] = torch.randn(size, generator=draw).double()
    loaded["model"]["running_mean_std.running_var"] = torch.rand(size, generator=draw).double() + 0.1
    return loaded


def made_policy(activation: nn.Module, seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(9, 16), activation, nn.Linear(16, 8), activation, nn.Linear(8, 3)]
    return Policy(layers, torch.randn(9), torch.rand(9) + 0.1, torch.full((3,), 0.1)).eval()


def test_an_exported_policy_is_the_policy(content: dict[str, Any], tmp_path: Path) -> None:
    made = exporter.export(content, tmp_path / "deep" / "policy.onnx", observations=torch.randn(5, 4, 84))
    assert made.difference < 1e-5 and made.checked == 256 + 20
    assert "onnxruntime and torch differ by at most" in made.summary()
    policy = Policy.from_checkpoint(content)
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    for rows in (1, 5):
        obs = 3.0 * torch.randn(rows, policy.observation_size)
        (action,) = session.run(None, {"obs": obs.numpy()})
        assert action.dtype == np.float32 and action.shape == (rows, policy.action_size)
        assert np.abs(action - policy(obs).detach().numpy()).max() < 1e-5


def test_the_graph_is_one_that_old_runtimes_know(content: dict[str, Any], tmp_path: Path) -> None:
    made = exporter.export(content, tmp_path / "policy.onnx")
    model = onnx.load(made.path)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 15)] and model.ir_version == 8
    assert {node.op_type for node in model.graph.node} == {"Sub", "Mul", "Clip", "Gemm", "Relu"}
    assert [i.name for i in model.graph.input] == ["obs"] and [o.name for o in model.graph.output] == [
        "action"
    ]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


def test_the_same_checkpoint_gives_the_same_bytes(content: dict[str, Any], tmp_path: Path) -> None:
    one, two = (exporter.export(content, tmp_path / n / "policy.onnx") for n in "ab")
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.sidecar.read_text() == two.sidecar.read_text()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ELU(), nn.Tanh(), nn.SiLU()])
def test_every_activation_of_a_policy(activation: nn.Module) -> None:
    policy = made_policy(activation)
    data = exporter.build(policy).SerializeToString()
    assert exporter.compare(data, policy, exporter.probe(policy)) < 1e-5


def test_another_activation_is_refused() -> None:
    with pytest.raises(CheckpointError, match="Softplus"):
        exporter.build(made_policy(nn.Softplus()))


def test_a_graph_that_computes_something_else_is_not_handed_out(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = exporter.build

    def forgets_the_normaliser(policy: Policy) -> onnx.ModelProto:
        model = real(policy)
        for constant in model.graph.initializer:
            if constant.name == "mean":
                constant.CopyFrom(
                    onnx.numpy_helper.from_array(np.zeros(len(policy.mean), np.float32), "mean")
                )
        return model

    monkeypatch.setattr(exporter, "build", forgets_the_normaliser)
    with pytest.raises(ExportError, match=r"policy.onnx differs from the policy by"):
        exporter.export(content, tmp_path / "policy.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.onnx.wrong"]


def test_a_checkpoint_without_policy_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no policy network"):
        exporter.export({**content, "model": {}}, tmp_path / "policy.onnx")


# ---------------------------------------------------------------------- sidecar
def test_the_sidecar_covers_every_number(content: dict[str, Any], tmp_path: Path) -> None:
    made = exporter.export(content, tmp_path / "policy.onnx")
    side = json.loads(made.sidecar.read_text())
    slices = side["observation"]["slices"]
    assert [part["start"] for part in slices] == [0, *(part["stop"] for part in slices[:-1])]
    assert slices[-1]["stop"] == side["observation"]["size"] == side["network"]["input"]["shape"][1]
    for part in slices:
        assert part["unit"] and part["frame"] and part["meaning"], part["name"]
        assert len(part["mean_in_training"]) == len(part["std_in_training"]) == part["stop"] - part["start"]
    skeleton = character().skeleton
    assert [dof["name"] for dof in side["dofs"]] == list(skeleton.dof_names)
    assert side["action"]["size"] == 28 == len(side["action"]["offset"]) == len(side["action"]["scale"])
    assert side["rates"]["control_hz"] == 30 and side["rates"]["physics_hz"] == 120
    assert side["conventions"]["quaternion_order"] == "xyzw" and side["conventions"]["up"] == "+z"
    assert side["network"]["sha256"] == hashlib.sha256(made.path.read_bytes()).hexdigest()
    kp = [dof["kp"] for dof in side["dofs"]]
    assert kp == pytest.approx(character().kp.tolist())
    assert [dof["effort"] for dof in side["dofs"]] == pytest.approx(character().effort.tolist())
    assert len(side["training"]["config_sha256"]) == 64
    assert len(side["how_to_use"]) >= 4


def test_the_default_pose_stands_on_the_floor(content: dict[str, Any]) -> None:
    pose = contract.contract(content)["default_pose"]
    model = character()
    root = torch.tensor([pose["root_position"]])
    joints = model.skeleton.dofs_to_joint_rot(torch.tensor([pose["dof_positions"]]))
    pos, rot = model.skeleton.fk(root, torch.tensor([pose["root_rotation_xyzw"]]), joints)
    assert float(model.sole_points(pos, rot)[..., 2].min()) == pytest.approx(0.0, abs=1e-5)


def test_following_the_sidecar_drives_the_simulator_as_the_environment_does(
    run_with_checkpoint: Made, content: dict[str, Any], tmp_path: Path
) -> None:
    """An engine that knows only the two files: observation by slices in, PD targets out."""
    cfg, _ = run_with_checkpoint
    made = exporter.export(content, tmp_path / "policy.onnx")
    side = json.loads(made.sidecar.read_text())
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    env = make_env(cfg, num_envs=2)
    try:
        obs, _ = env.reset(seed=3)
        state = env.simulator.state().clone()
        by_name = {part["name"]: slice(part["start"], part["stop"]) for part in side["observation"]["slices"]}
        mine = np.zeros((2, side["observation"]["size"]), np.float32)
        x, y, z, w = state.root_rot.numpy().T
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        mine[:, by_name["root_height"]] = state.root_pos[:, 2:3]
        mine[:, by_name["joint_positions"]] = state.dof_pos
        mine[:, by_name["joint_velocities"]] = state.dof_vel
        mine[:, by_name["root_velocity"]] = _turn(state.root_vel.numpy(), -yaw)
        mine[:, by_name["root_angular_velocity"]] = _turn(state.root_ang_vel.numpy(), -yaw)
        keys = [
            side["bodies"].index(b)
            for n in _items(side, "key_body_positions")
            for b in side["bodies"]
            if b["name"] == n
        ]
        reach = (state.body_pos[:, keys] - state.root_pos[:, None]).numpy()
        mine[:, by_name["key_body_positions"]] = np.stack(
            [_turn(reach[:, k], -yaw) for k in range(len(keys))], axis=1
        ).reshape(2, -1)
        two = _matrix(x, y, z, w)
        flat = np.stack([_turn(two[:, :, c], -yaw) for c in range(2)], axis=1)
        mine[:, by_name["root_rotation"]] = flat.reshape(2, -1)
        delta = env.command.yaw.numpy() - yaw
        mine[:, by_name["command_direction"]] = np.stack((np.cos(delta), np.sin(delta)), axis=1)
        mine[:, by_name["command_speed"]] = env.command.speed[:, None]
        assert np.abs(mine - obs.numpy()).max() < 1e-4

        (action,) = session.run(["action"], {"obs": mine})
        target = np.array(side["action"]["offset"]) + np.array(side["action"]["scale"]) * action
        env_target = env.actions(Policy.from_checkpoint(content)(obs))
        assert np.abs(target - env_target.detach().numpy()).max() < 1e-4
    finally:
        env.close()


def test_classic_actions_and_references_are_explained(content: dict[str, Any]) -> None:
    config = {**content["config"], "task": {**content["config"]["task"]}}
    config["task"]["env"] = {**content["config"]["task"]["env"], "action": "classic", "reference": "residual"}
    side = contract.contract({**content, "config": config})
    actions = ActionMap(character().skeleton, "classic")
    assert side["action"]["clip"] == [-1.0, 1.0] and "clamp(action, -1, 1)" in side["action"]["target"]
    assert side["action"]["target"].endswith("+ reference_joint_positions")
    assert side["action"]["scale"] == pytest.approx(actions.scale.tolist(), abs=1e-6)
    assert any("reference_joint_positions" in step for step in side["how_to_use"])
    assert side["training"]["config_sha256"] != contract.contract(content)["training"]["config_sha256"]


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert contract.digest({"a": 1, "b": {"c": 2, "d": 3}}) == contract.digest(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )


def test_the_file_carries_its_own_sidecar(content: dict[str, Any], tmp_path: Path) -> None:
    made = exporter.export(content, tmp_path / "policy.onnx")
    inside = {p.key: p.value for p in onnx.load(made.path).metadata_props}
    assert (
        json.loads(inside["isaacmm_policy"])["observation"]
        == json.loads(made.sidecar.read_text())["observation"]
    )
    assert inside["joint_names"].split(",") == list(character().skeleton.dof_names)
    assert len(inside["joint_stiffness"].split(",")) == 28 and inside["control_hz"] == "30"


def _items(side: dict[str, Any], name: str) -> list[str]:
    return next(part["items"] for part in side["observation"]["slices"] if part["name"] == name)


def _turn(v: np.ndarray, angle: np.ndarray) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack((c * v[:, 0] - s * v[:, 1], s * v[:, 0] + c * v[:, 1], v[:, 2]), axis=1)


def _matrix(x: np.ndarray, y: np.ndarray, z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """First two columns ``[n, 3, 2]`` of rotation matrices."""
    first = np.stack((1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)), axis=1)
    second = np.stack((2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)), axis=1)
    return np.stack((first, second), axis=2)
