"""PRESTO against cvxpy, SciPy, statsmodels and scikit-learn, and its invariants."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from paperworks.statistics import PrestoClassifier, PrestoClassifierCV, presto_path
from paperworks.statistics.presto.likelihood import Design
from paperworks.statistics.presto.probabilities import class_probabilities
from paperworks.statistics.presto.solver import kkt_residual, solve_quadratic


def draw(n=300, d=3, intercepts=(-1.0, 1.0, 2.0), spread=0.3, seed=0):
    """Ordinal data whose boundaries differ a little: X (n, d), y in 0..K-1."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, d))
    coef = rng.normal(size=d) + spread * np.cumsum(rng.normal(size=(len(intercepts), d)), axis=0)
    cumulative = np.maximum.accumulate(expit(X @ coef.T + intercepts), axis=1)
    return X, (rng.uniform(size=(n, 1)) > cumulative).sum(axis=1)


def objective(X, y, coef, intercept, alpha, base_penalty=1.0, weights=None, scale=None):
    """The paper's estimator (9), written out: the slow path."""
    weights = np.ones(len(y)) if weights is None else weights
    cumulative = np.column_stack([np.zeros(len(y)), expit(X @ coef.T + intercept), np.ones(len(y))])
    likelihood = cumulative[np.arange(len(y)), y + 1] - cumulative[np.arange(len(y)), y]
    coef = coef * (X.std(axis=0) if scale is None else scale)
    penalty = base_penalty * np.abs(coef[0]).sum() + np.abs(np.diff(coef, axis=0)).sum()
    return -np.average(np.log(likelihood), weights=weights) + alpha * penalty


@parametrize_with_checks([PrestoClassifier(), PrestoClassifierCV(n_alphas=3, eps=0.1, cv=3)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def by_cvxpy(X, y, alpha, base_penalty, weights, *, ordered):
    cp = pytest.importorskip("cvxpy")
    classes = y.max() + 1
    mean = np.average(X, axis=0, weights=weights)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))
    Z, w = (X - mean) / scale, weights / weights.sum()
    coef, intercept = cp.Variable((classes - 1, X.shape[1])), cp.Variable(classes - 1)
    loss, constraints = 0, []
    for c in range(classes):
        rows = y == c
        if c < classes - 1:
            loss += w[rows] @ cp.logistic(-(Z[rows] @ coef[c] + intercept[c]))
        if c > 0:
            loss += w[rows] @ cp.logistic(Z[rows] @ coef[c - 1] + intercept[c - 1])
        if 0 < c < classes - 1:
            gap = Z @ (coef[c] - coef[c - 1]) + intercept[c] - intercept[c - 1]
            loss -= w[rows] @ cp.log(1 - cp.exp(-gap[rows]))
            if ordered:
                constraints.append(gap >= 0)
    penalty = base_penalty * cp.norm1(coef[0])
    penalty += sum(cp.norm1(coef[k] - coef[k - 1]) for k in range(1, classes - 1))
    problem = cp.Problem(cp.Minimize(loss + alpha * penalty), constraints)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    coef = coef.value / scale
    return problem.value, coef, intercept.value - coef @ mean


@pytest.mark.parametrize("base_penalty", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("alpha", [0.0, 0.005, 0.05])
def test_agrees_with_a_generic_convex_solver(alpha, base_penalty):
    X, y = draw(n=150)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, size=len(y))
    value, coef, intercept = by_cvxpy(X, y, alpha, base_penalty, weights, ordered=True)
    model = PrestoClassifier(alpha, base_penalty=base_penalty).fit(X, y, weights)
    assert model.duality_gap_ == 0
    assert model.objective_ == pytest.approx(value, abs=1e-8)
    np.testing.assert_allclose(model.coef_, coef, atol=1e-4)
    np.testing.assert_allclose(model.intercept_, intercept, atol=1e-4)
    assert model.coef_.shape == (3, 3)
    assert model.intercept_.shape == (3,)


def test_agrees_with_a_generic_convex_solver_where_boundaries_meet():
    X, y = draw(n=40, d=6, spread=1.0, seed=3)
    free, _, _ = by_cvxpy(X, y, 0.003, 1.0, np.ones(40), ordered=False)
    value, _, _ = by_cvxpy(X, y, 0.003, 1.0, np.ones(40), ordered=True)
    assert value > free + 1e-3  # the constraint binds, so this case tests it
    model = PrestoClassifier(0.003).fit(X, y)
    assert 0 < model.duality_gap_ <= 2e-6
    assert value - 1e-8 <= model.objective_ <= value + model.duality_gap_ + 1e-8
    assert not model.crosses(X).any()


def test_infinite_penalty_is_proportional_odds():
    ordinal = pytest.importorskip("statsmodels.miscmodels.ordinal_model")
    X, y = draw(n=600, d=4)
    peer = ordinal.OrderedModel(y, X, distr="logit")
    fit = peer.fit(method="bfgs", gtol=1e-9, maxiter=1000, disp=0, skip_hessian=True)
    model = PrestoClassifier(np.inf, base_penalty=0).fit(X, y)
    for weights in model.coef_:
        np.testing.assert_allclose(weights, -fit.params[:4], atol=1e-5)
    thresholds = peer.transform_threshold_params(fit.params)[1:-1]
    np.testing.assert_allclose(model.intercept_, thresholds, atol=1e-5)
    assert -model.objective_ * len(y) == pytest.approx(fit.llf, rel=1e-9)
    np.testing.assert_allclose(model.predict_proba(X), fit.predict(X), atol=1e-5)


def test_a_large_finite_penalty_reaches_the_same_limit():
    X, y = draw(n=400)
    limit = PrestoClassifier(np.inf, base_penalty=0).fit(X, y)
    model = PrestoClassifier(10.0, base_penalty=0).fit(X, y)
    np.testing.assert_allclose(model.coef_, limit.coef_, atol=1e-7)
    empty = PrestoClassifier(np.inf).fit(X, y)
    assert not empty.coef_.any()
    np.testing.assert_allclose(empty.predict_proba(X[:1])[0], np.bincount(y) / len(y), atol=1e-12)


def test_zero_penalty_is_unconstrained_cumulative_logits():
    X, y = draw(n=500, d=2)

    def loss(parameters):
        coef, intercept = parameters[:6].reshape(3, 2), parameters[6:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # BFGS may try a crossing point: nan, refused
            value = objective(X, y, coef, intercept, 0.0)
        return value if np.isfinite(value) else 1e3

    start = np.r_[np.zeros(6), -1.0, 1.0, 2.0]
    best = minimize(loss, start, method="BFGS", options={"gtol": 1e-7}).x
    model = PrestoClassifier(0.0).fit(X, y)
    np.testing.assert_allclose(model.coef_.ravel(), best[:6], atol=1e-4)
    np.testing.assert_allclose(model.intercept_, best[6:], atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.02])
def test_two_classes_are_l1_logistic_regression(alpha):
    X, y = draw(n=300, intercepts=(1.0,))
    scale = X.std(axis=0)
    # saga leaves the intercept unpenalised, as we do.
    C = np.inf if alpha == 0 else 1 / (alpha * len(y))
    peer = LogisticRegression(C=C, l1_ratio=1.0, solver="saga", tol=1e-9, max_iter=20000)
    peer.fit((X - X.mean(axis=0)) / scale, y)
    model = PrestoClassifier(alpha).fit(X, y)
    np.testing.assert_allclose(-model.coef_ * scale, peer.coef_, atol=1e-5)


def test_derivatives():
    X, y = draw(n=60, d=2)
    design = Design.build(X, y, np.random.default_rng(0).uniform(0.5, 2, 60))
    theta = design.start() + 0.1 * np.random.default_rng(1).normal(size=(3, 3))
    for problem in (design, design.guarded(0.3)):

        def loss(flat, problem=problem):
            return problem.loss(problem.forms(flat.reshape(3, 3)))

        def gradient(flat, problem=problem):
            return problem.gradient(problem.forms(flat.reshape(3, 3))).ravel()

        assert np.isfinite(loss(theta.ravel()))
        numeric = approx_fprime(theta.ravel(), loss, 1e-6)
        np.testing.assert_allclose(gradient(theta.ravel()), numeric, atol=1e-5)
        numeric = approx_fprime(theta.ravel(), gradient, 1e-6)
        H = problem.hessian(problem.forms(theta))
        np.testing.assert_allclose(H, numeric, atol=1e-4)
        assert np.linalg.eigvalsh(H).min() > 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), alpha=st.sampled_from([0.0, 0.1, 1.0]))
def test_quadratic_subproblem(seed, alpha):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(12, 8))
    H, g, theta = A.T @ A, rng.normal(size=8), rng.normal(size=8)
    penalty = np.r_[0.0, alpha * rng.uniform(0.5, 2.0, size=7)]
    z = solve_quadratic(H, g, theta, penalty, 1e-9)
    assert kkt_residual(g + H @ (z - theta), z, penalty) <= 1e-8


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    alpha=st.floats(0.002, 0.2),
    base_penalty=st.sampled_from([0.0, 0.5, 1.0]),
    standardize=st.booleans(),
)
def test_no_neighbour_is_better(seed, alpha, base_penalty, standardize):
    X, y = draw(n=120, d=2, seed=seed)
    X = X * [1.0, 3.0] + [0.5, -1.0]
    y = np.unique(y, return_inverse=True)[1]
    model = PrestoClassifier(alpha, base_penalty=base_penalty, standardize=standardize).fit(X, y)
    scale = X.std(axis=0) if standardize else np.ones(2)

    def value(coef, intercept):
        return objective(X, y, coef, intercept, alpha, base_penalty, scale=scale)

    best = value(model.coef_, model.intercept_)
    assert best == pytest.approx(model.objective_, abs=1e-10)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(10):
            coef = model.coef_ + size * rng.normal(size=model.coef_.shape)
            intercept = model.intercept_ + size * rng.normal(size=len(model.intercept_))
            if (np.diff(X @ coef.T + intercept, axis=1) > 0).all():
                assert value(coef, intercept) >= best - model.duality_gap_ - 1e-9


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), alpha=st.sampled_from([0.0, 0.001, 0.03]))
def test_boundaries_keep_their_order_on_training_rows(seed, alpha):
    X, y = draw(n=60, d=5, spread=1.0, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # alpha = 0 may be separable
        model = PrestoClassifier(alpha).fit(X - X.mean(axis=0), y)
    assert not model.crosses(X - X.mean(axis=0)).any()
    assert (np.diff(model.intercept_) > 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
def test_input_types_agree(dtype):
    X, y = draw(n=200)
    X = np.round(10 * X).astype(dtype)
    model = PrestoClassifier(0.01).fit(X, y)
    exact = PrestoClassifier(0.01).fit(X.astype(np.float64), y)
    np.testing.assert_array_equal(model.coef_, exact.coef_)
    assert model.predict_proba(X).dtype == np.float64


def test_invariances():
    X, y = draw(n=300)
    model = PrestoClassifier(0.01).fit(X, y)
    order = np.random.default_rng(0).permutation(len(y))
    shuffled = PrestoClassifier(0.01).fit(X[order], y[order])
    np.testing.assert_allclose(shuffled.coef_, model.coef_, atol=1e-6)
    moved = PrestoClassifier(0.01).fit(X * [1e3, 1e-4, -1.0] + [5e3, 1.0, 0.0], y)
    np.testing.assert_allclose(moved.coef_ * [1e3, 1e-4, -1.0], model.coef_, atol=1e-6)
    assert (np.diff(model.intercept_) > 0).all()


def test_weights_count_rows():
    X, y = draw(n=200)
    weights = np.random.default_rng(0).integers(0, 4, size=len(y))
    weighted = PrestoClassifier(0.01).fit(X, y, weights)
    repeated = PrestoClassifier(0.01).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)
    # A row of weight 0 is not there: neither its class nor its claim on the boundaries' order.
    far = PrestoClassifier(0.01).fit(
        np.vstack([X, [50.0, -50.0, 50.0]]), np.r_[y, 9], np.r_[weights, 0]
    )
    np.testing.assert_array_equal(far.classes_, weighted.classes_)
    np.testing.assert_allclose(far.coef_, weighted.coef_, atol=1e-6)
    unweighted = PrestoClassifier(0.01).fit(X, y)
    assert np.abs(weighted.coef_ - unweighted.coef_).max() > 1e-3


def test_labels_of_any_kind():
    X, y = draw(n=200, intercepts=(-1.0, 1.0))
    model = PrestoClassifier(0.01).fit(X, y)
    names = np.array(["a-low", "b-mid", "c-high"])
    named = PrestoClassifier(0.01).fit(X, names[y])
    np.testing.assert_array_equal(named.classes_, names)
    np.testing.assert_array_equal(named.predict(X), names[model.predict(X)])
    np.testing.assert_array_equal(named.coef_, model.coef_)


def test_path_is_what_single_fits_find():
    X, y = draw(n=300, d=4)
    path = presto_path(X, y, n_alphas=8)
    assert path.converged.all()
    assert (path.kkt_residuals <= 1e-7).all()
    assert not path.coefs[0].any()
    assert path.coefs[1].any()  # the first alpha is the smallest that empties the model
    assert path.alphas[-1] == pytest.approx(0.01 * path.alphas[0])
    for alpha, coef, intercept, value in zip(
        path.alphas, path.coefs, path.intercepts, path.objectives, strict=True
    ):
        single = PrestoClassifier(alpha).fit(X, y)
        np.testing.assert_allclose(coef, single.coef_, atol=1e-5)
        assert objective(X, y, coef, intercept, alpha) == pytest.approx(value, abs=1e-10)


def test_path_with_a_free_base_starts_at_proportional_odds():
    X, y = draw(n=300, d=4)
    path = presto_path(X, y, n_alphas=4, base_penalty=0)
    odds = PrestoClassifier(np.inf, base_penalty=0).fit(X, y)
    np.testing.assert_allclose(path.coefs[0], odds.coef_, atol=1e-5)
    assert np.ptp(path.coefs[1], axis=0).max() > 0


@settings(max_examples=100, deadline=None)
@given(
    eta=st.lists(
        st.lists(st.floats(-800, 800), min_size=4, max_size=4), min_size=1, max_size=5
    ).map(np.array)
)
def test_probabilities_where_boundaries_cross(eta):
    probabilities = class_probabilities(eta)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)
    for row, found in zip(eta, probabilities, strict=True):
        nearest = IsotonicRegression().fit_transform(np.arange(4), expit(row))
        np.testing.assert_allclose(np.cumsum(found)[:-1], nearest, atol=1e-9)


def test_small_probabilities_keep_their_digits():
    probabilities = class_probabilities(np.array([[40.0, 41.0, 42.0]]))[0]
    exact = [np.exp(-40) - np.exp(-41), np.exp(-41) - np.exp(-42), np.exp(-42)]
    np.testing.assert_allclose(probabilities[1:], exact, rtol=1e-12)


@pytest.mark.parametrize("scoring", ["log_loss", "brier", "rare_brier"])
def test_cv_chooses_what_a_plain_loop_chooses(scoring):
    X, y = draw(n=300, d=4)
    w = np.random.default_rng(0).uniform(0.2, 3.0, size=len(y))
    model = PrestoClassifierCV(n_alphas=6, cv=3, scoring=scoring).fit(X, y, w)
    alphas = presto_path(X, y, n_alphas=6, sample_weight=w).alphas
    np.testing.assert_allclose(model.alphas_, alphas)
    scores = np.empty((6, 3))
    for fold, (train, test) in enumerate(StratifiedKFold(3).split(X, y)):
        for i, alpha in enumerate(alphas):
            p = PrestoClassifier(alpha).fit(X[train], y[train], w[train]).predict_proba(X[test])
            loss = {
                "log_loss": -np.log(p[np.arange(len(test)), y[test]]),
                "brier": ((p - np.eye(4)[y[test]]) ** 2).sum(axis=1),
                "rare_brier": (p[:, 3] - (y[test] == 3)) ** 2,
            }[scoring]
            scores[i, fold] = np.average(loss, weights=w[test])
    np.testing.assert_allclose(model.scores_, scores, atol=1e-6)
    best = PrestoClassifier(alphas[scores.mean(axis=1).argmin()]).fit(X, y, w)
    np.testing.assert_allclose(model.coef_, best.coef_, atol=1e-5)


@pytest.mark.parametrize("lonely", [1, 2])
def test_cv_survives_a_fold_without_a_class(lonely):
    X, y = draw(n=90, intercepts=(-1.0, 1.0))
    y[y == lonely] = 0
    y[0] = lonely
    model = PrestoClassifierCV(alphas=[0.02], cv=KFold(3), scoring="brier").fit(X, y)
    assert model.predict_proba(X).shape == (90, 3)
    # Row 0 is in the first fold, so the other classes alone are left to train on.
    rest = PrestoClassifier(0.02).fit(X[30:], y[30:])
    p = np.zeros((30, 3))
    p[:, rest.classes_] = rest.predict_proba(X[:30])
    brier = ((p - np.eye(3)[y[:30]]) ** 2).sum(axis=1).mean()
    assert model.scores_[0, 0] == pytest.approx(brier, abs=1e-6)


def test_decision_functions():
    X, y = draw(n=200)
    model = PrestoClassifier(0.01).fit(X, y)
    path = model.decision_path(X)
    np.testing.assert_allclose(path, X @ model.coef_.T + model.intercept_)
    np.testing.assert_allclose(
        np.cumsum(model.predict_proba(X), axis=1)[:, :-1], expit(path), atol=1e-12
    )
    assert model.decision_function(X).shape == (200, 4)
    binary = PrestoClassifier(0.01).fit(X, y > 1)
    np.testing.assert_allclose(
        expit(binary.decision_function(X)), binary.predict_proba(X)[:, 1], atol=1e-12
    )


def test_constant_and_repeated_features_are_harmless():
    X, y = draw(n=200)
    model = PrestoClassifier(0.01).fit(X, y)
    wide = np.column_stack([X, np.full(200, 0.1), X[:, 0]])
    padded = PrestoClassifier(0.01).fit(wide, y)
    assert not padded.coef_[:, 3].any()
    np.testing.assert_allclose(padded.predict_proba(wide), model.predict_proba(X), atol=1e-5)
    assert PrestoClassifier(0.0).fit(wide, y).converged_


def test_says_so_when_it_does_not_converge():
    X, y = draw(n=200)
    with pytest.warns(ConvergenceWarning, match=r"KKT residual .* > tol"):
        model = PrestoClassifier(0.001, max_iter=1).fit(X, y)
    assert not model.converged_
    assert model.kkt_residual_ > model.tol


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1.0}, r"alpha must be >= 0 .*got -1.0"),
        ({"alpha": np.nan}, r"alpha must be >= 0 .*got nan"),
        ({"alpha": "auto"}, r"alpha must be >= 0 .*got 'auto'"),
        ({"base_penalty": -0.5}, r"base_penalty must be >= 0 and finite, got -0.5"),
        ({"base_penalty": np.inf}, r"base_penalty must be >= 0 and finite, got inf"),
        ({"max_iter": 0}, r"max_iter must be an integer >= 1, got 0"),
        ({"tol": 0.0}, r"tol must be > 0, got 0.0"),
    ],
)
def test_refuses_bad_parameters(parameters, message):
    X, y = draw(n=50)
    with pytest.raises(ValueError, match=message):
        PrestoClassifier(**parameters).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scoring": "accuracy"}, r"scoring must be one of log_loss, .*got 'accuracy'"),
        ({"n_alphas": 0}, r"n_alphas must be an integer >= 1, got 0"),
        ({"eps": 0.0}, r"eps must lie in \(0, 1\], got 0.0"),
        ({"alphas": [-1.0]}, r"alphas must be a list of numbers >= 0"),
    ],
)
def test_cv_refuses_bad_parameters(parameters, message):
    X, y = draw(n=50)
    with pytest.raises(ValueError, match=message):
        PrestoClassifierCV(**parameters).fit(X, y)


def test_refuses_bad_data():
    X, y = draw(n=50)
    model = PrestoClassifier()
    with pytest.raises(ValueError, match=r"sample_weight must be >= 0, got -1"):
        model.fit(X, y, np.r_[-1.0, np.ones(49)])
    with pytest.raises(ValueError, match=r"at least two classes, got 1 class"):
        model.fit(X, np.zeros(50, dtype=int))
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, np.linspace(0, 1, 50))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full_like(X, np.nan), y)
    with pytest.raises(ValueError, match="NaN"):
        presto_path(np.full_like(X, np.nan), y)


def test_clones_and_is_reproducible():
    X, y = draw(n=200)
    model = PrestoClassifierCV(n_alphas=5, scoring="brier").fit(X, y)
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(model.coef_, again.coef_)
