"""The network as ONNX, operator by operator: nothing is traced, and every operator is an old one.

Pad, Conv, Relu (Erf, Sigmoid), Resize, MatMul, ArgMax, Gather: opset 15, no exporter package, any number of frames.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from isaacmm.errors import CheckpointError
from isaacmm.export.graph import IR_VERSION, OPSET, Graph
from isaacmm.vqvae.model import MotionVQVAE
from isaacmm.vqvae.network import Block, ChannelNorm, PatchIn
from isaacmm.vqvae.quantizers import Codebook, FiniteScalarQuantizer, ResidualQuantizer

#: Smaller tensors stay float32 whatever the weights are kept as.
_SMALL = 256
#: Kept as fp16 at the least: small components and deep layers of codes are lost in the steps of int8.
_FINE = ("straight", "codebook")


def encoder(model: MotionVQVAE) -> onnx.ModelProto:
    """``features [batch, frames, F]`` in units to ``tokens [batch, steps, L]`` int64."""
    g = Graph()
    x = g.add("Sub", ["features", g.constant("mean", model.mean)])
    x = g.add("Mul", [x, g.constant("rate", 1.0 / model.scale)])
    x = _patch_in(g, model.encoder, g.add("Transpose", [x], perm=[0, 2, 1]))
    _tokens(g, model, g.add("Transpose", [x], perm=[0, 2, 1]))
    return _model(
        g, "motion_encoder", ("features", TensorProto.FLOAT, ["batch", "frames", model.shape.features]),
        ("tokens", TensorProto.INT64, ["batch", "steps", model.quantizer.layers]),
    )  # fmt: skip


def decoder(model: MotionVQVAE) -> onnx.ModelProto:
    """``tokens [batch, steps, L]`` int64 to ``features [batch, frames, F]`` in units."""
    g = Graph()
    z = _vectors(g, model)
    x = _patch_out(g, model, z)
    x = g.add("Mul", [x, g.constant("scale", model.scale)])
    g.add("Add", [x, g.constant("mean", model.mean)], "features")
    return _model(
        g, "motion_decoder", ("tokens", TensorProto.INT64, ["batch", "steps", model.quantizer.layers]),
        ("features", TensorProto.FLOAT, ["batch", "frames", model.shape.features]),
    )  # fmt: skip


def _model(g: Graph, name: str, given: tuple, made: tuple) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(*value) for value in (given, made)]
    graph = helper.make_graph(g.nodes, name, values[:1], values[1:], g.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, producer_name="isaacmm", opset_imports=opsets, ir_version=IR_VERSION)


# ------------------------------------------------------------------ layers
def _patch_in(g: Graph, layer: PatchIn, x: str) -> str:
    return g.add("Add", [_sequence(g, layer.net, x, "encoder"), _conv(g, layer.straight, x, "encoder_straight")])


def _patch_out(g: Graph, model: MotionVQVAE, z: str) -> str:
    """``[B, S, C]`` to ``[B, T, F]``."""
    layer, features = model.decoder, model.shape.features
    z = g.add("Transpose", [z], perm=[0, 2, 1])
    x = g.add("Transpose", [_sequence(g, layer.net, z, "decoder")], perm=[0, 2, 1])
    patch = g.add("Transpose", [_conv(g, layer.straight, z, "decoder_straight")], perm=[0, 2, 1])
    return g.add("Add", [x, g.add("Reshape", [patch, _integers(g, "frames_shape", [0, -1, features])])])


def _sequence(g: Graph, layers: nn.Sequential, x: str, name: str) -> str:
    for i, layer in enumerate(layers):
        x = _layer(g, layer, x, f"{name}_{i}")
    return x


def _layer(g: Graph, layer: nn.Module, x: str, name: str) -> str:
    if isinstance(layer, nn.Conv1d):
        return _conv(g, layer, x, name)
    if isinstance(layer, Block):
        return g.add("Add", [x, _sequence(g, layer.layers, x, name)])
    if isinstance(layer, nn.ReLU):
        return g.add("Relu", [x])
    if isinstance(layer, nn.SiLU):
        return g.add("Mul", [x, g.add("Sigmoid", [x])])
    if isinstance(layer, nn.GELU):
        half, one, root = (_number(g, v) for v in (0.5, 1.0, 1.0 / math.sqrt(2.0)))
        error = g.add("Add", [g.add("Erf", [g.add("Mul", [x, root])]), one])
        return g.add("Mul", [g.add("Mul", [x, half]), error])
    if isinstance(layer, nn.Upsample):
        scales = g.shared("scales", torch.tensor([1.0, 1.0, 2.0]))
        return g.add(
            "Resize", [x, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )
    if isinstance(layer, ChannelNorm):
        x = g.add("Sub", [x, g.add("ReduceMean", [x], axes=[1], keepdims=1)])
        spread = g.add("ReduceMean", [g.add("Mul", [x, x])], axes=[1], keepdims=1)
        x = g.add("Div", [x, g.add("Sqrt", [g.add("Add", [spread, _number(g, layer.eps)])])])
        x = g.add("Mul", [x, g.constant(f"{name}_weight", layer.weight)])
        return g.add("Add", [x, g.constant(f"{name}_bias", layer.bias)])
    raise CheckpointError(f"the network has a layer {type(layer).__name__}, which is not exported yet")


def _conv(g: Graph, layer: nn.Conv1d, x: str, name: str) -> str:
    pad = int(layer.padding[0])
    if pad:
        x = g.add("Pad", [x, _integers(g, f"pads_{pad}", [0, 0, pad, 0, 0, pad])], mode="edge")
    assert layer.bias is not None
    inputs = [x, g.constant(f"{name}_weight", layer.weight), g.constant(f"{name}_bias", layer.bias)]
    return g.add("Conv", inputs, strides=list(layer.stride), dilations=list(layer.dilation))


def _number(g: Graph, value: float) -> str:
    return g.shared(f"number_{value:g}", torch.tensor(value))


def _integers(g: Graph, name: str, values: list[int]) -> str:
    if not any(constant.name == name for constant in g.constants):
        g.constants.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
    return name


# ------------------------------------------------------------------ quantizers
def _books(model: MotionVQVAE) -> list[Codebook]:
    quantizer = model.quantizer
    if isinstance(quantizer, Codebook):
        return [quantizer]
    if isinstance(quantizer, ResidualQuantizer):
        return [book for book in quantizer.books if isinstance(book, Codebook)]
    raise CheckpointError(f"the quantizer {type(quantizer).__name__} makes no tokens; there is nothing to export")


def _tokens(g: Graph, model: MotionVQVAE, z: str) -> None:
    """Nodes from vectors ``[B, S, C]`` to the output ``tokens``."""
    quantizer = model.quantizer
    if isinstance(quantizer, FiniteScalarQuantizer):
        _finite_tokens(g, quantizer, z)
        return
    books, last, found = _books(model), _integers(g, "last_axis", [2]), []
    for i, book in enumerate(books):
        table = g.constant(f"codebook_{i}", book.codebook)
        transposed = g.add("Transpose", [table], perm=[1, 0])
        half = g.constant(f"half_square_{i}", 0.5 * book.codebook.square().sum(-1))
        score = g.add("Sub", [g.add("MatMul", [z, transposed]), half])
        pick = g.add("ArgMax", [score], axis=2, keepdims=0)
        found.append(g.add("Unsqueeze", [pick, last]))
        if i + 1 < len(books):
            z = g.add("Sub", [z, g.add("Gather", [table, pick])])
    g.add("Concat", found, "tokens", axis=2)


def _vectors(g: Graph, model: MotionVQVAE) -> str:
    """Nodes from the input ``tokens`` to vectors ``[B, S, C]``."""
    quantizer = model.quantizer
    if isinstance(quantizer, FiniteScalarQuantizer):
        return _finite_vectors(g, quantizer)
    total = ""
    for i, book in enumerate(_books(model)):
        layer = g.add("Gather", ["tokens", _index(g, i)], axis=2)
        part = g.add("Gather", [g.constant(f"codebook_{i}", book.codebook), layer])
        total = g.add("Add", [total, part]) if total else part
    return total


def _index(g: Graph, i: int) -> str:
    name = f"index_{i}"
    g.constants.append(numpy_helper.from_array(np.array(i, dtype=np.int64), name))
    return name


def _linear(g: Graph, layer: nn.Linear, x: str, name: str) -> str:
    x = g.add("MatMul", [x, g.constant(f"{name}_weight", layer.weight.T)])
    return g.add("Add", [x, g.constant(f"{name}_bias", layer.bias)])


def _finite_tokens(g: Graph, q: FiniteScalarQuantizer, z: str) -> None:
    """As :meth:`FiniteScalarQuantizer.encode`; whole numbers below 2^24 are exact in float32."""
    x = _linear(g, q.into, z, "into")
    x = g.add("Reshape", [x, _integers(g, "digits_shape", [0, 0, q.groups, q.numbers])])
    x = g.add("Tanh", [g.add("Add", [x, g.constant("shift", torch.atanh(q.offset / q.reach))])])
    x = g.add("Sub", [g.add("Mul", [x, g.constant("reach", q.reach)]), g.constant("offset", q.offset)])
    x = g.add("Add", [g.add("Round", [x]), g.constant("middle", q.count // 2)])
    x = g.add("Mul", [x, g.constant("basis", q.basis)])
    x = g.add("ReduceSum", [x, _integers(g, "digits_axis", [3])], keepdims=0)
    g.add("Cast", [x], "tokens", to=TensorProto.INT64)


def _finite_vectors(g: Graph, q: FiniteScalarQuantizer) -> str:
    x = g.add("Cast", ["tokens"], to=TensorProto.FLOAT)
    x = g.add("Unsqueeze", [x, _integers(g, "digits_axis", [3])])
    # half a code more, so that rounding of the quotient never falls below a whole number
    x = g.add("Floor", [g.add("Div", [g.add("Add", [x, _number(g, 0.5)]), g.constant("basis", q.basis)])])
    count = g.constant("count", q.count)
    x = g.add("Sub", [x, g.add("Mul", [g.add("Floor", [g.add("Div", [x, count])]), count])])
    middle = g.constant("middle", q.count // 2)
    x = g.add("Div", [g.add("Sub", [x, middle]), middle])
    x = g.add("Reshape", [x, _integers(g, "flat_shape", [0, 0, q.groups * q.numbers])])
    return _linear(g, q.back, x, "back")


# ------------------------------------------------------------------ smaller files
def compact(model: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """The same graph with its weights kept as ``fp16``, or its convolutions as ``int8`` (a scale per output channel)
    and the rest as ``fp16``; it computes in float32 all the same, so it runs wherever the original does."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    kept, nodes = [], []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < _SMALL or array.ndim < 2:
            kept.append(tensor)
            continue
        name = tensor.name
        if kind == "fp16" or any(part in name for part in _FINE):
            kept.append(numpy_helper.from_array(array.astype(np.float16), f"{name}_fp16"))
            nodes.append(helper.make_node("Cast", [f"{name}_fp16"], [name], to=TensorProto.FLOAT))
            continue
        scale = np.abs(array).reshape(len(array), -1).max(1) / 127.0
        scale = np.maximum(scale, 1e-12).astype(np.float32)
        whole = np.rint(array / scale.reshape(-1, *[1] * (array.ndim - 1))).astype(np.int8)
        kept.append(numpy_helper.from_array(whole, f"{name}_int8"))
        kept.append(numpy_helper.from_array(scale, f"{name}_scale"))
        kept.append(numpy_helper.from_array(np.zeros(len(array), np.int8), f"{name}_zero"))
        nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}_int8", f"{name}_scale", f"{name}_zero"], [name], axis=0)
        )
    del graph.initializer[:]
    graph.initializer.extend(kept)
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *old])
    return made


def check(tokens: Tensor) -> np.ndarray:
    """Tokens for onnxruntime."""
    return np.ascontiguousarray(tokens.cpu().numpy().astype(np.int64))
