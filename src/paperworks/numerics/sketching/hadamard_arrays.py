"""The Walsh-Hadamard transform of arrays, in place and on several threads.

Since ``H_(p q) = (H_p x I)(I x H_q)``, a long transform is two short ones: within pieces that fit a
cache, and across the pieces. Each is one walk over memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from paperworks.numerics.sketching.kernels import (
    WIDTH,
    butterflies,
    column_transforms,
    row_transforms,
)

NEAR_ROW = 1 << 15  # numbers in a row that is transformed where it lies: 256 KB of float64
NEAR_COLUMNS = 1 << 12  # rows of a strip: as much
SHARE = 1 << 17  # below so many numbers a second thread costs more than it saves


def transform_in_place(x: np.ndarray, axis: int, workers: int | None = None) -> None:
    """Transform a C-contiguous float array along `axis`."""
    if x.size == 0:
        return
    threads = workers or min(numba.get_num_threads(), max(1, x.size // SHARE))
    before = math.prod(x.shape[:axis])
    x = x.reshape(before, x.shape[axis], -1)
    if threads == 1:
        _transform(x, 1, map)
    else:
        # Threads of our own: numba's pool does not survive a fork, and joblib may fork.
        with ThreadPoolExecutor(threads) as pool:
            _transform(x, threads, pool.map)


def _transform(x: np.ndarray, threads: int, run: Callable[..., Iterable[None]]) -> None:
    """Transform (before, n, after) along its middle."""
    before, n, after = x.shape
    near = NEAR_ROW if after == 1 else NEAR_COLUMNS
    if n > near:
        # Across pieces, then within them; each fits a cache.
        _transform(x.reshape(before * (n // near), near, after), threads, run)
        _transform(x.reshape(before, n // near, near * after), threads, run)
    elif after == 1 and n >= WIDTH:
        _all(run(row_transforms, np.array_split(x.reshape(before, n), min(threads, before))))
    elif after == 1:
        _all(run(_short, np.array_split(x.reshape(before, n), min(threads, before))))
    else:
        # Every piece of work is some columns of one matrix, a whole number of strips.
        strips = max(1, min(NEAR_COLUMNS // n, 8))
        step = max(WIDTH, -(-after // (threads * WIDTH)) * WIDTH) if before < threads else after
        jobs = [(i, j, min(j + step, after)) for i in range(before) for j in range(0, after, step)]

        def columns(jobs: list[tuple[int, int, int]]) -> None:
            scratch = np.empty((strips, n, WIDTH), dtype=x.dtype)
            for i, first, last in jobs:
                column_transforms(x[i], first, last, scratch)

        count = min(threads, len(jobs))
        _all(run(columns, [jobs[k::count] for k in range(count)]))


def _short(x: np.ndarray) -> None:
    butterflies(x.reshape(-1), 1, x.shape[1])


def _all(results: Iterable[None]) -> None:
    """Wait for every piece of work, and raise what one of them raised."""
    for _ in results:
        pass
