"""Scores from the outputs of trained models: EL2N and margins.

EL2N: Paul, Ganguli and Dziugaite, "Deep Learning on a Data Diet", arXiv 2107.07075: the length of
the error vector ``softmax(logits) - one_hot(y)``, a few epochs into training, averaged over models.

Margin: Toneva et al., arXiv 1812.05159 (misclassification margin), and Pleiss et al.,
arXiv 2001.10528 (area under the margin, its mean over epochs): the logit of the label less the
largest other. Without labels, the difference of the two largest probabilities, as in active
learning. Both are turned round here, so that higher is harder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

FloatArray = NDArray[np.float64]


def el2n(logits: Any, y: ArrayLike) -> FloatArray:
    """EL2N score: how far the predicted probabilities are from the label.

    Parameters
    ----------
    logits : (n, C) or (M, n, C) float, array or tensor
        Outputs before the softmax, of one model or of M, over which the score is averaged.
    y : (n,) int
        Labels, 0 to C - 1.

    Returns
    -------
    ndarray of float64, shape (n,)
        Between 0 and the square root of 2, higher for harder.

    Notes
    -----
    Take the logits early: after 10 to 20 of 200 epochs, from about 10 models. At the end of
    training all examples are fitted, and one model is noisy. Cost O(M n C).

    Examples
    --------
    >>> el2n([[9.0, 0.0], [0.0, 0.0]], [0, 0]).round(3).tolist()
    [0.0, 0.707]
    """
    values, labels = checked(logits, y)
    error = softmax(values, axis=-1)
    error[:, np.arange(labels.size), labels] -= 1.0
    return np.asarray(np.sqrt((error * error).sum(-1)).mean(0))


def margin(logits: Any, y: ArrayLike | None = None) -> FloatArray:
    """Negative margin of a classifier: high where it is wrong or undecided.

    Parameters
    ----------
    logits : (n, C) or (M, n, C) float, array or tensor
        As in :func:`el2n`, C >= 2.
    y : (n,) int, optional
        With labels, the largest other logit less the label's. Without, the second largest
        probability less the largest.

    Returns
    -------
    ndarray of float64, shape (n,)
        Higher for harder; without labels between -1 and 0.

    Examples
    --------
    >>> margin([[3.0, 1.0], [1.0, 3.0]], [0, 0]).tolist()
    [-2.0, 2.0]
    >>> margin([[3.0, 1.0], [0.0, 0.0]]).round(3).tolist()
    [-0.762, 0.0]
    """
    if y is None:
        values, _ = checked(logits, None)
        top = np.sort(softmax(values, axis=-1), axis=-1)
        return np.asarray((top[..., -2] - top[..., -1]).mean(0))
    values, labels = checked(logits, y)
    rows = np.arange(labels.size)
    own = values[:, rows, labels].copy()
    values[:, rows, labels] = -np.inf
    return np.asarray((values.max(-1) - own).mean(0))


def checked(logits: Any, y: ArrayLike | None) -> tuple[FloatArray, NDArray[np.int64]]:
    """A copy of the logits as (M, n, C), and labels that fit them."""
    values = np.array(plain(logits), dtype=np.float64)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or values.shape[-1] < 2 or not values.size:
        raise ValueError(
            f"logits must be (n, C) or (M, n, C) with two classes or more, got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("logits must be finite; the training has probably diverged")
    n, classes = values.shape[1:]
    if y is None:
        return values, np.empty(0, dtype=np.int64)
    labels = np.asarray(plain(y))
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"y must hold {n} whole numbers, one class for each row of logits, got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(f"y must lie in 0 to {classes - 1}, the columns of logits, got {wrong}")
    return values, labels.astype(np.int64)


def plain(values: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values
