"""StatsQ against a search over all its levels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from paperworks.compression.oscillation import StatsQuantizer


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def nearest_level(row: Tensor, bits: int) -> Tensor:
    """Each entry's nearest among the 2**bits levels, spread evenly over -alpha to alpha."""
    alpha = 2 * row.abs().mean()
    n = 2**bits
    levels = alpha * (2 * torch.arange(n, dtype=row.dtype) + 1 - n) / n
    return levels[(row[:, None] - levels).abs().argmin(1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_weight_goes_to_the_nearest_level_of_its_row(bits: int, dtype: torch.dtype) -> None:
    weight = draw(6, 50, dtype=dtype) * torch.logspace(-3, 3, 6, dtype=dtype)[:, None]
    found = StatsQuantizer(bits)(weight)
    expected = torch.stack([nearest_level(row, bits) for row in weight])
    assert torch.allclose(found, expected, rtol=1e-5, atol=0)
    assert found.dtype == dtype


def test_a_convolution_is_one_row_per_filter() -> None:
    weight = draw(4, 3, 2, 2)
    quantizer = StatsQuantizer(3)
    assert torch.equal(quantizer(weight), quantizer(weight.flatten(1)).view_as(weight))


@given(st.floats(1e-6, 1e6), st.integers(2, 8))
def test_it_scales_with_the_weights(factor: float, bits: int) -> None:
    weight = draw(3, 9)
    quantizer = StatsQuantizer(bits)
    assert torch.allclose(quantizer(factor * weight), factor * quantizer(weight), rtol=1e-9)
    assert torch.allclose(quantizer(-weight), -quantizer(weight))


def test_the_gradient_passes_unchanged() -> None:
    weight = draw(3, 9).requires_grad_()
    upstream = draw(3, 9, seed=1)
    StatsQuantizer(2)(weight).backward(upstream)
    assert torch.equal(weight.grad, upstream)


def test_within_a_boundary_only_unsure_weights_get_a_gradient() -> None:
    # alpha = 1: thresholds at -0.5, 0 and 0.5, levels half a unit apart.
    weight = torch.tensor([[0.51, -0.02, 0.3, -0.25, 1.42]], requires_grad=True)
    quantizer = StatsQuantizer(2)
    quantizer.boundary = 0.05
    scale = float(weight.abs().mean())
    expected = torch.tensor(
        [[min(abs(float(w) - t * scale) for t in (-1, 0, 1)) / scale < 0.05 for w in weight[0]]]
    )
    quantizer(weight).sum().backward()
    assert torch.equal(weight.grad.bool(), expected)
    assert expected.tolist() == [[True, True, False, False, False]]


def test_a_row_of_zeros_stays_zero() -> None:
    weight = draw(3, 4)
    weight[1] = 0
    assert torch.equal(StatsQuantizer(2)(weight)[1], torch.zeros(4, dtype=torch.float64))


def test_the_fewest_bits() -> None:
    with pytest.raises(ValueError, match="bits must be a whole number from 2 to 8, got 1"):
        StatsQuantizer(1)
