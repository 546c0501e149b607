"""Isotonic regression of many short rows at once, by pooling adjacent violators."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def pool_rows(values):  # pragma: no cover - compiled
    """Isotonic regression of each row ``(n, m)``, and the number of each entry's block."""
    n, m = values.shape
    pooled = np.empty((n, m))
    block = np.empty((n, m), dtype=np.int64)
    mean = np.empty(m)
    size = np.empty(m, dtype=np.int64)
    for i in range(n):
        blocks = 0
        for j in range(m):
            mean[blocks], size[blocks] = values[i, j], 1
            blocks += 1
            while blocks > 1 and mean[blocks - 2] > mean[blocks - 1]:
                both = size[blocks - 2] + size[blocks - 1]
                mean[blocks - 2] = (
                    mean[blocks - 2] * size[blocks - 2] + mean[blocks - 1] * size[blocks - 1]
                ) / both
                size[blocks - 2] = both
                blocks -= 1
        j = 0
        for b in range(blocks):
            for _ in range(size[b]):
                pooled[i, j], block[i, j] = mean[b], b
                j += 1
    return pooled, block
