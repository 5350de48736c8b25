"""inbetween.onnx: interpolated frames and their clock in, better frames out; checked in onnxruntime."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from isaacmm import __version__
from isaacmm.export import ExportError
from isaacmm.export.contract import to_text
from isaacmm.export.graph import OPSET, session
from isaacmm.inbetween.half import half
from isaacmm.inbetween.keys import CLOCK
from isaacmm.inbetween.masks import LONGEST, LONGEST_GAP, PAST
from isaacmm.inbetween.model import Inbetweener
from isaacmm.motion.io.files import atomic
from isaacmm.skeleton import Skeleton

#: Largest difference to torch that is still rounding (parts of rotation matrices, m).
TOLERANCE = 1e-4
#: The same of the file of half the size (a degree is 0.017): below what a joint's millimetres would show.
HALF_TOLERANCE = 3e-3


@dataclass(frozen=True)
class Exported:
    """Attributes:
    path, sidecar: the files.
    difference: largest difference of any output between onnxruntime and torch.
    half: the same network in half the bytes, or None where it would not compute the same; and its difference.
    """

    path: Path
    sidecar: Path
    difference: float
    half: Path | None
    half_difference: float

    def summary(self) -> str:
        """One line."""
        small = f"; {self.half.name} by {self.half_difference:.1e}" if self.half else ""
        return (
            f"{self.path.name} and {self.sidecar.name}: onnxruntime and torch differ by at most "
            f"{self.difference:.1e}{small}"
        )


def export(
    model: Inbetweener, path: Path, skeleton: Skeleton, fps: float, forward: list[float],
    probes: list[tuple[Tensor, Tensor]], facts: Mapping[str, Any],
) -> Exported:  # fmt: skip
    """Write ``path`` and its sidecar ``.json``, and compare with torch on ``probes``.

    Args:
        model: on any device.
        path: of the ``.onnx``.
        skeleton: for the sidecar.
        fps: it learned at.
        forward: the root's own axis that points ahead.
        probes: ``(frames [n, T, F], clock [n, T, 5])`` of several ``n`` and ``T``.
        facts: for the sidecar's ``training``.

    Raises:
        ExportError: the file computes something else than the network; it is kept as ``<path>.wrong``.
    """
    net = copy.deepcopy(model).to("cpu").eval()
    data = to_onnx(net, *probes[0])
    difference = compare(data, net, probes)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not difference <= TOLERANCE:
        wrong = path.with_name(path.name + ".wrong")
        wrong.write_bytes(data)
        raise ExportError(
            f"{path.name} differs from the network by {difference:.2e} (more than {TOLERANCE:.0e}), so it is not used. "
            f"It is kept as {wrong} to look at; please report it with your versions of torch and onnxruntime"
        )
    sidecar = contract(net, skeleton, fps, forward, facts)
    sidecar["network"] |= {
        "file": path.name, "opset": OPSET, "sha256": hashlib.sha256(data).hexdigest(),
        "largest_difference_to_training": float(f"{difference:.3g}"),
    }  # fmt: skip
    with atomic(path) as file:
        file.write(data)
    small = half(data)
    loss = compare(small, net, probes)
    small_path = path.with_name(f"{path.stem}_fp16.onnx") if loss <= HALF_TOLERANCE else None
    if small_path is not None:
        with atomic(small_path) as file:
            file.write(small)
        sidecar["network"]["half_size"] = {
            "file": small_path.name, "largest_difference_to_training": float(f"{loss:.3g}"),
            "note": "weights are stored as float16; inputs, outputs and arithmetic are float32",
        }  # fmt: skip
    text = path.with_suffix(".json")
    with atomic(text) as file:
        file.write(to_text(json.loads(json.dumps(sidecar))).encode())
    return Exported(path, text, difference, small_path, loss)


def to_onnx(net: Inbetweener, frames: Tensor, clock: Tensor) -> bytes:
    """The network as ONNX, any number of windows of any length."""
    axes = {0: "n", 1: "frames_of_window"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations and traced shapes, which the comparison below is the judge of
        place = Path(folder) / "traced.onnx"
        torch.onnx.export(
            net, (frames, clock), str(place), dynamo=False, opset_version=OPSET, input_names=["frames", "clock"],
            output_names=["filled"], dynamic_axes={"frames": axes, "clock": axes, "filled": axes},
        )  # fmt: skip
        model = onnx.load(str(place))
    model.ir_version = min(model.ir_version, 8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def compare(data: bytes, net: Inbetweener, probes: list[tuple[Tensor, Tensor]]) -> float:
    """Largest difference between onnxruntime and torch."""
    runtime = session(data)
    worst = 0.0
    for frames, clock in probes:
        with torch.no_grad():
            wanted = net(frames, clock).numpy()
        got = runtime.run(None, {"frames": frames.numpy(), "clock": clock.numpy()})[0]
        worst = max(worst, float(np.abs(got - wanted).max())) if np.isfinite(got).all() else float("inf")
    return worst


def contract(
    net: Inbetweener, skeleton: Skeleton, fps: float, forward: list[float], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """What every number means, as plain data."""
    size = len(net.mean)
    return {
        "format": "isaacmm-inbetween",
        "version": 1,
        "made_by": f"isaacmm {__version__}",
        "network": {
            "inputs": [
                {"name": "frames", "dtype": "float32", "shape": ["n", "frames_of_window", size]},
                {"name": "clock", "dtype": "float32", "shape": ["n", "frames_of_window", len(CLOCK)]},
            ],
            "output": {"name": "filled", "dtype": "float32", "shape": ["n", "frames_of_window", size]},
            "normalisation": "inside the network",
        },
        "frames": {
            "layout": ["root position x y z (m)", "per body: first column, then second column of its rotation matrix"],
            "rotations": "of the root in the world, of every other body in its parent's frame",
            "meaning_of_input": "keys as they are; every other frame interpolated between the keys before and behind "
            "it: root position linearly, rotations by slerp",
            "meaning_of_output": "keys unchanged (where noise is 0), other frames corrected; the columns want "
            "Gram-Schmidt",
            "placed": "one key is the anchor: its root over x = y = 0, turned about z so that the root's axis "
            "`forward` points to +x on the ground",
            "forward": forward,
        },
        "clock": {
            "layout": list(CLOCK),
            "known": "1 for a key, 0 for a frame to fill; at least one key per window",
            "seconds": "since the anchor, s",
            "since_key": "since the key before, s; 0 at keys",
            "until_key": "until the key behind, s; 0 at keys",
            "noise": "spread of the keys' rotations, rad; 0: exact",
        },
        "learned": {
            "fps": fps,
            "longest_window_frames": LONGEST,
            "longest_gap_frames": LONGEST_GAP,
            "told_before_a_gap_frames": PAST,
            "note": "a frame looks at keys only: asking for more frames does not change the others",
        },
        "bodies": [
            {
                "name": name,
                "parent": skeleton.names[skeleton.parents[i]] if i else None,
                "offset": [round(float(x), 6) for x in skeleton.offsets[i]],
                "rest_rotation_xyzw": [round(float(x), 6) for x in skeleton.rest_rotations[i]],
            }
            for i, name in enumerate(skeleton.names)
        ],
        "conventions": {
            "quaternion_order": "xyzw", "up": "+z", "forward": "+x", "left": "+y", "handedness": "right",
            "length": "m", "angle": "rad", "time": "s",
        },
        "training": dict(facts),
    }  # fmt: skip
