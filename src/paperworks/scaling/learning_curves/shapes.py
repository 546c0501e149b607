"""The shapes that a learning curve can have: which of the three regions the data show.

Hestness et al., arXiv 1712.00409, section 5 and figure 6: with few data a model guesses, then its
error falls as a power law, and at last it nears what no amount of data removes. The paper fits the
middle part, ``y = A x^-alpha + E`` (its ``epsilon(m) = alpha m^beta_g + gamma``), and
draws the rest. Here the rest is in the law:

    y = E + (C - E) (1 + (x / d)^(1/s))^(-alpha s)

with chance level ``C``, floor ``E``, and ``d`` where the plateau of guessing and the power law
cross. Far above ``d`` it is ``E + A x^-alpha`` with ``A = (C - E) d^alpha``. With sharpness
``s = 1`` it is ``E + A (x + d)^-alpha``, the four-parameter power law (POW4) of the learning-curve
literature; with ``s`` free it is the broken law of Caballero et al., arXiv 2210.14891, with a first
slope of zero.

A :class:`Shape` says which parts are there; :meth:`Shape.law` builds its law for the fitting core.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import expit

from paperworks.scaling.fitting import LAWS, Law, Parameter

FloatArray = NDArray[np.float64]

# Beyond it (1 + x/d)^-alpha is as good as exp(-alpha x / d): no power law any more.
STEEPEST = 5.0
_SLOPES = (0.06, 0.13, 0.25, 0.45, 0.8, 1.5)
_SAMPLED = 200  # rows that starts look at


@dataclass(frozen=True, order=True)
class Shape:
    """Which regions a curve has.

    Parameters
    ----------
    plateau : bool
        A small-data region, in which the error stays near chance.
    floor : bool
        An irreducible error above zero.
    sharpness : bool
        Whether the bend out of the plateau has a width of its own; else ``s = 1``.
    """

    plateau: bool = False
    floor: bool = False
    sharpness: bool = False

    def __post_init__(self) -> None:
        if self.sharpness and not self.plateau:
            raise ValueError("sharpness is that of the bend out of a plateau: set plateau=True too")

    def __str__(self) -> str:
        parts = ["plateau"] * self.plateau + ["power law"] + ["floor"] * self.floor
        return ", ".join(parts) + (" (own sharpness)" if self.sharpness else "")

    def law(self, chance: float | None = None) -> Law:
        """The shape as a law of one variable ``x``; ``chance`` fixes C where there is a plateau."""
        if not self.plateau:
            return LAWS["power-offset" if self.floor else "power"]
        parameters = []
        if self.floor:
            high = 1e300 if chance is None else chance * (1 - 1e-9)
            parameters.append(Parameter("E", low=1e-12, high=high, open_below=True))
        if chance is None:
            parameters.append(Parameter("G", low=1e-12))
        parameters += [Parameter("alpha", "linear", 0.0, STEEPEST, open_below=True), Parameter("d")]
        if self.sharpness:
            parameters.append(Parameter("s", low=0.05, high=20.0))
        top = "G" if chance is None else (f"({chance:g} - E)" if self.floor else f"{chance:g}")
        bend = "(1 + (x/d)^(1/s))^(-alpha s)" if self.sharpness else "(1 + x/d)^-alpha"
        return Law(
            name=str(self),
            formula=f"y = {'E + ' * self.floor}{top} {bend}",
            variables=("x",),
            parameters=tuple(parameters),
            evaluate=partial(_evaluate, shape=self, chance=chance),
            start=partial(_start, shape=self, chance=chance),
        )

    def constants(self, theta: FloatArray, chance: float | None = None) -> Constants:
        """The named constants behind rows of the fit's vector, ``theta`` of shape (B, p)."""
        rest = iter(np.atleast_2d(theta).T)
        nothing = np.zeros(len(np.atleast_2d(theta)))
        if not self.plateau:
            floor = np.exp(next(rest)) if self.floor else nothing
            log_a, alpha = next(rest), next(rest)
            return Constants(floor, log_a, alpha, nothing + math.inf, nothing, nothing + 1)
        floor = np.exp(next(rest)) if self.floor else nothing
        gap = np.exp(next(rest)) if chance is None else chance - floor
        alpha, log_d = next(rest), next(rest)
        sharpness = np.exp(next(rest)) if self.sharpness else nothing + 1
        with np.errstate(divide="ignore"):
            log_a = np.log(gap) + alpha * log_d
        return Constants(floor, log_a, alpha, floor + gap, np.exp(log_d), sharpness)


@dataclass(frozen=True)
class Constants:
    """What a fitted curve is made of, for B fits at once: arrays of shape (B,).

    ``floor`` is 0 where there is none; ``chance`` is infinity and ``bend`` 0 where there is no
    plateau. ``log_a`` is the logarithm of A.
    """

    floor: FloatArray
    log_a: FloatArray
    alpha: FloatArray
    chance: FloatArray
    bend: FloatArray
    sharpness: FloatArray

    def error(self, size: FloatArray) -> FloatArray:
        """Errors (B, n) at sizes (n,) > 0."""
        x = np.log(size)[None]
        log_a, alpha, s = (v[:, None] for v in (self.log_a, self.alpha, self.sharpness))
        with np.errstate(divide="ignore", over="ignore"):
            log_d = np.log(self.bend)[:, None]
            # A x^-alpha (1 + (d / x)^(1/s))^(-alpha s): the same law seen from the power law.
            soft = np.where(np.isfinite(log_d), np.logaddexp(0.0, (log_d - x) / s), 0.0)
            return self.floor[:, None] + np.exp(log_a - alpha * x - alpha * s * soft)

    def size(self, error: float) -> FloatArray:
        """The size at which each curve comes down to ``error``: 0 where it starts below it,
        infinity where it never does.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = (self.log_a - np.log(error - self.floor)) / self.alpha  # log x, if no plateau
            log_d = np.log(self.bend)
            steps = (ratio - log_d) / self.sharpness
            # x^(1/s) = (A / (y - E))^(1/(alpha s)) - d^(1/s), and x = 0 where that is not positive:
            # chance is as good.
            log_x = np.where(
                np.isfinite(log_d),
                log_d + self.sharpness * _log_expm1(steps),
                ratio,
            )
            found = np.exp(log_x)
        return np.where((error <= self.floor) | np.isnan(found), math.inf, found)

    def slope(self, size: FloatArray) -> FloatArray:
        """Local exponents ``-d log y / d log x``, (B, n), at sizes (n,)."""
        x = np.log(size)[None]
        with np.errstate(divide="ignore", over="ignore"):
            log_d = np.log(self.bend)[:, None]
            after = expit((x - log_d) / self.sharpness[:, None])
        error = self.error(size)
        return self.alpha[:, None] * after * (error - self.floor[:, None]) / error

    @property
    def irreducible_from(self) -> FloatArray:
        """Where the power law has come down to the floor; infinity where there is none."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            found = np.exp((self.log_a - np.log(self.floor)) / self.alpha)
        return np.where((self.floor > 0) & (self.alpha > 0), found, math.inf)


def _log_expm1(value: FloatArray) -> FloatArray:
    """log(exp(value) - 1), -infinity for value <= 0."""
    positive = np.maximum(value, 0.0)
    return np.where(positive > 30, positive, np.log(np.expm1(np.minimum(positive, 30))))


def _evaluate(
    theta: FloatArray, logx: FloatArray, *, shape: Shape, chance: float | None
) -> tuple[FloatArray, FloatArray]:
    x = logx[:, 0]
    rest = iter(theta.T[:, :, None])
    jacobian = np.empty((len(theta), len(x), theta.shape[1]))
    log_e = next(rest) if shape.floor else np.full((len(theta), 1), -np.inf)
    log_g = next(rest) if chance is None else np.log(chance - np.exp(log_e))
    alpha, log_d = next(rest), next(rest)
    s = np.exp(next(rest)) if shape.sharpness else 1.0
    z = (x - log_d) / s
    soft, after = np.logaddexp(0.0, z), expit(z)
    above = log_g - alpha * s * soft
    log_y = np.logaddexp(log_e, above)
    share = np.exp(above - log_y)
    at = 0
    if shape.floor:
        jacobian[..., at] = 1 - share
        if chance is not None:  # what the floor gains the gap loses
            jacobian[..., at] -= share * np.exp(log_e - log_g)
        at += 1
    if chance is None:
        jacobian[..., at] = share
        at += 1
    jacobian[..., at] = -share * s * soft
    jacobian[..., at + 1] = share * alpha * after
    if shape.sharpness:
        jacobian[..., at + 2] = -share * alpha * s * (soft - z * after)
    return log_y, jacobian


def _start(logx: FloatArray, y: FloatArray, *, shape: Shape, chance: float | None) -> FloatArray:
    """A grid of exponents, bends and widths, with the rest by non-negative least squares."""
    x = logx[:, 0]
    if len(y) > _SAMPLED:
        some = np.argsort(x, kind="stable")[np.linspace(0, len(y) - 1, _SAMPLED).astype(int)]
        x, y = x[some], y[some]
    low, high = x.min(), x.max()
    bends = low + (high - low) * np.array([-0.1, 0.15, 0.35, 0.6, 0.85])
    widths = (0.25, 1.0) if shape.sharpness else (1.0,)
    found = []
    for alpha, log_d, s in itertools.product(_SLOPES, bends, widths):
        fall = np.exp(-alpha * s * np.logaddexp(0.0, (x - log_d) / s))
        row = []
        if chance is None:
            columns = [np.ones_like(y), fall] if shape.floor else [fall]
            amplitudes, _ = nnls(np.stack(columns, 1) / y[:, None], np.ones_like(y))
            row += list(np.log(np.maximum(amplitudes, 1e-9 * y.min())))
        elif shape.floor:
            # y = C fall + E (1 - fall): one unknown, by least squares of relative errors.
            weight = (1 - fall) / y
            floor = (weight @ (1 - chance * fall / y)) / max(weight @ weight, 1e-300)
            row.append(math.log(min(max(floor, 1e-9 * y.min()), 0.99 * min(y.min(), chance))))
        row += [alpha, log_d]
        if shape.sharpness:
            row.append(math.log(s))
        found.append(row)
    return np.array(found)
