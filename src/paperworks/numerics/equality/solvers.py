"""One interface for the inner linear solves, and the deterministic ones behind it.

A solver is made for one `KKTSystem` and right-hand side. ``improve(target)`` works on until
``norm(b - A z) <= target`` and says whether it got there; it goes on from where it stopped, so
that a sharper target costs only the difference.

Flops, counted with a product of A at ``P`` (2 for each entry of the Hessian, 4 for each of G):

========== ==================================================================
minres     ``P + 20 size`` an iteration, ``P`` for each residual taken afresh
direct     dense: ``size^3 / 3 + 2 size^2`` (LDL^T); sparse: half of what SuperLU's factors show,
           ``sum(2 l_j u_j)`` over the columns of L and rows of U, since a symmetric factorisation
           saves half, plus 4 for each of their entries. Where only products with the Hessian are
           there, the n products that form it.
gaussian   a block of k with q directions remembered: ``2 k P`` (sketch and residual),
subsampled ``8 size q k`` (twice against the memory), ``4 size k^2`` (QR and its Q), ``4 size k``.
           "subsampled" takes its sketch from rows at hand, without a product, where the Hessian
           is a matrix
kaczmarz   4 for each entry of a row, a row a step, and P for each sweep's residual
========== ==================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack
from scipy.sparse.linalg import LinearOperator, minres, splu

from paperworks.numerics.equality.inputs import Floats
from paperworks.numerics.equality.kkt import KKTSystem


class Base(ABC):
    """A solution, its residual ``b - A z``, and the system they belong to."""

    def __init__(self, system: KKTSystem, b: Floats, z: Floats | None = None) -> None:
        self.system, self.b, self.work = system, b, system.work
        self.z = np.zeros(system.size) if z is None else z.copy()
        self.residual = b.copy() if z is None else b - system.product(self.z)
        system.work.solves += 1

    @abstractmethod
    def improve(self, target: float) -> bool:
        """Go on until ``norm(residual) <= target``; False where that is out of reach."""

    @property
    def norm(self) -> float:
        """Euclidean norm of the residual."""
        return float(np.linalg.norm(self.residual))

    def refresh(self) -> None:
        """Take the residual from its definition, to get rid of rounding carried along."""
        self.residual = self.b - self.system.product(self.z)


class Minres(Base):
    """SciPy's MINRES on the scaled system, restarted from the residual where it stops early."""

    def __init__(self, system: KKTSystem, b: Floats, z: Floats | None = None, *, maxiter: int):
        super().__init__(system, b, z)
        self.left = maxiter

    def improve(self, target: float) -> bool:
        """Go on until ``norm(residual) <= target``; False where that is out of reach."""
        system, d = self.system, self.system.scale

        def product(y: Floats) -> Floats:
            self.work.steps += 1
            self.work.flops += 20.0 * system.size
            self.left -= 1
            return d * system.product(d * np.ravel(y))

        operator = LinearOperator((system.size, system.size), matvec=product, dtype=float)
        sharper = 0.3
        while self.norm > target and self.left > 0 and sharper > 1e-13:
            before, start, begin = self.norm, self.z, self.residual
            # SciPy's test is relative to norm(A) norm(y), on the scaled system: ask again, harder.
            rtol = min(0.1, sharper * target / before)
            y, _ = minres(operator, d * begin, rtol=rtol, maxiter=self.left)
            if not np.isfinite(y).all():
                return False
            self.z = start + d * y
            self.refresh()
            if self.norm > 0.5 * before:
                sharper /= 100
            if self.norm > before:
                self.z, self.residual = start, begin
        return self.norm <= target


class Direct(Base):
    """LAPACK's symmetric factorisation, or SuperLU for sparse systems, and a refinement of each."""

    def __init__(self, system: KKTSystem, b: Floats, z: Floats | None = None) -> None:
        super().__init__(system, b, z)
        self._solve: Any = None

    def improve(self, target: float) -> bool:
        """Go on until ``norm(residual) <= target``; False where that is out of reach."""
        if self._solve is None:
            self._solve = self._factor()
        if self._solve is None:
            return False
        for _ in range(3):
            if self.norm <= target:
                return True
            before, start, begin = self.norm, self.z, self.residual
            step = self._solve(self.residual)
            if not np.isfinite(step).all():
                return False
            self.z = start + step
            self.refresh()
            if self.norm > before:
                self.z, self.residual = start, begin
                return False
        return self.norm <= target

    def _factor(self) -> Any:
        system, size = self.system, self.system.size
        A, d = system.formed(), system.scale
        self.work.steps += 1
        if not sp.issparse(A):
            A = d[:, None] * A * d
            factors, pivots, info = lapack.dsytrf(A, lower=1)
            self.work.flops += size**3 / 3
            if info > 0 or _near_singular(factors, pivots):
                return None

            def dense(r: Floats) -> Floats:
                self.work.flops += 2.0 * size**2
                return d * lapack.dsytrs(factors, pivots, d * r, lower=1)[0]

            return dense
        try:
            factor = splu(sp.csc_array(A.multiply(d[:, None] * d)))
        except RuntimeError:  # exactly singular
            return None
        lower, upper = np.diff(factor.L.indptr), np.diff(sp.csr_array(factor.U).indptr)
        self.work.flops += float(np.dot(lower, upper.astype(float)))
        pivots = abs(factor.U.diagonal())
        if pivots.min() < 1e-14 * pivots.max():
            return None

        def sparse(r: Floats) -> Floats:
            self.work.flops += 4.0 * factor.L.nnz
            return d * factor.solve(d * r)

        return sparse


def _near_singular(factors: Floats, pivots: Floats) -> bool:
    """Whether the block diagonal of LDL^T has a pivot of rounding's size.

    A 2 x 2 block is there because its diagonal is small: its determinant counts.
    """
    diagonal = factors.diagonal()
    sizes, i = [], 0
    while i < diagonal.size:
        if pivots[i] > 0:
            sizes.append(abs(diagonal[i]))
            i += 1
        else:
            off = factors[i + 1, i]
            sizes.append(np.sqrt(abs(diagonal[i] * diagonal[i + 1] - off**2)))
            i += 2
    return min(sizes) < 1e-14 * max(sizes)
