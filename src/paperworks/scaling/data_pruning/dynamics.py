"""What a training run shows of each example: forgetting events, margins and errors over epochs.

Forgetting: Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network
Learning", arXiv 1812.05159, algorithm 1. An example is forgotten when it was right at one
presentation and is wrong at the next. As in the authors' ordering, an example that was never right
counts as forgotten at every presentation, and counts add up over runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.data_pruning.outputs import FloatArray, checked, el2n, margin, plain


class TrainingDynamics:
    """Records of one training run, written batch by batch from your own loop.

    Call :meth:`record` with the logits that the loop has computed anyway; then ask for scores. All
    scores are higher for harder examples.

    Parameters
    ----------
    n : int
        Examples in the training set.

    Notes
    -----
    O(n) memory however long the run: counts and sums are kept, not the history. A recorder is for
    one run; add the scores of several.

    Examples
    --------
    >>> dynamics = TrainingDynamics(3)
    >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
    >>> for second in (wrong, right, wrong):
    ...     dynamics.record([0, 1, 2], [right, second, wrong], [0, 0, 0])
    >>> dynamics.forgetting().tolist()  # never; learnt once and forgotten; never learnt
    [0.0, 1.0, 3.0]
    """

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"n must be >= 1, the size of the training set, got {n}")
        self.n = n
        self.presentations = np.zeros(n, dtype=np.int64)
        self._right = np.zeros(n, dtype=bool)
        self._learnt = np.zeros(n, dtype=bool)
        self._forgotten = np.zeros(n, dtype=np.int64)
        self._error = np.zeros(n)
        self._margin = np.zeros(n)

    def record(self, indices: ArrayLike, logits: Any, y: ArrayLike) -> None:
        """Add one batch.

        Parameters
        ----------
        indices : (b,) int
            Which examples, 0 to n - 1, each once.
        logits : (b, C) float, array or tensor
            Outputs before the softmax, taken before the step that uses them, as in Toneva et al.
        y : (b,) int
            Labels, 0 to C - 1.
        """
        at = self._at(indices)
        values, labels = checked(logits, y)
        if values.shape[:2] != (1, at.size):
            raise ValueError(
                f"logits must be ({at.size}, C), a row for each index, got {np.shape(logits)}"
            )
        right = values[0].argmax(-1) == labels
        self._forgotten[at] += self._right[at] & ~right
        self._right[at] = right
        self._learnt[at] |= right
        self._error[at] += el2n(values[0], labels)
        self._margin[at] += margin(values[0], labels)
        self.presentations[at] += 1

    def forgetting(self) -> FloatArray:
        """Forgetting events of each example; one never learnt counts all its presentations."""
        seen = self._seen()
        return np.where(self._learnt, self._forgotten, seen).astype(np.float64)

    def el2n(self) -> FloatArray:
        """Mean EL2N over the presentations so far: ask early in training."""
        return np.asarray(self._error / self._seen())

    def margin(self) -> FloatArray:
        """Negative area under the margin: the mean over presentations."""
        return np.asarray(self._margin / self._seen())

    def _seen(self) -> NDArray[np.int64]:
        missing = np.flatnonzero(self.presentations == 0)
        if missing.size:
            raise ValueError(
                f"{missing.size} of {self.n} examples were never recorded, the first is "
                f"{missing[0]}; record a whole epoch first"
            )
        return self.presentations

    def _at(self, indices: ArrayLike) -> NDArray[np.int64]:
        at = np.asarray(plain(indices))
        if at.ndim != 1 or at.dtype.kind not in "iu" or not at.size:
            raise ValueError(f"indices must be a vector of whole numbers, got {at!r}")
        if at.min() < 0 or at.max() >= self.n:
            raise ValueError(f"indices must lie in 0 to {self.n - 1}, got {at.min()} to {at.max()}")
        if np.unique(at).size != at.size:
            raise ValueError(
                "indices of a batch must be distinct; record repeats one after another"
            )
        return at.astype(np.int64)
