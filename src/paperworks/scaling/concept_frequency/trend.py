"""Zero-shot accuracy against log frequency (section 3 of the paper).

The paper bins concepts by log frequency, averages accuracy within bins and gives Pearson's
correlation of the means with log frequency, with a two-tailed test. Its code sets a frequency of 0
to 1, cuts the range of the log into 11 bins of one width, labels each by its upper edge, and leaves
out the lowest (which holds the zeros) and the highest. :func:`bin_means` does that; means over bins
correlate far better than concepts do. So :func:`fit_log_linear` fits the concepts themselves,

    accuracy = intercept + slope * log10(frequency),

by least squares, and gives both correlations.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
ZEROS = ("drop", "one")


@dataclass(frozen=True)
class Correlation:
    """A correlation, Student's t of it, its degrees of freedom, and the two-tailed p."""

    r: float
    t: float
    dof: int
    p: float

    @classmethod
    def test(cls, r: float, dof: int) -> Correlation:
        """The two-tailed t-test of no correlation."""
        r = float(np.clip(r, -1.0, 1.0))
        t = np.inf * np.sign(r) if abs(r) == 1 else r * np.sqrt(dof / (1 - r * r))
        return cls(r, float(t), dof, float(2 * stats.t.sf(abs(t), dof)))


@dataclass(frozen=True)
class BinMeans:
    """Mean accuracy in bins of log frequency, as the paper draws it.

    ``frequency`` (bins,) is each bin's upper edge, ``accuracy`` its mean (nan where it is empty),
    ``count`` its concepts. ``used`` tells which bins enter ``pearson``.
    """

    frequency: FloatArray
    accuracy: FloatArray
    count: NDArray[np.int64]
    used: NDArray[np.bool_]
    pearson: Correlation


@dataclass(frozen=True)
class Prediction:
    """Accuracy at ``frequency``, and the interval of the mean there."""

    frequency: FloatArray
    accuracy: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float


@dataclass(frozen=True)
class LogLinearTrend:
    """accuracy = intercept + slope * log10(frequency), with how far it can be trusted.

    Parameters
    ----------
    slope, intercept : float
        Accuracy per tenfold frequency, and at frequency 1, in the unit of the accuracies.
    slope_low, slope_high : float
        The percentile bootstrap interval of the slope over concepts.
    pearson, spearman : Correlation
        Of accuracy with log frequency, over concepts.
    partial : Correlation or None
        Pearson's with similarity held fixed, where similarity was given.
    rmse : float
        Root mean squared residual.
    concepts, zeros : int
        Concepts fitted, and how many had frequency 0 (left out, or taken as 1).
    confidence : float
    draws : (resamples, 2) float64
        Bootstrap draws of intercept and slope.

    Examples
    --------
    >>> trend = fit_log_linear([1, 10, 100, 1000], [0.1, 0.3, 0.4, 0.7], rng=0)
    >>> round(trend.slope, 3), round(trend.factor_for(0.1), 2)
    (0.19, 3.36)
    """

    slope: float
    intercept: float
    slope_low: float
    slope_high: float
    pearson: Correlation
    spearman: Correlation
    partial: Correlation | None
    rmse: float
    concepts: int
    zeros: int
    confidence: float
    draws: FloatArray

    def __call__(self, frequency: ArrayLike) -> FloatArray:
        """Accuracy at frequencies above 0."""
        return self.intercept + self.slope * np.log10(np.asarray(frequency, dtype=np.float64))

    def predict(self, frequency: ArrayLike) -> Prediction:
        """Mean accuracy at ``frequency`` with the bootstrap interval of the fitted line.

        Raises
        ------
        ValueError
            Where a frequency is not above 0.
        """
        at = np.atleast_1d(np.asarray(frequency, dtype=np.float64))
        if not (np.isfinite(at) & (at > 0)).all():
            raise ValueError(f"frequencies to predict at must be > 0, got {at[~(at > 0)][:1]}")
        lines = self.draws[:, :1] + self.draws[:, 1:] * np.log10(at)
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(lines, [tail, 1 - tail], axis=0)
        return Prediction(at, self(at), low, high, self.confidence)

    def factor_for(self, gain: float) -> float:
        """How many times the samples the line asks for, for ``gain`` more accuracy.

        Infinite where accuracy does not rise with frequency.
        """
        with np.errstate(over="ignore"):
            return float(np.float64(10.0) ** (gain / self.slope)) if self.slope > 0 else np.inf

    def frequency_for(self, accuracy: float) -> float:
        """The frequency at which the line reaches ``accuracy``; infinite where it does not rise."""
        if self.slope <= 0:
            return np.inf
        with np.errstate(over="ignore"):
            return float(np.float64(10.0) ** ((accuracy - self.intercept) / self.slope))


def fit_log_linear(
    frequency: ArrayLike,
    accuracy: ArrayLike,
    *,
    zeros: str = "drop",
    similarity: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    rng: np.random.Generator | int | None = None,
) -> LogLinearTrend:
    """Fit accuracy linear in log frequency over concepts, with tests and a bootstrap interval.

    Parameters
    ----------
    frequency : (n,) array-like
        How often each concept occurs in the pretraining corpus, >= 0.
    accuracy : (n,) array-like
        Accuracy of each concept, as fractions or per cent.
    zeros : {"drop", "one"}
        Concepts that never occur have no log. They are left out, or taken as 1 as in the paper's
        code; the mass of zeros then sits on one point and bends the line, so it is not the default.
    similarity : (n,) array-like or None
        How similar each concept's test samples are to the pretraining samples, such as the mean of
        `nearest_similarity`. With it, ``partial`` is the correlation at equal similarity.
    confidence : float
    resamples : int
        Bootstrap resamples of concepts (SciPy's, percentile).
    rng : Generator, int or None

    Returns
    -------
    LogLinearTrend

    Raises
    ------
    ValueError
        Where the arrays do not fit, a value is not finite, or fewer than 4 concepts or 2 different
        frequencies are left.

    Notes
    -----
    The t-tests take concepts as independent; concepts of one test set compete with one another.
    Cost: resamples times n.

    Examples
    --------
    >>> trend = fit_log_linear([0, 10, 100, 1000, 10000], [0.0, 0.2, 0.3, 0.4, 0.5], rng=0)
    >>> round(trend.slope, 6), trend.zeros, round(float(trend(1e5)), 6)
    (0.1, 1, 0.6)
    """
    x, y, given, none = check_trend(frequency, accuracy, zeros, similarity)
    if not 0 < confidence < 1 or resamples < 2:
        raise ValueError(
            f"confidence must be in (0, 1) and resamples >= 2, got {confidence} and {resamples}"
        )
    intercept, slope = _line(x, y)
    residual = y - intercept - slope * x
    with warnings.catch_warnings():
        # Of few concepts some resamples have one frequency alone, which SciPy remarks upon.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (x, y),
            _line,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, 2**22 // x.size),
            method="percentile",
            rng=np.random.default_rng(rng),
        )
    draws = np.asarray(found.bootstrap_distribution).T
    draws = draws[np.isfinite(draws).all(axis=1)]  # a resample of one frequency has no slope
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws[:, 1], [tail, 1 - tail])
    flat = np.ptp(y) == 0
    return LogLinearTrend(
        slope=float(slope),
        intercept=float(intercept),
        slope_low=float(low),
        slope_high=float(high),
        pearson=Correlation.test(0.0 if flat else np.corrcoef(x, y)[0, 1], x.size - 2),
        spearman=Correlation.test(
            0.0 if flat else np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1], x.size - 2
        ),
        partial=None if given is None else _partial(x, y, given),
        rmse=float(np.sqrt((residual * residual).mean())),
        concepts=x.size,
        zeros=none,
        confidence=confidence,
        draws=draws,
    )


def bin_means(
    frequency: ArrayLike,
    accuracy: ArrayLike,
    *,
    bins: int = 12,
    skip_low: int = 1,
    skip_high: int = 1,
) -> BinMeans:
    """Mean accuracy in bins of log frequency and their correlation, as in the paper's figures.

    Parameters
    ----------
    frequency, accuracy : (n,) array-like
        A frequency of 0 is taken as 1.
    bins : int
        How many edges; the lowest bin holds the lowest frequency alone. 12 in the authors' code.
    skip_low, skip_high : int
        Bins left out of the correlation. The authors skip one at each end, and two at the low end
        for LAION-400M.

    Raises
    ------
    ValueError
        Where the arrays do not fit or fewer than 3 bins with concepts are left.

    Examples
    --------
    >>> means = bin_means([1, 2, 4, 8, 16], [0.1, 0.2, 0.3, 0.4, 0.5], bins=5)
    >>> [round(float(value), 6) for value in means.frequency], round(means.pearson.r, 6)
    ([1.0, 2.0, 4.0, 8.0, 16.0], 1.0)
    """
    x, y, _, _ = check_trend(frequency, accuracy, "one", None)
    x = x * np.log(10)
    edges = np.linspace(x.min(), x.max(), bins)
    place = np.digitize(x, edges, right=True)
    place = np.minimum(place, bins - 1)  # rounding may put the highest beyond the last edge
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=y, minlength=bins) / count
    used = (count > 0) & (np.arange(bins) >= skip_low) & (np.arange(bins) < bins - skip_high)
    if used.sum() < 3:
        raise ValueError(f"a correlation needs 3 bins with concepts, got {int(used.sum())}")
    r = np.corrcoef(edges[used], mean[used])[0, 1] if np.ptp(mean[used]) else 0.0
    correlation = Correlation.test(r, int(used.sum()) - 2)
    return BinMeans(np.exp(edges), mean, count, used, correlation)


def check_trend(
    frequency: ArrayLike, accuracy: ArrayLike, zeros: str, similarity: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray | None, int]:
    """Log10 frequency, accuracy, similarity, and how many frequencies were 0; or a ValueError."""
    if zeros not in ZEROS:
        raise ValueError(f"zeros must be one of {', '.join(ZEROS)}, got {zeros!r}")
    f = np.asarray(frequency, dtype=np.float64)
    y = np.asarray(accuracy, dtype=np.float64)
    s = None if similarity is None else np.asarray(similarity, dtype=np.float64)
    shapes = {"accuracy": y} | ({} if s is None else {"similarity": s})
    for name, array in shapes.items():
        if f.ndim != 1 or array.shape != f.shape:
            raise ValueError(
                f"frequency and {name} must be 1-d and of one length, got shapes {f.shape} and "
                f"{array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    if not (np.isfinite(f) & (f >= 0)).all():
        raise ValueError(f"frequency must be finite and >= 0, got {f[~(f >= 0)][:1]}")
    none = int((f == 0).sum())
    kept = f > 0 if zeros == "drop" else np.ones(f.shape, dtype=bool)
    x = np.log10(np.maximum(f[kept], 1.0 if zeros == "one" else 0.0))
    if x.size < 4 or np.ptp(x) == 0:
        raise ValueError(
            f"the trend needs 4 concepts and 2 different frequencies above 0, got {x.size} "
            f"concepts with {np.unique(x).size}"
        )
    return x, y[kept], None if s is None else s[kept], none


def _line(x: FloatArray, y: FloatArray, axis: int = -1) -> FloatArray:
    """Intercept and slope of least squares along ``axis``, as a first axis of two."""
    middle, height = x.mean(axis, keepdims=True), y.mean(axis, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = ((x - middle) * (y - height)).sum(axis) / ((x - middle) ** 2).sum(axis)
    return np.stack([height.squeeze(axis) - slope * middle.squeeze(axis), slope])


def _partial(x: FloatArray, y: FloatArray, given: FloatArray) -> Correlation:
    """Correlation of what a line in ``given`` leaves of ``x`` and of ``y``."""
    design = np.column_stack([np.ones_like(given), given])
    left = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (x, y)]
    scale = np.sqrt((left[0] @ left[0]) * (left[1] @ left[1]))
    tiny = 1e-12 * np.sqrt((x @ x) * (y @ y))
    return Correlation.test(left[0] @ left[1] / scale if scale > tiny else 0.0, x.size - 3)
