"""Personalized PageRank by dense solves, which share no code with the method."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp


def chances(A) -> np.ndarray:
    """Rows of step chances; a row of zeros where there is no out-edge."""
    dense = A.toarray() if sp.issparse(A) else np.asarray(A, dtype=float)
    total = dense.sum(axis=1, keepdims=True)
    return np.divide(dense, total, out=np.zeros_like(dense), where=total > 0)


def pagerank(A, start, c: float = 0.15, dangling: str = "restart") -> np.ndarray:
    """Solve p = c e + (1 - c) (P^T p + what dangling vertices hold, sent to e or kept)."""
    P, n = chances(A), A.shape[0]
    e = np.asarray(start, dtype=float) / np.sum(start)
    for v in np.flatnonzero(P.sum(axis=1) == 0):
        P[v] = e if dangling == "restart" else np.eye(n)[v]
    return np.linalg.solve(np.eye(n) - (1 - c) * P.T, c * e)


def random_graph(n: int, edges: int, seed: int, *, weighted: bool = False) -> sp.csr_array:
    """Random directed edges, some vertices with many, some with none, loops among them."""
    rng = np.random.default_rng(seed)
    source = np.minimum(rng.integers(n, size=edges), rng.integers(n, size=edges))
    target = rng.integers(n, size=edges)
    weights = rng.uniform(0.1, 5.0, size=edges) if weighted else np.ones(edges)
    A = sp.csr_array((weights, (source, target)), shape=(n, n))
    if not weighted:
        A.data[:] = 1.0
    return A
