"""Fingerprints: where short random walks from every vertex went.

Walks that stand on one vertex at one step move together (as in the authors' program): of ``k``
walkers a share of ``1 - c`` goes on, rounded at random, and these are spread over the neighbours
by systematic sampling, at equal distances from a random offset. Every walker's law is that of an
independent one, so that nothing is biased; the spread evens out what many walkers do.

Random numbers depend on the seed, the vertex and the group of walks, and on nothing else. So any
number of threads, any split into partitions and any rebuild of some rows give the same numbers,
and the walks of a vertex change only where they pass a vertex whose edges changed.

The loops are serial and release the GIL; threads come from the caller (numba's own pool does not
survive a fork).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import joblib
import numba
import numpy as np

from paperworks.graphs.powerwalk.index import Fingerprints, Graph

GROUPS = 4
"""The walks of a vertex are drawn in so many independent groups; how these differ tells how far
the fingerprint is from the truth."""

_LEAST_WORK = 1 << 20  # visits of a chunk, and
_WORK_PER_VERTEX = 8  # more on a large graph, so that clearing the counters does not weigh
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53


@numba.njit(cache=True, nogil=True, inline="always")
def _mix(z):
    """SplitMix64's finaliser: every input bit reaches every output bit."""
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True, nogil=True, inline="always")
def unit(seed, stream, counter):
    """A number in [0, 1) that depends on its three arguments alone."""
    z = _mix(_mix(np.uint64(seed) + _GOLDEN) ^ (np.uint64(stream) * _GOLDEN))
    return (_mix(z + np.uint64(counter) * _GOLDEN) >> np.uint64(11)) * _TO_UNIT


@numba.njit(cache=True, nogil=True)
def _pick(cumulative, first, last, point):
    """The edge in first..last-1 under whose share of the row `point` in [0, 1) falls."""
    low, high = first, last - 1
    while low < high:
        middle = (low + high) >> 1
        if cumulative[middle] > point:
            high = middle
        else:
            low = middle + 1
    return low


@numba.njit(cache=True, nogil=True)
def _walk(indptr, indices, cumulative, start, walkers, go_on, state, slot, here, there, seen, own):
    """Walk `walkers` walkers from `start` until all have stopped; returns how many vertices it saw.

    Visits after the first step are added to `own`, and vertices new to it listed in `seen`.
    `slot` holds -1 everywhere before and after. `here` and `there` are (2, walkers) lists of
    vertices and of how many stand on them.
    """
    here[0, 0], here[1, 0] = start, walkers
    standing, found = 1, 0
    while standing:
        following = 0
        for i in range(standing):
            v, k = here[0, i], here[1, i]
            first, last = indptr[v], indptr[v + 1]
            degree = last - first
            if degree == 0:
                continue
            state += _GOLDEN
            share = k * go_on
            moving = int(share)
            if (_mix(state) >> np.uint64(11)) * _TO_UNIT < share - moving:
                moving += 1
            if moving == 0:
                continue
            state += _GOLDEN
            offset = (_mix(state) >> np.uint64(11)) * _TO_UNIT
            for j in range(moving):
                point = (j + offset) / moving
                if cumulative.size:
                    edge = _pick(cumulative, first, last, point)
                else:
                    edge = min(first + int(point * degree), last - 1)
                w = indices[edge]
                if slot[w] < 0:
                    slot[w] = following
                    there[0, following], there[1, following] = w, 1
                    following += 1
                else:
                    there[1, slot[w]] += 1
        for i in range(following):
            w = there[0, i]
            slot[w] = -1
            if own[w] == 0:
                seen[found] = w
                found += 1
            own[w] += there[1, i]
        here, there = there, here
        standing = following
    return found


@numba.njit(cache=True, nogil=True)
def _walk_rows(
    indptr, indices, cumulative, rows, walks, groups, restart, seed, targets, counts, sizes, moments
):
    """Fingerprints of `rows` one after another, as far as `targets` has room; rows done.

    `moments[i]` gets the sums over the fingerprint of row i of the squared counts within groups
    and of the squared counts of all groups together.
    """
    n = indptr.size - 1
    slot = np.full(n, -1, dtype=np.int32)
    total = np.zeros(n, dtype=np.int32)
    own = np.zeros(n, dtype=np.int32)
    per_group = walks // groups
    here = np.empty((2, per_group), dtype=np.int64)
    there = np.empty((2, per_group), dtype=np.int64)
    seen = np.empty(n, dtype=np.int32)
    used = 0
    largest = 0
    for i in range(rows.size):
        row = rows[i]
        start, squares = used, 0.0
        overflow = False
        for group in range(groups):
            state = _mix(
                _mix(np.uint64(seed) + _GOLDEN) ^ (np.uint64(row * groups + group) * _GOLDEN)
            )
            found = _walk(
                indptr, indices, cumulative, row, per_group, 1.0 - restart, state,
                slot, here, there, seen, own,
            )  # fmt: skip
            for k in range(found):
                w = seen[k]
                squares += float(own[w]) * float(own[w])
                if total[w] == 0:
                    if used == targets.size:
                        overflow = True
                    else:
                        targets[used] = w
                        used += 1
                if not overflow:
                    total[w] += own[w]
                own[w] = 0
        of_all = 0.0
        for k in range(start, used):
            w = targets[k]
            counts[k] = total[w]
            largest = max(largest, total[w])
            of_all += float(total[w]) * float(total[w])
            total[w] = 0
        if overflow:
            return i, start, largest
        sizes[i] = used - start
        moments[i, 0], moments[i, 1] = squares, of_all
    return rows.size, used, largest


def _chunk(graph: Graph, rows: np.ndarray, walks: int, restart: float, seed: int) -> Fingerprints:
    """The fingerprints of some rows."""
    n = graph.indptr.size - 1
    room = int(min(n, 1.3 * walks / restart + 64) * rows.size) + 1024
    parts = []
    while rows.size:
        targets, counts = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.uint32)
        sizes, moments = np.empty(rows.size, dtype=np.int64), np.empty((rows.size, 2))
        done, used, largest = _walk_rows(
            graph.indptr, graph.indices, graph.cumulative, rows, walks, GROUPS, restart,
            seed, targets, counts, sizes, moments,
        )  # fmt: skip
        parts.append(
            _summed(targets[:used], counts[:used], sizes[:done], moments[:done], restart, walks)
        )
        rows = rows[done:]
        room *= 1 if done else 2  # a row alone may need more
    return Fingerprints.concatenate(parts)


def _summed(
    targets: np.ndarray,
    counts: np.ndarray,
    sizes: np.ndarray,
    moments: np.ndarray,
    restart: float,
    walks: int,
) -> Fingerprints:
    """Counts of the loop as fingerprints with what is known of their errors."""
    indptr = np.zeros(sizes.size + 1, dtype=np.int64)
    np.cumsum(sizes, out=indptr[1:])
    within, of_all = moments.T
    unit_ = (restart / walks) ** 2
    # The variance of a sum of independent groups, from how the groups differ among themselves.
    variance = unit_ * np.maximum(within - of_all / GROUPS, 0.0) * GROUPS / (GROUPS - 1)
    kind = np.uint16 if counts.max(initial=0) <= np.iinfo(np.uint16).max else np.uint32
    return Fingerprints(
        indptr,
        targets.copy(),
        counts.astype(kind),
        variance.astype(np.float32),
        (unit_ * of_all).astype(np.float32),
    )


def fingerprints(
    graph: Graph,
    rows: np.ndarray,
    *,
    walks: int,
    restart: float,
    seed: int,
    n_jobs: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Fingerprints:
    """Walk from each of `rows` and count where the walks went.

    Parameters
    ----------
    graph : Graph
        The whole graph.
    rows : (k,) int64
        The vertices to start from.
    walks, restart, seed
        As in :class:`PowerWalk`.
    n_jobs : int, optional
        Threads, as joblib counts them. The result does not depend on it.
    progress : callable, optional
        Called with (rows done, all rows).

    Notes
    -----
    O(walks / restart) steps a row, and as many numbers of memory at most. A thread holds about
    16 bytes for every vertex of the graph besides.
    """
    work = max(_LEAST_WORK, _WORK_PER_VERTEX * graph.n_nodes)
    step = max(1, int(work * restart / walks))
    pieces = [rows[at : at + step] for at in range(0, rows.size, step)]
    chunks: Iterator[Fingerprints] = joblib.Parallel(
        n_jobs=n_jobs, backend="threading", return_as="generator"
    )(joblib.delayed(_chunk)(graph, piece, walks, restart, seed) for piece in pieces)
    done, parts = 0, []
    for piece, chunk in zip(pieces, chunks, strict=True):
        parts.append(chunk)
        done += piece.size
        if progress is not None:
            progress(done, rows.size)
    return Fingerprints.concatenate(parts)
