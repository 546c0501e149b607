"""From scores to kept examples: the hard or the easy ones, and no class wiped out.

Sorscher et al., arXiv 2206.14486: examples are sorted by a score and a share of them is kept.
Where labels are known each class keeps at least half of what it would keep if all were pruned
alike, since pruning by difficulty alone makes small classes smaller (the paper's section on
ImageNet).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ORDERS = ("hard", "easy")

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def count_kept(keep: float, n: int) -> int:
    """How many of n examples ``keep`` means: a share as a float, or a number as an int."""
    if isinstance(keep, (bool, np.bool_)) or not isinstance(keep, (int, float, np.number)):
        raise ValueError(f"keep must be a share in (0, 1] or a whole number, got {keep!r}")
    if isinstance(keep, (int, np.integer)):
        if not 1 <= keep <= n:
            raise ValueError(
                f"keep = {keep} examples must be between 1 and {n}, all there are; "
                "a share is a float, as 1.0"
            )
        return int(keep)
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be a share in (0, 1] or a whole number, got {keep}")
    return max(1, round(float(keep) * n))


def select(
    scores: ArrayLike,
    keep: float,
    *,
    order: str = "hard",
    y: ArrayLike | None = None,
    balance: float = 0.5,
    rng: int | np.random.Generator = 0,
) -> IntArray:
    """Indices of the examples to keep, in rising order.

    Parameters
    ----------
    scores : (n,) float
        Difficulty, higher for harder. Infinite is fine, NaN is refused.
    keep : float or int
        Share or number to keep.
    order : {"hard", "easy"}
        Keep the highest or the lowest scores.
    y : (n,), optional
        Classes, of any type that sorts. None: nothing to balance.
    balance : float
        Each class keeps at least this part of its equal share ``keep * (size of the class)``,
        rounded down; default 0.5 as in the paper. 0 lets scores alone decide, 1 prunes all classes
        alike.
    rng : int or numpy.random.Generator
        Decides between equal scores, of which counts such as forgetting events have many.

    Returns
    -------
    ndarray of int64

    Notes
    -----
    O(n log n) time, O(n) memory.

    Examples
    --------
    >>> select([0.1, 0.9, 0.5, 0.7], 2).tolist()
    [1, 3]
    >>> select([0.1, 0.9, 0.5, 0.7], 2, y=["a", "b", "a", "b"], balance=1.0).tolist()
    [1, 2]
    """
    values = check_scores(scores)
    n = values.size
    count = count_kept(keep, n)
    if order not in ORDERS:
        raise ValueError(f"order must be 'hard' or 'easy', got {order!r}")
    if not 0 <= balance <= 1:
        raise ValueError(f"balance must be in [0, 1], got {balance}")
    # A stable sort of a shuffled list: equal scores stay as they were shuffled.
    shuffled = np.random.default_rng(rng).permutation(n)
    keys = -values if order == "hard" else values
    ranked = shuffled[np.argsort(keys[shuffled], kind="stable")]
    if y is None or balance == 0:
        return np.sort(ranked[:count]).astype(np.int64)
    _, codes, sizes = np.unique(check_labels(y, n), return_inverse=True, return_counts=True)
    # In whole numbers, so that 0.5 of 0.4 of 10 is 2 and not 1.999.
    floors = np.floor(balance * sizes * (count / n) + 1e-9).astype(np.int64)
    in_order = codes[ranked]
    # Place of each example among its class's, in ranked order.
    by_class = np.argsort(in_order, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.empty(n, dtype=np.int64)
    place[by_class] = np.arange(n) - np.repeat(starts, sizes)
    sure = place < floors[in_order]
    rest = ranked[~sure][: count - int(sure.sum())]
    return np.sort(np.concatenate([ranked[sure], rest])).astype(np.int64)


def check_scores(scores: ArrayLike) -> FloatArray:
    """Scores as a vector of float64 without NaN."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"scores must be a vector with one number per example, got {values.shape}")
    bad = np.flatnonzero(np.isnan(values))
    if bad.size:
        raise ValueError(
            f"scores hold NaN at {bad.size} examples, the first is {bad[0]}; leave these examples "
            "out or give them a score"
        )
    return values


def check_labels(y: ArrayLike, n: int) -> NDArray:
    """Labels as a vector of n."""
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise ValueError(f"y must hold one label for each of {n} examples, got {labels.shape}")
    return labels


@dataclass(frozen=True)
class PrunedDataset:
    """The outcome of :func:`paperworks.scaling.prune_dataset`.

    Parameters
    ----------
    kept : ndarray of int64
        Indices of the kept examples, rising: ``x[result.kept]``.
    scores : ndarray of float64, shape (n,)
        Difficulty of every example, higher for harder.
    metric, order : str
        What the scores are, and which end of them was kept.
    balance : float
        As given; it did nothing where there were no labels.
    classes : dict
        For each label its numbers of examples before and after; empty without labels.

    Examples
    --------
    >>> from paperworks.scaling import prune_dataset
    >>> result = prune_dataset(keep=2, scores=[0.1, 0.9, 0.5, 0.7], y=[0, 1, 0, 1])
    >>> result.kept.tolist(), result.pruned.tolist(), result.classes
    ([1, 3], [0, 2], {0: (2, 0), 1: (2, 2)})
    """

    kept: IntArray
    scores: FloatArray
    metric: str
    order: str
    balance: float
    classes: dict[object, tuple[int, int]]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True where an example is kept, shape (n,)."""
        mask = np.zeros(self.scores.size, dtype=bool)
        mask[self.kept] = True
        return mask

    @property
    def pruned(self) -> IntArray:
        """Indices of the examples left out, rising."""
        return np.flatnonzero(~self.mask)
