"""The estimator: who sees which rows, base models of other libraries, coverage, bad input."""

from __future__ import annotations

import pickle
from typing import ClassVar

import numpy as np
import pytest
from joblib import parallel_config
from scipy.stats import binom, norm
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, QuantileRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from paperworks.statistics import QuantileAggregator, quantile_scores
from paperworks.statistics.quantile_aggregation.base import base_models

LEVELS = np.array([0.1, 0.5, 0.9])


class NormalTable(BaseEstimator):
    """A table of normal quantiles about the mean of y; records which rows it was fitted to."""

    log: ClassVar[list] = []

    def __init__(self, shift=0.0, scale=1.0):
        self.shift = shift
        self.scale = scale

    def fit(self, X, y):
        self.rows_ = frozenset(X[:, 0].astype(int))
        self.mean_, self.std_ = y.mean(), y.std()
        return self

    def predict(self, X):
        type(self).log.append((self.rows_, frozenset(X[:, 0].astype(int))))
        q = self.mean_ + self.shift + self.scale * self.std_ * norm.ppf(LEVELS)
        return np.tile(q, (len(X), 1))


class Memory(BaseEstimator):
    """Knows the rows it was fitted to by heart, and nothing else."""

    def fit(self, X, y):
        self.known_ = dict(zip(X[:, 0], y, strict=True))
        return self

    def predict(self, X):
        return np.array([[self.known_.get(x, 50.0)] * 3 for x in X[:, 0]])


def data(n=120, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.arange(n), rng.normal(size=n)])
    return X, X[:, 1] + 0.5 * rng.standard_normal(n)


def quick(estimators, **settings):
    settings = {
        "levels": LEVELS,
        "weights": "global",
        "resolution": "coarse",
        "cv": 4,
        "random_state": 0,
        **settings,
    }
    return QuantileAggregator(estimators, **settings)


@pytest.mark.parametrize("nested", [False, True])
def test_no_model_predicts_a_row_it_was_fitted_to(nested):
    X, y = data(40)
    NormalTable.log = log = []
    model = quick([("table", NormalTable())], calibration="cv+" if nested else None).fit(X, y)
    assert all(not seen & asked for seen, asked in log)
    # Every row is predicted once by a model without its fold. Nested: once more for each other
    # fold left out with it, and every pair of folds is fitted once.
    assert model.n_base_fits_ == (1 + 4 + 6 if nested else 1 + 4)
    times = [sum(row in asked for _, asked in log) for row in range(40)]
    assert times == [1 + (3 if nested else 0)] * 40
    if nested:
        folds = {seen for seen, _ in log}
        assert sorted(len(seen) for seen in folds) == [20] * 6 + [30] * 4


def test_a_row_does_not_touch_what_calibrates_with_it():
    """Neither models nor weights that predict a fold have seen its targets."""
    X, y = data(60)
    bases = [("linear", QuantileRegressor(alpha=0)), ("table", NormalTable(1.0))]
    model = quick(bases, cv=3, calibration="cv+", max_epochs=20, patience=5)
    before = clone(model).fit(X, y)._calibration
    y_other = y.copy()
    y_other[7] += 100
    after = clone(model).fit(X, y_other)._calibration
    same = before.fold == before.fold[7]
    np.testing.assert_array_equal(before.quantiles[same], after.quantiles[same])
    assert not np.isclose(before.quantiles[~same], after.quantiles[~same]).any()


def test_weights_are_learned_on_rows_that_the_models_did_not_see():
    """A model that knows its rows by heart gets no weight."""
    X, y = data()
    model = quick([("memory", Memory()), ("table", NormalTable())], patience=100).fit(X, y)
    assert model.model_weights()[0] < 0.05
    assert model.names_ == ["memory", "table"]


def test_precomputed_predictions_give_the_same_weights():
    X, y = data()
    models = [("linear", QuantileRegressor(alpha=0)), ("table", NormalTable(1.0))]
    whole = quick(models, weights="local", resolution="fine").fit(X, y)
    alone = quick("precomputed", weights="local", resolution="fine").fit(
        X, y, whole.oof_predictions_
    )
    np.testing.assert_array_equal(whole.model_weights(X), alone.model_weights(X))
    new = np.stack([base.predict(X) for base in whole.base_models_], axis=1)
    np.testing.assert_array_equal(whole.predict(X), alone.predict(X, new))


@pytest.mark.parametrize(
    ("estimator", "parameter"),
    [
        (QuantileRegressor(alpha=0), "quantile"),
        (
            make_pipeline(StandardScaler(), QuantileRegressor(alpha=0)),
            "quantileregressor__quantile",
        ),
        (GradientBoostingRegressor(loss="quantile", n_estimators=5), "alpha"),
        (HistGradientBoostingRegressor(loss="quantile", max_iter=5), "quantile"),
    ],
)
def test_models_of_one_level_are_fitted_once_for_each(estimator, parameter):
    X, y = data()
    base = base_models([("it", estimator)], LEVELS)[0]
    assert base.parameter == parameter
    found = base.copy(0).fit(X, y).predict(X)
    for j, level in enumerate(LEVELS):
        alone = clone(estimator).set_params(**{parameter: level})
        if "random_state" in alone.get_params():
            alone.set_params(random_state=0)
        np.testing.assert_allclose(found[:, j], alone.fit(X, y).predict(X))


def test_lightgbm_and_quantile_forest():
    lightgbm = pytest.importorskip("lightgbm")
    forest = pytest.importorskip("quantile_forest")
    X, y = data()
    for model in (
        lightgbm.LGBMRegressor(objective="quantile", n_estimators=5, verbose=-1),
        make_pipeline(StandardScaler(), lightgbm.LGBMRegressor(objective="quantile", verbose=-1)),
    ):
        base = base_models([("boosting", model)], LEVELS)[0]
        assert base.parameter.endswith("alpha")
        table = base.copy(0).fit(X, y).predict(X)
        assert (np.diff(table.mean(axis=0)) > 0).all()
    trees = forest.RandomForestQuantileRegressor(n_estimators=5, random_state=0)
    for model in (trees, make_pipeline(StandardScaler(), trees)):
        base = base_models([("forest", model)], LEVELS)[0]
        assert base.asks
        expected = clone(model).fit(X, y).predict(X, quantiles=list(LEVELS))
        np.testing.assert_allclose(base.copy(0).fit(X, y).predict(X), expected)
    one = base_models([("forest", trees)], LEVELS[:1])[0]
    assert one.copy(0).fit(X, y).predict(X).shape == (len(X), 1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_models_on_board_work_together_and_in_a_stack():
    pytest.importorskip("lightgbm")
    pytest.importorskip("quantile_forest")
    X, y = data(80)
    inner = QuantileAggregator(["linear"], weights="global", cv=2, max_epochs=5)
    model = quick(["gaussian", "network", "forest", "lightgbm", ("stack", inner)], cv=2).fit(X, y)
    assert model.predict(X).shape == (80, 3)
    assert model.oof_predictions_.shape == (80, 5, 3)
    assert model.names_ == ["gaussian", "network", "forest", "lightgbm", "stack"]
    assert quantile_scores(y, model.predict(X), LEVELS).crossing == 0


@pytest.mark.parametrize("how", ["cv+", "split"])
def test_calibrated_coverage_by_simulation(how):
    """A base model that is far too sure; the intervals keep their promise all the same."""
    repeats, new, coverage = 60, 50, 0.8
    hits = dict.fromkeys((True, False), 0)
    for seed in range(repeats):
        X, y = data(60 + new, seed)
        sure = ("sure", NormalTable(shift=0.3, scale=0.2))
        model = quick(
            [sure], cv=3, max_epochs=1, patience=1, calibration="cv+" if how == "cv+" else None
        )
        model.fit(X[:60], y[:60])
        if how == "split":
            extra, y_extra = data(60, seed + 1000)
            model.calibrate(extra, y_extra)
        for symmetric in hits:
            low, high = model.predict_interval(X[60:], coverage, symmetric=symmetric).T
            hits[symmetric] += int(((low <= y[60:]) & (y[60:] <= high)).sum())
    for symmetric, count in hits.items():
        promise = model.promised_coverage(coverage, symmetric=symmetric)
        # Rows of one repeat share their model. Its coverage given the calibration rows has a
        # standard deviation of about sqrt(0.16 / 60), worth 60 / 110 of independent new rows.
        effective = repeats * new * 60 // (60 + new)
        assert count / (repeats * new) >= binom.ppf(1e-3, effective, promise) / effective
        assert abs(count / (repeats * new) - coverage) < 0.05


def test_calibration_moves_intervals_and_leaves_quantiles_alone():
    X, y = data()
    plain = quick([("table", NormalTable())]).fit(X, y)
    nested = quick([("table", NormalTable())], calibration="cv+").fit(X, y)
    np.testing.assert_array_equal(plain.predict(X), nested.predict(X))
    cross = nested.predict_interval(X)
    assert nested.promised_coverage(0.8) < 0.6 + 1e-9
    split = nested.calibrate(*data(90, 5)).predict_interval(X)
    assert nested.promised_coverage(0.8) == 0.8
    assert not np.allclose(cross, split)
    with pytest.raises(ValueError, match="not calibrated: fit with calibration='cv\\+'"):
        plain.predict_interval(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_copies_threads_and_pickles_agree():
    X, y = data()
    model = quick([("table", NormalTable(0.5))], calibration="cv+", weights="local", cv=3)
    model.set_params(max_epochs=10, patience=3).fit(X, y)
    with parallel_config(backend="threading"):
        shared = clone(model).set_params(n_jobs=2).fit(X, y)
    for other in (clone(model).fit(X, y), shared, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
        np.testing.assert_array_equal(other.predict_interval(X), model.predict_interval(X))
    assert model.score(X, y) == -quantile_scores(y, model.predict(X), LEVELS).wis


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks():
    check_estimator(QuantileAggregator(["linear"], [0.2, 0.8], cv=2, max_epochs=2, random_state=0))


LINEAR = [("linear", QuantileRegressor(alpha=0))]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"estimators": ["ridge"]}, "no base model 'ridge' on board; there are gaussian"),
        ({"estimators": "linear"}, "must be a list of names and"),
        ({"estimators": []}, "empty"),
        ({"estimators": [QuantileRegressor()]}, r"a name or \(name, estimator\)"),
        ({"estimators": [("a", 3)]}, "'a' has no fit and predict"),
        ({"estimators": [("a", QuantileRegressor)]}, "'a' is a class: give an instance"),
        ({"levels": ["low"]}, r"levels must be numbers such as .* got \['low'\]"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"max_epochs": 0.5}, "max_epochs must be a whole number, got 0.5"),
        ({"estimators": [*LINEAR, *LINEAR]}, "two base models have the name 'linear'"),
        ({"estimators": [("mean", LinearRegression())]}, r"predicted shape \(\d+,\)"),
        ({"estimators": [("a", GradientBoostingRegressor(), "tau")]}, "no parameter 'tau'"),
        ({"estimators": [("h", HistGradientBoostingRegressor())]}, "set loss='quantile'"),
        ({"levels": [0.5, 0.1]}, "must increase"),
        ({"weights": "x"}, "weights must be one of .* got 'x'"),
        ({"resolution": "x"}, "resolution must be one of"),
        ({"non_crossing": "x"}, "one of sort, isotonic, minmax, got 'x'"),
        ({"non_crossing": None, "train_through": True}, "needs an operator"),
        ({"crossing_penalty": -1.0}, "crossing_penalty must be a number >= 0, got -1.0"),
        ({"margin": np.nan}, "margin must be a number >= 0, got nan"),
        ({"cv": 1}, "cv must be a whole number >= 2, got 1"),
        ({"cv": 2, "calibration": "cv+"}, "cv must be a whole number >= 3, got 2"),
        ({"cv": 2.5}, "cv must be a whole number"),
        ({"calibration": "split"}, "calibration must be one of"),
        ({"hidden": 0}, "hidden must be a whole number >= 1"),
        ({"lr": -1.0}, "lr must be > 0, got -1.0"),
        ({"cv": 200}, "n_samples=120 is too few: 200 rows are needed for cv=200 folds"),
        ({"estimators": "precomputed"}, r"needs predictions \(n, p, m\)"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    X, y = data()
    with pytest.raises(ValueError, match=words):
        quick(**{"estimators": LINEAR, **settings}).fit(X, y)


def test_bad_data_are_refused():
    X, y = data()
    with pytest.raises(ValueError, match="NaN"):
        quick(LINEAR).fit(np.where(X > 1, np.nan, X), y)
    with pytest.raises(ValueError, match="NaN"):
        quick(LINEAR).fit(X, np.where(y > 1, np.nan, y))
    with pytest.raises(ValueError, match="X is None"):
        quick(LINEAR).fit(None, y)
    with pytest.raises(ValueError, match="set estimators='precomputed'"):
        quick(LINEAR).fit(X, y, np.zeros((120, 1, 3)))
    model = quick(LINEAR, calibration="cv+").fit(X, y)
    with pytest.raises(ValueError, match="features"):
        model.predict(X[:, :1])
    with pytest.raises(ValueError, match="X is None"):
        model.predict(None)
    for coverage, words in (
        (0.7, "takes the levels 0.15 and 0.85"),
        (1.0, "strictly between 0 and 1, got 1.0"),
        ("90%", "strictly between 0 and 1, got '90%'"),
    ):
        with pytest.raises(ValueError, match=words):
            model.predict_interval(X, coverage)
    with pytest.raises(ValueError, match=r"5 calibration rows are too few .* at least 9"):
        model.calibrate(X[:5], y[:5]).predict_interval(X, symmetric=False)


def test_bad_precomputed_predictions_are_refused():
    X, y = data(10)
    P = np.zeros((10, 2, 3))
    model = quick("precomputed").fit(None, y, P)
    for bad, words in (
        (P[:, :, :2], r"must be \(n, p, 3\)"),
        (P[:, 0], "got shape"),
        (np.full_like(P, np.nan), r"predictions holds nan at \(0, 0, 0\)"),
        (P[:, :1], "predictions of 1 models, but fit.. had 2"),
    ):
        with pytest.raises(ValueError, match=words):
            model.predict(None, bad)
    with pytest.raises(ValueError, match="predictions of 9 rows, but there are 10"):
        quick("precomputed").fit(X, y, P[:9])
    with pytest.raises(ValueError, match="only global weights"):
        quick("precomputed", weights="local").fit(None, y, P)
    with pytest.raises(ValueError, match="cannot take precomputed"):
        quick("precomputed", calibration="cv+").fit(None, y, P)
    with pytest.raises(ValueError, match="local weights depend on x: give X"):
        quick("precomputed", weights="local").fit(X, y, P).model_weights()


def test_a_missing_library_names_the_command(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ImportError, match=r"pip install 'paperworks\[quantile\]'"):
        base_models(["lightgbm"], LEVELS)
