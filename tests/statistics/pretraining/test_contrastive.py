"""Contrastive pairs against logistic regression on products of features, and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit, ndtr
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from paperworks.statistics import ContrastiveModel
from paperworks.statistics.pretraining.contrastive import _loss


def draw(P=4000, W=((1.5, 0.0, 0.5), (0.0, 1.0, 0.0)), offset=-0.5, seed=0):
    """Pairs of Gaussian rows with signs from the model: (A, B, s)."""
    rng = np.random.default_rng(seed)
    W = np.array(W)
    A, B = rng.normal(size=(2, P, W.shape[1]))
    p = expit(((A @ W.T) * (B @ W.T)).sum(axis=1) + offset)
    return A, B, (rng.random(P) < p).astype(float)


@parametrize_with_checks([ContrastiveModel(1, random_state=0)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_full_rank_is_logistic_regression_on_products():
    A, B, s = draw(W=((1.5, 0.3), (0.0, 1.0)))
    X = np.concatenate([A, B])
    model = ContrastiveModel(2, alpha=0, random_state=0).fit(X, pairs=(A, B, s))
    a, b = A - X.mean(axis=0), B - X.mean(axis=0)
    products = np.column_stack(
        [a[:, 0] * b[:, 0], a[:, 0] * b[:, 1] + a[:, 1] * b[:, 0], a[:, 1] * b[:, 1]]
    )
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(products, s)
    gram = model.components_.T @ model.components_
    found = [gram[0, 0], gram[0, 1], gram[1, 1]]
    np.testing.assert_allclose(found, peer.coef_[0], rtol=2e-3)
    assert model.offset_ == pytest.approx(peer.intercept_[0], abs=2e-3)
    np.testing.assert_allclose(
        model.predict_similar(A, B), peer.predict_proba(products)[:, 1], atol=1e-3
    )
    likelihood = peer.predict_proba(products)[np.arange(len(s)), s.astype(int)]
    assert model.loss_ == pytest.approx(-np.log(likelihood).mean(), abs=1e-6)


def test_a_low_rank_embedding_is_found_up_to_rotation():
    W = np.array([[1.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
    A, B, s = draw(P=60_000)
    model = ContrastiveModel(2, random_state=1).fit(A, pairs=(A, B, s))
    np.testing.assert_allclose(model.components_.T @ model.components_, W.T @ W, atol=0.12)
    assert model.offset_ == pytest.approx(-0.5, abs=0.05)
    assert model.null_loss_ > model.loss_


def test_gradient():
    A, B, s = draw(P=50)
    flat = np.random.default_rng(0).normal(size=7)
    numeric = approx_fprime(flat, lambda v: _loss(v, A, B, s, 2, 0.1)[0], 1e-6)
    np.testing.assert_allclose(_loss(flat, A, B, s, 2, 0.1)[1], numeric, atol=1e-6)


def test_units_of_the_features_do_not_matter():
    A, B, s = draw()
    here = ContrastiveModel(2, random_state=0).fit(A, pairs=(A, B, s))
    scale, shift = np.array([1e3, 1e-3, -1.0]), np.array([5.0, 1.0, 0.0])
    there = ContrastiveModel(2, random_state=0)
    there.fit(A * scale + shift, pairs=(A * scale + shift, B * scale + shift, s))
    np.testing.assert_allclose(
        here.predict_similar(A, B),
        there.predict_similar(A * scale + shift, B * scale + shift),
        atol=1e-3,
    )


def test_views_keep_what_they_leave_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 4))

    def shake(rows, rng):
        rows[:, 1:] = rng.normal(size=(len(rows), 3))
        return rows

    model = ContrastiveModel(1, view=shake, random_state=0).fit(X)
    weights = np.abs(model.components_[0])
    assert weights[1:].max() < 0.2 * weights[0]
    assert model.n_pairs_ == 6000
    # The default view: correlated features tell which row it was, a lone one says little.
    X[:, :3] = X[:, :1] + 0.3 * X[:, :3]
    weights = np.abs(ContrastiveModel(1, random_state=0).fit(X).components_[0])
    assert weights[3] < 0.5 * weights[:3].min()


def test_a_seed_repeats_and_the_caller_keeps_its_rows():
    X = np.random.default_rng(0).normal(size=(100, 3))
    kept = X.copy()
    one, two = (ContrastiveModel(2, random_state=4).fit(X) for _ in range(2))
    np.testing.assert_array_equal(one.components_, two.components_)
    np.testing.assert_array_equal(X, kept)


def sign_hellinger(p, q):
    """Hellinger distance of two signs, averaged over pairs (each squared)."""
    overlap = np.sqrt(p * q) + np.sqrt((1 - p) * (1 - q))
    return np.sqrt(np.mean(1 - overlap))


def test_local_kappa_is_the_largest_ratio_of_hellinger_distances():
    A, B, s = draw(P=3000, W=((1.0, 0.0), (0.3, 0.6)))
    model = ContrastiveModel(2, random_state=0).fit(A, pairs=(A, B, s))
    X = np.random.default_rng(1).normal(size=(3000, 2))
    X -= X.mean(axis=0)
    model.mean_ = np.zeros(2)
    rng = np.random.default_rng(2)
    i, j = rng.permutation(3000), rng.permutation(3000)
    W, c = model.components_, model.offset_

    def p(W, c):
        return expit(((X[i] @ W.T) * (X[j] @ W.T)).sum(axis=1) + c)

    size = 1e-3
    here = p(W, c)

    def ratio(direction):
        step = size * direction / np.linalg.norm(direction[:4])
        there = W + step[:4].reshape(2, 2)
        observed = sign_hellinger(here, p(there, c + step[4]))
        cov = X.T @ X / len(X)

        def latent(angle):  # z is f(x) plus unit noise: H^2 = 1 - exp(-|df|^2 / 8)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            change = turn @ there - W
            return np.sqrt(np.trace(change @ cov @ change.T) / 8)

        best = minimize(lambda a: latent(a[0]), [0.0], method="Nelder-Mead", tol=1e-10).fun
        return best / observed

    tries = [rng.normal(size=5) for _ in range(100)]
    ratios = np.array([ratio(t) for t in tries])
    found = minimize(
        lambda t: -ratio(t),
        tries[int(ratios.argmax())],
        method="Nelder-Mead",
        options={"maxiter": 300},
    )
    kappa = model.local_kappa(X)
    assert ratios.max() <= 1.1 * kappa
    assert -found.fun == pytest.approx(kappa, rel=0.1)  # both average over their own pairs


def test_the_offset_may_hide_a_change():
    # One feature: the sign's distance is that to the nearest offset of a changed weight.
    A, B, s = draw(P=3000, W=((1.5,),), offset=-2.0)
    model = ContrastiveModel(1, random_state=0).fit(A, pairs=(A, B, s))
    X = np.random.default_rng(1).normal(size=(4000, 1))
    x = (X - model.mean_)[:, 0]
    i, j = np.random.default_rng(2).permutation(4000), np.random.default_rng(3).permutation(4000)
    w, c = model.components_[0, 0], model.offset_

    def p(w, c):
        return expit(w * w * x[i] * x[j] + c)

    change = 1e-3
    nearest = minimize(
        lambda move: 1e3 * sign_hellinger(p(w, c), p(w + change, c + 1e-3 * move[0])),
        [0.0],
        method="Nelder-Mead",
    )
    latent = change * np.sqrt((x**2).mean() / 8)
    kappa = 1e3 * latent / nearest.fun
    assert abs(nearest.x[0]) > 0.1  # so that the offset matters here
    assert model.local_kappa(X) == pytest.approx(kappa, rel=0.05)


def test_distances_of_an_alternative():
    A, B, s = draw()
    model = ContrastiveModel(2, random_state=0).fit(A, pairs=(A, B, s))
    X = A[:50]
    found = model.alternative(0.5, np.random.default_rng(3), 200_000, X)
    rng = np.random.default_rng(3)
    change = rng.standard_normal((2, 3))
    f = (X - model.mean_) @ model.components_.T
    moved = (X - model.mean_) @ change.T
    g = f + 0.5 * moved / np.sqrt((moved**2).sum(axis=1).mean())
    exact = np.abs(expit(f @ f.T + model.offset_) - expit(g @ g.T + model.offset_)).mean()
    assert found.observed == pytest.approx(exact, abs=4 * found.error)
    angles = np.linspace(-np.pi, np.pi, 20_001)
    best = min(
        np.linalg.norm(g @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) - f)
        for a in angles
    )
    turned = minimize(
        lambda a: np.linalg.norm(
            g @ np.array([[np.cos(a[0]), -np.sin(a[0])], [np.sin(a[0]), np.cos(a[0])]]) - f
        ),
        [0.0],
    )
    a = turned.x[0]
    assert turned.fun == pytest.approx(best, rel=1e-4)
    apart = g @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) - f
    latent = (2 * ndtr(np.linalg.norm(apart, axis=1) / 2) - 1).mean()
    assert found.latent == pytest.approx(latent, rel=1e-3)


def test_an_unfinished_fit_says_so():
    A, B, s = draw(P=200)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        model = ContrastiveModel(2, max_iter=2, random_state=0).fit(A, pairs=(A, B, s))
    assert not model.converged_


@pytest.mark.parametrize(
    ("parameters", "pairs", "words"),
    [
        ({"n_components": 4}, None, "at most the number of features, got 4"),
        ({"corruption": 1.5}, None, "corruption must lie strictly between 0 and 1, got 1.5"),
        ({"n_pairs": 1}, None, "n_pairs must be a whole number >= 2"),
        ({"alpha": -1}, None, "alpha must be >= 0"),
        ({"view": 3}, None, "view must be a function"),
        ({"view": lambda rows, rng: rows[:, :1]}, None, "view must keep the shape"),
        ({}, (1, 2), r"pairs must be three arrays \(A, B, s\)"),
        ({}, "float", "signs of pairs must be 0 or 1"),
        ({}, "same", "all pairs have the sign 1"),
        ({}, "short", r"s \(P,\), got"),
        ({}, "wide", "pairs have 2 features, X has 3"),
        ({}, "nan", "NaN"),
    ],
)
def test_bad_input(parameters, pairs, words):
    A, B, s = draw(P=40)
    cases = {
        "float": (A, B, 2 * s - 1),
        "same": (A, B, np.ones(40)),
        "short": (A, B, s[:-1]),
        "wide": (A[:, :2], B[:, :2], s),
        "nan": (A, np.full_like(B, np.nan), s),
    }
    given = cases[pairs] if isinstance(pairs, str) else pairs
    with pytest.raises(ValueError, match=words):
        ContrastiveModel(**parameters).fit(A, pairs=given)


def test_the_condition_needs_rows():
    A, B, s = draw(P=200)
    model = ContrastiveModel(1, random_state=0).fit(A, pairs=(A, B, s))
    with pytest.raises(ValueError, match="does not model x; give rows X"):
        model.local_kappa()
    with pytest.raises(ValueError, match="must pair up, got 200 and 3 rows"):
        model.predict_similar(A, B[:3])
