"""Neighbours and closest rivals against scikit-learn's brute force and plain double loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from paperworks.scaling.generalization_difficulty.neighbors import (
    Points,
    _smallest,
    as_points,
    closest_rivals,
    distinct_rows,
    nearest,
)


def cloud(n: int, d: int, rank: int, dtype: type, seed: int = 0) -> np.ndarray:
    """Points near a few directions of a space of d, far from the origin."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d))
    return (X + 0.1 * rng.standard_normal((n, d)) + 7).astype(dtype)


# 700 columns take the way over the bound in 256 directions, 20 the direct one.
@pytest.mark.parametrize(("d", "dtype"), [(20, "f8"), (20, "f4"), (700, "f8"), (700, "f4")])
def test_neighbours_are_those_of_brute_force(d: int, dtype: str) -> None:
    X = cloud(700, d, 12, dtype)  # type: ignore[arg-type]
    queries = np.arange(0, 700, 3)
    distances, indices = nearest(Points.of(X), 7, queries)
    full = pairwise_distances(X[queries].astype(float), X.astype(float))
    full[np.arange(len(queries)), queries] = np.inf
    order = np.argsort(full, axis=1)[:, :7]
    np.testing.assert_allclose(
        distances, np.take_along_axis(full, order, 1), rtol=1e-10 if dtype == "f8" else 1e-5
    )
    np.testing.assert_array_equal(indices, order)


def test_the_bound_never_exceeds_the_distance() -> None:
    X = cloud(300, 900, 400, np.float64) - 7
    X *= np.linspace(0.1, 3, 300)[:, None]  # so that what the basis leaves differs in length
    points = Points.of(np.concatenate([X, 1.5 * X]))
    assert points.short.shape == (600, 257)
    i, j = np.triu_indices(600, 1)
    low, square = points.pairs(i, j, short=True), points.pairs(i, j)
    assert (low <= square + points.doubt).all()
    assert (low < 0.99 * square).any()  # a bound, not the distance itself


def test_a_poor_basis_costs_time_and_not_truth() -> None:
    rng = np.random.default_rng(0)
    points = Points.of(rng.standard_normal((400, 800)))
    short = np.zeros((400, 1), np.float32)  # the worst bound there is: 0
    blind = Points(points.rows, short, np.zeros(400, np.float32))
    ask = np.arange(50)
    np.testing.assert_array_equal(nearest(blind, 4, ask)[1], nearest(points, 4, ask)[1])
    labels = rng.integers(0, 3, 400)
    assert closest_rivals(blind, labels) == closest_rivals(points, labels)


def test_own_group_is_passed_over() -> None:
    X = cloud(200, 5, 5, np.float64)
    groups = np.repeat(np.arange(20), 10)
    _, indices = nearest(Points.of(X), 5, np.arange(200), groups=groups)
    assert (groups[indices] != groups[:, None]).all()
    full = pairwise_distances(X)
    full[groups[:, None] == groups] = np.inf
    np.testing.assert_array_equal(indices[:, 0], full.argmin(axis=1))


def test_too_few_outside_the_group() -> None:
    groups = np.array([0] * 9 + [1])
    with pytest.raises(ValueError, match="point 0 has only 1 others"):
        nearest(Points.of(cloud(10, 3, 3, np.float64)), 2, np.arange(10), groups=groups)


@pytest.mark.parametrize(("d", "seed"), [(6, 0), (6, 1), (6, 2), (700, 0)])
def test_closest_rivals_are_those_of_all_pairs(d: int, seed: int) -> None:
    X = cloud(300, d, d, np.float64, seed)
    labels = np.random.default_rng(seed).integers(0, 4, 300)
    distance, i, j = closest_rivals(Points.of(X), labels)
    full = pairwise_distances(X)
    full[labels[:, None] == labels] = np.inf
    assert distance == pytest.approx(full.min(), rel=1e-10)
    assert full[i, j] == pytest.approx(full.min(), rel=1e-10)


@pytest.mark.parametrize("n", [40, 64 * 30, 64 * 30 + 17])
def test_smallest_of_each_row(n: int) -> None:
    block = np.random.default_rng(n).permuted(
        np.tile(np.arange(n, dtype=np.float32), (9, 1)), axis=1
    )
    block[:, -1] = -1  # in the part that fills no lane
    found = np.take_along_axis(block, _smallest(block, 6), axis=1)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(block, axis=1)[:, :6])


def test_distinct_rows() -> None:
    X = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [0.0, 0.0], [3.0, 4.0]])
    keep, which = distinct_rows(X)
    assert keep.tolist() == [0, 1, 3]
    assert which.tolist() == [0, 1, 0, 2, 1]
    assert len(distinct_rows(as_points([[0.0, 1.0], [-0.0, 1.0]]))[0]) == 1


def test_as_points_promotes_and_refuses() -> None:
    assert as_points(np.zeros((2, 3, 4), np.uint8)).shape == (2, 12)
    assert as_points(np.zeros((2, 3), np.uint8)).dtype == np.float32
    assert as_points(np.zeros((2, 3), np.int64)).dtype == np.float64
    assert len(as_points(np.full((2, 2), 1e308))) == 2  # finite, though their sum is not
    with pytest.raises(ValueError, match=r"shape \(3,\); a single column is X\[:, None\]"):
        as_points([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="finite, but row 1 is not"):
        as_points([[1.0], [np.nan], [2.0]])
    with pytest.raises(ValueError, match="real numbers"):
        as_points([["a"], ["b"]])
