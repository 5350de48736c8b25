"""StyleTrainer: learns to tell two clouds apart, and goes on bit for bit after a break."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from isaacmm.amp.trainer import StyleConfig, StyleTrainer
from isaacmm.errors import ConfigError

torch.set_num_threads(1)

SMALL = StyleConfig(updates=4, batch=64, replay=500, units=(32, 16), learning_rate=1e-3, normalizer="running")


def demos(n: int, generator: torch.Generator) -> Tensor:
    """Clips: a cloud around (2, 0, 0, 0)."""
    return torch.randn(n, 4, generator=generator) + torch.tensor([2.0, 0.0, 0.0, 0.0])


def agent(n: int, generator: torch.Generator) -> Tensor:
    """Agent: a cloud around (-2, 0, 0, 0)."""
    return torch.randn(n, 4, generator=generator) - torch.tensor([2.0, 0.0, 0.0, 0.0])


def trained(config: StyleConfig, iterations: int = 40) -> tuple[StyleTrainer, dict[str, float]]:
    torch.manual_seed(0)
    trainer, source = StyleTrainer(4, demos, config, seed=1), torch.Generator().manual_seed(2)
    stats: dict[str, float] = {}
    for _ in range(iterations):
        stats = trainer.update(agent(100, source))
    return trainer, stats


@pytest.mark.parametrize("loss", ["bce", "lsgan"])
def test_tells_two_clouds_apart(loss: str) -> None:
    trainer, stats = trained(replace(SMALL, loss=loss, gradient_penalty=0.1))
    g = torch.Generator().manual_seed(3)
    real, fake = trainer.logits(demos(500, g)), trainer.logits(agent(500, g))
    # the clouds are four deviations apart: the best possible accuracy is 0.977
    assert float((real > 0).float().mean()) > 0.95
    assert float((fake < 0).float().mean()) > 0.95
    assert stats["disc_demo_accuracy"] > 0.9 and stats["disc_agent_accuracy"] > 0.9
    assert float(trainer.reward(demos(500, g)).mean()) > 2.0 * float(trainer.reward(agent(500, g)).mean())


def test_gradient_penalty_flattens() -> None:
    steep, flat = (trained(replace(SMALL, gradient_penalty=w))[1]["disc_grad_penalty"] for w in (0.0, 10.0))
    assert flat < 0.2 * steep


def test_clips_of_the_agents_own_kind_cannot_be_told() -> None:
    torch.manual_seed(0)
    trainer, source = StyleTrainer(4, demos, SMALL, seed=1), torch.Generator().manual_seed(2)
    stats = [trainer.update(demos(100, source)) for _ in range(40)][-1]
    assert stats["disc_loss"] == pytest.approx(0.693, abs=0.03)


@pytest.mark.parametrize("kind", ["demos", "running"])
def test_normaliser_starts_from_the_clips(kind: str) -> None:
    trainer = StyleTrainer(4, demos, replace(SMALL, normalizer=kind))
    start = trainer.normalizer.mean.clone()
    assert float(start[0]) == pytest.approx(2.0, abs=0.1)
    trainer.update(agent(4000, torch.Generator().manual_seed(0)))
    if kind == "demos":
        assert torch.equal(trainer.normalizer.mean, start)
    else:  # 8192 + 4000 clips around 2 and 4000 of the agent around -2
        assert float(trainer.normalizer.mean[0]) == pytest.approx((12192 * 2 - 4000 * 2) / 16192, abs=0.05)


def test_normalize_off_leaves_observations_alone() -> None:
    trainer = StyleTrainer(4, demos, replace(SMALL, normalize=False))
    x = agent(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(trainer.logits(x), trainer.discriminator(x).detach())


def test_replay_keeps_a_share_once_it_is_full() -> None:
    trainer = StyleTrainer(4, demos, replace(SMALL, replay=100, replay_keep=0.1))
    g = torch.Generator().manual_seed(0)
    trainer.update(agent(100, g))
    before = trainer.replay.data.clone()
    trainer.update(agent(100, g))
    changed = int((trainer.replay.data != before).any(dim=1).sum())
    assert 1 <= changed <= 25  # about 10 of 100


def test_a_step_sees_as_many_rows_of_each_kind() -> None:
    """Clips, fresh agent rows, replayed agent rows: one batch each, as the classic configs count them."""
    trainer, seen = StyleTrainer(4, demos, replace(SMALL, updates=3)), []
    step = trainer._step

    def listen(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        seen.append((real, fake))
        return step(real, fake)

    trainer._step = listen  # type: ignore[method-assign]
    trainer.replay.add(torch.full((300, 4), 7.0))  # replayed rows are known by their number
    trainer.update(torch.full((100, 4), -7.0))
    assert len(seen) == 3
    for real, fake in seen:
        assert real.shape == (64, 4) and fake.shape == (128, 4)
        assert torch.equal(fake[:64], torch.full((64, 4), -7.0)) and torch.equal(
            fake[64:], torch.full((64, 4), 7.0)
        )


def test_demonstration_buffer() -> None:
    """Clips are drawn from it, and a few fresh ones replace the oldest at every iteration."""
    trainer = StyleTrainer(4, demos, replace(SMALL, demo_buffer=50, demo_fetch=10))
    assert trainer.demo_buffer is not None and len(trainer.demo_buffer) == 50
    before = trainer.demo_buffer.data.clone()
    rows = {tuple(row) for row in before.tolist()}
    assert all(tuple(row) in rows for row in trainer._demo_batch(40).tolist())
    trainer.update(agent(100, torch.Generator().manual_seed(0)))
    changed = (trainer.demo_buffer.data != before).any(dim=1)
    assert changed.tolist() == [True] * 10 + [False] * 40


@pytest.mark.parametrize("demo_buffer", [0, 300])
def test_resumes_bit_for_bit(demo_buffer: int) -> None:
    config = replace(SMALL, demo_buffer=demo_buffer, demo_fetch=40)

    def run(trainer: StyleTrainer, source: torch.Generator, n: int) -> None:
        for _ in range(n):
            trainer.update(agent(100, source))

    torch.manual_seed(0)
    straight, source = StyleTrainer(4, demos, config, seed=1), torch.Generator().manual_seed(2)
    run(straight, source, 4)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    where = source.get_state()
    run(straight, source, 4)

    torch.manual_seed(99)  # other weights, other draws: all of it must come from the file
    resumed, source = StyleTrainer(4, demos, config, seed=77), torch.Generator()
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    source.set_state(where)
    run(resumed, source, 4)

    for (name, a), b in zip(
        straight.discriminator.state_dict().items(), resumed.discriminator.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert torch.equal(straight.replay.data, resumed.replay.data)
    assert torch.equal(straight.normalizer.var, resumed.normalizer.var)
    assert torch.equal(straight.generator.get_state(), resumed.generator.get_state())


def test_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'lsgan'"):
        StyleConfig(loss="lsgn")
    with pytest.raises(ConfigError, match="did you mean 'running'"):
        StyleConfig(normalizer="runing")
