"""Class distance: every pair, SciPy's generalized Pareto law, and gaps of known width."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import genpareto
from sklearn.metrics import pairwise_distances

from paperworks.scaling import class_distance
from paperworks.scaling.generalization_difficulty.separation import _draw_pairs, extrapolate


def test_exact_is_the_smallest_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 3)), rng.integers(0, 3, 200)
    full = pairwise_distances(X)
    full[y[:, None] == y] = np.inf
    found = class_distance(X, y, method="exact")
    assert found.distance == pytest.approx(full.min(), rel=1e-12)
    assert found.all_pairs == np.isfinite(full).sum() // 2
    assert found.low == found.high == found.distance
    assert found.tail_index is None


@pytest.mark.parametrize("gamma", [0.3, 0.05, -0.3])
def test_quantiles_of_a_generalized_pareto_law(gamma: float) -> None:
    """Reciprocals drawn from the law that the tail must have: the quantile is known."""
    drawn, existing, tail = 100_000, 10_000_000, 2000
    errors = []
    for seed in range(20):
        x = 5 + genpareto.rvs(gamma, size=drawn, random_state=seed)
        value, index = extrapolate(np.sort(x)[::-1][: tail + 1], drawn, existing)
        errors.append((1 / value, index))
    truth = 5 + genpareto.isf(1 / existing, gamma)
    estimates, indices = np.array(errors).T
    # The smallest drawn caps the distance, so that quantiles below the sample's are lifted to it.
    assert np.median(estimates) == pytest.approx(truth, rel=0.25)
    assert np.median(indices) == pytest.approx(gamma, abs=0.12)


def test_a_bounded_tail_needs_the_factor_for_negative_indices() -> None:
    # Uniform reciprocals end at 1; without 1 - gamma_minus the end would be put near 0.993.
    x = np.sort(np.random.default_rng(0).random(200_000))[::-1]
    k = 4000
    logs = np.log(x[:k] / x[k])
    m1, m2 = logs.mean(), (logs**2).mean()
    minus = 1 - 0.5 / (1 - m1 * m1 / m2)
    growth = ((k * 1000) ** (m1 + minus) - 1) / (m1 + minus)
    bare = x[k] + x[k] * m1 * growth
    value, gamma = extrapolate(x[: k + 1], 200_000, 200_000_000)
    assert gamma == pytest.approx(-1, abs=0.1)
    assert 1 / value == pytest.approx(1, abs=0.002)
    assert bare < 0.995


def test_equal_tail_is_returned_as_it_is() -> None:
    assert extrapolate(np.full(11, 0.5), 100, 10_000) == (2.0, float("-inf"))


def test_evt_against_every_pair() -> None:
    """20 sets of points: the estimate from one pair in 40 lies around the true minimum."""
    ratios, covered = [], 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((2000, 4)), rng.integers(0, 2, 2000)
        truth = class_distance(X, y, method="exact").distance
        found = class_distance(X, y, method="evt", pairs=25_000, tail=250, rng=seed)
        assert found.method == "evt"
        assert found.pairs == 25_000
        assert found.distance <= found.closest_seen
        ratios.append(found.distance / truth)
        covered += found.low <= truth <= found.high
    assert np.median(ratios) == pytest.approx(1, abs=0.35)
    assert covered >= 12


def test_a_gap_is_found_and_has_a_negative_index() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((4000, 2))
    X[:, 0] += np.where(X[:, 0] > 0.5, 0.5, 0)
    found = class_distance(X, X[:, 0] > 0.75, method="evt", pairs=50_000, tail=400, rng=0)
    assert found.tail_index is not None
    assert found.tail_index < 0
    assert found.distance == pytest.approx(0.5, abs=0.01)


def test_pairs_are_drawn_evenly_from_all_of_different_labels() -> None:
    labels = np.array([0] * 5 + [1] * 2 + [2])
    i, j = _draw_pairs(labels, 60_000, np.random.default_rng(0))
    assert (labels[i] != labels[j]).all()
    low, high = np.minimum(i, j), np.maximum(i, j)
    counts = np.unique(low * 8 + high, return_counts=True)[1]
    assert len(counts) == 5 * 2 + 5 + 2
    # Each of 17 pairs expects 3,529 with a standard deviation of 58.
    assert abs(counts - 60_000 / 17).max() < 5 * 58


def test_all_pairs_are_taken_where_they_are_few() -> None:
    rng = np.random.default_rng(0)
    found = class_distance(rng.random((100, 2)), np.arange(100) % 2, method="evt")
    assert found.method == "exact"


def test_labels_of_any_kind_and_scale() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.random((60, 2)), np.array(["cat", "dog", "eel"])[rng.integers(0, 3, 60)]
    one = class_distance(X, y).distance
    assert class_distance(1e5 * X, y).distance == pytest.approx(1e5 * one)


@pytest.mark.parametrize("method", ["exact", "evt"])
def test_equal_points_of_two_classes_are_refused(method: str) -> None:
    X = np.random.default_rng(0).random((50, 2))
    X[31] = X[4]
    y = np.arange(50) % 2
    with pytest.raises(ValueError, match="points 4 and 31 are equal and carry different labels"):
        class_distance(X, y, method=method, pairs=100, tail=10)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "hill"}, "'auto', 'evt' or 'exact', got 'hill'"),
        ({"tail": 5}, "tail must be >= 10"),
        ({"pairs": 100}, "at least 10 times as many"),
        ({"confidence": 0.0}, "got 0.0"),
    ],
)
def test_bad_settings(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        class_distance(np.random.default_rng(0).random((20, 2)), np.arange(20) % 2, **settings)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class only"):
        class_distance(np.random.default_rng(0).random((20, 2)), np.zeros(20))
