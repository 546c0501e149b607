"""Memorisation and influence, estimated from models trained on random subsets.

Feldman and Zhang, "What Neural Networks Memorize and Why", arXiv 2008.03703, section 2. Each of
many models is trained on a random subset of the examples. Memorisation of an example is how much
more often the models that saw it get it right than those that did not; influence on a test example
is the same difference for that test example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.data_pruning.outputs import plain

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Fit = Callable[[Any, Any, int], Callable[[Any], ArrayLike]]


@dataclass(frozen=True)
class Memorization:
    """What :func:`estimate_memorization` found.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,)
        Memorisation in [-1, 1]: accuracy of the models that saw an example less that of the others.
    seen, unseen : ndarray of float64, shape (n,)
        These two accuracies.
    error : ndarray of float64, shape (n,)
        Standard error of ``scores`` from the number of models, with a pseudo-count of one in each
        group, so that it is not 0 where all agree.
    subsets : ndarray of bool, shape (M, n)
        Which model saw which example.
    influence : ndarray of float64, shape (n, m), or None
        Influence of each example on each test example, where a test set was given.
    """

    scores: FloatArray
    seen: FloatArray
    unseen: FloatArray
    error: FloatArray
    subsets: BoolArray
    influence: FloatArray | None


def random_subsets(
    n: int, models: int, share: float = 0.7, rng: int | np.random.Generator = 0
) -> BoolArray:
    """Subsets to train on, one row for each model.

    Parameters
    ----------
    n, models : int
        Examples, >= 2, and subsets, >= 2.
    share : float
        Part of the examples in each, in (0, 1). Default 0.7 as in the paper.
    rng : int or numpy.random.Generator
        Source of the subsets.

    Returns
    -------
    ndarray of bool, shape (models, n)
        Every row holds ``round(share * n)`` examples, at least one and not all.

    Examples
    --------
    >>> random_subsets(10, 3).sum(1).tolist()
    [7, 7, 7]
    """
    if n < 2 or models < 2:
        raise ValueError(f"n and models must be >= 2, got {n} and {models}")
    if not 0 < share < 1:
        raise ValueError(f"share must be in (0, 1), got {share}: a model must see some, not all")
    size = min(max(round(share * n), 1), n - 1)
    generator = np.random.default_rng(rng)
    return np.stack([generator.permutation(n) < size for _ in range(models)])


def memorization(subsets: ArrayLike, correct: ArrayLike) -> FloatArray:
    """Memorisation from recorded runs.

    Parameters
    ----------
    subsets : (M, n) bool
        Which model was trained on which example.
    correct : (M, n) bool
        Which model got which example right, in training or out of it.

    Returns
    -------
    ndarray of float64, shape (n,)
        Higher for harder.

    Raises
    ------
    ValueError
        Where an example was seen by all models or by none: train more of them.

    Examples
    --------
    >>> memorization([[1, 0], [0, 1], [1, 1], [0, 0]], [[1, 1], [0, 1], [1, 1], [0, 1]]).tolist()
    [1.0, 0.0]
    """
    masks, right = _flags(subsets, correct)
    seen, unseen, _ = _accuracies(masks, right)
    return seen - unseen


def influence(subsets: ArrayLike, correct: ArrayLike) -> FloatArray:
    """Influence of each training example on each test example, from recorded runs.

    Parameters
    ----------
    subsets : (M, n) bool
        Which model was trained on which example.
    correct : (M, m) bool
        Which model got which test example right.

    Returns
    -------
    ndarray of float64, shape (n, m)
        How much more often a test example is right with the training example than without.

    Notes
    -----
    Two products of matrices, O(M n m). The noise of one entry is about ``sqrt(1 / (M share))``, so
    that only large ones say much of a single pair.

    Examples
    --------
    >>> influence([[1, 0], [0, 1]], [[1], [0]]).tolist()
    [[1.0], [-1.0]]
    """
    masks, right = (np.asarray(each, dtype=np.float64) for each in (subsets, correct))
    if masks.ndim != 2 or right.ndim != 2 or len(masks) != len(right):
        raise ValueError(
            f"subsets must be (M, n) and correct (M, m), got {masks.shape} and {right.shape}"
        )
    _check_seen(masks.sum(0), len(masks))
    return (
        masks.T @ right / masks.sum(0)[:, None]
        - (1 - masks).T @ right / (1 - masks).sum(0)[:, None]
    )


def estimate_memorization(
    fit: Any,
    x: Any,
    y: ArrayLike,
    *,
    models: int = 100,
    share: float = 0.7,
    test: tuple[Any, ArrayLike] | None = None,
    rng: int | np.random.Generator = 0,
    n_jobs: int | None = None,
) -> Memorization:
    """Train on random subsets and see which examples need to be seen.

    Parameters
    ----------
    fit : scikit-learn classifier or callable
        A classifier is cloned for every subset. A callable ``fit(x, y, seed)`` trains a model of
        any kind and returns its ``predict(x)``.
    x : (n, ...) array or tensor
        Inputs.
    y : (n,)
        Labels.
    models : int
        Subsets. Default 100; the paper takes 2,000 to 4,000. The standard error of a score is at
        most about ``1.1 / sqrt(models)`` at the default share.
    share : float
        Part of the examples in a subset, default 0.7 as in the paper.
    test : (x, y), optional
        A test set to estimate influence on.
    rng : int or numpy.random.Generator
        Source of the subsets and of the seeds.
    n_jobs : int, optional
        Processes of joblib.

    Returns
    -------
    Memorization

    Notes
    -----
    As costly as ``models`` trainings. Labels that occur once are in or out of a subset as a whole.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> x, y = np.array([[0.0], [0.1], [0.2], [5.0]]), [0, 0, 0, 1]
    >>> found = estimate_memorization(KNeighborsClassifier(1), x, y, models=30)
    >>> found.scores.tolist()  # the lone example is right only if it was seen
    [0.0, 0.0, 0.0, 1.0]
    """
    from joblib import Parallel, delayed

    labels = np.asarray(plain(y))
    if len(x) != len(labels):
        raise ValueError(f"x holds {len(x)} examples and y {len(labels)}")
    generator = np.random.default_rng(rng)
    masks = random_subsets(len(labels), models, share, generator)
    _check_seen(masks.sum(0), models)
    seeds = [int(seed) for seed in generator.integers(2**31, size=models)]
    train = fit if not hasattr(fit, "fit") else _cloner(fit)
    rows = Parallel(n_jobs=n_jobs)(
        delayed(_judge)(train, x, y, labels, mask, seed, test)
        for mask, seed in zip(masks, seeds, strict=True)
    )
    right = np.array([row[0] for row in rows])
    seen, unseen, error = _accuracies(masks, right)
    on_test = None if test is None else influence(masks, np.array([row[1] for row in rows]))
    return Memorization(seen - unseen, seen, unseen, error, masks, on_test)


def _judge(
    train: Fit, x: Any, y: Any, labels: NDArray, mask: BoolArray, seed: int, test: Any
) -> tuple[BoolArray, BoolArray | None]:
    at = np.flatnonzero(mask)
    predict = train(x[at], y[at] if not isinstance(y, list) else labels[at], seed)
    right = np.asarray(predict(x)) == labels
    if right.shape != labels.shape:
        raise ValueError(f"predictions must be {labels.shape} labels; fit's predict gave others")
    if test is None:
        return right, None
    return right, np.asarray(predict(test[0])) == np.asarray(test[1])


def _cloner(estimator: Any) -> Fit:
    from sklearn.base import clone

    def train(x: Any, y: Any, seed: int) -> Callable[[Any], ArrayLike]:
        fresh = clone(estimator)
        if "random_state" in fresh.get_params():
            fresh.set_params(random_state=seed)
        return fresh.fit(x, y).predict

    return train


def _flags(subsets: ArrayLike, correct: ArrayLike) -> tuple[BoolArray, BoolArray]:
    masks, right = np.asarray(subsets), np.asarray(correct)
    if masks.ndim != 2 or masks.shape != right.shape:
        raise ValueError(
            f"subsets and correct must be alike, (M, n), got {masks.shape} and {right.shape}"
        )
    for name, flags in (("subsets", masks), ("correct", right)):
        if not np.isin(flags, (0, 1)).all():
            raise ValueError(f"{name} must hold true and false alone")
    return masks.astype(bool), right.astype(bool)


def _accuracies(masks: BoolArray, right: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    inside = masks.sum(0)
    _check_seen(inside, len(masks))
    outside = len(masks) - inside
    hits, others = (masks & right).sum(0), (~masks & right).sum(0)
    variance = sum(
        (h + 1) / (m + 2) * (m - h + 1) / (m + 2) / m
        for h, m in ((hits, inside), (others, outside))
    )
    return hits / inside, others / outside, np.sqrt(variance)


def _check_seen(inside: NDArray, models: int) -> None:
    bad = np.flatnonzero((inside == 0) | (inside == models))
    if bad.size:
        raise ValueError(
            f"{bad.size} examples, the first is {bad[0]}, are in all of the {models} subsets or in "
            "none; take more models"
        )
