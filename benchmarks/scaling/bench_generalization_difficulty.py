"""Intrinsic dimension of images: ours beside scikit-dimension and scikit-learn's brute force.

All take the 5 nearest neighbours of up to 10,000 points (the authors' number, and the default)
among ``n`` images of 32 x 32 x 3, and agree on the dimension. scikit-dimension takes them of all
points, so that it runs at 10,000 images and fewer. The images are CIFAR-10's where PAPERWORKS_DATA
holds them, else smooth random ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from paperworks.data import available, load
from paperworks.scaling import class_distance, intrinsic_dimension

K, QUERIES = 5, 10_000


@cache
def images(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    if available("cifar10"):
        data = load("cifar10")
        chosen = rng.permutation(len(data.x_train))[:n]
        return data.x_train[chosen].reshape(n, -1) / np.float32(255), data.y_train[chosen]
    smooth = rng.standard_normal((n, 60)) @ rng.standard_normal((60, 3072))
    noise = 0.3 * rng.standard_normal((n, 3072))
    return (smooth / 8 + noise).astype(np.float32), rng.integers(0, 10, n)


def brute_force(X: np.ndarray) -> float:
    asked = np.random.default_rng(0).permutation(len(X))[:QUERIES]
    search = NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(X)
    logs = np.log(search.kneighbors(X[asked])[0][:, 1:])
    return float(1 / np.mean(logs[:, -1:] - logs[:, :-1]))


def scikit_dimension(X: np.ndarray) -> float:
    skdim = pytest.importorskip("skdim", reason="scikit-dimension is not installed")
    return float(skdim.id.MLE(K=K).fit(X, n_neighbors=K, comb="mle").dimension_)


def paperworks(X: np.ndarray) -> float:
    return intrinsic_dimension(X, k=K, queries=QUERIES, resamples=100, rng=0).dimension


CONTENDERS: dict[str, Callable[[np.ndarray], float]] = {
    "paperworks": paperworks,
    "scikit-learn brute force": brute_force,
    "scikit-dimension": scikit_dimension,
}


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("n", [2000, 10_000, 50_000])
def test_dimension(race: Callable[..., Any], n: int, contender: str) -> None:
    if contender == "scikit-dimension" and n > QUERIES:
        pytest.skip("takes neighbours of all points")
    X, _ = images(n)
    race(
        lambda: CONTENDERS[contender](X),
        group=f"intrinsic dimension, {min(n, QUERIES)} of n={n} images",
        contender=contender,
        ours=contender == "paperworks",
        rounds=1,
        warmup=0,
        note=lambda found: f"dimension {found:.2f}",
    )


def closest_brute(X: np.ndarray, y: np.ndarray) -> float:
    best = np.inf
    for label in np.unique(y):
        search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(X[y != label])
        best = min(best, float(search.kneighbors(X[y == label])[0].min()))
    return best


@pytest.mark.parametrize("contender", ["paperworks", "scikit-learn brute force"])
@pytest.mark.parametrize("n", [2000, 8000])
def test_class_distance(race: Callable[..., Any], n: int, contender: str) -> None:
    X, y = images(n)
    ours = contender == "paperworks"
    race(
        lambda: class_distance(X, y, method="exact").distance if ours else closest_brute(X, y),
        group=f"closest pair of two classes, n={n} images",
        contender=contender,
        ours=ours,
        rounds=1,
        warmup=0,
        note=lambda found: f"distance {found:.4f}",
    )
