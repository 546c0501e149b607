"""The hot loop of the search: round to a floating-point grid at many ranges, and add up errors.

Rounding is the same as :meth:`FloatGrid.round`'s to the bit, ties of formats without a mantissa
aside. The step below a number is a power of two, so it comes from the bits of the exponent; there
are no branches, so that compilers make vector code of it.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from paperworks.compression.grids import FloatGrid

_EXPONENT = np.int32(0x7F800000)
_INVERSE = np.int32(0x7F000000)  # exponent bits of 2**k subtracted from it are those of 2**-k


@njit(inline="always", error_model="numpy")
def _nearest(x, low, top, up, down):
    """The level nearest to ``x``; low: exponent bits of the smallest normal number."""
    x = np.float32(min(max(x, -top), top))
    power = np.int32(max(np.int32(x.view(np.int32) & _EXPONENT), low))
    inverse = np.int32(_INVERSE - power)
    steps = np.rint(x * (inverse.view(np.float32) * up))
    return steps * (power.view(np.float32) * down)


# Sums may be taken in any order, so that they can be taken eight at a time.
@njit(parallel=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def _errors(z, linear, diagonal, factor, scale, low, top, up, down, out):
    rows, columns = z.shape
    for row in prange(rows):
        e = np.empty(columns, np.float32)
        for k in range(scale.shape[1]):
            size = scale[row, k]
            if size == np.inf:
                out[row, k] = np.inf
                continue
            inverse = np.float32(1) / size
            total = np.float32(0)
            for j in range(columns):
                e[j] = _nearest(z[row, j] * inverse, low, top, up, down) * size - z[row, j]
                total += e[j] * (diagonal[j] * e[j] + linear[row, j])
            for q in range(factor.shape[0]):
                along = np.float32(0)
                for j in range(columns):
                    along += e[j] * factor[q, j]
                total += along * along
            out[row, k] = total


@njit(parallel=True, cache=True, error_model="numpy")
def _round(z, scale, low, top, up, down, out):
    for row in prange(z.shape[0]):
        for j in range(z.shape[1]):
            out[row, j] = _nearest(z[row, j] / scale[row], low, top, up, down) * scale[row]


def errors(
    z: Tensor, grid: FloatGrid, scale: Tensor, linear: Tensor, diagonal: Tensor, factor: Tensor
) -> Tensor:
    """For each row of ``z`` and each of its scales: a quadratic form of its rounding error ``e``.

    It is ``e @ (diag(diagonal) + factor.T @ factor) @ e + linear @ e``.

    Parameters
    ----------
    z, linear : (rows, columns) float32
    grid : FloatGrid
    scale : (rows, k) float32
        Where one is infinite, so is the result, at no cost.
    diagonal : (columns,) float32
    factor : (rank, columns) float32

    Returns
    -------
    (rows, k) float32
        Costs O(rows * columns * k * (1 + rank / 8)), about a nanosecond each.
    """
    out = torch.empty(scale.shape)
    arrays = [each.contiguous().numpy() for each in (z, linear, diagonal, factor, scale)]
    _errors(*arrays, *_constants(grid), out.numpy())  # type: ignore[call-arg]
    return out


def round_rows(z: Tensor, grid: FloatGrid, scale: Tensor) -> Tensor:
    """(rows, columns) float32, each row rounded to the grid at its own scale (rows,)."""
    out = torch.empty(z.shape)
    _round(z.contiguous().numpy(), scale.contiguous().numpy(), *_constants(grid), out.numpy())
    return out


def _constants(grid: FloatGrid) -> tuple[np.int32, np.float32, np.float32, np.float32]:
    smallest = np.float32(2.0 ** (1 - grid.bias))
    return (
        smallest.view(np.int32),
        np.float32(grid.largest),
        np.float32(2.0**grid.mantissa),
        np.float32(2.0**-grid.mantissa),
    )
