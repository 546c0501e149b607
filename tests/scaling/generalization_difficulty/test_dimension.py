"""Intrinsic dimension: manifolds of known dimension, a double loop, and scikit-dimension."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks.scaling import intrinsic_dimension


def swiss_roll(n: int, rng: np.random.Generator) -> np.ndarray:
    t = 1.5 * np.pi * (1 + 2 * rng.random(n))
    return np.stack([t * np.cos(t), 21 * rng.random(n), t * np.sin(t)], axis=1)


def sphere(n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    X = rng.standard_normal((n, m + 1))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def turned(X: np.ndarray, d: int, rng: np.random.Generator) -> np.ndarray:
    return X @ np.linalg.qr(rng.standard_normal((d, d)))[0][: X.shape[1]]


# High dimensions are seen too low with 3,000 points, hence the wider band.
@pytest.mark.parametrize(
    ("m", "low", "high"), [(1, 0.97, 1.03), (3, 2.85, 3.15), (6, 5.6, 6.4), (10, 8.8, 10.2)]
)
def test_spheres_in_a_larger_space(m: int, low: float, high: float) -> None:
    rng = np.random.default_rng(m)
    found = intrinsic_dimension(turned(sphere(3000, m, rng), 40, rng), rng=0)
    assert low < found.dimension < high
    assert found.low < found.dimension < found.high


def test_swiss_roll_and_noise() -> None:
    rng = np.random.default_rng(0)
    roll = swiss_roll(3000, rng)
    assert intrinsic_dimension(roll, rng=0).dimension == pytest.approx(2, abs=0.1)
    noisy = roll + 2 * rng.standard_normal(roll.shape)
    assert intrinsic_dimension(noisy, rng=0).dimension == pytest.approx(3, abs=0.25)


def test_a_double_loop_gives_the_same() -> None:
    X = np.random.default_rng(0).standard_normal((60, 4))
    inverses = []
    for i in range(60):
        near = sorted(float(np.linalg.norm(X[i] - X[j])) for j in range(60) if j != i)
        inverses.append(np.mean([np.log(near[4] / near[j]) for j in range(4)]))
    found = intrinsic_dimension(X, k=5, rng=0)
    assert found.dimension == pytest.approx(1 / np.mean(inverses), rel=1e-12)
    assert set(found.by_k) == {2, 5, 10}
    assert found.by_k[5] == found.dimension


@pytest.mark.parametrize("k", [5, 20])
def test_scikit_dimension_gives_the_same(k: int) -> None:
    skdim = pytest.importorskip("skdim", reason="scikit-dimension is not installed")
    X = sphere(500, 4, np.random.default_rng(1))
    peer = skdim.id.MLE(K=k).fit(X, n_neighbors=k, comb="mle")
    assert intrinsic_dimension(X, k=k, rng=0).dimension == pytest.approx(peer.dimension_, rel=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-6, 1e6), st.integers(0, 5))
def test_turning_scaling_shifting_change_nothing(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((80, 3))
    moved = scale * turned(X, 9, rng) + scale * rng.standard_normal(9)
    a, b = intrinsic_dimension(X, rng=0), intrinsic_dimension(moved, rng=0)
    assert a.dimension == pytest.approx(b.dimension, rel=1e-6)


def test_float32_and_float64_agree() -> None:
    X = sphere(800, 5, np.random.default_rng(0))
    a, b = (intrinsic_dimension(X.astype(kind), rng=0).dimension for kind in ("f4", "f8"))
    assert a == pytest.approx(b, rel=1e-4)


def test_the_interval_covers_what_another_sample_gives() -> None:
    # 120 fresh samples of a closed surface, so that no edge disturbs.
    found = [
        intrinsic_dimension(sphere(300, 2, np.random.default_rng(s)), resamples=200, rng=s)
        for s in range(120)
    ]
    truth = np.mean([f.dimension for f in found])  # about its own mean: bias is another matter
    inside = sum(f.low <= truth <= f.high for f in found)
    assert inside >= 105  # binomial with 0.95: below 105 in less than one of a thousand
    # Resampling points as if neighbours did not err together gives 1.23.
    spread = np.std([f.dimension for f in found]) / np.mean([f.draws.std() for f in found])
    assert 0.85 < spread < 1.12


def test_own_group_is_passed_over() -> None:
    # Every state seen twice, a moment apart: without groups the first neighbour is that other one.
    rng = np.random.default_rng(0)
    X = np.repeat(rng.random((1500, 2)), 2, axis=0) + 1e-6 * rng.standard_normal((3000, 2))
    groups = np.repeat(np.arange(1500), 2)
    assert intrinsic_dimension(X, rng=0).dimension < 1
    assert 1.7 < intrinsic_dimension(X, groups=groups, rng=0).dimension < 2.7


def test_episodes_that_do_not_meet_are_noticed() -> None:
    rng = np.random.default_rng(0)
    blobs = np.concatenate([0.01 * rng.standard_normal((50, 2)) + rng.random(2) for _ in range(20)])
    found = intrinsic_dimension(blobs, groups=np.repeat(np.arange(20), 50), rng=0)
    assert any("more than the 2 columns" in w for w in found.warnings)


def test_warnings_say_what_is_doubtful() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 15))
    found = intrinsic_dimension(np.concatenate([X, X[:7]]), rng=0)
    assert found.duplicates == 7
    assert found.points == 400
    assert any("7 rows equal" in w for w in found.warnings)
    assert any("dimensions up to about 5 reliably" in w for w in found.warnings)
    # A line with a little noise: two-dimensional close by, one-dimensional from farther away.
    x = rng.random(2000)
    thick = np.stack([x, 0.001 * rng.standard_normal(2000)], axis=1)
    assert any("depends on the scale" in w for w in intrinsic_dimension(thick, rng=0).warnings)
    assert intrinsic_dimension(rng.random((2000, 2)), rng=0).warnings == ()


def test_queries_are_drawn_by_the_seed() -> None:
    X = np.random.default_rng(0).random((500, 3))
    one, two = (intrinsic_dimension(X, queries=100, rng=s) for s in (0, 0))
    other = intrinsic_dimension(X, queries=100, rng=1)
    assert one.queries == 100
    assert one.dimension == two.dimension != other.dimension
    np.testing.assert_array_equal(one.draws, two.draws)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 1}, "k must be >= 2, got 1"),
        ({"k": 60}, "k = 60 needs 121 distinct points or more, got 100"),
        ({"queries": 1}, "queries must be >= 2 or None"),
        ({"confidence": 1.0}, "confidence must be between 0 and 1, got 1.0"),
        ({"resamples": 0}, "resamples must be >= 1, got 0"),
        ({"groups": [1, 2]}, "one entry for each of 100 points"),
    ],
)
def test_bad_settings(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        intrinsic_dimension(np.random.default_rng(0).random((100, 2)), **options)
