"""The exact augmented Lagrangian, its slope along a direction, and its penalties.

::

    merit(x, l) = f + l^T c + eta1 / 2 |c|^2 + eta2 / 2 |g|^2,    g = grad f + G^T l
    grad merit  = [ g + eta2 H g + eta1 G^T c ;  c + eta2 G g ]

with H the Hessian of the Lagrangian. Its minimisers are those of the problem once eta1 is large
and eta2 small, without a limit; and it needs first derivatives only, while its slope along a step
of the Newton system falls out of the system's residual, without a product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from paperworks.numerics.equality.inputs import Floats, Jacobian, Problem


@dataclass(frozen=True, eq=False)
class Point:
    """An iterate: x, multipliers, and all that its first derivatives give."""

    x: Floats
    multipliers: Floats
    f: float
    c: Floats
    g_f: Floats
    G: Jacobian
    g: Floats  # gradient of the Lagrangian

    @property
    def kkt(self) -> float:
        """Euclidean norm of the gradient of the Lagrangian and the constraints together."""
        return float(np.hypot(np.linalg.norm(self.g), np.linalg.norm(self.c)))

    @property
    def finite(self) -> bool:
        """Whether value, constraints and gradient are all finite."""
        return bool(np.isfinite(self.f) and np.isfinite(self.kkt))


@dataclass(frozen=True)
class Penalties:
    """The merit function's two parameters and the accuracy ``delta`` of the inner solves."""

    eta1: float
    eta2: float
    delta: float

    def tightened(self, nu: float) -> Penalties:
        """The paper's update: ``eta1 nu^2``, ``eta2 / nu``, ``delta / nu^4``."""
        return Penalties(self.eta1 * nu**2, self.eta2 / nu, max(self.delta / nu**4, 1e-10))

    @property
    def spent(self) -> bool:
        """Whether the penalties are at the end of what float64 can tell apart."""
        return self.eta1 > 1e12 or self.eta2 < 1e-12


def evaluate(problem: Problem, x: Floats, multipliers: Floats) -> Point:
    """Value, constraints and first derivatives at ``(x, multipliers)``."""
    f, c = problem.value(x)
    g_f, G = problem.slope(x)
    return Point(x, multipliers, f, c, g_f, G, g_f + G.T @ multipliers)


def with_multipliers(point: Point, multipliers: Floats) -> Point:
    """The same x with other multipliers; nothing is evaluated."""
    return replace(point, multipliers=multipliers, g=point.g_f + point.G.T @ multipliers)


def merit(point: Point, penalties: Penalties) -> float:
    """The exact augmented Lagrangian at a point."""
    return float(
        point.f
        + point.multipliers @ point.c
        + penalties.eta1 / 2 * (point.c @ point.c)
        + penalties.eta2 / 2 * (point.g @ point.g)
    )


@dataclass(frozen=True, eq=False)
class Slope:
    """The merit's slope along a direction, as a function of the penalties.

    ``plain + eta1 constraints + eta2 gradient``; and what the penalties must bring about.
    """

    plain: float
    constraints: float
    gradient: float

    def at(self, penalties: Penalties) -> float:
        """The directional derivative of the merit function."""
        return self.plain + penalties.eta1 * self.constraints + penalties.eta2 * self.gradient


def slope(
    point: Point, z: Floats, residual: Floats, b: Floats, shift: float, gamma: float
) -> Slope:
    """The slope along ``z = (dx, dl)`` where ``A z = b - residual``; no product is needed.

    ``H dx + G^T dl`` is the upper part of ``A z`` less the shift, and ``G dx`` the lower part.
    """
    n = point.x.size
    d, dl = z[:n], z[n:]
    Az = b - residual
    upper, lower = Az[:n] - shift * d, Az[n:] + gamma * dl
    return Slope(
        plain=float(point.g @ d + point.c @ dl),
        constraints=float(point.c @ lower),
        gradient=float(point.g @ upper),
    )
