"""Equality-constrained minimisation by Newton steps that are solved by random sketches.

Hong, Na, Mahoney and Kolar, "Constrained Optimization via Exact Augmented Lagrangian and
Randomized Iterative Sketching" (AdaSketch-Newton), ICML 2023, arXiv:2305.18379: Algorithm 1, with
its merit function, its joint update of penalties and accuracy, and its two random solvers. What
departs from it:

- The paper asks the inner solve for ``norm(A) Psi norm(r) <= theta delta norm(grad L)``, with Psi
  a worst-case bound of the error by the residual that takes the smallest singular values of the
  Jacobian and the norm of the Hessian. Its condition is thousands of times stricter than needed
  and costs dense decompositions. Here it is ``norm(r) <= theta delta norm(grad L)``: delta falls,
  as in the paper, whenever the direction fails the descent test, which is all the bound is for.
- The authors' program shifts the Hessian by its norm where the reduced Hessian, formed and
  decomposed, is not positive definite. Here curvature along the step itself is looked at
  (as in Chiang and Zavala 2016), and the shift grows from small.
- Their program stops where the Jacobian is near singular, and takes the Hessian of the objective
  in the merit's gradient where that of the Lagrangian is meant. Here a singular system is
  regularised, a search that gets nowhere is followed by steps on the constraints alone, and
  dependent or infeasible constraints are reported.
- Sketches come in blocks that remember (``sketch.py``); the paper's are ``block=1, memory=0,
  greedy=False``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from paperworks.numerics.equality.feasibility import dependent, first_multipliers
from paperworks.numerics.equality.inputs import Problem, read_problem
from paperworks.numerics.equality.kkt import Work
from paperworks.numerics.equality.merit import Penalties, Point, evaluate
from paperworks.numerics.equality.newton import Newton, Outcome
from paperworks.numerics.equality.settings import Settings, check_options, check_penalties, maker


def minimize_equality(
    fun: Any,
    x0: Any,
    args: Any = (),
    *,
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    constraints: Any = (),
    bounds: Any = None,
    callback: Any = None,
    tol: float | None = None,
    maxiter: int = 1000,
    solver: str = "subsampled",
    fallback: str | None = "minres",
    block: int | None = None,
    memory: int | None = None,
    greedy: bool = True,
    max_sweeps: float | None = None,
    forcing: str = "superlinear",
    eta1: float = 1.0,
    eta2: float = 0.1,
    delta: float = 0.1,
    beta: float = 0.1,
    nu: float = 1.5,
    multipliers0: Any = None,
    rng: Any = None,
) -> OptimizeResult:
    r"""Minimise ``fun(x)`` subject to ``c(x) = 0`` by Newton steps on the KKT system.

    Each step solves the Newton system of the Lagrangian by random sketches, only as exactly as a
    direction of descent for the exact augmented Lagrangian needs, and takes a length along it by
    backtracking. It can be given to SciPy as well:
    ``scipy.optimize.minimize(fun, x0, method=minimize_equality, ...)``.

    Use it for smooth problems with equality constraints and second derivatives, or products with
    them, where 1e-6 and better is wanted. Where there are inequalities or bounds take IPOPT or
    SciPy's trust-constr. Where the system is sparse and can be factorised, ``solver="direct"`` is
    quicker; where it is large and known by products only, ``solver="minres"``.

    Parameters
    ----------
    fun : callable, or `Differentiated`
        ``fun(x, *args) -> float``. What :func:`differentiate` returns brings its derivatives.
    x0 : (n,) array
        Start, finite; worked on in float64.
    args : tuple
        Further arguments of `fun`, `jac`, `hess` and `hessp`.
    jac : callable, True, "3-point" or "cs"
        Gradient ``jac(x, *args) -> (n,)``; True where `fun` returns it as well. By default central
        differences ("2-point" means the same; forward ones are too coarse), or complex steps.
    hess : callable, optional
        Hessian of `fun` as an array, a sparse matrix or a ``LinearOperator`` of products. By
        default products by differences of `jac`. An operator's attribute ``flops``, where there
        is one, says what a product costs (for `flops` in the result).
    hessp : callable, optional
        ``hessp(x, p, *args)``, the product of the Hessian with p. Where `hess` is given too, that
        is taken.
    constraints : NonlinearConstraint, LinearConstraint, dict, `Differentiated`, or list of them
        SciPy's objects with equal bounds, or ``{"type": "eq", "fun": ..., "jac": ...}``. Jacobians
        are arrays or sparse matrices; they stay sparse where all are. A ``hess(x, v)`` of a
        NonlinearConstraint is used if it is callable; a quasi-Newton strategy is replaced by
        products from differences of its Jacobian.
    bounds : None
        Refused otherwise.
    callback : callable, optional
        ``callback(result)`` after each step; True, or StopIteration, ends the run.
    tol : float
        Wanted Euclidean norm of the gradient of the Lagrangian and the constraints together, in
        their own units. None stands for the default, 1e-6.
    maxiter : int
        Most steps.
    solver : {"subsampled", "gaussian", "kaczmarz", "minres", "direct"}
        Inner solver. The default projects on blocks of random rows of the system, "gaussian" on
        blocks of random combinations, "kaczmarz" on one random row after another, drawn by its
        squared length. The last two are deterministic.
    fallback : {"minres", "direct"}, optional
        Who goes on where the inner solver misses its accuracy within `max_sweeps`; None leaves it
        at that, as the paper does. The result counts how often.
    block : int, optional
        Rows or combinations of the first block; it doubles where four blocks together do not halve
        the residual. The default is 4; the paper has 1.
    memory : int, optional
        Directions to which later blocks are kept orthogonal, in ``(n + m) * memory`` numbers. With
        ``n + m`` of them the inner solve ends after that many rows, whatever the condition. The
        default is ``min(n + m, 500)``. The paper has 0.
    greedy : bool
        Whether each block holds the residual as well, for one product more: it brings the rate of
        Krylov methods. The paper has False.
    max_sweeps : float, optional
        Most rows or combinations of one inner solve, in units of ``n + m``. The default is 4, and
        1000 for "kaczmarz", whose rows cost so much less.
    forcing : {"superlinear", "linear"}
        Whether the accuracy of the inner solves falls with the KKT residual
        (``theta = min(1, sqrt(norm))``), or only with `delta` (``theta = 1``).
    eta1, eta2 : float
        First penalties of the merit function, those of the authors' experiments.
    delta : float
        First relative accuracy of inner solves, in (0, 1), as in the authors' experiments.
    beta : float
        Armijo's constant, in (0, 0.5).
    nu : float
        Factor of the joint update ``eta1 * nu^2``, ``eta2 / nu``, ``delta / nu^4``.
    multipliers0 : (m,) array, optional
        First multipliers. The default fits them to the gradient by least squares.
    rng : int or Generator, optional
        Source of the sketches.

    Returns
    -------
    scipy.optimize.OptimizeResult
        `x`, `fun`, `jac`, `success`, `status`, `message`, `nit`, `nfev`, `njev`, `nhev` (products
        with the Hessian) as SciPy has them, and

        - `kkt`: the norm that `tol` bounds; `optimality` and `constr_violation`: the largest entry
          of its two parts; `constr`: values of the constraints, a list with one array each.
        - `v`: multipliers, a list with one array for each constraint as given, in the order given
          and with trust-constr's sign, ``jac + sum(G_i.T @ v_i) = 0``; `multipliers` stacks them.
        - `rank` of the Jacobian at x (-1: not full; see `dependent`), and `dependent`, the rows
          that take part in a dependence, which `message` names.
        - `products` with the system, `inner` steps, `flops`, `solves` and `fallbacks` of the inner
          solver; `penalties`, `delta`, `shift` and `restorations` at the end; and `history`, arrays
          over the steps.

        `status` is 0 for success, 1 where `maxiter` was reached, 2 where no step got further, 3
        where the callback ended the run, 4 where the constraints look infeasible: x is then a
        least violation, and `multipliers` its certificate; 5 where `fun` looks unbounded below on
        the constraints. In any case x is the best reached.

    Raises
    ------
    ValueError
        Where the input is not as said above; the message says what to change.

    Notes
    -----
    An inner step costs a product with the KKT matrix for each vector of a block: one with the
    Hessian and two with the Jacobian. Memory is ``(n + m) * memory``. With a Hessian as a matrix
    "subsampled" and "kaczmarz" read rows and form no product for them.

    References
    ----------
    .. [1] I. Hong, S. Na, M. W. Mahoney and M. Kolar, "Constrained Optimization via Exact Augmented
       Lagrangian and Randomized Iterative Sketching", ICML 2023, arXiv:2305.18379.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import NonlinearConstraint
    >>> from paperworks.numerics import minimize_equality
    >>> circle = NonlinearConstraint(
    ...     lambda x: x @ x,
    ...     2.0,
    ...     2.0,
    ...     jac=lambda x: 2 * x[None],
    ...     hess=lambda x, v: 2 * v[0] * np.eye(2),
    ... )
    >>> result = minimize_equality(
    ...     lambda x: x[0] + x[1],
    ...     [-2.0, 0.5],
    ...     jac=lambda x: np.ones(2),
    ...     hess=lambda x: np.zeros((2, 2)),
    ...     constraints=circle,
    ...     rng=0,
    ... )
    >>> result.success, result.x.round(6), result.v[0].round(6)
    (True, array([-1., -1.]), array([0.5]))
    """
    if bounds is not None:
        raise ValueError(
            "bounds are not solved here; leave them out, or take method='trust-constr' or 'SLSQP'"
        )
    tol = 1e-6 if tol is None else tol
    check_options(tol, maxiter, solver, fallback, block, memory, max_sweeps, forcing)
    check_penalties(eta1, eta2, delta, beta, nu)
    problem, x = read_problem(fun, x0, args, jac, hess, hessp, constraints)
    generator = np.random.default_rng(rng)

    size = problem.n + problem.m
    settings = Settings(
        tol=tol,
        maxiter=maxiter,
        beta=beta,
        nu=nu,
        penalties=Penalties(eta1, eta2, delta),
        forcing=forcing,
        make=maker(solver, size, generator, block, memory, greedy, max_sweeps),
        backup=None
        if fallback is None or fallback == solver
        else maker(fallback, size, generator, None, None, greedy, max_sweeps),
    )
    work = Work()
    newton = Newton(problem, settings, work, generator)
    start = evaluate(problem, x, np.zeros(problem.m))
    if multipliers0 is None:
        multipliers = first_multipliers(start.g_f, start.G)
    else:
        multipliers = np.asarray(multipliers0, float).ravel()
        if multipliers.shape != (problem.m,) or not np.isfinite(multipliers).all():
            raise ValueError(f"multipliers0 must be {problem.m} finite numbers")
    start = evaluate(problem, x, multipliers)
    seen = problem.curvature(x, multipliers).product(np.ones((problem.n, 1)))
    if not np.isfinite(seen).all():
        raise ValueError("the Hessian at x0 is not finite; start where it is")
    outcome = newton.run(start, _reporter(callback, problem, work))
    return _result(problem, outcome, work, generator, tol)


def _reporter(callback: Any, problem: Problem, work: Work) -> Callable[[Point, int], bool]:
    def report(point: Point, iteration: int) -> bool:
        if callback is None:
            return False
        state = OptimizeResult(
            x=point.x.copy(),
            fun=point.f,
            kkt=point.kkt,
            constr_violation=float(np.abs(point.c).max()),
            multipliers=point.multipliers.copy(),
            nit=iteration,
            products=work.products,
            flops=work.flops,
        )
        try:
            return bool(callback(state))
        except StopIteration:
            return True

    return report


def _result(
    problem: Problem, outcome: Outcome, work: Work, rng: np.random.Generator, tol: float
) -> OptimizeResult:
    point = outcome.point
    rank, rows = dependent(point.G, rng)
    message = outcome.message
    if rows:
        named = ", ".join(problem.where(i) for i in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        message += f"; the constraints are dependent at x: {named}{more}"
        if outcome.status != 4:
            message += ". Their multipliers are not unique, and the ones given are among many"
    return OptimizeResult(
        x=point.x,
        fun=point.f,
        jac=point.g_f,
        success=outcome.status == 0,
        status=outcome.status,
        message=message,
        nit=outcome.iterations,
        nfev=problem.nfev,
        njev=problem.njev,
        nhev=problem.nhev,
        kkt=point.kkt,
        optimality=float(np.abs(point.g).max()),
        constr_violation=float(np.abs(point.c).max()),
        constr=problem.split(point.c),
        v=problem.split(point.multipliers),
        multipliers=point.multipliers,
        rank=rank,
        dependent=rows,
        penalties=(outcome.penalties.eta1, outcome.penalties.eta2),
        delta=outcome.penalties.delta,
        shift=outcome.shift,
        restorations=outcome.restorations,
        products=work.products,
        inner=work.steps,
        flops=work.flops,
        solves=work.solves,
        fallbacks=work.fallbacks,
        history={name: np.array(values) for name, values in outcome.history.items()},
    )
