"""Cuts made one subtree after another: the paper's greedy variant, and two baselines.

A sequence of cuts that does not depend on the threshold, stopped as soon as what stays is sure
enough, is nested by itself. It is fast, and its sets are larger than those of the integer program.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


def greedy_sequence(parent: NDArray[np.int64], cost: FloatArray, max_holes: int) -> BoolArray:
    """Removed nodes after each greedy step, from none to all.

    As the authors' greedy code: the leaf that costs most goes next, where a node becomes a leaf
    when all below it is gone. Once there are ``max_holes`` holes, the parent of a hole that costs
    most goes next, with all that is below it. Ties go to the first in the text.

    Parameters
    ----------
    parent : (n,) int
        Parents, smaller than their children; -1 for node 0.
    cost : (n,) float
        Negative log-likelihood of each node.
    max_holes : int
        At least 1.

    Returns
    -------
    (steps, n) bool
        Increasing; the first row is all False, the last all True; no row has more than
        ``max_holes`` topmost removed nodes.

    Notes
    -----
    O(n^2).
    """
    n = len(parent)
    removed = np.zeros(n, dtype=bool)
    steps = [removed.copy()]
    inner = np.arange(1, n)
    while not removed[0]:
        under = np.zeros(n, dtype=np.int64)  # children that stay
        np.add.at(under, parent[1:], ~removed[1:])
        tops = inner[removed[1:] & ~removed[parent[1:]]]
        if len(tops) < max_holes:
            candidates = ~removed & (under == 0)
        else:
            candidates = np.zeros(n, dtype=bool)
            candidates[parent[tops]] = True
        chosen = int(np.argmax(np.where(candidates, cost, -1.0)))
        removed[chosen] = True
        for node in range(chosen + 1, n):  # parents come before their children
            removed[node] |= removed[parent[node]]
        steps.append(removed.copy())
    return np.array(steps)


def stopped_at_cost(steps: BoolArray, cost: FloatArray, thresholds: FloatArray) -> BoolArray:
    """The first step at which the nodes that stay cost no more than each threshold.

    Returns
    -------
    (k, n) bool
        Not increasing in the threshold; all True below 0.
    """
    kept = (~steps) @ cost
    slack = 1e-9 * max(float(cost.sum()), 1.0)
    return _first(steps, kept, thresholds, slack)


def stopped_at_share(steps: BoolArray, thresholds: FloatArray) -> BoolArray:
    """The first step at which the share of nodes that stay is no more than each threshold.

    The same share of every program, however sure the model was of it: the uniform baseline.
    """
    return _first(steps, (~steps).mean(1), thresholds, 1e-12)


def _first(steps: BoolArray, kept: FloatArray, thresholds: FloatArray, slack: float) -> BoolArray:
    at = [int(np.argmax(kept <= limit + slack)) if limit >= 0 else -1 for limit in thresholds]
    return steps[at]
