"""The solvers of DEIS: Zhang and Chen, "Fast Sampling of Diffusion Models with Exponential
Integrator", ICLR 2023, arXiv:2204.13902.

The probability flow is linear in x but for the network's noise prediction eps, and the linear part
is known. In ``y = x / alpha`` over ``rho = sigma / alpha`` nothing of it is left::

    dy / drho = eps(alpha y, t(rho))

All of the paper's solvers are one step of this equation, and differ in what they put for eps:

===========  ===================================================================================
tab0..3      tAB-DEIS: a polynomial in t through the last 1 to 4 predictions, integrated exactly;
             ``tab0`` is DDIM, which ``ddim`` names too
rhoab0..3    rhoAB-DEIS: the same with a polynomial in rho
rho-heun     rhoRK-DEIS: a Runge-Kutta method in rho; Heun's of order 2, Kutta's of order 3, the
rho-kutta3   classical one of order 4, with as many evaluations a step
rho-rk4
ipndm0..3    iPNDM: the weights of Adams and Bashforth for equal steps, whatever the steps are;
             ``ipndm`` is the third
===========  ===================================================================================

The order of a multistep method is counted as in the paper: the degree of the polynomial. At the
start, where fewer predictions are there, lower degrees are taken; so the first step is DDIM's, and
far down the error falls with the square of the steps whatever the degree. The networks of the paper
are far from there: at the start eps hardly moves.

What departs from the authors' code: weights are exact to rounding (theirs are Riemann sums in
float32); discrete schedules interpolate log(alpha) between the steps of training, not alpha**2;
iPNDM runs along any times, not along equal steps of t alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from paperworks.diffusion.extrapolation import extrapolation_weights
from paperworks.diffusion.schedules import DiscreteVP, Floats, Schedule
from paperworks.diffusion.solver import Course, Solver

EQUAL_STEPS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""The weights of Adams and Bashforth, the newest first."""


@dataclass(frozen=True)
class Table:
    """A Runge-Kutta method: stage ``i`` is at ``times[i]`` of the step, and ``rows[i]`` weighs the
    noises of stages 0 to ``i`` on the way to the next stage or, in the last row, to the end.
    """

    times: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]


TABLES = {
    "heun": Table((0, 1), ((1,), (1 / 2, 1 / 2))),
    "kutta3": Table((0, 1 / 2, 1), ((1 / 2,), (-1, 2), (1 / 6, 4 / 6, 1 / 6))),
    "rk4": Table(
        (0, 1 / 2, 1 / 2, 1),
        ((1 / 2,), (0, 1 / 2), (0, 0, 1), (1 / 6, 2 / 6, 2 / 6, 1 / 6)),
    ),
}


@dataclass(frozen=True)
class Move:
    """What follows one evaluation: ``x' = scale x + sum_j weights[j] noise_j``.

    ``x`` is the sample at the start of the step, which this evaluation opens or not; the noises are
    the last ones, the newest first.
    """

    opens: bool
    scale: float
    weights: tuple[float, ...]


class LinearCourse(Course):
    """A course whose moves are all known before it begins."""

    def __init__(self, times: Floats, moves: Sequence[Move]):
        self.times = times
        self._moves = iter(moves)
        self._noises: deque[Tensor] = deque(maxlen=max(len(move.weights) for move in moves))

    def advance(self, noise: Tensor, x: Tensor) -> Tensor:
        """See :class:`Course`: one pass over memory for each weight."""
        move = next(self._moves)
        if move.opens:
            self._x = x
        self._noises.appendleft(noise)
        moved = self._x * move.scale
        for weight, each in zip(move.weights, self._noises, strict=False):
            if weight:
                moved.add_(each, alpha=weight)
        return moved


class AdamsBashforth(Solver):
    """tAB-DEIS and rhoAB-DEIS: the polynomial through the last predictions, integrated exactly.

    Parameters
    ----------
    order : int
        0 to 3, the degree of the polynomial. The paper's best for few evaluations is 3, its best
        for guided sampling lower.
    variable : {"t", "rho"}
        What the polynomial is in. The paper's best is "t".

    Raises
    ------
    ValueError
        For another order or variable.

    Notes
    -----
    One evaluation a step. The weights cost O(steps * order) quadratures, once for a schedule and
    times.
    """

    def __init__(self, order: int, variable: str = "t"):
        _check_order(order)
        if variable not in ("t", "rho"):
            raise ValueError(f"variable must be 't' or 'rho', got {variable!r}")
        self.order, self.variable = order, variable
        self.name = f"{'tab' if variable == 't' else 'rhoab'}{order}"
        self.least_steps = order + 1

    def begin(self, schedule: Schedule, times: Floats) -> Course:
        """See :class:`Solver`."""
        weights = adams_bashforth_weights(schedule, tuple(times), self.order, self.variable)
        return _multistep(schedule, times, weights)


class IPNDM(Solver):
    """iPNDM: DDIM's step along a fixed combination of the last predictions.

    The combination is exact for equal steps of rho. In equal steps of t, where the paper has it,
    the error falls with the square of the steps whatever the order.

    Parameters
    ----------
    order : int
        0 to 3: one less than the predictions that are combined.

    Raises
    ------
    ValueError
        For another order.
    """

    def __init__(self, order: int = 3):
        _check_order(order)
        self.order = order
        self.name = f"ipndm{order}"
        self.least_steps = order + 1

    def begin(self, schedule: Schedule, times: Floats) -> Course:
        """See :class:`Solver`."""
        lengths = np.diff(schedule.rho(times))
        weights = [
            tuple(length * part for part in EQUAL_STEPS[min(step, self.order)])
            for step, length in enumerate(lengths)
        ]
        return _multistep(schedule, times, weights)


class RungeKutta(Solver):
    """rhoRK-DEIS: a Runge-Kutta method on ``dy / drho = eps``.

    Parameters
    ----------
    method : {"heun", "kutta3", "rk4"}
        Of order 2, 3 and 4, with as many evaluations a step.

    Raises
    ------
    ValueError
        For another method.
    """

    def __init__(self, method: str):
        if method not in TABLES:
            raise ValueError(f"method must be one of {', '.join(TABLES)}; got {method!r}")
        self.table = TABLES[method]
        self.name = f"rho-{method}"
        self.stages = len(self.table.times)

    def begin(self, schedule: Schedule, times: Floats) -> Course:
        """See :class:`Solver`."""
        parts, rho = np.array(self.table.times), schedule.rho(times)
        length = np.diff(rho)
        asked = schedule.time_of_rho(rho[:-1, None] + length[:, None] * parts)
        asked[:, parts == 0] = times[:-1, None]  # to the last bit
        asked[:, parts == 1] = times[1:, None]
        alpha = schedule.alpha(np.column_stack([asked, times[1:]]))
        moves = [
            Move(
                stage == 0,
                float(alpha[step, stage + 1] / alpha[step, 0]),
                tuple(float(alpha[step, stage + 1] * length[step]) * part for part in row[::-1]),
            )
            for step in range(len(length))
            for stage, row in enumerate(self.table.rows)
        ]
        return LinearCourse(asked.ravel(), moves)


@lru_cache(maxsize=64)
def adams_bashforth_weights(
    schedule: Schedule, times: tuple[float, ...], order: int, variable: str
) -> tuple[tuple[float, ...], ...]:
    """Of every step, what each of the last predictions moves ``x / alpha`` by, the newest first.

    Kept for a schedule and times, so that many batches cost it once.
    """
    schedule.keep()
    rho: Callable[[ArrayLike], Floats]
    pieces: Floats = np.empty(0)
    if variable == "t":
        at, rho = np.array(times), schedule.rho
        if isinstance(schedule, DiscreteVP):
            pieces = np.arange(schedule.t_max)
    else:
        at, rho = schedule.rho(np.array(times)), np.asarray
    found = []
    for step in range(len(at) - 1):
        nodes = at[max(0, step - order) : step + 1][::-1]
        found.append(tuple(extrapolation_weights(rho, nodes, at[step + 1], pieces).tolist()))
    return tuple(found)


def _multistep(
    schedule: Schedule, times: Floats, weights: Sequence[tuple[float, ...]]
) -> LinearCourse:
    alpha = schedule.alpha(times)
    moves = [
        Move(True, float(after / before), tuple(float(after) * part for part in row))
        for before, after, row in zip(alpha[:-1], alpha[1:], weights, strict=True)
    ]
    return LinearCourse(times[:-1], moves)


def _check_order(order: int) -> None:
    if order not in range(4):
        raise ValueError(f"order must be 0, 1, 2 or 3, got {order}")


SOLVERS: dict[str, Solver] = {
    "ddim": AdamsBashforth(0),
    **{f"tab{order}": AdamsBashforth(order) for order in range(4)},
    **{f"rhoab{order}": AdamsBashforth(order, "rho") for order in range(4)},
    **{f"rho-{method}": RungeKutta(method) for method in TABLES},
    **{f"ipndm{order}": IPNDM(order) for order in range(4)},
    "ipndm": IPNDM(),
}
"""All of the paper's, by name."""


def solver_named(solver: Solver | str) -> Solver:
    """A solver, or the one of that name.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> solver_named("rho-kutta3").stages
    3
    """
    if isinstance(solver, Solver):
        return solver
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {solver!r}")
    return SOLVERS[solver]
