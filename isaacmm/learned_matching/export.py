"""The networks leave: three ONNX files and a sidecar that says what every number means and how they are played."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm import __version__
from isaacmm.character import CharacterModel
from isaacmm.export import ExportError
from isaacmm.export.contract import to_text
from isaacmm.export.graph import IR_VERSION, OPSET, session
from isaacmm.learned_matching.graphs import Precision, build, known_precision
from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.playhead import JUMP, NEAR, PATIENCE
from isaacmm.learned_matching.pose import PoseLayout
from isaacmm.matching.controller import Settings
from isaacmm.motion.io.files import atomic

FORMAT, VERSION = "isaacmm-learned-matching", 1
SIDECAR = "learned_mm.json"
#: Largest difference to torch that is rounding, per output's own scale; weights of fewer bits differ more, and where
#: two prototypes are as near to a query, they may choose the other one.
TOLERANCE = 1e-4


def write(
    model: LearnedMM, meta: Mapping[str, Any], folder: Path, precision: Precision = "float32"
) -> tuple[list[Path], dict[str, float]]:
    """Write ``decompressor.onnx``, ``stepper.onnx``, ``projector.onnx`` and the sidecar into ``folder``.

    Args:
        model: networks.
        meta: of their fit, with latents (:func:`isaacmm.learned_matching.task.with_latents`).
        folder: made where it is missing.
        precision: of the stored weights.

    Returns:
        The files, and the mean difference between onnxruntime and torch of each network, in units of the standard
        deviation of what it puts out.

    Raises:
        ExportError: a float32 file computes something else than its network; it is kept as ``<name>.wrong``.
    """
    precision = known_precision(precision)
    model = model.cpu().eval()
    folder.mkdir(parents=True, exist_ok=True)
    made, differences, files, entries = build(model, float(meta["rate"]), precision), {}, [], {}
    for name, graph in made.items():
        data = graph.SerializeToString(deterministic=True)
        largest, differences[name] = compare(model, float(meta["rate"]), name, data)
        path = folder / f"{name}.onnx"
        if precision == "float32" and not largest <= TOLERANCE:
            path.with_name(path.name + ".wrong").write_bytes(data)
            raise ExportError(f"{path.name} differs from the network by {largest:.1e}; kept as {path.name}.wrong")
        with atomic(path) as file:
            file.write(data)
        files.append(path)
        entries[name] = {
            "file": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
            "largest_difference": float(f"{largest:.3g}"), "mean_difference": float(f"{differences[name]:.3g}"),
            **_ends(graph),
        }  # fmt: skip
    sidecar = folder / SIDECAR
    with atomic(sidecar) as file:
        file.write(to_text(_sidecar(meta, entries, precision)).encode())
    return [*files, sidecar], differences


def leave(model: LearnedMM, meta: Mapping[str, Any], folder: Path) -> list[Path]:
    """What a fit leaves: ``onnx/`` and ``motions/walk_run.bvh``, ten seconds of a script played by the networks."""
    from isaacmm import steering
    from isaacmm.export import bvh
    from isaacmm.learned_matching.controller import LearnedController

    files, differences = write(model, meta, folder / "onnx")
    worst = max(differences.values())
    print(f"onnx/: {', '.join(path.name for path in files)}; onnxruntime and torch differ by {worst:.1e} on average")
    controller = LearnedController(model, dict(meta), fps=30.0)
    frames = controller.play(steering.named("walk_run"), 10.0)
    path = folder / "motions" / "walk_run.bvh"
    path.parent.mkdir(parents=True, exist_ok=True)
    bvh.write(controller.motion(frames, name="walk_run"), path)
    return [*files, path]


@torch.no_grad()
def compare(model: LearnedMM, rate: float, name: str, data: bytes, count: int = 256) -> tuple[float, float]:
    """Largest and mean difference between onnxruntime and torch over random inputs, in batches of 1, 7 and the rest,
    in standard deviations of each output."""
    draw = torch.Generator().manual_seed(0)
    x = 1.5 * torch.randn(count, model.features, generator=draw)
    z = model.latent_mean + 1.5 * model.latent_scale * torch.randn(count, model.latent, generator=draw)
    given, wanted = {
        "decompressor": lambda: (("state", torch.cat((x, z), 1)), model.decompress(x, z)),
        "stepper": lambda: (("state", torch.cat((x, z), 1)), torch.cat(model.step(x, z, 1.0 / rate), 1)),
        "projector": lambda: (("query", x), torch.cat(model.project(x), 1)),
    }[name]()
    running, got, start = session(data), [], 0
    for size in (1, 7, count - 8):
        got.append(torch.from_numpy(running.run(None, {given[0]: given[1][start : start + size].numpy()})[0]))
        start += size
    gap = (torch.cat(got) - wanted) / wanted.std(0).clamp(min=0.01)
    if not torch.isfinite(gap).all():
        return float("inf"), float("inf")
    return float(gap.abs().max()), float(gap.abs().mean())


def _ends(graph: Any) -> dict[str, Any]:
    def end(value: Any) -> dict[str, Any]:
        return {"name": value.name, "shape": ["n", int(value.type.tensor_type.shape.dim[1].dim_value)]}

    return {"input": end(graph.graph.input[0]), "output": end(graph.graph.output[0])}


# -------------------------------------------------------------------------------------------------- the sidecar
def _sidecar(meta: Mapping[str, Any], networks: Mapping[str, Any], precision: str) -> dict[str, Any]:
    character = CharacterModel.load(meta["character"])
    offset, scale = meta["feature_offset"], meta["feature_scale"]
    settings = Settings()
    k, pose = len(offset), int(meta["pose_size"])
    return {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"isaacmm {__version__}",
        "networks": dict(networks),
        "onnx": {"opset": OPSET, "ir_version": IR_VERSION, "weights": precision, "dtype": "float32"},
        "state": {"size": networks["stepper"]["input"]["shape"][1], "features": [0, k], "latents": "what follows"},
        "features": {
            "size": k,
            "pose_size": pose,
            "formula": "x = (raw - offset) / scale",
            "blocks": [{"name": n, "start": a, "stop": b, "unit": u} for n, a, b, u in meta["blocks"]],
            "offset": _numbers(offset),
            "scale": _numbers(scale),
            "frame": "heading frame of the ground point under the character: x forward, y left, z up",
            "future_position": "x y per horizon; future_facing: cos sin per horizon",
            "horizons_s": list(meta["horizons"]),
        },
        "pose": [
            {"name": p.name, "start": p.start, "stop": p.stop, "unit": p.unit, "meaning": p.meaning}
            for p in PoseLayout(meta["dof_names"], meta["feet"]).parts
        ],
        "starts": {
            name: {"state": _numbers(torch.cat((s["x"], s["z"])))} for name, s in meta["starts"].items()
        },
        "play": {
            "rate_hz": float(meta["rate"]),
            "search_seconds": settings.search_seconds,
            "stay_bias": settings.stay_bias,
            "near": NEAR,
            "jump": JUMP,
            "patience_s": PATIENCE,
            "halflife_s": settings.halflife,
            "command_halflife_s": settings.command_halflife,
            "leading": {
                "position_halflife_s": settings.leading.position_halflife,
                "facing_halflife_s": settings.leading.facing_halflife,
                "share": settings.leading.share,
                "turning": settings.leading.turning,
                "clamp_distance_m": settings.leading.clamp_distance,
                "clamp_angle_rad": settings.leading.clamp_angle,
            },
            "steps": _STEPS,
            "implementation": "examples/learned_mm_onnx.py",
        },
        "dofs": [
            {
                "name": name,
                "body": character.skeleton.names[character.skeleton.dof_bodies[d]],
                "axis": _numbers(character.skeleton.dof_axes[d]),
                "limits": _numbers(character.skeleton.dof_limits[d]),
            }
            for d, name in enumerate(character.skeleton.dof_names)
        ],
        "bodies": [
            {
                "name": name,
                "parent": character.skeleton.names[parent] if parent >= 0 else None,
                "offset": _numbers(character.skeleton.offsets[i]),
                "rest_rotation_xyzw": _numbers(character.skeleton.rest_rotations[i]),
            }
            for i, (name, parent) in enumerate(
                zip(character.skeleton.names, character.skeleton.parents, strict=True)
            )
        ],
        "feet": list(meta["feet"]),
        "conventions": {
            "quaternion_order": "xyzw", "up": "+z", "forward": "+x", "left": "+y", "handedness": "right",
            "length": "m", "angle": "rad", "time": "s",
        },
        "made_from": {
            "clips": int(meta["clips"]), "rows": int(meta["rows"]), "seconds": float(meta["seconds"]),
            "database_bytes": int(meta["database_bytes"]),
        },
    }


_STEPS = [
    "begin: state = starts.<name>.state; pose = decompressor(state)",
    "each 1 / rate_hz s: state = stepper(state)",
    "every search_seconds, and when |path - last path| > jump: query = the first pose_size features of the state, then "
    "the normalised path that the command spring takes during the next second; found = projector(query); go to it "
    "unless, within patience_s of the last time that one was gone to, |found - state|^2 <= near (features only) or "
    "|query - state|^2 <= |query - found|^2 + stay_bias",
    "pose = decompressor(state); after a jump the difference of the pose that would have been played (and of its "
    "rates) is added and dies away with halflife_s (inertialization)",
    "the ground point moves by velocity and turn_rate of the pose; hips and hinges are laid on it",
]


def _numbers(values: Tensor) -> list[float]:
    return [round(float(f"{float(v):.7g}"), 7) for v in values.tolist()]
