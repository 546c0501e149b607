from __future__ import annotations

import pytest
import torch

from paperworks.compression.grids import FloatGrid, Grid, IntegerGrid
from paperworks.compression.inputs import InputQuantizer


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
