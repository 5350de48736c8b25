"""The networks outside of torch."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from isaacmm import rotation, steering
from isaacmm.errors import ConfigError
from isaacmm.learn import checkpoint
from isaacmm.learned_matching.__main__ import main
from isaacmm.learned_matching.controller import LearnedController
from isaacmm.learned_matching.export import SIDECAR, write
from isaacmm.learned_matching.graphs import PRECISIONS, build
from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.stored import Stored
from isaacmm.matching.controller import Locking, Recording, Settings
from isaacmm.motion.io import registry
from tests import helpers

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "learned_mm_onnx.py"


@pytest.fixture
def exported(calm: LearnedMM, meta: dict[str, Any], tmp_path: Path) -> Path:
    write(calm, meta, tmp_path)
    return tmp_path


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("learned_mm_onnx", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_graphs_compute_what_the_networks_do(model: LearnedMM, meta: dict[str, Any], tmp_path: Path) -> None:
    files, differences = write(model, meta, tmp_path)
    assert {f.name for f in files} == {"decompressor.onnx", "stepper.onnx", "projector.onnx", SIDECAR}
    assert set(differences) == {"decompressor", "stepper", "projector"}
    assert max(differences.values()) < 1e-4
    sidecar = json.loads((tmp_path / SIDECAR).read_text())
    assert sidecar["state"]["size"] == model.features + model.latent
    assert [p["stop"] for p in sidecar["pose"]][-1] == sidecar["networks"]["decompressor"]["output"]["shape"][1]
    assert len(sidecar["starts"]["stand"]["state"]) == sidecar["state"]["size"]
    assert sidecar["features"]["blocks"][-1]["stop"] == sidecar["features"]["size"] == 27


@torch.no_grad()
def test_stored_networks_play_as_their_files_do(calm: LearnedMM, meta: dict[str, Any]) -> None:
    settings = Settings(locking=Locking(enabled=False), separate=False)
    ways = {}
    for name in ("torch", "float32", "int8"):
        model = calm if name == "torch" else Stored(calm, meta["rate"], name)  # type: ignore[arg-type]
        controller = LearnedController(model, meta, 2, fps=30.0, settings=settings)
        ways[name] = Recording(controller, controller.play(steering.named("circle"), 1.0))["dof_pos"]
    torch.testing.assert_close(ways["float32"], ways["torch"], atol=1e-3, rtol=0)
    apart = float((ways["int8"] - ways["torch"]).abs().mean())
    assert 1e-5 < apart < 0.1  # fewer bits are seen, and do little


def test_operators_that_every_runtime_has(model: LearnedMM) -> None:
    allowed = {"float32": {"Gemm", "Relu", "Add", "ArgMax", "Gather", "Concat"}}
    allowed["float16"] = allowed["float32"] | {"Cast"}
    allowed["int8"] = allowed["float16"] | {"DequantizeLinear"}
    sizes = {}
    for precision in PRECISIONS:
        graphs = build(model, 30.0, precision)
        assert {n.op_type for g in graphs.values() for n in g.graph.node} <= allowed[precision]
        assert all(g.opset_import[0].version == 15 for g in graphs.values())
        sizes[precision] = sum(len(g.SerializeToString()) for g in graphs.values())
    assert sizes["int8"] < 0.75 * sizes["float16"] < 0.75 * 0.75 * sizes["float32"]


def test_fewer_bits_are_measured(model: LearnedMM, meta: dict[str, Any], tmp_path: Path) -> None:
    _, half = write(model, meta, tmp_path / "half", "float16")
    _, whole = write(model, meta, tmp_path / "int8", "int8")
    assert max(half.values()) < 0.005
    for name in half:
        assert half[name] < whole[name] < 0.1
    with pytest.raises(ConfigError, match="float16"):
        write(model, meta, tmp_path, "float15")  # type: ignore[arg-type]


def test_runs_are_named_as_everywhere(
    model: LearnedMM, meta: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "mine"
    content = {"kind": "fit", "task": "LearnedMM", "ema": model.state_dict(), "meta": meta}
    checkpoint.save(run / "nn" / "last.pth", content)
    (run / "config.yaml").write_text("task: {name: LearnedMM}\n")
    for name in ("mine", "latest", "runs/mine", "runs/mine/nn/last.pth"):
        assert main(["export", name]) == 0
        # in the run, whatever it is called, and not where the command was given
        assert {p.name for p in (run / "onnx").iterdir()} >= {SIDECAR, "stepper.onnx"}
        assert not (tmp_path / "onnx").exists() and not (run / "nn" / "onnx").exists()
        shutil.rmtree(run / "onnx")
    capsys.readouterr()
    assert main(["evaluate", "min"]) == 2 and "did you mean 'mine'" in capsys.readouterr().err.lower()
    assert main(["film", "mine", "out=a.avi"]) == 2 and ".mp4" in capsys.readouterr().err


def test_a_graph_that_differs_is_not_used(
    model: LearnedMM, meta: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isaacmm.export import ExportError
    from isaacmm.learned_matching import export

    def wrong(*args: Any) -> dict[str, onnx.ModelProto]:
        made = build(*args)
        made["stepper"] = build(model, 10.0)["stepper"]
        return made

    monkeypatch.setattr(export, "build", wrong)
    with pytest.raises(ExportError, match="stepper"):
        write(model, meta, tmp_path)
    assert (tmp_path / "stepper.onnx.wrong").exists() and not (tmp_path / "stepper.onnx").exists()


def test_example_plays_what_the_controller_plays(exported: Path, model: LearnedMM, meta: dict[str, Any]) -> None:
    """Root, hinges and jumps of numpy and onnxruntime are those of the trainer, frame by frame."""
    module = example()
    player = module.Player(exported / SIDECAR)
    bare = Settings(locking=Locking(enabled=False), separate=False)
    controller = LearnedController(model, meta, fps=30.0, settings=bare)
    for t in range(45):
        velocity, facing, turn = module.script(t / 30.0 + 0.5)
        player.step(velocity, facing, turn)
        command = (torch.tensor([velocity]), torch.tensor([facing]), torch.tensor([turn]))
        frame = controller.step(*command)
        np.testing.assert_allclose(player.pos, frame.track_pos[0].numpy(), atol=2e-3)
        assert abs(module.wrap(player.yaw - float(frame.track_yaw[0]))) < 2e-3
        pos, rot, dof, _ = controller._animated()
        np.testing.assert_allclose(player.dofs, dof[0].numpy(), atol=5e-3)
        place, turned = player.root
        np.testing.assert_allclose(place, pos[0].numpy(), atol=3e-3)
        np.testing.assert_allclose(turned, rotation.to_matrix(rot[0]).numpy(), atol=5e-3)
    assert player.jumps >= 1  # or nothing of jumps has been compared


def test_example_alone_writes_a_file_that_is_the_motion(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "walk.bvh"
    words = [sys.executable, str(EXAMPLE), str(exported / SIDECAR), "--seconds", "1", "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "30 frames" in done.stdout
    motion = registry.read(out, skeleton=helpers.character().skeleton)
    assert motion.num_frames == 30 and motion.fps == pytest.approx(30.0, rel=1e-4)
    module = example()
    player = module.Player(exported / SIDECAR)
    skeleton = helpers.character().skeleton
    bodies, _ = motion.fk()
    for t in range(30):
        player.step(*module.script(t / 30.0))
        if t % 10:
            continue
        place, turn = (torch.as_tensor(v, dtype=torch.float32)[None] for v in player.root)
        dof = torch.as_tensor(player.dofs, dtype=torch.float32)[None]
        wanted, _ = skeleton.fk(place, rotation.from_matrix(turn), skeleton.dofs_to_joint_rot(dof))
        torch.testing.assert_close(bodies[t], wanted[0], atol=3e-3, rtol=0)


def test_example_needs_neither_torch_nor_this_project() -> None:
    nodes = list(ast.walk(ast.parse(EXAMPLE.read_text(encoding="utf-8"))))
    imports = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    imports |= {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}
    mine = {"__future__", "argparse", "collections.abc", "json", "math", "pathlib", "typing"}
    assert imports <= mine | {"numpy", "onnxruntime"}
