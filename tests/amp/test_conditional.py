"""The discriminator that knows the command: gradients, closed forms, shared conditions, resuming."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from isaacmm.amp import losses
from isaacmm.amp.discriminator import CONDITIONINGS, Discriminator
from isaacmm.amp.leak import Leak, probe
from isaacmm.amp.reward import style_reward
from isaacmm.amp.trainer import StyleConfig, StyleTrainer
from isaacmm.errors import ConfigError

torch.set_num_threads(1)

S, K = 6, 3
SMALL = StyleConfig(updates=4, batch=64, replay=500, units=(32, 16), learning_rate=1e-3, gradient_penalty=0.1)


def network(conditioning: str, units: tuple[int, ...] = (16, 12), condition: int = K) -> Discriminator:
    torch.manual_seed(0)
    net = Discriminator(S, units, condition=condition, conditioning=conditioning).double()
    for weight in net.parameters():  # zeros (biases, projection) would hide a mistake
        torch.nn.init.normal_(weight, std=0.4)
    return net


def batch(n: int = 40) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, S, dtype=torch.float64, generator=g), torch.randn(n, K, dtype=torch.float64, generator=g)


# ---------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("units", [(16,), (24, 16, 8)])
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_input_gradient_equals_autograd(conditioning: str, units: tuple[int, ...]) -> None:
    net, (x, c) = network(conditioning, units), batch()
    watched = x.clone().requires_grad_()
    expected = torch.autograd.grad(net(watched, c).sum(), watched, create_graph=True)[0]
    logits, gradient = net.with_input_gradient(x, c)
    torch.testing.assert_close(logits, net(x, c), rtol=0, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-13)
    assert gradient.shape == (40, S)
    # and so do the gradients of its penalty, double backward against single
    parameters = list(net.parameters())
    twice = torch.autograd.grad(losses.gradient_penalty(expected) + net(watched, c).pow(2).mean(), parameters)
    once = torch.autograd.grad(losses.gradient_penalty(gradient) + logits.pow(2).mean(), parameters)
    for name, a, b in zip(dict(net.named_parameters()), once, twice, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("conditioning", ["concat", "proj"])
def test_dependence_on_the_command_costs_no_penalty(conditioning: str) -> None:
    """A judgement that hangs on the command alone has no penalty, however steeply."""
    net, (x, c) = network(conditioning), batch()
    with torch.no_grad():
        net.hidden[0].weight[:, :S] = 0.0  # looks at no motion
    logits, gradient = net.with_input_gradient(x, c)
    assert float(losses.gradient_penalty(gradient).detach()) == 0.0
    assert float(logits.detach().std()) > 0.05


def test_a_new_projection_is_the_unconditional_network() -> None:
    torch.manual_seed(0)
    plain = Discriminator(S, (16, 12), conditioning="none")
    torch.manual_seed(0)
    told = Discriminator(S, (16, 12), condition=K, conditioning="proj")
    x, c = (part.float() for part in batch())
    told.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(told(x, c), plain(x), rtol=0, atol=0)
    told(x, c).sum().backward()
    assert told.projection is not None and float(told.projection.weight.grad.abs().max()) > 0  # it can leave zero


@pytest.mark.parametrize(("conditioning", "inputs"), [("none", S), ("proj", S), ("concat", S + K)])
def test_sizes(conditioning: str, inputs: int) -> None:
    net = Discriminator(S, (16, 12), condition=K, conditioning=conditioning)
    assert tuple(net.hidden[0].weight.shape) == (16, inputs)
    assert [tuple(w.shape) for w in net.weights()] == [
        (16, inputs), (12, 16), *([(12, K)] if conditioning == "proj" else []), (1, 12),
    ]  # fmt: skip
    assert net.weights()[-1] is net.logit.weight


def test_without_numbers_there_is_no_condition() -> None:
    net = Discriminator(S, (16,), condition=0, conditioning="proj")
    assert net.conditioning == "none" and net.projection is None
    with pytest.raises(ConfigError, match="disc_cond 'project' is not known; did you mean 'proj'"):
        Discriminator(S, (16,), condition=K, conditioning="project")


# -------------------------------------------------------------------------------------- closed forms


def best_logits(real: Tensor, fake: Tensor, wrong: Tensor | None = None, mismatch: float = 0.0) -> Tensor:
    """Minimise our own loss over one free logit per outcome; every outcome is seen as often as it is likely."""
    logits = torch.zeros(len(real), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def seen(share: Tensor) -> Tensor:
        return logits.repeat_interleave((share * 1000).round().long())

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = losses.classification(seen(real), seen(fake), "lsgan")
        if wrong is not None:
            value = value + mismatch * losses.rejection(seen(wrong), "lsgan")
        value.backward()
        return value

    optimizer.step(loss)
    return logits.detach()


def test_least_squares_optimum_is_the_closed_form() -> None:
    """D* = (p_d - p_a) / (p_d + p_a) (Mao et al. 2017, with targets 1 and -1)."""
    clips = torch.tensor([0.95, 0.05], dtype=torch.float64)
    agent = torch.tensor([0.5, 0.5], dtype=torch.float64)
    best = best_logits(clips, agent)
    torch.testing.assert_close(best, (clips - agent) / (clips + agent), rtol=0, atol=1e-6)
    # what a perfect walker and runner earns when clips show 95 % walking and commands ask for half of each
    earned = style_reward(best, "lsgan", 1.0)
    torch.testing.assert_close(earned, torch.tensor([0.881, 0.174], dtype=torch.float64), rtol=0, atol=1e-3)


def test_matched_clips_pay_for_every_command_alike() -> None:
    """With clips that answer the same commands, p_d = p_a under every command: D* = 0, reward 3/4, whatever the mix."""
    asked = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    best = best_logits(asked, asked)
    torch.testing.assert_close(best, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-8)
    assert style_reward(best, "lsgan", 1.0).tolist() == pytest.approx([0.75] * 3)


def test_optimum_with_mismatched_pairs() -> None:
    """Pairs (motion, command): D* = (p_d - p_a - l p_w) / (p_d + p_a + l p_w) with wrong pairs at weight l."""
    clips = torch.tensor([0.5, 0.0, 0.0, 0.5], dtype=torch.float64)  # walk|walk, run|walk, walk|run, run|run
    wrong = torch.full((4,), 0.25, dtype=torch.float64)
    agent = torch.tensor([0.4, 0.1, 0.1, 0.4], dtype=torch.float64)
    best = best_logits(clips, agent, wrong, 0.5)
    expected = (clips - agent - 0.5 * wrong) / (clips + agent + 0.5 * wrong)
    torch.testing.assert_close(best, expected, rtol=0, atol=1e-5)
    assert float(best[0]) > float(best[1])


# ------------------------------------------------------------------------------------ paired updates
# Commands are points of the plane and a number that means nothing; a good motion repeats its command.


def commands(n: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, K, generator=g)


def motion(condition: Tensor, g: torch.Generator, noise: float = 0.1) -> Tensor:
    exact = torch.cat((condition, -condition), dim=1)
    return exact + noise * torch.randn(exact.shape, generator=g)


def paired(condition: Tensor, reference: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    return motion(condition, g), condition


def clips(n: int, g: torch.Generator) -> Tensor:
    return motion(commands(n, g), g)


def trainer(seed: int = 1, **changes: object) -> StyleTrainer:
    torch.manual_seed(seed)
    return StyleTrainer(S, clips, replace(SMALL, **changes), seed=seed, condition=K, paired=paired)


def train(style: StyleTrainer, g: torch.Generator, iterations: int) -> dict[str, float]:
    """An agent that moves like the clips, but never listens."""
    stats: dict[str, float] = {}
    for _ in range(iterations):
        told = commands(100, g)
        stats = style.update(motion(commands(100, g), g), told, torch.arange(100))
    return stats


def test_real_and_fake_share_their_conditions() -> None:
    style, seen = trainer(), []
    references: list[Tensor] = []

    def partner(condition: Tensor, reference: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        references.append(reference)
        return paired(condition, reference, g)

    step = style._step

    def listen(*parts: Tensor) -> dict[str, Tensor]:
        seen.append(parts)
        return step(*parts)

    style.paired, style._step = partner, listen  # type: ignore[method-assign]
    g = torch.Generator().manual_seed(0)
    told = {}
    for _ in range(3):  # reference: the number of the sample, so that it can be known again
        n = len(told)
        condition = commands(100, g)
        told |= {n + i: condition[i] for i in range(100)}
        style.update(motion(condition, g), condition, torch.arange(n, n + 100))
    assert len(seen) == 12
    for (real, fake, real_condition, fake_condition), reference in zip(seen, references, strict=True):
        assert real.shape == (64, S) and fake.shape == (128, S) and fake_condition.shape == (128, K)
        # half of them partners of fresh rows, half of replayed ones, each beside its own condition
        assert torch.equal(real_condition[:32], fake_condition[:32])
        assert torch.equal(real_condition[32:], fake_condition[64:96])
        assert torch.equal(real_condition, torch.stack([told[int(i)] for i in reference]))
    last = references[-1]
    assert bool((last[:32] >= 200).all()) and bool((last[32:] < 200).any())  # replay reaches back


@pytest.mark.parametrize("conditioning", ["concat", "proj"])
@pytest.mark.parametrize("loss", ["bce", "lsgan"])
def test_somebody_elses_motion_is_told_from_an_answer(conditioning: str, loss: str) -> None:
    style, g = trainer(conditioning=conditioning, loss=loss, mismatch=0.0), torch.Generator().manual_seed(2)
    train(style, g, 40)
    told = commands(500, g)
    good, bad = motion(told, g), motion(commands(500, g), g)
    assert float((style.logits(good, told) > style.logits(bad, told)).float().mean()) > 0.8
    assert float(style.reward(good, told).mean()) > 1.5 * float(style.reward(bad, told).mean())


def test_an_unconditional_discriminator_cannot_tell() -> None:
    """The same motion as the clips': nothing but the command gives it away."""
    style, g = trainer(conditioning="none"), torch.Generator().manual_seed(2)
    stats = train(style, g, 40)
    told = commands(500, g)
    better = style.logits(motion(told, g), told) > style.logits(motion(commands(500, g), g), told)
    assert float(better.float().mean()) == pytest.approx(0.5, abs=0.08)
    assert "disc_mismatch_logit" not in stats


@pytest.mark.parametrize("conditioning", ["concat", "proj"])
def test_mismatched_pairs_are_pushed_down(conditioning: str) -> None:
    """Against an agent that answers every command perfectly only the mismatch term tells what a wrong answer is."""
    logits = {}
    for weight in (0.0, 1.0):
        style, g = trainer(conditioning=conditioning, mismatch=weight), torch.Generator().manual_seed(2)
        for _ in range(40):
            told = commands(100, g)
            stats = style.update(motion(told, g), told, torch.arange(100))
        told = commands(500, g)
        real = motion(told, g)
        logits[weight] = float((style.logits(real, told) - style.logits(real, told.roll(1, 0))).mean())
        assert ("disc_mismatch_logit" in stats) == (weight > 0)
    assert abs(logits[0.0]) < 0.3
    assert logits[1.0] > 0.6


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_resumes_bit_for_bit(conditioning: str) -> None:
    config = {"conditioning": conditioning, "mismatch": 0.5, "replay": 250, "replay_keep": 0.7, "normalizer": "running"}
    straight, g = trainer(1, **config), torch.Generator().manual_seed(2)
    train(straight, g, 4)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    where = g.get_state()
    train(straight, g, 4)

    resumed, g = trainer(77, **config), torch.Generator()
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    g.set_state(where)
    train(resumed, g, 4)
    for (name, a), b in zip(
        straight.discriminator.state_dict().items(), resumed.discriminator.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert straight.replay_reference is not None and resumed.replay_reference is not None
    assert torch.equal(straight.replay.data, resumed.replay.data)
    assert torch.equal(straight.replay_reference.data, resumed.replay_reference.data)
    assert torch.equal(straight.normalizer.var, resumed.normalizer.var)
    assert torch.equal(straight.generator.get_state(), resumed.generator.get_state())


# ---------------------------------------------------------------------------------------- leak probe


def leak_of(style: StyleTrainer, told: Tensor, steps: int = 100) -> Leak:
    reference = torch.arange(len(told))
    rows = torch.zeros(len(told), S)
    if len(style.replay) == 0:
        style.update(rows, told, reference)
    return probe(lambda g: style.conditions(rows, told, reference, g), samples=2048, steps=steps)


def test_the_command_alone_tells_nothing_with_matched_pairs() -> None:
    style, g = trainer(), torch.Generator().manual_seed(3)
    style.update(torch.zeros(400, S), 3.0 + 0.1 * commands(400, g), torch.arange(400))  # replayed: another mix
    leak = leak_of(style, commands(400, g))
    assert abs(leak.accuracy - 0.5) < 0.03, leak  # four standard errors


def test_a_mismatched_mix_is_found() -> None:
    """Clips that bring their own conditions, as hindsight does, from a narrower range than is commanded."""

    def hindsight(condition: Tensor, reference: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        own = 0.5 * commands(len(condition), g)  # as many forwards as backwards, so no line parts them
        return motion(own, g), own

    style = trainer()
    style.paired = hindsight
    leak = leak_of(style, commands(400, torch.Generator().manual_seed(3)))
    assert not leak.at_chance and leak.low > 0.6, leak


def test_probing_leaves_the_training_alone() -> None:
    one, two = trainer(), trainer()
    for style, curious in ((one, True), (two, False)):
        g = torch.Generator().manual_seed(2)
        for _ in range(3):
            train(style, g, 1)
            if curious:
                leak_of(style, commands(50, torch.Generator().manual_seed(9)), steps=2)
                probe(lambda g: (torch.randn(64, 2, generator=g),) * 2, samples=128, steps=3)
    for a, b in zip(one.discriminator.parameters(), two.discriminator.parameters(), strict=True):
        assert torch.equal(a, b)
    state = torch.get_rng_state()
    probe(lambda g: (torch.randn(64, 2, generator=g), torch.randn(64, 2, generator=g)), samples=128, steps=3)
    assert torch.equal(state, torch.get_rng_state())
