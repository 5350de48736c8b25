"""Coverage: a policy that does everything, one that has collapsed, one that does something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from isaacmm.character import CharacterModel
from isaacmm.errors import CheckpointError
from isaacmm.evaluate import coverage
from isaacmm.evaluate.rollout import Rollout
from isaacmm.motion.clip import Motion
from isaacmm.vqvae import usage
from isaacmm.vqvae.tokenizer import Tokenizer


def fake(size: int = 40) -> Tokenizer:
    """A tokenizer of which only the number of codes is asked."""
    quantizer = SimpleNamespace(sizes=(size,))
    return Tokenizer(SimpleNamespace(quantizer=quantizer), None, Path("made_up"), {}, {})  # type: ignore[arg-type]


def clips() -> list[torch.Tensor]:
    """Four clips, ten codes each, none shared."""
    draw = torch.Generator().manual_seed(0)
    return [10 * i + torch.randint(10, (60, 1), generator=draw) for i in range(4)]


def test_a_policy_that_plays_everything_covers_everything() -> None:
    weights = torch.full((4,), 0.25)
    done = [clip[start : start + 20] for clip in clips() for start in range(0, 40, 5)]
    found = coverage.of_codes(clips(), weights, ["a", "b", "c", "d"], done, fake())
    policy, whole = found.column("policy"), found.column("clips")
    assert policy["covered"] > 99.0 and policy["strange"] == 0.0 and not found.missed
    assert policy["divergence"] < 0.05 and whole["divergence"] < 1e-9
    assert 0.85 < found.perplexity_ratio < 1.2


def test_a_collapsed_policy_shows() -> None:
    weights = torch.full((4,), 0.25)
    found = coverage.of_codes(clips(), weights, ["a", "b", "c", "d"], [clips()[1]] * 8, fake())
    policy = found.column("policy")
    assert policy["covered"] == pytest.approx(25.0) and policy["codes"] == 10
    assert found.perplexity_ratio < 0.4 and policy["divergence"] > 0.4
    assert set(found.missed) == {"a", "c", "d"} and found.missed["a"] == pytest.approx(100.0)
    assert "least covered" in found.table() and found.to_json()["policy"]["codes"] == 10


def test_motion_of_its_own_is_strange() -> None:
    only = clips()[:2]
    found = coverage.of_codes(only, torch.full((2,), 0.5), ["a", "b"], [clips()[3]], fake())
    assert found.column("policy")["strange"] == pytest.approx(100.0)
    assert found.column("policy")["divergence"] == pytest.approx(1.0)


def test_weights_decide_how_much_a_clip_counts() -> None:
    weights = torch.tensor([0.7, 0.1, 0.1, 0.1])
    found = coverage.of_codes(clips(), weights, ["a", "b", "c", "d"], [clips()[0]], fake())
    assert found.column("policy")["covered"] == pytest.approx(70.0, abs=1e-3)
    played = coverage.play(clips(), weights, [20] * 400)
    assert float((played < 10).float().mean()) == pytest.approx(0.7, abs=0.08)


def test_divergence_of_histograms() -> None:
    a, b = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 5.0])
    assert usage.divergence(a, b) == pytest.approx(1.0) and usage.divergence(a, 3 * a) == pytest.approx(0.0, abs=1e-9)
    assert usage.perplexity(a) == pytest.approx(2.0)


def test_episodes_are_cut_where_they_ended(make_motion: Callable[..., Motion], humanoid: CharacterModel) -> None:
    motion = make_motion(frames=30)
    done = torch.zeros(30, 2, dtype=torch.bool)
    done[9, 0] = True
    two = [x[:, None].expand(-1, 2, *x.shape[1:]) for x in (motion.root_pos, motion.root_rot, motion.dof_pos())]
    rollout = Rollout(humanoid, 30.0, *two, {}, done, torch.zeros(30, 2, 2, dtype=torch.bool))
    assert [clip.num_frames for clip in coverage.episodes(rollout)] == [10, 20, 30]
    rollout.script = "figure_eight"
    assert [clip.num_frames for clip in coverage.episodes(rollout)] == [10, 30]


def test_a_policys_checkpoint_is_no_tokenizer(tmp_path: Path) -> None:
    from isaacmm.learn import checkpoint

    checkpoint.save(tmp_path / "nn" / "last.pth", {"model": {}})
    with pytest.raises(CheckpointError, match="policy"):
        Tokenizer.load(tmp_path / "nn" / "last.pth")
