"""The weights of an exponential integrator of Adams-Bashforth type.

In ``y = x / alpha`` over ``rho = sigma / alpha`` the probability flow is ``dy / drho = eps``. DEIS
puts a polynomial through the noise predicted at the last times and integrates it over the step
exactly; the polynomial may run in any variable u that rho is a function of: the time (tAB-DEIS),
or rho itself (rhoAB-DEIS). So predicted noise ``j`` gets the weight::

    w_j = integral from u_0 to u_end of L_j(u) rho'(u) du,    L_j(u_i) = 1 if i == j else 0

Integrated by parts, this needs no derivative of rho::

    w_j = L_j(u_end) (rho(u_end) - rho(u_0)) - integral of L_j'(u) (rho(u) - rho(u_0)) du

The remaining integral is by adaptive Gauss-Legendre quadrature: intervals are halved until halving
changes nothing. Discrete schedules, whose rho is smooth only between the steps of the training, are
cut there to begin with.

The authors' code takes left Riemann sums of 10,000 points in float32 and differentiates the
schedule instead; it agrees to the four or five digits that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial import Polynomial
from numpy.polynomial.legendre import leggauss
from numpy.polynomial.polynomial import polyfromroots
from numpy.typing import ArrayLike

from paperworks.diffusion.schedules import Floats

_AT, _WEIGHT = leggauss(16)
_SETTLED = 1e-14  # of the largest weight, for one interval; its halves are far better than that
_MOST = 100_000  # open intervals; a smooth function leaves a handful


def extrapolation_weights(
    rho: Callable[[ArrayLike], Floats],
    nodes: Sequence[float] | Floats,
    end: float,
    pieces: Sequence[float] | Floats = (),
) -> Floats:
    """What each predicted noise moves ``x / alpha`` by, over the step from ``nodes[0]`` to ``end``.

    Parameters
    ----------
    rho : callable
        From the polynomial's variable to sigma / alpha; arrays to arrays of the same shape.
    nodes : (order + 1,) float64
        Where the noise was predicted, the newest first; all different.
    end : float
        Where the step ends.
    pieces : sequence of float
        Where rho is not smooth; only those inside the step count.

    Returns
    -------
    (order + 1,) float64
        Their sum is ``rho(end) - rho(nodes[0])``.

    Raises
    ------
    RuntimeError
        If the quadrature does not settle: rho is not finite, or wild between the pieces.

    Notes
    -----
    O(order) for each of the 48 points or so of a step or piece.

    Examples
    --------
    >>> extrapolation_weights(lambda u: u, [1.0, 0.0], 2.0).tolist()  # Adams-Bashforth
    [1.5, -0.5]
    """
    nodes = np.asarray(nodes, np.float64)
    start, width = nodes[0], end - nodes[0]
    scaled = (nodes - start) / width  # the step is 0 to 1: well-conditioned polynomials
    base = rho(start)
    edges = np.sort((np.asarray(pieces, np.float64) - start) / width)
    edges = np.concatenate([[0.0], edges[(edges > 0) & (edges < 1)], [1.0]])
    basis = []
    for j in range(len(scaled)):
        others = np.delete(scaled, j)
        basis.append(Polynomial(polyfromroots(others)) / np.prod(scaled[j] - others))
    slopes = [each.deriv() for each in basis]

    def integrals(low: Floats, high: Floats) -> Floats:
        """Of each interval (intervals, order + 1)."""
        half = (high - low)[:, None] / 2
        s = low[:, None] + half * (_AT + 1)
        moved = (rho(start + width * s) - base) * _WEIGHT * half
        return np.stack([(slope(s) * moved).sum(1) for slope in slopes], 1)

    total = float(rho(end) - base)
    found = np.array([float(each(1.0)) for each in basis]) * total
    allowed = _SETTLED * np.abs(found).max()
    low, high = edges[:-1], edges[1:]
    while len(low) < _MOST:
        middle = (low + high) / 2
        halves = integrals(low, middle) + integrals(middle, high)
        open_ = ~(np.abs(halves - integrals(low, high)).max(1) <= allowed)
        found -= halves[~open_].sum(0)
        if not open_.any():
            return found
        low, high = (
            np.concatenate([low[open_], middle[open_]]),
            np.concatenate([middle[open_], high[open_]]),
        )
    raise RuntimeError(
        f"the weights of the step from {start} to {end} do not settle: the schedule's "
        "sigma / alpha is not smooth there, or not finite"
    )
