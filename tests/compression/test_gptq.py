"""GPTQ against optimal brain quantization by brute force: every inverse Hessian from scratch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paperworks.compression.gptq import GPTQ
from paperworks.compression.rounding import RoundToNearest


def brute(
    weight: np.ndarray,
    hessian: np.ndarray,
    bits: int,
    *,
    size: int,
    symmetric: bool = True,
    damping: float = 0.01,
) -> np.ndarray:
    """Row by row, column by column; the free weights go to their constrained minimum."""
    n = len(hessian)
    hessian = hessian + damping * np.diag(hessian).mean() * np.eye(n)
    out = np.empty_like(weight)
    for r, row in enumerate(weight):
        kept, w = row != 0, row.copy()
        for i in range(n):
            if i % size == 0:
                reach = w[i : i + size]
                if symmetric:
                    scale, offset = np.abs(reach).max() / (2 ** (bits - 1) - 1), 0.0
                    low, high = 1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1
                else:
                    scale = (max(reach.max(), 0) - min(reach.min(), 0)) / (2**bits - 1)
                    offset = np.rint(min(reach.min(), 0) / scale) * scale
                    low, high = 0, 2**bits - 1
            wanted = w[i] if kept[i] else 0.0
            out[r, i] = np.clip(np.rint((wanted - offset) / scale), low, high) * scale + offset
            inverse = np.linalg.inv(hessian[i:, i:])
            w[i:] -= (w[i] - out[r, i]) / inverse[0, 0] * inverse[0]
    return out


def problem(out: int = 5, columns: int = 12, seed: int = 0) -> tuple[nn.Sequential, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(columns, out))
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    mix = torch.randn(columns, columns, generator=generator)
    return model, torch.randn(60, columns, generator=generator) @ mix


def hessian(x: Tensor) -> np.ndarray:
    return (x.double().T @ x.double() / len(x)).numpy()


def got(model: nn.Module, x: Any, **options: Any) -> Tensor:
    return GPTQ(**options)(copy.deepcopy(model), [x])[0].weight.dequantize()  # type: ignore[index]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("block", [1, 5, 12, 128])
@pytest.mark.parametrize("bits", [2, 4])
def test_it_is_optimal_brain_quantization_in_order(bits: int, block: int, symmetric: bool) -> None:
    model, x = problem()
    weight = model[0].weight.detach().double().numpy()
    expected = brute(weight, hessian(x), bits, size=12, symmetric=symmetric)
    found = got(model, x, weight_bits=bits, block=block, symmetric=symmetric)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("block", [32, 64, 100, 128])
def test_scales_of_groups_are_set_from_the_weights_as_they_are_by_then(block: int) -> None:
    model, x = problem(out=3, columns=128)
    x = torch.cat([x, torch.randn(200, 128, generator=torch.Generator().manual_seed(1))])
    weight = model[0].weight.detach().double().numpy()
    expected = brute(weight, hessian(x), 4, size=64)
    found = got(model, x, weight_bits=4, group=64, block=block)
    near = np.isclose(found, expected, atol=1e-3)  # in float32 a tie may fall the other way
    assert near.mean() > 0.97


def test_pruned_weights_stay_zero_and_are_made_up_for() -> None:
    model, x = problem()
    model[0].weight.data[:, 1::3] = 0
    # Small copies of the inputs before them: they would take over much of their errors.
    x[:, 1::3] = x[:, ::3] / 4 + 0.1 * x[:, 1::3]
    weight = model[0].weight.detach().double().numpy()
    found = got(model, x, weight_bits=4)
    assert not found[:, 1::3].any()
    np.testing.assert_allclose(found, brute(weight, hessian(x), 4, size=12), atol=1e-4)


def test_it_is_nearer_than_rounding() -> None:
    model, x = problem(out=32, columns=64)
    wanted = model(x)
    rounded = RoundToNearest(3)(copy.deepcopy(model))(x)
    better = GPTQ(3)(copy.deepcopy(model), [x])(x)
    assert (better - wanted).square().sum() < 0.6 * (rounded - wanted).square().sum()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolution_is_its_groups(groups: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=groups, bias=False))
    x = torch.randn(6, 4, 8, 8)
    found = got(model, x, weight_bits=4)
    for group, (part, chunk) in enumerate(
        zip(model[0].weight.chunk(groups), x.chunk(groups, 1), strict=True)
    ):
        alone = nn.Sequential(nn.Conv2d(4 // groups, 8 // groups, 3, bias=False))
        alone[0].weight.data = part.detach().clone()
        expected = got(alone, chunk, weight_bits=4)
        torch.testing.assert_close(found.chunk(groups)[group], expected, rtol=1e-4, atol=1e-4)


def test_float64_weights_and_silent_inputs() -> None:
    model, x = problem()
    x[:, 3] = 0
    single = got(model, x)
    double = got(model.double(), x.double())
    torch.testing.assert_close(single, double)
    assert bool(torch.isfinite(single).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 1}, "got 1 bits"),
        ({"damping": -0.1}, "damping must be >= 0, got -0.1"),
        ({"block": 0}, "block must be a whole number >= 1, got 0"),
        ({"block": 2.5}, "block must be a whole number >= 1, got 2.5"),
    ],
)
def test_bad_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPTQ(**options)


def test_a_layer_whose_columns_do_not_fill_groups_is_named() -> None:
    model, x = problem()
    with pytest.raises(ValueError, match="group=64 does not divide the 12 columns of 0"):
        GPTQ(4, group=64)(model, [x])


def test_a_singular_hessian_asks_for_damping() -> None:
    model, x = problem()
    with pytest.raises(ValueError, match=r"0: the Hessian is not positive definite.*more damping"):
        GPTQ(4, damping=0.0)(model, [x[:1].expand(40, -1)])
