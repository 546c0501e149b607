"""Networks against quantiles known in closed form; scikit-learn's checks; determinism."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import expon, norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from paperworks.statistics import GaussianQuantileNetwork, SimultaneousQuantileNetwork
from paperworks.statistics.quantile_aggregation.scores import quantile_scores

BOTH = [GaussianQuantileNetwork, SimultaneousQuantileNetwork]
LEVELS = np.array([0.1, 0.5, 0.9])
QUICK = {"random_state": 0, "batch_size": 250, "lr": 5e-3}


def spreading(n, noise, seed=0):
    """y = x + (1 + x) noise for x in (0, 1)."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 1))
    return X, X[:, 0] + (1 + X[:, 0]) * noise(rng, n)


def test_gaussian_network_finds_normal_quantiles():
    X, y = spreading(3000, lambda rng, n: rng.standard_normal(n))
    model = GaussianQuantileNetwork(LEVELS, **QUICK).fit(X, y)
    x = np.array([[0.1], [0.5], [0.9]])
    truth = x + (1 + x) * norm.ppf(LEVELS)
    np.testing.assert_allclose(model.predict(x), truth, atol=0.2)


def test_simultaneous_network_finds_skewed_quantiles_and_the_gaussian_cannot():
    X, y = spreading(2000, lambda rng, n: rng.exponential(size=n))
    x = np.array([[0.1], [0.5], [0.9]])
    truth = x + (1 + x) * expon.ppf(LEVELS)
    error = {
        kind: np.abs(kind(LEVELS, **QUICK).fit(X, y).predict(x) - truth).max() for kind in BOTH
    }
    assert error[SimultaneousQuantileNetwork] < 0.35
    assert error[GaussianQuantileNetwork] > 0.5


def test_simultaneous_network_was_not_trained_for_its_levels():
    X, y = spreading(300, lambda rng, n: rng.standard_normal(n))
    few = SimultaneousQuantileNetwork([0.37], random_state=0).fit(X, y)
    many = SimultaneousQuantileNetwork([0.2, 0.37, 0.6], random_state=0).fit(X, y)
    np.testing.assert_allclose(few.predict(X)[:, 0], many.predict(X)[:, 1], rtol=1e-5)


@pytest.mark.parametrize("kind", BOTH)
def test_a_seed_fixes_the_fit_and_torchs_own_is_left_alone(kind):
    X, y = spreading(100, lambda rng, n: rng.standard_normal(n))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = kind(max_epochs=400, random_state=3).fit(X, y)
    torch.manual_seed(6)
    second = kind(max_epochs=400, random_state=3).fit(X, y)
    third = kind(max_epochs=400, random_state=4).fit(X, y)
    np.testing.assert_array_equal(first.predict(X), second.predict(X))
    assert not np.array_equal(first.predict(X), third.predict(X))
    torch.manual_seed(5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.converged_
    assert first.score(X, y) == -quantile_scores(y, first.predict(X)).wis


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(kind):
    check_estimator(kind(max_epochs=2, random_state=0))


@pytest.mark.parametrize("kind", BOTH)
def test_units_do_not_matter(kind):
    X, y = spreading(200, lambda rng, n: rng.standard_normal(n))
    with pytest.warns(ConvergenceWarning, match="still getting better after max_epochs=5"):
        plain = kind(LEVELS, max_epochs=5, random_state=0).fit(X, y)
    with pytest.warns(ConvergenceWarning):
        scaled = kind(LEVELS, max_epochs=5, random_state=0).fit(40 * X + 1, 100 * y - 7)
    np.testing.assert_allclose(
        scaled.predict(40 * X + 1), 100 * plain.predict(X) - 7, rtol=1e-3, atol=0.1
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"levels": [0.9, 0.1]}, "must increase"),
        ({"hidden": 0}, "hidden and layers must be >= 1, got 0"),
        ({"lr": 0.0}, "lr must be > 0, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0, got -1.0"),
        ({"max_epochs": 0}, "must be >= 1, got 0"),
        ({"batch_size": -1}, "batch_size must be >= 1, or 0"),
        ({"validation_fraction": 1.0}, "strictly between 0 and 1, got 1.0"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        GaussianQuantileNetwork(**settings).fit(np.zeros((5, 1)), np.arange(5.0))
