"""Learning, using and exporting an in-betweener, and the commands around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import CheckpointError, ConfigError, MotionError
from isaacmm.inbetween import clips, export, fill
from isaacmm.inbetween.benchmark import Statistics, choose, plain
from isaacmm.inbetween.fill import Keys
from isaacmm.inbetween.keys import Gaps
from isaacmm.inbetween.model import Inbetweener
from isaacmm.inbetween.network import Network, find
from isaacmm.inbetween.task import InbetweenTask, filler
from isaacmm.learn.fit import FitConfig, fit
from isaacmm.motion.__main__ import main
from isaacmm.motion.clip import Motion
from tests.helpers import made_up_walk
from tests.inbetween.conftest import CONFIG, walks

MakeRun = Callable[..., Path]
WORSE = {"mpjpe_x4": 9.0, "mpjpe_x4_baseline": 3.0, "mpjpe_gap15": 9.0, "mpjpe_gap15_baseline": 3.0}
BETTER = {"mpjpe_x4": 1.0, "mpjpe_x4_baseline": 3.0, "mpjpe_gap15": 1.0, "mpjpe_gap15_baseline": 3.0}


# -------------------------------------------------------------------------- task
def test_batches_come_from_the_generator_alone(tiny_task: InbetweenTask) -> None:
    a, b = (tiny_task.batch(0, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a) and a["clock"].shape[0] == CONFIG["batch"]
    assert (a["clock"][..., 0].sum(dim=1) > 0).all()


def test_untrained_figures_are_the_baseline_s(tiny_task: InbetweenTask) -> None:
    found = tiny_task.evaluate(tiny_task.build().eval())
    assert found["mpjpe_gap15"] == pytest.approx(found["mpjpe_gap15_baseline"], rel=1e-3) and found["l2p_x8"] > 0
    assert found["mpjpe_x2_baseline"] < found["mpjpe_x4_baseline"] < found["mpjpe_x16_baseline"]
    assert found["slide_real_x4"] >= 0 and not any(np.isnan(v) for v in found.values())


def test_what_is_learned_from_is_not_what_is_judged(tiny_task: InbetweenTask) -> None:
    assert tiny_task.held_names and not set(tiny_task.held_names) & set(tiny_task.pack.names)
    assert set(tiny_task.judge.names) == set(tiny_task.held_names)


def test_it_learns_and_leaves_its_results(tmp_path: Path) -> None:
    motions = [made_up_walk(1.0 + 0.02 * i, 0.2, 2.5, name=f"clip{i}") for i in range(4)]
    task = InbetweenTask(motions, {**CONFIG, "mirror": True}, seed=0)
    config = FitConfig(max_steps=180, learning_rate=4e-3, warmup_steps=20, ema_decay=0.97, evaluate_every=0)
    path = fit(task, config, tmp_path, say=lambda text: None)
    network = Network.load(path)
    assert network.evaluation["mpjpe_gap15"] < 0.95 * network.evaluation["mpjpe_gap15_baseline"]
    assert network.skeleton.names == motions[0].skeleton.names
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert figures["figures"]["mpjpe_x8"] > 0 and figures["held_out"]
    shapes = [Motion.load(tmp_path / "motions" / f"x8_{kind}.bvh") for kind in ("real", "network", "interpolation")]
    assert len({m.num_frames for m in shapes}) == 1
    assert (tmp_path / "inbetween.png").stat().st_size > 10_000
    sidecar = json.loads((tmp_path / "inbetween.json").read_text())
    assert sidecar["network"]["largest_difference_to_training"] < export.TOLERANCE
    assert [b["name"] for b in sidecar["bodies"]] == list(motions[0].skeleton.names)
    assert sidecar["network"]["half_size"]["largest_difference_to_training"] < export.HALF_TOLERANCE
    sizes = [(tmp_path / name).stat().st_size for name in ("inbetween.onnx", "inbetween_fp16.onnx")]
    assert sizes[1] < 0.8 * sizes[0]  # smaller networks than the default one are half constants that stay


def test_clips_may_be_held_out_by_name() -> None:
    assert "none being held out" in InbetweenTask(walks(), {**CONFIG, "held_out": 0.0}, 0).judged_on
    task = InbetweenTask(walks(), {**CONFIG, "held_out": "*_1"}, 0)
    assert task.judged_on == "on clips held out"
    assert task.held_names == ["walk_1"] and task.pack.names == ["walk_0", "walk_2"]
    with pytest.raises(ConfigError, match=r"fits none of the 3 clips \(walk_0"):
        InbetweenTask(walks(), {**CONFIG, "held_out": "*subject5*"}, 0)


def test_short_clips_are_refused_with_a_number() -> None:
    with pytest.raises(MotionError, match=r"longest clip has 10 frames.*at least 17"):
        InbetweenTask([made_up_walk(seconds=0.3)], CONFIG, 0)


def test_clips_of_several_skeletons(tmp_path: Path, humanoid: CharacterModel) -> None:
    walk = walks(1)[0]
    walk.save(tmp_path / "a.npz")
    renamed = replace(walk.skeleton, names=("hip", *walk.skeleton.names[1:]), dof_names=(), dof_bodies=())
    other = replace(walk, skeleton=renamed, name="b")
    other.save(tmp_path / "b.bvh")
    with pytest.raises(ConfigError, match=r"task\.skeleton=character"):
        clips.load({"clips": [str(tmp_path / "a.npz"), str(tmp_path / "b.bvh")]}, humanoid, "own", 30.0)
    motions, whose = clips.load({"clips": [str(tmp_path / "b.bvh")]}, humanoid, "auto", 15.0)
    assert whose == "own" and motions[0].fps == 15.0 and motions[0].skeleton.names[0] == "hip"
    motions, whose = clips.load({"clips": [str(tmp_path / "a.npz")]}, humanoid, "auto", 30.0)
    assert whose == "character"


def test_statistics_and_test_windows(tiny_task: InbetweenTask) -> None:
    statistics = Statistics.of(tiny_task.pack)
    assert statistics.std.shape == (45,) and (statistics.std > 0).all()
    assert choose(tiny_task.pack, 65)[1] == 5  # too few for the benchmark's spacing of 40


# -------------------------------------------------------------------------- fill
def test_keys_stay_and_times_may_be_any(wild_network: Network) -> None:
    motion = walks(1)[0]
    keys = Keys.of(motion, torch.arange(0, motion.num_frames, 6))
    times = torch.cat((keys.seconds, torch.tensor([0.0501, 0.333, 1.2345], dtype=torch.float64))).sort().values
    pos, rot = fill.filled(wild_network, keys, times)
    at = torch.searchsorted(times, keys.seconds)
    assert torch.equal(pos[at], keys.pos) and rotation.angle_between(rot[at], keys.rot).max() < 1e-3
    plain_pos, _ = fill.interpolated(keys, times)
    changed = (pos - plain_pos).norm(dim=-1) > 1e-5
    assert int(changed.sum()) == len(times) - len(keys)


def test_gaps_that_are_not_trusted_are_interpolated(wild_network: Network) -> None:
    keys = Keys.of(walks(1)[0], torch.arange(0, 60, 10))
    times = torch.arange(0, 51).double() / 30
    use = torch.tensor([False, True, False, True, False])
    (pos, _), (plain_pos, _) = fill.filled(wild_network, keys, times, use=use), fill.interpolated(keys, times)
    changed = ((pos - plain_pos).norm(dim=-1) > 1e-6).nonzero().flatten().tolist()
    assert changed == [*range(11, 20), *range(31, 40)]


def test_it_does_not_matter_where_a_clip_stands(wild_network: Network) -> None:
    motion = walks(1)[0]
    turn, step = rotation.from_yaw(torch.tensor(2.0)), torch.tensor([3.0, -1.0, 0.0])
    moved = replace(
        motion, root_pos=rotation.rotate(turn, motion.root_pos) + step,
        root_rot=rotation.multiply(turn.expand_as(motion.root_rot), motion.root_rot),
    )  # fmt: skip
    frames, times = torch.arange(0, 70, 7), torch.arange(0, 63).double() / 30
    here = fill.filled(wild_network, Keys.of(motion, frames), times)
    there = fill.filled(wild_network, Keys.of(moved, frames), times)
    assert (rotation.rotate(turn, here[0]) + step - there[0]).abs().max() < 1e-3
    assert rotation.angle_between(here[1][:, 1:], there[1][:, 1:]).max() < 1e-2


def test_noisy_keys_are_corrected_too(wild_network: Network) -> None:
    keys = Keys.of(walks(1)[0])
    pos, rot = fill.filled(wild_network, keys, keys.seconds, noise=0.05)
    assert (pos - keys.pos).norm(dim=-1).min() > 1e-6 and torch.isfinite(rot).all()


def test_filling_agrees_with_the_benchmark_s(wild_network: Network) -> None:
    """One gap with one key on each side: the same by either way."""
    motion = walks(1)[0].slice(0, 11)
    pack = clips.ClipPack([motion])
    windows = pack.windows(torch.tensor([0]), 11)
    known = torch.zeros(1, 11, dtype=torch.bool)
    known[:, [0, 10]] = True
    gaps = clips_gaps(known)
    wanted = filler(wild_network.model)(windows, gaps, torch.tensor([0]), torch.zeros(1))
    pos, rot = fill.filled(wild_network, Keys.of(motion, torch.tensor([0, 10])), torch.arange(11).double() / 30)
    assert (pos - wanted.pos[0]).abs().max() < 1e-4
    assert rotation.angle_between(rot, wanted.rot[0]).max() < 1e-2
    assert (plain(windows, gaps, torch.tensor([0]), torch.zeros(1)).pos[0] - pos).abs().max() > 1e-4


def clips_gaps(known: torch.Tensor) -> Gaps:
    return Gaps.of(known, (torch.arange(known.shape[1]) / 30).expand(known.shape))


def test_a_clip_judges_for_itself(wild_network: Network) -> None:
    keys = Keys.of(walks(1)[0], torch.arange(0, 75, 4))
    check = fill.check_keys(wild_network, keys)
    assert check is not None and check.network > check.interpolation
    check = fill.check_gap(wild_network, Keys.of(walks(1)[0]), 0.3)
    assert check is not None and check.interpolation > 0
    assert fill.check_keys(wild_network, keys.some(torch.arange(3))) is None


# ----------------------------------------------------------------------- network
def test_a_network_says_what_does_not_fit(wild_network: Network) -> None:
    walk = walks(1)[0]
    wild_network.check(walk)
    renamed = replace(walk.skeleton, names=("hip", *walk.skeleton.names[1:]))
    with pytest.raises(MotionError, match="it has hip; it lacks pelvis"):
        wild_network.check(replace(walk, skeleton=renamed))
    turned = replace(walk.skeleton, offsets=walk.skeleton.offsets[:, [2, 0, 1]])
    with pytest.raises(MotionError, match="axes differ"):
        wild_network.check(replace(walk, skeleton=turned))
    longer = replace(walk.skeleton, offsets=walk.skeleton.offsets * 1.2)
    wild_network.check(replace(walk, skeleton=longer))


def test_the_newest_network_that_fits_is_found(make_run: MakeRun, wild_network: Network) -> None:
    walk = walks(1)[0]
    assert "no MotionInbetween has been trained" in find("latest", walk, Path("nowhere"))[1]
    runs_dir = make_run(BETTER)
    network, _ = find("latest", walk, runs_dir)
    assert network is not None and network.path.parent.parent.name == "made"
    stranger = replace(walk, skeleton=replace(walk.skeleton, names=("hip", *walk.skeleton.names[1:])))
    network, why = find("latest", stranger, runs_dir)
    assert network is None and "none of the 1" in why and "task.skeleton=own" in why
    with pytest.raises(MotionError, match=r"it lacks pelvis.*retarget"):
        find("made", stranger, runs_dir)
    with pytest.raises(CheckpointError, match="no such file or run"):
        find("mad_as_a_hatter", walk, runs_dir)
    assert find("none", walk, runs_dir) == (None, "as asked for")


# ---------------------------------------------------------------------- commands
@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.bvh"
    made_up_walk(1.1, 0.2, 2.0).resample(10.0).save(path)
    return path


def test_upsample_by_interpolation_says_so(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.bvh"
    assert main(["upsample", str(clip), str(out), "rate=6", f"runs={tmp_path / 'none'}"]) == 0
    said = capsys.readouterr().out
    assert "at 60 fps" in said and "plain interpolation" in said and "launch.py task=MotionInbetween" in said
    before, after = Motion.load(clip), Motion.load(out)
    assert after.fps == pytest.approx(60.0, rel=1e-4) and after.num_frames == (before.num_frames - 1) * 6 + 1
    assert (after.fk()[0][::6] - before.fk()[0]).abs().max() < 1e-4


def test_frames_stored_twice_are_no_keys(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once, out = Motion.load(clip), tmp_path / "out.npz"
    twice = torch.arange(once.num_frames).repeat_interleave(2)
    doubled = replace(
        once, root_pos=once.root_pos[twice], root_rot=once.root_rot[twice], joint_rot=once.joint_rot[twice],
        contacts=None, fps=2 * once.fps,
    )  # fmt: skip
    doubled.save(tmp_path / "twice.npz")
    assert main(["upsample", str(tmp_path / "twice.npz"), str(out), "rate=3", "network=none"]) == 0
    assert "stored 2 times" in capsys.readouterr().out
    made = Motion.load(out)
    assert made.fps == pytest.approx(3 * once.fps, rel=1e-4) and made.num_frames == 3 * (once.num_frames - 1) + 1


def test_heads_share_the_width() -> None:
    with pytest.raises(ConfigError, match=r"width=30: wants a multiple of network.heads=4"):
        Inbetweener(9, width=30, heads=4)


@pytest.mark.parametrize(("figures", "trust", "used"), [(WORSE, "", False), (WORSE, "--trust", True)])
def test_upsample_by_a_network(
    clip: Path, tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str],
    figures: dict[str, float], trust: str, used: bool,
) -> None:  # fmt: skip
    runs_dir = make_run(figures, zero=False)
    words = ["upsample", str(clip), str(tmp_path / "out.npz"), "rate=3", f"runs={runs_dir}"]
    assert main([*words, *filter(None, [trust])]) == 0
    said = capsys.readouterr().out
    assert "every second frame of this clip left out: network" in said and "interpolation 3.0 mm (x4" in said
    assert ("interpolation did better" in said) != used
    assert ("\n  by the network made" in said) == used


def test_inbetween_gaps_keys_and_poses(
    clip: Path, tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_dir, out = make_run(BETTER), tmp_path / "out.npz"
    before = Motion.load(clip)
    assert main(["inbetween", str(clip), str(out), "gap=5:9,1.2s:1.5s", f"runs={runs_dir}"]) == 0
    after = Motion.load(out)
    assert after.num_frames == before.num_frames
    changed = (after.fk()[0] - before.fk()[0]).norm(dim=-1).amax(dim=-1) > 1e-4
    assert changed.nonzero().flatten().tolist() == [5, 6, 7, 8, 12, 13, 14]
    assert main(["inbetween", str(clip), str(out), "keys=2,7,10", f"runs={runs_dir}"]) == 0
    assert Motion.load(out).num_frames == 9 and "left out" in capsys.readouterr().out
    assert main(["inbetween", str(clip), str(out), "--frames", "2", "--network", "none"]) == 0
    assert Motion.load(out).num_frames == (before.num_frames - 1) * 3 + 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["upsample", "clip.bvh", "rate=8"], "say where to write"),
        (["upsample", "clip.bvh", "out.bvh", "rat=8"], "rate"),
        (["upsample", "clip.bvh", "out.bvh", "rate=x"], "wants a number"),
        (["upsample", "clip.bvh", "out.bvh", "rate=2.5"], "Nearest: 2"),
        (["upsample", "clip.bvh", "out.bvh", "rate=1"], "from 2 to 120"),
        (["upsample", "clip.bvh", "out.bvh", "rate=0"], "above 0"),
        (["upsample", "clip.bvh", "out.bvh", "rate=nan"], "above 0"),
        (["upsample", "clip.bvh", "out.bvh", "fps=0"], "above 0"),
        (["upsample", "clip.bvh", "out.bvh", "fps=inf"], "above 0"),
        (["upsample", "clip.bvh", "clip.bvh", "rate=4"], "written over"),
        (["inbetween", "clip.bvh", "--network", "none", "clip.bvh", "gap=3:5"], "written over"),
        (["inbetween", "clip.bvh", "out.bvh", "gap=infs:3"], "is no time"),
        (["upsample", "clip.bvh", "out.bvh", "rate=4", "fps=60"], "not both"),
        (["upsample", "clip.bvh", "out.bvh", "denoise=90"], "from 0 to 30"),
        (["upsample", "clip.bvh", "out.bvh", "network=nothing"], "network=nothing: there is no such file or run"),
        (["inbetween", "clip.bvh", "out.bvh"], "say what to make"),
        (["inbetween", "clip.bvh", "out.bvh", "gap=0:4"], "before and behind"),
        (["inbetween", "clip.bvh", "out.bvh", "gap=4"], "40:70"),
        (["inbetween", "clip.bvh", "out.bvh", "gap=4:900"], "frames 0 to"),
        (["inbetween", "clip.bvh", "out.bvh", "keys=3"], "at least two"),
        (["inbetween", "clip.bvh", "out.bvh", "keys=3,999"], "frames 0 to"),
        (["inbetween", "clip.bvh", "out.bvh", "frames=0"], "from 1 to 1000"),
    ],
)
def test_mistakes_are_answered(
    clip: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip.parent)
    assert main(words) == 2
    assert told in capsys.readouterr().err
