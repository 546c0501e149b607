"""Which regions a table shows: every shape fitted, weighed, and drawn anew for intervals.

The paper picks the power-law region by eye. Here each shape (:mod:`.shapes`) is fitted to all
points, and Schwarz's criterion in its form for few points (McQuarrie 1999),

    SICc = n log(2 loss / n) + n log(n) p / (n - p - 2),

says which one the points pay for. Intervals hold that choice too: their draws come from all
shapes, each in proportion to its weight ``exp(-SICc / 2)``. So a curve that is straight so far, but
could be bending towards a floor, has an interval that reaches to "never".

Draws are of new curves at the same sizes, since sizes are chosen and not found: residuals of log
error are resampled around the fit, scaled for the constants that were fitted and for the few points
that they come from (a chi-square draw of their scale, as in Student's interval). Where points err
together, name their runs, and whole runs are resampled instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.fitting.fit import best_fit
from paperworks.scaling.fitting.law import Law
from paperworks.scaling.fitting.solve import minimise, residuals
from paperworks.scaling.learning_curves.shapes import Constants, FloatArray, Shape

_LEAST_SCALE = 1e-7  # of log error: two curves that differ by less are one
_LEAST_DELTA = 1e-4  # below it Huber's loss is all absolute errors, and slow to fit
_HUBER = 1.345  # residuals beyond 1.345 standard deviations pull less: 95 % efficient without any
_SHOWN_WEIGHT = 0.005  # a shape with less weight gets no draws

SHAPES = (
    Shape(),
    Shape(floor=True),
    Shape(plateau=True),
    Shape(plateau=True, floor=True),
    Shape(plateau=True, sharpness=True),
    Shape(plateau=True, floor=True, sharpness=True),
)


@dataclass(frozen=True)
class Candidate:
    """One shape, fitted.

    Parameters
    ----------
    shape : Shape
        Which regions it has.
    theta : ndarray, shape (p,)
        The fit's vector.
    rms : float
        Root mean squared residual of log error.
    criterion : float
        SICc: the lower, the better the points pay for the shape.
    weight : float
        Its share of ``exp(-SICc / 2)`` among all that were fitted.
    converged : bool
        Whether the fit met its tolerance.
    """

    shape: Shape
    theta: FloatArray
    rms: float
    criterion: float
    weight: float
    converged: bool


@dataclass(frozen=True)
class Points:
    """A checked table: sizes and errors (n,), and the run of each or None."""

    size: FloatArray
    error: FloatArray
    runs: NDArray[np.int64] | None

    @property
    def logx(self) -> FloatArray:
        """The one variable of the laws, as the core takes it: (n, 1)."""
        return np.log(self.size)[:, None]


def fit_best(law: Law, points: Points, delta: float) -> tuple[FloatArray, float, bool]:
    """The best of a law's starts: its theta, Huber loss, and whether it converged."""
    logx, y = points.logx, points.error
    theta, _, _ = best_fit(law, logx, y, law.start(logx, y), delta, "log")
    last = minimise(law, logx, y, theta[None], delta=delta)
    return last.theta[0], float(last.loss[0]), bool(last.converged[0])


def admissible(shapes: Sequence[Shape], points: Points, chance: float | None) -> list[Shape]:
    """The shapes with fewer constants than distinct sizes, and few enough for the criterion."""
    most = min(np.unique(points.size).size - 1, points.size.size - 3)
    return [each for each in shapes if len(each.law(chance).parameters) <= most]


def criterion(n: int, p: int, variance: float) -> float:
    """SICc of a fit of ``p`` constants to ``n`` points; infinite where n <= p + 2."""
    if n <= p + 2:
        return math.inf
    return n * math.log(variance) + n * math.log(n) * p / (n - p - 2)


def robust_delta(shapes: Sequence[Shape], points: Points, chance: float | None) -> float:
    """Where Huber's loss turns, the same for all shapes: from the residuals of the richest one."""
    law = max((each.law(chance) for each in shapes), key=lambda each: len(each.parameters))
    theta, _, _ = fit_best(law, points, math.inf)
    error = residuals(law, points.logx, points.error, theta[None], "log")[0]
    free = len(error) / max(len(error) - len(theta), 1)
    scale = 1.4826 * float(np.median(np.abs(error))) * math.sqrt(free)
    return max(_HUBER * scale, _LEAST_DELTA)


def weigh(
    shapes: Sequence[Shape], points: Points, chance: float | None
) -> tuple[list[Candidate], float]:
    """Every admissible shape fitted, the best by SICc first, and Huber's delta."""
    shapes = admissible(shapes, points, chance)
    delta = robust_delta(shapes, points, chance)
    n = points.size.size
    found = []
    for shape in shapes:
        law = shape.law(chance)
        theta, loss, converged = fit_best(law, points, delta)
        error = residuals(law, points.logx, points.error, theta[None], "log")[0]
        # What is below the least scale is rounding, and must not vote.
        scale = max(2 * loss / n, _LEAST_SCALE**2)
        value = criterion(n, len(theta), scale)
        found.append((shape, theta, float(np.sqrt(np.mean(error**2))), value, converged))
    least = min(each[3] for each in found)
    total = sum(math.exp((least - each[3]) / 2) for each in found)
    candidates = [
        Candidate(shape, theta, rms, value, math.exp((least - value) / 2) / total, converged)
        for shape, theta, rms, value, converged in found
    ]
    return sorted(candidates, key=lambda each: each.criterion), delta


def draw(
    candidates: Sequence[Candidate],
    points: Points,
    chance: float | None,
    delta: float,
    resamples: int,
    rng: np.random.Generator,
) -> Constants:
    """Constants of ``resamples`` curves like the measured one, over all shapes by weight."""
    shown = [each for each in candidates if each.weight >= _SHOWN_WEIGHT]
    share = np.array([each.weight for each in shown])
    counts = np.floor(share / share.sum() * resamples).astype(int)
    counts[0] += resamples - counts.sum()
    parts = []
    for candidate, count in zip(shown, counts, strict=True):
        if count:
            law = candidate.shape.law(chance)
            theta = redraw(
                law, points.logx, points.error, candidate.theta, points.runs, delta, int(count), rng
            )
            parts.append(candidate.shape.constants(theta, chance))
    return Constants(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in Constants.__dataclass_fields__
        )
    )


def redraw(
    law: Law,
    logx: FloatArray,
    y: FloatArray,
    theta: FloatArray,
    runs: NDArray[np.int64] | None,
    delta: float,
    count: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Fits (count, p) of resampled points around ``theta``: residuals, or whole runs if named."""
    n, p = y.size, theta.size
    start = np.broadcast_to(theta, (count, p)).copy()
    if runs is not None:
        total = int(runs.max()) + 1
        drawn = rng.multinomial(total, np.full(total, 1 / total), count)
        weights = drawn[:, runs].astype(float)
        return minimise(law, logx, y, start, weights=weights, delta=delta).theta
    error = -residuals(law, logx, y, theta[None], "log")[0]
    # sqrt(n / freedom) makes up for the fitted constants, sqrt(freedom / chi^2) for the few points.
    spread = np.sqrt(n / rng.chisquare(max(n - p, 1), count))
    noise = rng.choice(error - error.mean(), (count, n)) * spread[:, None]
    with np.errstate(over="ignore"):
        curves = np.clip(np.exp(np.log(y) - error + noise), 1e-300, 1e300)
    return minimise(law, logx, curves, start, delta=delta, max_iterations=60).theta
