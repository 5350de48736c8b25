"""The commands, as a user types them, on a tokenizer that has hardly learned anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.learn.fit import FitConfig, fit
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import g1_robot
from isaacmm.vqvae import data, export, measure, tokens, usage
from isaacmm.vqvae.__main__ import main
from isaacmm.vqvae.features import Start
from isaacmm.vqvae.model import MotionVQVAE, Shape
from isaacmm.vqvae.task import VQVAETask
from isaacmm.vqvae.tokenizer import Tokenizer
from isaacmm.vqvae.tokens import Tokens

Make = Callable[..., Motion]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, make_motion: Make) -> Path:
    """A folder with ``runs/tiny``, trained on ``clips/``."""
    from omegaconf import OmegaConf

    from isaacmm.paths import data_folder

    folder = tmp_path_factory.mktemp("vqvae")
    clips = [make_motion(frames=frames, seed=i) for i, frames in enumerate((50, 66, 41, 90))]
    for clip in clips:
        (folder / "clips").mkdir(exist_ok=True)
        clip.save(folder / "clips" / f"{clip.name}.npz")
    settings = dict(OmegaConf.load(data_folder("cfg") / "task" / "MotionVQVAE.yaml"))
    settings |= {"width": 16, "latent": 8, "codes": 16, "window": 16, "batch": 4, "quantizer": "rvq", "layers": 2}
    settings = {str(k): v for k, v in settings.items() if k != "defaults"}
    torch.manual_seed(0)
    task = VQVAETask(settings, clips, 1)
    config = {"task": {"skeleton": "auto"}, "motion": {"clips": [{"file": str(folder / "clips")}]}}
    fit(task, FitConfig(max_steps=15, evaluate_every=0), folder / "runs" / "tiny", settings=config, say=lambda _: None)
    return folder


def test_tokens_there_and_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(home / "runs" / "tiny")
    clip = str(home / "clips" / "swing_1.npz")
    assert main(["tokenize", run, clip, "--out", str(home / "a.json")]) == 0
    assert "66 frames as 17 x 2 tokens" in capsys.readouterr().out
    assert main(["decode", run, str(home / "a.json"), "--out", str(home / "a.bvh")]) == 0
    assert main(["reconstruct", run, clip, "--out", str(home / "b.bvh"), "--original"]) == 0
    there, again = (Motion.load(home / name) for name in ("a.bvh", "b.bvh"))
    assert there.num_frames == again.num_frames == 66
    torch.testing.assert_close(there.fk()[0], again.fk()[0], rtol=0, atol=1e-4)
    original = Motion.load(home / "clips" / "swing_1.npz")
    torch.testing.assert_close(there.root_pos[0, :2], original.root_pos[0, :2], rtol=0, atol=1e-3)
    assert (home / "b_original.bvh").exists()


def test_runs_are_found_by_name_and_as_the_latest(home: Path) -> None:
    for name in ("tiny", "latest"):
        words = ["tokenize", name, str(home / "clips" / "swing_0.npz"), "--runs-dir", str(home / "runs")]
        assert main([*words, "--out", str(home / f"{name}.txt")]) == 0
    assert (home / "tiny.txt").read_text() == (home / "latest.txt").read_text()
    assert main(["decode", "tiny", str(home / "tiny.txt"), "--runs-dir", str(home / "runs"),
                 "--out", str(home / "plain.npz")]) == 0  # fmt: skip


def test_folders_and_joined_sequences(home: Path) -> None:
    run, out = str(home / "runs" / "tiny"), home / "tokens"
    assert main(["tokenize", run, str(home / "clips"), "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == [f"swing_{i}.json" for i in range(4)]
    assert main(["decode", run, str(out), "--out", str(home / "back")]) == 0
    assert len(list((home / "back").glob("*.bvh"))) == 4
    assert main(["decode", run, str(out), "--joined", "--out", str(home / "joined.bvh")]) == 0
    steps = sum(len(tokens.load(path).codes) for path in out.iterdir())
    assert Motion.load(home / "joined.bvh").num_frames == 4 * steps


def test_inspect_and_cluster(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(home / "runs" / "tiny")
    assert main(["inspect", run, "--picture", str(home / "use.png"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bits_per_token"] == 8.0 and len(report["layers"]) == 2
    assert report["ratio_pose"] == 32 * 35 * 4 / 8
    assert 1 <= report["layers"][0]["used"] <= 16
    assert report["codes"][0]["nearest"][0]["clip"].startswith("swing_")
    assert (home / "use.png").stat().st_size > 1000
    assert main(["cluster", run, "--groups", "2", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert sorted(name for group in groups for name in group) == [f"swing_{i}" for i in range(4)]


def test_mistakes_are_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(home / "runs" / "tiny")
    (home / "bad.txt").write_text("1 2\n3 99\n")
    (home / "odd.txt").write_text("1 2\n3\n")
    (home / "words.txt").write_text("one two\n")
    held = tokens.load(home / "a.json") if (home / "a.json").exists() else Tokens(torch.zeros(3, 2).long())
    Tokens(held.codes, tokenizer="0123456789ab", name="foreign").save(home / "foreign.json")
    for name, said in (
        ("bad.txt", "0 to 15"), ("odd.txt", "as many"), ("words.txt", "line 1"), ("foreign.json", "Tokenize"),
        ("missing.json", "no such token file"),
    ):  # fmt: skip
        assert main(["decode", run, str(home / name), "--out", str(home / "x.bvh")]) == 2
        assert said in capsys.readouterr().err
    assert main(["inspect", str(home / "nowhere")]) == 2
    assert "checkpoint=" not in (err := capsys.readouterr().err) and "no such file or run" in err
    assert main(["inspect", run, "--top", "-3"]) == 2


def test_nothing_is_written_over_what_is_read_or_over_another_result(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, clip = str(home / "runs" / "tiny"), tmp_path / "clip.npz"
    clip.write_bytes((home / "clips" / "swing_2.npz").read_bytes())
    assert main(["reconstruct", run, str(clip), "--out", str(clip)]) == 2
    assert "written over" in capsys.readouterr().err
    assert clip.read_bytes() == (home / "clips" / "swing_2.npz").read_bytes()
    files = [str(tmp_path / name / "a.json") for name in ("one", "two")]
    for file in files:  # of one clip, so both are called swing_2 inside
        assert main(["tokenize", run, str(clip), "--out", file]) == 0
    assert main(["decode", run, files[0], "--out", files[0]]) == 2
    assert "written over" in capsys.readouterr().err and tokens.load(Path(files[0])).frames == 41
    assert main(["decode", run, *files, "--out", str(tmp_path / "back")]) == 2
    assert "just written from another file" in capsys.readouterr().err
    assert main(["decode", run, *files, "--out", str(tmp_path / "more"), "--robot", str(tmp_path / "r.csv")]) == 2
    assert "--joined" in capsys.readouterr().err


def test_decoding_in_one_piece_has_no_seams(make_motion: Make) -> None:
    clip = make_motion(frames=160)
    assert measure.seam(clip, 32) == pytest.approx(1.0, abs=0.15)
    broken = Motion(clip.skeleton, clip.root_pos.clone(), clip.root_rot, clip.joint_rot, clip.fps)
    for start in range(32, 160, 32):
        broken.root_pos[start:] += torch.tensor([0.05, 0.0, 0.0])
    assert measure.seam(broken, 32) > 3.0


def test_whole_and_windowed_decoding_agree_inside(home: Path) -> None:
    tokenizer = Tokenizer.load(home / "runs" / "tiny")
    last = tokenizer.model.decoder.net[-1]
    assert isinstance(last, torch.nn.Conv1d)
    torch.manual_seed(0)
    torch.nn.init.normal_(last.weight, std=0.1)  # that the convolutions count, which begin at nothing
    codes = torch.randint(16, (60, 2), generator=torch.Generator().manual_seed(0))
    whole, part = tokenizer.model.decode(codes), tokenizer.model.decode(codes[20:40])
    torch.testing.assert_close(part[36:44], whole[116:124], rtol=0, atol=1e-4)  # far from the part's ends
    assert float((part[:4] - whole[80:84]).abs().max()) > 1e-3


# ------------------------------------------------------------------------ formats
def g1_array(frames: int = 40, first: int = 25) -> np.ndarray:
    """MotionVQVAE's continuous array: two clips of a G1 with 23 hinges."""
    time = np.arange(frames) / 50.0
    flag = np.zeros(frames)
    flag[first - 5 : first] = 1.0
    angles = 0.2 * np.sin(time[:, None] * 3.0 + np.arange(23))
    root = np.stack((time, 0 * time, 0.78 + 0 * time), axis=1)
    rotation = np.tile([1.0, 0.0, 0.0, 0.0], (frames, 1))  # wxyz
    return np.concatenate((time[:, None], root, rotation, angles, flag[:, None]), axis=1)


def test_continuous_arrays_give_all_their_clips_on_the_robot(tmp_path: Path, humanoid: CharacterModel) -> None:
    np.save(tmp_path / "robot.npy", g1_array())
    clips = data.load({"clips": [str(tmp_path / "robot.npy")]}, humanoid)
    assert [clip.num_frames for clip in clips] == [25, 15]
    assert clips[0].skeleton.names == g1_robot.skeleton().names and clips[0].fps == pytest.approx(50.0)
    torch.testing.assert_close(clips[0].root_rot[0], torch.tensor([0.0, 0.0, 0.0, 1.0]))


def test_pickles_of_robots_are_read(tmp_path: Path, humanoid: CharacterModel) -> None:
    import pickle

    rows = g1_array()
    clip = {"fps": 30, "root_pos": rows[:, 1:4], "root_rot": np.roll(rows[:, 4:8], -1, 1), "dof_pos": rows[:, 8:-1]}
    many = {
        name: {"root_trans_offset": rows[:, 1:4], "root_rot": clip["root_rot"], "dof": rows[:, 8:-1], "fps": 30}
        for name in ("a", "b")
    }
    for name, content in (("one", clip), ("many", many)):
        with (tmp_path / f"{name}.pkl").open("wb") as file:
            pickle.dump(content, file)
    clips = data.load({"clips": [str(tmp_path / "one.pkl"), str(tmp_path / "many.pkl")]}, humanoid)
    assert [clip.num_frames for clip in clips] == [40, 40, 40] and len({clip.name for clip in clips}) == 3
    torch.testing.assert_close(clips[0].dof_pos(), clips[1].dof_pos(), rtol=0, atol=1e-5)


def test_clips_shorter_than_a_token_are_refused(make_motion: Make) -> None:
    from omegaconf import OmegaConf

    from isaacmm.paths import data_folder

    settings = dict(OmegaConf.load(data_folder("cfg") / "task" / "MotionVQVAE.yaml"))
    with pytest.raises(MotionError, match="has 3 frames at 30 fps, and a token stands for 4"):
        VQVAETask({str(k): v for k, v in settings.items()}, [make_motion(frames=3)], 1)


def test_skeletons_do_not_mix(tmp_path: Path, humanoid: CharacterModel, make_motion: Make) -> None:
    np.save(tmp_path / "robot.npy", g1_array())
    make_motion().save(tmp_path / "human.npz")
    with pytest.raises(MotionError):
        data.load({"clips": [str(tmp_path / "robot.npy"), str(tmp_path / "human.npz")]}, humanoid)


def test_recorded_clips_of_other_skeletons_are_retargeted(recorded_motions: Path, humanoid: CharacterModel) -> None:
    path = recorded_motions / "bvh_bandai_nc" / "dataset-1_dash_normal_001.bvh"
    (clip,) = data.read_for(path, humanoid.skeleton, humanoid)
    assert clip.skeleton.names == humanoid.skeleton.names
    g1 = sorted((recorded_motions / "g1_csv_kimodo").glob("*.csv"))[0]
    assert data.load({"clips": [str(g1)]}, humanoid)[0].skeleton.num_dofs == 29


# ------------------------------------------------------------------------ engines
@pytest.mark.parametrize("quantizer", ["ema_reset", "rvq", "fsq"])
def test_exported_networks_are_the_trained_ones(quantizer: str, home: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(home / "runs" / "tiny")
    size = tokenizer.spec.size
    torch.manual_seed(0)
    shape = Shape(size, width=16, latent=8, codes=16, layers=2, quantizer=quantizer, activation="gelu", norm="layer")
    model = MotionVQVAE(shape, tokenizer.model.mean, tokenizer.model.scale).train()
    x = torch.randn(2, 32, size)
    model(x)
    made = export.export(model.eval(), tokenizer.spec, tmp_path, model.denormalise(torch.randn(37, size)))
    assert made.tokens > 0.99 and made.difference < 1e-4
    sidecar = json.loads((tmp_path / "tokenizer.json").read_text())
    assert sidecar["features"][-1]["stop"] == size and sidecar["frames_per_token"] == 4
    used = {node.op_type for name in ("encoder", "decoder") for node in onnx.load(tmp_path / f"{name}.onnx").graph.node}
    assert used <= {
        "Add", "ArgMax", "Cast", "Concat", "Conv", "Div", "Erf", "Floor", "Gather", "MatMul", "Mul", "Pad",
        "ReduceMean", "ReduceSum", "Reshape", "Resize", "Round", "Sqrt", "Sub", "Tanh", "Transpose", "Unsqueeze",
    }  # fmt: skip


def test_a_broken_export_is_noticed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.load(home / "runs" / "tiny")
    whole = export.graph.decoder

    def without_statistics(model: MotionVQVAE) -> onnx.ModelProto:
        return whole(MotionVQVAE(model.shape))

    monkeypatch.setattr(export.graph, "decoder", without_statistics)
    with pytest.raises(export.ExportError):
        export.export(tokenizer.model, tokenizer.spec, tmp_path, torch.randn(20, tokenizer.spec.size))
    assert not list(tmp_path.iterdir())


def test_token_files_hold_what_they_were_given(tmp_path: Path) -> None:
    held = Tokens(torch.tensor([[1, 2], [3, 4], [5, 6]]), 11, Start((1.5, -2.0), 0.25), "walk", "abc")
    held.save(tmp_path / "a.json")
    again = tokens.load(tmp_path / "a.json")
    assert torch.equal(again.codes, held.codes)
    assert (again.frames, again.start, again.name, again.tokenizer) == (11, held.start, "walk", "abc")
    with pytest.raises(MotionError, match="json"):
        held.save(tmp_path / "a.bin")


def test_clusters_find_groups_that_are_there() -> None:
    draw = torch.Generator().manual_seed(0)
    histograms = [
        usage.histogram(10 * (i % 3) + torch.randint(10, (80,), generator=draw), 30) for i in range(12)
    ]
    which = usage.clusters(histograms, 3)
    assert len(set(which)) == 3 and all(which[i] == which[i % 3] for i in range(12))
