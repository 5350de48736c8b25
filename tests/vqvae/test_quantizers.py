"""Quantizers: what they must do, and each fault of implementations in circulation that must not come back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from isaacmm.errors import ConfigError
from isaacmm.learn.fit_ema import WeightAverage
from isaacmm.vqvae import quantizers
from isaacmm.vqvae.quantizers import Codebook, FiniteScalarQuantizer, ResidualQuantizer

DIM, SIZE = 8, 16
TOKENS = [name for name in quantizers.NAMES if name != "none"]


def clusters(step: int, count: int = 12, spread: float = 0.02) -> Tensor:
    """``[4, 48, DIM]`` points about ``count`` fixed centres."""
    centres = torch.randn(count, DIM, generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(step + 1)
    which = torch.randint(count, (4, 48), generator=draw)
    return centres[which] + spread * torch.randn(4, 48, DIM, generator=draw)


def small(name: str, codes: int = SIZE) -> quantizers.Quantizer:
    torch.manual_seed(0)
    return quantizers.make(name, DIM, codes=codes, layers=3, levels=(4, 3), reset_below=0.1)


def train(quantizer: nn.Module, steps: int, first: int = 0, rate: float = 0.05) -> None:
    quantizer.train()
    parameters = list(quantizer.parameters())
    optimizer = torch.optim.Adam(parameters, lr=rate) if parameters else None
    for step in range(first, first + steps):
        z = clusters(step)
        made = quantizer(z)
        loss = made.loss + (made.vectors - z).square().mean()
        if optimizer is not None and loss.requires_grad:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def error(quantizer: nn.Module) -> float:
    quantizer.eval()
    z = clusters(999)
    return float((quantizer(z).vectors - z).detach().square().mean())


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_decode_to_the_quantized_vectors(name: str) -> None:
    quantizer = small(name)
    train(quantizer, 3)
    quantizer.eval()
    z = clusters(50)
    made = quantizer(z)
    assert made.tokens.shape == (4, 48, quantizer.layers) and made.tokens.dtype == torch.int64
    assert torch.equal(made.tokens, quantizer.encode(z))
    torch.testing.assert_close(quantizer.decode(made.tokens), made.vectors, rtol=0, atol=1e-5)
    assert int(made.tokens.min()) >= 0
    assert all(int(made.tokens[..., i].max()) < size for i, size in enumerate(quantizer.sizes))


@pytest.mark.parametrize("name", TOKENS)
def test_gradients_pass_straight_through(name: str) -> None:
    quantizer = small(name)
    train(quantizer, 1)
    z = clusters(3).requires_grad_()
    made = quantizer.train()(z)
    made.vectors.sum().backward()
    assert z.grad is not None and bool(torch.isfinite(z.grad).all()) and float(z.grad.abs().sum()) > 0
    if name != "fsq":  # a projection, tanh and rounding stand between
        torch.testing.assert_close(z.grad, torch.ones_like(z))


@pytest.mark.parametrize("name", TOKENS)
def test_learns_well_separated_clusters(name: str) -> None:
    quantizer = small(name, codes=64)
    train(quantizer, 60)
    assert error(quantizer) < (0.6 if name == "fsq" else 0.01)  # fsq: two numbers for eight


# ------------------------------------------------- faults in circulation (docs/vqvae.md lists them)
@pytest.mark.parametrize("name", TOKENS)
def test_resuming_does_not_touch_the_codebook(name: str) -> None:
    """Loading forgot that the codebook had been initialised, and the next step threw it away."""
    first = small(name)
    train(first, 20)
    second = small(name)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key
    train(first, 1, first=20, rate=1e-4)
    train(second, 1, first=20, rate=1e-4)
    for key, value in first.state_dict().items():  # and the next step is the same bit by bit
        assert torch.equal(value, second.state_dict()[key]), key


@pytest.mark.parametrize("name", ["ema", "reset", "ema_reset", "orig"])
def test_state_holds_all_the_statistics(name: str) -> None:
    """Only the codebook used to be saved: sums and counts of the averages were lost."""
    quantizer = small(name)
    train(quantizer, 5)
    state = quantizer.state_dict()
    assert {"codebook", "code_count", "code_sum", "initialised", "steps"} <= set(state)
    assert bool(state["initialised"]) and int(state["steps"]) == 5
    assert float(state["code_count"].sum()) > 0


@pytest.mark.parametrize("name", TOKENS)
def test_runs_on_the_cpu_and_moves_with_the_module(name: str) -> None:
    """Constructors used to call ``.cuda()``."""
    quantizer = small(name)
    held = {id(t) for t in (*quantizer.parameters(), *quantizer.buffers())}
    for module in quantizer.modules():  # no tensor that .to() would leave behind
        for value in vars(module).values():
            assert not isinstance(value, Tensor) or id(value) in held
    train(quantizer, 1)
    double = quantizer.double().eval()
    assert double(clusters(0).double()).vectors.dtype == torch.float64


@pytest.mark.parametrize("name", ["reset", "orig"])
def test_a_codebook_with_gradients_is_trained_by_the_optimiser_it_was_given(name: str) -> None:
    """``reset`` used to replace the parameter, so that the optimiser held one nobody used."""
    quantizer = small(name)
    train(quantizer, 1)
    (parameter,) = quantizer.parameters()
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    for step in range(30):
        made = quantizer(clusters(step))
        optimizer.zero_grad()
        made.loss.backward()
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0
        optimizer.step()
    assert next(iter(quantizer.parameters())) is parameter


@pytest.mark.parametrize("name", ["reset", "ema_reset"])
def test_dead_codes_come_back(name: str) -> None:
    quantizer = small(name)
    train(quantizer, 1)
    far = torch.full((SIZE, DIM), 100.0) + torch.arange(SIZE)[:, None]
    assert isinstance(quantizer, Codebook)
    with torch.no_grad():
        far[0] = 0.0
        quantizer.codebook.copy_(far)
        if quantizer.learned is not None:
            quantizer.learned.copy_(far)
    train(quantizer, 300, first=1)
    used = quantizer.eval().encode(clusters(5)).unique()
    assert len(used) >= 10


def test_without_resets_dead_codes_stay_dead() -> None:
    quantizer = small("ema")
    train(quantizer, 1)
    assert isinstance(quantizer, Codebook)
    quantizer.codebook[3] = 1000.0
    quantizer.code_sum[3] = quantizer.codebook[3] * quantizer.code_count[3]
    train(quantizer, 30, first=1)
    assert float(quantizer.codebook[3].mean()) == pytest.approx(1000.0, rel=1e-3)


@pytest.mark.parametrize("name", ["ema_reset", "reset", "rvq"])
def test_an_average_of_weights_copies_codebooks(name: str) -> None:
    """A code that has just begun anew must not be averaged with what it was."""
    quantizer = small(name)
    average = WeightAverage(quantizer, 0.999)
    for step in range(40):
        train(quantizer, 1, first=step)
        average.update(quantizer, step + 1)
    books = [m for m in quantizer.modules() if isinstance(m, Codebook)]
    theirs = [m for m in average.model.modules() if isinstance(m, Codebook)]
    for mine, other in zip(books, theirs, strict=True):
        assert torch.equal(mine.codebook, other.codebook)
    z = clusters(7)
    assert torch.equal(quantizer.encode(z), average.model.encode(z))  # type: ignore[operator]


def test_moving_averages_are_what_they_say() -> None:
    quantizer = Codebook(2, 2, "ema", decay=0.9)
    quantizer.train()
    quantizer.initialised.fill_(True)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 10.0]]))
    quantizer.code_count.copy_(torch.tensor([1.0, 1.0]))
    quantizer.code_sum.copy_(quantizer.codebook)
    quantizer(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 10.0]]]))
    torch.testing.assert_close(quantizer.code_count, torch.tensor([1.1, 1.0]))
    expected = torch.tensor([[0.1 / 1.1, 0.1 / 1.1], [9.9, 10.0]])
    torch.testing.assert_close(quantizer.codebook, expected)


def test_more_codes_than_rows_to_begin_with() -> None:
    quantizer = Codebook(DIM, 500, "ema_reset")
    quantizer.train()
    quantizer(clusters(0)[:1])
    assert bool(torch.isfinite(quantizer.codebook).all()) and len(quantizer.codebook.unique(dim=0)) == 500


@pytest.mark.parametrize("name", quantizers.BOOKS)
def test_a_codebook_that_was_begun_is_not_begun_again(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.cat([0.1 * torch.randn(n, 4, generator=draw) + 5.0 * i for i, n in enumerate((30, 10))])
    book = Codebook(4, 2, name).train()
    book.begin(rows, 20)
    centres, order = book.codebook.mean(1).sort()
    torch.testing.assert_close(centres, torch.tensor([0.0, 5.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(book.code_count[order], torch.tensor([15.0, 5.0]), rtol=0, atol=1e-5)
    before = book.codebook.clone()
    book(rows[None])
    torch.testing.assert_close(book.codebook, before, rtol=0, atol=0.1)
    small = Codebook(4, 8, name)
    small.begin(rows[:3], 20)  # fewer rows than codes
    assert bool(torch.isfinite(small.codebook).all())


def test_residual_layers_come_closer_one_by_one() -> None:
    quantizer = ResidualQuantizer(DIM, 8, 4)
    torch.manual_seed(0)
    quantizer.train()
    for step in range(80):
        z = torch.randn(4, 48, DIM, generator=torch.Generator().manual_seed(step))
        quantizer(z, depth=torch.tensor([1, 2, 3, 4]))
    quantizer.eval()
    z = torch.randn(4, 48, DIM)
    tokens = quantizer.encode(z)
    errors = [float((quantizer.decode(tokens[..., :n]) - z).square().mean()) for n in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True) and errors[3] < 0.6 * errors[0]


def test_layers_that_are_dropped_change_nothing() -> None:
    quantizer = ResidualQuantizer(DIM, SIZE, 2)
    quantizer.train()
    quantizer(clusters(0))
    before = copy.deepcopy(quantizer.state_dict())
    made = quantizer(clusters(1), depth=torch.ones(4, dtype=torch.int64))
    torch.testing.assert_close(quantizer.state_dict()["books.1.codebook"], before["books.1.codebook"])
    coarse = quantizer.books[0].decode(made.tokens[..., :1])  # type: ignore[operator]
    assert coarse.shape == made.vectors.shape


def test_finite_scalars_reach_every_code() -> None:
    quantizer = FiniteScalarQuantizer(2, (8, 5), groups=1)
    with torch.no_grad():
        quantizer.into.weight.copy_(torch.eye(2))
        quantizer.into.bias.zero_()
    x = torch.linspace(-6, 6, 200)
    z = torch.stack(torch.meshgrid(x, x, indexing="ij"), dim=-1)
    assert quantizer.encode(z).unique().tolist() == list(range(40))
    tokens = torch.arange(40)[:, None]
    assert torch.equal(quantizer.index(tokens.unsqueeze(-1) // quantizer.basis % quantizer.count
                                       - quantizer.count // 2), tokens)  # fmt: skip


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="ema_reset"):
        quantizers.make("ema_rest", DIM)
    with pytest.raises(ConfigError, match="levels"):
        quantizers.make("fsq", DIM, levels=(1, 5))


# ------------------------------------------------------------- beside another implementation, where installed
def test_fsq_tokens_equal_those_of_vector_quantize_pytorch() -> None:
    oracle = pytest.importorskip("vector_quantize_pytorch")
    levels = (8, 5, 5, 5)
    theirs = oracle.FSQ(list(levels))
    ours = FiniteScalarQuantizer(4, levels)
    with torch.no_grad():
        ours.into.weight.copy_(torch.eye(4))
        ours.into.bias.zero_()
        ours.back.weight.copy_(torch.eye(4))
        ours.back.bias.zero_()
    z = 2.0 * torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0))
    vectors, tokens = theirs(z)
    assert float((ours.encode(z)[..., 0] == tokens).float().mean()) > 0.999
    torch.testing.assert_close(ours.eval()(z).vectors, vectors, rtol=0, atol=1e-5)


def test_codebook_tokens_and_averages_equal_those_of_vector_quantize_pytorch() -> None:
    oracle = pytest.importorskip("vector_quantize_pytorch")
    theirs = oracle.VectorQuantize(dim=DIM, codebook_size=SIZE, decay=0.9, commitment_weight=0.0, eps=0.0)
    ours = Codebook(DIM, SIZE, "ema", decay=0.9)
    book = torch.randn(SIZE, DIM, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        theirs._codebook.embed.copy_(book[None])
        theirs._codebook.embed_avg.copy_(book[None])
        theirs._codebook.cluster_size.fill_(1.0)
    ours.initialised.fill_(True)
    ours.codebook.copy_(book)
    ours.code_sum.copy_(book)
    ours.code_count.fill_(1.0)
    ours.train()
    theirs.train()
    for step in range(5):
        z = clusters(step)
        vectors, tokens, _ = theirs(z)
        made = ours(z)
        assert torch.equal(made.tokens[..., 0], tokens)
        torch.testing.assert_close(made.vectors, vectors, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.codebook, theirs._codebook.embed[0], rtol=1e-3, atol=1e-4)
