"""Which regions a table shows: every shape fitted, weighed, and drawn anew for intervals.

The paper picks the power-law region by eye. Here each shape (:mod:`.shapes`) is fitted to all
points, and Schwarz's criterion says which one the points pay for:

    criterion = n log(2 loss / (n - p)) + p log n

with Huber's loss, each shape's by its own residuals. The variance is the unbiased one (Schwarz
divides by n): with few points more constants make residuals smaller whether they are right or not.
Intervals hold the choice too: their draws come from all shapes, each in proportion to its weight
``exp(-criterion / 2)``. So a curve that is straight so far, but could be bending towards a floor,
has an interval that reaches to "never".

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

from paperworks.scaling.fitting.law import Law
from paperworks.scaling.fitting.solve import minimise, residuals
from paperworks.scaling.learning_curves.shapes import Constants, FloatArray, Shape

_LEAST_SCALE = 1e-7  # of log error: two curves that differ by less are one
_LEAST_DELTA = 1e-4  # below it Huber's loss is all absolute errors, and slow to fit
_HUBER = 1.345  # residuals beyond 1.345 standard deviations pull less: 95 % efficient without any
_FOLLOWED = 4  # starts that are followed for longer, the best after a few steps
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
class RobustFit:
    """A law fitted with Huber's loss: theta (p,), where the loss turns, and what it came to.

    ``scale`` is a robust variance of log error about the law: twice the loss, divided by the points
    less the constants; at least what rounding makes.
    """

    theta: FloatArray
    delta: float
    loss: float
    scale: float
    rms: float
    converged: bool


@dataclass(frozen=True)
class Candidate:
    """One shape, fitted.

    Parameters
    ----------
    shape : Shape
        Which regions it has.
    fit : RobustFit
        Its constants, and how well they fit.
    criterion : float
        The lower, the better the points pay for the shape.
    weight : float
        Its share of ``exp(-criterion / 2)`` among all that were fitted.
    """

    shape: Shape
    fit: RobustFit
    criterion: float
    weight: float


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


def fit_robust(law: Law, logx: FloatArray, y: FloatArray, starts: FloatArray) -> RobustFit:
    """The best of many starts, with Huber's delta by the law's own residuals.

    By its own: beside another law's much smaller residuals its misfit would look like outliers.
    """
    first = minimise(law, logx, y, starts, max_iterations=8)
    first = minimise(
        law, logx, y, first.theta[np.argsort(first.loss)[:_FOLLOWED]], max_iterations=50
    )
    theta = first.theta[np.argmin(first.loss)]
    freedom = max(y.size - theta.size, 1)
    free = math.sqrt(y.size / freedom)
    delta = math.inf
    for _ in range(2):  # an outlier draws the first fit towards itself, and widens its residuals
        error = residuals(law, logx, y, theta[None], "log")[0]
        spread = 1.4826 * free * float(np.median(np.abs(error)))
        delta = max(_HUBER * spread, _LEAST_DELTA)
        last = minimise(law, logx, y, theta[None], delta=delta)
        theta = last.theta[0]
    error = residuals(law, logx, y, theta[None], "log")[0]
    loss = float(last.loss[0])
    return RobustFit(
        theta,
        delta,
        loss,
        max(2 * loss / freedom, _LEAST_SCALE**2),
        float(np.sqrt(np.mean(error**2))),
        bool(last.converged[0]),
    )


def admissible(shapes: Sequence[Shape], points: Points, chance: float | None) -> list[Shape]:
    """The shapes that a table has points for."""
    most = most_constants(points.size.size, np.unique(points.size).size)
    return [each for each in shapes if len(each.law(chance).parameters) <= most]


def most_constants(rows: int, distinct: int) -> int:
    """Fewer than there are distinct sizes; beyond three, not more than half the rows.

    With less to spare a fit goes through its points by luck, and no criterion sees that it does.
    """
    return min(distinct - 1, max(3, rows // 2))


def criterion(n: int, p: int, variance: float) -> float:
    """Schwarz's criterion of ``p`` constants fitted to ``n`` points."""
    return n * math.log(variance) + p * math.log(n)


def weigh(shapes: Sequence[Shape], points: Points, chance: float | None) -> list[Candidate]:
    """Every admissible shape fitted, the best by the criterion first."""
    n, logx, y = points.size.size, points.logx, points.error
    found = []
    for shape in admissible(shapes, points, chance):
        law = shape.law(chance)
        fit = fit_robust(law, logx, y, law.start(logx, y))
        found.append((shape, fit, criterion(n, fit.theta.size, fit.scale)))
    least = min(value for _, _, value in found)
    total = sum(math.exp((least - value) / 2) for _, _, value in found)
    candidates = [
        Candidate(shape, fit, value, math.exp((least - value) / 2) / total)
        for shape, fit, value in found
    ]
    return sorted(candidates, key=lambda each: each.criterion)


def draw(
    candidates: Sequence[Candidate],
    points: Points,
    chance: float | None,
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
                law, points.logx, points.error, candidate.fit, points.runs, int(count), rng
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
    fit: RobustFit,
    runs: NDArray[np.int64] | None,
    count: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Fits (count, p) of resampled points around a fit: residuals, or whole runs if named."""
    n, theta, delta = y.size, fit.theta, fit.delta
    p = theta.size
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
