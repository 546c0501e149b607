"""Blocks of queries, their largest scores, and what a caller gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numba
import numpy as np

from paperworks.graphs.powerwalk.decomposition import BUCKETS, decompose


@dataclass(frozen=True, eq=False, repr=False)
class PersonalizedRank:
    """Personalized PageRank of one source.

    Attributes
    ----------
    nodes : (k,) ndarray
        Names of the nodes that have a score, the highest first; at most ``top``.
    scores : (k,) float64
    error : float
        Estimated root mean square of the Euclidean distance to the true vector, all nodes
        together. No single score has a larger one.
    converged : bool
        Whether ``error`` is within what was asked for.
    rounds : int
        Rounds of decomposition.
    left : float
        The share of the walker that was left to fingerprints.
    rows : (k,) int64
        The nodes by number.
    n_nodes : int
        How many nodes the graph has.

    Examples
    --------
    >>> from paperworks.graphs import PowerWalk
    >>> rank = PowerWalk(([0, 1, 2], [1, 2, 0])).query(0, error=1e-6)
    >>> rank.nodes.tolist(), rank.scores.round(3).tolist(), rank.converged
    ([0, 1, 2], [0.389, 0.33, 0.281], True)
    """

    nodes: np.ndarray
    scores: np.ndarray
    error: float
    converged: bool
    rounds: int
    left: float
    rows: np.ndarray
    n_nodes: int

    def __repr__(self) -> str:
        first = ", ".join(
            f"{n}: {s:.3g}" for n, s in zip(self.nodes[:3], self.scores[:3], strict=True)
        )
        return f"PersonalizedRank({len(self)} nodes, {first}, ..., error {self.error:.2g})"

    def __len__(self) -> int:
        return len(self.nodes)

    def vector(self) -> np.ndarray:
        """The scores as a vector over all nodes, (n,) float64; 0 where there is none."""
        found = np.zeros(self.n_nodes)
        found[self.rows] = self.scores
        return found


@dataclass(frozen=True, eq=False, repr=False)
class PersonalizedRanks(Sequence[PersonalizedRank]):
    """Personalized PageRank of several sources; a sequence, and flat arrays behind it.

    Attributes
    ----------
    indptr : (q + 1,) int64
        The results of source i are ``indptr[i]:indptr[i + 1]`` of ``rows`` and ``scores``.
    rows : (nnz,) int64
    scores : (nnz,) float64
    error, left : (q,) float64
    converged : (q,) bool
    rounds : (q,) int64
    names : (n,) ndarray
        Name of each node by number.

    Examples
    --------
    >>> from paperworks.graphs import PowerWalk
    >>> ranks = PowerWalk(([0, 1, 2], [1, 2, 0])).query_batch([0, 2], top=2, error=1e-6)
    >>> [each.nodes.tolist() for each in ranks], ranks.scores.round(3).tolist()
    ([[0, 1], [2, 0]], [0.389, 0.33, 0.389, 0.33])
    """

    indptr: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    error: np.ndarray
    converged: np.ndarray
    rounds: np.ndarray
    left: np.ndarray
    names: np.ndarray

    def __repr__(self) -> str:
        return f"PersonalizedRanks({len(self)} sources, largest error {self.error.max():.2g})"

    def __len__(self) -> int:
        return self.error.size

    def __iter__(self) -> Iterator[PersonalizedRank]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, at: int) -> PersonalizedRank: ...
    @overload
    def __getitem__(self, at: slice) -> list[PersonalizedRank]: ...
    def __getitem__(self, at: int | slice) -> PersonalizedRank | list[PersonalizedRank]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        i = range(len(self))[at]
        of = slice(self.indptr[i], self.indptr[i + 1])
        return PersonalizedRank(
            nodes=self.names[self.rows[of]],
            scores=self.scores[of],
            error=float(self.error[i]),
            converged=bool(self.converged[i]),
            rounds=int(self.rounds[i]),
            left=float(self.left[i]),
            rows=self.rows[of],
            n_nodes=len(self.names),
        )


@numba.njit(cache=True, nogil=True)
def answer(
    starts, rows, weights, targets_, mass, dangling_gain, graph, prints, restart, group_walks, work,
    most_rounds, fixed, chance, top, room,
):  # fmt: skip
    """Answer a block of queries as far as there is room for the results.

    Query i starts from ``rows[starts[i]:starts[i + 1]]``, wants an error of ``targets_[i]`` and
    is divided by ``mass[i]``; scores of dangling vertices are multiplied with `dangling_gain`.
    `top` of 0 keeps all scores.
    """
    n = graph[0].size - 1
    flow, scores = np.zeros(n), np.zeros(n)
    standing, touched, moved = (
        np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32),
    )  # fmt: skip
    errors = np.empty(BUCKETS)
    queries = starts.size - 1
    sizes = np.zeros(queries, dtype=np.int64)
    numbers = np.zeros((queries, 3))
    found_rows, found_scores = np.empty(room, dtype=np.int64), np.empty(room)
    used, done = 0, 0
    for q in range(queries):
        of = slice(starts[q], starts[q + 1])
        found, error, left, rounds = decompose(
            rows[of], weights[of], graph, prints, restart, group_walks, work, targets_[q],
            most_rounds, fixed, chance, flow, scores, standing, touched, moved, errors,
        )  # fmt: skip
        size = min(top, found) if top else found
        if used + size > found_rows.size:
            if q > 0:
                break
            found_rows, found_scores = np.empty(size, dtype=np.int64), np.empty(size)
        for i in range(found):
            v = touched[i]
            scores[v] /= mass[q]
            if dangling_gain != 1.0 and graph[0][v] == graph[0][v + 1]:
                scores[v] *= dangling_gain
        if top:
            largest(touched, found, scores, found_rows[used : used + size])
        else:
            found_rows[used : used + size] = touched[:found]
        for i in range(used, used + size):
            found_scores[i] = scores[found_rows[i]]
        for i in range(found):
            scores[touched[i]] = 0.0
        used, done = used + size, q + 1
        sizes[q] = size
        numbers[q, 0] = np.sqrt(error) / mass[q] * dangling_gain
        numbers[q, 1], numbers[q, 2] = left, rounds
    return done, sizes[:done], found_rows[:used], found_scores[:used], numbers[:done]


@numba.njit(cache=True, nogil=True)
def _worse(scores, v, w):
    return scores[v] < scores[w] or (scores[v] == scores[w] and v > w)


@numba.njit(cache=True, nogil=True)
def _sift(scores, heap, size, item):
    """Put `item` in place of the root, the worst of the heap."""
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _worse(scores, heap[child + 1], heap[child]):
            child += 1
        if not _worse(scores, heap[child], item):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item


@numba.njit(cache=True, nogil=True)
def largest(touched, found, scores, heap):
    """Fill `heap` with those of ``touched[:found]`` that have the largest scores, largest first.

    Of equal ones the lower vertex comes first. At least one must be asked for.
    """
    size = heap.size
    for i in range(size):
        v, at = touched[i], i
        while at:
            above = (at - 1) >> 1
            if not _worse(scores, v, heap[above]):
                break
            heap[at] = heap[above]
            at = above
        heap[at] = v
    for i in range(size, found):
        if _worse(scores, heap[0], touched[i]):
            _sift(scores, heap, size, touched[i])
    for end in range(size - 1, 0, -1):
        worst, last = heap[0], heap[end]
        _sift(scores, heap, end, last)
        heap[end] = worst
