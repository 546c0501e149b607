"""What an index holds: the graph as the walks see it, and the fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

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
        return cls.of(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)

    @classmethod
    def of(cls, indptr: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> Graph:
        """From rows of edges with a weight each."""
        if not weights.size:
            return cls(indptr, indices, np.empty(0), np.empty(0))
        low, high = float(weights.min()), float(weights.max())
        if low == high:
            return cls(indptr, indices, np.empty(0), np.empty(0), low)
        return cls(indptr, indices, weights, cumulative(indptr, weights))

    def stored(self) -> dict[str, np.ndarray]:
        """The arrays under the names that they have in a file, which takes ``weight`` apart."""
        return {f"graph.{k}": v for k, v in vars(self).items() if k != "weight"}

    @classmethod
    def from_stored(cls, arrays: Mapping[str, np.ndarray], weight: float) -> Graph:
        """What :meth:`stored` gave."""
        names = (field.name for field in fields(cls) if field.name != "weight")
        return cls(**{name: arrays[f"graph.{name}"] for name in names}, weight=weight)

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
    """Where the walks of some vertices went, group by group.

    Attributes
    ----------
    first : (k + 1,) int64
        The groups of row i are ``first[i]:first[i + 1]``.
    indptr : (groups + 1,) int64
        The targets of group g are ``indptr[g]:indptr[g + 1]``.
    targets : (nnz,) int32
        Vertices that the walks of a group came to after their start.
    counts : (nnz,) uint8, uint16 or uint32
        How often.
    facts : (k, 2) float32
        Of the groups of each row as scores: the mean sum of squares, and the mean squared
        Euclidean distance of one group from the truth, as estimated from how they differ.
    """

    first: np.ndarray
    indptr: np.ndarray
    targets: np.ndarray
    counts: np.ndarray
    facts: np.ndarray

    @property
    def n_rows(self) -> int:
        """How many vertices."""
        return self.first.size - 1

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(part.nbytes for part in vars(self).values())

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the compiled loops take."""
        return self.first, self.indptr, self.targets, self.counts, self.facts

    @classmethod
    def concatenate(cls, parts: list[Fingerprints]) -> Fingerprints:
        """One after another. The parts are let go as they are copied, and the list emptied."""
        if len(parts) == 1:
            return parts.pop()
        rows = sum(part.n_rows for part in parts)
        groups = sum(part.indptr.size - 1 for part in parts)
        size = sum(part.targets.size for part in parts)
        made = cls(
            np.zeros(rows + 1, dtype=np.int64),
            np.zeros(groups + 1, dtype=np.int64),
            np.empty(size, dtype=np.int32),
            np.empty(size, dtype=np.result_type(np.uint8, *(p.counts.dtype for p in parts))),
            np.empty((rows, 2), dtype=np.float32),
        )
        parts.reverse()
        row = group = at = 0
        while parts:
            part = parts.pop()
            last, stop, end = row + part.n_rows, group + part.indptr.size - 1, at + len(part.counts)
            made.first[row + 1 : last + 1] = part.first[1:] + group
            made.indptr[group + 1 : stop + 1] = part.indptr[1:] + at
            made.targets[at:end], made.counts[at:end] = part.targets, part.counts
            made.facts[row:last] = part.facts
            row, group, at = last, stop, end
        return made

    def slice(self, start: int, stop: int) -> Fingerprints:
        """The rows start..stop-1."""
        a, b = self.first[start], self.first[stop]
        of = slice(self.indptr[a], self.indptr[b])
        return Fingerprints(
            self.first[start : stop + 1] - a,
            self.indptr[a : b + 1] - of.start,
            self.targets[of],
            self.counts[of],
            self.facts[start:stop],
        )

    def replace(self, rows: np.ndarray, new: Fingerprints) -> Fingerprints:
        """The same with other fingerprints for `rows`, ascending; those past the end are added."""
        parts, at = [], 0
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for run in np.split(np.arange(rows.size), breaks):
            if not run.size:
                continue
            if rows[run[0]] > at:
                parts.append(self.slice(at, int(rows[run[0]])))
            parts.append(new.slice(int(run[0]), int(run[-1]) + 1))
            at = int(rows[run[-1]]) + 1
        if at < self.n_rows:
            parts.append(self.slice(at, self.n_rows))
        return Fingerprints.concatenate(parts)
