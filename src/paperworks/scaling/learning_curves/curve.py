"""A learning curve, fitted: its regions, its exponent, and what more data would give.

Hestness et al., arXiv 1712.00409: ``error = alpha m^beta_g + gamma`` in the power-law region of the
sketch in figure 6. In the code's symbols ``error = E + A size^-alpha``.

Departures. The paper fits by eye within a region that it picks by eye and gives no intervals; here
all points are fitted at once by a law that has all three regions, and the points choose
(:mod:`.selection`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.fitting import Estimate, LawPrediction
from paperworks.scaling.learning_curves.results import Border, DataNeeded, Regions, prediction
from paperworks.scaling.learning_curves.selection import (
    SHAPES,
    Candidate,
    Points,
    draw,
    weigh,
)
from paperworks.scaling.learning_curves.shapes import STEEPEST, Constants, FloatArray, Shape
from paperworks.scaling.levels import check_bootstrap

_FEWEST = 5  # a power law with floor has three constants, and its noise wants two points more
_STEEP = 0.9  # of the steepest exponent that a bent curve may have
_FEW = 3  # sizes in the power-law region below which its exponent is a guess


@dataclass(frozen=True)
class LearningCurve:
    """Error against training-set size, with its three regions. Make one with :meth:`fit`.

    ``error = E + (C - E) (1 + (size / d)^(1/s))^(-alpha s)``, or as much of it as the points show:
    chance ``C`` while data are few, ``E + A size^-alpha`` from about ``d`` on, and the irreducible
    error ``E`` at last. Any metric that is positive and falls with data will do: an error rate, a
    cross-entropy, a word error rate.

    Use the core's :func:`~paperworks.scaling.fit_law` where the law is given, or where the error
    depends on more than the size.

    Parameters
    ----------
    size, error : ndarray, shape (n,)
        The points fitted.
    given_chance : float or None
        The level of guessing, where it was given.
    candidates : tuple of Candidate
        Every shape that was fitted, the chosen one first, with its weight.
    constants : Constants
        Of the chosen shape, arrays of shape (1,).
    draws : Constants
        Of resampled curves, arrays of shape (B,), over all shapes by their weight.
    residuals : ndarray, shape (n,)
        Errors of log error, measured less fitted.
    confidence : float
        Level of the intervals.
    warnings : tuple of str
        What the points cannot say, in sentences.

    Examples
    --------
    >>> size = np.geomspace(100, 100_000, 12)
    >>> curve = LearningCurve.fit(size, 0.02 + 0.88 * (1 + size / 500) ** -0.4, chance=0.9)
    >>> round(curve.exponent.value, 3), round(curve.floor.value, 3)
    (0.4, 0.02)
    >>> curve.regions.at(200), curve.regions.at(20_000)
    ('small-data', 'power-law')
    >>> curve.data_for(0.05).extrapolated, curve.data_for(0.01).reachable
    (True, False)
    """

    size: FloatArray
    error: FloatArray
    given_chance: float | None
    candidates: tuple[Candidate, ...]
    constants: Constants = field(repr=False)
    draws: Constants = field(repr=False)
    residuals: FloatArray = field(repr=False)
    confidence: float
    warnings: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        size: ArrayLike,
        error: ArrayLike,
        *,
        chance: float | None = None,
        runs: ArrayLike | None = None,
        confidence: float = 0.95,
        resamples: int = 1000,
        rng: int | np.random.Generator = 0,
    ) -> LearningCurve:
        """Fit a table of sizes and errors.

        Parameters
        ----------
        size : (n,) float
            Amounts of training data, > 0, in any unit; at least 5 rows and 3 different sizes.
            Several rows of one size are repeats.
        error : (n,) float
            What was measured at each, > 0.
        chance : float, optional
            Error of guessing, which the small-data region starts from: 0.9 for ten equal classes,
            ``log(10)`` for their cross-entropy. Without it the level is fitted, where the points
            show one.
        runs : (n,) array, optional
            Which rows err together: the seed whose nested subsets they are, say. Whole runs are
            then resampled; at least 5 are needed. Without it every row errs by itself.
        confidence : float
            Level of the intervals.
        resamples : int
            Resampled curves behind the intervals.
        rng : int or numpy.random.Generator
            Source of the resampling.

        Returns
        -------
        LearningCurve
            Look at ``warnings`` before you use it.

        Raises
        ------
        ValueError
            For values that are not positive and finite, or too few of them.

        Notes
        -----
        At most six shapes are fitted, each from up to 60 starts; a table of 100 rows with 1,000
        resamples takes some tenths of a second.

        Examples
        --------
        >>> curve = LearningCurve.fit([100, 200, 400, 800, 1600, 3200],
        ...                           [0.30, 0.245, 0.20, 0.163, 0.133, 0.109])
        >>> str(curve.shape), round(curve.exponent.value, 2)
        ('power law', 0.29)
        """
        points = check_points(size, error, runs)
        if chance is not None and not (math.isfinite(chance) and chance > 0):
            raise ValueError(f"chance must be > 0, the error of guessing, got {chance}")
        check_bootstrap(confidence, resamples)
        candidates = weigh(SHAPES, points, chance)
        best = candidates[0]
        constants = best.shape.constants(best.fit.theta[None], chance)
        draws = draw(candidates, points, chance, resamples, np.random.default_rng(rng))
        left = np.log(points.error) - np.log(constants.error(points.size)[0])
        curve = cls(
            points.size,
            points.error,
            chance,
            tuple(candidates),
            constants,
            draws,
            left,
            confidence,
        )
        return cls(**{**curve.__dict__, "warnings": doubts(curve)})

    @property
    def shape(self) -> Shape:
        """Which of the three regions the points show."""
        return self.candidates[0].shape

    @property
    def exponent(self) -> Estimate:
        """The power law's ``alpha``: error falls as size^-alpha."""
        return self._estimate("alpha")

    @property
    def floor(self) -> Estimate:
        """The irreducible error ``E``; 0 where the points show none."""
        return self._estimate("floor")

    @property
    def chance(self) -> Estimate:
        """The level ``C`` of guessing; infinity where the points show no small-data region."""
        return self._estimate("chance")

    @property
    def amplitude(self) -> Estimate:
        """The power law's ``A``, in the unit of error times that of size to the alpha."""
        found = self._estimate("log_a")
        with np.errstate(over="ignore"):
            value, low, high = np.exp([found.value, found.low, found.high]).tolist()
        return Estimate(value, low, high)

    @property
    def rms(self) -> float:
        """Root mean squared residual of log error."""
        return self.candidates[0].fit.rms

    @property
    def regions(self) -> Regions:
        """Where the three regions lie."""
        first, last = self.constants, self.draws
        start = Border(float(first.bend[0]), *self._ends(last.bend))
        stop = Border(float(first.irreducible_from[0]), *self._ends(last.irreducible_from))
        return Regions(
            start,
            stop,
            sum(each.weight for each in self.candidates if each.shape.plateau),
            sum(each.weight for each in self.candidates if each.shape.floor),
            float(self.size.min()),
            float(self.size.max()),
            self.confidence,
        )

    def __call__(self, size: ArrayLike) -> FloatArray:
        """The curve's error at some sizes, in their shape."""
        sizes = _check_sizes(size)
        return self.constants.error(sizes.ravel())[0].reshape(sizes.shape)

    def slope(self, size: ArrayLike) -> FloatArray:
        """Local exponents ``-d log error / d log size`` at some sizes, in their shape."""
        sizes = _check_sizes(size)
        return self.constants.slope(sizes.ravel())[0].reshape(sizes.shape)

    def predict(
        self,
        size: ArrayLike,
        *,
        new_run: bool = False,
        rng: int | np.random.Generator = 0,
    ) -> LawPrediction:
        """Errors at some sizes, with intervals that hold the choice of shape.

        Parameters
        ----------
        size : float or array
            Sizes > 0.
        new_run : bool
            Whether the interval is for one more measurement, with the scatter of the points, or for
            the curve alone (the default).
        rng : int or numpy.random.Generator
            Source of that scatter.
        """
        sizes = _check_sizes(size)
        flat = sizes.ravel()
        curves = np.log(np.maximum(self.draws.error(flat), 1e-300))
        value = self(flat)
        if new_run:
            freedom = max(self.size.size - self.candidates[0].fit.theta.size, 1)
            noise = np.random.default_rng(rng).choice(self.residuals, curves.shape)
            curves = curves + noise * math.sqrt(self.size.size / freedom)
        tail = (1 - self.confidence) / 2
        low, high = np.exp(np.quantile(curves, [tail, 1 - tail], axis=0))
        measured = float(self.size.min()), float(self.size.max())
        return prediction(sizes, value, (low, high), self.confidence, measured)

    def data_for(self, error: float) -> DataNeeded:
        """How much data an error takes, with an interval.

        Parameters
        ----------
        error : float
            The target, > 0.

        Returns
        -------
        DataNeeded
            ``size`` is infinity where the irreducible error is not below the target, and ``high``
            is, where the points do not rule that out. A size far beyond the table is the law's
            word: look at ``extrapolated``, ``more`` and the interval.

        Examples
        --------
        >>> size = np.geomspace(100, 10_000, 8)
        >>> need = LearningCurve.fit(size, 2 * size**-0.25).data_for(0.1)
        >>> round(need.size), round(need.more, 1)
        (160000, 16.0)
        """
        if not (math.isfinite(error) and error > 0):
            raise ValueError(f"the target error must be > 0, got {error}")
        value = float(self.constants.size(error)[0])
        every = self.draws.size(error)
        low, high = self._ends(every)
        return DataNeeded(
            float(error),
            value,
            min(low, value),
            max(high, value),
            self.confidence,
            float(self.size.max()),
            float(np.mean(np.isinf(every))),
        )

    def _estimate(self, name: str) -> Estimate:
        value = float(getattr(self.constants, name)[0])
        low, high = self._ends(getattr(self.draws, name))
        return Estimate(value, min(low, value), max(high, value))

    def _ends(self, draws: FloatArray) -> tuple[float, float]:
        """Order statistics: an interpolated quantile has no meaning beside infinity."""
        ordered = np.sort(draws)
        tail = (1 - self.confidence) / 2
        last = ordered.size - 1
        return float(ordered[math.floor(tail * last)]), float(ordered[math.ceil((1 - tail) * last)])


def doubts(curve: LearningCurve) -> tuple[str, ...]:
    """What the points of a curve cannot say."""
    said = []
    regions, best = curve.regions, curve.candidates[0]
    if not best.fit.converged:
        said.append(f"the fit of the shape '{best.shape}' did not converge")
    if curve.error[np.argmax(curve.size)] >= curve.error[np.argmin(curve.size)]:
        said.append("the error does not fall with size; is the metric one where lower is better?")
    inside = (curve.size >= regions.small_data_to.size) & (
        curve.size <= regions.irreducible_from.size
    )
    distinct = np.unique(curve.size[inside]).size
    if distinct < _FEW:
        said.append(
            f"{distinct} of the sizes lie in the power-law region; its exponent is a guess until "
            f"there are {_FEW}"
        )
    alpha = float(curve.constants.alpha[0])
    if alpha >= _STEEP * STEEPEST:
        said.append(
            f"an exponent of {alpha:.3g} is near its bound of {STEEPEST:g}: the error falls faster "
            "than a power law"
        )
    if curve.shape.floor and curve.floor.low <= 0:
        said.append(
            f"the irreducible error is not determined: anything from 0 to {curve.floor.high:.3g} "
            "is as likely; add larger sizes"
        )
    if curve.given_chance is not None and curve.error.min() > curve.given_chance:
        said.append(
            f"all errors are above chance ({curve.given_chance:g}); are they in the same unit?"
        )
    if _leans(curve.size, curve.residuals):
        said.append(
            "errors of neighbouring sizes lean the same way: the law misses the shape of the "
            "curve, or the points err together (name their runs); the intervals are too narrow"
        )
    return tuple(said)


def _leans(size: FloatArray, residuals: FloatArray) -> bool:
    """Whether mean residuals keep their sign from size to size more than chance would have it."""
    _, where = np.unique(size, return_inverse=True)
    mean = np.bincount(where, residuals) / np.bincount(where)
    if mean.size < 10 or np.abs(mean).max() < 1e-7:
        return False
    changes = int(np.sum(np.sign(mean[1:]) != np.sign(mean[:-1])))
    steps = mean.size - 1
    return changes < steps / 2 - 2.33 * math.sqrt(steps) / 2  # one in a hundred by chance


def check_points(
    size: ArrayLike, error: ArrayLike, runs: ArrayLike | None, fewest: int = _FEWEST
) -> Points:
    """A table as float64 arrays in the order of size, or a ValueError."""
    sizes = np.asarray(size, dtype=np.float64)
    errors = np.asarray(error, dtype=np.float64)
    if sizes.ndim != 1 or sizes.shape != errors.shape:
        raise ValueError(
            f"size and error must be two 1-d arrays of one length, got shapes {sizes.shape} and "
            f"{errors.shape}"
        )
    for name, values in (("size", sizes), ("error", errors)):
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if bad.size:
            hint = "; a law of log error has no place for it, leave the row out"
            raise ValueError(
                f"{name} must be finite and > 0, got {values[bad[0]]} in row {bad[0]}"
                f"{hint if name == 'error' and values[bad[0]] == 0 else ''}"
            )
    distinct = np.unique(sizes).size
    if sizes.size < fewest or distinct < 3:
        raise ValueError(
            f"a learning curve needs at least {fewest} rows and 3 different sizes, got "
            f"{sizes.size} rows of {distinct} size(s)"
        )
    named: NDArray[np.int64] | None = None
    if runs is not None:
        labels = np.asarray(runs)
        if labels.shape != sizes.shape:
            raise ValueError(
                f"runs must name the run of each of {sizes.size} rows, got shape {labels.shape}"
            )
        named = np.unique(labels, return_inverse=True)[1].astype(np.int64)
        if named.max() + 1 < 5:
            raise ValueError(
                f"resampling whole runs needs at least 5 of them, got {named.max() + 1}; leave "
                "runs out to resample points"
            )
    order = np.argsort(sizes, kind="stable")
    return Points(sizes[order], errors[order], None if named is None else named[order])


def _check_sizes(size: ArrayLike) -> FloatArray:
    sizes = np.asarray(size, dtype=np.float64)
    bad = sizes[~(np.isfinite(sizes) & (sizes > 0))]
    if bad.size:
        raise ValueError(f"size must be finite and > 0, got {bad.flat[0]}")
    return sizes
