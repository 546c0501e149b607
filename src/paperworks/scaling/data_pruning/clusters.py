"""Distance to the nearest prototype in an embedding: the paper's cheap score, and one with labels.

Sorscher et al., arXiv 2206.14486, the section on self-supervised pruning: k-means in the embedding
of a self-supervised model; an example is as hard as its cosine distance to the nearest cluster
centre is large. No labels are needed. The supervised score measures the distance to the mean of the
example's own class instead.

The clustering is scikit-learn's. Departures: embeddings are scaled to unit length before the
clustering too, so that it groups by the distance that the score measures; the number of clusters
defaults to the square root of the number of examples, 1,132 on ImageNet where the paper takes its
1,000 classes (it finds the choice uncritical around that).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from paperworks.scaling.data_pruning.outputs import plain
from paperworks.scaling.data_pruning.selection import check_labels

FloatArray = NDArray[np.float64]

_ALL = 50_000  # examples up to which "auto" clusters all of them
_PER_CENTER = 256  # size of the sample, as in faiss
_CHUNK = 1 << 24  # numbers held at once when distances are computed


@dataclass(frozen=True)
class Prototypes:
    """Scores by distance to prototypes, and the prototypes.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,)
        1 less the cosine to the example's prototype: 0 for a typical example, at most 2.
    assigned : ndarray of int64, shape (n,)
        The row of ``centers`` that is the example's prototype.
    centers : ndarray of float32 or float64, shape (k, d)
        Prototypes, of unit length.
    """

    scores: FloatArray
    assigned: NDArray[np.int64]
    centers: NDArray[Any]


def prototypes(
    embeddings: ArrayLike,
    clusters: int | None = None,
    *,
    method: str = "auto",
    iterations: int = 25,
    rng: int | np.random.Generator = 0,
) -> Prototypes:
    """Self-supervised prototypes: k-means, and the cosine distance to the nearest centre.

    Parameters
    ----------
    embeddings : (n, d) float
        One row per example, from any model. float32 stays float32; a memory map will do.
    clusters : int, optional
        Number of prototypes, default ``round(sqrt(n))``. Within a factor of several of the number
        of classes it matters little.
    method : {"auto", "all", "sample"}
        Which examples the centres are learnt from: all, or a random sample of 256 for each centre,
        as in faiss. "auto" takes the sample above 50,000 examples. All are scored in either case.
        Centres start by k-means++ with "all", and at random examples with "sample", where
        k-means++ would cost several times the rest.
    iterations : int
        Most passes of Lloyd's algorithm, default 25 as in faiss; it stops earlier once settled.
    rng : int or numpy.random.Generator
        Source of the first centres and of the sample.

    Returns
    -------
    Prototypes

    Raises
    ------
    ValueError
        For embeddings that are not finite, have a row of zeros, or are fewer than the clusters.

    Notes
    -----
    O(n k d) for each pass over all examples, or O(256 k^2 d) over a sample, and O(n k d) for the
    assignment at the end. One copy of the embeddings in memory, and one of the sample.
    scikit-learn's ``MiniBatchKMeans`` was tried in place of the sample: slower, and farther off.

    Examples
    --------
    >>> points = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.0, 1.0], [0.3, 1.0]])
    >>> prototypes(points, 2).scores.round(3).tolist()
    [0.0, 0.005, 0.005, 0.011, 0.011]
    """
    unit = unit_rows(embeddings)
    n = len(unit)
    k = max(1, round(n**0.5)) if clusters is None else clusters
    if not 1 <= k <= n:
        raise ValueError(f"clusters must be between 1 and {n}, the number of examples, got {k}")
    if method not in ("auto", "all", "sample"):
        raise ValueError(f"method must be 'auto', 'all' or 'sample', got {method!r}")
    if iterations < 1:
        raise ValueError(f"iterations must be >= 1, got {iterations}")
    from sklearn.cluster import KMeans

    generator = np.random.default_rng(rng)
    seed = int(generator.integers(2**31))
    sampled = method == "sample" or (method == "auto" and n > _ALL)
    learner = KMeans(
        k,
        init="random" if sampled else "k-means++",
        n_init=1,
        max_iter=iterations,
        random_state=seed,
    )
    size = min(n, _PER_CENTER * k)
    found = learner.fit(
        unit[np.sort(generator.choice(n, size, replace=False))] if sampled else unit
    )
    centers = unit_centers(found.cluster_centers_.astype(unit.dtype))
    assigned, cosine = _nearest(unit, centers)
    return Prototypes(1.0 - cosine, assigned, centers)


def supervised_prototypes(embeddings: ArrayLike, y: ArrayLike) -> Prototypes:
    """Supervised prototypes: the cosine distance to the mean of the example's own class.

    Parameters
    ----------
    embeddings : (n, d) float
        As in :func:`prototypes`.
    y : (n,)
        Labels. Row c of ``centers`` belongs to the c-th label in sorted order.

    Returns
    -------
    Prototypes

    Notes
    -----
    O(n d). An example with a wrong label is far from its class and counts as hard.

    Examples
    --------
    >>> points = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    >>> supervised_prototypes(points, ["a", "a", "b", "b", "b"]).scores.round(2).tolist()
    [0.0, 0.0, 0.11, 0.11, 0.55]
    """
    unit = unit_rows(embeddings)
    labels, assigned = np.unique(check_labels(y, len(unit)), return_inverse=True)
    sums = np.zeros((len(labels), unit.shape[1]), dtype=np.float64)
    for start in range(0, len(unit), _rows(unit)):
        part = slice(start, start + _rows(unit))
        own = assigned[part]
        member = csr_matrix(
            (np.ones(own.size, dtype=unit.dtype), (own, np.arange(own.size))),
            shape=(len(labels), own.size),
        )
        sums += member @ unit[part]
    centers = unit_centers((sums / np.bincount(assigned)[:, None]).astype(unit.dtype))
    cosine = np.empty(len(unit))
    for start in range(0, len(unit), _rows(unit)):
        part = slice(start, start + _rows(unit))
        cosine[part] = np.einsum("nd,nd->n", unit[part], centers[assigned[part]])
    return Prototypes(1.0 - np.clip(cosine, -1, 1), assigned.astype(np.int64), centers)


def unit_rows(embeddings: ArrayLike) -> NDArray[Any]:
    """A copy with rows of unit length, in float32 or float64."""
    values = np.asarray(plain(embeddings))
    if values.ndim != 2 or not values.size:
        raise ValueError(f"embeddings must be (n, d), a row for each example, got {values.shape}")
    if values.dtype.kind not in "iufb":
        raise ValueError(f"embeddings must be real numbers, got {values.dtype}")
    dtype = np.float32 if values.dtype in (np.float16, np.float32) else np.float64
    unit = np.empty(values.shape, dtype=dtype)
    for start in range(0, len(values), _rows(values)):
        part = np.asarray(values[start : start + _rows(values)], dtype=dtype)
        length = np.linalg.norm(part, axis=1)
        bad = np.flatnonzero(~np.isfinite(length) | (length == 0))
        if bad.size:
            what = "zero" if length[bad[0]] == 0 else "not finite"
            raise ValueError(
                f"row {start + bad[0]} of the embeddings is {what} and has no direction; leave it "
                "out"
            )
        unit[start : start + len(part)] = part / length[:, None]
    return unit


def unit_centers(centers: NDArray[Any]) -> NDArray[Any]:
    """Centres of unit length; one that is zero, the mean of opposites, stays zero."""
    length = np.linalg.norm(centers, axis=1, keepdims=True)
    return centers / np.where(length > 0, length, 1)


def _nearest(unit: NDArray[Any], centers: NDArray[Any]) -> tuple[NDArray[np.int64], FloatArray]:
    assigned = np.empty(len(unit), dtype=np.int64)
    cosine = np.empty(len(unit))
    step = max(1, _CHUNK // len(centers))
    for start in range(0, len(unit), step):
        products = unit[start : start + step] @ centers.T
        best = products.argmax(1)
        assigned[start : start + step] = best
        cosine[start : start + step] = products[np.arange(len(best)), best]
    return assigned, np.clip(cosine, -1, 1)


def _rows(values: NDArray[Any]) -> int:
    return max(1, _CHUNK // values.shape[1])
