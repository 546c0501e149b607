"""Checks of parameters and rows that the models of this paper share."""

from __future__ import annotations

from numbers import Integral, Real
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


def whole(name: str, value: Any, least: int) -> int:
    """``value`` as an int, or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
    return int(value)


def positive(name: str, value: Any, *, zero: bool = False) -> float:
    """``value`` as a finite float above zero (or from zero on), or an error that names it."""
    number: Any = value
    good = isinstance(value, Real) and not isinstance(value, bool) and np.isfinite(number)
    if not good or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {'>= 0' if zero else '> 0'} and finite, got {value!r}")
    return float(number)


def probability(name: str, value: Any) -> float:
    """``value`` as a float strictly between 0 and 1, or an error that names it."""
    number: Any = value
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < number < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value!r}")
    return float(number)


def labels(y: Any) -> NDArray[Any]:
    """``y`` as one column, with scikit-learn's warning where it was two-dimensional."""
    column: NDArray[Any] = column_or_1d(y, warn=True)
    return column
