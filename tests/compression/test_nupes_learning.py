"""Learning over the whole grid: slopes by autograd, minima by looking at every assignment."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from paperworks.compression.adaround import learn_rounding
from paperworks.compression.nupes.learning import learn_codes, position_of, slopes


def levels_of(exponent: float | Tensor, top: int) -> Tensor:
    exponent = torch.as_tensor(exponent, dtype=torch.float64)
    rest = (torch.arange(1, top + 1, dtype=torch.float64) / top) ** (1 / exponent)
    return torch.cat([torch.zeros(1, dtype=torch.float64), rest])


def error(codes: Tensor, exponent: float, top: int, scale: Tensor, w: Tensor, h: Tensor) -> float:
    delta = codes.sign() * levels_of(exponent, top)[codes.abs().long()] * scale - w
    return float((delta.double() @ h[0].double() * delta).sum())


def problem(seed: int, out: int, fan_in: int) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(100, fan_in, generator=g) @ torch.randn(fan_in, fan_in, generator=g)
    weight = torch.randn(out, fan_in, generator=g)
    scale = weight.abs().amax(1, keepdim=True).expand_as(weight) * 0.9
    return weight, (x.mT @ x / 100)[None], scale


@given(st.integers(0, 2**31), st.floats(0.2, 1.5), st.sampled_from([1, 3, 7]))
@settings(max_examples=25, deadline=None)
def test_slopes_are_those_of_autograd(seed: int, exponent: float, top: int) -> None:
    weight, hessian, scale = (each.double() for each in problem(seed, 3, 5))
    g = torch.Generator().manual_seed(seed)
    position = (torch.rand(3, 5, generator=g, dtype=torch.float64) * 2 - 1) * top
    position.requires_grad_()
    log_exponent = torch.tensor(math.log(exponent), dtype=torch.float64, requires_grad=True)
    levels = levels_of(log_exponent.exp(), top)
    cell = position.detach().abs().floor().clamp(max=top - 1).long()
    part = position.abs() - cell
    value = position.detach().sign() * ((1 - part) * levels[cell] + part * levels[cell + 1])
    delta = scale * value - weight
    (delta @ hessian[0] * delta).sum().backward()
    by_position, by_exponent, parts = slopes(
        position.detach().float(),
        math.log(exponent),
        weight.float(),
        hessian.float(),
        scale.float(),
        top,
    )
    assert position.grad is not None
    assert log_exponent.grad is not None
    size = float(position.grad.abs().max()) + float(log_exponent.grad.abs())
    torch.testing.assert_close(by_position.double(), position.grad, rtol=1e-3, atol=1e-4 * size)
    torch.testing.assert_close(
        by_exponent.double().sum(), log_exponent.grad, rtol=1e-3, atol=1e-4 * size
    )
    torch.testing.assert_close(parts.double(), part.detach(), rtol=0, atol=1e-5)


def test_slopes_at_zero_and_at_the_ends_are_finite_and_alive() -> None:
    weight, hessian, scale = problem(0, 2, 4)
    position = torch.tensor([[0.0, 1e-30, -7.0, 7.0], [-1e-38, 1.0, 3.0, -3.0]])
    for exponent in (0.2, 0.5, 1.5):
        found = slopes(position, math.log(exponent), weight, hessian, scale, 7)
        assert all(torch.isfinite(each).all() for each in found)
    # The power itself has no slope at level 0 for an exponent of 0.5: |k / 7|**2.
    by_position, *_ = slopes(position, math.log(0.5), weight, hessian, scale, 7)
    assert (by_position[0, :2] != 0).all()


@given(st.integers(0, 2**31), st.floats(0.2, 1.5))
@settings(max_examples=25, deadline=None)
def test_position_reads_back_as_the_size(seed: int, exponent: float) -> None:
    levels = levels_of(exponent, 7).float()
    size = torch.rand(50, generator=torch.Generator().manual_seed(seed)) * 1.2
    position = position_of(size, levels)
    cell = position.floor().clamp(max=6).long()
    part = position - cell
    back = levels[cell] + part * (levels[cell + 1] - levels[cell])
    torch.testing.assert_close(back, size.clamp(max=1.0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(position_of(levels, levels), torch.arange(8.0))


def learn(problem: tuple[Tensor, Tensor, Tensor], exponent: float, top: int, **changes: float):
    weight, hessian, scale = problem
    options = {"steps": 200, "lr": 0.03, "exponent_lr": 0.0, **changes}
    return learn_codes(weight, hessian, scale, exponent, top, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_comes_near_the_best_of_all_assignments(seed: int) -> None:
    task = problem(seed, out=6, fan_in=4)
    weight, hessian, scale = task
    codes, _ = learn(task, 0.6, 3)
    levels = levels_of(0.6, 3)
    every = torch.tensor(list(itertools.product(range(-3, 4), repeat=4)))
    values = every.sign() * levels[every.abs()]
    size = (weight.abs() / scale).double()
    near = (size[..., None] - levels).abs().argmin(-1) * weight.sign()
    best = plain = found = 0.0
    for row in range(6):
        delta = values * scale[row].double() - weight[row].double()
        costs = (delta @ hessian[0].double() * delta).sum(1)
        best += float(costs.min())
        one = slice(row, row + 1)
        found += error(codes[one], 0.6, 3, scale[one], weight[one], hessian)
        plain += error(near[one], 0.6, 3, scale[one], weight[one], hessian)
    assert best <= found * (1 + 1e-6)
    assert found - best <= 0.5 * (plain - best)


def test_weights_go_beyond_the_two_levels_around_them() -> None:
    # Inputs of few directions: many weights can share one error out. The same levels for both.
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 8, generator=g) @ torch.randn(8, 64, generator=g)
    x += 0.1 * torch.randn(400, 64, generator=g)
    weight, hessian = torch.randn(16, 64, generator=g), (x.mT @ x / 400)[None]
    scale = (weight.abs().amax(1, keepdim=True) * 0.7).expand_as(weight).contiguous()
    codes, _ = learn((weight, hessian, scale), 1.0, 7)
    target = (weight / scale * 7).clamp(-7, 7)
    beyond = (codes > target.ceil()) | (codes < target.floor())
    assert 0.005 < beyond.float().mean() < 0.2
    either = learn_rounding(weight, hessian, scale / 7, 7, steps=200, lr=0.1)
    assert error(codes, 1.0, 7, scale, weight, hessian) < 0.85 * error(
        either, 1.0, 7, scale, weight, hessian
    )


@given(st.integers(0, 2**31), st.sampled_from([1, 3, 7]), st.sampled_from([0.0, 0.3]))
@settings(max_examples=25, deadline=None)
def test_is_never_worse_than_the_nearest_levels(seed: int, top: int, exponent_lr: float) -> None:
    task = problem(seed, out=4, fan_in=6)
    weight, hessian, scale = task
    codes, exponent = learn(task, 0.6, top, steps=8, lr=0.5, exponent_lr=exponent_lr)
    levels = levels_of(0.6, top)
    size = (weight.abs() / scale).double()
    near = (size[..., None] - levels).abs().argmin(-1) * weight.sign()
    assert torch.equal(codes, codes.round())
    assert codes.abs().max() <= top
    assert 0.2 <= exponent <= 1.5001
    limit = error(near, 0.6, top, scale, weight, hessian)
    assert error(codes, exponent, top, scale, weight, hessian) <= limit * (1 + 1e-4) + 1e-6


def test_the_exponent_is_learned() -> None:
    # Weights on a power law of exponent 0.5 with a little noise, started from another exponent.
    g = torch.Generator().manual_seed(0)
    codes = torch.randint(-7, 8, (40, 32), generator=g).float()
    codes[:, 0] = 7
    weight = (codes.sign() * levels_of(0.5, 7)[codes.abs().long()].float()).float()
    weight += 0.01 * torch.randn(weight.shape, generator=g)
    x = torch.randn(200, 32, generator=g)
    task = (weight, (x.mT @ x / 200)[None], torch.ones_like(weight))
    fixed, held = learn(task, 0.56, 7)
    found, learned = learn(task, 0.56, 7, exponent_lr=3e-3)
    assert held == pytest.approx(0.56)
    assert abs(learned - 0.5) < 0.02
    weight, hessian, scale = task
    assert error(found, learned, 7, scale, weight, hessian) < 0.5 * error(
        fixed, 0.56, 7, scale, weight, hessian
    )


def test_pruned_weights_stay_zero() -> None:
    weight, hessian, scale = problem(1, 5, 12)
    weight[:, 1::3] = 0
    codes, _ = learn((weight, hessian, scale), 0.7, 3, steps=60)
    assert (codes[weight == 0] == 0).all()
    assert (codes[weight != 0] != 0).any()
