"""Scores and clusterings of up to a million embeddings of 384 dimensions, and the theory.

Peers. k-means: scikit-learn's KMeans and MiniBatchKMeans with their own settings, and faiss
(``pip install faiss-cpu``; the contest runs without it where it is missing), whose k-means learns
from 256 points per centre by default. All see the same unit vectors, drawn around 2,000 centres,
and are judged by the mean cosine distance of all points to their nearest centre, which is the
score. Its time is counted for all of them, since it is what pruning needs. GraNd: one backward pass
for each example.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from paperworks.scaling import prune_dataset
from paperworks.scaling.data_pruning import grand, prototypes, pruned_perceptron, select
from paperworks.scaling.data_pruning.clusters import _nearest, unit_centers

DIMENSIONS = 384
SIZES = {10_000: 100, 100_000: 316, 1_000_000: 1000}


@cache
def embeddings(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((2000, DIMENSIONS), dtype=np.float32)
    x = np.empty((n, DIMENSIONS), dtype=np.float32)
    for start in range(0, n, 50_000):
        part = x[start : start + 50_000]
        part[:] = centers[rng.integers(0, 2000, len(part))]
        part += rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return x


def ours(x: np.ndarray, k: int) -> np.ndarray:
    return prototypes(x, k).scores


def scikit_learn(x: np.ndarray, k: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    found = KMeans(k, n_init=1, random_state=0).fit(x)
    return 1 - _nearest(x, unit_centers(found.cluster_centers_))[1]


def minibatches(x: np.ndarray, k: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans

    found = MiniBatchKMeans(k, n_init=1, random_state=0).fit(x)
    return 1 - _nearest(x, unit_centers(found.cluster_centers_))[1]


def faiss(x: np.ndarray, k: int) -> np.ndarray:
    library = pytest.importorskip("faiss")
    found = library.Kmeans(x.shape[1], k, niter=25, seed=0, spherical=True)
    found.train(x)
    return 1 - found.index.search(x, 1)[0][:, 0]


CLUSTERINGS = {
    "paperworks": ours,
    "scikit-learn KMeans": scikit_learn,
    "scikit-learn MiniBatchKMeans": minibatches,
    "faiss Kmeans": faiss,
}


@pytest.mark.parametrize("contender", CLUSTERINGS)
@pytest.mark.parametrize("n", SIZES)
def test_kmeans(race: Callable[..., Any], n: int, contender: str) -> None:
    if contender == "scikit-learn KMeans" and n > 100_000:
        pytest.skip("Lloyd's algorithm on all of a million points takes an hour")
    x = embeddings(n)
    scores = race(
        lambda: CLUSTERINGS[contender](x, SIZES[n]),
        group=f"k-means and scores, {n:,} x {DIMENSIONS}, {SIZES[n]} clusters",
        contender=contender,
        ours=contender == "paperworks",
        rounds=1,
        warmup=0,
        note=lambda found: f"mean cosine distance {found.mean():.4f}",
    )
    assert 0 < scores.mean() < 1


@pytest.mark.parametrize("metric", ["supervised-prototypes", "scores", "random"])
def test_a_million(race: Callable[..., Any], metric: str) -> None:
    """Everything else that looks at all examples at once."""
    n = 1_000_000
    x, rng = embeddings(n), np.random.default_rng(0)
    y, scores = rng.integers(0, 1000, n), rng.random(n)
    given = {"scores": scores} if metric == "scores" else {"data": x, "metric": metric}
    result = race(
        lambda: prune_dataset(y=y, keep=0.7, **given),
        group=f"prune a million by {metric}, 1,000 classes balanced",
        contender="paperworks",
        ours=True,
        rounds=1,
        warmup=0,
    )
    assert result.kept.size == 700_000


def loop_over_classes(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What one writes against ``select`` with balance 1 (as DeepCore does)."""
    kept = []
    for label in np.unique(y):
        at = np.flatnonzero(y == label)
        kept.append(at[np.argsort(-scores[at])[: round(0.7 * at.size)]])
    return np.sort(np.concatenate(kept))


@pytest.mark.parametrize("contender", ["paperworks", "a loop over classes"])
@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_select(race: Callable[..., Any], n: int, contender: str) -> None:
    rng = np.random.default_rng(0)
    scores, y = rng.random(n), rng.integers(0, 1000, n)
    kept = race(
        lambda: (
            select(scores, 0.7, y=y, balance=1.0)
            if contender == "paperworks"
            else loop_over_classes(scores, y)
        ),
        group=f"balanced selection, {n:,} examples, 1,000 classes",
        contender=contender,
        ours=contender == "paperworks",
    )
    assert abs(kept.size - 0.7 * n) < 1000


@pytest.mark.parametrize("contender", ["paperworks", "a backward pass each"])
def test_grand(race: Callable[..., Any], contender: str) -> None:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(),
            torch.nn.Linear(16 * 13 * 13, 10),
        )  # fmt: skip
        x, y = torch.randn(1000, 1, 28, 28), torch.randint(0, 10, (1000,))

    def loop() -> np.ndarray:
        norms = []
        for a, b in zip(x.split(1), y.split(1), strict=True):
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(a), b).backward()
            norms.append(sum(float(p.grad.square().sum()) for p in model.parameters()) ** 0.5)
        return np.array(norms)

    found = race(
        (lambda: grand(model, x, y)) if contender == "paperworks" else loop,
        group="GraNd of 1,000 images, 27,000 parameters",
        contender=contender,
        ours=contender == "paperworks",
    )
    np.testing.assert_allclose(found[:5], grand(model, x[:5], y[:5]), rtol=1e-3)


@pytest.mark.parametrize("theta", [0.0, 0.3])
def test_theory(race: Callable[..., Any], theta: float) -> None:
    found = race(
        lambda: pruned_perceptron(20.0, 0.5, theta=theta),
        group=f"replica theory, probe at {theta:g}",
        contender="paperworks",
        ours=True,
        note=lambda result: f"residual {result.residual:.0e}",
    )
    assert found.converged
