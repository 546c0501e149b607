"""Rounding of a few rows of input in one pass, to the bit as torch does it in a dozen.

At one row a product of packed weights, or a depthwise convolution of one image, takes as long as
ten calls of torch, so that rounding the input by such calls would double it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
NEAR = 4096  # numbers that stay in a core's first cache from one loop to the next
MAGNITUDE = np.int32(0x7FFFFFFF)  # a float32's bits but for its sign
INFINITY = 0x7F800000  # its bits
MANTISSA = 23  # how many bits a float32's has
MOST_CELLS = 2048
"""Of each sign, so that the three tables stay in a core's first cache: 48 KiB at the most."""

IN_REGISTERS = HAS_LONG_PERMUTE


class Search(NamedTuple):
    """How a number finds its level: it looks at the one bound in the cell of its leading bits.

    A cell holds the numbers with the same sign, exponent and first bits of the mantissa.
    """

    few: np.ndarray
    """(2, FEW_LEVELS) float32: the bounds between levels, ascending, with infinities at their end,
    and the levels, with the largest one repeated; (2, 0) where there are more."""
    cells: np.ndarray
    """(3, 2 * cells) float32: the bound within a cell, the level up to it and the level above it;
    first the cells without a sign, by magnitude, then those with one."""
    shift: int
    """The bits of a float32 that a cell leaves open."""
    base: int
    """The bits, so shifted, of the cell of the least magnitude, which reaches down to zero."""


NO_SEARCH = Search(np.empty((2, 0), np.float32), np.empty((3, 0), np.float32), 0, 0)


def search_of(grid: Grid) -> Search | None:
    """How :func:`round_rows` finds the levels of this grid; None where they lie too close for it.

    A tie that goes up has the next float32 below it as its bound, so that one comparison decides.
    """
    _, codes, middles = grid._sorted
    levels = grid.decode(codes).numpy()
    ties, up = middles.float().numpy(), codes[:-1].numpy() % 2 == 1
    # Of middles that are the same in float32 the first one decides.
    up = up[np.searchsorted(ties, ties)]
    bounds = np.where(up, np.nextafter(ties, np.float32(-np.inf)), ties)
    if bounds.size == 0:  # zero alone
        return None
    magnitudes = np.abs(bounds).view(np.int32)
    for shift in range(MANTISSA, -1, -1):
        base, top = (int(each) >> shift for each in (magnitudes.min(), magnitudes.max()))
        if top + 2 - base > MOST_CELLS:
            return None
        starts = np.arange(base, top + 2) << shift
        starts[0] = 0
        ends = np.append(starts[1:] - 1, INFINITY)
        near, far = (
            np.minimum(each, INFINITY).astype(np.int32).view(np.float32) for each in (starts, ends)
        )
        below = np.searchsorted(bounds, np.append(near, -far))
        above = np.searchsorted(bounds, np.append(far, -near))
        bound = np.append(bounds, np.float32(np.inf))[below]
        # No second bound within, unless it is the same number.
        if (bounds[np.maximum(above, 1) - 1] <= bound).all():
            few = np.empty((2, 0), np.float32)
            if levels.size <= FEW_LEVELS:
                missing = FEW_LEVELS - levels.size
                few = np.stack(
                    [
                        np.pad(bounds, (0, missing + 1), constant_values=np.inf),
                        np.pad(levels, (0, missing), mode="edge"),
                    ]
                )
            return Search(few, np.stack([bound, levels[below], levels[above]]), shift, base)
    return None


@intrinsic
def _round_sixteen(typingctx, given, factors, bounds, levels, found):
    """As :func:`_round` of 16 numbers in one row, to FEW_LEVELS; all are float32*."""
    floats = types.CPointer(types.float32)
    signature = types.void(*5 * [floats])

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        i32, lanes = ir.IntType(32), ir.VectorType(ir.FloatType(), FEW_LEVELS)
        numbers = ir.VectorType(i32, FEW_LEVELS)
        kind = ir.FunctionType(lanes, [lanes, numbers])
        choose = cgutils.get_or_insert_function(
            builder.module, kind, "llvm.x86.avx512.permvar.sf.512"
        )
        *sources, target = (builder.bitcast(each, ir.PointerType(lanes)) for each in arguments)
        given, factors, bounds, levels = map(builder.load, sources)
        for load in (given, factors, bounds, levels):
            load.align = 4
        value = builder.fdiv(given, factors)
        index = ir.Constant(numbers, None)
        for jump in (8, 4, 2, 1):
            ahead, there = (ir.Constant(numbers, [n] * FEW_LEVELS) for n in (jump - 1, jump))
            bound = builder.call(choose, [bounds, builder.add(index, ahead)])
            above = builder.fcmp_unordered(">", value, bound)  # a NaN is above everything
            index = builder.select(above, builder.add(index, there), index)
        level = builder.call(choose, [levels, index])
        builder.store(builder.fmul(level, factors), target).align = 4
        return context.get_dummy_value()

    return signature, generate


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _whole(value, low, high):
    """The nearest whole number of those from low to high."""
    value = np.float32(np.rint(value))
    return min(max(value, low), high) if value == value else value


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _floating(value, low, high, lowest, part):
    """The nearest number of a floating-point grid whose mantissa splits powers in 1 / part."""
    value = min(max(value, low), high) if value == value else value
    power = np.int32(np.float32(value).view(np.int32) & np.int32(INFINITY)).view(np.float32)
    step = np.float32(max(power, lowest) * part)
    return np.float32(np.rint(np.float32(value / step))) * step


@njit(cache=True, nogil=True, error_model="numpy")
def _search(values, cells, shift, base):
    """Replace contiguous float32 ``values`` by their nearest levels, as :class:`Search` says."""
    size = values.size
    # Loops without branches, which here nobody could foresee, over a block of columns.
    bits = values.view(np.uint32)
    index = np.empty(min(BLOCK, size), np.uint32)
    bound = np.empty(index.size, np.float32)
    table, all_cells = cells.reshape(-1), np.uint32(cells.shape[1])
    half = np.int32(cells.shape[1] // 2)
    zero, last, sign = np.int32(0), half - np.int32(1), np.int32(31)
    for start in range(0, size, BLOCK):
        found, raw = values[start : start + BLOCK], bits[start : start + BLOCK]
        count = found.size
        for column in range(count):
            magnitude = raw[column] & np.uint32(MAGNITUDE)
            cell = np.int32(magnitude >> np.uint32(shift)) - np.int32(base)
            cell = min(max(cell, zero), last)
            # All bits for a negative number, none for the others; a NaN, which is above
            # everything as for torch, has no sign here.
            negative = np.int32(raw[column]) >> sign if magnitude <= np.uint32(INFINITY) else zero
            index[column] = np.uint32(cell + (negative & half))
        for column in range(count):
            bound[column] = table[index[column]]
        for column in range(count):
            at = index[column] + all_cells
            index[column] = at if found[column] <= bound[column] else at + all_cells
        for column in range(count):
            found[column] = table[index[column]]


@njit(cache=True, nogil=True, error_model="numpy")
def _round(given, factors, low, high, lowest, mantissa, few, cells, shift, base, found):
    """Write ``factors`` times the level nearest to ``given / factors``, row by row."""
    rows, columns = given.shape
    if mantissa == INTEGERS:
        for row in range(rows):
            for column in range(columns):
                factor = factors[column]
                found[row, column] = _whole(given[row, column] / factor, low, high) * factor
    elif mantissa >= 0:
        part = np.float32(0.5) ** mantissa
        for row in range(rows):
            for column in range(columns):
                factor = factors[column]
                level = _floating(given[row, column] / factor, low, high, lowest, part)
                found[row, column] = level * factor
    else:
        done = columns // FEW_LEVELS * FEW_LEVELS if IN_REGISTERS and few.size else 0
        for row in range(rows):
            for column in range(0, done, FEW_LEVELS):
                _round_sixteen(  # type: ignore[call-arg]
                    given[row, column:].ctypes, factors[column:].ctypes, few[0].ctypes,
                    few[1].ctypes, found[row, column:].ctypes,
                )  # fmt: skip
        rest, by = columns - done, factors[done:]
        step = max(1, NEAR // max(rest, 1))
        near = np.empty((min(step, rows), rest), np.float32)
        for first in range(0, rows if rest else 0, step):
            count = min(step, rows - first)
            for row in range(count):
                ahead, line = given[first + row, done:], near[row]
                for column in range(rest):
                    line[column] = ahead[column] / by[column]
            _search(near[:count].reshape(-1), cells, shift, base)
            for row in range(count):
                line, behind = near[row], found[first + row, done:]
                for column in range(rest):
                    behind[column] = line[column] * by[column]


@njit(cache=True, nogil=True, error_model="numpy")
def _factor(largest, high):
    """Such that the largest magnitude, given by its bits, is the highest level; 1 for zero."""
    factor = np.int32(largest).view(np.float32) / high
    return factor if factor > 0 else np.float32(1)


@njit(cache=True, nogil=True, error_model="numpy")
def round_rows(x, scale, divide, low, high, lowest, mantissa, few, cells, shift, base, out):
    """Write ``scale`` times the level nearest to ``x / divide / scale``; channels lie along rows.

    x : (rows, channels) float32, contiguous
    scale : (0,), (1,) or (channels,) float32; empty: of each row, so that its largest is ``high``
    divide : (0,) or (channels,) float32; empty: 1
    low, high : float32, the extreme levels
    lowest : float32, the least power of two with the full mantissa, of a floating-point grid
    mantissa : int, its bits, or INTEGERS or LEVELS
    few, cells, shift, base : of :class:`Search` for LEVELS, else of NO_SEARCH
    out : (rows, channels) float32, contiguous, written
    """
    rows, columns = x.shape
    factors = np.empty(columns, np.float32)
    if divide.size:
        for row in range(rows):
            for column in range(columns):
                out[row, column] = x[row, column] / divide[column]
        x = out
    if scale.size:
        factors[:] = scale
        _round(x, factors, low, high, lowest, mantissa, few, cells, shift, base, out)
        return
    raw = x.view(np.int32)
    for row in range(rows):
        largest = np.int32(0)
        for column in range(columns):
            # As bits, of which a NaN's are the largest: it is, for torch.
            largest = max(largest, np.int32(raw[row, column] & MAGNITUDE))
        factors[:] = _factor(largest, high)
        given, found = x[row : row + 1], out[row : row + 1]
        _round(given, factors, low, high, lowest, mantissa, few, cells, shift, base, found)


@njit(cache=True, nogil=True, error_model="numpy")
def round_maps(x, scale, divide, low, high, lowest, mantissa, few, cells, shift, base, out):
    """As :func:`round_rows` where each channel is a row: x and out are (images, channels, places).

    With an empty ``scale`` each place has its own, so that the largest of its channels is ``high``.
    """
    images, channels, places = x.shape
    factors = np.empty(places, np.float32)
    largest = factors.view(np.int32)
    if scale.size == 1:
        factors[:] = scale[0]
    for image in range(images):
        given, found = x[image], out[image]
        if divide.size:
            for channel in range(channels):
                for place in range(places):
                    found[channel, place] = given[channel, place] / divide[channel]
            given = found
        if scale.size == 0:
            raw = given.view(np.int32)
            largest[:] = 0
            for channel in range(channels):
                for place in range(places):
                    # As bits, of which a NaN's are the largest: it is, for torch.
                    size = np.int32(raw[channel, place] & MAGNITUDE)
                    largest[place] = size if size > largest[place] else largest[place]
            for place in range(places):
                factors[place] = _factor(largest[place], high)
        if scale.size <= 1:
            _round(given, factors, low, high, lowest, mantissa, few, cells, shift, base, found)
            continue
        for channel in range(channels):
            factors[:] = scale[channel]
            one, its = given[channel : channel + 1], found[channel : channel + 1]
            _round(one, factors, low, high, lowest, mantissa, few, cells, shift, base, its)
