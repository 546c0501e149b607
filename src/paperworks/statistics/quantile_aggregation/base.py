"""Base models under one roof: whatever predicts quantiles gives a table (n, m).

Three ways in which regressors of the ecosystem come by quantiles are told apart:

- one level at a time, set by a parameter (scikit-learn's ``QuantileRegressor`` and gradient
  boosting, LightGBM): a clone for each level;
- all levels at once, asked for in ``predict(X, quantiles=...)`` (quantile-forest);
- a table from ``predict(X)``, with or without a parameter ``levels`` (the networks here, or a
  :class:`QuantileAggregator` itself).

All also at the end of a ``Pipeline`` or inside another meta-estimator.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone

from paperworks.statistics.quantile_aggregation.levels import FloatArray
from paperworks.statistics.quantile_aggregation.networks import (
    GaussianQuantileNetwork,
    SimultaneousQuantileNetwork,
)


def _forest() -> Any:
    from quantile_forest import RandomForestQuantileRegressor

    # By default quantile-forest keeps one random row of a leaf; the method (Meinshausen 2006)
    # weighs all of them.
    return RandomForestQuantileRegressor(
        n_estimators=100, min_samples_leaf=8, max_samples_leaf=None
    )


def _lightgbm() -> Any:
    from lightgbm import LGBMRegressor

    # Without subsample_freq LightGBM ignores subsample. One thread: on tables of thousands of rows
    # more gain nothing, and where the cores are taken they wait for one another.
    return LGBMRegressor(
        objective="quantile",
        n_estimators=100,
        num_leaves=10,
        min_child_samples=9,
        subsample=0.8,
        subsample_freq=1,
        colsample_bytree=0.6,
        reg_lambda=0.1,
        n_jobs=1,
        verbose=-1,
    )


def _linear() -> Any:
    from sklearn.linear_model import QuantileRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # scikit-learn's own default is an l1 penalty of 1, which leaves little but the intercept.
    return make_pipeline(StandardScaler(), QuantileRegressor(alpha=0, solver="highs-ipm"))


LIBRARY: dict[str, Callable[[], Any]] = {
    "gaussian": GaussianQuantileNetwork,
    "network": SimultaneousQuantileNetwork,
    "forest": _forest,
    "lightgbm": _lightgbm,
    "linear": _linear,
}
"""The base models on board, by name; settings from the authors' grids."""


class BaseModel:
    """One base model: ``fit`` on rows, ``predict`` a table ``(n, m)`` of the levels asked for."""

    def __init__(self, name: str, estimator: Any, levels: FloatArray, parameter: str | None):
        self.name, self.levels = name, levels
        self.estimator = estimator
        self.parameter = parameter or _level_parameter(name, estimator)
        self.asks = self.parameter is None and _takes_quantiles(estimator)

    def copy(self, random_state: int) -> BaseModel:
        """An unfitted clone whose random parameters are seeded where they were left open."""
        fresh = BaseModel.__new__(BaseModel)
        fresh.__dict__.update(self.__dict__)
        fresh.estimator = clone(self.estimator)
        parameters = fresh.estimator.get_params()
        unset: dict[str, Any] = {
            key: random_state
            for key, value in parameters.items()
            if key.split("__")[-1] == "random_state" and value is None
        }
        if "levels" in parameters:
            unset["levels"] = self.levels
        fresh.estimator.set_params(**unset)
        return fresh

    def fit(self, X: FloatArray, y: FloatArray) -> BaseModel:
        """Fit in place."""
        if self.parameter is None:
            self.fitted = [self.estimator.fit(X, y)]
        else:
            self.fitted = [
                clone(self.estimator).set_params(**{self.parameter: float(level)}).fit(X, y)
                for level in self.levels
            ]
        return self

    def predict(self, X: FloatArray) -> FloatArray:
        """Quantiles ``(n, m)`` float64, finite."""
        if self.parameter is not None:
            table = np.column_stack([np.ravel(model.predict(X)) for model in self.fitted])
        elif self.asks:
            table = self.fitted[0].predict(X, quantiles=[float(level) for level in self.levels])
        else:
            table = self.fitted[0].predict(X)
        table = np.asarray(table, dtype=np.float64)
        if table.ndim == 1 and len(self.levels) == 1:
            table = table[:, None]
        if table.shape != (len(X), len(self.levels)):
            raise ValueError(
                f"base model {self.name!r} predicted shape {table.shape} where "
                f"({len(X)}, {len(self.levels)}) was due, one column for each level; name the "
                f"parameter that sets its level: ({self.name!r}, estimator, 'alpha')"
            )
        if not np.isfinite(table).all():
            raise ValueError(f"base model {self.name!r} predicted NaN or infinities")
        return table


def base_models(estimators: Any, levels: FloatArray) -> list[BaseModel]:
    """Base models from names and (name, estimator) pairs; see :class:`QuantileAggregator`."""
    if estimators is None:
        estimators = list(LIBRARY)
    if isinstance(estimators, str) or not np.iterable(estimators):
        raise ValueError(
            f"estimators must be a list of names and (name, estimator) pairs, got {estimators!r}"
        )
    found = [_base_model(entry, levels) for entry in estimators]
    names = [model.name for model in found]
    if not found:
        raise ValueError("estimators is empty: give at least one base model")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two base models have the name {name!r}: give them (name, estimator)")
    return found


def _base_model(entry: Any, levels: FloatArray) -> BaseModel:
    if isinstance(entry, str):
        if entry not in LIBRARY:
            raise ValueError(
                f"no base model {entry!r} on board; there are {', '.join(LIBRARY)}, or give "
                "(name, estimator)"
            )
        try:
            return BaseModel(entry, LIBRARY[entry](), levels, None)
        except ImportError as error:
            raise ImportError(
                f"the base model {entry!r} needs {error.name}: pip install 'paperworks[quantile]'"
            ) from error
    if not (isinstance(entry, tuple) and len(entry) in (2, 3) and isinstance(entry[0], str)):
        raise ValueError(
            "a base model is a name or (name, estimator), or (name, estimator, parameter that "
            f"sets its level), got {entry!r}"
        )
    name, estimator = entry[0], entry[1]
    if isinstance(estimator, type):
        raise ValueError(
            f"base model {name!r} is a class: give an instance, {estimator.__name__}()"
        )
    if not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
        raise ValueError(f"base model {name!r} has no fit and predict: {estimator!r}")
    parameter = entry[2] if len(entry) == 3 else None
    if parameter is not None and parameter not in estimator.get_params():
        raise ValueError(f"base model {name!r} has no parameter {parameter!r}")
    return BaseModel(name, estimator, levels, parameter)


def _level_parameter(name: str, estimator: Any) -> str | None:
    """The parameter that sets the level of a model that knows one at a time, or None."""
    parameters = estimator.get_params()
    found = []
    for key, value in parameters.items():
        prefix, _, last = key.rpartition("__")
        prefix += "__" if prefix else ""
        kind = parameters.get(prefix + "loss", parameters.get(prefix + "objective"))
        if last == "quantile":
            if kind not in (None, "quantile"):
                raise ValueError(
                    f"base model {name!r} has {prefix}loss={kind!r} and would ignore its level: "
                    f"set {prefix}loss='quantile'"
                )
            found.append(key)
        # LightGBM and scikit-learn's gradient boosting; LightGBM does not list its alpha.
        alone = prefix + "quantile" not in parameters
        if last in ("loss", "objective") and value == "quantile" and alone:
            found.append(prefix + "alpha")
    if len(found) > 1:
        raise ValueError(
            f"base model {name!r} has several levels, {', '.join(found)}: say which with "
            f"({name!r}, estimator, {found[0]!r})"
        )
    return found[0] if found else None


def _takes_quantiles(estimator: Any) -> bool:
    """Whether ``predict`` takes ``quantiles``, here or in the last step of a pipeline."""
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return "quantiles" in inspect.signature(last.predict).parameters
