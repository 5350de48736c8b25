"""The three networks as ONNX graphs: one tensor in and one out, statistics folded into weights, plain operators."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from isaacmm.errors import ConfigError, nearest
from isaacmm.export.graph import IR_VERSION, OPSET, Graph
from isaacmm.learned_matching.networks import LearnedMM

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")


def known_precision(word: str) -> Precision:
    """``word`` as a precision.

    Raises:
        ConfigError: it is none.
    """
    for precision in PRECISIONS:
        if word == precision:
            return precision
    raise ConfigError(f"precision={word} is not known; {nearest(word, PRECISIONS)}")


class _Weights(Graph):
    """A graph whose matrices are stored with fewer bits; they are multiplied as float32 all the same."""

    def __init__(self, precision: Precision) -> None:
        super().__init__()
        self.precision = precision

    def matrix(self, name: str, value: Tensor, precise: bool = False) -> str:
        """A weight ``[out, in]``; int8 has one scale per output, and is not for what must be ``precise``."""
        if self.precision == "float32":
            return self.constant(name, value)
        if self.precision == "float16" or precise:
            stored = numpy_helper.from_array(value.detach().cpu().half().numpy(), f"{name}_half")
            self.constants.append(stored)
            return self.add("Cast", [stored.name], name, to=TensorProto.FLOAT)
        scale = value.abs().amax(dim=1).clamp(min=1e-12) / 127.0
        whole = torch.round(value / scale[:, None]).clamp(-127, 127).to(torch.int8)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(whole.cpu().numpy()), f"{name}_int8"))
        zero = numpy_helper.from_array(np.zeros(len(scale), dtype=np.int8), f"{name}_zero")
        self.constants.append(zero)
        scales = self.constant(f"{name}_scale", scale)
        return self.add("DequantizeLinear", [f"{name}_int8", scales, zero.name], name, axis=0)

    def gemm(self, x: str, name: str, weight: Tensor, bias: Tensor) -> str:
        """``x weight^T + bias``."""
        inputs = [x, self.matrix(f"{name}_weight", weight), self.constant(f"{name}_bias", bias)]
        return self.add("Gemm", inputs, transB=1)

    def network(self, x: str, layers: list[tuple[Tensor, Tensor]]) -> str:
        """Linear layers with Relu in between."""
        for i, (weight, bias) in enumerate(layers):
            x = self.gemm(x, f"layer_{i}", weight, bias)
            if i < len(layers) - 1:
                x = self.add("Relu", [x])
        return x


@torch.no_grad()
def build(model: LearnedMM, rate: float, precision: Precision = "float32") -> dict[str, onnx.ModelProto]:
    """Graphs by name; a state ``[n, K + Z]`` is the features, then the latents.

    - ``decompressor``: state -> pose vector ``[n, W]``;
    - ``stepper``: state -> next_state, ``1 / rate`` s later;
    - ``projector``: query ``[n, K]`` -> state.
    """
    k, size = model.features, model.features + model.latent
    zero, one = torch.zeros(k), torch.ones(k)

    # pose = mean + scale (linear(s) + network(s))
    g = _Weights(precision)
    out = g.network("state", _layers(model.decompressor, gain=model.pose_scale))
    weight, bias = model.decompress_linear.weight, model.decompress_linear.bias
    gain = model.pose_scale
    straight = g.gemm("state", "linear", weight * gain[:, None], bias * gain + model.pose_mean)
    g.add("Add", [out, straight], "pose")
    graphs = {"decompressor": _model(g, "decompressor", ("state", size), ("pose", len(model.pose_mean)))}

    # next = s + (1 / rate) speed (linear + network)((s - mean) / scale)
    g = _Weights(precision)
    shift, scale = torch.cat((zero, model.latent_mean)), torch.cat((one, model.latent_scale))
    speed = torch.cat((model.feature_speed, model.latent_speed)) / rate
    out = g.network("state", _layers(model.stepper, shift, scale, gain=speed))
    turned = model.step_linear.weight * speed[:, None] / scale
    # the state itself goes on through the linear map
    straight = g.gemm("state", "linear", turned + torch.eye(size), model.step_linear.bias * speed - turned @ shift)
    g.add("Add", [straight, out], "next_state")
    graphs["stepper"] = _model(g, "stepper", ("state", size), ("next_state", size))

    # p = the prototype nearest to q; state = p + (1, scale) network((q, p - mean) / scale)
    g = _Weights(precision)
    table = torch.cat((model.prototype_x, model.prototype_z), dim=1)
    stored = g.matrix("prototypes", table, precise=True)
    # the greatest of q.x - |x|^2 / 2 is the nearest
    widened = g.add("Gemm", ["query", g.constant("widen", torch.eye(k, size))])
    half = g.constant("half_square", -0.5 * model.prototype_x.square().sum(-1))
    chosen = g.add("ArgMax", [g.add("Gemm", [widened, stored, half], transB=1)], axis=1, keepdims=0)
    prototype = g.add("Gather", [stored, chosen], axis=0)
    both = g.add("Concat", ["query", prototype], axis=1)
    wide = (torch.cat((zero, shift)), torch.cat((one, scale)))
    out = g.network(both, _layers(model.projector, *wide, gain=scale))
    g.add("Add", [prototype, out], "state")
    graphs["projector"] = _model(g, "projector", ("query", k), ("state", size))
    return graphs


def _layers(
    network: nn.Sequential,
    shift: Tensor | None = None,
    scale: Tensor | None = None,
    gain: Tensor | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of ``gain * network((x - shift) / scale)`` as plain layers."""
    layers: list[tuple[Tensor, Tensor]] = [(m.weight, m.bias) for m in network if isinstance(m, nn.Linear)]
    if shift is not None and scale is not None:
        weight, bias = layers[0]
        weight = weight / scale
        layers[0] = (weight, bias - weight @ shift)
    if gain is not None:
        weight, bias = layers[-1]
        layers[-1] = (weight * gain[:, None], bias * gain)
    return layers


def _model(graph: Graph, name: str, takes: tuple[str, int], gives: tuple[str, int]) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", size]) for n, size in (takes, gives)]
    made = helper.make_graph(graph.nodes, name, values[:1], values[1:], graph.constants)
    model = helper.make_model(
        made, producer_name="isaacmm", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return model
