"""The mixture against its definition, quadrature and the speed of EM; the label table too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import multivariate_normal, norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from paperworks.statistics import ComponentClassifier, MixtureModel


def draw(m=600, K=3, d=2, spread=3.0, seed=0):
    """Rows of a mixture of unit Gaussians and their components."""
    rng = np.random.default_rng(seed)
    means = spread * rng.normal(size=(K, d))
    z = rng.integers(K, size=m)
    return means[z] + rng.normal(size=(m, d)), z


@parametrize_with_checks([MixtureModel(n_init=1, random_state=0)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", ["spherical", "diag", "tied", "full"])
def test_the_representation_is_the_posterior(kind):
    X, _ = draw()
    model = MixtureModel(3, covariance_type=kind, n_init=1, random_state=0).fit(X)
    fitted = model.mixture_
    covs = fitted.covariances_
    if kind == "spherical":
        covs = [v * np.eye(2) for v in covs]
    elif kind == "diag":
        covs = [np.diag(v) for v in covs]
    elif kind == "tied":
        covs = [covs] * 3
    joint = np.column_stack(
        [
            w * multivariate_normal(mean, cov).pdf(X)
            for w, mean, cov in zip(fitted.weights_, fitted.means_, covs, strict=True)
        ]
    )
    np.testing.assert_allclose(
        model.transform(X), joint / joint.sum(axis=1, keepdims=True), atol=1e-9
    )
    np.testing.assert_allclose(model.score_samples(X), np.log(joint.sum(axis=1)), atol=1e-9)
    apart = [
        np.sqrt((a - b) @ np.linalg.inv(cov) @ (a - b))
        for a, cov in zip(fitted.means_, covs, strict=True)
        for b in fitted.means_
        if not np.array_equal(a, b)
    ]
    assert model.separation() == pytest.approx(min(apart))


@pytest.mark.parametrize("kind", ["spherical", "full"])
def test_local_kappa_is_the_speed_of_em(kind):
    # EM for the means, at its limit, shrinks the error by the largest fraction of missing
    # information (Dempster, Laird and Rubin 1977), so that kappa^2 = 1 / (1 - rate).
    X, _ = draw(m=300, K=2, spread=2.0, seed=3)
    model = MixtureModel(2, covariance_type=kind, tol=1e-11, max_iter=5_000, n_init=1)
    model.set_params(random_state=0, reg_covar=0.0).fit(X)
    fitted = model.mixture_
    means = fitted.means_.copy()
    covs = fitted.covariances_ if kind == "full" else [v * np.eye(2) for v in fitted.covariances_]
    rng = np.random.default_rng(0)
    moved = means + 1e-4 * rng.normal(size=means.shape)
    sizes = []
    for _ in range(200):
        joint = np.column_stack(
            [
                w * multivariate_normal(mean, cov).pdf(X)
                for w, mean, cov in zip(fitted.weights_, moved, covs, strict=True)
            ]
        )
        posterior = joint / joint.sum(axis=1, keepdims=True)
        new = posterior.T @ X / posterior.sum(axis=0)[:, None]
        sizes.append(np.linalg.norm(new - moved))
        moved = new
        if sizes[-1] < 1e-11:
            break
    rate = sizes[-1] / sizes[-2]
    assert 0.05 < rate < 1
    assert model.local_kappa(X) == pytest.approx(1 / np.sqrt(1 - rate), rel=2e-3)


def test_local_kappa_grows_as_components_merge():
    kappas = []
    for spread in (8.0, 4.0, 2.0):
        X = np.random.default_rng(0).normal(size=(4000, 1))
        X[::2] += spread
        kappas.append(MixtureModel(2, random_state=0).fit(X).local_kappa())
    assert kappas[0] == pytest.approx(1, abs=0.01)
    assert kappas[0] < kappas[1] < kappas[2]


@pytest.mark.parametrize("kind", ["spherical", "diag", "tied", "full"])
def test_distances_of_an_alternative(kind):
    X, _ = draw(K=2, d=1, seed=1)
    model = MixtureModel(2, covariance_type=kind, random_state=0).fit(X)
    found = model.alternative(1.0, np.random.default_rng(5), 200_000)
    # The same draw of moves, and the distances by quadrature.
    moves = np.random.default_rng(5).standard_normal((2, 1))
    moves = (moves / np.linalg.norm(moves)).ravel()
    scale = np.sqrt(np.broadcast_to(model.mixture_.covariances_.ravel(), 2))
    parts = list(zip(model.mixture_.weights_, model.mixture_.means_.ravel(), scale, strict=True))

    def apart(t):
        return abs(
            sum(
                w * (norm.pdf(t, mean, sd) - norm.pdf(t, mean + sd * move, sd))
                for (w, mean, sd), move in zip(parts, moves, strict=True)
            )
        )

    exact = 0.5 * quad(apart, -30, 30, limit=400)[0]
    assert found.observed == pytest.approx(exact, abs=4 * found.error)
    assert found.error < 0.01 * exact
    latent = sum(
        w * (2 * norm.cdf(abs(move) / 2) - 1) for (w, _, _), move in zip(parts, moves, strict=True)
    )
    assert found.latent == pytest.approx(latent)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_the_label_table_minimises_its_loss(alpha):
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet([0.5] * 4, size=60)
    y = rng.integers(3, size=60)
    model = ComponentClassifier(alpha).fit(posterior, y)
    share = np.bincount(y) / len(y)

    def loss(table):
        fit = np.log((posterior @ table)[np.arange(60), y]).sum()
        return -fit - alpha * (share * np.log(table)).sum()

    found = minimize(lambda flat: loss(softmax(flat.reshape(4, 3), axis=1)), np.zeros(12))
    assert loss(model.label_probability_) == pytest.approx(found.fun, abs=1e-5)
    np.testing.assert_allclose(
        model.label_probability_, softmax(found.x.reshape(4, 3), axis=1), atol=1e-3
    )
    np.testing.assert_allclose(model.predict_proba(posterior), posterior @ model.label_probability_)


def test_sure_components_get_their_counts():
    posterior = np.eye(3)[[0, 0, 0, 1, 1]]
    model = ComponentClassifier(1.0).fit(posterior, ["a", "a", "b", "b", "b"])
    share = np.array([0.4, 0.6])
    np.testing.assert_allclose(
        model.label_probability_,
        [(np.array([2, 1]) + share) / 4, (np.array([0, 2]) + share) / 3, share],
        atol=1e-8,
    )
    assert model.predict(np.eye(3)).tolist() == ["a", "b", "b"]


def test_one_label_wins_its_component():
    posterior = np.eye(2)[[0, 1, 1, 1, 1, 1, 1, 1, 1, 1]]
    model = ComponentClassifier().fit(posterior, [0] + [1] * 9)
    assert model.predict([[1.0, 0.0]]) == 0


def test_an_unfinished_table_says_so():
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet([0.5] * 4, size=60)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        ComponentClassifier(max_iter=2).fit(posterior, rng.integers(3, size=60))


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (lambda X: MixtureModel(0).fit(X), "whole number >= 1, got 0"),
        (lambda X: MixtureModel(9).fit(X[:5]), "at most the number of rows, got 9"),
        (lambda X: MixtureModel(2, covariance_type="round").fit(X), "got 'round'"),
        (lambda X: MixtureModel(2, reg_covar=-1).fit(X), "reg_covar must be >= 0"),
        (lambda X: MixtureModel(2).fit(np.full((9, 2), np.inf)), "infinity"),
        (lambda X: ComponentClassifier().fit(X, X[:, 0] > 0), "A MixtureModel's transform"),
        (lambda X: ComponentClassifier().fit(np.eye(2), [1, 1]), "one class"),
        (lambda X: ComponentClassifier(0).fit(np.eye(2), [0, 1]), "alpha must be > 0"),
        (lambda X: ComponentClassifier().fit([[0.5, 0.6]] * 2, [0, 1]), "row 0 sums to 1.1"),
    ],
)
def test_bad_input(fit, words):
    with pytest.raises(ValueError, match=words):
        fit(draw()[0])
