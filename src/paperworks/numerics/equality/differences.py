"""Derivatives by differences, where a user gives none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vector = Callable[[Floats], Floats]

STYLES = ("2-point", "3-point", "cs")
# Balances the error of a central difference, h^2, against rounding, eps / h.
STEP = float(np.finfo(float).eps ** (1 / 3))


def numeric_jacobian(fun: Vector, x: Floats, style: str) -> Floats:
    """Jacobian (m, n) of ``fun: (n,) -> (m,)``.

    "cs" takes complex steps, exact to rounding where `fun` takes complex numbers. The other two
    both take central differences: a KKT residual of 1e-6 is out of reach of forward ones.
    """
    columns = []
    for i in range(x.size):
        z: NDArray = x.astype(complex) if style == "cs" else x.copy()
        if style == "cs":
            z[i] += 1e-30j
            columns.append(np.imag(fun(z)) / 1e-30)
            continue
        h = STEP * max(1.0, abs(x[i]))
        z[i] = x[i] + h
        up, high = np.array(fun(z), float), z[i]
        z[i] = x[i] - h
        columns.append((up - np.array(fun(z), float)) / (high - z[i]))
    return np.stack(columns, axis=1)


def along(gradient: Vector, x: Floats) -> Vector:
    """Products of the Hessian with a vector, by central differences of the gradient along it."""

    def product(p: Floats) -> Floats:
        p = np.ravel(np.asarray(p, float))
        length = float(np.linalg.norm(p))
        if length == 0:
            return np.zeros_like(p)
        h = STEP * max(1.0, float(np.linalg.norm(x))) / length
        return (np.asarray(gradient(x + h * p)) - np.asarray(gradient(x - h * p))) / (2 * h)

    return product
