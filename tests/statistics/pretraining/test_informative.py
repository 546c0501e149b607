"""The informative condition and the checks: known distances, and what each should notice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, multivariate_normal, norm
from sklearn.cross_decomposition import PLSRegression
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from paperworks.statistics import (
    ContrastiveModel,
    FactorModel,
    MixtureModel,
    PretrainedERM,
    informative_condition,
)
from paperworks.statistics.pretraining.components import ComponentClassifier
from paperworks.statistics.pretraining.diagnostics import (
    _of_factors,
    fit_p_value,
    latents_suffice,
)
from paperworks.statistics.pretraining.informative import total_variation


def factors(m, d=6, r=2, strength=2.0, seed=0):
    """Rows of a factor model with noise 1, their factors, and loadings of singular value s."""
    rng = np.random.default_rng(seed)
    B = strength * np.linalg.qr(rng.normal(size=(d, r)))[0]
    z = rng.normal(size=(m, r))
    return z @ B.T + rng.normal(size=(m, d)), z


def test_total_variation_of_two_gaussians():
    x = np.random.default_rng(0).normal(size=400_000)
    for shift in (0.1, 1.0, 3.0):
        found, error = total_variation(norm.logpdf(x), norm.logpdf(x, shift))
        assert found == pytest.approx(2 * norm.cdf(shift / 2) - 1, abs=4 * error)
        assert error < 2e-3


def test_distances_of_a_factor_alternative():
    X, _ = factors(500, d=2, r=1)
    model = FactorModel(1).fit(X)
    found = model.alternative(1.0, np.random.default_rng(7), 200_000)
    change = np.random.default_rng(7).standard_normal((2, 1))
    scale = np.sqrt(model.noise_variance_)[:, None]
    here = model.loadings_ / scale
    there = here + change / np.linalg.norm(change)
    there *= np.sign((here * there).sum())
    grid = np.linspace(-12, 12, 600)
    points = np.stack(np.meshgrid(grid, grid), axis=-1)
    p, q = (multivariate_normal(cov=B @ B.T + np.eye(2)).pdf(points) for B in (here, there))
    exact = 0.5 * np.abs(p - q).sum() * (grid[1] - grid[0]) ** 2
    assert found.observed == pytest.approx(exact, abs=4 * found.error)
    z = grid[:, None]
    apart = np.linalg.norm(z @ (there - here).T, axis=1)
    weight = norm.pdf(grid) * (grid[1] - grid[0])
    assert found.latent == pytest.approx(((2 * norm.cdf(apart / 2) - 1) * weight).sum(), rel=0.01)


def test_an_alternative_is_turned_to_the_best_rotation():
    X, _ = factors(500, d=3, strength=1.0)
    model = FactorModel(2).fit(X)
    found = model.alternative(1.5, np.random.default_rng(5), 50_000)
    change = np.random.default_rng(5).standard_normal((3, 2))
    here = model.loadings_ / np.sqrt(model.noise_variance_)[:, None]
    there = here + 1.5 * change / np.linalg.norm(change)
    z = np.random.default_rng(0).normal(size=(50_000, 2))
    tries = []
    for angle in np.linspace(-np.pi, np.pi, 721):
        c, s = np.cos(angle), np.sin(angle)
        away = there @ np.array([[c, -s], [s, c]]) - here
        tries.append((np.linalg.norm(away), away))
    best = min(tries, key=lambda pair: pair[0])[1]
    latent = [
        (2 * norm.cdf(np.linalg.norm(z @ away.T, axis=1) / 2) - 1).mean()
        for away in (best, there - here)
    ]
    assert latent[1] > latent[0] + 0.01  # so that turning matters here
    assert found.latent == pytest.approx(latent[0], abs=0.006)


def test_the_condition_is_a_summary_of_what_was_tried():
    X, _ = factors(2000)
    model = FactorModel(2).fit(X)
    found = informative_condition(model, n_alternatives=12)
    ratios = np.array(found.latent) / np.array(found.observed)
    assert found.largest == pytest.approx(ratios.max())
    assert found.local == model.local_kappa()
    assert found.kappa == max(np.sqrt(2) * found.local, found.largest)
    # Ratios of total variation stay near those of Hellinger distance, at most sqrt(2) beyond.
    assert 0.2 * found.local < found.largest < np.sqrt(2) * found.local
    again = informative_condition(model, n_alternatives=12)
    assert again == found
    with pytest.raises(ValueError, match="n_alternatives must be a whole number >= 1, got 0"):
        informative_condition(model, n_alternatives=0)


@pytest.mark.parametrize("shape", [(2000, 10), (60, 40), (30, 80)])
def test_noise_is_seldom_taken_for_a_factor(shape):
    trials, passed = 100, 0
    for seed in range(trials):
        X = np.random.default_rng(seed).normal(size=shape)
        check = _of_factors(FactorModel(1).fit(X), X)[0]
        passed += check.ok
    assert binom.ppf(0.001, trials, 0.05) <= passed <= binom.ppf(0.999, trials, 0.05)


def test_noise_is_not_informative():
    X = np.random.default_rng(2).normal(size=(8000, 10))
    y = np.random.default_rng(1).normal(size=8000)
    model = PretrainedERM(FactorModel(1)).fit(X, y)
    found = model.diagnose(X, y, n_alternatives=4, n_resamples=19)
    assert found.condition.local > 3
    assert not found.ok
    assert str(found).count("NO  signal-to-noise ratio of the weakest factor") == 1


def test_a_good_factor_model_passes_and_prints():
    X, z = factors(3000)
    y = np.full(3000, np.nan)
    y[:40] = z[:40] @ [1.0, -1.0]
    model = PretrainedERM(FactorModel(2)).fit(X, y)
    found = model.diagnose(X, y, n_alternatives=4)
    assert found.ok
    assert [check.ok for check in found.checks] == [True] * 4
    text = str(found)
    assert text.startswith("FactorModel: kappa >= ")
    assert text.count("\nok  ") == 4


def test_a_good_mixture_passes_and_a_bad_one_does_not():
    rng = np.random.default_rng(0)
    z = rng.integers(3, size=900)
    y = np.full(900, -1)
    y[:30] = z[:30] == 2
    for spread, ok in ((12.0, True), (1.0, False)):
        X = rng.normal(size=(900, 4)) + spread * np.eye(3, 4)[z]
        model = PretrainedERM(MixtureModel(3, random_state=0)).fit(X, y)
        found = model.diagnose(X, y, n_alternatives=4)
        assert found.ok is ok
        assert (found.checks[1].ok, found.checks[2].ok) == (ok, ok)
    far = 20.0 * np.eye(4)[[0, 1, 2, 3] * 50] + rng.normal(size=(200, 4))
    labels = np.full(200, -1)
    labels[[0, 1, 4, 5]] = [0, 1, 0, 1]
    found = PretrainedERM(MixtureModel(4, random_state=0)).fit(far, labels)
    check = found.diagnose(far, labels, n_alternatives=4).checks[3]
    assert (check.name, check.value, check.ok) == ("components without a labelled row", 2, False)


def test_pairs_that_say_nothing_are_noticed():
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(2, 3000, 4))
    y = np.where(A[:, 0] > 0, "a", "b").astype(object)
    y[60:] = -1
    for told, ok in ((True, True), (False, False)):
        chance = 1 / (1 + np.exp(-3 * A[:, 0] * B[:, 0])) if told else 0.5
        s = rng.random(3000) < chance
        model = PretrainedERM(ContrastiveModel(1, random_state=0)).fit(A, y, pairs=(A, B, s))
        check = model.diagnose(A, y, n_alternatives=4, n_resamples=19).checks[1]
        assert (check.name, check.ok) == ("share of the signs' log loss explained", ok)


def test_the_likelihood_ratio_has_its_level_and_power():
    trials = 150
    rejected = 0
    for seed in range(trials):
        X, _ = factors(200, seed=seed)
        rejected += fit_p_value(FactorModel(2).fit(X), X) <= 0.05
    assert binom.ppf(0.001, trials, 0.05) <= rejected <= binom.ppf(0.999, trials, 0.05)
    X, _ = factors(400, r=3)
    assert fit_p_value(FactorModel(1).fit(X), X) < 1e-6
    # Unequal noise is no isotropic factor model, but is one with diagonal noise.
    X, _ = factors(2000, r=1)
    X[:, 0] *= 3
    assert fit_p_value(FactorModel(1).fit(X), X) < 1e-6
    assert fit_p_value(FactorModel(1, noise="diagonal").fit(X), X) > 0.01
    assert np.isnan(fit_p_value(FactorModel(1).fit(X[:30]), X[:30]))


def p_value(kind, broken, seed):
    """Of labels that depend on the latents alone, or also on the last feature."""
    rng = np.random.default_rng(seed)
    if kind == "regression":
        X, z = factors(400, seed=seed)
        model = FactorModel(2).fit(X)
        y = z[:40, 0] + 0.5 * rng.normal(size=40) + broken * X[:40, -1]
        predictor = LinearRegression()
    else:
        z = rng.integers(3, size=300)
        X = rng.normal(size=(300, 4)) + 5 * np.eye(3, 4)[z]
        model = MixtureModel(3, n_init=1, random_state=0).fit(X)
        # Labels by component with noise, and by the fourth feature within components.
        chance = np.where(z[:60] == 2, 0.8, 0.3)
        if broken:
            chance = np.where(X[:60, 3] > 0, 0.95, 0.05)
        y = rng.random(60) < chance
        predictor = ComponentClassifier()
    n = len(y)
    return latents_suffice(
        predictor,
        model.transform(X[:n]),
        X[:n],
        y,
        classifier=kind != "regression",
        n_resamples=39,
        rng=rng,
    )


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_the_test_of_the_labels_has_its_level_and_power(kind):
    trials = 60
    rejected = sum(p_value(kind, False, seed) <= 0.05 for seed in range(trials))
    assert rejected <= binom.ppf(0.999, trials, 0.05)
    noticed = sum(p_value(kind, True, seed) <= 0.05 for seed in range(10))
    assert noticed >= 8


def test_what_cannot_be_tested_is_nan():
    X, z = factors(50, d=3, r=1)
    rng = np.random.default_rng(0)
    common = {"classifier": False, "n_resamples": 19, "rng": rng}
    assert np.isnan(latents_suffice(LinearRegression(), X, X, z[:, 0], **common))
    assert np.isnan(latents_suffice(LinearRegression(), z[:3], X[:3], z[:3, 0], **common))


def test_an_unfitted_model_is_refused():
    with pytest.raises(NotFittedError, match="FactorModel"):
        informative_condition(FactorModel(1))


def test_diagnose_says_what_it_needs():
    X, z = factors(100)
    y = z[:, 0]
    with pytest.raises(ValueError, match="not for PLSRegression"):
        PretrainedERM(PLSRegressionOnX(), LinearRegression()).fit(X, y).diagnose(X, y)
    model = PretrainedERM(FactorModel(2)).fit(X, y)
    with pytest.raises(ValueError, match="no row of y is labelled"):
        model.diagnose(X, np.full(100, np.nan))
    with pytest.raises(ValueError, match="X has 100 rows and y has 99 labels"):
        model.diagnose(X, y[:-1])
    with pytest.raises(ValueError, match="n_resamples must be a whole number >= 19, got 5"):
        model.diagnose(X, y, n_resamples=5)


class PLSRegressionOnX(PLSRegression):
    """A transformer that is none of the three, fitted without labels."""

    def fit(self, X, y=None):
        return super().fit(X, X)
