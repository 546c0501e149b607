"""Model size against data: how large the best model is at each size of the training set.

Hestness et al., arXiv 1712.00409: at each size of the training set models of several sizes are
trained, the best one's size is noted, and ``s(m) = alpha m^beta_p`` is fitted to those. The paper
finds exponents below 1: models grow more slowly than data.

Departures. The best of a coarse grid of model sizes jumps from one to the next, so the minimum is
that of a parabola in the log of the model's size through the best and its two neighbours. A best
model at the end of its grid says only that the true one lies beyond; it is left out, and named.
The line in log-log is fitted by least squares, with Student's intervals: its points are few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from paperworks.scaling.fitting import Estimate, LawPrediction
from paperworks.scaling.learning_curves.results import prediction
from paperworks.scaling.learning_curves.shapes import FloatArray
from paperworks.scaling.levels import check_level


@dataclass(frozen=True)
class ModelGrowth:
    """Size of the best model against data, ``alpha size^beta``. Make one with :meth:`fit`.

    Use a law of both (``chinchilla`` of :func:`~paperworks.scaling.fit_law`) where all runs are to
    count, and not only the best of each size.

    Parameters
    ----------
    size : ndarray, shape (k,)
        Training-set sizes with a best model inside their grid.
    best : ndarray, shape (k,)
        The best model's size at each, between the models that were trained.
    envelope_size, envelope_error : ndarray, shape (m,)
        Training-set sizes with three or more model sizes, and the least error that a model reached
        there: the learning curve of the best model, for :meth:`LearningCurve.fit`.
    left_out : tuple of str
        Training-set sizes that say nothing of the best model, and why.
    confidence : float
        Level of the intervals.

    Examples
    --------
    >>> data, model = (v.ravel() for v in np.meshgrid([1e3, 1e4, 1e5], 10.0 ** np.arange(2, 7)))
    >>> error = data**-0.3 * np.exp(0.1 * np.log(model / (3 * data**0.7)) ** 2)
    >>> growth = ModelGrowth.fit(data, model, error)
    >>> round(growth.alpha.value, 2), round(growth.beta.value, 2)
    (3.0, 0.7)
    """

    size: FloatArray
    best: FloatArray
    envelope_size: FloatArray
    envelope_error: FloatArray
    left_out: tuple[str, ...]
    confidence: float
    _line: FloatArray = field(repr=False)
    _covariance: FloatArray = field(repr=False)

    @classmethod
    def fit(
        cls,
        size: ArrayLike,
        model_size: ArrayLike,
        error: ArrayLike,
        *,
        confidence: float = 0.95,
    ) -> ModelGrowth:
        """Fit a table of training-set sizes, model sizes and errors.

        Parameters
        ----------
        size : (n,) float
            Training-set sizes, > 0.
        model_size : (n,) float
            Sizes of the models trained on them, > 0; parameters, as a rule.
        error : (n,) float
            What each reached, > 0. Repeats of one pair count by their mean log error.
        confidence : float
            Level of the intervals.

        Returns
        -------
        ModelGrowth

        Raises
        ------
        ValueError
            For values that are not positive and finite, and where fewer than three training-set
            sizes have a best model inside their grid.
        """
        columns = {"size": size, "model_size": model_size, "error": error}
        data, model, errors = _check(columns)
        check_level(confidence)
        sizes, best, envelope, left_out = [], [], [], []
        for each in np.unique(data):
            mine = data == each
            models, where = np.unique(model[mine], return_inverse=True)
            mean = np.bincount(where, np.log(errors[mine])) / np.bincount(where)
            at = int(np.argmin(mean))
            if models.size < 3:
                left_out.append(f"{each:g}: {models.size} model size(s), three or more are needed")
                continue
            envelope.append((float(each), float(np.exp(mean[at]))))
            if at in (0, models.size - 1):
                end, side = ("smallest", "smaller") if at == 0 else ("largest", "larger")
                left_out.append(f"{each:g}: the {end} model is best; train {side} ones")
            else:
                sizes.append(float(each))
                best.append(_vertex(np.log(models[at - 1 : at + 2]), mean[at - 1 : at + 2]))
        if len(sizes) < 3:
            raise ValueError(
                "the growth of the best model needs three training-set sizes with a best model "
                f"inside their grid, got {len(sizes)}; left out: {'; '.join(left_out) or 'none'}"
            )
        x, y = np.log(sizes), np.log(best)
        design = np.stack([np.ones_like(x), x], 1)
        line, *_ = np.linalg.lstsq(design, y, rcond=None)
        left = y - design @ line
        variance = float(left @ left) / (x.size - 2)
        return cls(
            np.array(sizes),
            np.array(best),
            np.array([each for each, _ in envelope]),
            np.array([least for _, least in envelope]),
            tuple(left_out),
            confidence,
            line,
            variance * np.linalg.inv(design.T @ design),
        )

    @property
    def alpha(self) -> Estimate:
        """The best model's size where the training set has size 1, in the model sizes' unit."""
        low, high = self._around(self._line[0], self._covariance[0, 0])
        with np.errstate(over="ignore"):
            return Estimate(*np.exp([self._line[0], low, high]).tolist())

    @property
    def beta(self) -> Estimate:
        """The exponent; below 1, models grow more slowly than data."""
        low, high = self._around(self._line[1], self._covariance[1, 1])
        return Estimate(float(self._line[1]), float(low), float(high))

    def __call__(self, size: ArrayLike) -> FloatArray:
        """The best model's size at some training-set sizes, in their shape."""
        return self.predict(size).value

    def predict(self, size: ArrayLike) -> LawPrediction:
        """The best model's size at some training-set sizes, with an interval for the line."""
        sizes = np.asarray(size, dtype=np.float64)
        if not (np.isfinite(sizes) & (sizes > 0)).all():
            raise ValueError(f"size must be finite and > 0, got {size!r}")
        design = np.stack([np.ones(sizes.size), np.log(sizes.ravel())], 1)
        value = design @ self._line
        variance = np.einsum("ni,ij,nj->n", design, self._covariance, design)
        low, high = self._around(value, variance)
        measured = float(self.size.min()), float(self.size.max())
        ends = np.exp(low), np.exp(high)
        return prediction(sizes, np.exp(value), ends, self.confidence, measured)

    def _around(self, value: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
        width = stdtrit(self.size.size - 2, (1 + self.confidence) / 2) * np.sqrt(variance)
        return value - width, value + width


def _vertex(x: FloatArray, y: FloatArray) -> float:
    """The least point of the parabola through three points, the middle one lowest."""
    a, b = (y[0] - y[1]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    # Slopes -a and b at the middles of the two steps; between them the slope is a line.
    if a + b <= 0:
        return math.exp(x[1])
    left, right = (x[0] + x[1]) / 2, (x[1] + x[2]) / 2
    return math.exp(left + (right - left) * a / (a + b))


def _check(columns: dict[str, ArrayLike]) -> list[FloatArray]:
    arrays = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    shapes = {each.shape for each in arrays.values()}
    if len(shapes) != 1 or next(iter(shapes)) in ((), (0,)) or len(next(iter(shapes))) != 1:
        raise ValueError(
            "size, model_size and error must be 1-d arrays of one length, got shapes "
            + ", ".join(str(each.shape) for each in arrays.values())
        )
    for name, array in arrays.items():
        bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
        if bad.size:
            raise ValueError(f"{name} must be finite and > 0, got {array[bad[0]]} in row {bad[0]}")
    return list(arrays.values())
