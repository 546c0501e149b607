"""Small graphs that several tests share."""

from __future__ import annotations

import numpy as np


def random_graph(rng, n, share=0.3, weighted=True, loops=False):
    """Adjacency of a connected random graph, dense."""
    A = np.triu(rng.random((n, n)) < share, 1).astype(float)
    order = rng.permutation(n)
    for step in range(1, n):  # a random tree keeps it in one piece
        i, j = sorted((order[step], order[rng.integers(step)]))
        A[i, j] = 1.0
    if weighted:
        A *= rng.uniform(0.5, 2.0, size=(n, n))
    A = A + A.T
    if loops:
        A += np.diag(rng.uniform(0, 1, size=n))
    return A


def path(n):
    return np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)


def planted(n, k, p_in, p_out, seed):
    """Adjacency and classes of a graph with k equal classes, dense."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) * k // n
    chance = np.where(labels[:, None] == labels, p_in, p_out)
    A = np.triu(rng.random((n, n)) < chance, 1).astype(float)
    return A + A.T, labels
