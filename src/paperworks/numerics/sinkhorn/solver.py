"""The two stages of Sinkhorn-Newton-Sparse on strictly positive weights of mass one.

Units and symbols are those of :mod:`.kernels`. The potential that both stages climb is the
paper's Lyapunov function with ``u`` at its maximum for the given ``v`` (one row scaling), where
it reads ``F(v) = sum_i a_i u_i(v) + sum_j b_j v_j``, up to a constant. Its gradient is ``b`` less
the column sums of the plan, its Hessian ``-(diag(P'1) - P' diag(1/a) P)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from paperworks.numerics.sinkhorn.kernels import (
    Floats,
    count_entries,
    gather_entries,
    newton_direction,
    scale_rows,
)

# Sizes that were fixed on random assignment, W1 and W2 problems at reg from 1e-2 to 1e-4 of the
# largest cost. None is critical: a factor of ten either way costs some iterations, no more.
SPARSITY = 1e-2  # entries below SPARSITY * error of their row and column leave the Hessian
DAMPING = 1e-2  # DAMPING * error * b is added to its diagonal
CG_TOL = 0.05  # relative residual of the linear solve: Newton's steps need no more
CG_MAX = 500
ARMIJO = 1e-4
SHORTEST_STEP = 1e-2  # below it the quadratic model is no guide, and scaling is


@dataclass
class Effort:
    """What has been spent, and what may be."""

    max_sinkhorn: int
    max_newton: int
    sinkhorn: int = 0
    newton: int = 0
    evaluations: int = 0
    cg: int = 0
    history: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """Costs in units of reg, and weights that are positive and sum to one."""

    C: Floats
    a: Floats
    b: Floats
    log_a: Floats
    log_b: Floats


@dataclass(frozen=True)
class Point:
    """A ``v`` with all that one look at the cost matrix says about it."""

    u: Floats  # the best u for this v: the rows of the plan sum to a
    v: Floats
    column_log: Floats  # log sum_i exp(u_i - C_ij)
    column_mass: Floats  # column sums of the plan
    error: float  # l1 distance of the column sums from b


def evaluate(problem: Problem, v: Floats, effort: Effort) -> Point:
    """Scale the rows exactly and sum the columns."""
    u = np.empty_like(problem.a)
    column_log = np.empty_like(problem.b)
    scale_rows(problem.C, problem.log_a, v, u, column_log)
    column_mass = np.exp(v + column_log)  # v + column_log <= 0: the rows sum to one in all
    effort.evaluations += 1
    return Point(u, v, column_log, column_mass, float(np.abs(column_mass - problem.b).sum()))


def climb(
    problem: Problem,
    v: Floats,
    effort: Effort,
    *,
    tol: float,
    warmup: int,
    density: float | None,
) -> Point:
    """Sinkhorn iterations, then Newton steps; scale again where a Newton step gets nowhere."""
    point = evaluate(problem, v, effort)
    stalled = 0
    while point.error > tol and stalled < 3:
        start = point
        newton_left = effort.newton < effort.max_newton
        scalings = effort.max_sinkhorn - effort.sinkhorn
        if newton_left:
            scalings = min(scalings, warmup)
        for _ in range(scalings):
            point = evaluate(problem, problem.log_b - point.column_log, effort)
            effort.sinkhorn += 1
            effort.history.append(point.error)
            if point.error <= tol:
                return point
        if not newton_left:
            return point

        step = 1.0
        while point.error > tol and step >= SHORTEST_STEP and effort.newton < effort.max_newton:
            point, step = newton_step(problem, point, effort, density)
            effort.newton += 1
            effort.history.append(point.error)
        # Nothing gained in three rounds, Newton steps included: this is float64's own floor.
        gain = problem.a @ (point.u - start.u) + problem.b @ (point.v - start.v)
        no_better = point.error > 0.9 * start.error and gain <= rounding(point)
        stalled = stalled + 1 if no_better else 0
    return point


def newton_step(
    problem: Problem, point: Point, effort: Effort, density: float | None
) -> tuple[Point, float]:
    """One Newton step on the sparsified Hessian, with line search on the potential.

    Returns the new point and the step length; length 0 and the old point where no step climbs.
    """
    log_cut = np.log(SPARSITY * min(1.0, point.error))
    cuts = (problem.log_a + log_cut, problem.log_b + log_cut)
    start = count_entries(problem.C, point.u, point.v, *cuts)
    column, value = gather_entries(problem.C, point.u, point.v, *cuts, start)
    if density is not None:
        kept = int(np.ceil(density * problem.C.size))
        if kept < value.size:
            keep = value >= np.partition(value, value.size - kept)[value.size - kept]
            start = np.concatenate(([0], np.cumsum(keep)))[start]
            column, value = column[keep], value[keep]

    residual = problem.b - point.column_mass
    damping = np.maximum(np.abs(residual), min(1.0, point.error) * problem.b)
    diagonal = point.column_mass + DAMPING * damping
    direction, iterations = newton_direction(
        start, column, value, problem.a, diagonal, residual, CG_TOL, CG_MAX
    )
    effort.cg += iterations

    slope = float(residual @ direction)
    noise = rounding(point)
    step = 1.0
    while slope > 0.0 and step >= SHORTEST_STEP**2:
        trial = evaluate(problem, point.v + step * direction, effort)
        gain = problem.a @ (trial.u - point.u) + problem.b @ (trial.v - point.v)
        trial_slope = float((problem.b - trial.column_mass) @ direction)
        if gain >= ARMIJO * step * slope + noise:
            return trial, step
        # Near the top the gain drowns in rounding; the error or the slope still tell.
        better = trial.error <= 0.9 * point.error or abs(trial_slope) <= 0.9 * slope
        if gain >= -noise and better:
            return trial, step
        # Where the secant of the slope crosses zero, within bounds; a level one never does.
        fall = slope - trial_slope
        step *= float(np.clip(slope / fall, 0.1, 0.5)) if fall else 0.5
    return point, 0.0


def rounding(point: Point) -> float:
    """How far rounding may move the potential."""
    scale = np.abs(point.u).max() + np.abs(point.v).max()
    return 8.0 * np.finfo(np.float64).eps * float(scale)
