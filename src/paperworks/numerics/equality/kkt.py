"""The Newton system of the Lagrangian, known by its products.

::

    [ H + shift I    G^T     ] [ d  ]     [ grad L ]
    [ G           -gamma I   ] [ dl ] = - [ c      ]

H is the Hessian of the Lagrangian, G the Jacobian of the constraints. ``shift`` makes up for
negative curvature, ``gamma`` for dependent constraints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from paperworks.numerics.equality.inputs import Curvature, Floats, Jacobian


@dataclass
class Work:
    """What the linear solvers did: products with the system, steps of their own, flops."""

    products: int = 0
    steps: int = 0
    flops: float = 0.0
    solves: int = 0
    fallbacks: int = 0
    history: list[float] = field(default_factory=list)


class KKTSystem:
    """The symmetric matrix above, of ``size = n + m`` rows, scaled for the solvers.

    A solver works on ``D A D y = D b``. With D the rows of G have length one; where the Hessian is
    there as a matrix, three rounds of Ruiz' scaling bring all rows to a largest entry near one.
    """

    def __init__(
        self,
        curvature: Curvature,
        G: Jacobian,
        work: Work,
        shift: float = 0.0,
        gamma: float = 0.0,
    ) -> None:
        self.curvature, self.G, self.work = curvature, G, work
        self.shift, self.gamma = shift, gamma
        self.m, self.n = G.shape
        self.size = self.n + self.m
        entries = G.nnz if sp.issparse(G) else G.size
        self.product_flops = curvature.flops + 4.0 * entries + 2.0 * self.size

    def product(self, V: Floats) -> Floats:
        """``A @ V`` for V of shape (size,) or (size, k); counted."""
        one = V.ndim == 1
        V = V[:, None] if one else V
        X, L = V[: self.n], V[self.n :]
        top = self.curvature.product(X) + self.shift * X + self.G.T @ L
        bottom = self.G @ X - self.gamma * L
        self.work.products += V.shape[1]
        self.work.flops += self.product_flops * V.shape[1]
        out = np.concatenate([top, bottom])
        return out[:, 0] if one else out

    @cached_property
    def matrix(self) -> Any:
        """A as a dense array or CSR array, or None where the Hessian is known by products."""
        H = self.curvature.matrix
        if H is None:
            return None
        if sp.issparse(H) or sp.issparse(self.G):
            eye_n, eye_m = sp.eye_array(self.n), sp.eye_array(self.m)
            H, G = sp.csr_array(H), sp.csr_array(self.G)
            blocks = [[H + self.shift * eye_n, G.T], [G, -self.gamma * eye_m]]
            found = sp.csr_array(sp.block_array(blocks))
            found.eliminate_zeros()
            found.sort_indices()
            return found
        A = np.zeros((self.size, self.size))
        A[: self.n, : self.n] = H
        A[self.n :, : self.n], A[: self.n, self.n :] = self.G, self.G.T
        diagonal = np.arange(self.size)
        A[diagonal, diagonal] += np.where(diagonal < self.n, self.shift, -self.gamma)
        return A

    def formed(self) -> Any:
        """A as a matrix in any case; n products where the Hessian is known by products only."""
        if self.matrix is not None:
            return self.matrix
        H = self.curvature.product(np.eye(self.n))
        self.work.products += self.n
        self.work.flops += self.curvature.flops * self.n
        explicit = Curvature((H + H.T) / 2, lambda V: H @ V, 0.0)
        return KKTSystem(explicit, self.G, self.work, self.shift, self.gamma).matrix

    def columns(self, index: Any) -> Floats:
        """``A[:, index]`` as a dense (size, k) array: rows as well, since A is symmetric."""
        if self.matrix is None:
            unit = np.zeros((self.size, len(index)))
            unit[index, np.arange(len(index))] = 1
            return self.product(unit)
        rows = self.matrix[index]
        return rows.toarray().T if sp.issparse(rows) else rows.T

    @cached_property
    def scale(self) -> Floats:
        """The diagonal of D."""
        d = np.ones(self.size)
        A = self.matrix
        if A is None:
            length = np.sqrt((self.G.multiply(self.G) if sp.issparse(self.G) else self.G**2).sum(1))
            d[self.n :] = 1 / np.where(length > 0, length, 1.0)
            return d
        B = abs(A)
        for _ in range(3):
            scaled = B.multiply(d[:, None] * d) if sp.issparse(B) else B * (d[:, None] * d)
            largest = scaled.max(1).toarray().ravel() if sp.issparse(scaled) else scaled.max(1)
            d /= np.sqrt(np.where(largest > 0, largest, 1.0))
        return d
