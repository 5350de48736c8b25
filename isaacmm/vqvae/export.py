"""``encoder.onnx`` and ``decoder.onnx`` with their sidecar ``tokenizer.json``, compared with torch in onnxruntime."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from isaacmm.export import ExportError
from isaacmm.export.graph import IR_VERSION, OPSET, session
from isaacmm.motion.io.files import atomic
from isaacmm.vqvae import graph, measure
from isaacmm.vqvae.features import MotionFeatures
from isaacmm.vqvae.model import MotionVQVAE

#: Largest difference of normalised features that is still rounding.
TOLERANCE = 1e-3
#: Tokens that may differ, where two codes are equally near.
TOKEN_SHARE = 0.01
#: Weights of fewer bits may move bodies, or the root within a second, by so much (mm), or they are not written.
COMPACT_MM = 0.5
SIDECAR = "tokenizer.json"


@dataclass(frozen=True)
class Exported:
    """Files, and how they compare.

    Attributes:
        files: written.
        difference: largest of normalised features, decoder.
        tokens: share of equal tokens, encoder.
        notes: of the smaller variants.
    """

    files: list[Path]
    difference: float
    tokens: float
    notes: list[str]

    def summary(self) -> str:
        """One line."""
        names = ", ".join(path.name for path in self.files)
        return (
            f"{names}: onnxruntime and torch agree on {100 * self.tokens:.2f} % of tokens and differ by at most "
            f"{self.difference:.1e} of a feature's scale; {'; '.join(self.notes)}"
        )


def export(model: MotionVQVAE, spec: MotionFeatures, folder: Path, probe: Tensor) -> Exported:
    """Write both networks and the sidecar into ``folder``.

    Args:
        model: with a quantizer that makes tokens.
        spec: what its features are.
        folder: where to.
        probe: features ``[T, F]`` of a real clip to compare on, besides made-up ones.

    Raises:
        ExportError: a file computes something else than the network; nothing is written then.
    """
    model = model.cpu().eval()
    graphs = {"encoder": graph.encoder(model), "decoder": graph.decoder(model)}
    for made in graphs.values():
        onnx.checker.check_model(made, full_check=True)
    data = {name: made.SerializeToString(deterministic=True) for name, made in graphs.items()}
    tokens, difference = compare(data, model, probe)
    if tokens < 1.0 - TOKEN_SHARE or not difference < TOLERANCE:
        raise ExportError(
            f"the exported tokenizer is not the trained one: {100 * tokens:.2f} % of tokens agree, features differ by "
            f"{difference:.2e} of their scale; please report it with your versions of torch and onnxruntime"
        )
    notes = []
    for kind in ("fp16", "int8"):
        small = {name: graph.compact(made, kind).SerializeToString(deterministic=True) for name, made in graphs.items()}
        moved = displacement(data, small, model, spec, probe)
        size = sum(map(len, small.values())) / sum(map(len, data.values()))
        held = moved < COMPACT_MM
        notes.append(f"{kind} weights: {100 * size:.0f} % of the size, {moved:.2f} mm{'' if held else ', not written'}")
        if held:
            data |= {f"{name}_{kind}": content for name, content in small.items()}
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, content in data.items():
        with atomic(folder / f"{name}.onnx") as file:
            file.write(content)
        files.append(folder / f"{name}.onnx")
    sidecar = describe(model, spec)
    sidecar["files"] = {
        f"{name}.onnx": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in data.items()
    }
    sidecar["check"] = {
        "equal_tokens": round(tokens, 6),
        "largest_difference_of_scaled_features": float(f"{difference:.3g}"),
        "compact": notes,
    }
    with atomic(folder / SIDECAR) as file:
        file.write((json.dumps(sidecar, indent=1) + "\n").encode())
    return Exported([*files, folder / SIDECAR], difference, tokens, notes)


def describe(model: MotionVQVAE, spec: MotionFeatures) -> dict[str, Any]:
    """What every number of both graphs means."""
    skeleton = spec.skeleton
    joints = list(skeleton.names[1:]) if spec.pose != "dofs" else [skeleton.dof_names[i] for i in spec.hinges]
    return {
        "format": "isaacmm-tokenizer",
        "version": 1,
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "fps": spec.fps,
        "frames_per_token": model.frames_per_token,
        "codes": list(model.quantizer.sizes),
        "bits_per_token": round(model.quantizer.bits, 4),
        "encoder": {
            "input": "features [batch, frames, F] float32; frames a multiple of frames_per_token, at least two tokens",
            "output": "tokens [batch, steps, layers] int64",
        },
        "decoder": {"input": "tokens as above", "output": "features [batch, frames, F] float32"},
        "features": [{"name": s.name, "start": s.start, "stop": s.stop, "unit": s.unit} for s in spec.slices],
        "conventions": {
            "axes": "z up, character faces +x, left is +y; metres, radians",
            "root_velocity": "forward, left; m/s in the heading frame, from this frame to the next",
            "root_turn_rate": "rad/s about z, from this frame to the next",
            "root_tilt": "first two columns of the root's rotation without its heading",
            "joints": {
                "columns": "per joint, the first two columns of its rotation matrix relative to the parent's rest",
                "expmap": "per joint, rotation vector relative to the parent's rest",
                "dofs": "per hinge, angle",
            }[spec.pose],
            "to_world": "yaw[t+1] = yaw[t] + turn/fps; xy[t+1] = xy[t] + Rz(yaw[t]) velocity/fps; "
            "rotation[t] = Rz(yaw[t]) tilt[t]; z[t] = root_height[t]",
        },
        "joint_order": joints,
        "skeleton": {
            "names": list(skeleton.names),
            "parents": list(skeleton.parents),
            "offsets": skeleton.offsets.tolist(),
            "rest_rotations_xyzw": skeleton.rest_rotations.tolist(),
        },
    }


def compare(data: dict[str, bytes], model: MotionVQVAE, probe: Tensor) -> tuple[float, float]:
    """Share of equal tokens, and the largest difference of scaled features, on ``probe`` and on noise."""
    draw = torch.Generator().manual_seed(0)
    noise = model.denormalise(torch.randn(2, 8 * model.frames_per_token, model.shape.features, generator=draw))
    same, number, worst = 0, 0, 0.0
    run = {name: session(data[name]) for name in ("encoder", "decoder")}
    for rows in (model.padded(probe)[None], noise):
        with torch.no_grad():
            wanted = model.quantizer.encode(model.latents(model.normalise(rows)))
            features = model.denormalise(model.expand(model.quantizer.decode(wanted)))
        (tokens,) = run["encoder"].run(None, {"features": rows.numpy()})
        same, number = same + int((tokens == wanted.numpy()).sum()), number + tokens.size
        (made,) = run["decoder"].run(None, {"tokens": graph.check(wanted)})
        worst = max(worst, float(((torch.as_tensor(made) - features) / model.scale).abs().max()))
    return same / number, worst


def displacement(
    full: dict[str, bytes], small: dict[str, bytes], model: MotionVQVAE, spec: MotionFeatures, probe: Tensor
) -> float:
    """By how much the smaller networks' errors on bodies and root of ``probe`` differ, mm on average."""
    rows: np.ndarray = model.padded(probe)[None].numpy()
    errors = []
    for data in (full, small):
        (tokens,) = session(data["encoder"]).run(None, {"features": rows})
        (made,) = session(data["decoder"]).run(None, {"tokens": tokens})
        values = measure.compare(spec, probe, torch.as_tensor(made[0])[: len(probe)]).values()
        errors.append(values["mpjpe_mm"] + values["drift_1s_mm"])
    return abs(errors[1] - errors[0])  # better by chance is different as well
