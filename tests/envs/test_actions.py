"""From actions to PD targets."""

from __future__ import annotations

import math

import pytest
import torch

from isaacmm.envs.actions import ActionMap
from isaacmm.errors import ConfigError
from tests.helpers import character


def test_radians_are_targets() -> None:
    actions = 5.0 * torch.randn(3, 28)
    assert torch.equal(ActionMap(character().skeleton, "radians")(actions), actions)


def test_classic() -> None:
    skeleton = character().skeleton
    mapped = ActionMap(skeleton, "classic")
    knee, shoulder = skeleton.dof_names.index("left_knee"), skeleton.dof_names.index("left_shoulder_x")
    low, high = skeleton.dof_limits[knee].tolist()
    zero, one, beyond = (mapped(torch.full((1, 28), v))[0] for v in (0.0, 1.0, 7.0))
    assert float(zero[knee]) == pytest.approx((low + high) / 2)
    assert float(one[knee]) == pytest.approx((low + high) / 2 + 0.7 * (high - low))
    assert float(zero[shoulder]) == 0.0
    assert float(one[shoulder]) == pytest.approx(math.pi)
    assert torch.equal(beyond, one)
    assert int((mapped.scale != math.pi).sum()) == 4  # elbows and knees


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'classic'"):
        ActionMap(character().skeleton, "clasic")
