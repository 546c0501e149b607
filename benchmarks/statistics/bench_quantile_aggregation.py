"""Quantile aggregation beside its peers: MAPIE, quantile-forest, SciPy's isotonic and linprog.

`python -m pytest benchmarks/statistics/bench_quantile_aggregation.py -o python_files='bench_*.py'`
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import isotonic_regression, linprog
from sklearn.base import BaseEstimator, RegressorMixin

from paperworks.statistics import QuantileAggregator, quantile_scores, uncross

LEVELS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


def problem(n, seed=0):
    """Skewed noise whose spread depends on x."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, 6))
    noise = rng.gamma(2, 1, n) - 2
    return X, 2 * np.sin(3 * X[:, 0]) + X[:, 2] + 0.6 * np.exp(X[:, 1]) * noise


def normal_tables(n, models=5, seed=0):
    """Predictions of some models that see parts of the signal, and y."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n, models))
    y = signal @ np.linspace(1, 0.1, models) + rng.normal(size=n)
    return signal[:, :, None] + np.linspace(-1.5, 1.5, len(LEVELS)), y


class Given(RegressorMixin, BaseEstimator):
    """A fitted model of one level whose predictions are columns of X: only calibration is timed."""

    def __init__(self, column=0):
        self.column = column

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.asarray(X)[:, self.column]


def intervals(n):
    rng = np.random.default_rng(0)
    y = rng.normal(size=2 * n)
    table = rng.normal(size=(2 * n, 1)) * 0.3 + [-1.0, 0.0, 1.0]
    return table[:n], y[:n], table[n:]


@pytest.mark.parametrize("n", [1_000, 10_000, 100_000])
def test_split_calibration_ours(race, n):
    table, y, new = intervals(n)
    model = QuantileAggregator("precomputed", [0.1, 0.5, 0.9], weights="global", max_epochs=1)
    model.set_params(resolution="coarse", patience=1).fit(None, y[:50], table[:50, None])

    def run():
        model.calibrate(None, y, table[:, None])
        return model.predict_interval(None, 0.8, predictions=new[:, None])

    race(
        run,
        group=f"split CQR, n={n} to calibrate and n to predict",
        contender="QuantileAggregator.calibrate",
        ours=True,
        note=lambda ends: f"mean width {np.diff(ends).mean():.6f}",
    )


@pytest.mark.parametrize("n", [1_000, 10_000, 100_000])
def test_split_calibration_mapie(race, n):
    regression = pytest.importorskip("mapie.regression")
    table, y, new = intervals(n)
    models = [Given(column).fit(table, y) for column in (0, 2, 1)]

    def run():
        peer = regression.ConformalizedQuantileRegressor(models, confidence_level=0.8, prefit=True)
        return peer.conformalize(table, y).predict_interval(new, symmetric_correction=True)[1]

    race(
        run,
        group=f"split CQR, n={n} to calibrate and n to predict",
        contender="MAPIE ConformalizedQuantileRegressor",
        note=lambda ends: f"mean width {np.diff(ends[:, :, 0]).mean():.6f}",
    )


@pytest.mark.parametrize("n", [1_000, 10_000, 100_000])
def test_isotonic_ours(race, n):
    q = np.random.default_rng(0).normal(size=(n, 19))
    race(
        lambda: uncross(q, "isotonic"),
        group=f"isotonic regression of {n} rows of 19 levels",
        contender="uncross",
        ours=True,
        note=lambda found: f"sum {found.sum():.6f}",
    )


@pytest.mark.parametrize("n", [1_000, 10_000, 100_000])
def test_isotonic_scipy(race, n):
    q = np.random.default_rng(0).normal(size=(n, 19))
    race(
        lambda: np.array([isotonic_regression(row).x for row in q]),
        group=f"isotonic regression of {n} rows of 19 levels",
        contender="SciPy isotonic_regression, row by row",
        rounds=1,
        note=lambda found: f"sum {found.sum():.6f}",
    )


def loss_note(P, y):
    return lambda q: f"training loss {quantile_scores(y, q, LEVELS).wis / 2:.5f}"


@pytest.mark.parametrize("n", [500, 2_000, 8_000])
def test_global_weights_ours(race, n):
    P, y = normal_tables(n)
    model = QuantileAggregator(
        "precomputed",
        LEVELS,
        weights="global",
        resolution="medium",
        crossing_penalty=0,
        random_state=0,
    )
    race(
        lambda: model.fit(None, y, P).predict(None, P),
        group=f"global, medium weights of 5 models, n={n}",
        contender="QuantileAggregator (Adam, stops early)",
        ours=True,
        rounds=1,
        warmup=0,
        note=loss_note(P, y),
    )


@pytest.mark.parametrize("n", [500, 2_000, 8_000])
def test_global_weights_linear_programming(race, n):
    from scipy.sparse import bmat, csr_array, eye_array

    P, y = normal_tables(n)

    def run():
        columns = []
        for t, level in enumerate(LEVELS):
            p = P.shape[1]
            A = bmat(
                [
                    [csr_array(P[:, :, t]), eye_array(n), -eye_array(n)],
                    [csr_array(np.ones((1, p))), None, None],
                ]
            )
            cost = np.concatenate([np.zeros(p), np.full(n, level), np.full(n, 1 - level)])
            found = linprog(cost, A_eq=A.tocsc(), b_eq=np.append(y, 1.0), method="highs")
            columns.append(P[:, :, t] @ found.x[:p])
        return np.column_stack(columns)

    race(
        run,
        group=f"global, medium weights of 5 models, n={n}",
        contender="SciPy linprog (HiGHS), exact",
        rounds=1,
        warmup=0,
        note=loss_note(P, y),
    )


@pytest.mark.parametrize("n", [500, 2_000])
def test_forest_and_linear_aggregated(race, n):
    pytest.importorskip("quantile_forest")
    X, y = problem(n)
    X_new, y_new = problem(2_000, seed=1)
    model = QuantileAggregator(["forest", "linear"], LEVELS, random_state=0)
    race(
        lambda: model.fit(X, y).predict(X_new),
        group=f"fit n={n}, predict 2,000 rows",
        contender="QuantileAggregator of forest and linear",
        ours=True,
        rounds=1,
        warmup=0,
        note=lambda q: f"score {quantile_scores(y_new, q, LEVELS).wis:.4f}",
    )


@pytest.mark.parametrize("n", [500, 2_000])
def test_forest_alone(race, n):
    forest = pytest.importorskip("quantile_forest")
    X, y = problem(n)
    X_new, y_new = problem(2_000, seed=1)
    model = forest.RandomForestQuantileRegressor(
        n_estimators=100, min_samples_leaf=8, max_samples_leaf=None, random_state=0
    )
    race(
        lambda: model.fit(X, y).predict(X_new, quantiles=list(LEVELS)),
        group=f"fit n={n}, predict 2,000 rows",
        contender="quantile-forest alone",
        rounds=1,
        warmup=0,
        note=lambda q: f"score {quantile_scores(y_new, q, LEVELS).wis:.4f}",
    )
