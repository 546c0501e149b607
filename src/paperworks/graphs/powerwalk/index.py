"""What an index holds: the graph as the walks see it, and the fingerprints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paperworks.graphs.adjacency import WeightedGraph


@dataclass(frozen=True, eq=False)
class Graph:
    """Out-edges, row by row.

    Attributes
    ----------
    indptr : (n + 1,) int64
    indices : (m,) int32
        Targets, ascending in each row.
    weights : (m,) float64, or (0,)
        Empty where all edges weigh the same.
    cumulative : (m,) float64, or (0,)
        For each edge the chance that a step takes it or one before it in its row. Empty where
        all edges weigh the same.
    weight : float
        What every edge weighs, where `weights` is empty.
    """

    indptr: np.ndarray
    indices: np.ndarray
    weights: np.ndarray
    cumulative: np.ndarray
    weight: float = 1.0

    @property
    def n_nodes(self) -> int:
        """How many vertices."""
        return self.indptr.size - 1

    @property
    def n_edges(self) -> int:
        """How many directed edges."""
        return self.indices.size

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(part.nbytes for part in vars(self).values() if isinstance(part, np.ndarray))

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the compiled loops take."""
        return self.indptr, self.indices, self.cumulative

    @classmethod
    def read(cls, graph: WeightedGraph) -> Graph:
        """The steps of a random walk on a weighted graph."""
        matrix = graph.adjacency
        if graph.n_nodes > np.iinfo(np.int32).max:
            raise ValueError(f"at most 2**31 - 1 vertices are possible, got {graph.n_nodes}")
        return cls.of(
            matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data
        )

    @classmethod
    def of(cls, indptr: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> Graph:
        """From rows of edges with a weight each."""
        if not weights.size:
            return cls(indptr, indices, np.empty(0), np.empty(0))
        low, high = float(weights.min()), float(weights.max())
        if low == high:
            return cls(indptr, indices, np.empty(0), np.empty(0), low)
        return cls(indptr, indices, weights, cumulative(indptr, weights))

    def all_weights(self) -> np.ndarray:
        """The weight of every edge, (m,) float64."""
        return self.weights if self.weights.size else np.full(self.n_edges, self.weight)


def cumulative(indptr: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Chances of the edges of each row, added up within the row."""
    lengths = np.diff(indptr)
    rows = np.repeat(np.arange(lengths.size), lengths)
    with np.errstate(over="ignore"):
        totals = np.bincount(rows, weights=weights, minlength=lengths.size)
    wrong = ~np.isfinite(totals)
    if wrong.any():
        raise ValueError(
            f"the weights of the edges of vertex number {int(np.flatnonzero(wrong)[0])} add up to "
            "more than a float64 holds: scale all weights down"
        )
    chances = weights / totals[rows]
    found = np.empty_like(chances)
    # Each row counts from its own start: sums over all rows would lose digits in the last ones.
    for length in np.unique(lengths[lengths > 0]):
        at = indptr[:-1][lengths == length][:, None] + np.arange(length)
        found[at] = np.cumsum(chances[at], axis=1)
    found[indptr[1:][lengths > 0] - 1] = 1.0
    return found


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Where the walks of some vertices went.

    Attributes
    ----------
    indptr : (k + 1,) int64
    targets : (nnz,) int32
        Vertices that the walks of a row came to after their start.
    counts : (nnz,) uint16 or uint32
        How often.
    variance : (k,) float32
        Estimated mean squared Euclidean distance of a fingerprint, as scores, from the truth.
    power : (k,) float32
        Sum of squares of a fingerprint, as scores.
    """

    indptr: np.ndarray
    targets: np.ndarray
    counts: np.ndarray
    variance: np.ndarray
    power: np.ndarray

    @property
    def n_rows(self) -> int:
        """How many vertices."""
        return self.indptr.size - 1

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(part.nbytes for part in vars(self).values())

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the compiled loops take."""
        return self.indptr, self.targets, self.counts, self.variance, self.power

    @classmethod
    def concatenate(cls, parts: list[Fingerprints]) -> Fingerprints:
        """One after another. The parts are let go as they are copied, and the list emptied."""
        if len(parts) == 1:
            return parts.pop()
        sizes = [part.targets.size for part in parts]
        rows = [part.n_rows for part in parts]
        kind = np.result_type(np.uint16, *(part.counts.dtype for part in parts))
        made: dict[str, Any] = {
            "indptr": np.zeros(sum(rows) + 1, dtype=np.int64),
            "targets": np.empty(sum(sizes), dtype=np.int32),
            "counts": np.empty(sum(sizes), dtype=kind),
            "variance": np.empty(sum(rows), dtype=np.float32),
            "power": np.empty(sum(rows), dtype=np.float32),
        }
        parts.reverse()
        row = at = 0
        while parts:
            part = parts.pop()
            end, last = at + part.targets.size, row + part.n_rows
            made["indptr"][row + 1 : last + 1] = part.indptr[1:] + at
            made["targets"][at:end], made["counts"][at:end] = part.targets, part.counts
            made["variance"][row:last], made["power"][row:last] = part.variance, part.power
            at, row = end, last
        return cls(**made)

    def replace(self, rows: np.ndarray, new: Fingerprints, n_rows: int) -> Fingerprints:
        """The same with other fingerprints for `rows`, ascending, some of which may be new."""
        lengths = np.zeros(n_rows, dtype=np.int64)
        lengths[: self.n_rows] = np.diff(self.indptr)
        lengths[rows] = np.diff(new.indptr)
        indptr = np.zeros(n_rows + 1, dtype=np.int64)
        np.cumsum(lengths, out=indptr[1:])
        kind = np.result_type(self.counts.dtype, new.counts.dtype)
        targets, counts = np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=kind)
        variance, power = np.empty((2, n_rows), dtype=np.float32)
        variance[: self.n_rows], power[: self.n_rows] = self.variance, self.power
        variance[rows], power[rows] = new.variance, new.power
        # Runs of rows that stay are copied whole.
        stops = np.append(rows, n_rows)
        start = 0
        for i, stop in enumerate(stops.tolist()):
            last = min(stop, self.n_rows)
            if start < last:
                a, b = self.indptr[start], self.indptr[last]
                targets[indptr[start] : indptr[last]] = self.targets[a:b]
                counts[indptr[start] : indptr[last]] = self.counts[a:b]
            if i < rows.size:
                a, b = new.indptr[i], new.indptr[i + 1]
                targets[indptr[stop] : indptr[stop + 1]] = new.targets[a:b]
                counts[indptr[stop] : indptr[stop + 1]] = new.counts[a:b]
            start = stop + 1
        return Fingerprints(indptr, targets, counts, variance, power)
