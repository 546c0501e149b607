"""Intervals of promised coverage from predicted quantiles: CQR, split and cross-fitted (CV+).

Romano, Patterson and Candes, "Conformalized Quantile Regression" (NeurIPS 2019, arXiv 1905.03222);
Barber, Candes, Ramdas and Tibshirani, "Predictive inference with the jackknife+" (2021, theorem 4);
put together by Fakoor et al. (arXiv 2103.00083), section 5, equations (26) to (29).

With l and u the predicted ends of an interval of miscoverage a, the shortfall of a row that the
models did not see is ``l - y`` below and ``y - u`` above. CQR moves both ends by one amount, the
empirical quantile of the larger of the two; the asymmetric form moves each end by its own, at a/2.

What is promised, for exchangeable rows and on average over them and not for each x:

    split   P(y inside) >= 1 - a
    CV+     P(y inside) >= 1 - 2 a - excess
            excess = min(2 (1 - 1/K) / (n/K + 1), (1 - K/n) / (K + 1)) for n rows in K folds

In the asymmetric form of CV+ each end has that bound for itself at a/2, so the excess counts twice.
In practice CV+ covers about 1 - a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paperworks.statistics.quantile_aggregation.levels import FloatArray

IntArray = NDArray[np.int64]


def rows_needed(coverage: float, symmetric: bool) -> int:
    """How many calibration rows a finite interval of that coverage needs."""
    tail = (1 - coverage) if symmetric else (1 - coverage) / 2
    return math.ceil(1 / tail - 1 - 1e-9)


def check_rows(n: int, coverage: float, symmetric: bool) -> None:
    """Refuse calibration sets that are too small, and say how many rows it takes."""
    needed = rows_needed(coverage, symmetric)
    if n < needed:
        form = "symmetric" if symmetric else "asymmetric"
        raise ValueError(
            f"{n} calibration rows are too few for coverage {coverage:g} in the {form} form, "
            f"which needs at least {needed}: give more, or ask for less coverage"
        )


def _rank(n: int, tail: float) -> int:
    """The smallest k with k / (n + 1) >= 1 - tail, rounding errors forgiven."""
    return math.ceil((1 - tail) * (n + 1) - 1e-9)


@dataclass(frozen=True)
class Calibration:
    """Shortfalls of rows that the models did not see.

    Attributes
    ----------
    quantiles : (n, m) float
        Aggregated quantiles of those rows.
    y : (n,) float
    fold : (n,) int, or None
        CV+: the fold of each row. None: split, one set of rows and one model.
    """

    quantiles: FloatArray
    y: FloatArray
    fold: IntArray | None = None

    def promise(self, coverage: float, symmetric: bool) -> float:
        """Lower bound on the marginal coverage of an interval that asks for ``coverage``."""
        if self.fold is None:
            return coverage
        n, folds = len(self.y), int(self.fold.max()) + 1
        excess = min(2 * (1 - 1 / folds) / (n / folds + 1), (1 - folds / n) / (folds + 1))
        return max(1 - 2 * (1 - coverage) - (1 if symmetric else 2) * excess, 0.0)

    def interval(
        self, q: FloatArray, lower: int, upper: int, coverage: float, symmetric: bool
    ) -> FloatArray:
        """Calibrated ends ``(N, 2)``.

        ``q`` (K, N, m) are the new rows' quantiles by the model of each fold (K = 1 where split);
        ``lower`` and ``upper`` are the columns to start from.
        """
        check_rows(len(self.y), coverage, symmetric)
        below = self.quantiles[:, lower] - self.y
        above = self.y - self.quantiles[:, upper]
        if symmetric:
            below = above = np.maximum(below, above)
        tail = (1 - coverage) if symmetric else (1 - coverage) / 2
        ends = np.stack(
            [
                -self._end(-q[:, :, lower], below, tail),
                self._end(q[:, :, upper], above, tail),
            ],
            axis=1,
        )
        # Ends that have passed each other enclose nothing. What lies between them covers no less.
        return np.sort(ends, axis=1)

    def _end(self, q: FloatArray, shortfall: FloatArray, tail: float) -> FloatArray:
        """Upper ends ``(N,)`` from predicted ones ``q`` (K, N)."""
        rank = _rank(len(shortfall), tail) - 1
        if self.fold is None:
            return q[0] + np.partition(shortfall, rank)[rank]
        # Each calibration row gives its own fold's prediction plus its shortfall: (28).
        found = np.empty(q.shape[1])
        step = max(10_000_000 // len(shortfall), 1)
        for start in range(0, q.shape[1], step):
            part = slice(start, start + step)
            moved = q[self.fold, part].T + shortfall
            found[part] = np.partition(moved, rank, axis=1)[:, rank]
        return found
