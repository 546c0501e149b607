from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperworks.compression.grids import FloatGrid, Grid, IntegerGrid, float_grids, grid_from

ALL = [
    *(grid for bits in range(3, 9) for grid in float_grids(bits)),
    *(IntegerGrid(bits) for bits in range(2, 9)),
    *(IntegerGrid(bits, signed=False) for bits in range(1, 9)),
    Grid(torch.tensor([0.0, 0.1, 0.7, -2.0]), "some table"),
]
names = lambda grid: grid.name  # noqa: E731


@pytest.mark.parametrize(
    ("exponent", "mantissa", "theirs"),
    [
        (2, 1, "float4_e2m1fn"),
        (2, 3, "float6_e2m3fn"),
        (3, 2, "float6_e3m2fn"),
        (4, 3, "float8_e4m3fn"),
        (5, 2, "float8_e5m2"),
    ],
)
def test_floating_point_formats_are_those_of_ml_dtypes(
    exponent: int, mantissa: int, theirs: str
) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = getattr(ml_dtypes, theirs)
    grid = FloatGrid(exponent, mantissa)
    codes = np.arange(2**grid.bits, dtype=np.uint8)
    levels = codes.view(dtype).astype(np.float64)
    there = np.isfinite(levels)  # theirs keep some codes for infinity and NaN
    assert there.sum() >= 2**grid.bits - 8
    # float8_e5m2 has the IEEE bias 15 as ours; float8_e4m3fn 7 as ours.
    np.testing.assert_array_equal(grid.table.double().numpy()[there], levels[there])

    top = float(levels[there].max())
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).double()
    x = torch.cat([x * top / 3, x * top / 300, torch.from_numpy(levels[there])])
    middles = np.unique(levels[there])
    x = torch.cat([x, torch.from_numpy((middles[1:] + middles[:-1]) / 2)]).clamp(-top, top)
    rounded = x.numpy().astype(dtype).astype(np.float64)
    np.testing.assert_array_equal(grid.round(x).numpy(), rounded)


@pytest.mark.parametrize("grid", ALL, ids=names)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_to_a_nearest_level(grid: Grid, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(2000, generator=generator) * grid.largest / 2).to(dtype)
    allowed = grid.table.double()
    if isinstance(grid, IntegerGrid) and grid.signed:
        allowed = allowed[allowed > allowed.min()]  # the lowest integer is left out
    rounded = grid.round(x)
    assert rounded.dtype == dtype
    gaps = (x.double()[:, None] - allowed).abs()
    torch.testing.assert_close(
        (x.double() - rounded.double()).abs(), gaps.min(1).values, rtol=0, atol=0
    )
    assert torch.isin(rounded.double(), allowed).all()


@pytest.mark.parametrize("grid", ALL, ids=names)
def test_decoding_the_code_is_rounding(grid: Grid) -> None:
    levels = grid.table.unique()
    middles = (levels[1:] + levels[:-1]) / 2
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([middles, levels, torch.randn(500, generator=generator) * grid.largest])
    codes = grid.encode(x)
    assert codes.dtype == torch.uint8
    assert int(codes.max()) < 2**grid.bits
    assert torch.equal(grid.decode(codes), grid.round(x))


@given(st.floats(-64, 64, width=32) | st.floats(-(2.0**99), 2.0**99, width=32))
def test_ties_go_to_the_even_code(x: float) -> None:
    grid = FloatGrid(3, 2)
    value = torch.tensor([x])
    # The general search of the table is the oracle of the arithmetic.
    assert torch.equal(grid.round(value), Grid.round(grid, value))


@pytest.mark.parametrize("grid", ALL, ids=names)
def test_zero_is_a_level(grid: Grid) -> None:
    assert grid.round(torch.zeros(1)).item() == 0


@pytest.mark.parametrize("grid", ALL, ids=names)
def test_a_grid_is_found_again_by_its_name(grid: Grid) -> None:
    again = grid_from(grid.name, grid.table)
    assert type(again) is type(grid)
    assert torch.equal(again.table, grid.table)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FloatGrid(6, 3), "2 to 8 bits with its sign, got E6M3 with 10 bits"),
        (lambda: FloatGrid(-1, 3), "got E-1M3"),
        (lambda: IntegerGrid(9), "2 to 8 bits, got 9 bits"),
        (lambda: IntegerGrid("4"), "2 to 8 bits, got '4' bits"),
        (lambda: IntegerGrid(4.0), "2 to 8 bits, got 4.0 bits"),
        (lambda: IntegerGrid(1), "2 to 8 bits, got 1 bits"),
        (lambda: IntegerGrid(0, signed=False), "1 to 8 bits, got 0"),
        (lambda: float_grids(2), "3 to 8 bits, got 2"),
        (lambda: Grid(torch.arange(5.0), "odd"), r"2, 4, 8, ... or 256 levels.*\(5,\)"),
        (lambda: Grid(torch.tensor([1.0, 2.0]), "ones"), "levels of ones must contain 0"),
        (lambda: Grid(torch.tensor([0.0, torch.inf]), "wide"), "must be finite"),
    ],
)
def test_impossible_formats_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]
