"""The matrices of a graph that carry measures, and their decompositions, made when asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import eigsh

from paperworks.graphs.adjacency import WeightedGraph
from paperworks.graphs.log_proximity.expansion import Function


class Spectra:
    """A, L = D - A and S = D^-1/2 A D^-1/2: "adjacency", "laplacian" and "transition" of a graph.

    Parameters
    ----------
    graph : WeightedGraph
        Undirected.
    """

    def __init__(self, graph: WeightedGraph) -> None:
        self.graph = graph
        self._decompositions: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def matrix(self, base: str) -> sp.csr_array:
        """One of the three, sparse."""
        A, degrees = self.graph.adjacency, self.graph.degrees
        if base == "adjacency":
            return A
        if base == "laplacian":
            return sp.csr_array(sp.diags_array(degrees) - A)
        return self.balanced(A.data)

    def interval(self, base: str) -> tuple[float, float]:
        """What holds its eigenvalues."""
        if base == "adjacency":
            return -self.radius, self.radius * (1 + 1e-10)
        return (0.0, 2 * self.graph.degrees.max()) if base == "laplacian" else (-1.0, 1.0)

    def decomposition(self, base: str) -> tuple[np.ndarray, np.ndarray]:
        """Its eigenvalues, ascending, and eigenvectors; O(n^3) once."""
        if base not in self._decompositions:
            self._decompositions[base] = scipy.linalg.eigh(
                self.matrix(base).toarray(), driver="evd", overwrite_a=True, check_finite=False
            )
        return self._decompositions[base]

    def apply(self, base: str, f: Function) -> np.ndarray:
        """The function f of it, (n, n)."""
        values, U = self.decomposition(base)
        return (U * f(values)) @ U.T

    @cached_property
    def radius(self) -> float:
        """The spectral radius of A."""
        if "adjacency" in self._decompositions:
            return float(self._decompositions["adjacency"][0][-1])
        return largest_eigenvalue(self.graph.adjacency)

    @cached_property
    def costs(self) -> sp.csr_array:
        """1 / weight for every edge."""
        costs = self.graph.adjacency.copy()
        costs.data = 1 / costs.data
        return costs

    @cached_property
    def roots(self) -> np.ndarray:
        """Square roots of the degrees, 1 for a node without edges."""
        return np.sqrt(np.where(self.graph.degrees > 0, self.graph.degrees, 1.0))

    @cached_property
    def even(self) -> bool:
        """Whether all edges weigh the same."""
        weights = self.graph.adjacency.data
        return bool(weights.min() == weights.max())

    def balanced(self, weights: np.ndarray) -> sp.csr_array:
        """D^-1/2 W D^-1/2 for weights on the edges of A, whose pattern it keeps."""
        A = self.graph.adjacency
        rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
        scaled = weights / (self.roots[rows] * self.roots[A.indices])
        return sp.csr_array((scaled, A.indices, A.indptr), shape=A.shape)

    def tempered(self, beta: float) -> sp.csr_array:
        """D^-1/2 (A o exp(-beta C)) D^-1/2: the walk that pays for its edges, made symmetric."""
        weights = self.graph.adjacency.data
        return self.balanced(weights * np.exp(-beta / weights))


def largest_eigenvalue(N: Any) -> float:
    """Of a symmetric non-negative matrix."""
    N = sp.csr_array(N)
    if N.shape[0] <= 100:
        return float(np.linalg.eigvalsh(N.toarray())[-1])
    # Perron: the eigenvector is not negative, so that a vector of ones is never orthogonal to it.
    start = np.ones(N.shape[0])
    return float(eigsh(N, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
