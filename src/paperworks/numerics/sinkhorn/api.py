"""Sinkhorn-Newton-Sparse: entropic optimal transport to high accuracy at small regularisation.

Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao and Ying, "Accelerating Sinkhorn
Algorithm with Sparse Newton Iterations", ICLR 2024, arXiv:2401.12253: Algorithm 1 (the two
stages), on the paper's Lyapunov potential and its Hessian. What departs from it:

- The paper's Newton step moves both potentials at once. Here the row potentials are eliminated:
  for given column potentials they are scaled exactly, in closed form. The Newton direction of
  the columns is the same, the linear system is half as large and its eigenvalues are squared
  (fewer conjugate gradients), and the plan can not overflow on a long step.
- The paper keeps a fixed share of the entries of the Hessian. Here an entry stays where it
  matters to its row or to its column, by a measure that falls with the error. A fixed share is
  to be had by ``density``.
- A multiple of the error is added to the Hessian's diagonal (as in the later SSNS, Tang and Qiu,
  NeurIPS 2024): parts of the plan that exchange nearly no mass otherwise get a nearly singular
  system and useless steps. Where the line search still fails, Sinkhorn iterations take over for
  a while. The paper stops its first stage by hand; with this, stopping it too early is harmless.
- By default ``reg`` is lowered to its value in steps (see ``scaling``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from paperworks.numerics.sinkhorn.inputs import check_arrays, check_numbers, like
from paperworks.numerics.sinkhorn.kernels import Floats, write_plan
from paperworks.numerics.sinkhorn.solver import Effort, Point, Problem, climb

# Scaling starts here, in units of the range of the costs: Sinkhorn alone is quick above it.
SCALING_START = 0.03
# Error to which the problems at larger reg are solved: they only have to point the way.
SCALING_TOL = 1e-2


@dataclass(frozen=True, eq=False)
class SinkhornNewtonResult:
    """What :func:`sinkhorn_newton_sparse` returns, whatever its arguments.

    Arrays are NumPy arrays, or torch tensors on the device of `M` where `M` is a tensor, of the
    floating dtype of `M` (float64 where `M` holds integers).

    Attributes
    ----------
    plan : (n, m) array
        The transport plan, ``exp((f[:, None] + g[None, :] - M) / reg)``.
    potentials : tuple of (n,) and (m,) array
        ``f`` and ``g``; minus infinity where the weight is zero. They are fixed up to a constant
        added to one and taken from the other; here ``a @ f == b @ g``.
    cost : float
        ``sum(plan * M)``, without the entropy.
    converged : bool
        Whether `marginal_error` is at most `tol`.
    marginal_error : float
        ``abs(plan.sum(1) - a).sum() + abs(plan.sum(0) - b).sum()`` over the total mass, measured
        on the plan in float64.
    sinkhorn_iterations, newton_iterations : int
        How many of each, over all values of reg that were gone through.
    evaluations : int
        Passes over the cost matrix for a row scaling and the column sums: one for each Sinkhorn
        iteration and for each trial of a line search.
    cg_iterations : int
        Conjugate gradient iterations, each of the cost of the entries kept.
    history : (sinkhorn_iterations + newton_iterations,) float64 NumPy array
        The l1 marginal error after each iteration, for the reg it was made at.
    """

    plan: Any
    potentials: tuple[Any, Any]
    cost: float
    converged: bool
    marginal_error: float
    sinkhorn_iterations: int
    newton_iterations: int
    evaluations: int
    cg_iterations: int
    history: Floats


def sinkhorn_newton_sparse(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    *,
    tol: float = 1e-9,
    max_sinkhorn: int = 1000,
    max_newton: int = 500,
    warmup: int = 5,
    density: float | None = None,
    scaling: float | None = 4.0,
) -> SinkhornNewtonResult:
    r"""Solve entropic optimal transport by Sinkhorn iterations, then sparse Newton steps.

    Minimises ``sum(P * M) + reg * sum(P * (log(P) - 1))`` over plans ``P >= 0`` with row sums `a`
    and column sums `b`: the problem of POT's ``ot.sinkhorn(a, b, M, reg)``, with the same plan.
    All of it is done in the log domain and in float64, so that `reg` may be 1e-4 of the largest
    cost and less. Use it for small `reg` or small errors. Where `reg` is a hundredth of the
    largest cost or more and 1e-6 is enough, plain Sinkhorn (POT) is as quick; for a gradient
    through the plan or for a GPU take OTT-JAX or geomloss.

    Parameters
    ----------
    a : (n,) array
        Weights of the rows, >= 0. Zeros are allowed: those rows of the plan are zero.
    b : (m,) array
        Weights of the columns, >= 0, of the same sum as `a` (any sum, not only 1). A difference
        within rounding is taken out of `b`.
    M : (n, m) array
        Costs, finite and >= 0. NumPy arrays and what they can be made of, or torch tensors of any
        device; the work is done in float64 on the CPU. No gradient is tracked.
    reg : float
        Entropic regularisation, > 0, in the unit of the costs (the paper's 1 / eta).
    tol : float
        Wanted l1 error of both marginals together, over the total mass. Near 1e-15 times the
        largest cost over `reg` float64 has no more to give; see `converged`.
    max_sinkhorn : int
        Most Sinkhorn iterations in all. Those that Newton steps leave over are used up once
        `max_newton` is spent, so ``max_newton=0`` is plain Sinkhorn.
    max_newton : int
        Most Newton steps in all.
    warmup : int
        Sinkhorn iterations before the first Newton step, and again after one that got nowhere.
        The paper takes 20, or 700 for costs with ties; the damping makes 5 enough.
    density : float, optional
        Most entries of the plan that may enter the Hessian, as a share of ``n * m``: the largest
        ones (the paper takes ``2 / n``, and ``15 / n`` for costs with ties). The default sets no
        share and keeps ``P[i, j] >= 0.01 * error * min(a[i], b[j])``: as the error falls, so does
        what is dropped, and Newton's fast convergence is not lost to it.
    scaling : float, optional
        Not in the paper. Solve first, to an error of 0.01, at a `reg` near 0.03 of the range of
        the costs, and divide it by this factor until it has its value. All iterations are
        counted. It is the default because it makes two to four times fewer of them where plain
        starts are slow (small `reg`, ties) and costs next to nothing elsewhere. None goes
        straight to `reg`, as the paper does.

    Returns
    -------
    SinkhornNewtonResult
        Look at `converged`: the best that was reached is returned in any case.

    Raises
    ------
    ValueError
        Where the input is not as said above; the message says what to change.

    Notes
    -----
    Time is O(n m) an iteration, plus O(kept entries) for each conjugate gradient; memory is
    three arrays of n m float64. Terms too small to count are skipped, so that iterations get
    cheaper as `reg` falls. One call uses one thread and releases the GIL: for many problems call
    it from several threads. The first call on a machine compiles for some seconds, once.

    References
    ----------
    .. [1] X. Tang et al., "Accelerating Sinkhorn Algorithm with Sparse Newton Iterations", ICLR
       2024, arXiv:2401.12253.

    Examples
    --------
    >>> import numpy as np
    >>> from paperworks.numerics import sinkhorn_newton_sparse
    >>> x, y = np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.5])
    >>> M = (x[:, None] - y[None, :]) ** 2
    >>> result = sinkhorn_newton_sparse([0.25, 0.5, 0.25], [0.5, 0.5], M, reg=0.01)
    >>> result.converged
    True
    >>> result.plan.round(6)
    array([[0.25, 0.  ],
           [0.25, 0.25],
           [0.  , 0.25]])
    """
    costs, row_weights, col_weights = check_arrays(a, b, M)
    check_numbers(costs, reg, tol, max_sinkhorn, max_newton, warmup, density, scaling)

    mass = float(row_weights.sum())
    rows, cols = np.flatnonzero(row_weights), np.flatnonzero(col_weights)
    p, q = row_weights[rows] / mass, col_weights[cols] / col_weights.sum()
    inner = costs if costs.size == rows.size * cols.size else costs[np.ix_(rows, cols)]

    effort = Effort(max_sinkhorn, max_newton)
    log_p, log_q = np.log(p), np.log(q)
    g = np.zeros_like(q)
    for level in _levels(inner, reg, scaling):
        problem = Problem(inner / level, p, q, log_p, log_q)
        # The error that counts is measured on the plan, rounding and all: leave room for it.
        goal = 0.9 * tol if level == reg else max(tol, SCALING_TOL)
        point = climb(problem, g / level, effort, tol=goal, warmup=warmup, density=density)
        g = point.v * level

    plan, marginal_error = _plan(problem, point)
    cost = mass * float((plan * inner).sum())
    # a @ f == b @ g, with the mass put into both alike.
    shift = 0.5 * (p @ point.u - q @ point.v)
    half_log_mass = 0.5 * math.log(mass)
    f = np.full(row_weights.shape, -np.inf)
    g = np.full(col_weights.shape, -np.inf)
    f[rows] = reg * (point.u - shift + half_log_mass)
    g[cols] = reg * (point.v + shift + half_log_mass)
    if plan.shape != costs.shape:
        whole = np.zeros_like(costs)
        whole[np.ix_(rows, cols)] = plan
        plan = whole
    plan *= mass

    return SinkhornNewtonResult(
        plan=like(M, plan),
        potentials=(like(M, f), like(M, g)),
        cost=cost,
        converged=marginal_error <= tol,
        marginal_error=marginal_error,
        sinkhorn_iterations=effort.sinkhorn,
        newton_iterations=effort.newton,
        evaluations=effort.evaluations,
        cg_iterations=effort.cg,
        history=np.array(effort.history),
    )


def _levels(M: Floats, reg: float, scaling: float | None) -> list[float]:
    """The values of reg to go through, largest first; the last is `reg` itself."""
    levels = [reg]
    if scaling is not None:
        start = SCALING_START * float(M.max() - M.min())
        while levels[-1] * scaling <= start:
            levels.append(levels[-1] * scaling)
    return levels[::-1]


def _plan(problem: Problem, point: Point) -> tuple[Floats, float]:
    plan = write_plan(problem.C, point.u, point.v)
    error = np.abs(plan.sum(1) - problem.a).sum() + np.abs(plan.sum(0) - problem.b).sum()
    return plan, float(error)
