"""The learning rate follows the policy's step size."""

from __future__ import annotations

import pytest

from isaacmm.learn.schedule import AdaptiveRate


def test_adaptive() -> None:
    rate = AdaptiveRate.from_config(
        {"lr_schedule": "adaptive", "kl_threshold": 0.03, "max_learning_rate": 5e-4}
    )
    assert (rate.kl_high, rate.kl_low) == (pytest.approx(0.06), pytest.approx(0.02))
    assert rate.update(1e-4, 0.07) == pytest.approx(1e-4 / 1.5)
    assert rate.update(1e-4, 0.01) == pytest.approx(1.2e-4)
    assert rate.update(1e-4, 0.04) == 1e-4
    assert rate.update(4.9e-4, 0.0) == 5e-4  # held at the top
    assert rate.update(1.1e-6, 1.0) == 1e-6  # and at the bottom


@pytest.mark.parametrize("kl", [0.0, 1e-9, 100.0])
def test_constant(kl: float) -> None:
    assert AdaptiveRate.from_config({"lr_schedule": "constant"}).update(3e-4, kl) == 3e-4
