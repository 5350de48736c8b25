"""command.onnx: from what a character is asked to do to the numbers its policy is told, one control step at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from isaacmm.export import matching
from isaacmm.export.graph import IR_VERSION, OPSET, Graph, session
from isaacmm.matching import springs

#: Input or output -> numbers per row; K horizons.
INPUTS = {"state": 6, "velocity": 2, "facing": 1, "turn_rate": 1, "root_yaw": 1}


def build(settings: Mapping[str, Any]) -> onnx.ModelProto:
    """The graph of :func:`isaacmm.export.matching.advance`.

    Inputs ``state [n, 6]``, ``velocity [n, 2]``, ``facing``, ``turn_rate`` and ``root_yaw [n, 1]``; outputs
    ``condition [n, 4K]``, ``next_state [n, 6]`` and ``future [n, 4K]``.
    """
    g = Graph()
    y, dt = springs.rate(float(settings["halflife"])), float(settings["dt"])
    count = len(settings["horizons"])
    made = matching.spring(settings, 1)
    times, steps, at = made._times, made._steps, made._at
    part = {
        name: g.add("MatMul", ["state", g.constant(f"take_{name}", torch.eye(6)[:, a:b])])
        for name, a, b in (("v", 0, 2), ("a", 2, 4), ("yaw", 4, 5), ("rate", 5, 6))
    }
    # the spring, one control step
    offset, rate = _decay(g, "velocity_step", g.add("Sub", [part["v"], "velocity"]), part["a"], y, torch.tensor([dt]))
    velocity, acceleration = g.add("Add", ["velocity", offset]), rate
    ago = g.add("Mul", ["turn_rate", g.constant("dt", torch.tensor(dt))])
    behind = _wrap(g, g.add("Sub", [part["yaw"], g.add("Sub", ["facing", ago])]))
    drift = g.add("Sub", [part["rate"], "turn_rate"])
    offset, drift = _decay(g, "facing_step", behind, drift, y, torch.tensor([dt]))
    yaw = _wrap(g, g.add("Add", ["facing", offset]))
    yaw_rate = g.add("Add", ["turn_rate", drift])
    g.add("Concat", [velocity, acceleration, yaw, yaw_rate], output="next_state", axis=1)
    # what the spring goes on to do, at moments ahead
    ahead = []
    for i, name in enumerate(("forward", "left")):
        take = g.constant(f"take_{name}", torch.eye(2)[:, i : i + 1])
        goal = g.add("MatMul", ["velocity", take])
        gap = g.add("Sub", [g.add("MatMul", [velocity, take]), goal])
        gap, _ = _decay(g, f"{name}_ahead", gap, g.add("MatMul", [acceleration, take]), y, times)
        ahead.append(g.add("Add", [goal, gap]))
    gap = _wrap(g, g.add("Sub", [yaw, "facing"]))
    gap, _ = _decay(g, "facing_ahead", gap, g.add("Sub", [yaw_rate, "turn_rate"]), y, times)
    turning = g.add("Mul", ["turn_rate", g.constant("times", times)])
    angle = g.add("Add", [g.add("Add", [g.add("Sub", ["facing", "root_yaw"]), turning]), gap])
    cos, sin = g.add("Cos", [angle]), g.add("Sin", [angle])
    x = g.add("Sub", [g.add("Mul", [cos, ahead[0]]), g.add("Mul", [sin, ahead[1]])])
    y_ = g.add("Add", [g.add("Mul", [sin, ahead[0]]), g.add("Mul", [cos, ahead[1]])])
    # trapezoids up to each horizon, and the moments of the horizons, as matrices
    sums, picks = torch.zeros(len(times), count), torch.zeros(len(times), count)
    for k, end in enumerate(at.tolist()):
        sums[:end, k] += 0.5 * steps[:end]
        sums[1 : end + 1, k] += 0.5 * steps[:end]
        picks[end, k] = 1.0
    parts = []
    for name, matrix, (first, second) in (("position", sums, (x, y_)), ("facing", picks, (cos, sin))):
        even, odd = torch.zeros(2, len(times), 2 * count)
        even[:, 0::2], odd[:, 1::2] = matrix, matrix
        one = g.add("MatMul", [first, g.constant(f"{name}_x", even)])
        parts.append(g.add("Add", [one, g.add("MatMul", [second, g.constant(f"{name}_y", odd)])]))
    g.add("Concat", parts, output="future", axis=1)
    centred = g.add("Sub", ["future", g.constant("offset", settings["offset"])])
    g.add("Div", [centred, g.constant("scale", settings["scale"])], output="condition")
    outputs = {"condition": 4 * count, "next_state": 6, "future": 4 * count}
    entries = [_values(INPUTS), _values(outputs)]
    graph = helper.make_graph(g.nodes, "command", entries[0], entries[1], g.constants)
    return helper.make_model(
        graph, producer_name="isaacmm", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


def _values(sizes: Mapping[str, int]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in sizes.items()]


def _decay(g: Graph, name: str, x: str, v: str, y: float, t: Tensor) -> tuple[str, str]:
    """:func:`isaacmm.matching.springs.decay` after the constant times ``t``."""
    fade = torch.exp(-y * t)
    rate = g.constant(f"{name}_y", torch.tensor(y))
    j = g.add("Add", [v, g.add("Mul", [x, rate])])
    moved = g.add("Add", [x, g.add("Mul", [j, g.constant(f"{name}_t", t)])])
    slowed = g.add("Sub", [v, g.add("Mul", [j, g.constant(f"{name}_yt", y * t)])])
    fades = g.constant(f"{name}_fade", fade)
    return g.add("Mul", [moved, fades]), g.add("Mul", [slowed, fades])


def _wrap(g: Graph, angle: str) -> str:
    """The angle within -pi to pi."""
    turn = g.shared("two_pi", torch.tensor(2.0 * math.pi))
    half = g.shared("pi", torch.tensor(math.pi))
    turns = g.add("Floor", [g.add("Div", [g.add("Add", [angle, half]), turn])])
    return g.add("Sub", [angle, g.add("Mul", [turns, turn])])


def compare(model: bytes, settings: Mapping[str, Any], count: int = 256) -> float:
    """Largest difference between onnxruntime and the trainer's code over ``count`` random commands and states.

    Angles of the next state are compared as angles.
    """
    draw = torch.Generator().manual_seed(0)

    def random(size: int, reach: float) -> Tensor:
        return reach * (2.0 * torch.rand(count, size, generator=draw) - 1.0)

    state = torch.cat((random(2, 3.0), random(2, 5.0), random(1, math.pi), random(1, 2.0)), dim=1)
    values = (state, random(2, 3.0), random(1, 6.0), random(1, 1.5), random(1, math.pi))
    wanted = matching.advance(settings, *values)
    feed = {name: value.numpy() for name, value in zip(INPUTS, values, strict=True)}
    got = session(model).run(["condition", "next_state", "future"], feed)
    gaps = [np.abs(a - b.numpy()) for a, b in zip(got, wanted, strict=True)]
    gaps[1][:, 4] = np.abs(np.arctan2(np.sin(gaps[1][:, 4]), np.cos(gaps[1][:, 4])))
    return max(float(gap.max()) for gap in gaps)


def example(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers to check another implementation with: one control step, inputs and outputs."""
    values = {
        "state": torch.tensor([[1.0, 0.1, 0.5, -0.2, 3.0, 0.4]]),
        "velocity": torch.tensor([[1.4, 0.2]]),
        "facing": torch.tensor([[-3.1]]),
        "turn_rate": torch.tensor([[0.6]]),
        "root_yaw": torch.tensor([[2.9]]),
    }
    made = matching.advance(settings, *values.values())
    out = dict(zip(("condition", "next_state", "future"), made, strict=True))
    return {part: {k: [round(float(x), 6) for x in v[0]] for k, v in group.items()}
            for part, group in (("inputs", values), ("outputs", out))}  # fmt: skip
