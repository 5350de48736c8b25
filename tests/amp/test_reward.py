"""Style rewards and the three ways of joining them with the task's."""

from __future__ import annotations

import math

import pytest
import torch

from isaacmm.amp.reward import COMBINES, RewardCombiner, style_reward
from isaacmm.errors import ConfigError

torch.set_num_threads(1)

LOGITS = torch.linspace(-30.0, 30.0, 601)
UNIT = torch.linspace(0.0, 1.0, 21)


def test_bce_reward() -> None:
    reward = style_reward(LOGITS, "bce", 2.0)
    assert float(reward.min()) >= 0.0
    assert float(reward.max()) == pytest.approx(
        2.0 * math.log(1e4), rel=1e-5
    )  # 1 - sigmoid is held above 1e-4
    assert (reward.diff() >= 0).all()
    inside = reward[(LOGITS > -8) & (LOGITS < 8)]
    assert (inside.diff() > 0).all()
    # -2 log(1 - 1/2), and -2 log(1 - s(1)) = 2 log(1 + e)
    assert float(style_reward(torch.zeros(1), "bce", 2.0)) == pytest.approx(2.0 * math.log(2.0))
    assert float(style_reward(torch.ones(1), "bce", 2.0)) == pytest.approx(
        2.0 * math.log(1.0 + math.e), rel=1e-5
    )


def test_lsgan_reward() -> None:
    reward = style_reward(LOGITS, "lsgan", 2.0)
    assert float(reward.min()) == 0.0
    assert float(reward.max()) == pytest.approx(2.0)
    assert float(LOGITS[reward.argmax()]) == pytest.approx(1.0)
    rising = reward[(LOGITS > -0.95) & (LOGITS < 1.0)]
    assert (rising.diff() > 0).all()
    # 2 (1 - (0-1)^2/4) and nothing from -1 down
    assert float(style_reward(torch.zeros(1), "lsgan", 2.0)) == pytest.approx(1.5)
    assert float(style_reward(torch.tensor([-1.0]), "lsgan", 2.0)) == 0.0


def test_mul_and_add_by_hand() -> None:
    task, style = torch.tensor([0.5, 1.0]), torch.tensor([2.0, 0.0])
    # (0.5 * 0.5)(2 * 2) = 1 and 0
    assert RewardCombiner("mul", 0.5, 2.0)(task, style).tolist() == [1.0, 0.0]
    # 0.5 * 0.5 + 2 * 2 and 0.5 * 1 + 0
    assert RewardCombiner("add", 0.5, 2.0)(task, style).tolist() == [4.25, 0.5]
    assert RewardCombiner("add", 0.0, 1.0)(task, style).tolist() == [2.0, 0.0]


def test_geo_by_hand() -> None:
    combiner = RewardCombiner("geo", 1.0, 1.0, style_scale=2.0, floor_end=0.1)
    # style 1 of 2 is 0.5: sqrt((0.1 + 0.9 * 0.25)(0.1 + 0.9 * 0.5))
    expected = math.sqrt((0.1 + 0.9 * 0.25) * (0.1 + 0.9 * 0.5))
    assert float(combiner(torch.tensor(0.25), torch.tensor(1.0))) == pytest.approx(expected, rel=1e-6)
    # weights 3 and 1 are exponents 3/4 and 1/4, whatever their sum
    weighted = RewardCombiner("geo", 3.0, 1.0, style_scale=2.0, floor_end=0.1)
    expected = (0.1 + 0.9 * 0.25) ** 0.75 * (0.1 + 0.9 * 0.5) ** 0.25
    assert float(weighted(torch.tensor(0.25), torch.tensor(1.0))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 0.5), (2.0, 0.7)])
@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
def test_geo_is_bounded_and_rises_with_both(weights: tuple[float, float], progress: float) -> None:
    combiner = RewardCombiner("geo", *weights, style_scale=3.0)
    task, style = torch.meshgrid(UNIT, 3.0 * UNIT, indexing="ij")
    reward = combiner(task, style, progress)
    assert (reward.diff(dim=0) > 0).all()
    assert (reward.diff(dim=1) > 0).all()
    assert float(reward.min()) == pytest.approx(combiner.floor(progress), rel=1e-5)
    assert float(reward.max()) == pytest.approx(1.0)
    # style beyond its scale earns nothing more
    assert float(combiner(torch.tensor(1.0), torch.tensor(99.0), progress)) == pytest.approx(1.0)


def test_geo_with_equal_weights_treats_both_alike() -> None:
    combiner = RewardCombiner("geo", 1.0, 1.0)
    a, b = torch.rand(20), torch.rand(20)
    torch.testing.assert_close(combiner(a, b), combiner(b, a))


def test_floor_falls_and_stays() -> None:
    combiner = RewardCombiner("geo", floor_start=0.3, floor_end=0.05, floor_until=0.2)
    assert combiner.floor(0.0) == pytest.approx(0.3)
    assert combiner.floor(0.1) == pytest.approx(0.175)  # half way of 0.3 to 0.05
    assert combiner.floor(0.2) == pytest.approx(0.05)
    assert combiner.floor(1.0) == pytest.approx(0.05)
    assert RewardCombiner("geo", floor_until=0.0).floor(0.0) == pytest.approx(0.05)


@pytest.mark.parametrize("mode", COMBINES)
def test_shape_is_kept(mode: str) -> None:
    assert RewardCombiner(mode)(torch.rand(4, 3), torch.rand(4, 3)).shape == (4, 3)


def test_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'mul'"):
        RewardCombiner("mult")


@pytest.mark.parametrize("mode", ["mul", "geo"])
@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_a_product_needs_both_weights(mode: str, weights: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="reward_combine=add"):
        RewardCombiner(mode, *weights)


def test_two_negative_weights_are_no_product() -> None:
    with pytest.raises(ConfigError):
        RewardCombiner("mul", -1.0, -1.0)
