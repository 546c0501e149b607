"""What it costs to find exponents and to learn weights, over growing layers.

The search beside the papers' own: the simplex of Nelder and Mead, which rounds every weight at each
step. Learning beside AdaRound for as many steps on the same data; both notes give the error that is
left, relative to rounding to nearest integers of the same range. A packed power layer at one row of
input races in ``bench_packed.py`` (``power4``), beside float32, torchao and torch's own int4.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from paperworks.compression.adaround import learn_rounding
from paperworks.compression.nupes import search_exponent
from paperworks.compression.nupes.grid import power_levels
from paperworks.compression.nupes.learning import learn_codes
from paperworks.compression.row_scales import clipped_scale, largest, nearest, row_errors

SHAPES = [(192, 192), (576, 576), (1536, 576), (2048, 2048)]
TOP, STEPS = 7, 50  # four bits


def weights(shape: tuple[int, int]) -> Tensor:
    """On a bell, each row with a width of its own."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator) * (
        0.5 + torch.rand(shape[0], 1, generator=generator)
    )


def hessian(columns: int) -> Tensor:
    """Of inputs that go together."""
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    x = torch.randn(2 * columns, columns, generator=generator) @ mixing
    return (x.mT @ x / len(x))[None]


def error(weight: Tensor, exponent: float) -> float:
    levels, scale = power_levels(exponent, TOP).float(), largest(weight)
    size = weight.abs() / scale
    return float(((levels[nearest(size, levels)] - size) * scale).square().sum())


def simplex(weight: Tensor) -> float:
    found = minimize(lambda a: error(weight, float(a[0])), [0.5], method="Nelder-Mead", tol=1e-3)
    return float(found.x[0])


def histogram(weight: Tensor) -> float:
    return search_exponent([weight], TOP, clip=False)


@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("search", [histogram, simplex])
def test_search(race: Any, shape: tuple[int, int], search: Any) -> None:
    weight = weights(shape)
    race(
        lambda: search(weight),
        group=f"exponent of {shape[0]} x {shape[1]} weights, four bits",
        contender=search.__name__,
        ours=search is histogram,
        note=lambda a: f"exponent {a:.3f}, error {error(weight, a):.6g}",
    )


def nupes(weight: Tensor, inputs: Tensor) -> Tensor:
    exponent = search_exponent([weight], TOP)
    levels = power_levels(exponent, TOP).float()
    scale = clipped_scale(weight, levels).expand_as(weight).contiguous()
    codes, exponent = learn_codes(
        weight, inputs, scale, exponent, TOP, steps=STEPS, lr=0.03, exponent_lr=1e-3
    )
    levels = power_levels(exponent, TOP).float()
    return codes.sign() * levels[codes.abs().long()] * scale


def adaround(weight: Tensor, inputs: Tensor) -> Tensor:
    scale = clipped_scale(weight, torch.arange(TOP + 1.0)).expand_as(weight).contiguous()
    return learn_rounding(weight, inputs, scale, TOP, steps=STEPS, lr=0.1) * scale


@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("learn", [nupes, adaround])
def test_learning(race: Any, shape: tuple[int, int], learn: Any) -> None:
    weight, inputs = weights(shape), hessian(shape[1])
    step = clipped_scale(weight, torch.arange(TOP + 1.0))
    plain = row_errors((weight / step).round().clamp(-TOP, TOP) * step - weight, inputs).sum()
    race(
        lambda: learn(weight, inputs),
        group=f"{STEPS} steps on {shape[0]} x {shape[1]} weights, four bits",
        contender=learn.__name__,
        ours=learn is nupes,
        rounds=1,
        note=lambda w: f"error {float(row_errors(w - weight, inputs).sum() / plain):.3f}",
    )
