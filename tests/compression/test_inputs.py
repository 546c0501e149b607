from __future__ import annotations

import copy
from typing import Any

import numba
import numpy as np
import pytest
import torch

from paperworks.compression.grids import FloatGrid, Grid, IntegerGrid
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.kernels import inputs as input_kernels
from paperworks.compression.nupes.grid import power_grid


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_per_token_scales_reach_the_largest_level(dtype: torch.dtype) -> None:
    x = torch.randn(3, 5, 16, dtype=dtype)
    x[0, 0] = 0
    rounded = InputQuantizer(IntegerGrid(8))(x)
    assert rounded.dtype == dtype
    step = x.abs().amax(-1, keepdim=True) / 127
    assert ((rounded - x).abs() <= step / 2 * (1 + 1e-5)).all()
    torch.testing.assert_close(rounded.abs().amax(-1), x.abs().amax(-1))
    assert not rounded[0, 0].any()


@pytest.mark.parametrize(("shape", "axis"), [((4, 8), -1), ((2, 8, 3, 3), 1), ((8, 3, 3), 0)])
def test_scales_and_divisors_belong_to_channels(shape: tuple[int, ...], axis: int) -> None:
    x = torch.randn(shape)
    scale, divide = torch.rand(8) + 0.1, torch.rand(8) + 0.5
    grid = FloatGrid(2, 1)
    quantizer = InputQuantizer(grid, scale, divide=divide, axis=axis)
    rounded = quantizer(x).movedim(axis, -1)
    expected = grid.round(x.movedim(axis, -1) / divide / scale) * scale
    torch.testing.assert_close(rounded, expected)
    again = InputQuantizer.from_spec(quantizer.spec())
    again.load_state_dict(quantizer.state_dict())
    assert torch.equal(again(x), quantizer(x))


def test_a_table_of_its_own_survives_its_spec() -> None:
    grid = Grid(torch.tensor([0.0, 0.3, 1.1, -1.1]), "own")
    quantizer = InputQuantizer(grid)
    x = torch.randn(2, 8)
    assert torch.equal(InputQuantizer.from_spec(quantizer.spec())(x), quantizer(x))


@pytest.mark.parametrize("bad", [0.0, -1.0, torch.nan, torch.inf])
def test_scales_must_be_positive(bad: float) -> None:
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        InputQuantizer(IntegerGrid(8), torch.tensor(bad))
    with pytest.raises(ValueError, match="divide must be positive and finite"):
        InputQuantizer(IntegerGrid(8), divide=torch.tensor([1.0, bad]))


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("scales", ["token", "tensor", "channel"])
@pytest.mark.parametrize(
    "grid",
    [*(IntegerGrid(bits) for bits in (2, 4, 8)), IntegerGrid(4, signed=False)]
    + [FloatGrid(*each) for each in ((2, 1), (1, 2), (3, 4), (4, 3), (5, 2), (0, 3), (3, 0))]
    + [power_grid(bits, exponent) for bits in (2, 3, 4, 8) for exponent in (0.37, 1.5)]
    + [Grid(torch.tensor([0.0, 0.3, 1.1, -1.1]), "own")],
    ids=lambda grid: grid.name,
)
def test_few_rows_are_rounded_to_the_bit_as_many(grid: Any, scales: str, divided: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 700, generator=generator) * torch.exp(
        3 * torch.randn(700, generator=generator)
    )
    x[1] = 0
    x[2, :9] = torch.tensor([0.5, 1.5, 2.5, -0.5, -2.5, 3.5, -0.0, 1e-30, 7.0])
    scale = {"token": None, "tensor": torch.tensor(0.5), "channel": torch.rand(700) + 0.1}[scales]
    quantizer = InputQuantizer(grid, scale, divide=torch.rand(700) + 0.5 if divided else None)
    slow = quantizer(x.clone().requires_grad_()).detach()  # torch's own operations
    assert torch.equal(quantizer(x), slow)
    assert torch.equal(quantizer(x[0]), slow[0])
    x[0, 5] = torch.nan
    assert quantizer(x).isnan().equal(quantizer(x.clone().requires_grad_()).isnan())


@pytest.mark.parametrize("scaled", [False, True])
def test_ties_between_levels_go_as_in_torch(scaled: bool) -> None:
    """At every middle, one float32 below and above it, with levels that float32 barely parts."""
    near = torch.tensor(1.0)
    close = [near]
    for _ in range(5):
        close.append(torch.nextafter(close[-1], torch.tensor(2.0)))
    for grid in (
        *(power_grid(bits, 0.5) for bits in (2, 4, 8)),
        *(Grid(torch.arange(-8, 8)[order], "mixed") for order in torch.rand(5, 16).argsort()),
        *(
            Grid(torch.stack([torch.tensor(0.0), *close, -near])[order], "close")
            for order in torch.rand(9, 8).argsort()
        ),
    ):
        middles = grid._sorted[2].float()
        infinite = torch.tensor([torch.inf, -torch.inf, torch.nan])
        below, above = (
            torch.nextafter(middles, -infinite[:1]),
            torch.nextafter(middles, infinite[:1]),
        )
        x = torch.cat([middles, below, above, grid.table, infinite])
        scale = torch.tensor(1.0) if scaled else torch.ones(len(x))
        quantizer = InputQuantizer(grid, scale)
        slow = quantizer(x.clone().requires_grad_()).detach()
        assert torch.equal(quantizer(x), slow)
        assert torch.equal(quantizer(x).signbit(), slow.signbit())


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("scales", ["place", "tensor", "channel"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 8, 6, 7), 1), ((8, 17, 31), 0), ((2, 5, 8), -1), ((1, 8, 8, 8), -3)]
)
def test_maps_are_rounded_to_the_bit_as_by_torch(
    shape: tuple[int, ...], axis: int, scales: str, divided: bool
) -> None:
    x = torch.randn(shape).mul_(3)
    x.flatten()[:8] = torch.tensor([0.5, 1.5, 2.5, -0.5, -2.5, -0.0, 1e-30, 7.0])
    x.select(axis, 3).zero_()
    scale = {"place": None, "tensor": torch.tensor(0.5), "channel": torch.rand(8) + 0.1}[scales]
    divide = torch.rand(8) + 0.5 if divided else None
    for nan in (False, True):
        if nan:
            x.flatten()[5] = torch.nan
        for grid in (
            *(IntegerGrid(4), IntegerGrid(8, signed=False), FloatGrid(2, 1), FloatGrid(4, 3)),
            *(power_grid(4, 0.5), power_grid(8, 0.3), FloatGrid(3, 0)),
        ):
            quantizer = InputQuantizer(grid, scale, divide=divide, axis=axis)
            slow = quantizer(x.clone().requires_grad_()).detach()  # torch's own operations
            for given in (x, x.transpose(-1, -2).contiguous().transpose(-1, -2)):
                torch.testing.assert_close(quantizer(given), slow, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("in_registers", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 5, 8])
def test_levels_are_found_with_and_without_long_registers(
    bits: int, in_registers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_registers and not input_kernels.IN_REGISTERS:
        pytest.skip("this processor has no AVX-512")
    monkeypatch.setattr(input_kernels, "IN_REGISTERS", in_registers)
    round_ = numba.njit(input_kernels._round.py_func, error_model="numpy")
    grid = power_grid(bits, 0.7)
    x = torch.randn(1000).div_(2)
    found = np.empty((20, 50), np.float32)  # the rows' ends are not a register's
    zero, factors = np.float32(0), np.full(50, 0.5, np.float32)
    search = input_kernels.search_of(grid)
    levels = input_kernels.LEVELS
    round_(x.numpy().reshape(20, 50), factors, zero, zero, zero, levels, *search, found)
    assert torch.equal(torch.from_numpy(found).flatten(), grid.round(x / 0.5) * 0.5)


@pytest.mark.parametrize(
    ("levels", "in_one_pass"),
    [
        ([0.0, 0.0], False),
        ([-1.0, 0.0], True),
        ([-3e38, 0.0, 1.0, 3e38], True),
        ([0.0, 1e-45, 1e-44, 2e-44], True),  # below the least normal number
        ([0.0, *(1 + torch.arange(7) * 2e-7).tolist()], False),  # more than one to a cell
    ],
)
def test_levels_far_and_near_are_found(levels: list[float], in_one_pass: bool) -> None:
    grid = Grid(torch.tensor(levels), "levels")
    assert (input_kernels.search_of(grid) is not None) == in_one_pass
    x = torch.cat([torch.randn(1000), torch.tensor(levels), 1 + torch.rand(1000) * 1e-5])
    x[:6] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 5e-45, -5e-45])
    assert torch.equal(InputQuantizer(grid, torch.tensor(1.0))(x), grid.round(x))


def test_what_was_prepared_for_few_rows_does_not_outlive_its_scale() -> None:
    quantizer = InputQuantizer(IntegerGrid(4), torch.tensor(0.5))
    x = torch.tensor([[0.3, 1.2]])
    assert quantizer(x).tolist() == [[0.5, 1.0]]
    quantizer.load_state_dict({"scale": torch.tensor(1.0)})
    assert quantizer(x).tolist() == [[0.0, 1.0]]
    quantizer.load_state_dict({"scale": torch.tensor(2.0)}, assign=True)
    assert quantizer(x).tolist() == [[0.0, 2.0]]
    assert copy.deepcopy(quantizer)(x).tolist() == [[0.0, 2.0]]
