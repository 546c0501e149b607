"""Randomised solves: sketch and project, a block at a time, and Kaczmarz, a row at a time.

For a random S the next iterate is the point nearest to z that solves the sketched system
``S^T A z = S^T b`` (A is symmetric, Y = A S)::

    z <- z + Y pinv(Y^T Y) S^T (b - A z)

One random row of A is the paper's randomised Kaczmarz, one Gaussian vector its "GV". Its rate is
at best ``1 - k / (size condition^2)`` for a block of k, hopeless for many Newton systems. What is
added here keeps the iteration and mends its rate:

- blocks in place of single vectors, which grow while the residual falls slowly;
- a memory: a new Y is made orthogonal to the last ones, so that what they solved stays solved.
  With a memory of ``size`` directions the solution is there after ``size`` of them, whatever the
  condition (Patel, Jahangoshahi and Maldonado, "An Implicit Representation and Iterative Solution
  of Randomly Sketched Linear Systems", SIAM J. Matrix Anal. Appl. 2021);
- the residual itself, which is at hand, among the columns of S. With it alone and a memory this
  would be Craig's method; so the rate is about that of Krylov methods, and what is drawn at random
  comes on top;
- rows drawn without repeats until all had their turn;
- the scaling of `KKTSystem.scale`.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numba import njit
from scipy.linalg import qr, solve_triangular

from paperworks.numerics.equality.inputs import Floats
from paperworks.numerics.equality.kkt import KKTSystem
from paperworks.numerics.equality.solvers import Base

PATIENCE = 4


class Sketch(Base):
    """Blocks of Gaussian vectors ("gaussian") or of rows of A ("subsampled")."""

    def __init__(
        self,
        system: KKTSystem,
        b: Floats,
        z: Floats | None = None,
        *,
        kind: str,
        rng: np.random.Generator,
        block: int,
        memory: int,
        greedy: bool,
        max_sweeps: float,
    ) -> None:
        super().__init__(system, b, z)
        self.kind, self.rng, self.greedy = kind, rng, greedy
        self.block, self.memory = min(block, system.size), memory
        self.left = int(max_sweeps * system.size)
        # Orthonormal directions, in a ring: the oldest make room for the newest.
        self._kept = np.empty((system.size, memory), order="F")
        self._count = self._next = 0
        self._spanned = np.inf  # the residual when all of the space was spanned last
        self._turn = np.empty(0, dtype=int)  # rows that wait for their turn
        self._slow, self._mark = 0, np.inf  # blocks since the residual last halved, and its norm

    def improve(self, target: float) -> bool:
        """Go on until ``norm(residual) <= target``; False where that is out of reach."""
        while self.norm > target:
            if self.left <= 0 or not np.isfinite(self.norm):
                self.refresh()
                return self.norm <= target
            if self._project():
                self._grow()
            else:
                # All of the space is spanned: what is left is rounding, or out of A's range.
                self.refresh()
                if self._count == 0 or self.norm > 0.5 * self._spanned:
                    return self.norm <= target
                self._spanned, self._count, self._next = self.norm, 0, 0
            if self.norm <= target:
                self.refresh()
        return True

    def _grow(self) -> None:
        """Twice as much at a time, where `PATIENCE` blocks together did not halve the residual."""
        self._slow += 1
        if self.norm <= 0.5 * self._mark:
            self._slow, self._mark = 0, self.norm
        elif self._slow >= PATIENCE:
            self.block = min(2 * self.block, max(1, self.system.size // 2))
            self._slow, self._mark = 0, self.norm

    def _draw(self, k: int) -> tuple[Floats, Floats]:
        """The sketched residual ``S^T D r`` and ``Y = D A D S``, for k columns of S."""
        system, d = self.system, self.system.scale
        r = d * self.residual
        along = r / np.linalg.norm(r)
        if self.kind == "gaussian":
            S = self.rng.standard_normal((system.size, k))
            if self.greedy:
                S = np.column_stack([S, along])
            self.work.flops += 2.0 * system.size * S.shape[1]
            return S.T @ r, d[:, None] * system.product(d[:, None] * S)
        if self._turn.size < k:
            self._turn = np.concatenate([self._turn, self.rng.permutation(system.size)])
        index, self._turn = self._turn[:k], self._turn[k:]
        index = np.unique(index)
        Y = d[:, None] * system.columns(index) * d[index]
        sketched = r[index]
        if self.greedy:
            Y = np.column_stack([Y, d * system.product(d * along)])
            sketched = np.append(sketched, r @ along)
        return sketched, Y

    def _project(self) -> bool:
        """One block. False where it has no direction that is not in the memory."""
        system, d = self.system, self.system.scale
        k = min(self.block, system.size)
        self.left -= k
        self.work.steps += 1
        sketched, Y = self._draw(k)
        k = Y.shape[1]
        whole = np.linalg.norm(Y, axis=0)
        kept = self._kept[:, : self._count]
        for _ in range(2 if self._count else 0):  # twice is enough
            Y = Y - kept @ (kept.T @ Y)
            self.work.flops += 4.0 * system.size * self._count * k
        Q, R, order = qr(Y, mode="economic", pivoting=True, check_finite=False)
        self.work.flops += 4.0 * system.size * k * k
        diagonal = np.abs(np.diag(R))
        rank = int(np.sum(diagonal > 1e-10 * whole.max(initial=0.0)))
        if rank == 0:
            return False
        Q = Q[:, :rank]
        weights = solve_triangular(R[:rank, :rank], sketched[order][:rank], trans="T")
        step = d * (Q @ weights)
        self.z = self.z + step
        self.residual = self.residual - system.product(step)
        self.work.flops += 4.0 * system.size * rank
        self._keep(Q)
        return True

    def _keep(self, Q: Floats) -> None:
        """Put directions into the memory, as far as it goes."""
        Q = Q[:, -self.memory :] if self.memory else Q[:, :0]
        where = (self._next + np.arange(Q.shape[1])) % max(1, self.memory)
        self._kept[:, where] = Q
        self._count = min(self._count + Q.shape[1], self.memory)
        self._next = int(where[-1] + 1) % self.memory if where.size else 0


class Kaczmarz(Base):
    """Single rows, drawn with probability proportional to their squared length."""

    def __init__(
        self,
        system: KKTSystem,
        b: Floats,
        z: Floats | None = None,
        *,
        rng: np.random.Generator,
        max_sweeps: float,
    ) -> None:
        super().__init__(system, b, z)
        self.rng, self.left = rng, max(1, int(max_sweeps))
        d = system.scale
        A = system.formed()
        if sp.issparse(A):
            rows = sp.csr_array(A.multiply(d[:, None] * d))
        else:
            rows = sp.csr_array(d[:, None] * A * d)
        self._rows = rows
        squares = np.asarray(rows.multiply(rows).sum(1)).ravel()
        self._squares = squares
        total = squares.sum()
        self._chance = np.cumsum(squares / total) if total > 0 else np.linspace(0, 1, squares.size)

    def improve(self, target: float) -> bool:
        """Go on until ``norm(residual) <= target``; False where that is out of reach."""
        system, d = self.system, self.system.scale
        sweeps = 1  # between two looks at the residual, which costs a product
        while self.norm > target and self.left > 0:
            sweeps = min(sweeps, self.left)
            chance = self.rng.random(sweeps * system.size)
            drawn = np.searchsorted(self._chance, chance, side="right")
            drawn = np.minimum(drawn, system.size - 1)
            y = self.z / d
            sweep(self._rows.indptr, self._rows.indices, self._rows.data, self._squares,
                  d * self.b, y, drawn)  # fmt: skip
            self.z = d * y
            self.work.flops += 4.0 * float(np.diff(self._rows.indptr)[drawn].sum())
            self.work.steps += drawn.size
            self.left -= sweeps
            sweeps = min(2 * sweeps, 64)
            self.refresh()
        return self.norm <= target


@njit(cache=True, nogil=True)
def sweep(indptr, indices, data, squares, b, y, drawn):
    """Project y onto the hyperplanes of the drawn rows, one after the other, in place."""
    for i in drawn:
        if squares[i] == 0.0:
            continue
        dot = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            dot += data[k] * y[indices[k]]
        step = (b[i] - dot) / squares[i]
        for k in range(indptr[i], indptr[i + 1]):
            y[indices[k]] += step * data[k]
