"""The law of coverage for many curves at once: y = exp(-exp(alpha + b x)), with x = log k.

In x this is a Gompertz curve, and the family's ``exponentiated`` law with the sign of its exponent
turned. The core of the family fits all curves of a bootstrap in one batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.fitting.laws import LAWS
from paperworks.scaling.fitting.solve import minimise

FloatArray = NDArray[np.float64]

_LAW = LAWS["exponentiated"]
_SIGN = np.array([1.0, -1.0])  # the family's law falls: x^-alpha


def gompertz(line: FloatArray) -> FloatArray:
    """exp(-exp(line)), without overflow warnings: 0 where the line is far up, 1 far down."""
    return np.asarray(np.exp(-np.exp(np.minimum(line, 700.0))))


@dataclass(frozen=True)
class GompertzFit:
    """Fits of B curves.

    ``parameters`` (B, 2) holds alpha and b, ``squared_error`` (B,) the sum over points, and
    ``converged`` (B,) tells which curves met the tolerance; one without two points strictly between
    0 and 1 does not.
    """

    parameters: FloatArray
    squared_error: FloatArray
    converged: NDArray[np.bool_]
    iterations: int

    def covariance(self, row: int, x: FloatArray) -> FloatArray:
        """Of (alpha, b) of one curve, from its residuals: s^2 (J' J)^-1."""
        log_y, jacobian = _LAW.evaluate(self.parameters[row : row + 1] * _SIGN, x[:, None])
        slopes = np.exp(log_y[0])[:, None] * jacobian[0] * _SIGN
        variance = self.squared_error[row] / max(x.size - 2, 1)
        return variance * np.linalg.pinv(slopes.T @ slopes)


def fit_gompertz(x: FloatArray, curves: FloatArray) -> GompertzFit:
    """Fit each row of ``curves`` (B, K), values in [0, 1], over ``x`` (K,), by least squares."""
    parameters, usable = _start(x, curves)
    squared_error = np.full(len(curves), np.inf)
    converged = np.zeros(len(curves), dtype=bool)
    found = minimise(_LAW, x[:, None], curves[usable], parameters[usable] * _SIGN, space="linear")
    parameters[usable] = found.theta * _SIGN
    squared_error[usable] = 2 * found.loss
    converged[usable] = found.converged
    return GompertzFit(parameters, squared_error, converged, found.iterations)


def _start(x: FloatArray, curves: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """The line log(-log y) = alpha + b x, weighted by how far it moves y; and which rows have one.

    A residual r of y is r / (y log y) of log(-log y), hence the weights (y log y)^2.
    """
    inside = (curves > 0) & (curves < 1)
    y = np.where(inside, curves, 0.5)
    target = np.log(-np.log(y))
    weight = np.where(inside, (y * np.log(y)) ** 2, 0.0)
    total = weight.sum(1)
    safe = np.where(total > 0, total, 1.0)
    x_mean = weight @ x / safe
    t_mean = (weight * target).sum(1) / safe
    spread = (weight * (x - x_mean[:, None]) ** 2).sum(1)
    # Two different x with weight, else b is open: judged on the points, not on a rounded spread.
    most = np.where(inside, x, -np.inf).max(1)
    least = np.where(inside, x, np.inf).min(1)
    usable = (most > least) & (spread > 0)
    cross = (weight * (x - x_mean[:, None]) * (target - t_mean[:, None])).sum(1)
    b = np.where(usable, cross / np.where(usable, spread, 1.0), 0.0)
    return np.stack([t_mean - b * x_mean, b], 1), usable
