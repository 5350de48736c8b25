"""The written-out input gradient against autograd's, and its penalty against double backward."""

from __future__ import annotations

import pytest
import torch

from isaacmm.amp import losses
from isaacmm.amp.discriminator import Discriminator

torch.set_num_threads(1)

UNITS = [(16,), (32, 16), (24, 16, 8)]


def make(units: tuple[int, ...], size: int = 10) -> Discriminator:
    torch.manual_seed(0)
    net = Discriminator(size, units).double()
    for layer in net.hidden:  # biases start at zero, where they would hide a mistake
        torch.nn.init.normal_(layer.bias, std=0.3)
    torch.nn.init.normal_(net.logit.bias)
    return net


@pytest.mark.parametrize("units", UNITS)
def test_gradient_equals_autograd(units: tuple[int, ...]) -> None:
    net = make(units)
    x = torch.randn(50, 10, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(net(x).sum(), x)[0]
    logits, gradient = net.with_input_gradient(x.detach())
    torch.testing.assert_close(logits, net(x), rtol=0, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)
    assert gradient.shape == (50, 10)


@pytest.mark.parametrize("units", UNITS)
def test_parameter_gradients_of_the_penalty_equal_double_backward(units: tuple[int, ...]) -> None:
    net = make(units)
    x = torch.randn(50, 10, dtype=torch.float64)

    watched = x.clone().requires_grad_()
    logits = net(watched)
    twice = torch.autograd.grad(logits.sum(), watched, create_graph=True)[0]
    loss = losses.gradient_penalty(twice) + logits.pow(2).mean()  # a second term: both share the units
    expected = torch.autograd.grad(loss, list(net.parameters()))

    logits, once = net.with_input_gradient(x)
    loss = losses.gradient_penalty(once) + logits.pow(2).mean()
    got = torch.autograd.grad(loss, list(net.parameters()))
    for name, a, b in zip(dict(net.named_parameters()), got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=name)


def test_gradient_where_units_are_exactly_at_zero() -> None:
    """Dead input: torch's relu has slope 0 at 0, and so must the written-out gradient."""
    net = Discriminator(4, (8, 6))  # biases 0, so a zero input puts every unit at 0
    x = torch.zeros(3, 4, requires_grad=True)
    expected = torch.autograd.grad(net(x).sum(), x)[0]
    torch.testing.assert_close(net.with_input_gradient(x.detach())[1], expected)


def test_start_and_weights() -> None:
    torch.manual_seed(0)
    net = Discriminator(12, (20, 10), logit_init=0.5)
    assert float(net.logit.weight.detach().abs().max()) <= 0.5
    assert float(net.logit.weight.detach().abs().max()) > 0.3
    assert [tuple(w.shape) for w in net.weights()] == [(20, 12), (10, 20), (1, 10)]
    assert net.weights()[-1] is net.logit.weight
    assert net(torch.randn(7, 12)).shape == (7,)
