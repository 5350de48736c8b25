"""The networks and their fit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from isaacmm import paths
from isaacmm.errors import CheckpointError, ConfigError
from isaacmm.learn.fit import FitConfig, fit
from isaacmm.learned_matching.controller import load
from isaacmm.learned_matching.losses import Losses, Weights
from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.rows import Rows
from isaacmm.learned_matching.task import LearnedMMTask


def error_mm(model: LearnedMM, rows: Rows) -> float:
    x, y, bodies = rows.features, rows.poses, rows.bodies
    made = rows.place(model.decompress(x, model.compress(x, y, bodies)))
    return 1000.0 * float((made - bodies).unflatten(1, (-1, 3)).norm(dim=-1).mean())


@torch.no_grad()
def test_compression_begins_as_principal_components(task: LearnedMMTask, model: LearnedMM, rows: Rows) -> None:
    z = model.compress(rows.features, rows.poses, rows.bodies)
    covariance = torch.cov(z.T)
    # uncorrelated, and in falling order, up to the rows that were left out
    off = covariance - torch.diag(covariance.diagonal())
    assert float(off.abs().max()) < 0.05 * float(covariance.diagonal().max())
    assert (covariance.diagonal()[1:] <= covariance.diagonal()[:-1] * 1.05).all()
    spread = rows.bodies - rows.bodies.mean(0)
    plain = 1000.0 * float(spread.unflatten(1, (-1, 3)).norm(dim=-1).mean())
    assert error_mm(model, rows) < 0.25 * plain


def test_more_latents_than_there_is_to_tell(rows: Rows, config: dict[str, Any]) -> None:
    task = LearnedMMTask({**config, "latent": 100}, rows)
    model = task.build()
    task.begin(model)
    assert isinstance(model, LearnedMM)
    with torch.no_grad():
        assert error_mm(model, rows) < 1.0
    loss, _ = task.loss(model, task.batch(0, torch.Generator().manual_seed(0)))
    assert torch.isfinite(loss)


def test_gradients_do_not_mix(task: LearnedMMTask, model: LearnedMM) -> None:
    """Stepper and projector must not bend the latents to their convenience."""
    batch = task.batch(0, torch.Generator().manual_seed(0))
    window = (batch["x"], batch["y"], batch["bodies"])
    _, parts = task.losses.decompressor(model, *window)
    step, _ = task.losses.stepper(model, batch["x"], parts["z"], batch["y"])
    step.backward()
    assert all(p.grad is None for n, p in model.named_parameters() if not n.startswith("step"))
    answer = model.compress(batch["answer_x"], batch["answer_y"], batch["answer_bodies"]).detach()
    project, _ = task.losses.projector(model, batch["query"], batch["chosen"], batch["answer_x"], answer)
    project.backward()
    assert all(p.grad is None for n, p in model.named_parameters() if n.startswith(("compress", "decompress")))


def test_poses_learn_in_their_share_of_the_steps(task: LearnedMMTask, model: LearnedMM) -> None:
    model.train()
    for step, learns in ((0, True), (1, False), (2, True)):
        model.zero_grad(set_to_none=True)
        loss, parts = task.loss(model, task.batch(step, torch.Generator().manual_seed(step)))
        loss.backward()
        assert (model.decompress_linear.weight.grad is not None) == learns
        assert {"pose", "step_x", "project_x"} <= set(parts)  # every row of the curves has all columns


def test_what_stands_does_not_move_over_the_ground(rows: Rows) -> None:
    """The loss's velocities over the ground are those of the world, told from heading frames that move and turn."""
    db, losses = rows.database, Losses(rows, Weights())
    start = torch.tensor([20, 140])  # straight, and turning
    window = start[:, None] + torch.arange(2)
    told = losses._ground(rows.bodies[window], rows.poses[window])
    states = [db.library.state(db.grid.clip[r], db.grid.time[r]) for r in window.T]
    world = (states[1].body_pos - states[0].body_pos)[:, 1:] * db.rate
    torch.testing.assert_close(told.norm(dim=-1)[:, 0], world.norm(dim=-1), atol=0.03, rtol=0.03)
    points = losses.soles.points(rows.poses[window].flatten(0, 1)).unflatten(0, window.shape)
    soles = losses.soles.speed(points, rows.poses[window])[:, 0]
    wanted = [db.character.sole_points(s.body_pos, s.body_rot) for s in states]
    torch.testing.assert_close(points[:, 0, ..., 2], wanted[0][..., 2], atol=1e-4, rtol=0)
    world = (wanted[1] - wanted[0]) * db.rate
    torch.testing.assert_close(soles.norm(dim=-1), world.norm(dim=-1), atol=0.03, rtol=0.03)
    assert float(world.norm(dim=-1).max()) > 1.0


def test_the_stepper_is_told_of_feet_that_slide(task: LearnedMMTask, model: LearnedMM, rows: Rows) -> None:
    window = rows.starts(8)[:12, None] + torch.arange(8)
    y = rows.poses[window]
    assert float(task.losses._slide(y, y)) < 1e-6
    # the same poses, but the ground goes by half a metre per second faster than the feet
    slipping = y.clone()
    slipping[..., rows.layout["velocity"].start] += 0.5
    stands = (y[..., rows.layout["contact"]] > 0).float()
    share = float((stands[:, 1:] * stands[:, :-1]).mean())
    told = float(task.losses._slide(slipping, y))
    assert told == pytest.approx(0.5 * (0.25 + share) / 3.0, rel=0.02)  # of three directions, one


def test_poses_rest_after_their_steps(rows: Rows, config: dict[str, Any]) -> None:
    task = LearnedMMTask({**config, "pose_steps": 3}, rows)
    draw = torch.Generator().manual_seed(0)
    batches = [task.batch(step, draw) for step in range(6)]
    assert [bool(b["poses_too"]) for b in batches] == [True, False, True, False, False, False]
    # noise in the decompressor is taken out when it stops learning, and once only
    assert [bool(b["poses_rest"]) for b in batches] == [False, False, False, True, False, False]
    torch.manual_seed(0)
    model = task.build()
    task.begin(model)
    assert isinstance(model, LearnedMM)
    with torch.no_grad():
        begun = error_mm(model, rows)
        for p in model.decompressor.parameters():
            p.add_(0.02 * torch.randn(p.shape))
        spoilt = error_mm(model, rows)
        task.loss(model, batches[2])
        assert error_mm(model, rows) == spoilt
        task.loss(model, batches[3])
        assert error_mm(model, rows) < min(1.2 * begun, 0.7 * spoilt)


def test_a_fit_improves_and_its_checkpoint_says_everything(
    rows: Rows, config: dict[str, Any], tmp_path: Path
) -> None:
    task = LearnedMMTask(config, rows)
    task.finish = lambda model, folder, figures: []  # type: ignore[method-assign]
    settings = FitConfig(max_steps=120, learning_rate=3e-3, warmup_steps=5, evaluate_every=0, ema_decay=0.9)
    torch.manual_seed(settings.seed)
    begun = task.build()
    task.begin(begun)
    fit(task, settings, tmp_path, say=lambda text: None)
    model, meta = load(tmp_path)
    told = task.evaluate(model)
    assert told["step_x"] < 0.3 * told["step_x_baseline"]

    @torch.no_grad()
    def loss(model: torch.nn.Module) -> float:
        torch.manual_seed(0)
        draw = torch.Generator().manual_seed(99)
        return sum(float(task.loss(model, task.batch(0, draw))[0]) for _ in range(4))

    assert loss(model) < 0.9 * loss(begun)
    assert meta["rate"] == 30.0 and meta["clips"] == 3 and set(meta["starts"]) == {"stand", "walk"}
    with pytest.raises(CheckpointError):
        load(tmp_path / "elsewhere")


def test_resuming_goes_on_as_if_nothing_had_been(rows: Rows, config: dict[str, Any], tmp_path: Path) -> None:
    settings = FitConfig(max_steps=6, evaluate_every=0, warmup_steps=1)

    def run(folder: Path, *steps: int) -> dict[str, Any]:
        for i, most in enumerate(steps):
            task = LearnedMMTask(config, rows)
            task.finish = lambda model, folder, figures: []  # type: ignore[method-assign]
            left = iter(range(most))
            stop = (lambda it=left: next(it, None) is None) if most < 6 else (lambda: False)
            fit(task, settings, folder, resume=i > 0, stop=stop, say=lambda text: None)
        return load(folder)[0].state_dict()

    whole, parts = run(tmp_path / "a", 6), run(tmp_path / "b", 3, 6)
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_the_configuration_says_the_weights() -> None:
    config = OmegaConf.load(paths.data_folder("cfg") / "task" / "LearnedMM.yaml")
    assert dict(config["weights"]) == asdict(Weights())


def test_settings_that_make_no_sense(rows: Rows, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="step_x"):
        LearnedMMTask({**config, "weights": {"stepx": 1.0}}, rows)
    with pytest.raises(ConfigError, match="latent"):
        LearnedMMTask({**config, "latent": 0}, rows).build()
