r"""Averages over the examples that a probe has kept, in the limit of many dimensions.

An example enters the theory by two numbers: ``z``, its product with the probe (of unit length), and
``w``, its product with the direction in the teacher's plane that is orthogonal to the probe. Both
are standard normal. The teacher's field is ``cos(theta) z + sin(theta) w``; where it is negative
the label is -1. Since ``(x, label)`` and ``(-x, -label)`` constrain a student alike, the half plane
where it is positive, with twice the density, stands for all. Pruning looks at ``|z|`` alone.

What is averaged is ``h(m) = E_g (m + g)_+^2`` with g standard normal, the mean squared shortfall of
a margin. It bends within a few units of m. For a long student vector that is a narrow stripe, and
the panels of the Gauss-Legendre rule are laid around it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

FloatArray = NDArray[np.float64]

FAR = 9.5  # beyond it a standard normal has 1e-21 of its mass
_BEND = 7.0  # h is zero below -_BEND, and a parabola above it, to 1e-12
_STEP = 1.5  # widest panel
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


def threshold(keep: float, order: str) -> float:
    """The ``|z|`` that parts kept from pruned where a share ``keep`` stays."""
    pruned_above = keep if order == "hard" else 1.0 - keep
    return min(FAR, float(-ndtri((1.0 - pruned_above) / 2)))


def shortfall(m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """``h(m)`` and its first two derivatives."""
    below, density = ndtr(m), normal(m)
    # Both sums cancel in the left tail, where they are below 1e-12; rounding must not turn them
    # negative there.
    value = np.maximum((m * m + 1) * below + m * density, 0.0)
    slope = np.maximum(2 * (m * below + density), 0.0)
    return value, slope, 2 * below


@dataclass(frozen=True)
class Kept:
    """The kept examples: which share, by a probe at which angle, the hard or the easy ones.

    Parameters
    ----------
    keep : float
        Share kept, in (0, 1].
    theta : float
        Angle between probe and teacher in radians, in [0, pi / 2].
    order : {"hard", "easy"}
        Keep the smallest or the largest ``|z|``.
    """

    keep: float
    theta: float
    order: str

    def shortfall(self, v: FloatArray, kappa: float) -> tuple[float, FloatArray, FloatArray]:
        """Mean of ``h(kappa |(1, v)| - v . (z, w))``; its gradient (2,) and Hessian (2, 2) in v.

        Convex in ``v``: ``h`` is convex and rises, and the norm is convex.
        """
        norm = math.sqrt(1 + float(v @ v))
        z, w, weight = self._nodes(v, kappa * norm)
        value, slope, curve = shortfall(kappa * norm - v[0] * z - v[1] * w)
        # How the argument moves with v, and how that motion bends.
        move = np.stack([kappa * v[0] / norm - z, kappa * v[1] / norm - w])
        bend = kappa * (np.eye(2) - np.outer(v, v) / norm**2) / norm
        slope, curve = slope * weight, curve * weight
        return float(value @ weight), move @ slope, (move * curve) @ move.T + slope.sum() * bend

    def bands(self) -> list[tuple[float, float]]:
        """Intervals of z that are kept; for a perfect probe z > 0 stands for all."""
        edge = threshold(self.keep, self.order)
        if self.order == "hard":
            return [(0.0, edge)] if self.theta == 0 else [(-edge, edge)]
        return [(edge, FAR)] if self.theta == 0 else [(-FAR, -edge), (edge, FAR)]

    def _nodes(self, v: FloatArray, k: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Points of the half plane and their probabilities, which add to one."""
        if self.theta == 0:  # the sign of z is the label, and w has no part
            z, weight = panels(self.bands(), _stripe(k, v[0]))
            return z, np.zeros_like(z), weight * normal(z) * 2 / self.keep
        cotangent = math.cos(self.theta) / math.sin(self.theta)  # 6e-17 at pi / 2, never 0
        z, outer = panels(
            self.bands(),
            (0.0, FAR / cotangent),  # the edge of the half plane, w = -cotangent z, crosses w
            (0.0, 3.0 / cotangent),
            _stripe(k, v[0] - cotangent * v[1]),  # the bend on that edge
            _stripe(k, v[0]),  # the bend where v lies along the probe
        )
        room = -cotangent * z < FAR
        z, outer = z[room], outer[room] * normal(z[room]) * 2 / self.keep
        low = np.maximum(-cotangent * z, -FAR)
        at, reach = (k - v[0] * z) / _steep(v[1]), _BEND / abs(_steep(v[1]))
        fixed = [np.full_like(z, cut) for cut in (-3.0, 0.0, 3.0)]
        cuts = [low, at - reach, at, at + reach, *fixed, np.full_like(z, FAR)]
        ends = np.sort(np.clip(np.stack(cuts, axis=1), low[:, None], FAR), axis=1)
        w, inner = _rule(ends)
        weight = outer[:, None] * inner.reshape(z.size, -1)
        w = w.reshape(z.size, -1)
        weight *= normal(w)
        used = weight > 0  # panels of no width
        return np.broadcast_to(z[:, None], w.shape)[used], w[used], weight[used]


def panels(
    bands: list[tuple[float, float]], *stripes: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Points and weights over the bands, cut at each stripe's ``at`` and ``at +- reach``."""
    points, weights = [], []
    grid = np.arange(-FAR, FAR, _STEP)
    narrow = [at + side * reach for at, reach in stripes for side in (-1, 0, 1)]
    cuts = np.concatenate([grid, narrow])
    for low, high in bands:
        x, weight = _rule(np.unique([low, *cuts[(cuts > low) & (cuts < high)], high]))
        points.append(x.ravel())
        weights.append(weight.ravel())
    return np.concatenate(points), np.concatenate(weights)


def normal(x: FloatArray) -> FloatArray:
    """Density of the standard normal distribution."""
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _stripe(k: float, slope: float) -> tuple[float, float]:
    """Where ``k - slope x`` bends h: the centre and half the width of the stripe in x."""
    return k / _steep(slope), _BEND / abs(_steep(slope))


def _steep(slope: float) -> float:
    return slope if abs(slope) > 1e-9 else 1e-9


def _rule(ends: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The Gauss-Legendre rule between neighbouring ends, along the last axis."""
    half, centre = np.diff(ends, axis=-1) / 2, (ends[..., 1:] + ends[..., :-1]) / 2
    return centre[..., None] + half[..., None] * _NODES, half[..., None] * _WEIGHTS
