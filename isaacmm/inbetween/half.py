"""ONNX files of half the size: large constants are kept as float16 and turned back into float32 when loaded."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Constants below so many numbers stay as they are: statistics and biases cost nothing and matter most.
_LARGE = 1024


def half(data: bytes) -> bytes:
    """The same graph with its large float32 constants as float16 and a Cast behind each; it computes in float32.

    Raises:
        ValueError: a constant beyond float16's range.
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        array = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or array.size < _LARGE:
            continue
        small = array.astype(np.float16)
        if not np.isfinite(small).all():
            raise ValueError(f"constant {tensor.name} does not fit into float16")
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(small, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    for position, node in enumerate(casts):
        graph.node.insert(position, node)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
