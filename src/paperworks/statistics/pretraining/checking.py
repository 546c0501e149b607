"""Checks of rows that the models of this paper share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

FloatArray = NDArray[np.float64]


def fit_rows(estimator: Any, X: Any, *, least: int = 1) -> FloatArray:
    """``X`` as float rows to fit to, at least ``least``; remembers the number of features."""
    rows: FloatArray = validate_data(estimator, X, dtype=np.float64, ensure_min_samples=least)
    return rows


def new_rows(estimator: Any, X: Any) -> FloatArray:
    """``X`` as float rows of as many features as a fitted estimator saw."""
    check_is_fitted(estimator)
    rows: FloatArray = validate_data(estimator, X, dtype=np.float64, reset=False)
    return rows


def labels(y: Any) -> NDArray[Any]:
    """``y`` as one column, with scikit-learn's warning where it was two-dimensional."""
    column: NDArray[Any] = column_or_1d(y, warn=True)
    return column
