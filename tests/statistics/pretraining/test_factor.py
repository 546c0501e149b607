"""The factor model against a generic optimiser, conditional Gaussians and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis
from sklearn.utils.estimator_checks import parametrize_with_checks

from paperworks.statistics import FactorModel


def draw(m=400, d=5, r=2, noise=0.5, seed=0):
    """Rows of a factor model, away from the origin: X (m, d), B (d, r)."""
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(d, r))
    X = rng.normal(size=(m, r)) @ B.T + np.sqrt(noise) * rng.normal(size=(m, d)) + 3.0
    return X, B


@parametrize_with_checks([FactorModel(), FactorModel(1, noise="diagonal")])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("noise", ["isotropic", 0.3])
def test_the_closed_form_maximises_the_likelihood(noise):
    X, _ = draw(m=60, d=4)
    model = FactorModel(2, noise=noise).fit(X)

    def loss(flat):
        B = flat[:8].reshape(4, 2)
        variance = np.exp(flat[8]) if noise == "isotropic" else noise
        cov = B @ B.T + variance * np.eye(4)
        return -multivariate_normal(X.mean(axis=0), cov).logpdf(X).mean()

    rng = np.random.default_rng(0)
    starts = [rng.normal(size=9) for _ in range(5)]
    best = min((minimize(loss, s, method="BFGS") for s in starts), key=lambda found: found.fun)
    assert -model.score(X) == pytest.approx(best.fun, abs=1e-7)
    B = best.x[:8].reshape(4, 2)
    variance = np.exp(best.x[8]) if noise == "isotropic" else noise
    np.testing.assert_allclose(model.covariance(), B @ B.T + variance * np.eye(4), atol=1e-3)


def test_a_factor_below_the_known_noise_gets_no_loading():
    X, _ = draw(m=300, d=4, r=1, noise=0.5, seed=1)
    model = FactorModel(3, noise=1.0).fit(X)
    sizes = np.linalg.norm(model.loadings_, axis=0)
    assert sizes[0] > 0
    np.testing.assert_array_equal(sizes[1:], 0)
    assert model.local_kappa() == np.inf


def test_diagonal_noise_is_scikit_learns_factor_analysis():
    X, _ = draw()
    X = X * [1, 2, 3, 4, 5]
    model = FactorModel(2, noise="diagonal").fit(X)
    peer = FactorAnalysis(2, tol=1e-6, svd_method="lapack").fit(X)
    assert model.score(X) == pytest.approx(peer.score(X), abs=1e-9)
    np.testing.assert_allclose(model.transform(X), peer.transform(X), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), r=st.integers(1, 3), d=st.integers(4, 8))
def test_the_representation_is_the_conditional_mean(seed, r, d):
    X, _ = draw(m=100, d=d, r=r, seed=seed)
    model = FactorModel(r).fit(X)
    B, cov = model.loadings_, model.covariance()
    expected = (X - X.mean(axis=0)) @ np.linalg.inv(cov) @ B  # cov(z, x) cov(x)^-1 (x - mean)
    np.testing.assert_allclose(model.transform(X), expected, atol=1e-8)


@pytest.mark.parametrize("r", [1, 3, 5])
def test_bic_finds_the_number_of_factors(r):
    X, _ = draw(m=2000, d=10, r=r, seed=r)
    assert FactorModel().fit(X).n_components_ == r
    assert FactorModel(noise=0.5).fit(X).n_components_ == r


def test_bic_passes_over_exact_copies():
    X, _ = draw(m=500, d=6, r=2)
    doubled = np.column_stack([X, X[:, :2] + X[:, 2:4]])  # rank 6 of 8
    model = FactorModel().fit(doubled)
    assert 1 <= model.n_components_ < 6
    assert model.noise_variance_[0] > 0


def test_samples_follow_the_model():
    X, _ = draw()
    model = FactorModel(2).fit(X)
    x, z = model.sample(200_000, random_state=0)
    np.testing.assert_allclose(np.cov(x.T), model.covariance(), atol=0.1)
    np.testing.assert_allclose((x - x.mean(0)).T @ z / len(x), model.loadings_, atol=0.03)
    assert x.shape == (200_000, 5)
    assert z.shape == (200_000, 2)


def test_rotation_and_shift_of_the_features_change_nothing_that_matters():
    X, _ = draw()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    here, there = FactorModel(2).fit(X), FactorModel(2).fit(X @ rotation + 7)
    np.testing.assert_allclose(here.strengths(), there.strengths())
    gram = here.transform(X) @ here.transform(X).T
    other = there.transform(X @ rotation + 7)
    np.testing.assert_allclose(gram, other @ other.T, atol=1e-8)


def hellinger(one, two):
    """Between centred Gaussians, in closed form."""
    log_dets = [np.linalg.slogdet(cov)[1] for cov in (one, two, (one + two) / 2)]
    return np.sqrt(-np.expm1(0.25 * (log_dets[0] + log_dets[1]) - 0.5 * log_dets[2]))


def joint(B):
    """Covariance of (x, z) for unit noise."""
    return np.block([[B @ B.T + np.eye(len(B)), B], [B.T, np.eye(B.shape[1])]])


@pytest.mark.parametrize("strength", [(2.0, 1.0), (0.7, 0.3), (3.0, 2.5)])
def test_local_kappa_is_the_largest_ratio_of_hellinger_distances(strength):
    # Brute force: every small change of B, the best rotation of each.
    here = np.eye(3)[:, :2] * strength
    size = 1e-2

    def ratio(direction):
        there = here + size * direction.reshape(3, 2) / np.linalg.norm(direction)
        observed = hellinger(here @ here.T + np.eye(3), there @ there.T + np.eye(3))

        def latent(angle):
            c, s = np.cos(angle), np.sin(angle)
            return hellinger(joint(here), joint(there @ np.array([[c, -s], [s, c]])))

        # A change of size 1e-2 asks for no large turn.
        best = minimize(lambda a: latent(a[0]), [0.0], method="Nelder-Mead").fun
        return best / observed

    rng = np.random.default_rng(0)
    tries = [rng.normal(size=6) for _ in range(200)]
    ratios = np.array([ratio(t) for t in tries])
    start = tries[int(ratios.argmax())]
    found = minimize(lambda t: -ratio(t), start, method="Nelder-Mead", options={"maxiter": 300})
    model = FactorModel(2)
    model.mean_, model.loadings_, model.noise_variance_ = np.zeros(3), here, np.ones(3)
    model.n_components_ = 2
    kappa = model.local_kappa()
    assert ratios.max() <= 1.02 * kappa
    assert -found.fun == pytest.approx(kappa, rel=0.02)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"n_components": 5}, "below the number of features, got 5"),
        ({"n_components": 0}, "n_components must be a whole number >= 1, got 0"),
        ({"n_components": 2.0}, "whole number >= 1, got 2.0"),
        ({"noise": -1.0}, r'noise must be "isotropic".*got -1.0'),
        ({"noise": "full"}, "got 'full'"),
        ({"noise": "diagonal"}, "give n_components with noise='diagonal'"),
    ],
)
def test_bad_parameters(parameters, words):
    X, _ = draw()
    with pytest.raises(ValueError, match=words):
        FactorModel(**parameters).fit(X)


def test_bad_rows():
    X, _ = draw()
    with pytest.raises(ValueError, match="NaN"):
        FactorModel(2).fit(np.where(X > 5, np.nan, X))
    with pytest.raises(ValueError, match="all rows of X are equal"):
        FactorModel(2).fit(np.ones((10, 4)))
    with pytest.raises(ValueError, match="no variance is left"):
        FactorModel(2).fit(X[:, :1] @ np.ones((1, 4)))
    with pytest.raises(ValueError, match="no variance is left for the noise beside 4 factors"):
        FactorModel(4).fit(X[:4])
    with pytest.raises(ValueError, match="at most the number of rows, got 4"):
        FactorModel(4).fit(X[:3])
