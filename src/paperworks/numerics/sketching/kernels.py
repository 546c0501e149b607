"""Compiled loops: butterflies of the Walsh-Hadamard transform, and sketches of a block of rows.

The loops are serial and release the GIL; callers run several at once from threads of their own.
numba's own pool is not used, since it does not survive a fork and two threads must not enter it
at once, and both happen under joblib.

All transforms here run down the columns of a strip of `WIDTH` numbers a row, one cache line of
float64, so that every butterfly is a vector operation on whole rows.
"""

from __future__ import annotations

import numba
import numpy as np

WIDTH = 8  # float64 numbers in a cache line, and in the widest vector registers there are
# So many rows of a strip, 16 KB, stay in the first-level cache through their first stages.
NEAR = 256
# Rows whose products are summed in the plain way.
SHORT = 512
_FAST = {"nsz", "contract", "reassoc"}  # not nnan, ninf: bad input has to come out as such


@numba.njit(cache=True, nogil=True, fastmath=_FAST, boundscheck=False)
def _two(x, start, half):
    """One stage: ``a + b, a - b`` for pairs `half` apart, `half` of them from `start` on."""
    top, bottom = x[start : start + half], x[start + half : start + 2 * half]
    for j in range(half):
        a, b = top[j], bottom[j]
        top[j] = a + b
        bottom[j] = a - b


@numba.njit(cache=True, nogil=True, fastmath=_FAST, boundscheck=False)
def _four(x, start, half):
    """Two stages in one pass over ``4 * half`` numbers from `start` on."""
    x0 = x[start : start + half]
    x1 = x[start + half : start + 2 * half]
    x2 = x[start + 2 * half : start + 3 * half]
    x3 = x[start + 3 * half : start + 4 * half]
    for j in range(half):
        a, b, c, d = x0[j], x1[j], x2[j], x3[j]
        e, f, g, h = a + b, a - b, c + d, c - d
        x0[j] = e + g
        x1[j] = f + h
        x2[j] = e - g
        x3[j] = f - h


@numba.njit(cache=True, nogil=True, fastmath=_FAST, boundscheck=False)
def butterflies(x, first, last):
    """The stages of a transform in place, from pairs `first` apart until `last` is reached.

    `x` is flat; ``last / first`` is a power of two and `last` divides its length. With `first`
    the length of a row, the transform runs down the columns of groups of ``last / first`` rows.
    """
    half = first
    while 4 * half <= last:
        for start in range(0, x.size, 4 * half):
            _four(x, start, half)
        half *= 4
    if half < last:
        for start in range(0, x.size, 2 * half):
            _two(x, start, half)


@numba.njit(cache=True, nogil=True, fastmath=_FAST, boundscheck=False)
def strip_transform(strip):
    """Transform a (rows, WIDTH) strip down its columns, in place; rows is a power of two."""
    rows = strip.shape[0]
    flat = strip.ravel()
    near = min(rows, NEAR)
    for start in range(0, rows, near):
        butterflies(flat[start * WIDTH : (start + near) * WIDTH], WIDTH, near * WIDTH)
    butterflies(flat, near * WIDTH, rows * WIDTH)


@numba.njit(cache=True, nogil=True, boundscheck=False)
def fill_strips(block, signs, column, strips):
    """Copy columns from `column` on into strips, each row under its sign; zeros for the rest.

    Row by row, for several strips at once: memory is read in long runs, and once.
    """
    n, c = block.shape
    whole = min(strips.shape[0], (c - column) // WIDTH)
    for i in range(n):
        sign = signs[i]
        for k in range(whole):
            source = block[i, column + k * WIDTH : column + (k + 1) * WIDTH]
            target = strips[k, i]
            for j in range(WIDTH):
                target[j] = sign * source[j]
        if whole < strips.shape[0]:
            left = c - column - whole * WIDTH
            for j in range(left):
                strips[whole, i, j] = sign * block[i, column + whole * WIDTH + j]
            for j in range(left, WIDTH):
                strips[whole, i, j] = 0.0
    strips[:, n:] = 0.0


@numba.njit(cache=True, nogil=True, fastmath=_FAST, boundscheck=False)
def add_rows(strip, picked, weights, total):
    """``total[t] += weights[t] * strip[picked[t]]`` for every t."""
    for t in range(picked.size):
        row = picked[t]
        weight = weights[t]
        for j in range(WIDTH):
            total[t, j] += weight * strip[row, j]


@numba.njit(cache=True, nogil=True)
def hadamard_block(block, signs, picked, weights, strips, total):
    """Add a block's share to a sketch: ``total += weights * (H diag(signs) block)[picked]``.

    block: (n, c); signs: (n,); picked, weights: (m,); strips: (any, Q, WIDTH) scratch, Q >= n a
    power of two; total: (ceil(c / WIDTH), m, WIDTH), the columns of the sketch in strips.
    """
    for first in range(0, total.shape[0], strips.shape[0]):
        group = strips[: min(strips.shape[0], total.shape[0] - first)]
        fill_strips(block, signs, first * WIDTH, group)
        for k in range(group.shape[0]):
            strip_transform(group[k])
            add_rows(group[k], picked, weights, total[first + k])


@numba.njit(cache=True, nogil=True, fastmath=_FAST, boundscheck=False)
def row_transforms(x):
    """Transform every row of `x`, (rows, n), in place; n >= WIDTH is a power of two.

    A row is read as (n / WIDTH, WIDTH): eight-point transforms across, then a strip's down.
    """
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(0, row.size, WIDTH):
            a, b, c, d = row[j], row[j + 1], row[j + 2], row[j + 3]
            e, f, g, h = row[j + 4], row[j + 5], row[j + 6], row[j + 7]
            a, b, c, d, e, f, g, h = a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h
            a, c, b, d, e, g, f, h = a + c, a - c, b + d, b - d, e + g, e - g, f + h, f - h
            row[j], row[j + 4] = a + e, a - e
            row[j + 1], row[j + 5] = b + f, b - f
            row[j + 2], row[j + 6] = c + g, c - g
            row[j + 3], row[j + 7] = d + h, d - h
        strip_transform(row.reshape((row.size // WIDTH, WIDTH)))


@numba.njit(cache=True, nogil=True, boundscheck=False)
def column_transforms(x, first, last, strips):
    """Transform columns `first` to `last` of `x`, (n, s), in place, through strips of scratch.

    strips: (any, n, WIDTH). Memory is read and written once, in runs of a few cache lines.
    """
    n = x.shape[0]
    step = strips.shape[0] * WIDTH
    for start in range(first, last, step):
        width = min(step, last - start)
        whole = width // WIDTH
        left = width - whole * WIDTH
        for i in range(n):
            for k in range(whole):
                source = x[i, start + k * WIDTH : start + (k + 1) * WIDTH]
                for j in range(WIDTH):
                    strips[k, i, j] = source[j]
            for j in range(left):
                strips[whole, i, j] = x[i, start + whole * WIDTH + j]
        for k in range((width + WIDTH - 1) // WIDTH):
            strip_transform(strips[k])
        for i in range(n):
            for k in range(whole):
                target = x[i, start + k * WIDTH : start + (k + 1) * WIDTH]
                for j in range(WIDTH):
                    target[j] = strips[k, i, j]
            for j in range(left):
                x[i, start + whole * WIDTH + j] = strips[whole, i, j]


@numba.njit(cache=True, nogil=True)
def parity_signs(high, block, scale):
    """``scale * (-1) ** popcount(high[t] & block)``: the entries of a Hadamard matrix's column."""
    out = np.empty(high.size)
    for t in range(high.size):
        bits = high[t] & block
        bits ^= bits >> 32
        bits ^= bits >> 16
        bits ^= bits >> 8
        bits ^= bits >> 4
        bits ^= bits >> 2
        bits ^= bits >> 1
        out[t] = -scale if bits & 1 else scale
    return out


@numba.njit(cache=True, nogil=True, fastmath=_FAST, boundscheck=False)
def hash_block(block, buckets, weights, total):
    """Add every row of `block`, (n, c), to its buckets: ``total[buckets[i, k]] += weights[i, k]``.

    total: (m, c). This is CountSketch for one bucket a row, and OSNAP for several.
    """
    for i in range(block.shape[0]):
        row = block[i]
        for k in range(buckets.shape[1]):
            weight = weights[i, k]
            target = total[buckets[i, k]]
            for j in range(row.size):
                target[j] += weight * row[j]


@numba.njit(cache=True, nogil=True)
def _add_exactly(total, rest, part):
    """``total += part`` for arrays, what is rounded off going to `rest` (Knuth's two-sum)."""
    for c in range(total.shape[0]):
        for j in range(total.shape[1]):
            a, b = total[c, j], part[c, j]
            s = a + b
            t = s - a
            rest[c, j] += (a - (s - t)) + (b - t)
            total[c, j] = s


@numba.njit(cache=True, nogil=True, fastmath={"nsz", "contract", "reassoc"}, boundscheck=False)
def _normal_sum(A, B, X, use_b, total, squares):
    """The sums of :func:`normal_pass` over some rows.

    One walk over A: four rows at a time are multiplied twice while they are in the nearest cache.
    """
    n, d = A.shape
    k = X.shape[0]
    for i in range(0, n - n % 4, 4):
        a0, a1, a2, a3 = A[i], A[i + 1], A[i + 2], A[i + 3]
        for c in range(k):
            x, out = X[c], total[c]
            s0 = s1 = s2 = s3 = 0.0
            for j in range(d):
                s0 += a0[j] * x[j]
                s1 += a1[j] * x[j]
                s2 += a2[j] * x[j]
                s3 += a3[j] * x[j]
            s0, s1, s2, s3 = -s0, -s1, -s2, -s3
            if use_b:
                s0 += B[i, c]
                s1 += B[i + 1, c]
                s2 += B[i + 2, c]
                s3 += B[i + 3, c]
            for j in range(d):
                out[j] += (s0 * a0[j] + s1 * a1[j]) + (s2 * a2[j] + s3 * a3[j])
            squares[c] += (s0 * s0 + s1 * s1) + (s2 * s2 + s3 * s3)
    for i in range(n - n % 4, n):
        a0 = A[i]
        for c in range(k):
            s0 = 0.0
            for j in range(d):
                s0 -= a0[j] * X[c, j]
            if use_b:
                s0 += B[i, c]
            for j in range(d):
                total[c, j] += s0 * a0[j]
            squares[c] += s0 * s0


@numba.njit(cache=True, nogil=True)
def normal_pass(A, B, X, use_b, total, rest, squares):
    """With ``R = use_b * B - A X``: add ``A' R`` to `total` and column sums of R^2 to `squares`.

    A: (n, d), B: (n, k), X: (k, d), total, rest: (k, d), squares: (k,). At the solution ``A' R``
    is a sum of n terms that cancel, and decides what accuracy can be had. So only short sums are
    made in the plain way, and they are added exactly: ``total + rest`` has the rounding errors
    of a sum of `SHORT` terms.
    """
    part = np.empty_like(total)
    for start in range(0, A.shape[0], SHORT):
        stop = min(start + SHORT, A.shape[0])
        part[:] = 0.0
        _normal_sum(A[start:stop], B[start:stop], X, use_b, part, squares)
        _add_exactly(total, rest, part)
