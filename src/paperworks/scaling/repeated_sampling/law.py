"""The exponentiated power law of coverage: c = exp(a k^b).

Brown et al., arXiv 2407.21787, section 3.1, equations 2 and 3; the points to fit are chosen as in
appendix C.1 (40 evenly spaced on a log scale, duplicates removed), and as there the squared error
of the coverage itself is least.

Departures. The paper calls SciPy's ``curve_fit`` on (a, b). Here the unknowns are ``(log(-a), b)``,
in which the law is ``log(-log c) = log(-a) + b log k``: a straight line that gives the start, and a
fit that cannot leave a < 0. All curves of a bootstrap are fitted at once. The paper gives no
intervals; here problems are resampled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from paperworks.scaling.levels import check_bootstrap
from paperworks.scaling.repeated_sampling.bootstrap import resampled_means
from paperworks.scaling.repeated_sampling.coverage import (
    FloatArray,
    IntArray,
    check_counts,
    distinct_rows,
    whole,
)
from paperworks.scaling.repeated_sampling.gompertz import fit_gompertz, gompertz
from paperworks.scaling.repeated_sampling.prediction import Prediction, Reach


@dataclass(frozen=True)
class CoverageLaw:
    """``coverage = exp(a k^b)``, fitted. Make one with :meth:`fit` or :meth:`fit_counts`.

    With a < 0 and b < 0 coverage rises with k, from ``exp(a)`` at one sample towards 1; on a log
    axis of k it is an S-curve. The law holds for many tasks and not for all: look at ``rmse``, and
    at the curve, before using it. It is a description of the *average* over problems. A single
    problem follows ``1 - (1 - p)^k``.

    Parameters
    ----------
    a, b : float
        The law's constants.
    k : ndarray, shape (K,)
        The numbers of samples fitted.
    coverage : ndarray, shape (K,)
        The coverage fitted.
    rmse : float
        Root mean squared residual, in units of coverage.
    converged : bool
        Whether the fit met its tolerance.
    iterations : int
        Steps of the fit.
    covariance : ndarray, shape (2, 2)
        Of ``(log(-a), b)``, from the residuals (delta method).
    draws : ndarray, shape (B, 2)
        ``(log(-a), b)`` of bootstrap resamples of the problems; empty for :meth:`fit`, which does
        not know the problems.
    failed_draws : int
        Resamples that had nothing to fit (no problem solved, or every one at every k).

    Examples
    --------
    >>> law = CoverageLaw.fit([1, 10, 100, 1000], [0.05, 0.30, 0.62, 0.83])
    >>> [round(float(c), 2) for c in law.predict([100, 10_000]).coverage]
    [0.62, 0.93]
    """

    a: float
    b: float
    k: FloatArray
    coverage: FloatArray
    rmse: float
    converged: bool
    iterations: int
    covariance: FloatArray = field(repr=False)
    draws: FloatArray = field(repr=False)
    failed_draws: int = 0

    @classmethod
    def fit(cls, k: ArrayLike, coverage: ArrayLike) -> CoverageLaw:
        """Fit a measured curve by least squares of coverage.

        Parameters
        ----------
        k : array of float, shape (K,)
            Numbers of samples, >= 1, at least two different ones.
        coverage : array of float, shape (K,)
            Coverage at each, in [0, 1]; points at 0 and 1 count too.

        Returns
        -------
        CoverageLaw
            Its intervals come from the residuals by the delta method. The points of one curve come
            from the same samples and err together, so these intervals are too narrow, often by
            far. Use :meth:`fit_counts` where the counts of each problem are at hand.

        Raises
        ------
        ValueError
            Where fewer than two points lie strictly between 0 and 1, which leaves a and b open.

        Examples
        --------
        >>> k = np.array([1, 10, 100, 1000])
        >>> law = CoverageLaw.fit(k, np.exp(-3.0 * k**-0.4))
        >>> round(law.a, 6), round(law.b, 6)
        (-3.0, -0.4)
        >>> law.samples_to_reach(0.9).samples
        4327.0
        """
        ks, curve = _check_curve(k, coverage)
        return cls._fit(ks, curve, np.empty((0, ks.size)))

    @classmethod
    def fit_counts(
        cls,
        n: ArrayLike,
        c: ArrayLike,
        k: ArrayLike | None = None,
        *,
        resamples: int = 1000,
        rng: int | np.random.Generator = 0,
    ) -> CoverageLaw:
        """Fit the coverage of problems with ``c`` of ``n`` samples correct.

        Parameters
        ----------
        n, c : int or array of int, shape (P,)
            Samples and correct samples of each problem.
        k : array of int, shape (K,), optional
            Numbers of samples to fit; by default :func:`log_spaced` up to the smallest n.
        resamples : int
            Bootstrap draws of the problems, each fitted anew; default 1000.
        rng : int or numpy.random.Generator
            Source of the draws.

        Returns
        -------
        CoverageLaw
            Its intervals are percentiles over resampled problems: they hold the luck of the
            problems and of the samples, but not that the law may be wrong beyond the data.

        Raises
        ------
        ValueError
            As :meth:`fit` and :func:`~paperworks.scaling.coverage`.

        Notes
        -----
        Cost O(resamples (U + K)) for U distinct (n, c) rows.

        Examples
        --------
        >>> law = CoverageLaw.fit_counts(100, [0, 1, 3, 8, 20, 55], resamples=200)
        >>> bool(law.converged and law.b < 0)
        True
        """
        ks = log_spaced(int(whole(n, "n").min())) if k is None else whole(k, "k")
        drawn, right, ks = check_counts(n, c, np.unique(ks))
        check_bootstrap(0.5, resamples)
        values, counts = distinct_rows(drawn, right, ks)
        grid, curve = _check_curve(ks, counts @ values / counts.sum())
        draws = resampled_means(values, counts, resamples, np.random.default_rng(rng))
        return cls._fit(grid, curve, draws)

    @classmethod
    def _fit(cls, k: FloatArray, curve: FloatArray, resampled: FloatArray) -> CoverageLaw:
        fitted = fit_gompertz(np.log(k), np.concatenate([curve[None], resampled]))
        alpha, b = fitted.parameters[0]
        good = fitted.converged[1:]
        return cls(
            a=-math.exp(alpha),
            b=float(b),
            k=k,
            coverage=curve,
            rmse=float(np.sqrt(fitted.squared_error[0] / k.size)),
            converged=bool(fitted.converged[0]),
            iterations=fitted.iterations,
            covariance=fitted.covariance(0, np.log(k)),
            draws=fitted.parameters[1:][good],
            failed_draws=int((~good).sum()),
        )

    def __call__(self, k: ArrayLike) -> FloatArray:
        """Coverage predicted at ``k``, an array of its shape."""
        return np.asarray(np.exp(self.a * np.asarray(k, dtype=np.float64) ** self.b))

    def predict(self, k: ArrayLike, *, confidence: float = 0.95) -> Prediction:
        """Coverage predicted at ``k`` (any numbers >= 1), with an interval.

        The interval is for the law's curve: bootstrap percentiles after :meth:`fit_counts`, the
        delta method on log(-log c) after :meth:`fit`.
        """
        check_bootstrap(confidence, 1)
        ks = np.atleast_1d(np.asarray(k, dtype=np.float64))
        if ks.ndim != 1 or not (np.isfinite(ks) & (ks >= 1)).all():
            raise ValueError(f"k must be finite numbers >= 1, got {k!r}")
        x = np.log(ks)
        tail = (1 - confidence) / 2
        if len(self.draws):
            curves = gompertz(self.draws[:, :1] + self.draws[:, 1:] * x)
            low, high = np.quantile(curves, [tail, 1 - tail], axis=0)
        else:
            line = math.log(-self.a) + self.b * x
            low, high = (gompertz(line + width) for width in self._half_width(x, tail))
        mean = self(ks)
        return Prediction(ks, mean, np.minimum(low, mean), np.maximum(high, mean), confidence)

    def samples_to_reach(self, target: float, *, confidence: float = 0.95) -> Reach:
        """How many samples the law needs for coverage ``target``.

        Returns
        -------
        Reach
            ``samples`` is infinity for ``target=1``, which the law only nears, and for a curve
            that does not rise (b >= 0) and lies below the target at k = 1. A large finite number is
            the law's word, far outside the data: look at ``extrapolated`` and at the interval.

        Raises
        ------
        ValueError
            Where ``target`` is not in (0, 1].
        """
        check_bootstrap(confidence, 1)
        tail = (1 - confidence) / 2
        needed = _least_samples(np.array([math.log(-self.a)]), np.array([self.b]), target)[0]
        if len(self.draws):
            every = np.sort(_least_samples(self.draws[:, 0], self.draws[:, 1], target))
            # Order statistics: an interpolated quantile has no meaning between finite and infinite.
            low, high = (every[round(level * (len(every) - 1))] for level in (tail, 1 - tail))
        elif math.isfinite(needed):
            # Where the band of the curve crosses the target, on a grid of log k.
            x = np.linspace(0.0, max(math.log(needed), self._x_max) * 4 + 20, 20_001)
            line = math.log(-self.a) + self.b * x
            ends = []
            for width in self._half_width(x, tail):
                hit = gompertz(line + width) >= target
                ends.append(math.ceil(math.exp(x[np.argmax(hit)])) if hit.any() else math.inf)
            low, high = ends[1], ends[0]
        else:
            low = high = needed
        return Reach(
            target=float(target),
            samples=float(needed),
            low=float(min(low, needed)),
            high=float(max(high, needed)),
            confidence=confidence,
            measured_to=int(self.k.max()),
        )

    @property
    def _x_max(self) -> float:
        return float(np.log(self.k.max()))

    def _half_width(self, x: FloatArray, tail: float) -> tuple[FloatArray, FloatArray]:
        """Shifts of log(-log c) to the low and to the high end of coverage at log k = x."""
        v = self.covariance
        se = np.sqrt(np.maximum(v[0, 0] + 2 * x * v[0, 1] + x * x * v[1, 1], 0.0))
        width = stdtrit(max(self.k.size - 2, 1), 1 - tail) * se
        return width, -width


def log_spaced(largest: int, points: int = 40) -> IntArray:
    """Whole numbers from 1 to ``largest``, evenly spaced on a log scale, duplicates removed.

    The paper's choice of points (appendix C.1), 40 by default.

    Examples
    --------
    >>> log_spaced(100, 5).tolist()
    [1, 3, 10, 32, 100]
    """
    if largest < 1 or points < 1:
        raise ValueError(f"largest and points must be >= 1, got {largest} and {points}")
    return np.unique(np.round(np.geomspace(1, largest, points)).astype(np.int64))


def _least_samples(alpha: FloatArray, b: FloatArray, target: float) -> FloatArray:
    """The least k >= 1 with exp(-exp(alpha + b log k)) >= target, elementwise."""
    if not 0 < target <= 1:
        raise ValueError(f"target must be in (0, 1], got {target}; it is a fraction of problems")
    if target == 1:
        return np.full(alpha.shape, math.inf)
    goal = math.log(-math.log(target))
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        k = np.where(b < 0, np.exp((goal - alpha) / b), math.inf)
        # A hair of rounding must not cost a sample: 1000.0000000001 is 1000.
        k = np.where(np.abs(k - np.round(k)) < 1e-9 * k, np.round(k), np.ceil(k))
    return np.where(alpha <= goal, 1.0, np.maximum(k, 1.0))


def _check_curve(k: ArrayLike, coverage: ArrayLike) -> tuple[FloatArray, NDArray[np.float64]]:
    """``k`` and ``coverage`` as float64 arrays, or a ValueError."""
    ks = np.asarray(k, dtype=np.float64)
    curve = np.asarray(coverage, dtype=np.float64)
    if ks.ndim != 1 or ks.shape != curve.shape:
        raise ValueError(
            f"k and coverage must be two 1-d arrays of one length, got shapes "
            f"{ks.shape} and {curve.shape}"
        )
    if not (np.isfinite(ks) & (ks >= 1)).all():
        raise ValueError(f"k must be finite numbers >= 1, got {ks[~(ks >= 1)][:1]}")
    if not ((curve >= 0) & (curve <= 1)).all():
        bad = curve[~((curve >= 0) & (curve <= 1))]
        raise ValueError(f"coverage must be in [0, 1], got {bad[0]}; give fractions, not per cent")
    inside = (curve > 0) & (curve < 1)
    if np.unique(ks[inside]).size < 2:
        if (curve == 0).all():
            why = "no problem was solved at any k"
        elif (curve == 1).all():
            why = "every problem was solved at every k"
        else:
            why = f"{int(inside.sum())} point(s) lie between 0 and 1"
        raise ValueError(
            f"the law has two constants and needs coverage strictly between 0 and 1 at two "
            f"different k: {why}"
        )
    return ks, curve
