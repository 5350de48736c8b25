"""ONNX graphs put together operator by operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor

#: Low on purpose: the runtimes of game engines lag behind.
OPSET, IR_VERSION = 15, 8


class Graph:
    """Nodes and constants under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Tensor) -> str:
        """A float32 constant; its name."""
        array = np.ascontiguousarray(value.detach().cpu().float().numpy())
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def shared(self, name: str, value: Tensor) -> str:
        """A constant that may be there already."""
        known = any(constant.name == name for constant in self.constants)
        return name if known else self.constant(name, value)

    def add(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """A node; the name of its output."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def session(model: bytes) -> Any:
    """An onnxruntime session of ``model`` on one CPU thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
