"""The exponent without data, against rounding every weight for every exponent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from paperworks.compression.nupes import power_grid, search_exponent
from paperworks.compression.nupes.grid import sign_magnitude
from paperworks.compression.nupes.search import ErrorCurve, minimise
from paperworks.compression.row_scales import largest


def true_error(weight: np.ndarray, scale: np.ndarray, exponent: float, top: int) -> float:
    """Each weight to the nearest level, by looking at all of them."""
    levels = [np.sign(k) * (abs(k) / top) ** (1 / exponent) for k in range(-top, top + 1)]
    distance = np.abs(weight[..., None] - scale[..., None] * np.array(levels))
    return float((distance.min(-1) ** 2).sum())


def bell(seed: int, shape: tuple[int, int] = (24, 60)) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g) * torch.rand(shape[0], 1, generator=g)


@given(st.integers(0, 2**31), st.floats(0.2, 1.5), st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_curve_is_the_error_of_rounding(seed: int, exponent: float, bits: int) -> None:
    weight, top = bell(seed), 2 ** (bits - 1) - 1
    scale = largest(weight) * 0.8  # some weights lie beyond
    got = ErrorCurve(weight, scale)(exponent, top)
    wanted = true_error(weight.double().numpy(), scale.double().numpy(), exponent, top)
    assert got == pytest.approx(wanted, rel=2e-3)


@pytest.mark.parametrize("top", [3, 7, 127])
def test_finds_the_best_exponent(top: int) -> None:
    weight = bell(7, (20, 100))
    rows, scale = weight.double().numpy(), largest(weight).double().numpy()
    error = lambda a: true_error(rows, scale, float(a), top)  # noqa: E731
    found = error(search_exponent([weight], top, clip=False))
    assert found <= 1.01 * min(error(a) for a in np.linspace(0.2, 1.5, 66))
    # The papers' way: the simplex of Nelder and Mead, rounding everything at each step.
    simplex = minimize(lambda a: error(np.clip(a[0], 0.2, 1.5)), [0.5], method="Nelder-Mead")
    assert found <= 1.01 * simplex.fun


def test_several_layers_share_the_sum_of_norms() -> None:
    layers = [bell(1), 30 * bell(2) ** 3, bell(3, (10, 300)) ** 5]
    exponent = search_exponent(layers, 7, clip=False)

    def total(a: float) -> float:
        parts = [
            true_error(w.double().numpy(), largest(w).double().numpy(), a, 7) ** 0.5 for w in layers
        ]
        return sum(parts)

    assert total(exponent) <= 1.005 * min(total(a) for a in np.linspace(0.2, 1.5, 66))


def test_levels_that_are_there_are_found() -> None:
    for exponent in (0.35, 0.6, 1.0, 1.3):
        levels = torch.tensor([(k / 7) ** (1 / exponent) for k in range(8)])
        weight = torch.cat([levels, -levels]).repeat(3, 10) * torch.tensor([[1.0], [5.0], [0.1]])
        assert search_exponent([weight], 7, clip=False) == pytest.approx(exponent, abs=0.01)


def test_bells_want_less_than_one_and_boxes_one() -> None:
    # PowerQuant reports about 0.55 for trained networks at 4 bits; wider tails want less.
    normal = search_exponent([bell(0, (64, 500))], 7, clip=False)
    heavy = search_exponent([bell(0, (64, 500)) ** 3], 7, clip=False)
    box = torch.rand(64, 500, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert heavy < normal < 0.8
    assert search_exponent([box], 7, clip=False) == pytest.approx(1.0, abs=0.05)


def test_clipping_lowers_the_error_further() -> None:
    from paperworks.compression.nupes.grid import power_levels
    from paperworks.compression.row_scales import clipped_scale

    weight = bell(3, (64, 500))
    rows = weight.double().numpy()
    full = search_exponent([weight], 7, clip=False)
    clipped = search_exponent([weight], 7)
    scale = clipped_scale(weight, power_levels(clipped, 7).float())
    assert true_error(rows, scale.double().numpy(), clipped, 7) < 0.85 * true_error(
        rows, largest(weight).double().numpy(), full, 7
    )
    assert clipped > full  # less of a tail is left for the power to reach


def test_scale_and_zeros_do_not_matter() -> None:
    weight = bell(4)
    exponent = search_exponent([weight], 7)
    assert search_exponent([weight * 64], 7) == exponent
    with_zeros = torch.cat([weight, torch.zeros_like(weight)], 1)
    assert search_exponent([with_zeros], 7) == pytest.approx(exponent, abs=1e-3)
    assert 0.2 <= search_exponent([torch.zeros(3, 5)], 7) <= 1.5


def test_two_bits_leave_nothing_to_search() -> None:
    assert search_exponent([bell(0)], 1) == 1.0


def test_minimise_does_not_stop_at_a_local_minimum() -> None:
    found = minimise(lambda a: np.cos(25 * a) + 2 * (a - 1.2) ** 2)
    grid = np.linspace(0.2, 1.5, 100_001)
    best = grid[np.argmin(np.cos(25 * grid) + 2 * (grid - 1.2) ** 2)]
    assert found == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_grid_has_the_levels_of_the_power_law(bits: int) -> None:
    top = 2 ** (bits - 1) - 1
    grid = power_grid(bits, 0.6)
    numbers = torch.arange(-top, top + 1)
    levels = [float(np.sign(k) * (abs(k) / top) ** (1 / 0.6)) for k in numbers.tolist()]
    codes = sign_magnitude(numbers.float(), bits)
    torch.testing.assert_close(grid.decode(codes), torch.tensor(levels))
    assert torch.equal(grid.encode(grid.decode(codes)), codes)
    assert torch.equal(grid.table[2 ** (bits - 1) :], -grid.table[: 2 ** (bits - 1)])


def test_grid_refuses_what_it_cannot_have() -> None:
    with pytest.raises(ValueError, match="2 to 8 bits, got 1 bits"):
        power_grid(1, 0.5)
    with pytest.raises(ValueError, match=r"exponent must be > 0, got -0\.5"):
        power_grid(4, -0.5)
