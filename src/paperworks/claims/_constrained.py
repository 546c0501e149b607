"""Equality-constrained problems and SciPy's solvers for them, all judged in one way.

A name says which: "cutest:HS6" (written out in ``_cutest``), "sif2jax:HS6" (from that library),
"logistic:breast-cancer" and "pde:8". The last two follow the authors' program: the mean logistic
loss under ten random linear constraints and ``|x|^2 = 1``, from x = 1; and
``1/2 |w - w_true|^2 + 0.05 |z|^2`` under ``laplace(w) + z = 0`` on an N x N grid over a square of
side 2, from w = z = 1.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import NonlinearConstraint, minimize
from scipy.sparse.linalg import LinearOperator

Floats = NDArray[np.float64]

TOL = 1e-6
MAXITER = 1000

# Those of sif2jax 0.0.8 with equality constraints alone, at most 200 unknowns at their default size
# and no more constraints than unknowns: 75 of its 849, by size.
TRANSLATED = (
    "BT1", "HS6", "HS7", "HS9", "MARATOS", "S316-322", "BOOTH", "BT10", "CLUSTER",
    "DENSCHNCNE", "DENSCHNFNE", "FLT", "FREURONE", "GOTTFR", "HIMMELBA", "HIMMELBC",
    "HIMMELBD", "HS8", "HYPCIR", "POWELLBS", "POWELLSQ", "SINVALNE", "BT2", "HS26",
    "HS27", "HS28", "BT4", "BT5", "BYRDSPHR", "HS61", "DENSCHNDNE", "DENSCHNENE",
    "HATFLDF", "HATFLDFLNE", "HELIXNE", "HIMMELBE", "RECIPE", "BT9", "HS39", "HS42",
    "HS40", "POWELLSE", "POWERSUMNE", "BT6", "BT8", "HS46", "HS48", "HS49", "HS77",
    "BT11", "BT12", "BT3", "BT7", "HS47", "HS50", "HS51", "HS52", "HS78", "HS79",
    "HEART6", "HS56", "HEART8", "COOLHANS", "HS111LNP", "OSCIPANE", "TRIGON1NE",
    "INTEQNE", "VANDANIUMS", "HATFLDG", "ORTHREGB", "MSS1", "LUKSAN21", "MANCINONE",
    "QINGNE", "ARGTRIG",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A problem in SciPy's form; `forming` is what a matrix of the Hessian costs, in flops."""

    name: str
    fun: Callable[[Floats], float]
    jac: Callable[[Floats], Floats]
    hess: Callable[[Floats], Any]
    constraint: NonlinearConstraint
    x0: Floats
    matrix: Callable[[Floats], Any] | None = None
    forming: float = 0.0

    def residual(self, x: Floats) -> float:
        """KKT residual at x under the multipliers that suit x best; infinite where not finite."""
        if not np.isfinite(x).all():
            return np.inf
        G = self.constraint.jac(x)
        G = G.toarray() if sp.issparse(G) else np.atleast_2d(G)
        g, c = self.jac(x), np.atleast_1d(self.constraint.fun(x)) - self.constraint.lb
        if not (np.isfinite(g).all() and np.isfinite(G).all() and np.isfinite(c).all()):
            return np.inf
        multipliers = np.linalg.lstsq(G.T, -g, rcond=None)[0]
        return float(np.hypot(np.linalg.norm(g + G.T @ multipliers), np.linalg.norm(c)))


def case(name: str, seed: int = 0) -> Case:
    """The problem of that name; `seed` draws the constraints of a logistic one."""
    kind, _, which = name.partition(":")
    if kind == "pde":
        return pde(int(which))
    if kind == "logistic":
        return logistic(which, seed)
    if kind == "sif2jax":
        return translated(which)
    from paperworks.claims._cutest import PROBLEMS
    from paperworks.numerics.equality.autodiff import differentiate

    problem = PROBLEMS[which]
    fun = differentiate(problem.fun)
    rule = differentiate(problem.constraints).constraint()
    return Case(name, fun, fun.jac, fun.hess, rule, np.array(problem.x0))


def logistic(data: str, seed: int) -> Case:
    """Logistic regression under ten random linear constraints and one on the length of x."""
    X, y = _classes(data)
    N, d = X.shape
    rng = np.random.default_rng((seed, d))
    A, b = rng.standard_normal((10, d)), rng.standard_normal(10)
    X = X.multiply(y[:, None]).tocsr() if sp.issparse(X) else X * y[:, None]
    XT = X.T.tocsr() if sp.issparse(X) else np.ascontiguousarray(X.T)
    entries = X.nnz if sp.issparse(X) else X.size
    per_row = np.diff(X.indptr).astype(float) if sp.issparse(X) else np.full(N, float(d))

    def weights(x: Floats) -> tuple[Floats, Floats]:
        t = X @ x
        return t, 0.5 * (1 - np.tanh(t / 2))  # 1 / (1 + exp(t)) without overflow

    def hess(x: Floats) -> LinearOperator:
        p = weights(x)[1]
        curve = (p * (1 - p) / N)[:, None]
        found = LinearOperator(
            (d, d),
            matvec=lambda v: XT @ (curve[:, 0] * (X @ np.ravel(v))),
            matmat=lambda V: XT @ (curve * (X @ V)),
            dtype=float,
        )
        found.flops = 4.0 * entries + N
        return found

    def matrix(x: Floats) -> Floats:
        p = weights(x)[1]
        curve = p * (1 - p) / N
        if sp.issparse(X):
            return (XT @ X.multiply(curve[:, None])).toarray()
        return XT @ (curve[:, None] * X)

    rule = NonlinearConstraint(
        lambda x: np.append(A @ x - b, x @ x - 1),
        0.0,
        0.0,
        jac=lambda x: np.vstack([A, 2 * x]),
        hess=lambda x, v: sp.dia_array((np.full((1, d), 2 * v[10]), [0]), shape=(d, d)),
    )
    return Case(
        name=f"logistic:{data}",
        fun=lambda x: float(np.logaddexp(0, -weights(x)[0]).mean()),
        jac=lambda x: -(XT @ weights(x)[1]) / N,
        hess=hess,
        constraint=rule,
        x0=np.ones(d),
        matrix=matrix,
        forming=float((per_row**2).sum()),  # one half of a symmetric matrix
    )


def _classes(data: str) -> tuple[Any, Floats]:
    """Features and labels -1 and 1. Features lie in [-1, 1]."""
    if data == "breast-cancer":
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer()
        low, high = bunch.data.min(0), bunch.data.max(0)
        return 2 * (bunch.data - low) / (high - low) - 1, 2.0 * bunch.target - 1
    if data.startswith("digits"):
        from sklearn.datasets import load_digits

        bunch = load_digits()
        X = bunch.data / 16
        if data.startswith("digits-cosines-"):  # as many random features as the name says
            d = int(data.removeprefix("digits-cosines-"))
            rng = np.random.default_rng(d)
            W, phase = rng.standard_normal((64, d)) / 2, rng.uniform(0, 2 * np.pi, d)
            X = np.cos(X @ W + phase)
        elif data == "digits-pairs":  # 4 x 4 means with all their products: 152 features
            X = X.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
            i, j = np.triu_indices(16)
            X = np.column_stack([X, X[:, i] * X[:, j]])
        return X, np.where(bunch.target % 2 == 0, 1.0, -1.0)
    from paperworks.data import load

    if data == "mnist":  # 3 against 8, at most 5,000 of them
        found = load("mnist")
        pick = np.flatnonzero(np.isin(found.y_train, (3, 8)))[:5000]
        X = found.x_train[pick].reshape(pick.size, -1) / 255
        return X, np.where(found.y_train[pick] == 3, 1.0, -1.0)
    graph = load(f"planetoid/{data}")  # the most frequent class against the rest
    frequent = np.bincount(graph.labels[graph.labels >= 0]).argmax()
    return graph.features.astype(float).tocsr(), np.where(graph.labels == frequent, 1.0, -1.0)


def pde(N: int) -> Case:
    """Control of a Poisson equation on an N x N grid, as in the authors' program (N = 3 there)."""
    centred = 0.1 / np.sqrt(15) * (np.arange(1, N + 1) - (N + 1) / 2)
    wanted = (np.sin(4 + centred)[:, None] + np.cos(3 + centred)).ravel(order="F")
    second = sp.diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(N, N))
    laplace = (sp.kron(sp.eye_array(N), second) + sp.kron(second, sp.eye_array(N))) / (
        2 / (N + 1)
    ) ** 2
    G = sp.csr_array(sp.hstack([laplace, sp.eye_array(N * N)]))
    weights = np.concatenate([np.ones(N * N), np.full(N * N, 0.1)])
    target = np.concatenate([wanted, np.zeros(N * N)])
    H = sp.csr_array(sp.diags_array(weights))
    nothing = sp.csr_array(H.shape)
    return Case(
        name=f"pde:{N}",
        fun=lambda x: float(0.5 * (weights * (x - target) ** 2).sum()),
        jac=lambda x: weights * (x - target),
        hess=lambda x: H,
        constraint=NonlinearConstraint(
            lambda x: G @ x, 0.0, 0.0, jac=lambda x: G, hess=lambda x, v: nothing
        ),
        x0=np.ones(2 * N * N),
        matrix=lambda x: H,
    )


def translated(name: str) -> Case:
    """A problem from sif2jax; slow to import, and compiled when first evaluated."""
    import jax
    import sif2jax

    from paperworks.numerics.equality.autodiff import differentiate

    with jax.enable_x64(True):
        problem = sif2jax.cutest.get_problem(name)
        start = problem.y0
        if problem.bounds is not None or problem.constraint(start)[1] is not None:
            raise ValueError(f"{name} has bounds or inequalities")
        x0, shape = np.asarray(start, float).ravel(), start.shape
    numpy = jax.numpy

    def fun(x: Any) -> Any:
        if isinstance(problem, sif2jax.AbstractNonlinearEquations):
            return 0.0 * x.sum()
        return numpy.asarray(problem.objective(x.reshape(shape), problem.args)).reshape(())

    def rule(x: Any) -> Any:
        return numpy.atleast_1d(problem.constraint(x.reshape(shape))[0]).ravel()

    f = differentiate(fun, backend="jax")
    c = differentiate(rule, backend="jax")
    return Case(f"sif2jax:{name}", f, f.jac, f.hess, c.constraint(), x0)


class _ReachedError(Exception):
    """Ends a solver at the wanted residual: its own tests are on other things."""

    def __init__(self, x: Floats) -> None:
        super().__init__()
        self.x = x


@dataclass
class _Ended:
    """Where a solver ended."""

    x: Floats


@contextmanager
def _until_reached() -> Iterator[_Ended]:
    ended = _Ended(np.empty(0))
    try:
        yield ended
    except _ReachedError as reached:
        ended.x = reached.x


def _stop(one: Case) -> Callable[..., None]:
    def callback(x: Floats, *_: Any) -> None:
        if one.residual(x) <= TOL:
            raise _ReachedError(np.array(x))

    return callback


def trust_constr(one: Case) -> Floats:
    """SciPy's trust-constr with exact second derivatives, asked for more than is needed."""
    with warnings.catch_warnings(), _until_reached() as ended:
        warnings.simplefilter("ignore")
        ended.x = minimize(
            one.fun,
            one.x0,
            method="trust-constr",
            jac=one.jac,
            hess=one.hess,
            constraints=[one.constraint],
            options={"gtol": 0.1 * TOL, "xtol": 1e-14, "maxiter": MAXITER},
            callback=_stop(one),
        ).x
    return ended.x


def slsqp(one: Case) -> Floats:
    """SciPy's SLSQP, which stops by the change of the objective: none is wanted."""
    rule = one.constraint

    def jac(x: Floats) -> Floats:
        G = rule.jac(x)
        return G.toarray() if sp.issparse(G) else G

    with warnings.catch_warnings(), _until_reached() as ended:
        warnings.simplefilter("ignore")
        ended.x = minimize(
            one.fun,
            one.x0,
            method="SLSQP",
            jac=one.jac,
            constraints={"type": "eq", "fun": lambda x: rule.fun(x) - rule.lb, "jac": jac},
            options={"ftol": 1e-16, "maxiter": MAXITER},
            callback=_stop(one),
        ).x
    return ended.x


def ipopt(one: Case) -> Floats | None:
    """IPOPT through cyipopt, or None where that is not installed."""
    if importlib.util.find_spec("cyipopt") is None:
        return None
    import cyipopt

    n, rule = one.x0.size, one.constraint

    def dense(found: Any) -> Floats:
        if isinstance(found, LinearOperator):
            return found @ np.eye(n)
        return found.toarray() if sp.issparse(found) else found

    return cyipopt.minimize_ipopt(
        one.fun,
        one.x0,
        jac=one.jac,
        hess=lambda x: dense(one.hess(x)),
        constraints={
            "type": "eq",
            "fun": lambda x: np.atleast_1d(rule.fun(x)) - rule.lb,
            "jac": lambda x: dense(rule.jac(x)),
            "hess": lambda x, v: dense(rule.hess(x, v)),
        },
        options={"tol": 1e-3 * TOL, "max_iter": MAXITER, "print_level": 0, "sb": "yes"},
    ).x
