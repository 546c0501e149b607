"""Holding the similarity of training and test samples fixed (section 4.1 of the paper).

Frequent concepts also have more training samples that happen to look like a test sample. The paper
takes the pruning of Mayilvahanan et al. (arXiv 2310.09562): training samples that are more similar
to some test sample than a reference training set's nearest one are removed, and the trend is
looked at again for a model trained on what is left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 1 << 24  # similarities held at once


def nearest_similarity(train: ArrayLike, test: ArrayLike) -> NDArray[np.floating]:
    """The highest cosine similarity of each test sample to any training sample.

    Parameters
    ----------
    train : (n, d) float
        Embeddings of the training samples.
    test : (m, d) float

    Returns
    -------
    (m,) float
        In the inputs' precision.

    Raises
    ------
    ValueError
        Where the arrays do not fit, are empty, or hold a zero or non-finite row.

    Notes
    -----
    Cost n m d, in blocks of bounded memory.

    Examples
    --------
    >>> nearest_similarity([[1.0, 0.0], [1.0, 1.0]], [[0.0, 2.0], [3.0, 0.0]]).round(3).tolist()
    [0.707, 1.0]
    """
    a, b = _units(train, "train"), _units(test, "test")
    _same_width(a, b)
    best = np.full(b.shape[0], -np.inf, dtype=np.result_type(a, b))
    step = max(1, _BLOCK // b.shape[0])
    for start in range(0, a.shape[0], step):
        np.maximum(best, (a[start : start + step] @ b.T).max(0), out=best)
    return best


def cap_similarity(train: ArrayLike, test: ArrayLike, cap: ArrayLike) -> NDArray[np.bool_]:
    """Which training samples are no more similar to any test sample than its cap.

    Parameters
    ----------
    train : (n, d) float
    test : (m, d) float
    cap : float or (m,) float
        The highest cosine similarity allowed to each test sample. The paper's control is the cap
        ``nearest_similarity(reference, test)``, with a reference that has every concept equally
        often.

    Returns
    -------
    (n,) bool
        True where the sample stays.

    Raises
    ------
    ValueError
        As `nearest_similarity`, and where the cap is neither one number nor one per test sample.

    Examples
    --------
    >>> cap_similarity([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0]], 0.8).tolist()
    [False, True, True]
    """
    a, b = _units(train, "train"), _units(test, "test")
    _same_width(a, b)
    limit = np.asarray(cap, dtype=np.float64)
    if limit.shape not in ((), (b.shape[0],)) or not np.isfinite(limit).all():
        raise ValueError(
            f"cap must be one finite number or {b.shape[0]}, one per test sample, got shape "
            f"{limit.shape}"
        )
    # A reference sample must not fall by the rounding of its own similarity.
    limit = limit + 8 * np.finfo(np.result_type(a, b)).eps
    keep = np.ones(a.shape[0], dtype=bool)
    step = max(1, _BLOCK // b.shape[0])
    for start in range(0, a.shape[0], step):
        keep[start : start + step] = ((a[start : start + step] @ b.T) <= limit).all(1)
    return keep


def _units(values: ArrayLike, name: str) -> NDArray[np.floating]:
    array = np.asarray(values)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must be a 2-d array with rows, got shape {array.shape}")
    norm = np.sqrt(np.einsum("ij,ij->i", array, array))
    if not (np.isfinite(norm) & (norm > 0)).all():
        row = int(np.argmin(np.isfinite(norm) & (norm > 0)))
        raise ValueError(f"{name} must hold finite rows that are not zero; row {row} is not")
    return array / norm[:, None]


def _same_width(a: NDArray[np.floating], b: NDArray[np.floating]) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"train and test must have the same width, got {a.shape[1]} and {b.shape[1]}"
        )


def match_similarity(
    similarity: ArrayLike,
    groups: ArrayLike,
    *,
    per_group: int,
    bins: int = 5,
    leave_out: bool = False,
    rng: np.random.Generator | int | None = None,
) -> NDArray[np.int64]:
    """Draw test samples so that every group has the same spread of similarity.

    The other way to hold similarity fixed: the training set stays as it is, and the test samples
    are drawn again. All groups get the same number of samples from each bin of similarity; the bins
    are those of the whole test set, and how many come from each is what every group can give.

    Parameters
    ----------
    similarity : (m,) float
        Of each test sample, such as from `nearest_similarity`.
    groups : (m,) int
        The concept of each test sample.
    per_group : int
        Samples wanted per group.
    bins : int
        Bins of equal mass over the whole test set.
    leave_out : bool
        Leave out groups that are too unlike the others, one at a time: the one that could fill
        least of ``per_group`` samples spread evenly over the bins. Their samples are then not among
        those drawn. By default this is an error.
    rng : Generator, int or None

    Returns
    -------
    (groups kept * per_group,) int64
        Indices of the samples drawn, ascending.

    Raises
    ------
    ValueError
        Where the groups do not share enough similarities; the message says how many they share.
        With ``leave_out``, where no group has ``per_group`` samples.

    Examples
    --------
    >>> similarity = [0.1, 0.2, 0.3, 0.9, 0.1, 0.2, 0.3, 0.3]
    >>> match_similarity(similarity, [0, 0, 0, 0, 1, 1, 1, 1], per_group=3, bins=4, rng=0).tolist()
    [0, 1, 2, 4, 5, 6]
    """
    s, g = np.asarray(similarity, dtype=np.float64), np.asarray(groups)
    if s.ndim != 1 or s.shape != g.shape or s.size == 0 or not np.isfinite(s).all():
        raise ValueError(
            f"similarity and groups must be 1-d, of one length and finite, got shapes {s.shape} "
            f"and {g.shape}"
        )
    if per_group < 1 or bins < 1:
        raise ValueError(f"per_group and bins must be >= 1, got {per_group} and {bins}")
    rng = np.random.default_rng(rng)
    names, group = np.unique(g, return_inverse=True)
    edges = np.quantile(s, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.searchsorted(edges, s, "right")
    table = np.zeros((names.size, bins), dtype=np.int64)
    np.add.at(table, (group, place), 1)
    kept = np.ones(names.size, dtype=bool)
    if leave_out:
        able = np.minimum(table, per_group / bins).sum(1)
        for least in np.argsort(able, kind="stable")[:-1]:
            if table[kept].min(0).sum() >= per_group:
                break
            kept[least] = False
    shared = table[kept].min(0)
    if shared.sum() < per_group:
        raise ValueError(
            f"all groups share {shared.sum()} samples of equal similarity, not {per_group}; take "
            "fewer, give more test samples, or leave_out=True the groups least like the others"
        )
    # As the groups can give, scaled down to the number wanted, the largest remainders rounded up.
    want = shared * (per_group / shared.sum())
    quota = np.floor(want).astype(np.int64)
    for place_up in np.argsort(quota - want, kind="stable")[: per_group - quota.sum()]:
        quota[place_up] += 1
    drawn = []
    for number in np.flatnonzero(kept):
        for at in range(bins):
            inside = np.flatnonzero((group == number) & (place == at))
            drawn.append(rng.permutation(inside)[: quota[at]])
    return np.sort(np.concatenate(drawn))
