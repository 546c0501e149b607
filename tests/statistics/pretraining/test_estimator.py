"""The pipeline: scikit-learn's contract, how unlabelled rows come in, rates by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from paperworks.statistics import (
    ComponentClassifier,
    ContrastiveModel,
    FactorModel,
    MixtureModel,
    PretrainedERM,
)

CLASSIFIERS = (
    PretrainedERM(MixtureModel(3, n_init=1, random_state=0)),
    PretrainedERM(ContrastiveModel(2, random_state=0)),
)


def expected_failed_checks(estimator):
    if is_classifier(estimator):
        return {"check_classifiers_classes": "uses -1 as a class; it marks unlabelled rows here"}
    return {}


@parametrize_with_checks(
    [PretrainedERM(), *CLASSIFIERS], expected_failed_checks=expected_failed_checks
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def factor_rows(m, seed=0, d=20, r=2, strength=1.0, noise=0.0):
    """Rows, labels, and the best linear predictor on x."""
    rng = np.random.default_rng(seed)
    B = strength * np.linalg.qr(rng.normal(size=(d, r)))[0]
    z = rng.normal(size=(m, r))
    X = z @ B.T + rng.normal(size=(m, d))
    y = z.sum(axis=1) + noise * rng.normal(size=m)
    best = np.linalg.solve(B @ B.T + np.eye(d), B.sum(axis=1))
    return X, y, best, B @ B.T + np.eye(d)


def clusters(m, seed=0, K=4, d=3, spread=8.0):
    rng = np.random.default_rng(seed)
    z = rng.integers(K, size=m)
    means = spread * np.linalg.qr(np.random.default_rng(99).normal(size=(K, K)))[0][:, :d]
    return rng.normal(size=(m, d)) + means[z], z


def test_the_two_phases_are_what_they_are_called():
    X, y, _, _ = factor_rows(300)
    model = PretrainedERM(FactorModel(2), pretrain_on="unlabelled")
    model.fit(X[:20], y[:20], X_unlabelled=X[20:])
    pretrained = FactorModel(2).fit(X[20:])
    by_hand = LinearRegression().fit(pretrained.transform(X[:20]), y[:20])
    np.testing.assert_allclose(model.predict(X), by_hand.predict(pretrained.transform(X)))
    np.testing.assert_allclose(model.transform(X), pretrained.transform(X))
    assert (model.n_labelled_, model.n_unlabelled_) == (20, 280)


@pytest.mark.parametrize("pretrain_on", ["all", "unlabelled"])
@pytest.mark.parametrize("kind", ["factor", "mixture"])
def test_marks_and_a_table_are_the_same(kind, pretrain_on):
    if kind == "factor":
        X, y, _, _ = factor_rows(200)
        model = PretrainedERM(FactorModel(2), pretrain_on=pretrain_on)
        marked = np.where(np.arange(200) < 30, y, np.nan)
    else:
        X, y = clusters(200)
        model = PretrainedERM(MixtureModel(4, random_state=0), pretrain_on=pretrain_on)
        marked = np.where(np.arange(200) < 30, y, -1)
    one = clone(model).fit(X, marked)
    two = clone(model).fit(X[:30], y[:30], X_unlabelled=X[30:])
    three = clone(model).fit(X[:100], marked[:100], X_unlabelled=X[100:])
    for other in (two, three):
        np.testing.assert_allclose(one.transform(X), other.transform(X), atol=1e-8)
        np.testing.assert_allclose(one.predict(X), other.predict(X), atol=1e-8)
        assert (other.n_labelled_, other.n_unlabelled_) == (30, 170)
    assert one.score(X, marked) == pytest.approx(one.score(X[:30], y[:30]))


def test_minus_one_is_an_honest_target_of_a_regressor():
    X, y, _, _ = factor_rows(100)
    y = np.where(y > 0, 1.0, -1.0)
    assert PretrainedERM(FactorModel(2)).fit(X, y).n_labelled_ == 100


def test_string_labels():
    X, z = clusters(200)
    names = np.array(["no", "yes"])[z % 2]
    marked = names.astype(object)
    marked[20:] = -1
    model = PretrainedERM(MixtureModel(4, random_state=0)).fit(X, marked)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.n_unlabelled_ == 180
    assert model.score(X, names) == 1.0
    assert PretrainedERM(MixtureModel(4, random_state=0)).fit(X, names).n_unlabelled_ == 0


def test_kinds_and_default_predictors():
    X, z = clusters(120)
    assert is_regressor(PretrainedERM())
    assert all(is_classifier(model) for model in CLASSIFIERS)
    assert is_regressor(PretrainedERM(MixtureModel(2), LinearRegression()))
    mixture = PretrainedERM(MixtureModel(4, random_state=0)).fit(X, z)
    assert isinstance(mixture.predictor_, ComponentClassifier)
    np.testing.assert_allclose(mixture.predict_proba(X).sum(axis=1), 1)
    assert not hasattr(mixture, "decision_function")
    probe = PretrainedERM(ContrastiveModel(2, random_state=0)).fit(X, z)
    assert isinstance(probe.predictor_, LogisticRegression)
    assert probe.decision_function(X).shape == (120, 4)
    assert not hasattr(PretrainedERM(), "predict_proba")
    other = PretrainedERM(PCA(2), Ridge()).fit(X, z.astype(float))
    assert other.predict(X).shape == (120,)
    assert "0.5" in repr(PretrainedERM(FactorModel(noise=0.5)))


def test_it_goes_into_a_grid_search_with_its_unlabelled_rows():
    X, y, _, _ = factor_rows(600, r=3)
    search = GridSearchCV(
        PretrainedERM(FactorModel()), {"representation__n_components": [1, 3]}, cv=3
    )
    search.fit(X[:60], y[:60], X_unlabelled=X[60:])
    assert search.best_params_ == {"representation__n_components": 3}
    assert search.best_estimator_.n_unlabelled_ == 540
    scores = cross_val_score(
        search.best_estimator_, X[:60], y[:60], params={"X_unlabelled": X[60:]}, cv=3
    )
    assert scores.mean() > 0.2
    pipe = make_pipeline(StandardScaler(), PretrainedERM(FactorModel(3)))
    marked = np.where(np.arange(600) < 60, y, np.nan)
    assert pipe.fit(X, marked)[-1].n_unlabelled_ == 540


def excess(model, best, cov):
    """Squared error of a linear predictor beyond the best one's, in closed form."""
    d = len(best)
    base = model.predict(np.zeros((1, d)))[0]
    weights = model.predict(np.eye(d)) - base - best
    return weights @ cov @ weights + base**2


def test_excess_risk_falls_with_either_kind_of_row_and_needs_both():
    def mean_excess(m, n):
        found = []
        for seed in range(8):
            X, y, best, cov = factor_rows(m + n, seed=seed)
            model = PretrainedERM(FactorModel(2), pretrain_on="unlabelled")
            model.fit(X[:n], y[:n], X_unlabelled=X[n:])
            found.append(excess(model, best, cov))
        return np.mean(found)

    # At least the bound's square root: a sixteenth of the rows, four times the risk.
    assert mean_excess(500, 4000) > 4 * mean_excess(8000, 4000)
    assert mean_excess(8000, 25) > 4 * mean_excess(8000, 400)


def test_it_beats_labelled_rows_alone_when_the_others_are_many_and_not_otherwise():
    n, ours, alone, starved = 100, [], [], []
    for seed in range(10):
        X, y, best, cov = factor_rows(8_000, seed=seed)
        many = PretrainedERM(FactorModel(2), pretrain_on="unlabelled")
        ours.append(excess(many.fit(X[:n], y[:n], X_unlabelled=X[n:]), best, cov))
        few = PretrainedERM(FactorModel(2), pretrain_on="unlabelled")
        starved.append(excess(few.fit(X[:n], y[:n], X_unlabelled=X[n : n + 25]), best, cov))
        alone.append(excess(LinearRegression().fit(X[:n], y[:n]), best, cov))
    assert np.mean(ours) < 0.3 * np.mean(alone)
    assert np.mean(starved) > np.mean(alone)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda X, y: PretrainedERM().fit(X, np.full(len(y), np.nan)), "all 100 are NaN"),
        (lambda X, y: CLASSIFIERS[0].fit(X, np.full(len(y), -1)), "all 100 are -1"),
        (
            lambda X, y: CLASSIFIERS[0].fit(X, np.where(y > 0, 1, -1)),
            "one class.*where -1 is a class, rename it",
        ),
        (lambda X, y: CLASSIFIERS[0].fit(X, y), "Unknown label type"),
        (lambda X, y: CLASSIFIERS[0].fit(X, np.where(y > 0, 1, np.nan)), "NaN"),
        (lambda X, y: PretrainedERM().fit(X, np.where(y > 0, np.inf, 1.0)), "infinity"),
        (
            lambda X, y: PretrainedERM(pretrain_on="unlabelled").fit(X, y),
            'no unlabelled row to pretrain on; give X_unlabelled, or pretrain_on="all"',
        ),
        (lambda X, y: PretrainedERM(pretrain_on="both").fit(X, y), "got 'both'"),
        (lambda X, y: PretrainedERM().fit(X, y, X_unlabelled=X[:, :3]), "expecting 20 features"),
        (lambda X, y: PretrainedERM().fit(X, y, X_unlabelled=X * np.nan), "NaN"),
        (lambda X, y: PretrainedERM().fit(X, y, pairs=(X, X, y)), "not with FactorModel"),
        (lambda X, y: PretrainedERM(PCA(2)).fit(X, y), "predictor must be given with PCA"),
        (lambda X, y: PretrainedERM(FactorModel).fit(X, y), "such as FactorModel"),
        (lambda X, y: PretrainedERM("factor", Ridge()).fit(X, y), "got 'factor'"),
        (lambda X, y: PretrainedERM().fit(X, np.full(len(y), "a")), "for classes take"),
        (
            lambda X, y: CLASSIFIERS[0].fit(X, np.array([None, "a"] * 50, dtype=object)),
            "takes -1 as the mark",
        ),
        (lambda X, y: PretrainedERM().fit(X, y[:-1]), "X has 100 rows and y has 99 labels"),
        (lambda X, y: PretrainedERM().fit(X, None), "y is None; mark unlabelled rows"),
        (
            lambda X, y: PretrainedERM().fit(X, y).score(X, np.full(len(y), np.nan)),
            "nothing to score",
        ),
    ],
)
def test_bad_input(call, words):
    X, y, _, _ = factor_rows(100)
    with pytest.raises(ValueError, match=words):
        call(X, y)
