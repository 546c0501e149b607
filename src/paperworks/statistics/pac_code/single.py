"""The best cut at one threshold, exactly and fast, where being nested is not asked for.

With nodes numbered in preorder a subtree is a stretch of numbers, so that a cut is found from the
last node to the first: node ``v`` stays, and ``v + 1`` is next; or it goes with the ``size[v]``
nodes of its subtree, and ``v + size[v]`` is next. ``best[v][j, c]`` is the most cost that can be
removed among the nodes from ``v`` on by at most ``j`` cuts that remove exactly ``c`` nodes:

    best[v][j, c] = max(best[v + 1][j, c], below[v] + best[v + size[v]][j - 1, c - size[v]])

One table serves all thresholds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def single_cuts(
    parent: NDArray[np.int64],
    cost: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    max_holes: int,
    allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Removed nodes at every threshold: the fewest, and of those the costliest.

    Parameters as for :func:`paperworks.statistics.pac_code.cuts.best_cuts`.

    Returns
    -------
    (k, n) bool
        Each row the best of all cuts; two rows need not be nested.

    Notes
    -----
    O(n^2 max_holes) time and memory, and O(n) for each threshold.
    """
    n = len(parent)
    size, below = np.ones(n, dtype=np.int64), cost.astype(float)
    for node in range(n - 1, 0, -1):
        size[parent[node]] += size[node]
        below[parent[node]] += below[node]
    best = np.full((n + 1, max_holes + 1, n + 1), -np.inf)
    best[n, :, 0] = 0.0
    cut = np.zeros((n, max_holes + 1, n + 1), dtype=bool)
    for node in range(n - 1, -1, -1):
        best[node] = best[node + 1]
        if node == 0 or allowed is None or allowed[node]:
            s = size[node]
            gone = best[node + s, :-1, : n + 1 - s] + below[node]
            better = gone > best[node, 1:, s:]
            cut[node, 1:, s:] = better
            best[node, 1:, s:] = np.where(better, gone, best[node, 1:, s:])
    removed = np.zeros((len(thresholds), n), dtype=bool)
    total = below[0]
    for row, limit in enumerate(thresholds):
        if limit < 0:
            removed[row] = True
            continue
        left = total - best[0, max_holes]  # what stays, by the number of nodes that go
        fits = left <= limit
        count = int(np.argmax(fits)) if fits.any() else n
        node, holes = 0, max_holes
        while node < n:
            if cut[node, holes, count]:
                removed[row, node : node + size[node]] = True
                count, holes = count - int(size[node]), holes - 1
                node += int(size[node])
            else:
                node += 1
    return removed
