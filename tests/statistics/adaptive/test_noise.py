"""The exact noise against its closed forms."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from paperworks.statistics.adaptive.noise import discrete_gaussian, discrete_laplace, source


def frequencies(draws, edge):
    """How often each whole number from -edge to edge came, and all beyond."""
    return np.bincount(np.clip(draws, -edge - 1, edge + 1) + edge + 1, minlength=2 * edge + 3)


def expected(weight, edge):
    far = np.arange(-400, 401)
    weights = weight(far)
    probabilities = weights / weights.sum()
    inside = probabilities[np.abs(far) <= edge]
    return np.concatenate([[probabilities[far < -edge].sum()], inside,
                           [probabilities[far > edge].sum()]])  # fmt: skip


@pytest.mark.parametrize(
    ("sampler", "scale", "weight"),
    [
        (discrete_laplace, 1, lambda x: np.exp(-np.abs(x) / 1)),
        (discrete_laplace, 4, lambda x: np.exp(-np.abs(x) / 4)),
        (discrete_gaussian, 1, lambda x: np.exp(-x * x / 2)),
        (discrete_gaussian, 5, lambda x: np.exp(-x * x / 50)),
    ],
)
def test_small_scales_have_the_stated_probabilities(sampler, scale, weight):
    draw, edge = random.Random(1), 3 * scale
    draws = np.array([sampler(scale, draw) for _ in range(20_000)])
    seen, probabilities = frequencies(draws, edge), expected(weight, edge)
    assert stats.chisquare(seen, 20_000 * probabilities).pvalue > 1e-4


@pytest.mark.parametrize(
    ("sampler", "law"), [(discrete_laplace, stats.laplace), (discrete_gaussian, stats.norm)]
)
def test_large_scales_are_the_continuous_law(sampler, law):
    draw, scale = random.Random(2), 12_345_678
    draws = [sampler(scale, draw) / scale for _ in range(5_000)]
    assert stats.kstest(draws, law.cdf).pvalue > 1e-4


def test_noise_comes_from_the_system_unless_a_seed_is_given():
    assert isinstance(source(None), random.SystemRandom)
    first, again = ([discrete_laplace(1000, source(seed)) for seed in (1, 2)] for _ in range(2))
    assert first == again
    assert first[0] != first[1]


@pytest.mark.parametrize("seed", [True, 1.5, np.random.default_rng(0)])
def test_other_seeds_are_refused(seed):
    with pytest.raises(ValueError, match="random_state must be an integer, or None"):
        source(seed)
