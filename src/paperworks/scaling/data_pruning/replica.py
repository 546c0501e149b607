r"""The saddle-point equations of the pruned perceptron, as the replica method gives them.

Sorscher et al., arXiv 2206.14486, appendix on the perceptron. With ``alpha`` kept examples per
dimension, the student of largest margin ``kappa`` has overlaps ``R`` with the teacher and ``rho``
with the probe. For a perfect probe that keeps ``|z| < gamma``, ``q = 1 - R^2``::

    R = 2 alpha / (f sqrt(2 pi q)) int_{-inf}^{kappa} Dt (kappa - t)
        exp(-R^2 t^2 / 2q) [1 - exp(-gamma (gamma - 2 R t) / 2q)]
    q = 2 alpha / f int_{-inf}^{kappa} Dt (kappa - t)^2
        [H(-R t / sqrt q) - H((gamma - R t) / sqrt q)]

For a probe at angle theta, with ``<.>`` the mean over the kept z, ``s = sin(theta)``,
``c = cos(theta)``, ``p = 1 - rho^2``, ``Lam^2 = s^2 - R^2 - rho^2 + 2 rho R c``,
``Gam = z (rho R - c) - t (R - rho c)``,
``Del = z^2 (rho^2 + c^2 - 2 rho R c) + 2 t z (R c - rho) + t^2 s^2`` and ``G`` the density of t
given z, normal with mean ``rho z`` and variance p::

    (R - rho c) / s^2 = alpha / (pi Lam) <int_{-inf}^{kappa} dt exp(-Del / 2 Lam^2) (kappa - t)>
    Lam^2 / s^2       = 2 alpha <int_{-inf}^{kappa} dt G H(Gam / (sqrt p Lam)) (kappa - t)^2>
    (rho - R c) / s^2 = 2 alpha <int_{-inf}^{kappa} dt (kappa - t) [
        G H(Gam / (sqrt p Lam)) (z - rho t) / p + exp(-Del / 2 Lam^2) (rho R - c) / (2 pi Lam p)]>

Keeping the easy examples changes the limits of the teacher's field from ``(0, gamma)`` to
``(gamma, inf)``, and the bands of z.

:mod:`.theory` finds the solution by another way, a convex problem. These equations check it: they
share no integral and no derivative with that way.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from paperworks.scaling.data_pruning.fields import FAR, FloatArray, Kept, normal, panels, threshold


def residual(kept: Kept, alpha: float, v: FloatArray, kappa: float) -> float:
    """The largest error of the saddle-point equations, each relative to its largest term.

    ``v`` is the student's part along the probe and across it, over the length of its part outside
    the plane: differences such as ``1 - R^2`` and ``R - rho c`` come from it without cancelling.
    """
    if kept.theta == 0:
        return _perfect(kept, alpha, v, kappa)
    return _imperfect(kept, alpha, v, kappa)


def _perfect(kept: Kept, alpha: float, v: FloatArray, kappa: float) -> float:
    q = 1 / (1 + v[0] ** 2)
    root = math.sqrt(q)
    R = v[0] * root
    gamma = threshold(kept.keep, kept.order)
    t, weight = _below(kappa, (0.0, root / R), (gamma / R, root / R))
    weight = weight * normal(t)
    at_zero = np.exp(-((R * t) ** 2) / (2 * q))
    at_gamma = np.exp(-((gamma - R * t) ** 2) / (2 * q)) if gamma < FAR else np.zeros_like(t)
    above_gamma = ndtr((R * t - gamma) / root)
    if kept.order == "hard":
        edge, inside = at_zero - at_gamma, ndtr(R * t / root) - above_gamma
    else:
        edge, inside = at_gamma, above_gamma
    scale, short = 2 * alpha / kept.keep, kappa - t
    first = scale / math.sqrt(2 * math.pi * q) * float(weight @ (edge * short))
    second = scale * float(weight @ (inside * short**2))
    return max(abs(first - R) / R, abs(second - q) / q)


def _imperfect(kept: Kept, alpha: float, v: FloatArray, kappa: float) -> float:
    c, s = math.cos(kept.theta), math.sin(kept.theta)
    norm, s2 = math.sqrt(1 + float(v @ v)), s * s
    rho, R = v[0] / norm, (v[0] * c + v[1] * s) / norm
    p, lam = (1 + v[1] ** 2) / norm**2, s / norm
    root, tilt = math.sqrt(p), (s * v[1] / norm) or 1e-300  # R - rho c
    lean = s * (v[0] * s - v[1] * c) / norm  # rho - R c
    turn = rho * s * v[1] / norm - c * p  # rho R - c
    sums = np.zeros(4)
    tangent = math.sqrt(s2) / c
    zs, shares = panels(
        kept.bands(),
        *((0.0, reach * tangent) for reach in (3.0, FAR)),  # where the teacher turns
        *((kappa / (rho or 1e-9), reach * root) for reach in (2.5, 7.0)),
    )
    for z, share in zip(zs, shares * normal(zs) / kept.keep, strict=True):
        t, weight = _below(
            kappa,
            (rho * z, root),  # the density of t
            (z * lean / s2, lam / math.sqrt(s2)),  # the teacher's boundary
            (z * turn / tilt, root * lam / abs(tilt)),  # where the teacher turns
        )
        weight, short = weight * share, kappa - t
        inside = normal((t - rho * z) / root) / root
        inside *= ndtr((t * tilt - z * turn) / (root * lam))
        # Del as a sum of squares: the form in print loses all digits where Lam is small.
        delta = s2 * (t - z * lean / s2) ** 2 + lam * lam * (z * c) ** 2 / s2
        border = np.exp(-delta / (2 * lam * lam)) / (2 * math.pi * lam)
        terms = [
            border * short,
            inside * short**2,
            inside * (z - rho * t) / p * short,
            border * turn / p * short,
        ]
        sums += np.stack(terms) @ weight
    first, second, third, fourth = 2 * alpha * sums
    return max(
        abs(first - tilt / s2) / max(abs(R), abs(rho * c)) * s2,
        abs(second - lam * lam / s2) / (lam * lam / s2),
        abs(third + fourth - lean / s2)
        / max(abs(third), abs(fourth), abs(rho) / s2, abs(R * c) / s2),
    )


def _below(kappa: float, *widths: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Points and weights for t < kappa, close around centres of a normal shape of some width."""
    stripes = [(at, reach * width) for at, width in widths for reach in (2.5, 7.0)]
    return panels([(min(-FAR, kappa - 2 * FAR), kappa)], *stripes)
