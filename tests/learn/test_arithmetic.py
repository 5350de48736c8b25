"""Precision of products and numbers that fade: inside networks only, and put back afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from isaacmm.cli.keys import RULES
from isaacmm.learn.arithmetic import faded, products, without_denormals
from isaacmm.learn.fit import FitConfig, fit
from isaacmm.learn.parallel import Workers
from tests.learn.test_fit import Line
from tests.learn.test_resume import SHORT, iterate

#: Not zero, and too small for a normal float32.
FADED = 1e-40


def keeps_faded() -> bool:
    """Whether the calling thread computes with numbers so small."""
    return float(torch.tensor(FADED) * 1.0) > 0.0


@pytest.mark.parametrize("precision", RULES["train.params.config.matmul_precision"].choices)
def test_products_are_as_before_afterwards(precision: str) -> None:
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ValueError, match="on purpose"), products(precision):
        assert torch.get_float32_matmul_precision() == precision
        raise ValueError("on purpose")
    assert torch.get_float32_matmul_precision() == before


def test_faded_numbers_are_zero_inside_and_in_workers() -> None:
    assert keeps_faded()
    workers = Workers(1)
    with without_denormals():
        with without_denormals():
            pass
        assert workers.together(keeps_faded, keeps_faded) == [False, False]
    assert keeps_faded()
    workers.close()


def test_faded_numbers_are_counted() -> None:
    some = torch.tensor([0.0, FADED, -FADED, 1e-30, 1.0])
    assert faded({"a": [some, (some, 3)], "b": torch.arange(4), "c": some.double()}) == 4


@pytest.mark.parametrize("side_by_side", [False, True])
def test_training_leaves_nothing_faded(tiny_agent: Any, side_by_side: bool) -> None:
    """Adam's means of units that died: gone after the next step, instead of making every later one slow."""
    agent, _ = tiny_agent(**SHORT, train__params__config__parallel_update=side_by_side)
    agent.start()
    iterate(agent, 1)
    for optimizer, network in (
        (agent.optimizer, agent.model.a2c_network.actor_mlp),
        (agent.style.optimizer, agent.style.discriminator.hidden),
    ):
        layer = next(part for part in network.modules() if isinstance(part, nn.Linear))
        layer.weight.data[0], layer.bias.data[0] = 0.0, -1e3
        optimizer.state[layer.weight]["exp_avg"][0] = FADED
    assert faded(agent.state_dict()) > 0
    iterate(agent, 2)
    assert faded(agent.state_dict()) == 0
    assert keeps_faded()


def test_a_fit_leaves_nothing_faded(tmp_path: Any) -> None:
    """A unit that says nothing any more: Adam's mean of its gradients is halved by every step."""

    class Dead(Line):
        def begin(self, model: nn.Module) -> None:
            super().begin(model)
            model.get_parameter("0.weight").data[0] = 0.0
            model.get_parameter("0.bias").data[0] = 1e-3  # alive for the first step or two

        def loss(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> Any:
            if float(model.get_buffer("count")) == 3:
                model.get_parameter("0.bias").data[0] = -1.0
                model.get_parameter("0.weight").data[0] = 0.0
            return super().loss(model, batch)

    config = FitConfig(max_steps=140, warmup_steps=1, betas=(0.5, 0.9), evaluate_every=0)
    content = torch.load(fit(Dead(), config, tmp_path, say=lambda _: None), weights_only=True)
    assert faded(content["optimizer"]) == 0
    assert keeps_faded()


def test_clips_are_shown_in_full_precision(tiny_agent: Any) -> None:
    """Else a discriminator could tell them from the agent's observations by their rounding."""
    agent, _ = tiny_agent(task="HumanoidMM", num_envs=64)
    agent.start()
    batch = agent.rollouts.collect(agent.obs)
    condition, reference = batch.condition.flatten(0, 1).repeat(64, 1), batch.reference.flatten().repeat(64)

    def shown() -> torch.Tensor:
        draw = torch.Generator().manual_seed(0)
        paired = torch.cat(agent.env.paired_demos(condition, reference, draw), dim=1)
        return torch.cat((paired[:, : agent.style.size], agent.env.demo_obs(len(condition), draw)))

    plain = shown()
    with products("medium"):
        assert torch.equal(shown(), plain)
