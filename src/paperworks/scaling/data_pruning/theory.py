r"""Test error of a perceptron trained on a pruned data set, in the limit of many dimensions.

Sorscher, Geirhos, Shekhar, Ganguli and Morcos, "Beyond neural scaling laws: beating power law
scaling via data pruning", arXiv 2206.14486, section 2 and its appendix.

A teacher ``T`` labels ``alpha_tot N`` Gaussian inputs in N dimensions. A probe, a student trained
elsewhere, at an angle ``theta`` to the teacher, ranks them by ``|probe . x|``. A share ``keep``
stays: those with the smallest (hard) or the largest values (easy). A new student takes the
separating direction of largest margin ``kappa`` on what stays. Its test error on fresh inputs is
``arccos(R) / pi``, R its overlap with the teacher.

The saddle-point equations in print are stationarity in the overlaps ``(R, rho)`` of

    alpha E (kappa - J . x)_+^2 = |part of J outside the plane of teacher and probe|^2.

Divided by the right side and written in ``v``, the part inside the plane over the length of the
part outside, the left is convex in v (:mod:`.fields`). Newton's method finds its least value for
one kappa, and a bracketing search the kappa at which ``alpha`` times that is 1: the largest margin
that can be had. So the solution is the only one, and needs no starting point. The equations in
print are then evaluated at it, and what is left of them is the result's ``residual``.

Departure: keeping the easy ones is solved by the same equations; the appendix gives keeping hard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from paperworks.scaling.data_pruning.fields import FloatArray, Kept
from paperworks.scaling.data_pruning.replica import residual

ORDERS = ("hard", "easy")
_TOLERANCE = 1e-6
_NEWTON = 200
_LEAST_KEEP = 1e-4


@dataclass(frozen=True)
class PrunedPerceptron:
    """What :func:`pruned_perceptron` found.

    Parameters
    ----------
    test_error : float
        Share of fresh inputs that the student labels wrongly, in (0, 1/2).
    overlap : float
        R, the cosine between student and teacher.
    probe_overlap : float
        rho, the cosine between student and probe.
    margin : float
        kappa, the least ``label * student . x`` on the kept examples, for a student of length 1.
    alpha_tot, keep, theta, order
        As given.
    residual : float
        Largest relative error of the replica's saddle-point equations at this solution.
    iterations : int
        Newton steps taken.
    converged : bool
        Whether ``residual`` is below 1e-6.

    Examples
    --------
    >>> solution = pruned_perceptron(4.0, 0.5, theta=0.2)
    >>> solution.alpha_kept, solution.converged, 0 < solution.probe_overlap < solution.overlap < 1
    (2.0, True, True)
    """

    test_error: float
    overlap: float
    probe_overlap: float
    margin: float
    alpha_tot: float
    keep: float
    theta: float
    order: str
    residual: float
    iterations: int
    converged: bool

    @property
    def alpha_kept(self) -> float:
        """Kept examples per dimension."""
        return self.alpha_tot * self.keep


def pruned_perceptron(
    alpha_tot: float, keep: float = 1.0, *, theta: float = 0.0, order: str = "hard"
) -> PrunedPerceptron:
    """Solve the replica equations of a max-margin perceptron on pruned data.

    Parameters
    ----------
    alpha_tot : float
        Examples per dimension before pruning, in [1e-3, 1e6] / keep.
    keep : float
        Share of them that is kept, in [1e-4, 1]. Default 1: no pruning, the classical perceptron of
        maximal stability.
    theta : float
        Angle between the probe that ranks the examples and the teacher, in radians, from 0 (a
        perfect ranking, the default) to pi / 2 (one that knows nothing).
    order : {"hard", "easy"}
        Keep the examples nearest to the probe's boundary, or the farthest.

    Returns
    -------
    PrunedPerceptron

    Raises
    ------
    ValueError
        For values out of range.

    Notes
    -----
    A few dozen evaluations of an integral over one or two variables: about 10 ms for a perfect
    probe and 0.1 to 1 s for an imperfect one. Random pruning is no pruning of a smaller set:
    ``pruned_perceptron(alpha_tot * keep)``.

    Examples
    --------
    With much data half of it, the hard half, does almost as well as all:

    >>> all_of_it = pruned_perceptron(20.0)
    >>> hard = pruned_perceptron(20.0, 0.5)
    >>> random = pruned_perceptron(10.0)
    >>> [round(each.test_error, 4) for each in (all_of_it, hard, random)]
    [0.0249, 0.0249, 0.0492]
    """
    kept = _checked(alpha_tot, keep, theta, order)
    alpha = alpha_tot * keep
    v, taken = np.zeros(2), 0

    def excess(log_kappa: float) -> float:
        """Above 0 where the margin is more than can be had."""
        nonlocal v, taken
        v, least, steps = _least_shortfall(kept, math.exp(log_kappa), v, alpha)
        taken += steps
        return math.log(max(alpha * least, 1e-300))

    low = high = 0.0
    while excess(high) < 0:
        high += 1.0
    while excess(low) > 0:
        low -= 1.0
        v = v * math.e  # about 1 / kappa
    v = np.zeros(2)  # one that was left far out by too small a kappa is a bad start
    log_kappa = float(brentq(excess, low, high, xtol=1e-13, rtol=1e-13))
    excess(log_kappa)
    kappa = math.exp(log_kappa)
    cosine, sine = math.cos(theta), math.sin(theta)
    along, across = v[0] * cosine + v[1] * sine, v[0] * sine - v[1] * cosine
    norm = math.sqrt(1 + float(v @ v))
    R, rho = float(along) / norm, float(v[0]) / norm
    left = float(residual(kept, alpha, v, kappa))
    return PrunedPerceptron(
        # arccos loses digits near R = 1.
        test_error=math.atan2(math.hypot(1.0, across), along) / math.pi,
        overlap=R,
        probe_overlap=rho,
        margin=kappa,
        alpha_tot=float(alpha_tot),
        keep=float(keep),
        theta=float(theta),
        order=order,
        residual=left,
        iterations=taken,
        converged=left < _TOLERANCE,
    )


def _least_shortfall(
    kept: Kept, kappa: float, v: FloatArray, alpha: float
) -> tuple[FloatArray, float, int]:
    """The least mean shortfall over v, by Newton's method; stops early where it is far below."""
    value, gradient, hessian = kept.shortfall(v, kappa)
    for step in range(_NEWTON):
        if alpha * value < 1e-3:  # the margin can be had, and a larger one by far
            return v, value, step
        if kept.theta == 0:
            move = np.array([-gradient[0] / hessian[0, 0], 0.0])
        else:
            move = -np.linalg.solve(hessian, gradient)
        gain = -float(gradient @ move)
        if gain < 1e-16 * value:
            return v, value, step
        size = 1.0
        while True:
            trial = kept.shortfall(v + size * move, kappa)
            if trial[0] <= value - 1e-4 * size * gain or size < 1e-9:
                break
            size /= 2
        if trial[0] >= value:  # rounding
            return v, value, step
        v, (value, gradient, hessian) = v + size * move, trial
    return v, value, _NEWTON


def crossover(keep: float, *, theta: float = 0.0, against: str = "easy") -> float:
    """The ``alpha_tot`` from which on keeping the hard examples is better.

    Parameters
    ----------
    keep : float
        Share kept, in [1e-4, 1).
    theta : float
        Angle of the probe, as in :func:`pruned_perceptron`.
    against : {"easy", "random"}
        What the hard ones are held against, at the same share.

    Returns
    -------
    float
        Examples per dimension before pruning. ``inf`` where keep-hard is not better at any
        ``alpha_tot * keep`` up to 1e4.

    Examples
    --------
    >>> round(crossover(0.5), 2)
    5.05
    """
    if against not in ("easy", "random"):
        raise ValueError(f"against must be 'easy' or 'random', got {against!r}")
    _checked(1.0, keep, theta, "hard")
    if keep == 1:
        raise ValueError("keep must be < 1, got 1: there is nothing to choose")

    def lead(log_alpha: float) -> float:
        alpha = math.exp(log_alpha)
        hard = pruned_perceptron(alpha, keep, theta=theta)
        if against == "easy":
            other = pruned_perceptron(alpha, keep, theta=theta, order="easy")
        else:
            other = pruned_perceptron(alpha * keep)
        return math.log(hard.test_error / other.test_error)

    # Looked for upwards, since for an imperfect probe the lead can end again.
    low = math.log(0.25 / keep)
    while low < math.log(1e4 / keep):
        high = low + 0.7
        if lead(high) < 0:
            return math.exp(float(brentq(lead, low, high, xtol=1e-6)))
        low = high
    return math.inf


def best_keep(alpha_kept: float, *, theta: float = 0.0, least: float = 0.01) -> PrunedPerceptron:
    """The share to keep for the least test error with so many kept examples.

    The kept number is given and the pool they are chosen from is as large as it takes,
    ``alpha_kept / keep``: the question of one who pays for training and not for data. An imperfect
    probe bounds how choosy one should be.

    Parameters
    ----------
    alpha_kept : float
        Kept examples per dimension.
    theta : float
        Angle of the probe, as in :func:`pruned_perceptron`.
    least : float
        Smallest share looked at, in [1e-4, 1).

    Returns
    -------
    PrunedPerceptron
        At the best share.

    Examples
    --------
    >>> best_keep(0.5, theta=0.0).keep  # with little data choosing the hard ones does harm
    1.0
    """
    if not _LEAST_KEEP <= least < 1:
        raise ValueError(f"least must be in [{_LEAST_KEEP:g}, 1), got {least}")
    _checked(alpha_kept, 1.0, theta, "hard")

    def error(log_keep: float) -> float:
        keep = math.exp(log_keep)
        return pruned_perceptron(alpha_kept / keep, keep, theta=theta).test_error

    grid = np.linspace(math.log(least), 0.0, 9)
    errors = [error(x) for x in grid]
    at = int(np.argmin(errors))
    ends = grid[max(at - 1, 0)], grid[min(at + 1, grid.size - 1)]
    found = minimize_scalar(error, bounds=ends, method="bounded", options={"xatol": 1e-3})
    # The bounded search never tries its ends.
    keep = math.exp(found.x) if found.fun < errors[at] else math.exp(grid[at])
    return pruned_perceptron(alpha_kept / keep, keep, theta=theta)


def _checked(alpha_tot: float, keep: float, theta: float, order: str) -> Kept:
    if not _LEAST_KEEP <= keep <= 1:
        raise ValueError(f"keep must be a share in [{_LEAST_KEEP:g}, 1], got {keep}")
    if not 1e-3 <= alpha_tot * keep <= 1e6:
        raise ValueError(
            "alpha_tot * keep must be in [1e-3, 1e6] kept examples per dimension, got "
            f"{alpha_tot} * {keep}"
        )
    if not 0 <= theta <= math.pi / 2:
        raise ValueError(
            f"theta must be in [0, pi / 2] radians, got {theta}; a probe at pi - theta ranks alike"
        )
    if order not in ORDERS:
        raise ValueError(f"order must be 'hard' or 'easy', got {order!r}")
    return Kept(float(keep), float(theta), order)
