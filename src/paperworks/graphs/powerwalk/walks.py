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
from itertools import pairwise

import joblib
import numba
import numpy as np

from paperworks.graphs.powerwalk.index import Fingerprints, Graph

GROUP = 16
"""Walks that start together. A vertex has several groups, drawn independently and kept apart: a
query takes as many of them as its flow at the vertex deserves, and how they differ tells how far
they are from the truth."""
LEAST_GROUPS = 2
UNSEEN = 2.0
"""Added to the squared scatter of a vertex's groups, in visits: as if one walk more had gone
another way. It weighs only where next to no scatter was seen."""
MOST_TIMES = 16
"""A vertex has so many times the mean number of walks at most."""

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
    indptr, indices, cumulative, rows, groups, restart, seed, targets, counts, sizes, moments
):
    """Walk `groups[i]` groups from ``rows[i]``, row by row, as far as `targets` has room.

    `sizes` gets the length of each group; `moments[i]` the mean squared length of a group's
    counts as vectors, and how much groups scatter about their mean (with ``groups - 1``).
    Returns rows, groups and targets done.
    """
    n = indptr.size - 1
    slot = np.full(n, -1, dtype=np.int32)
    total, own = np.zeros(n, dtype=np.int32), np.zeros(n, dtype=np.int32)
    seen = np.empty(n, dtype=np.int32)
    here, there = np.empty((2, GROUP), dtype=np.int64), np.empty((2, GROUP), dtype=np.int64)
    used, done = 0, 0
    for i in range(rows.size):
        row = rows[i]
        start, squares, of_all = used, 0.0, 0.0
        of_row = _mix(_mix(np.uint64(seed) + _GOLDEN) ^ (np.uint64(row) * _GOLDEN))
        for group in range(groups[i]):
            state = _mix(of_row + np.uint64(group) * _MIX_1)
            found = _walk(
                indptr, indices, cumulative, row, GROUP, 1.0 - restart, state,
                slot, here, there, seen, own,
            )  # fmt: skip
            if used + found > targets.size:
                for k in range(found):
                    own[seen[k]] = 0
                return i, done, start
            for k in range(found):
                w = seen[k]
                count = own[w]
                own[w] = 0
                targets[used], counts[used] = w, count
                used += 1
                squares += float(count) * float(count)
                of_all += (2.0 * total[w] + count) * count
                total[w] += count
            sizes[done + group] = found
        for k in range(start, used):
            total[targets[k]] = 0
        done += groups[i]
        moments[i, 0] = squares / groups[i]
        scatter = max(squares - of_all / groups[i], 0.0)
        if indptr[row] < indptr[row + 1]:
            # Groups that all went alike do not tell that others must: one walker may differ.
            scatter += UNSEEN
        moments[i, 1] = scatter / (groups[i] - 1)
    return rows.size, done, used


def _chunk(
    graph: Graph, rows: np.ndarray, groups: np.ndarray, restart: float, seed: int
) -> Fingerprints:
    """The fingerprints of some rows."""
    parts = []
    room = int(groups.sum() * 1.1 * min(graph.n_nodes, GROUP / restart)) + 1024
    while rows.size:
        targets, counts = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int32)
        sizes, moments = np.empty(groups.sum(), dtype=np.int64), np.empty((rows.size, 2))
        done, group, used = _walk_rows(
            *graph.arrays, rows, groups, restart, seed, targets, counts, sizes, moments
        )
        most = counts[:used].max(initial=0)
        kind = next(k for k in (np.uint8, np.uint16, np.uint32) if most <= np.iinfo(k).max)
        parts.append(
            Fingerprints(
                _sums(groups[:done]),
                _sums(sizes[:group]),
                targets[:used].copy(),
                counts[:used].astype(kind),
                ((restart / GROUP) ** 2 * moments[:done]).astype(np.float32),
            )
        )
        rows, groups = rows[done:], groups[done:]
        room *= 1 if done else 2  # a row alone may need more
    return Fingerprints.concatenate(parts)


def _sums(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)])


def groups_of(graph: Graph, walks: int) -> np.ndarray:
    """How many groups of walks start at each vertex, (n,) int64: more where much flow arrives.

    In proportion to the chance of a step that arrives, from a vertex drawn at random: a vertex
    that many others point to is in most queries, with a large flow. ``walks`` is about the mean.
    """
    counts = np.diff(graph.indptr)
    if graph.cumulative.size:
        chances = np.diff(graph.cumulative, prepend=0.0)
        starts = graph.indptr[:-1][counts > 0]
        chances[starts] = graph.cumulative[starts]
    else:
        chances = np.repeat(1.0 / np.maximum(counts, 1), counts)
    arriving = np.bincount(graph.indices, weights=chances, minlength=graph.n_nodes)
    base = walks / GROUP
    return np.clip(np.rint(base * arriving), LEAST_GROUPS, MOST_TIMES * base).astype(np.int64)


def fingerprints(
    graph: Graph,
    rows: np.ndarray,
    groups: np.ndarray,
    *,
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
    groups : (k,) int64
        How many groups of `GROUP` walks start there, 2 or more.
    restart, seed
        As in :class:`PowerWalk`.
    n_jobs : int, optional
        Threads, as joblib counts them. The result does not depend on it.
    progress : callable, optional
        Called with (rows done, all rows).

    Notes
    -----
    O(GROUP / restart) steps a group, and as many numbers of memory at most. A thread holds about
    16 bytes for every vertex of the graph besides.
    """
    work = max(_LEAST_WORK, _WORK_PER_VERTEX * graph.n_nodes)
    pieces = np.cumsum(groups) // max(1, int(work * restart / GROUP))
    edges = [0, *(np.flatnonzero(np.diff(pieces)) + 1).tolist(), rows.size]
    spans = [slice(a, b) for a, b in pairwise(edges) if b > a]
    chunks: Iterator[Fingerprints] = joblib.Parallel(
        n_jobs=n_jobs, backend="threading", return_as="generator"
    )(joblib.delayed(_chunk)(graph, rows[of], groups[of], restart, seed) for of in spans)
    parts = []
    for of, chunk in zip(spans, chunks, strict=True):
        parts.append(chunk)
        if progress is not None:
            progress(of.stop, rows.size)
    return Fingerprints.concatenate(parts)
