"""policy.onnx: observation in, best action out, for any program that runs ONNX.

The graph is put together operator by operator (Sub, Mul, Clip, Gemm, activation) instead of being traced:
a policy is a handful of layers, the result is the same on every version of torch, needs no exporter
package, and uses only operators that every runtime has had for years.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.errors import CheckpointError
from isaacmm.export import ExportError, command, matching
from isaacmm.export import contract as contracts
from isaacmm.export.graph import IR_VERSION, OPSET, Graph, session
from isaacmm.learn.policy import Policy
from isaacmm.motion.io.files import atomic

#: Largest difference to torch that is still rounding (rad, with actions of a few rad).
TOLERANCE = 1e-4
#: The same of conditions, which are divided by scales below 1.
COMMAND_TOLERANCE = 1e-3
#: Names of the files beside a policy that follows commands.
COMMAND, MATCHING = "command.onnx", "matching.npz"


@dataclass(frozen=True)
class Exported:
    """A policy that has left.

    Attributes:
        path, sidecar: the two files.
        difference: largest difference between onnxruntime and torch over all checked observations.
        checked: how many observations that were.
        others: files that the policy's user needs besides: ``command.onnx``, ``matching.npz``.
    """

    path: Path
    sidecar: Path
    difference: float
    checked: int
    others: tuple[Path, ...] = ()

    def summary(self) -> str:
        """One line."""
        others = "".join(f", {path.name}" for path in self.others)
        return (
            f"{self.path.name}{others} and {self.sidecar.name}: onnxruntime and torch differ by at most "
            f"{self.difference:.1e} over {self.checked} observations"
        )


def export(
    content: Mapping[str, Any],
    path: Path,
    *,
    observations: Tensor | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write ``path`` and the sidecar ``<path>.json`` beside it, and compare with torch in onnxruntime.

    A policy of HumanoidMM comes with ``command.onnx``, which makes commands into what it is told, and one that is
    shown its twin with the twin's clips, ``matching.npz``.

    Args:
        content: of a checkpoint.
        path: of the ``.onnx`` file.
        observations: ``[n, O]`` to compare on besides random ones, such as recorded ones.
        tolerance: largest difference accepted.

    Raises:
        CheckpointError: no policy in the checkpoint.
        ExportError: the file computes something else than the policy; it is kept as ``<path>.wrong``.
    """
    policy = Policy.from_checkpoint(content).cpu()
    settings = matching.of_checkpoint(content)
    sidecar = contracts.contract(content, settings)
    sidecar["network"]["file"] = path.name
    model = build(policy)
    for key, value in _properties(sidecar).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    rows = probe(policy, observations)
    difference = compare(data, policy, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not difference <= tolerance:
        wrong = path.with_name(path.name + ".wrong")
        wrong.write_bytes(data)
        raise ExportError(
            f"{path.name} differs from the policy by {difference:.2e} (more than {tolerance:.0e}), so it is not used. "
            f"It is kept as {wrong} to look at; please report it with your versions of torch and onnxruntime"
        )
    sidecar["network"].update(sha256=hashlib.sha256(data).hexdigest(), opset=OPSET, ir_version=IR_VERSION)
    sidecar["network"]["largest_difference_to_training"] = float(f"{difference:.3g}")
    with atomic(path) as file:
        file.write(data)
    others: list[Path] = []
    if settings is not None:
        others.append(_command(settings, sidecar, path.with_name(COMMAND)))
        if sidecar["action"]["reference"] != "none":
            others.append(_matching(content, path.with_name(MATCHING)))
    text = path.with_suffix(".json")
    with atomic(text) as file:
        file.write(contracts.to_text(sidecar).encode())
    return Exported(path, text, difference, len(rows), tuple(others))


def _command(settings: Mapping[str, Any], sidecar: dict[str, Any], path: Path) -> Path:
    model = command.build(settings)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    difference = command.compare(data, settings)
    if not difference <= COMMAND_TOLERANCE:
        raise ExportError(f"{path.name} differs from what the policy was trained with by {difference:.2e}")
    sidecar["command"]["largest_difference_to_training"] = float(f"{difference:.3g}")
    with atomic(path) as file:
        file.write(data)
    return path


def _matching(content: Mapping[str, Any], path: Path) -> Path:
    env = matching.environment(content)
    try:
        assert isinstance(env, HumanoidMM)
        with atomic(path) as file:
            np.savez_compressed(file, **matching.database(env))  # type: ignore[arg-type]
    finally:
        env.close()
    return path


def build(policy: Policy) -> onnx.ModelProto:
    """The graph of ``policy``: ``obs [n, O] -> action [n, D]``.

    Raises:
        CheckpointError: a layer that has no counterpart here.
    """
    graph = Graph()
    x = graph.add("Sub", ["obs", graph.constant("mean", policy.mean)])
    x = graph.add("Mul", [x, graph.constant("scale", policy.scale)])
    low, high = (graph.constant(n, torch.tensor(v)) for n, v in (("low", -5.0), ("high", 5.0)))
    x = graph.add("Clip", [x, low, high])
    for i, layer in enumerate(policy.actor):
        x = _layer(graph, layer, x, i)
    graph.nodes[-1].output[0] = "action"
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("obs", policy.observation_size), ("action", policy.action_size))
    ]
    made = helper.make_graph(graph.nodes, "policy", values[:1], values[1:], graph.constants)
    return helper.make_model(
        made,
        producer_name="isaacmm",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def _layer(graph: Graph, layer: nn.Module, x: str, i: int) -> str:
    if isinstance(layer, nn.Linear):
        weight, bias = graph.constant(f"weight_{i}", layer.weight), graph.constant(f"bias_{i}", layer.bias)
        return graph.add("Gemm", [x, weight, bias], transB=1)
    if isinstance(layer, nn.ReLU):
        return graph.add("Relu", [x])
    if isinstance(layer, nn.ELU):
        return graph.add("Elu", [x], alpha=float(layer.alpha))
    if isinstance(layer, nn.Tanh):
        return graph.add("Tanh", [x])
    if isinstance(layer, nn.SiLU):
        return graph.add("Mul", [x, graph.add("Sigmoid", [x])])
    raise CheckpointError(f"the policy has a layer {type(layer).__name__}, which is not exported yet")


def probe(policy: Policy, observations: Tensor | None = None, count: int = 256) -> Tensor:
    """Observations ``[n, O]`` to compare on: typical, far-off (normalisation clips them), and given ones."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, policy.observation_size, generator=generator)
    spread = torch.where(torch.arange(count) < count // 4, 20.0, 1.5)[:, None]
    rows = [policy.mean + noise * spread / policy.scale]
    if observations is not None:
        rows.append(observations.reshape(-1, policy.observation_size)[:4096].float().cpu())
    return torch.cat(rows)


@torch.no_grad()
def compare(model: bytes, policy: Policy, rows: Tensor) -> float:
    """Largest difference between onnxruntime and torch on ``rows [n, O]``, in batches of several sizes."""
    running = session(model)
    wanted = policy(rows)
    worst = 0.0
    start = 0
    for size in (1, 7, len(rows)):  # the batch is free: one, some, all the rest
        batch = rows[start : start + size]
        if not len(batch):
            break
        got = torch.from_numpy(running.run(["action"], {"obs": batch.numpy()})[0])
        gap = (got - wanted[start : start + size]).abs().max()
        worst = max(worst, float(gap)) if torch.isfinite(gap) else float("inf")
        start += size
    return worst


def _properties(sidecar: Mapping[str, Any]) -> dict[str, str]:
    """Metadata inside the file: the whole sidecar, and the values most readers look for by themselves."""
    dofs = sidecar["dofs"]
    return {
        "isaacmm_policy": json.dumps(sidecar, separators=(",", ":")),
        "joint_names": ",".join(dof["name"] for dof in dofs),
        "joint_stiffness": _csv(dof["kp"] for dof in dofs),
        "joint_damping": _csv(dof["kd"] for dof in dofs),
        "default_joint_pos": _csv(sidecar["default_pose"]["dof_positions"]),
        "action_scale": _csv(sidecar["action"]["scale"]),
        "action_offset": _csv(sidecar["action"]["offset"]),
        "observation_names": ",".join(part["name"] for part in sidecar["observation"]["slices"]),
        "control_hz": f"{sidecar['rates']['control_hz']:g}",
    }


def _csv(values: Any) -> str:
    return ",".join("" if value is None else f"{value:g}" for value in values)
