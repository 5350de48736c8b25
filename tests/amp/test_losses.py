"""Losses against closed forms, and the discriminator that minimises them against theory."""

from __future__ import annotations

import math

import pytest
import torch

from isaacmm.amp import losses

torch.set_num_threads(1)


def test_bce_by_hand() -> None:
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([-1.0])

    def sigmoid(x: float) -> float:
        return 1.0 / (1.0 + math.exp(-x))

    # mean over real of -log s(D), plus mean over fake of -log(1 - s(D)), halved
    expected = 0.5 * ((-math.log(0.5) - math.log(sigmoid(2.0))) / 2 - math.log(1.0 - sigmoid(-1.0)))
    assert float(losses.classification(real, fake, "bce")) == pytest.approx(expected, rel=1e-6)
    # a discriminator that cannot tell
    assert float(losses.classification(torch.zeros(3), torch.zeros(5), "bce")) == pytest.approx(math.log(2.0))


def test_lsgan_by_hand() -> None:
    # 0.5 * (((3-1)^2 + (1-1)^2) / 2 + (0+1)^2) = 0.5 * (2 + 1)
    assert float(
        losses.classification(torch.tensor([3.0, 1.0]), torch.tensor([0.0]), "lsgan")
    ) == pytest.approx(1.5)
    assert float(losses.classification(torch.ones(3), -torch.ones(3), "lsgan")) == 0.0


def test_bce_survives_huge_logits() -> None:
    loss = losses.classification(torch.tensor([-1e4]), torch.tensor([1e4]), "bce")
    assert float(loss) == pytest.approx(1e4)


@pytest.mark.parametrize("kind", losses.LOSSES)
def test_optimum_of_a_discrete_game(kind: str) -> None:
    """With p the clips' and q the agent's probabilities of three poses, the best logits are known.

    bce: log(p/q) (Goodfellow et al. 2014, prop. 1). lsgan with targets +1 and -1: (p - q)/(p + q)
    (Mao et al. 2017, eq. 5 with a=-1, b=1).
    """
    counts_p, counts_q = [60, 30, 10], [10, 30, 60]
    p, q = (
        torch.tensor(counts_p, dtype=torch.float64) / 100,
        torch.tensor(counts_q, dtype=torch.float64) / 100,
    )
    real = torch.repeat_interleave(torch.arange(3), torch.tensor(counts_p))
    fake = torch.repeat_interleave(torch.arange(3), torch.tensor(counts_q))
    table = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table], lr=1.0, max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = losses.classification(table[real], table[fake], kind)
        loss.backward()
        return loss

    optimizer.step(closure)
    best = torch.log(p / q) if kind == "bce" else (p - q) / (p + q)
    torch.testing.assert_close(table.detach(), best, atol=1e-4, rtol=0)


def test_regularisers_by_hand() -> None:
    gradient = torch.tensor([[3.0, 4.0], [0.0, 0.0]])  # squared lengths 25 and 0
    assert float(losses.gradient_penalty(gradient)) == 12.5
    assert float(losses.logit_regularization(torch.tensor([[1.0, -2.0]]))) == 5.0
    assert float(losses.weight_decay([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])])) == 14.0


def test_accuracy() -> None:
    real, fake = losses.accuracy(torch.tensor([1.0, -1.0, 2.0, 0.5]), torch.tensor([-1.0, 1.0]))
    assert (float(real), float(fake)) == (0.75, 0.5)
    # undecided counts for nobody
    assert [float(v) for v in losses.accuracy(torch.zeros(2), torch.zeros(2))] == [0.0, 0.0]
