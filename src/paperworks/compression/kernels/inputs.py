"""Rounding of a few rows of input in one pass, to the bit as torch does it in a dozen.

At one row a product of packed weights, or a depthwise convolution of one image, takes as long as
ten calls of torch, so that rounding the input by such calls would double it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from paperworks.compression.grids import Grid
from paperworks.compression.kernels.tables import HAS_LONG_PERMUTE

INTEGERS, LEVELS = -1, -2
"""In the place of the mantissa's bits, for grids of whole numbers and for those of any levels."""
FEW_LEVELS = 16
"""So many levels, and the bounds between them, lie in a register each."""
BLOCK = 256
MAGNITUDE = np.int32(0x7FFFFFFF)  # a float32's bits but for its sign

IN_REGISTERS = HAS_LONG_PERMUTE


def search_of(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The bounds between a grid's levels, and the levels, for :func:`round_rows` to search in.

    A number is of the level whose index is the count of bounds that it is above. A tie that goes
    up has the next float32 below it as its bound, so that one comparison decides.

    Returns
    -------
    bounds : (size,) float32, ascending, with infinities at its end
    levels : (size,) float32, ascending, with the largest one repeated at its end; size is
        2**bits, but FEW_LEVELS at least
    """
    _, codes, middles = grid._sorted
    levels = grid.decode(codes).numpy()
    ties, up = middles.float().numpy(), codes[:-1].numpy() % 2 == 1
    # Of middles that are the same in float32 the first one decides.
    up = up[np.searchsorted(ties, ties)]
    bounds = np.where(up, np.nextafter(ties, np.float32(-np.inf)), ties)
    missing = max(2**grid.bits, FEW_LEVELS) - levels.size
    return (
        np.pad(bounds, (0, missing + 1), constant_values=np.inf),
        np.pad(levels, (0, missing), mode="edge"),
    )


@intrinsic
def _sixteen_to_levels(typingctx, values, at, bounds, levels):
    """Replace the 16 values from ``at`` on by their levels, of FEW_LEVELS; all are float32*."""
    floats = types.CPointer(types.float32)
    signature = types.void(floats, types.intp, floats, floats)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        values, at, bounds, levels = arguments
        i32, lanes = ir.IntType(32), ir.VectorType(ir.FloatType(), FEW_LEVELS)
        numbers = ir.VectorType(i32, FEW_LEVELS)
        kind = ir.FunctionType(lanes, [lanes, numbers])
        choose = cgutils.get_or_insert_function(
            builder.module, kind, "llvm.x86.avx512.permvar.sf.512"
        )
        place = builder.bitcast(builder.gep(values, [at]), ir.PointerType(lanes))
        value, bounds, levels = (
            builder.load(builder.bitcast(each, ir.PointerType(lanes)))
            for each in (place, bounds, levels)
        )
        for load in (value, bounds, levels):
            load.align = 4
        index = ir.Constant(numbers, None)
        for jump in (8, 4, 2, 1):
            ahead, there = (ir.Constant(numbers, [n] * FEW_LEVELS) for n in (jump - 1, jump))
            bound = builder.call(choose, [bounds, builder.add(index, ahead)])
            above = builder.fcmp_unordered(">", value, bound)  # a NaN is above everything
            index = builder.select(above, builder.add(index, there), index)
        builder.store(builder.call(choose, [levels, index]), place).align = 4
        return context.get_dummy_value()

    return signature, generate


@njit(cache=True, nogil=True, error_model="numpy")
def _to_levels(values, low, high, lowest, mantissa, bounds, levels):
    """Replace contiguous float32 ``values`` by their nearest levels."""
    size = values.size
    if mantissa == LEVELS:
        done = 0
        if IN_REGISTERS and levels.size == FEW_LEVELS:
            done = size // FEW_LEVELS * FEW_LEVELS
            for first in range(0, done, FEW_LEVELS):
                _sixteen_to_levels(  # type: ignore[call-arg]
                    values.ctypes, first, bounds.ctypes, levels.ctypes
                )
        # Half after half, for a block of columns at once: loops without branches, of which the
        # compiler makes vector instructions.
        index = np.empty(min(BLOCK, size - done), np.uint32)
        one = np.uint32(1)
        for start in range(done, size, BLOCK):
            found = values[start : start + BLOCK]
            count = found.size
            index[:count] = 0
            jump = np.uint32(levels.size) >> one
            while jump > 0:
                ahead = jump - one
                for column in range(count):
                    at = index[column]
                    # A NaN is above everything, as for torch.
                    index[column] = at if found[column] <= bounds[at + ahead] else at + jump
                jump >>= one
            for column in range(count):
                found[column] = levels[index[column]]
    else:
        for column in range(size):
            value = values[column]
            if mantissa == INTEGERS:
                value = np.float32(np.rint(value))
            values[column] = min(max(value, low), high) if value == value else value
    if mantissa >= 0:
        bits = values.view(np.int32)
        part = np.float32(0.5) ** mantissa
        for column in range(size):
            value = values[column]
            bits[column] &= 0x7F800000
            step = np.float32(max(values[column], lowest) * part)
            values[column] = np.float32(np.rint(np.float32(value / step))) * step


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(largest, high):
    """Such that the largest magnitude, given by its bits, is the highest level; 1 for zero."""
    factor = np.int32(largest).view(np.float32) / high
    return factor if factor > 0 else np.float32(1)


@njit(cache=True, nogil=True, error_model="numpy")
def round_rows(x, scale, divide, low, high, lowest, mantissa, bounds, levels, out):
    """Write ``scale`` times the level nearest to ``x / divide / scale``; channels lie along rows.

    x : (rows, channels) float32, contiguous
    scale : (0,), (1,) or (channels,) float32; empty: of each row, so that its largest is ``high``
    divide : (0,) or (channels,) float32; empty: 1
    low, high : float32, the extreme levels
    lowest : float32, the least power of two with the full mantissa, of a floating-point grid
    mantissa : int, its bits, or INTEGERS or LEVELS
    bounds, levels : as of :func:`search_of` for LEVELS, else empty
    out : (rows, channels) float32, contiguous, written
    """
    columns = x.shape[1]
    bits = out.view(np.int32)
    for row in range(x.shape[0]):
        given, found, raw = x[row], out[row], bits[row]
        if divide.size:
            for column in range(columns):
                found[column] = given[column] / divide[column]
        else:
            for column in range(columns):
                found[column] = given[column]
        factor = np.float32(1)
        if scale.size == 1:
            factor = scale[0]
        elif scale.size == 0:
            largest = np.int32(0)
            for column in range(columns):
                # As bits, of which a NaN's are the largest: it is, for torch.
                largest = max(largest, np.int32(raw[column] & MAGNITUDE))
            factor = _factor(largest, high)
        for column in range(columns):
            found[column] /= scale[column] if scale.size > 1 else factor
        _to_levels(found, low, high, lowest, mantissa, bounds, levels)
        for column in range(columns):
            found[column] *= scale[column] if scale.size > 1 else factor


@njit(cache=True, nogil=True, error_model="numpy")
def round_maps(x, scale, divide, low, high, lowest, mantissa, bounds, levels, out):
    """As :func:`round_rows` where each channel is a row: x and out are (images, channels, places).

    With an empty ``scale`` each place has its own, so that the largest of its channels is ``high``.
    """
    images, channels, places = x.shape
    largest = np.empty(places if scale.size == 0 else 0, np.int32)
    factors = largest.view(np.float32)
    for image in range(images):
        largest[:] = 0
        for channel in range(channels):
            given, found = x[image, channel], out[image, channel]
            if divide.size:
                by = divide[channel]
                for place in range(places):
                    found[place] = given[place] / by
            else:
                for place in range(places):
                    found[place] = given[place]
            if scale.size == 0:
                raw = found.view(np.int32)
                for place in range(places):
                    # As bits, of which a NaN's are the largest: it is, for torch.
                    size = np.int32(raw[place] & MAGNITUDE)
                    largest[place] = size if size > largest[place] else largest[place]
        for place in range(factors.size):
            factors[place] = _factor(largest[place], high)
        for channel in range(channels):
            found = out[image, channel]
            factor = np.float32(1)
            if scale.size:
                factor = scale[channel if scale.size > 1 else 0]
            for place in range(places):
                found[place] /= factor if scale.size else factors[place]
            _to_levels(found, low, high, lowest, mantissa, bounds, levels)
            for place in range(places):
                found[place] *= factor if scale.size else factors[place]
