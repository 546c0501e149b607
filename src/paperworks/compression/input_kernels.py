"""Rounding of a few rows of input in one pass, to the bit as torch does it in a dozen.

At one row a product of packed weights takes as long as ten calls of torch, so that rounding the
input by such calls would double it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from paperworks.compression.grids import Grid

INTEGERS, LEVELS = -1, -2
"""In the place of the mantissa's bits, for grids of whole numbers and for those of any levels."""


def search_of(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The bounds between a grid's levels, and the levels, for :func:`round_rows` to search in.

    A number is of the level whose index is the count of bounds that it is above. A tie that goes
    up has the next float32 below it as its bound, so that one comparison decides.

    Returns
    -------
    bounds : (2**bits - 1,) float32, ascending, with infinities at its end
    levels : (2**bits,) float32, ascending, with the largest one repeated at its end
    """
    _, codes, middles = grid._sorted
    levels = grid.decode(codes).numpy()
    ties, up = middles.float().numpy(), codes[:-1].numpy() % 2 == 1
    # Of middles that are the same in float32 the first one decides.
    up = up[np.searchsorted(ties, ties)]
    bounds = np.where(up, np.nextafter(ties, np.float32(-np.inf)), ties)
    missing = 2**grid.bits - levels.size
    return (
        np.pad(bounds, (0, missing), constant_values=np.inf),
        np.pad(levels, (0, missing), mode="edge"),
    )


@njit(cache=True, nogil=True)
def round_rows(x, scale, divide, low, high, lowest, mantissa, bounds, levels, out):
    """Write ``scale`` times the level nearest to ``x / divide / scale``.

    x : (rows, columns) float32, contiguous
    scale : (0,), (1,) or (columns,) float32; empty: of each row, so that its largest is ``high``
    divide : (0,) or (columns,) float32; empty: 1
    low, high : float32, the extreme levels
    lowest : float32, the least power of two with the full mantissa, of a floating-point grid
    mantissa : int, its bits, or INTEGERS or LEVELS
    bounds, levels : as of :func:`search_of` for LEVELS, else empty
    out : (rows, columns) float32, contiguous, written
    """
    columns = x.shape[1]
    bits = out.view(np.int32)
    part = np.float32(0.5) ** max(mantissa, 0)
    index = np.empty(columns if mantissa == LEVELS else 0, np.uintp)
    for row in range(x.shape[0]):
        given, found, raw = x[row], out[row], bits[row]
        if divide.size:
            for column in range(columns):
                found[column] = given[column] / divide[column]
        else:
            found[:] = given
        factor = np.float32(1)
        if scale.size == 1:
            factor = scale[0]
        elif scale.size == 0:
            largest = np.float32(0)
            for column in range(columns):
                size = abs(found[column])
                # A NaN is the largest, as for torch.
                largest = size if size > largest or size != size else largest
            factor = np.float32(largest / high)
            if not factor > 0:
                factor = np.float32(1)
        for column in range(columns):
            by = scale[column] if scale.size > 1 else factor
            value = np.float32(found[column] / by)
            if mantissa == INTEGERS:
                value = np.float32(np.rint(value))
            if mantissa != LEVELS:
                value = min(max(value, low), high) if value == value else value
            found[column] = value
        if mantissa == LEVELS:
            # Halving, step by step for all columns, which makes vector instructions of it.
            index[:] = 0
            one = np.uintp(1)
            jump = np.uintp(levels.size) >> one
            while jump > 0:
                ahead = jump - one
                for column in range(columns):
                    at = index[column]
                    # A NaN is above everything, as for torch.
                    index[column] = at if found[column] <= bounds[at + ahead] else at + jump
                jump >>= one
            for column in range(columns):
                found[column] = levels[index[column]]
        if mantissa >= 0:
            for column in range(columns):
                value = found[column]
                raw[column] &= 0x7F800000
                step = np.float32(max(found[column], lowest) * part)
                found[column] = np.float32(np.rint(np.float32(value / step))) * step
        for column in range(columns):
            found[column] *= scale[column] if scale.size > 1 else factor
