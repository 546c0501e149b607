"""Base models fitted to all folds of the rows but some, which they then predict.

A fit without a pair of folds {k, l} serves both orders of the pair, so that K folds cost K + 1 fits
of each base model, and K (K - 1) / 2 + K + 1 where each fold shall have weights of its own.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from paperworks.statistics.quantile_aggregation.base import BaseModel
from paperworks.statistics.quantile_aggregation.levels import FloatArray

Rows = NDArray[np.int64]


class _Fit(NamedTuple):
    """Base models fitted without some folds, and what they predict of those folds."""

    models: list[BaseModel] | None
    predictions: dict[int, FloatArray]  # fold -> (rows, p, m)


class CrossFit:
    """Fits of p base models without each of K folds, and without each pair of them if nested.

    Parameters
    ----------
    bases : list of BaseModel
        Not fitted.
    X, y : (n, d) and (n,) float64
    cv : int
        K.
    nested : bool
        Whether to leave out pairs too, for :meth:`within`.
    n_jobs : int or None
        Of joblib.
    seed : int
        Of the folds and of base models without a seed of their own.

    Attributes
    ----------
    folds : list of (rows,) int
        The rows of each fold.
    models : list of BaseModel
        Fitted to all rows.
    predictions : (n, p, m) float64
        Of each row by the models that did not see its fold.
    n_fits : int
        Fits of each base model.
    """

    def __init__(
        self,
        bases: list[BaseModel],
        X: FloatArray,
        y: FloatArray,
        *,
        cv: int,
        nested: bool,
        n_jobs: int | None,
        seed: int,
    ) -> None:
        self.folds: list[Rows] = [
            test for _, test in KFold(cv, shuffle=True, random_state=seed).split(X)
        ]
        out: list[tuple[int, ...]] = [(), *((k,) for k in range(cv))]
        if nested:
            out += combinations(range(cv), 2)
        # Models without a pair, and those without a fold where nothing is nested, are done with
        # once they have predicted.
        kept = [not left or (nested and len(left) == 1) for left in out]
        self._fits: dict[tuple[int, ...], _Fit] = dict(
            zip(
                out,
                Parallel(n_jobs=n_jobs)(
                    delayed(_fit_without)(bases, X, y, self.folds, left, keep, seed)
                    for left, keep in zip(out, kept, strict=True)
                ),
                strict=True,
            )
        )
        self.n_fits = len(out)
        self.models = self._models()
        first = self._fits[(0,)].predictions[0]
        self.predictions = np.empty((len(y), *first.shape[1:]))
        for k, rows in enumerate(self.folds):
            self.predictions[rows] = self._fits[(k,)].predictions[k]

    def without(self, k: int) -> list[BaseModel]:
        """The base models that did not see fold k; only if nested."""
        return self._models(k)

    def within(self, k: int) -> tuple[Rows, FloatArray]:
        """The rows outside fold k, and (rows, p, m) predictions of models without k and their own.

        Only if nested.
        """
        others = [other for other in range(len(self.folds)) if other != k]
        rows = np.concatenate([self.folds[other] for other in others])
        seen = [self._fits[(min(k, other), max(k, other))].predictions[other] for other in others]
        return rows, np.concatenate(seen)

    def _models(self, *left: int) -> list[BaseModel]:
        models = self._fits[left].models
        assert models is not None
        return models


def table(models: list[BaseModel], X: FloatArray) -> FloatArray:
    """Predictions ``(n, p, m)``."""
    return np.stack([model.predict(X) for model in models], axis=1)


def _fit_without(
    bases: list[BaseModel],
    X: FloatArray,
    y: FloatArray,
    folds: list[Rows],
    left: tuple[int, ...],
    keep: bool,
    seed: int,
) -> _Fit:
    """Fit every base model to the rows outside the folds ``left``, and predict those folds."""
    inside = np.ones(len(y), dtype=bool)
    for k in left:
        inside[folds[k]] = False
    models = [base.copy(seed).fit(X[inside], y[inside]) for base in bases]
    predictions = {k: table(models, X[folds[k]]) for k in left}
    return _Fit(models if keep else None, predictions)
