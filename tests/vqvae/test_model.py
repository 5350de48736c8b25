"""Network, losses and task: clips in whole, faults in circulation kept out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from isaacmm.errors import ConfigError
from isaacmm.learn.fit import FitConfig, fit
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import g1_robot
from isaacmm.paths import data_folder
from isaacmm.vqvae import data, measure, network
from isaacmm.vqvae.baseline import PatchQuantizer
from isaacmm.vqvae.model import MotionVQVAE, Shape, temporal_difference
from isaacmm.vqvae.task import VQVAETask, robot_hinges
from isaacmm.vqvae.tokenizer import Tokenizer

TINY = {"width": 16, "latent": 8, "codes": 16, "window": 16, "batch": 4, "layers": 2, "levels": [4, 3]}


def settings(**changes: Any) -> dict[str, Any]:
    held = OmegaConf.to_container(OmegaConf.load(data_folder("cfg") / "task" / "MotionVQVAE.yaml"))
    assert isinstance(held, dict)
    return {**{str(k): v for k, v in held.items() if k != "defaults"}, **TINY, **changes}


@pytest.fixture
def clips(make_motion: Callable[..., Motion]) -> list[Motion]:
    return [make_motion(frames=frames, seed=i) for i, frames in enumerate((50, 63, 41, 70))]


# ------------------------------------------------- faults in circulation (docs/vqvae.md lists them)
def test_the_velocity_loss_is_about_time(clips: list[Motion]) -> None:
    """It used to difference feature channels: a drift in time on all channels cost nothing, an offset did."""
    x = torch.zeros(2, 16, 8)
    drift = torch.arange(16.0)[None, :, None].expand(2, 16, 8)
    offset = torch.arange(8.0).expand(2, 16, 8)
    assert float((temporal_difference(x + drift) - temporal_difference(x)).abs().min()) == 1.0
    assert float((temporal_difference(x + offset) - temporal_difference(x)).abs().max()) == 0.0


def test_a_norm_that_is_asked_for_is_there() -> None:
    """An unknown name used to mean none, and the shipped one was unknown."""
    normed = network.encoder(5, 8, 4, 1, 1, 3, "relu", "layer")
    assert sum(isinstance(m, network.ChannelNorm) for m in normed.modules()) == 2
    x = 3.0 + 5.0 * torch.randn(2, 8, 10)
    y = network.ChannelNorm(8)(x)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 10), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.std(1, unbiased=False), torch.ones(2, 10), rtol=0, atol=1e-3)
    for norm, activation in (("LN", "relu"), ("none", "rlu")):
        with pytest.raises(ConfigError, match=r"valid|did you mean"):
            network.encoder(5, 8, 4, 1, 1, 3, activation, norm)


def test_statistics_travel_with_the_weights(clips: list[Motion]) -> None:
    """Mean and standard deviation used to be lost."""
    task = VQVAETask(settings(), clips, 1)
    state = task.build().state_dict()
    torch.testing.assert_close(state["mean"], torch.cat([task.spec.extract(c) for c in task.learned]).mean(0))
    assert bool((state["scale"] > 0).all())


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 8, 30, 31, 33])
def test_as_many_frames_come_out_as_went_in(frames: int) -> None:
    """30 frames used to come back as 28."""
    torch.manual_seed(0)
    model = MotionVQVAE(Shape(6, width=8, latent=4, codes=8)).eval()
    x = torch.randn(frames, 6)
    assert model.reconstruct(x).shape == x.shape
    tokens = model.encode(x)
    assert tokens.shape == (max(2, -(-frames // 4)), 1)
    torch.testing.assert_close(model.decode(tokens, frames), model.reconstruct(x), rtol=0, atol=1e-5)


def test_judged_clips_are_not_learned_from(clips: list[Motion]) -> None:
    """Validation used to draw from the training's loader."""
    task = VQVAETask(settings(held_out=0.3), clips, 1)
    held, learned = ({clip.name for clip in group} for group in (task.judged, task.learned))
    assert held and learned and not held & learned
    for truth in task.truth:
        normal = (truth - task.mean) / task.scale
        nearest = torch.cdist(normal, task.windows.frames).amin()
        assert float(nearest) > 1e-3


def test_clips_are_held_out_by_name(clips: list[Motion]) -> None:
    task = VQVAETask(settings(held_out="*_1"), clips, 1)
    assert [clip.name for clip in task.judged] == ["swing_1"] and len(task.learned) == 3


def test_ends_of_a_clip_are_not_smoothed_away(clips: list[Motion]) -> None:
    """Velocities used to be smoothed with zeros beyond the ends."""
    task = VQVAETask(settings(), clips, 1)
    x = task.spec.extract(clips[0])
    speed = task.spec.part(x, "root_velocity").norm(dim=-1)
    assert float(speed[:3].min()) > 0.5 * float(speed.median())
    assert float(speed[-3:].min()) > 0.5 * float(speed.median())


# ------------------------------------------------------------------------ where it begins
def test_it_begins_as_the_best_linear_codec() -> None:
    draw = torch.Generator().manual_seed(0)
    clips = [torch.randn(frames, 5, generator=draw).cumsum(0) for frames in (40, 43)]
    whole = MotionVQVAE(Shape(5, width=8, latent=24, quantizer="none")).eval()
    whole.begin(clips, torch.rand(5, generator=draw) + 0.5, 64)
    for clip in clips:  # 20 numbers per token fit into 24
        assert float((whole.reconstruct(clip) - clip).abs().mean()) < 0.05 * float(clip.std())
    # with three numbers per token, and a look at the neighbours', it is better than three principal components
    patches = torch.cat([clip[first : first + 36].unflatten(0, (9, 4)) for clip in clips for first in range(4)])
    rows = patches.flatten(1) - patches.flatten(1).mean(0)
    _, _, axes = torch.linalg.svd(rows, full_matrices=False)
    few = MotionVQVAE(Shape(5, width=8, latent=3, quantizer="none")).eval()
    few.begin(clips, torch.ones(5), 64)
    made = torch.cat([few.reconstruct(clip[f : f + 36]).unflatten(0, (9, 4)) for clip in clips for f in range(4)])
    alone = rows @ axes[:3].T @ axes[:3] - rows
    assert float((made - patches).square().mean()) < float(alone.square().mean())


def test_latent_distances_are_those_of_weighted_features() -> None:
    draw = torch.Generator().manual_seed(0)
    clip, weight = torch.randn(80, 3, generator=draw), torch.tensor([4.0, 1.0, 0.5])
    model = MotionVQVAE(Shape(3, width=8, latent=12)).eval()
    model.begin([clip], weight, 64)
    z = model.latents(clip[None])[0].detach()
    far = torch.cdist(z, z)
    wanted = torch.cdist(*[(clip * weight.sqrt()).unflatten(0, (20, 4)).flatten(1)] * 2)
    torch.testing.assert_close(far / far.mean(), wanted / wanted.mean(), rtol=0, atol=1e-3)
    assert float(z.square().mean()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("quantizer", ["ema", "reset", "ema_reset", "orig", "rvq", "fsq"])
def test_untrained_tokens_already_tell_something(quantizer: str, clips: list[Motion]) -> None:
    task = VQVAETask(settings(quantizer=quantizer), clips, 1)
    model, truth = task.build().eval(), task.spec.extract(task.learned[0])
    assert isinstance(model, MotionVQVAE)
    task.begin(model)
    found, guess = (
        measure.compare(task.spec, truth, made).values()["mpjpe_mm"]
        for made in (model.reconstruct(truth), task.mean.expand_as(truth))
    )
    assert found < (0.95 if quantizer == "fsq" else 0.8) * guess  # fsq: four numbers of eight begin with something


# ------------------------------------------------------------------------ learning
def test_windows_stay_within_their_clip() -> None:
    parts = [torch.full((length, 1), float(i)) for i, length in enumerate((20, 3, 17))]
    windows = data.Windows.of(parts, 8)
    drawn = windows.sample(200, torch.Generator().manual_seed(0))
    assert drawn.shape == (200, 8, 1)
    assert torch.equal(drawn.amin((1, 2)), drawn.amax((1, 2)))
    assert set(drawn[:, 0, 0].tolist()) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize("quantizer", ["ema", "reset", "ema_reset", "orig", "rvq", "fsq", "none"])
def test_each_quantizer_learns_through_the_loop(quantizer: str, clips: list[Motion], tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = VQVAETask(settings(quantizer=quantizer), clips, 1)
    config = FitConfig(max_steps=25, evaluate_every=0, learning_rate=3e-3, warmup_steps=5, ema_decay=0.9)
    path = fit(task, config, tmp_path, say=lambda _: None)
    tokenizer = Tokenizer.load(path)
    before = measure.compare(task.spec, task.truth[0], task.mean.expand_as(task.truth[0])).values()["mpjpe_mm"]
    made = tokenizer.model.reconstruct(task.truth[0], quantizer != "none")
    after = measure.compare(task.spec, task.truth[0], made).values()["mpjpe_mm"]
    assert after < 1.5 * before  # a few steps, on clips unlike those it saw: it has not gone astray
    if quantizer != "none":
        tokens = tokenizer.encode(task.judged[0])
        again = tokenizer.decode(tokens)
        torch.testing.assert_close(again.root_pos, tokenizer.reconstruct(task.judged[0]).root_pos, rtol=0, atol=1e-4)
        assert (tmp_path / "encoder.onnx").exists() and (tmp_path / "tokenizer.json").exists()


@pytest.mark.parametrize("quantizer", ["ema_reset", "rvq"])
def test_resuming_continues_bit_by_bit(quantizer: str, clips: list[Motion], tmp_path: Path) -> None:
    def run(folder: Path, resume: bool, until: int) -> None:
        task = VQVAETask(settings(quantizer=quantizer), clips, 1)
        seen = 0

        def stop() -> bool:
            nonlocal seen
            seen += 1
            return seen > until

        fit(task, FitConfig(max_steps=8, evaluate_every=0), folder, resume, stop=stop, say=lambda _: None)

    run(tmp_path / "whole", False, 99)
    run(tmp_path / "parts", False, 4)
    run(tmp_path / "parts", True, 99)
    whole, parts = (Tokenizer.load(tmp_path / name / "nn" / "last.pth") for name in ("whole", "parts"))
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[key]), key


def test_windows_must_be_whole_tokens(clips: list[Motion]) -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        VQVAETask(settings(window=30), clips, 1)
    with pytest.raises(ConfigError, match="smooth_l1"):
        VQVAETask(settings(loss={"kind": "smoothl1", "root": 1.0, "velocity": 0.5}), clips, 1)


def test_patches_are_a_baseline_that_gets_better_with_layers(clips: list[Motion]) -> None:
    task = VQVAETask(settings(), clips, 1)
    errors = []
    for sizes in ((8,), (8, 8), (8, 8, 8)):
        patches = PatchQuantizer(task.normal, 4, sizes)
        assert patches.bits == pytest.approx(3.0 * len(sizes))
        made = patches.reconstruct(task.normal[0])
        assert made.shape == task.normal[0].shape
        errors.append(float((made - task.normal[0]).square().mean()))
    assert errors == sorted(errors, reverse=True)


# ------------------------------------------------------------------------ real robots
def test_a_map_from_simulation_to_a_real_robot() -> None:
    robot = g1_robot.skeleton()
    where = [-1] * 29
    for real, simulated in enumerate(g1_robot.HINGES_23):
        where[simulated] = 22 - real  # the real one counts backwards
    chosen = {"apply_sim_to_real_map": True, "real_dof": 23, "sim_to_real_idx": where}
    hinges = robot_hinges(robot, chosen)
    assert hinges == list(reversed(g1_robot.HINGES_23))
    assert robot_hinges(robot, {**chosen, "apply_sim_to_real_map": False}) is None
    for wrong in ({"real_dof": 22}, {"sim_to_real_idx": where[:-1]}, {"sim_to_real_idx": [0] * 29}):
        with pytest.raises(ConfigError, match="sim_to_real_idx"):
            robot_hinges(robot, {**chosen, **wrong})


def test_every_setting_is_read_by_somebody() -> None:
    """Settings for clipping, stopping and validation used to be read by nobody."""
    from isaacmm.vqvae import task as module

    text = Path(module.__file__).read_text(encoding="utf-8")
    known = set(Shape.__dataclass_fields__)
    held = settings()
    for name in [*held, *held["loss"]]:
        assert name in known or f'"{name}"' in text or f"task.{name}" in text or name == "name", name
