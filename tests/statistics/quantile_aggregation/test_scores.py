"""Scores against scikit-learn, closed forms and loops; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss

from paperworks.statistics import quantile_scores


def case(seed, n=40, levels=(0.1, 0.25, 0.5, 0.75, 0.9)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), rng.normal(size=(n, len(levels))), np.array(levels)


def test_pinball_is_scikit_learns():
    y, q, levels = case(0)
    scores = quantile_scores(y, q, levels)
    theirs = [mean_pinball_loss(y, q[:, j], alpha=a) for j, a in enumerate(levels)]
    np.testing.assert_allclose(scores.pinball, theirs, rtol=1e-12)
    assert scores.wis == pytest.approx(2 * np.mean(theirs))


@given(st.integers(0, 2**32 - 1))
def test_the_score_is_that_of_its_intervals(seed):
    """Equations 7 and 8: width and misses of each central interval, and the median's error."""
    y, q, levels = case(seed, n=7)
    q.sort(axis=1)
    total = 0.0
    for i in range(len(y)):
        for lower, upper, miss in ((0, 4, 0.2), (1, 3, 0.5)):
            low, high = q[i, lower], q[i, upper]
            distance = max(low - y[i], y[i] - high, 0.0)
            total += miss * (high - low) + 2 * distance
        total += abs(y[i] - q[i, 2])
    assert quantile_scores(y, q, levels).wis == pytest.approx(total / len(y) / len(levels))


def test_many_levels_near_the_continuous_ranked_probability_score():
    y = np.array([-1.3, 0.0, 0.7])
    levels = (np.arange(2000) + 0.5) / 2000
    q = np.tile(norm.ppf(levels), (3, 1))
    closed = y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - 1 / np.sqrt(np.pi)
    assert quantile_scores(y, q, levels).wis == pytest.approx(closed.mean(), rel=1e-3)


def test_the_true_quantiles_have_the_lowest_score():
    y = np.random.default_rng(1).normal(size=20_000)
    levels = np.array([0.1, 0.5, 0.9])

    def score(scale, shift):
        q = np.tile(shift + scale * norm.ppf(levels), (len(y), 1))
        return quantile_scores(y, q, levels).wis

    assert score(1, 0) < min(score(1.2, 0), score(0.8, 0), score(1, 0.1), score(1, -0.1))


def test_coverage_width_and_crossing_counted_by_hand():
    scores = quantile_scores([0, 1, 2, 3], [[0, 1], [2, 4], [3, 1], [1, 2]], [0.1, 0.9])
    assert scores.intervals == pytest.approx([0.8])
    assert scores.coverage == pytest.approx([0.25])  # only the first, on its end
    assert scores.width == pytest.approx([(1 + 2 - 2 + 1) / 4])
    assert scores.crossing == 0.25
    np.testing.assert_allclose(scores.below, [0.75, 0.5])


def test_levels_without_a_mirror_have_no_interval():
    scores = quantile_scores([0.0], [[0.0, 1.0]], [0.5, 0.7])
    assert len(scores.intervals) == len(scores.coverage) == len(scores.width) == 0


@pytest.mark.parametrize(
    ("y", "q", "levels", "words"),
    [
        ([0.0], [[0.0]], [0.0], "strictly between 0 and 1, got 0"),
        ([0.0], [[0.0]], [np.nan], "strictly between 0 and 1, got nan"),
        ([0.0], [[0.0, 1.0]], [0.5, 0.1], "must increase, got 0.1 after 0.5"),
        ([0.0], [[0.0, 1.0]], [0.5, 0.5], "must increase"),
        ([0.0], [[0.0]], 0.5, "list of numbers"),
        ([0.0], [[0.0]], [], "list of numbers"),
        ([0.0], [0.0], [0.5], r"must be \(n, 1\)"),
        ([0.0], [[0.0]], [0.1, 0.5], r"must be \(n, 2\)"),
        ([0.0, 1.0], [[0.0]], [0.5], r"y must be \(1,\)"),
        ([np.nan], [[0.0]], [0.5], "y holds nan at 0"),
        ([0.0], [[np.inf]], [0.5], r"q holds inf at \(0, 0\)"),
        ([], np.empty((0, 1)), [0.5], "no rows"),
    ],
)
def test_bad_input_is_refused(y, q, levels, words):
    with pytest.raises(ValueError, match=words):
        quantile_scores(y, q, levels)
