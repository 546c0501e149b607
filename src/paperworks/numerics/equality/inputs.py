"""Functions, derivatives and constraints in SciPy's many forms, read into one problem.

Everything behind this module sees a `Problem`: value, gradient, stacked constraints ``c(x) = 0``,
their Jacobian (one dense array, or one sparse matrix where all that is given is sparse), and the
Hessian of the Lagrangian as a `Curvature`: products, and a matrix only where all parts have one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, NonlinearConstraint
from scipy.sparse.linalg import LinearOperator

from paperworks.numerics.equality.differences import (
    STYLES,
    Vector,
    along,
    numeric_jacobian,
)

Floats = NDArray[np.float64]
Jacobian = Any  # (m, n) float64 array or CSR array


@dataclass(frozen=True)
class Curvature:
    """The Hessian of the Lagrangian at one point: ``product`` maps (n, k) to (n, k).

    ``flops`` is what one product with a vector costs: 2 for each entry of a matrix, the
    ``flops`` attribute of an operator that has one, and ``2 n^2`` where nothing is known.
    """

    matrix: Any
    product: Callable[[Floats], Floats]
    flops: float


@dataclass(frozen=True)
class Piece:
    """One of the constraints as given, with target values moved to its left-hand side."""

    name: str
    size: int
    fun: Vector
    jac: Callable[[Floats], Jacobian]
    hess: Callable[[Floats, Floats], Any] | None  # None where it is linear


class Problem:
    """Minimise ``fun(x)`` subject to ``c(x) = 0``. It counts what it evaluates."""

    def __init__(
        self,
        fun: Callable[[Floats], float],
        grad: Vector,
        hess: Callable[[Floats], Any],
        pieces: Sequence[Piece],
        n: int,
    ) -> None:
        self._fun, self._grad, self._hess = fun, grad, hess
        self.pieces = tuple(pieces)
        self.n, self.m = n, sum(piece.size for piece in pieces)
        self.nfev = self.njev = self.nhev = 0

    def value(self, x: Floats) -> tuple[float, Floats]:
        """``fun(x)`` and ``c(x)``."""
        self.nfev += 1
        f = float(np.asarray(self._fun(x.copy())).reshape(()))
        return f, np.concatenate([piece.fun(x) for piece in self.pieces])

    def slope(self, x: Floats) -> tuple[Floats, Jacobian]:
        """Gradient (n,) of `fun` and Jacobian (m, n) of the constraints."""
        self.njev += 1
        parts = [piece.jac(x) for piece in self.pieces]
        if all(sp.issparse(part) for part in parts):
            jacobian = sp.csr_array(sp.vstack(parts)) if len(parts) > 1 else sp.csr_array(parts[0])
        else:
            jacobian = np.vstack([p.toarray() if sp.issparse(p) else p for p in parts])
        return np.asarray(self._grad(x.copy()), float).reshape(self.n), jacobian

    def curvature(self, x: Floats, multipliers: Floats) -> Curvature:
        """Hessian of ``fun + multipliers @ c`` at x."""
        parts = [self._hess(x)]
        for piece, v in zip(self.pieces, self.split(multipliers), strict=True):
            if piece.hess is not None:
                parts.append(piece.hess(x, v))
        n = self.n
        matrices = [part for part in parts if not isinstance(part, LinearOperator)]
        others = [part for part in parts if isinstance(part, LinearOperator)]
        total: Any = None
        for part in matrices:
            found = part if sp.issparse(part) else np.asarray(part, float)
            if found.shape != (n, n):
                raise ValueError(f"a Hessian has shape {found.shape}; with x of {n}, give {(n, n)}")
            total = found if total is None else total + found
        if total is not None:
            total = sp.csr_array(total) if sp.issparse(total) else np.asarray(total, float)
        flops = float(sum(getattr(part, "flops", 2.0 * n * n) for part in others))
        if total is not None:
            flops += 2.0 * (total.nnz if sp.issparse(total) else n * n)

        def product(V: Floats) -> Floats:
            self.nhev += V.shape[1]
            out = np.zeros_like(V) if total is None else np.asarray(total @ V)
            for part in others:
                out = out + np.asarray(part @ V, float).reshape(V.shape)
            return out

        return Curvature(total if not others else None, product, flops)

    def split(self, stacked: Floats) -> list[Floats]:
        """A stacked vector over all constraints, cut into one for each as given."""
        return np.split(stacked, np.cumsum([piece.size for piece in self.pieces])[:-1])

    def where(self, row: int) -> str:
        """Which constraint a row of the Jacobian belongs to, in the user's terms."""
        for piece in self.pieces:
            if row < piece.size:
                return f"{piece.name}[{row}]" if piece.size > 1 else piece.name
            row -= piece.size
        raise IndexError(row)


def read_problem(
    fun: Any, x0: Any, args: Any, jac: Any, hess: Any, hessp: Any, constraints: Any
) -> tuple[Problem, Floats]:
    """Check all that a user gives and build the problem; the start comes back as float64."""
    start = np.asarray(x0)
    if np.iscomplexobj(start) or start.dtype.kind not in "fiub":
        raise ValueError(f"x0 must be real numbers, got dtype {start.dtype}")
    start = start.astype(float)
    if start.ndim > 1:
        raise ValueError(f"x0 must be a vector, got shape {start.shape}; flatten it")
    start = np.atleast_1d(start)
    bad = np.flatnonzero(~np.isfinite(start))
    if bad.size:
        raise ValueError(f"x0[{bad[0]}] is {start[bad[0]]}; start from a finite point")
    args = args if isinstance(args, tuple) else (args,)
    n = start.size

    jac = getattr(fun, "jac", None) if jac is None else jac
    if hess is None and hessp is None:
        hess = getattr(fun, "hess", None)
    value, grad = _objective(fun, jac, args, n)
    problem = Problem(value, grad, _hessian(hess, hessp, grad, args, n), [], n)
    f0 = np.asarray(value(start.copy()))
    if f0.size != 1:
        raise ValueError(f"fun must return one number, got shape {f0.shape}")
    if not np.isfinite(f0.reshape(())):
        raise ValueError(f"fun(x0) is {f0.reshape(())}; start where it is finite")
    g0 = np.asarray(grad(start.copy()), float)
    if g0.size != n:
        raise ValueError(f"jac(x0) has shape {g0.shape}; with x0 of {n} numbers give ({n},)")
    _finite(g0, "jac(x0)")

    given = constraints if isinstance(constraints, (list, tuple)) else [constraints]
    pieces = [piece for i, one in enumerate(given) for piece in _piece(one, i, start)]
    if not sum(piece.size for piece in pieces):
        raise ValueError(
            "there is no constraint; for unconstrained problems take scipy.optimize.minimize"
        )
    return Problem(value, grad, problem._hess, pieces, n), start


def _finite(values: Any, what: str) -> None:
    data = values.data if sp.issparse(values) else np.asarray(values)
    if not np.isfinite(data).all():
        raise ValueError(f"{what} holds {data[~np.isfinite(data)][0]}; start where it is finite")


def _objective(fun: Any, jac: Any, args: Any, n: int) -> tuple[Any, Vector]:
    if not callable(fun):
        raise ValueError(f"fun must be callable, got {type(fun).__name__}")
    if jac is True:
        return (lambda x: fun(x, *args)[0]), (lambda x: np.asarray(fun(x, *args)[1], float))
    if callable(jac):
        return (lambda x: fun(x, *args)), (lambda x: np.asarray(jac(x, *args), float))
    if jac in (None, False) or (isinstance(jac, str) and jac in STYLES):
        style = jac or "3-point"

        def grad(x: Floats) -> Floats:
            one = lambda z: np.atleast_1d(fun(z, *args))  # noqa: E731
            return numeric_jacobian(one, x, style)[0]

        return (lambda x: fun(x, *args)), grad
    raise ValueError(f"jac must be callable, True, None or one of {STYLES}, got {jac!r}")


def _hessian(hess: Any, hessp: Any, grad: Vector, args: Any, n: int) -> Callable[[Floats], Any]:
    if callable(hess):
        return lambda x: _operator(hess(x, *args))
    if callable(hessp):

        def products(x: Floats) -> LinearOperator:
            one = lambda p: np.asarray(hessp(x, np.ravel(p), *args), float)  # noqa: E731
            return LinearOperator((n, n), matvec=one, dtype=float)

        return products
    if hessp is None and (hess is None or _is_strategy(hess)):
        return lambda x: LinearOperator((n, n), matvec=along(grad, x), dtype=float)
    raise ValueError(f"hess and hessp must be callable or None, got {hess!r} and {hessp!r}")


def _is_strategy(hess: Any) -> bool:
    """SciPy's quasi-Newton strategies and its names for differences: none is needed here."""
    return hasattr(hess, "update") or (isinstance(hess, str) and hess in STYLES)


def _operator(found: Any) -> Any:
    if isinstance(found, LinearOperator) or sp.issparse(found):
        return found
    if hasattr(found, "matvec") and hasattr(found, "shape"):
        return LinearOperator(found.shape, matvec=found.matvec, dtype=float)
    return np.atleast_2d(np.asarray(found, float))


def _piece(one: Any, index: int, x0: Floats) -> list[Piece]:
    name = f"constraint {index}"
    if hasattr(one, "constraint") and callable(one.constraint):
        one = one.constraint()
    if isinstance(one, LinearConstraint):
        return [_linear(one, name, x0)]
    if isinstance(one, NonlinearConstraint):
        return [_nonlinear(one, name, x0)]
    if isinstance(one, dict):
        kind = one.get("type")
        if kind != "eq":
            raise ValueError(
                f"{name} is of type {kind!r}; only 'eq' is solved here. For inequalities add a "
                "slack variable, or take method='trust-constr' or 'SLSQP'"
            )
        args = one.get("args", ())
        fun, jac = one["fun"], one.get("jac")
        rule = NonlinearConstraint(
            lambda x: fun(x, *args),
            0.0,
            0.0,
            jac=(lambda x: jac(x, *args)) if callable(jac) else (jac or "3-point"),
        )
        return [_nonlinear(rule, name, x0)]
    if one is None:
        return []
    raise ValueError(
        f"{name} is a {type(one).__name__}; give a scipy.optimize.NonlinearConstraint, "
        "a LinearConstraint or {'type': 'eq', 'fun': ...}"
    )


def _target(one: Any, size: int, name: str) -> Floats:
    lb, ub = np.broadcast_to(one.lb, size), np.broadcast_to(one.ub, size)
    unequal = np.flatnonzero(~(lb == ub))
    if unequal.size:
        i = unequal[0]
        raise ValueError(
            f"{name}[{i}] lies between {lb[i]} and {ub[i]}: only equal bounds are solved here. "
            "Add a slack variable, or take method='trust-constr' or 'SLSQP'"
        )
    _finite(lb, f"the bound of {name}")
    return np.array(lb, float)


def _linear(one: LinearConstraint, name: str, x0: Floats) -> Piece:
    A = sp.csr_array(one.A) if sp.issparse(one.A) else np.atleast_2d(np.asarray(one.A, float))
    if A.shape[1] != x0.size:
        raise ValueError(f"{name} has a matrix of shape {A.shape}, with x0 of {x0.size} numbers")
    _finite(A, f"the matrix of {name}")
    b = _target(one, A.shape[0], name)
    return Piece(name, A.shape[0], lambda x: A @ x - b, lambda x: A, None)


def _nonlinear(one: NonlinearConstraint, name: str, x0: Floats) -> Piece:
    n = x0.size

    def raw(x: Floats) -> Floats:
        return np.atleast_1d(np.asarray(one.fun(x.copy()), float)).ravel()

    c0 = raw(x0)
    _finite(c0, f"{name} at x0")
    m = c0.size
    target = _target(one, m, name)

    def fun(x: Floats) -> Floats:
        return raw(x) - target

    style = one.jac
    if not callable(style) and style not in STYLES:
        raise ValueError(f"the jac of {name} must be callable or one of {STYLES}, got {style!r}")

    def jac(x: Floats) -> Jacobian:
        if not callable(style):
            return numeric_jacobian(lambda z: np.atleast_1d(one.fun(z)).ravel(), x, style)
        found = style(x.copy())
        if sp.issparse(found):
            found = sp.csr_array(found)
        else:
            found = np.atleast_2d(np.asarray(found, float))
        if found.shape != (m, n):
            raise ValueError(f"the jac of {name} has shape {found.shape}; give {(m, n)}")
        return found

    _finite(jac(x0), f"the jac of {name} at x0")
    if callable(one.hess) and not _is_strategy(one.hess):
        return Piece(name, m, fun, jac, lambda x, v: _operator(one.hess(x.copy(), v)))

    def hess(x: Floats, v: Floats) -> Any:
        if not v.any():
            return sp.csr_array((n, n))
        return LinearOperator((n, n), matvec=along(lambda z: jac(z).T @ v, x), dtype=float)

    return Piece(name, m, fun, jac, hess)
