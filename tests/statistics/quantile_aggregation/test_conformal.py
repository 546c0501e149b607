"""Calibration against MAPIE and loops; coverage by simulation, held to binomial bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from paperworks.statistics.quantile_aggregation.conformal import Calibration, rows_needed


def test_split_intervals_are_mapies():
    """Of a fitted linear model, both forms, at several coverages and numbers of rows."""
    regression = pytest.importorskip("mapie.regression")
    from sklearn.linear_model import QuantileRegressor

    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2))
    y = X[:, 0] + rng.gumbel(size=500)
    X_new = rng.normal(size=(20, 2))
    for coverage, n in ((0.8, 100), (0.9, 137), (0.6, 51)):
        tail = (1 - coverage) / 2
        models = [
            QuantileRegressor(quantile=level, alpha=0).fit(X[:200], y[:200])
            for level in (tail, 1 - tail, 0.5)
        ]
        peer = regression.ConformalizedQuantileRegressor(
            models, confidence_level=coverage, prefit=True
        ).conformalize(X[200 : 200 + n], y[200 : 200 + n])

        def table(X, models=models):
            return np.column_stack([model.predict(X) for model in models])

        ours = Calibration(table(X[200 : 200 + n]), y[200 : 200 + n])
        for symmetric in (True, False):
            _, theirs = peer.predict_interval(X_new, symmetric_correction=symmetric)
            found = ours.interval(table(X_new)[None], 0, 1, coverage, symmetric)
            np.testing.assert_allclose(found, theirs[:, :, 0], rtol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
def test_cross_fitted_intervals_are_those_of_a_loop(symmetric):
    """Equation 28, entry by entry."""
    rng = np.random.default_rng(0)
    n, coverage = 23, 0.8
    held, y, fold = rng.normal(size=(n, 2)), rng.normal(size=n), np.arange(n) % 3
    new = np.sort(rng.normal(size=(3, 6, 2)), axis=2)
    found = Calibration(held, y, fold).interval(new, 0, 1, coverage, symmetric)
    for r in range(6):
        lower, upper = [], []
        for i in range(n):
            below, above = held[i, 0] - y[i], y[i] - held[i, 1]
            if symmetric:
                below = above = max(below, above)
            lower.append(new[fold[i], r, 0] - below)
            upper.append(new[fold[i], r, 1] + above)
        tail = 0.2 if symmetric else 0.1
        high = sorted(upper)[math.ceil((1 - tail) * (n + 1)) - 1]
        low = sorted(lower)[math.floor(tail * (n + 1)) - 1]
        np.testing.assert_allclose(found[r], sorted([low, high]))


@pytest.mark.parametrize("symmetric", [True, False])
def test_one_model_for_all_folds_is_split_conformal(symmetric):
    rng = np.random.default_rng(0)
    held, y, new = rng.normal(size=(40, 2)), rng.normal(size=40), rng.normal(size=(5, 2))
    split = Calibration(held, y).interval(new[None], 0, 1, 0.8, symmetric)
    folds = Calibration(held, y, np.arange(40) % 4)
    np.testing.assert_allclose(folds.interval(np.stack([new] * 4), 0, 1, 0.8, symmetric), split)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("scale", "shift"), [(0.2, 0.0), (3.0, 0.0), (1.0, 2.0)])
def test_split_coverage_of_wrong_quantiles_by_simulation(symmetric, scale, shift):
    """Too narrow, too wide or shifted: at least what was asked for, and hardly more.

    Each repeat draws calibration rows and one new row; the count of hits is binomial.
    """
    repeats, n, coverage = 4000, 39, 0.8
    rng = np.random.default_rng(0)
    ends = shift + scale * norm.ppf([0.1, 0.9])
    hits = sides = 0
    for _ in range(repeats):
        y = rng.normal(size=n + 1)
        calibration = Calibration(np.tile(ends, (n, 1)), y[:n])
        (low, high), *_ = calibration.interval(ends[None, None], 0, 1, coverage, symmetric)
        hits += low <= y[n] <= high
        sides += y[n] < low
    # Ties aside the coverage lies in [0.8, 0.8 + 1/(n+1)], or twice that where each end has its
    # own rank; n = 39 makes (n + 1) times each tail whole, and so the lower end exact.
    excess = 1 / (n + 1) if symmetric else 2 / (n + 1)
    assert hits >= binom.ppf(1e-3, repeats, coverage)
    assert hits <= binom.ppf(1 - 1e-3, repeats, coverage + excess)
    if not symmetric:  # each end misses at most half
        assert sides <= binom.ppf(1 - 1e-3, repeats, 0.1)


@pytest.mark.parametrize("symmetric", [True, False])
def test_cross_fitted_coverage_by_simulation(symmetric):
    """Means of the other folds as models: above the promise, and near what was asked for."""
    repeats, n, folds, coverage = 1500, 30, 3, 0.8
    rng = np.random.default_rng(1)
    fold = np.arange(n) % folds
    hits = 0
    for _ in range(repeats):
        y = rng.standard_t(3, size=n + 1)
        centre = np.array([y[:n][fold != k].mean() for k in range(folds)])
        table = centre[:, None] + [-0.5, 0.5]  # far too narrow
        calibration = Calibration(table[fold], y[:n], fold)
        (low, high), *_ = calibration.interval(table[:, None], 0, 1, coverage, symmetric)
        hits += low <= y[n] <= high
    promise = calibration.promise(coverage, symmetric)
    assert hits >= binom.ppf(1e-3, repeats, promise)
    assert abs(hits / repeats - coverage) < 0.06


def test_promises_are_the_formulas():
    """Equations 27 and 29."""
    y = np.zeros(100)
    table = np.zeros((100, 2))
    assert Calibration(table, y).promise(0.9, True) == 0.9
    cross = Calibration(table, y, np.arange(100) % 5)
    excess = min(2 * (1 - 1 / 5) / (100 / 5 + 1), (1 - 5 / 100) / 6)
    assert cross.promise(0.9, True) == pytest.approx(0.8 - excess)
    assert cross.promise(0.9, True) > 0.8 - math.sqrt(2 / 100)
    assert cross.promise(0.9, False) == pytest.approx(0.8 - 2 * excess)
    assert cross.promise(0.4, True) == 0


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_fewest_rows_are_exactly_enough(coverage, symmetric):
    needed = rows_needed(coverage, symmetric)
    tail = (1 - coverage) if symmetric else (1 - coverage) / 2
    # The rank ceil((1 - tail) (n + 1)) must not exceed n.
    fits = [n for n in range(1, 500) if math.ceil((1 - tail) * (n + 1) - 1e-9) <= n]
    assert needed == fits[0]
    rng = np.random.default_rng(0)
    enough = Calibration(rng.normal(size=(needed, 2)), rng.normal(size=needed))
    assert np.isfinite(enough.interval(np.zeros((1, 1, 2)), 0, 1, coverage, symmetric)).all()
    if needed > 1:
        few = Calibration(enough.quantiles[1:], enough.y[1:])
        with pytest.raises(ValueError, match=rf"{needed - 1} calibration .* at least {needed}"):
            few.interval(np.zeros((1, 1, 2)), 0, 1, coverage, symmetric)
