"""The guard as scikit-learn sees it, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_validate

from paperworks.statistics.adaptive import (
    BudgetExhausted,
    FiniteDomain,
    Gaussian,
    MultiplicativeWeights,
    ReusableHoldout,
    Splitting,
    Thresholdout,
)

X, Y = make_classification(800, 6, random_state=0)
TRAIN, HOLDOUT = (X[:400], Y[:400]), (X[400:], Y[400:])
GRID = {"C": [0.01, 0.1, 1.0, 10.0]}
EXACT = Splitting(1)


def model(C=1.0):
    return LogisticRegression(C=C)


def test_a_grid_search_asks_the_guard_once_for_each_candidate():
    guard = ReusableHoldout(TRAIN, HOLDOUT, Thresholdout(50, 10, 0.2, 0.01))
    X_all, y_all, cv = guard.search_data()
    search = GridSearchCV(model(), GRID, scoring=guard, cv=cv, refit=False, error_score="raise")
    search.fit(X_all, y_all)
    assert guard.status().queries_asked == 4
    for C, score in zip(GRID["C"], search.cv_results_["mean_test_score"], strict=True):
        trained = model(C).fit(*TRAIN)
        assert score == pytest.approx(trained.score(*TRAIN), abs=1e-6)
        assert abs(score - trained.score(*HOLDOUT)) < 0.25
    assert "LogisticRegression(C=0.01)" in guard.history()[0]["name"]


def test_scores_of_the_training_set_are_plain_and_free():
    guard = ReusableHoldout(TRAIN, HOLDOUT, Gaussian(9, 0.1))
    X_all, y_all, cv = guard.search_data()
    found = cross_validate(
        model(), X_all, y_all, scoring=guard, cv=cv, return_train_score=True, error_score="raise"
    )
    trained = model().fit(*TRAIN)
    assert found["train_score"][0] == pytest.approx(trained.score(*TRAIN), abs=1e-6)
    assert guard.status().queries_asked == 1


@pytest.mark.slow
def test_a_search_in_several_processes_shares_one_budget(tmp_path):
    guard = ReusableHoldout(TRAIN, HOLDOUT, Gaussian(6, 0.02), path=tmp_path / "state")
    X_all, y_all, cv = guard.search_data()
    search = GridSearchCV(model(), GRID, scoring=guard, cv=cv, refit=False, n_jobs=2)
    search.fit(X_all, y_all)
    assert guard.status().queries_left == 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_search_beyond_the_budget_scores_nan():
    guard = ReusableHoldout(TRAIN, HOLDOUT, Gaussian(3, 0.02))
    X_all, y_all, cv = guard.search_data()
    with pytest.warns(UserWarning, match=r"(?s)BudgetExhausted|non-finite"):
        search = GridSearchCV(model(), GRID, scoring=guard, cv=cv, refit=False).fit(X_all, y_all)
    assert np.isnan(search.cv_results_["mean_test_score"]).sum() == 1
    with pytest.raises(BudgetExhausted):
        guard(model().fit(*TRAIN))


def test_clones_of_a_search_share_the_budget():
    guard = ReusableHoldout(TRAIN, HOLDOUT, Gaussian(9, 0.02))
    X_all, y_all, cv = guard.search_data()
    search = clone(GridSearchCV(model(), {"C": [1.0]}, scoring=guard, cv=cv, refit=False))
    search.fit(X_all, y_all)
    assert guard.status().queries_asked == 1


def test_other_data_are_refused():
    # Of a fixed seed: two answers of 1, where accuracy ends, would look like one.
    guard = ReusableHoldout(TRAIN, HOLDOUT, Gaussian(9, 0.1), random_state=0)
    trained = model().fit(*TRAIN)
    with pytest.raises(ValueError, match=r"X, y, cv = guard.search_data\(\)"):
        guard(trained, X[:100], Y[:100])
    with pytest.raises(ValueError, match="these data are neither"):
        guard(trained, HOLDOUT[0][:, :2], HOLDOUT[1])
    assert guard(trained, *HOLDOUT) != guard(trained)  # two answers, two draws of noise
    assert guard.status().queries_asked == 2


def test_other_scores_have_other_ranges():
    target = X[:, 0] * 2
    train, holdout = (X[:400], target[:400]), (X[400:], target[400:])
    guard = ReusableHoldout(
        train,
        holdout,
        EXACT,
        per_sample=lambda estimator, X, y: -np.minimum((estimator.predict(X) - y) ** 2, 9),
        low=-9,
        high=0,
    )
    trained = Ridge(alpha=100.0).fit(*train)
    expected = -np.minimum((trained.predict(holdout[0]) - holdout[1]) ** 2, 9).mean()
    assert guard(trained) == pytest.approx(expected, abs=1e-4)


def test_frames_and_sparse_matrices():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    labels = pandas.Series(Y).map({0: "no", 1: "yes"})
    for features in (frame, sparse.csr_matrix(X)):
        train = (features[:400], labels[:400])
        holdout = (features[400:], labels[400:])
        guard = ReusableHoldout(train, holdout, Splitting(3))
        X_all, y_all, cv = guard.search_data()
        found = cross_validate(model(), X_all, y_all, scoring=guard, cv=cv, error_score="raise")
        assert 0.6 < found["test_score"][0] <= 1
        assert guard.status().queries_asked == 1


def test_the_status_and_the_answer_agree():
    mechanism = Thresholdout(7, 2, 0.1, 0.01)
    guard = ReusableHoldout(TRAIN, HOLDOUT, mechanism, confidence=0.9)
    answer = guard.ask(lambda X, y: y, high=2)
    status = guard.status()
    assert (status.queries_asked, status.queries_left) == (1, 6)
    assert (answer.queries_left, answer.budget_left) == (6, status.budget_left)
    assert status.error_bound == mechanism.error_bound(400, 0.9)
    assert answer.error_bound == 2 * status.error_bound
    assert "400 samples" in repr(guard)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        (lambda x: x * 2, r"must lie in \[0, 1\], got another for a sample of the holdout"),
        (lambda x: np.where(x > 0.5, np.nan, x), r"got another for a sample of the holdout"),
        (lambda x: x.mean(), r"one value for each of the 200 samples, got shape \(\)"),
        (lambda x: x[:-1], r"got shape \(199,\)"),
        (lambda x: x[:, None], r"got shape \(200, 1\)"),
        (lambda x: x > x.mean(), "no function of one sample"),
        (lambda x: np.argsort(np.argsort(x)) / len(x), "no function of one sample"),
        (lambda x: np.random.default_rng().random(len(x)), "no function of one sample"),
    ],
)
def test_bad_queries_are_refused_and_not_charged(query, word):
    values = np.linspace(0, 1, 200)
    guard = ReusableHoldout(None, values, Gaussian(9, 0.1))
    with pytest.raises(ValueError, match=word):
        guard.ask(query)
    assert guard.status().queries_asked == 0
    known = ReusableHoldout(values, values, Thresholdout(9, 3, 0.1, 0.1))
    with pytest.raises(ValueError, match=word.replace("another for a sample of the holdout", "")):
        known.ask(query)


def test_an_error_names_values_of_the_training_set_only():
    guard = ReusableHoldout([0.5, 7.25], [0.5, 9.75], Thresholdout(9, 3, 0.1, 0.1))
    with pytest.raises(ValueError, match=r"got 7\.25 for sample 1"):
        guard.ask(lambda x: x)
    with pytest.raises(ValueError, match="another for a sample") as caught:
        guard.ask(lambda x: x, high=8)
    assert "9.75" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((None, []), "holdout has no samples"),
        ((None, 3.0), "holdout must be an array with one row a sample"),
        ((None, [0.1, np.nan]), "holdout holds NaN or infinite values"),
        ((None, (X, Y[:9])), r"one length, got \[800, 9\]; give \(X, y\) as a tuple"),
        ((None, [X, Y]), "holdout must be an array, or a tuple of arrays"),
        ((X, (X, Y)), "train and holdout must have the same parts, got 1 and 2"),
        ((None, (X, np.r_[Y[:-1] * 1.0, np.inf])), "holdout holds NaN or infinite values"),
    ],
)
def test_bad_data(arguments, word):
    with pytest.raises(ValueError, match=word):
        ReusableHoldout(*arguments, Gaussian(9, 0.1))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: ReusableHoldout(None, Y, EXACT, low=1, high=1), "low must be < high"),
        (lambda: ReusableHoldout(None, Y, EXACT, confidence=95), "confidence must lie strictly"),
        (lambda: ReusableHoldout(None, Y, EXACT).ask(lambda x: x, high=np.inf), "both finite"),
        (lambda: ReusableHoldout(None, Y, EXACT).ask("y"), "must be a function of the samples"),
        (lambda: ReusableHoldout(None, Y, EXACT)(model()), "needs train=.X, y. and holdout="),
        (lambda: ReusableHoldout(None, Y, EXACT).search_data(), "a search needs train="),
        (
            lambda: ReusableHoldout(
                None,
                (X, Y),
                MultiplicativeWeights(9, 9, 0.1, 0.1, FiniteDomain(range(3)), 0.4),
            ),
            "needs the holdout as one array of points of its domain",
        ),
    ],
)
def test_bad_parameters(make, word):
    with pytest.raises(ValueError, match=word):
        make()
