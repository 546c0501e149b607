"""PRESTO beside statsmodels' OrderedModel: the same proportional-odds fit, and our whole path.

`python -m pytest benchmarks/statistics/bench_presto.py -o python_files='bench_*.py'`
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from paperworks.statistics import PrestoClassifier, presto_path

SIZES = [2_000, 20_000, 100_000]


def problem(n, d=50, seed=0):
    """Four classes with common weights plus sparse differences, the last one rare."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    steps = np.vstack([0.2 * rng.normal(size=d), 0.1 * (rng.random((2, d)) < 0.2)])
    cumulative = np.maximum.accumulate(expit(X @ np.cumsum(steps, axis=0).T + [0, 3, 5]), axis=1)
    return X, (rng.random((n, 1)) > cumulative).sum(axis=1)


@pytest.mark.parametrize("n", SIZES)
def test_proportional_odds_ours(race, n):
    X, y = problem(n)
    race(
        lambda: PrestoClassifier(np.inf, base_penalty=0).fit(X, y),
        group=f"proportional odds, single fit, n={n} d=50 K=4",
        contender="PrestoClassifier(alpha=inf, base_penalty=0)",
        ours=True,
        note=lambda model: f"log-likelihood {-model.objective_ * n:.5f}",
    )


@pytest.mark.parametrize("n", SIZES)
def test_proportional_odds_statsmodels(race, n):
    ordinal = pytest.importorskip("statsmodels.miscmodels.ordinal_model")
    X, y = problem(n)

    def fit():
        model = ordinal.OrderedModel(y, X, distr="logit")
        # No Hessian and no standard errors, which we do not compute either.
        return model.fit(method="bfgs", maxiter=1000, disp=0, skip_hessian=True)

    race(
        fit,
        group=f"proportional odds, single fit, n={n} d=50 K=4",
        contender="statsmodels OrderedModel (BFGS)",
        rounds=1 if n > 2_000 else 3,
        warmup=0 if n > 2_000 else 1,
        note=lambda result: f"log-likelihood {result.llf:.5f}",
    )


@pytest.mark.parametrize("n", SIZES)
def test_path_of_twenty(race, n):
    X, y = problem(n)
    path = race(
        lambda: presto_path(X, y),
        group=f"PRESTO, path of 20, n={n} d=50 K=4",
        contender="presto_path",
        ours=True,
        note=lambda path: f"KKT residual <= {path.kkt_residuals.max():.0e}",
    )
    assert path.converged.all()


@pytest.mark.parametrize("d", [10, 50, 200])
def test_path_over_features(race, d):
    X, y = problem(20_000, d)
    race(
        lambda: presto_path(X, y),
        group=f"PRESTO, path of 20, n=20000 d={d} K=4",
        contender="presto_path",
        ours=True,
        rounds=1,
        note=lambda path: f"KKT residual <= {path.kkt_residuals.max():.0e}",
    )
