"""The flow of a batch of queries at the vertices of a graph, a row for each query."""

from __future__ import annotations

import math

import numba
import numpy as np
import scipy.sparse as sp

from paperworks.graphs.powerwalk.decomposition import BUCKETS, EDGE, LEAST
from paperworks.graphs.powerwalk.walks import unit


@numba.njit(cache=True, nogil=True)
def passing(indptr, indices, data, degrees, groups, facts, work, allowed):
    """Which flow goes on, by the rule of `decomposition`, for every query of a batch."""
    passes = np.zeros(data.size, dtype=np.bool_)
    errors = np.empty(BUCKETS)
    for q in range(indptr.size - 1):
        errors[:] = 0.0
        total = 0.0
        for i in range(indptr[q], indptr[q + 1]):
            v = indices[i]
            error = data[i] * data[i] * facts[v, 1] / groups[v]
            if error > 0.0:
                total += error
                share = error / (EDGE * degrees[v] + work)
                errors[min(max(math.frexp(share)[1] - LEAST, 0), BUCKETS - 1)] += error
        if total <= 2.0 * allowed[q]:
            continue
        below, bucket = errors[0], 0
        while below <= allowed[q]:
            bucket += 1
            below += errors[bucket]
        cut = 2.0 ** (bucket + LEAST - 1)
        for i in range(indptr[q], indptr[q + 1]):
            v = indices[i]
            error = data[i] * data[i] * facts[v, 1] / groups[v]
            passes[i] = error > 0.0 and error >= cut * (EDGE * degrees[v] + work)
    return passes


@numba.njit(cache=True, nogil=True)
def shares(indptr, indices, data, groups, facts, allowed, fixed, chance):
    """How many groups each flow takes, at which weight, and each query's squared error."""
    values, taken = data.copy(), np.zeros(data.size, dtype=np.int64)
    squared = np.zeros(indptr.size - 1)
    for q in range(indptr.size - 1):
        error, spread = 0.0, 0.0
        for i in range(indptr[q], indptr[q + 1]):
            v, f = indices[i], data[i]
            error += f * f * facts[v, 1] / groups[v]
            spread += f * max(facts[v, 0], facts[v, 1])
        grain = 0.0
        if not fixed and allowed[q] > error and spread > 0.0:
            grain = (allowed[q] - error) / spread
        along = unit(chance, q, 0)
        for i in range(indptr[q], indptr[q + 1]):
            v, f = indices[i], data[i]
            if f < grain:
                squared[q] += f * f * facts[v, 1] + (grain - f) * f * facts[v, 0]
                along += f / grain
                if along >= 1.0:
                    along -= 1.0
                    values[i], taken[i] = grain, 1
                continue
            taken[i] = int(groups[v])
            if grain > 0.0:
                taken[i] = min(taken[i], math.ceil(f / grain))
            squared[q] += f * f * facts[v, 1] / taken[i]
    return values, taken, squared


@numba.njit(cache=True, nogil=True)
def multiply(indptr, starts, stops, values, columns, cumulative, counts, n):
    """Rows of a product: of row q the sums of ``values[i]`` times stretches of a sparse matrix.

    The matrix has ones, or the differences of `cumulative` along a stretch, or `counts`.
    """
    total = np.zeros(n)
    touched = np.empty(n, dtype=np.int32)
    sizes = np.zeros(indptr.size, dtype=np.int64)
    room = 1024
    indices, data = np.empty(room, dtype=np.int32), np.empty(room)
    used = 0
    for q in range(indptr.size - 1):
        found = 0
        for i in range(indptr[q], indptr[q + 1]):
            before = 0.0
            for k in range(starts[i], stops[i]):
                amount = values[i]
                if cumulative.size:
                    amount *= cumulative[k] - before
                    before = cumulative[k]
                elif counts.size:
                    amount *= counts[k]
                if amount > 0.0:
                    w = columns[k]
                    if total[w] == 0.0:
                        touched[found], found = w, found + 1
                    total[w] += amount
        if used + found > room:
            room = 2 * (used + found)
            more, many = np.empty(room, dtype=np.int32), np.empty(room)
            more[:used], many[:used] = indices[:used], data[:used]
            indices, data = more, many
        for i in range(found):
            w = touched[i]
            indices[used + i], data[used + i] = w, total[w]
            total[w] = 0.0
        used += found
        sizes[q + 1] = used
    return sizes, indices[:used], data[:used]


def masked(matrix: sp.csr_array, mask: np.ndarray) -> sp.csr_array:
    """The entries of a CSR matrix that a mask keeps."""
    sums = np.concatenate([[0], np.cumsum(mask)])
    return sp.csr_array(
        (matrix.data[mask], matrix.indices[mask], sums[matrix.indptr]), shape=matrix.shape
    )


def largest(scores: sp.csr_array, top: int, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """The largest scores of each row, in the form of :func:`answer`."""
    rows, values, sizes = [], [], []
    for a, b in zip(scores.indptr[:-1], scores.indptr[1:], strict=True):
        order = np.lexsort((scores.indices[a:b], -scores.data[a:b]))
        order = order[:top] if top else order
        rows.append(scores.indices[a:b][order].astype(np.int64))
        values.append(scores.data[a:b][order])
        sizes.append(order.size)
    return np.array(sizes), np.concatenate(rows), np.concatenate(values), numbers
