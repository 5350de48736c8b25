"""From a checkpoint to a table: the whole way, and what is refused on it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from isaacmm.errors import CheckpointError
from isaacmm.evaluate import __main__ as cli
from isaacmm.evaluate.evaluation import evaluate
from isaacmm.evaluate.session import load_policy_checkpoint
from isaacmm.evaluate.style import Judge
from isaacmm.learn import checkpoint

Made = tuple[DictConfig, Path]


def test_a_checkpoint_is_measured_beside_its_clips(run_with_checkpoint: Made) -> None:
    cfg, path = run_with_checkpoint
    result = evaluate(cfg, load_policy_checkpoint(path), num_envs=4, seconds=1.5)
    assert 0.0 < result.policy["survival"] <= 1.5
    assert "survival" not in result.clips
    for name in ("speed_error", "heading_error", "contact_slide", "penetration", "jerk"):
        assert math.isfinite(result.policy[name]) and math.isfinite(result.clips[name]), name
    assert 0.0 <= result.policy["judged_real"] <= 100.0
    assert len(result.motions) == 1 and result.rollout.num_worlds == 4
    # the run's own configuration is left as it was
    assert cfg.task.env.episode_seconds == 10


def test_an_evaluation_is_repeatable(run_with_checkpoint: Made) -> None:
    cfg, path = run_with_checkpoint
    content = load_policy_checkpoint(path)
    one, two = (evaluate(cfg, content, num_envs=3, seconds=1.0, seed=4).policy for _ in range(2))
    assert one == pytest.approx(two, nan_ok=True)


def test_the_judge_is_the_discriminator_that_was_trained(run_with_checkpoint: Made) -> None:
    from isaacmm.learn.build import make_env
    from isaacmm.learn.rl_games.build import make_agent

    cfg, path = run_with_checkpoint
    env = make_env(cfg)
    try:
        agent = make_agent(cfg, env, path.parent.parent)
        content = load_policy_checkpoint(path)
        agent.style.load_state_dict(content["style"])
        rows = env.demo_obs(50, torch.Generator().manual_seed(0))
        judge = Judge(content)
        assert torch.allclose(judge(rows), agent.style.logits(rows), atol=1e-6)
        wanted = float(agent.style.reward(rows).mean())
        assert judge.values(judge(rows))["style_reward"] == pytest.approx(wanted, rel=1e-5)
    finally:
        env.close()
    with pytest.raises(CheckpointError, match="no discriminator"):
        Judge({**content, "style": {}})


def test_the_command_prints_a_table_and_writes_json(
    run_with_checkpoint: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = run_with_checkpoint
    out = tmp_path / "deep" / "numbers.json"
    words = [
        f"checkpoint={path.parent.parent}",
        "num_envs=3",
        "seconds=1",
        "threads=1",
        f"json={out}",
        "explain=True",
    ]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "survival" in text and "m/s^3" in text and "Mean time to the first fall" in text
    data = json.loads(out.read_text())
    assert data["num_envs"] == 3 and data["seconds"] == 1.0 and data["deterministic"] is True
    assert data["clips"]["jerk"] > 0.0 and data["policy"]["speed_error_1s"] is None
    assert set(data["metrics"]) == set(data["policy"]) | set(data["clips"])
    assert data["metrics"]["penetration"]["unit"] == "mm"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("num_envs=many", "num_envs=many: wants a number"),
        ("num_envs=0", "must be at least 1"),
        ("num_envs=2.5", "wants a whole number"),
        ("seconds=-1", "must be at least 0.1"),
        ("deterministic=perhaps", "wants True or False"),
        ("num_env=4", "num_envs"),
    ],
)
def test_wrong_words_are_answered(
    run_with_checkpoint: Made, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([f"checkpoint={run_with_checkpoint[1]}", word]) == 2
    assert message in capsys.readouterr().err


def test_help_is_quick_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("checkpoint=", "num_envs=", "seconds=", "seed=", "json=", "deterministic="):
        assert word in text


def test_files_that_are_no_policy_are_refused(
    run_with_checkpoint: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, good = run_with_checkpoint
    whole = good.read_bytes()
    cases: dict[str, bytes | dict[str, object]] = {
        "cut.pth": whole[: len(whole) // 2],
        "text.pth": b"these are not the weights you are looking for",
        "foreign.pth": {"state_dict": {"weight": torch.zeros(3)}},
    }
    for name, data in cases.items():
        path = tmp_path / name
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            torch.save(data, path)
        with pytest.raises(CheckpointError, match=name):
            load_policy_checkpoint(path)
        assert cli.main([f"checkpoint={path}"]) == 2
        assert name in capsys.readouterr().err
    other = tmp_path / "other_task.pth"
    checkpoint.save(other, {"codebook": torch.zeros(2, 2)})
    with pytest.raises(CheckpointError, match=r"lacks model.*it holds codebook"):
        load_policy_checkpoint(other)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_policy_checkpoint(tmp_path / "nowhere.pth")
