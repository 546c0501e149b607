"""The levels that a power law leaves of the integers.

PowerQuant (arXiv:2301.09858, equation 5) rounds ``top * sign(x) |x|**a`` to an integer ``k`` and
reads it back as ``sign(k) |k / top|**(1 / a)``. The power functions are the only continuous maps
that turn products into products, so that a product of codes is still the code of a product.

Here a number goes to the nearest of those levels. The paper rounds after the power, which is the
same but for numbers between the two kinds of middle, and is 1 to 3 % worse in squared error.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paperworks.compression.grids import MAX_BITS, Grid, is_whole

BOUNDS = (0.2, 1.5)
"""The exponents that are searched. Below 1 the levels lie closest around zero."""


def power_levels(exponent: float, top: int) -> Tensor:
    """The magnitudes ``(k / top)**(1 / exponent)`` for k = 0 .. top, float64."""
    return (torch.arange(top + 1, dtype=torch.float64) / top) ** (1 / exponent)


def power_grid(bits: int, exponent: float) -> Grid:
    """The grid of ``bits`` bits with levels on a power law, from -1 to 1.

    The code of a level is its integer's magnitude with the sign as the highest bit.

    Parameters
    ----------
    bits : int
        2 to 8.
    exponent : float
        1 gives equidistant levels.

    Raises
    ------
    ValueError
        For a bit width outside 2 to 8, or an exponent that is not positive.

    Examples
    --------
    >>> power_grid(3, 0.5).table
    tensor([ 0.0000,  0.1111,  0.4444,  1.0000, -0.0000, -0.1111, -0.4444, -1.0000])
    """
    check_bits(bits)
    if not exponent > 0:
        raise ValueError(f"the exponent must be > 0, got {exponent}")
    levels = power_levels(exponent, top_of(bits))
    return Grid(torch.cat([levels, -levels]), f"power{bits}({exponent:.3g})")


def top_of(bits: int) -> int:
    """The largest integer of ``bits`` bits with a sign."""
    return 2 ** (bits - 1) - 1


def check_bits(bits: int) -> None:
    """Raise where a power grid of so many bits does not exist."""
    if not is_whole(bits, 2, MAX_BITS):
        raise ValueError(f"a power grid has 2 to {MAX_BITS} bits, got {bits!r} bits")


def sign_magnitude(numbers: Tensor, bits: int) -> Tensor:
    """The codes (uint8) of integers -top .. top."""
    return (numbers.abs() + (numbers < 0) * 2 ** (bits - 1)).to(torch.uint8)
