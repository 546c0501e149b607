"""Laws of accuracy over frequency, compared at concepts that no fit has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import curve_fit

from paperworks.scaling.concept_frequency.trend import FloatArray, check_trend

Law = Callable[[FloatArray], FloatArray]


def _constant(x: FloatArray, y: FloatArray) -> Law:
    mean = y.mean()
    return lambda at: np.full(at.shape, mean)


def _log_linear(x: FloatArray, y: FloatArray) -> Law:
    slope, intercept = np.polyfit(x, y, 1)
    return lambda at: intercept + slope * at


def _linear(x: FloatArray, y: FloatArray) -> Law:
    scale = 10.0 ** x.max()
    slope, intercept = np.polyfit(10.0**x / scale, y, 1)
    return lambda at: intercept + slope * 10.0**at / scale


def _power(x: FloatArray, y: FloatArray) -> Law:
    """Fit a f^b by least squares of accuracy: for each b the best a is known."""
    grid = np.linspace(0.0, 2.0, 401)
    with np.errstate(all="ignore"):
        rise = 10.0 ** (grid[:, None] * (x - x.max()))
    a = (rise @ y) / (rise * rise).sum(1)
    best = int(np.argmin(((y - a[:, None] * rise) ** 2).sum(1)))
    b, top, reach = grid[best], a[best], x.max()
    return lambda at: top * 10.0 ** (b * (at - reach))


def _sigmoid(x: FloatArray, y: FloatArray) -> Law:
    """Fit low + (high - low) / (1 + exp(-(log f - middle) / width)), the best of some starts."""

    def curve(at: FloatArray, low: float, rise: float, middle: float, width: float) -> FloatArray:
        return low + rise / (1 + np.exp(-np.clip((at - middle) / width, -50, 50)))

    span = np.ptp(x)
    height = max(np.ptp(y), 1e-12)
    bounds = (
        [y.min() - height, 0.0, x.min() - span, span / 50],
        [y.max(), 3 * height, x.max() + span, 2 * span],
    )
    best, least = None, np.inf
    for middle in np.quantile(x, [0.25, 0.5, 0.75]):
        for width in (span / 10, span / 3):
            start = (y.min(), height, middle, width)
            try:
                found, _ = curve_fit(curve, x, y, start, bounds=bounds, max_nfev=2000)
            except RuntimeError:
                continue
            error = float(((curve(x, *found) - y) ** 2).sum())
            if error < least:
                best, least = found, error
    if best is None:
        raise RuntimeError("the sigmoid did not converge from any start")
    return lambda at: curve(at, *best)


LAWS: dict[str, Callable[[FloatArray, FloatArray], Law]] = {
    "log-linear": _log_linear,
    "linear": _linear,
    "constant": _constant,
    "power": _power,
    "sigmoid": _sigmoid,
}
"""Each fits log10 frequencies and accuracies and gives the fitted curve over log10 frequency."""


@dataclass(frozen=True)
class TrendComparison:
    """Held-out error of several laws.

    Parameters
    ----------
    laws : tuple of str
    rmse : (laws,) float64
        Root mean squared error at held-out concepts, in the unit of the accuracies.
    excess, low, high : (laws,) float64
        Mean squared error beyond that of the first law, with its bootstrap interval over concepts.
        A law is worse than the first where the interval lies above 0.
    confidence : float

    Examples
    --------
    >>> f = 10.0 ** np.arange(20)
    >>> found = compare_trends(f, 0.05 * np.arange(20), laws=["log-linear", "constant"], rng=0)
    >>> found.best
    'log-linear'
    """

    laws: tuple[str, ...]
    rmse: FloatArray
    excess: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float

    @property
    def best(self) -> str:
        """The law with the least held-out error."""
        return self.laws[int(np.argmin(self.rmse))]


def compare_trends(
    frequency: ArrayLike,
    accuracy: ArrayLike,
    *,
    laws: Sequence[str] = tuple(LAWS),
    zeros: str = "drop",
    folds: int = 5,
    repeats: int = 4,
    confidence: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> TrendComparison:
    """Compare laws of accuracy over frequency by cross-validation over concepts.

    Parameters
    ----------
    frequency, accuracy : (n,) array-like
    laws : sequence of str
        Of "log-linear" (a + b log f), "linear" (a + b f), "constant", "power" (a f^b, 0 <= b <= 2)
        and "sigmoid" (four constants, in log f). The others are compared with the first.
    zeros : {"drop", "one"}
        As for `fit_log_linear`.
    folds, repeats : int
        Every concept is held out once in each repeat.
    confidence : float
    rng : Generator, int or None

    Returns
    -------
    TrendComparison

    Raises
    ------
    ValueError
        Where a law is unknown, or there are fewer concepts than twice the folds.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> f = 10.0 ** rng.uniform(0, 5, 200)
    >>> y = 0.1 * np.log10(f) + rng.normal(0, 0.05, 200)
    >>> found = compare_trends(f, y, laws=["log-linear", "linear"], rng=0)
    >>> bool(found.low[1] > 0)
    True
    """
    x, y, _, _ = check_trend(frequency, accuracy, zeros, None)
    unknown = [law for law in laws if law not in LAWS]
    if unknown or not laws:
        raise ValueError(f"laws must be some of {', '.join(LAWS)}, got {unknown or 'none'}")
    if folds < 2 or repeats < 1 or x.size < 2 * folds:
        raise ValueError(
            f"needs folds >= 2, repeats >= 1 and two concepts a fold, got {folds} folds, "
            f"{repeats} repeats and {x.size} concepts"
        )
    rng = np.random.default_rng(rng)
    squared = np.zeros((len(laws), x.size))
    for _ in range(repeats):
        fold = rng.permutation(np.arange(x.size) % folds)
        for number in range(folds):
            held = fold == number
            squared[:, held] += held_out(x, y, held, laws) ** 2 / repeats
    more = squared - squared[0]
    picks = rng.integers(0, x.size, (1000, x.size))
    means = np.stack([row[picks].mean(1) for row in more])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=1)
    return TrendComparison(
        tuple(laws), np.sqrt(squared.mean(1)), more.mean(1), low, high, confidence
    )


def held_out(
    x: FloatArray, y: FloatArray, held: NDArray[np.bool_], laws: Sequence[str]
) -> FloatArray:
    """Errors (laws, held) at the held-out concepts of fits to the others; ``x`` is log10."""
    return np.stack([LAWS[law](x[~held], y[~held])(x[held]) - y[held] for law in laws])
