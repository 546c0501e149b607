"""A fitted law: its constants and predictions, with intervals.

Intervals are percentiles over resampled runs, expanded for few runs (Hesterberg 2015, equation 12,
with as many degrees of freedom less as the law has parameters).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from paperworks.scaling.fitting.law import FloatArray, Law, log_variables
from paperworks.scaling.fitting.solve import Space, residuals
from paperworks.scaling.levels import check_level


@dataclass(frozen=True)
class Estimate:
    """A parameter: its value, and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LawPrediction:
    """What a law says at some points, in arrays of the points' shape.

    Attributes
    ----------
    value, low, high : float arrays
        y, and its interval.
    confidence : float
        The interval's level.
    beyond : float array
        How many times outside the data the point lies, by its farthest variable; 1 inside.
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float
    beyond: FloatArray


@dataclass(frozen=True)
class LawFit:
    """A law fitted to runs, as :func:`fit_law` makes it.

    Attributes
    ----------
    law : Law
        With its variables called as the data call them.
    theta : (p,) float
        The fit's own numbers: logarithms of positive parameters.
    draws : (B, p) float
        theta of bootstrap resamples of the runs.
    logx, y, groups : arrays
        The data: (n, v), (n,) and the number of each row's run (n,).
    delta : float
        Where Huber's loss turned into a line.
    space : {"log", "linear"}
        Whether errors are those of log y or of y.
    converged : bool
        Whether the best start met its tolerance.
    iterations : int
        Of the longest descent.
    confidence : float
        Level of ``parameters``.
    warnings : tuple of str
        What the data cannot say, in sentences; empty where there is nothing to say.
    """

    law: Law
    theta: FloatArray
    draws: FloatArray = field(repr=False)
    logx: FloatArray = field(repr=False)
    y: FloatArray = field(repr=False)
    groups: NDArray[np.int64] = field(repr=False)
    delta: float
    space: Space
    converged: bool
    iterations: int
    confidence: float
    warnings: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        """How many runs there were: groups, or rows where none were given."""
        return int(self.groups.max()) + 1

    @property
    def parameters(self) -> dict[str, Estimate]:
        """The law's constants by name, each with its interval over resampled runs."""
        low, high = self._ends(self.draws, self.confidence)
        found = {}
        for i, each in enumerate(self.law.parameters):
            value, a, b = each.values(np.array([self.theta[i], low[i], high[i]])).tolist()
            found[each.name] = Estimate(value, min(a, value), max(b, value))
        return found

    @property
    def rms(self) -> float:
        """Root mean squared error of the fit: of log y, or of y where that was fitted."""
        error = residuals(self.law, self.logx, self.y, self.theta[None], self.space)[0]
        return float(np.sqrt(np.mean(error**2)))

    def __call__(self, variables: Mapping[str, ArrayLike]) -> FloatArray:
        """Y at some points, in their shape."""
        logx, shape = log_variables(self.law, variables)
        return np.asarray(np.exp(self.law.evaluate(self.theta[None], logx)[0][0]).reshape(shape))

    def predict(
        self,
        variables: Mapping[str, ArrayLike],
        *,
        confidence: float | None = None,
        new_run: bool = False,
        rng: int | np.random.Generator = 0,
    ) -> LawPrediction:
        """Y at some points, with an interval.

        Parameters
        ----------
        variables : mapping of str to float or array
            By the law's names; arrays of one shape, or numbers.
        confidence : float, optional
            The fit's by default.
        new_run : bool
            Whether the interval is for one more run, with the scatter of runs about the law (drawn
            from the residuals), or for the law's curve alone (the default).
        rng : int or numpy.random.Generator
            Source of that scatter.

        Returns
        -------
        LawPrediction
            The interval holds the luck of the runs, not that the law may be wrong beyond them.
            See :func:`hold_out_largest` for that.

        Examples
        --------
        >>> from paperworks.scaling import fit_law
        >>> x = np.geomspace(1e3, 1e6, 12)
        >>> fit = fit_law("power-offset", {"tokens": x}, 1.5 + 40 * x**-0.5, resamples=50)
        >>> round(float(fit.predict({"tokens": 1e8}).value), 4)
        1.504
        """
        level = self.confidence if confidence is None else confidence
        check_level(level)
        logx, shape = log_variables(self.law, variables)
        value = self.law.evaluate(self.theta[None], logx)[0][0]
        curves = self.law.evaluate(self.draws, logx)[0]
        if self.space == "linear":
            value, curves = np.exp(value), np.exp(curves)
        if new_run:
            error = residuals(self.law, self.logx, self.y, self.theta[None], self.space)[0]
            freedom = max(len(error) - len(self.theta), 1)
            generator = np.random.default_rng(rng)
            curves = curves + generator.choice(error, curves.shape) * math.sqrt(
                len(error) / freedom
            )
        low, high = self._ends(curves, level)
        low, high = np.minimum(low, value), np.maximum(high, value)
        if self.space == "log":
            value, low, high = np.exp(value), np.exp(low), np.exp(high)
        nearest, farthest = self.logx.min(0), self.logx.max(0)
        beyond = np.maximum(np.maximum(logx - farthest, nearest - logx).max(1), 0.0)
        value, low, high, beyond = (
            each.reshape(shape) for each in (value, low, high, np.exp(beyond))
        )
        return LawPrediction(value, low, high, level, beyond)

    def _ends(self, draws: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
        tail = expanded_tail(confidence, self.runs, len(self.theta))
        low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
        return low, high


def expanded_tail(confidence: float, runs: int, parameters: int) -> float:
    """The bootstrap quantile that leaves out as much as Student's t does for so few runs."""
    freedom = max(runs - parameters, 1)
    t = stdtrit(freedom, (1 - confidence) / 2)
    return float(ndtr(t * math.sqrt(runs / freedom)))
