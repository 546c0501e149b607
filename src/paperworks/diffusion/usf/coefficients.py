"""Decisions as what they are: numbers known before the network is asked.

In ``y = x / alpha`` over ``rho = sigma / alpha`` the probability flow is ``dy / drho = eps``. Every
step of the framework is linear in what was predicted so far, also a step that expands the predicted
data, since ``x0 = y - rho eps``, and also a corrector. So a whole schedule of N steps is a lower
triangular matrix::

    y_(i+1) = y_i + sum over j <= i of moves[i, j] eps_j

whose rows sum to ``rho_(i+1) - rho_i``. Two schedules are the same sampler exactly where their
times and their matrices agree, however differently they were written down: the search asks for
each such function once.

A step from s to t, h = lambda_t - lambda_s with lambda = -log(rho), is equation 5 of the paper for
the noise, and the same for the data with the signs turned::

    y_t       = y_s       - rho_t   sum_k h**(k+1) phi_(k+1)(h)  eps^(k)(lambda_s)
    y_t/rho_t = y_s/rho_s + 1/rho_t sum_k h**(k+1) phi_(k+1)(-h) x0^(k)(lambda_s)

with ``phi_k(z) = 1F1(1; k + 1; z) / k!``. Derivatives of the k-th order are those of the polynomial
through the points that the step names. The Adams estimates integrate such a polynomial in another
variable, over rho for the noise and over 1/rho for the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import factorial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import hyp1f1

from paperworks.diffusion.extrapolation import extrapolation_weights
from paperworks.diffusion.integrators import EQUAL_STEPS
from paperworks.diffusion.schedules import DiscreteVP, Floats, Schedule
from paperworks.diffusion.usf.decisions import Decisions, Step

EQUAL_CORRECTED = (
    (1 / 2, 1 / 2),
    (8 / 12, -1 / 12, 5 / 12),
    (19 / 24, -5 / 24, 1 / 24, 9 / 24),
    (646 / 720, -264 / 720, 106 / 720, -19 / 720, 251 / 720),
)
"""The weights of Adams and Moulton: the newest first, and last the prediction at the end."""


def moves(schedule: Schedule, times: Iterable[float], steps: Sequence[Step]) -> Floats:
    """What each prediction moves ``x / alpha`` by, in every step.

    Parameters
    ----------
    schedule : Schedule
    times : (steps + 1,) float
    steps : sequence of Step

    Returns
    -------
    (steps, steps) float64
        Lower triangular. Row i leads from the sample that the network is asked about at
        ``times[i]`` to the one that it is asked about next.

    Notes
    -----
    O(steps**2) numbers and O(steps * order**3) work; Adams estimates need a quadrature a step,
    which is kept.

    Examples
    --------
    >>> from paperworks.diffusion.schedules import EDM
    >>> moves(EDM(), [3, 2, 1], [Step(), Step(2, estimate="adams-rho")]).round(9).tolist()
    [[-1.0, 0.0], [0.5, -1.5]]
    """
    return _moves(schedule, tuple(map(float, times)), tuple(steps)).copy()


@lru_cache(maxsize=1024)
def _moves(schedule: Schedule, times: tuple[float, ...], steps: tuple[Step, ...]) -> Floats:
    """Kept: a search needs those of a candidate three times."""
    schedule.keep()
    at = np.array(times)
    grid = _Grid(schedule, at, schedule.rho(at), 0.5 * schedule.log_snr(at))
    rho, count = grid.rho, len(steps)
    # Rows of coefficients of the noises in y, less y at the first time: where the network is asked,
    # and where steps start from, which a corrector may have moved.
    asked, known = np.zeros((2, count + 1, count))

    def reached(index: int, step: Step, *, corrected: bool) -> Floats:
        """Y at the end of a step, by its predictor or its corrector."""
        start = index - step.start
        weights = _weights(grid, index, step, corrected=corrected)
        if step.prediction == "noise":
            return known[start] + weights
        used = np.flatnonzero(weights)
        data = asked[used].copy()
        data[np.arange(len(used)), used] -= rho[used]
        return rho[index + 1] * (known[start] / rho[start] + weights[used] @ data)

    for index, step in enumerate(steps):
        before = steps[index - 1] if index else Step()
        known[index] = asked[index]
        if before.corrector:
            known[index] = reached(index - 1, before, corrected=True)
        asked[index + 1] = reached(index, step, corrected=False)
    return np.diff(asked, axis=0)


def function_key(schedule: Schedule, decisions: Decisions) -> str:
    """A name for the sampler that decisions make: equal for decisions that make the same.

    Numbers are compared to 9 digits of the step's own size.
    """
    found = moves(schedule, decisions.times, decisions.steps)
    found /= np.abs(np.diff(schedule.rho(decisions.times)))[:, None]
    digits = np.concatenate([np.asarray(decisions.times), found.ravel()]).round(9) + 0.0
    return hashlib.sha256(digits.tobytes()).hexdigest()[:20]


class _Grid(NamedTuple):
    """The times of a schedule and what is needed there."""

    schedule: Schedule
    times: Floats
    rho: Floats
    half_log_snr: Floats


def _weights(grid: _Grid, index: int, step: Step, *, corrected: bool) -> Floats:
    """Of every prediction in the integral of a step, (steps,): that of the noise over rho, or that
    of the data over 1 / rho.
    """
    found = np.zeros(len(grid.times) - 1)
    start, end = index - step.start, index + 1
    noise = step.prediction == "noise"
    rho = grid.rho if noise else 1 / grid.rho
    if step.estimate == "taylor":
        points = [[index - p for p in used] for used in step.used]
        if corrected:  # one derivative more, and the new prediction for each
            points = [[*used, end] for used in (*points, points[-1] if points else [])]
        h = grid.half_log_snr[end] - grid.half_log_snr[start]
        z, lead = (h, -rho[end]) if noise else (-h, rho[end])
        found[start] = rho[end] - rho[start]
        # A scaling is of the first derivative alone where it is the only one, as in UniPC.
        factors = _factors(step, h, z) if not corrected or len(points) == 1 else (1.0, 1.0)
        for k, used in enumerate(points, 1):
            away = grid.half_log_snr[used] - grid.half_log_snr[start]
            wanted = np.zeros(len(used))
            wanted[k - 1] = factorial(k)
            slope = np.linalg.solve(away ** np.arange(1, len(used) + 1)[:, None], wanted)
            slope *= lead * h ** (k + 1) * hyp1f1(1, k + 2, z) / factorial(k + 1)
            if k <= 2:
                slope *= factors[k - 1]
            found[used] += slope
            found[start] -= slope.sum()
        return found
    nodes = [*range(index, index - step.order, -1), *([end] if corrected else [])]
    if step.estimate == "adams-equal":
        table = EQUAL_CORRECTED if corrected else EQUAL_STEPS
        found[nodes] = np.array(table[step.order - 1]) * (rho[end] - rho[index])
    else:
        found[nodes] = _polynomial(
            grid.schedule, noise, step.estimate, tuple(grid.times[nodes]), grid.times[end]
        )
    return found


def _factors(step: Step, h: float, z: float) -> tuple[float, float]:
    """Of the first and the second derivative."""
    if not isinstance(step.scaling, str):
        return 1 + step.scaling * h, 1.0
    grown = np.expm1(z)
    return {
        "none": (1.0, 1.0),
        "bh1": (0.5 * z * z / (grown - z), 1.0),
        "bh2": (0.5 * z * grown / (grown - z), 1.0),
        "exp+": (1 + 0.5 * grown, 1.0),
        "exp-": (1 - 0.5 * grown, 1.0),
        "3m": (1.0, 0.5),
    }[step.scaling]


@lru_cache(maxsize=8192)
def _polynomial(
    schedule: Schedule, noise: bool, estimate: str, nodes: tuple[float, ...], end: float
) -> Floats:
    """Weights of the polynomial in t or in rho; kept, for a search comes to the same ones often."""

    def rho(t: ArrayLike) -> Floats:
        return schedule.rho(t) if noise else 1 / schedule.rho(t)

    if estimate == "adams-rho":
        return extrapolation_weights(np.asarray, rho(nodes), float(rho(end)))
    pieces = np.arange(schedule.t_max) if isinstance(schedule, DiscreteVP) else ()
    return extrapolation_weights(rho, nodes, end, pieces)
