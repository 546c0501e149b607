"""AdaRound against all roundings of a small layer, and what it must never do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paperworks.compression import adaround
from paperworks.compression.adaround import AdaRound, learn_rounding
from paperworks.compression.rounding import RoundToNearest
from paperworks.compression.row_scales import clipped_scale


def problem(seed: int, out: int, fan_in: int, rows: int = 60) -> tuple[Tensor, Tensor]:
    """Weights, and the mean outer product of correlated inputs."""
    g = torch.Generator().manual_seed(seed)
    mixed = torch.randn(rows, fan_in, generator=g) @ torch.randn(fan_in, fan_in, generator=g)
    return torch.randn(out, fan_in, generator=g), (mixed.mT @ mixed / rows)[None]


def errors(rounded: Tensor, weight: Tensor, hessian: Tensor) -> np.ndarray:
    """Of each row, in float64 and one row at a time."""
    delta = (rounded - weight).double().numpy()
    h = hessian[0].double().numpy()
    return np.array([row @ h @ row for row in delta])


@pytest.mark.parametrize("seed", range(4))
def test_comes_near_the_best_of_all_roundings(seed: int) -> None:
    weight, hessian = problem(seed, out=8, fan_in=8)
    scale = torch.full_like(weight, 0.7)
    learned = learn_rounding(weight, hessian, scale, 7, steps=200, lr=0.1)
    below = (weight / scale).floor()
    assert torch.isin(learned - below, torch.tensor([0.0, 1.0])).all()
    best = np.full(8, np.inf)
    for choice in itertools.product((0, 1), repeat=8):
        rounded = (below + torch.tensor(choice)).clamp(-7, 7) * scale
        best = np.minimum(best, errors(rounded, weight, hessian))
    found = errors(learned * scale, weight, hessian)
    nearest = errors((weight / scale).round() * scale, weight, hessian)
    assert (found >= best * (1 - 1e-4)).all()
    # Of what the best rounding gains over the nearest one, more than half.
    assert found.sum() - best.sum() <= 0.5 * (nearest.sum() - best.sum())


@given(st.integers(0, 2**31), st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_no_row_is_worse_than_rounding_to_nearest(seed: int, bits: int) -> None:
    weight, hessian = problem(seed, out=5, fan_in=6, rows=20)
    top = 2 ** (bits - 1) - 1
    scale = clipped_scale(weight, torch.arange(top + 1.0)).expand_as(weight)
    learned = learn_rounding(weight, hessian, scale, top, steps=10, lr=0.3)
    nearest = (weight / scale).round().clamp(-top, top)
    assert learned.abs().max() <= top
    assert torch.equal(learned, learned.round())
    limit = errors(nearest * scale, weight, hessian)
    assert (errors(learned * scale, weight, hessian) <= limit * (1 + 1e-4) + 1e-6).all()


def test_pruned_weights_stay_zero() -> None:
    weight, hessian = problem(0, out=6, fan_in=16)
    weight[:, ::2] = 0
    weight[3] = 0
    scale = clipped_scale(weight, torch.arange(8.0)).expand_as(weight)
    learned = learn_rounding(weight, hessian, scale, 7, steps=50, lr=0.1)
    assert (learned[weight == 0] == 0).all()
    assert (learned[weight != 0] != 0).any()


@pytest.mark.parametrize("step", [0, 3, 9])
def test_penalty_slope_is_the_penalty_s(step: int) -> None:
    part = torch.tensor([0.05, 0.3, 0.5, 0.8, 0.99], dtype=torch.float64, requires_grad=True)
    beta = 8 + (2 - 8) * step / 10
    strength = 60 * step / 10
    (strength * (1 - (2 * part - 1).abs() ** beta)).sum().backward()
    assert part.grad is not None
    torch.testing.assert_close(adaround.penalty_slope(part.detach(), step, 10), part.grad)


def test_clipped_scale_is_the_best_of_its_ratios() -> None:
    g = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 50, generator=g) ** 3
    weight[2] = 0
    levels = torch.tensor([0.0, 0.1, 0.5, 1.0])
    found = clipped_scale(weight, levels)
    both = np.concatenate([-levels.numpy()[1:], levels.numpy()])
    for row in (0, 1, 3):
        values = weight[row].double().numpy()
        cost = {}
        for ratio in np.arange(0.4, 1.001, 0.05):
            scale = np.abs(values).max() * ratio
            cost[scale] = (np.abs(values[:, None] - scale * both).min(1) ** 2).sum()
        assert float(found[row]) == pytest.approx(min(cost, key=cost.__getitem__), rel=1e-5)
    assert float(found[2]) == 1.0


def net(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)
        ).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_serves_the_output_better_than_rounding(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(3)
    # Fewer directions than pixels: inputs whose errors can cancel.
    base = torch.randn(12, 4 * 36, generator=g)
    batches = [(torch.randn(64, 12, generator=g) @ base).view(-1, 4, 6, 6).to(dtype)] * 2
    model = net(dtype)
    wanted = model(batches[0])
    state = torch.random.get_rng_state()
    learned = AdaRound(3, steps=150)(net(dtype), batches)
    assert torch.equal(torch.random.get_rng_state(), state)
    rounded = RoundToNearest(3)(net(dtype))
    wrong = [(each(batches[0]) - wanted).square().mean() for each in (learned, rounded)]
    assert learned(batches[0]).dtype == dtype
    assert wrong[0] < 0.6 * wrong[1]
    assert learned[0].weight.name == "int3"


def test_groups_of_a_convolution_are_independent() -> None:
    g = torch.Generator().manual_seed(4)
    x = torch.randn(8, 4, 6, 6, generator=g)
    together = AdaRound(3, steps=30)(nn.Sequential(net()[0]), [x])[0].weight.dequantize()
    halves = []
    for half in range(2):
        conv = nn.Conv2d(2, 4, 3)
        conv.weight.data = net()[0].weight.data[4 * half : 4 * half + 4].clone()
        part = [x[:, 2 * half : 2 * half + 2]]
        halves.append(AdaRound(3, steps=30)(nn.Sequential(conv), part)[0].weight.dequantize())
    torch.testing.assert_close(together, torch.cat(halves))


def test_groups_of_columns_have_their_own_scale() -> None:
    model = nn.Sequential(nn.Linear(128, 3))
    model[0].weight.data[:, 64:] *= 100
    x = torch.randn(40, 128, generator=torch.Generator().manual_seed(5))
    packed = AdaRound(4, group=64, steps=5)(model, [x])[0].weight
    assert packed.scale.shape == (3, 2)
    assert (packed.scale[:, 1] > 20 * packed.scale[:, 0]).all()


def test_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="got 9 bits"):
        AdaRound(9)
    with pytest.raises(ValueError, match="steps must be a whole number >= 1, got 0"):
        AdaRound(4, steps=0)
    with pytest.raises(ValueError, match="lr must be > 0, got -1"):
        AdaRound(4, lr=-1)
    with pytest.raises(ValueError, match="needs calibration data"):
        AdaRound(4)(net())
    with pytest.raises(ValueError, match="group=64 does not divide the 100 columns of 0"):
        AdaRound(4, group=64)(nn.Sequential(nn.Linear(100, 2)), [torch.ones(4, 100)])
