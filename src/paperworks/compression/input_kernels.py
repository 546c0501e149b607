"""Rounding of a few rows of input in one pass, to the bit as torch does it in a dozen.

At one row a product of packed weights takes as long as ten calls of torch, so that rounding the
input by such calls would double it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

INTEGERS = -1
"""In the place of the mantissa's bits, for grids of whole numbers."""


@njit(cache=True, nogil=True)
def round_rows(x, scale, divide, low, high, lowest, mantissa, out):
    """Write ``scale`` times the level nearest to ``x / divide / scale``.

    x : (rows, columns) float32, contiguous
    scale : (0,), (1,) or (columns,) float32; empty: of each row, so that its largest is ``high``
    divide : (0,) or (columns,) float32; empty: 1
    low, high : float32, the extreme levels
    lowest : float32, the least power of two with the full mantissa, of a floating-point grid
    mantissa : int, its bits, or INTEGERS
    out : (rows, columns) float32, contiguous, written
    """
    columns = x.shape[1]
    bits = out.view(np.int32)
    part = np.float32(0.5) ** max(mantissa, 0)
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
            if mantissa < 0:
                value = np.float32(np.rint(value))
            found[column] = min(max(value, low), high) if value == value else value
        if mantissa >= 0:
            for column in range(columns):
                value = found[column]
                raw[column] &= 0x7F800000
                step = np.float32(max(found[column], lowest) * part)
                found[column] = np.float32(np.rint(np.float32(value / step))) * step
        for column in range(columns):
            found[column] *= scale[column] if scale.size > 1 else factor
