"""The field that meets the equation at every free node, given the kernel.

With ``d^a u`` at the nodes read off the conditional mean, the equation is a square system for the
free values. Newton's method solves it: directly on one axis, and by GMRES on more, where the part
of the operator that is a sum over axes is inverted exactly by Schur forms of the n_i x n_i
matrices (Bartels and Stewart 1972), at a cost of the grid's size times the sum of the n_i. For a
linear operator of constant coefficients without mixed derivatives that is all there is to do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from scipy.linalg.lapack import dtrsyl, ztrsyl
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from paperworks.numerics.gp_pde.axes import Basis, differentiate
from paperworks.numerics.gp_pde.operators import Index
from paperworks.numerics.gp_pde.problem import Problem

NEWTON = 30  # iterations
# Of GMRES in a step, and the accuracy asked of it: Newton's method refines what it leaves.
KRYLOV, KRYLOV_RTOL = 30, 1e-4
# A preconditioner that takes no more iterations than that is kept for the next step.
FRESH = 8
# Of the largest term of the equation: what rounding leaves is well below.
MET = 1e-6
# Of a term at the grid's highest frequency: no term is known better.
ROUNDING = 1e-10
# No step is made below.
ENOUGH = 1e-11


@dataclass(frozen=True, eq=False)
class Collocated:
    """A field, and how far it is from meeting the equation."""

    values: Tensor
    residual: float  # rms at the free nodes, relative to the largest term
    withheld: float  # the same at the given nodes, where the equation was not asked
    newton: int
    krylov: int

    @property
    def converged(self) -> bool:
        """Whether the equation is met at the free nodes."""
        return self.residual <= MET


def fields_of(values: Tensor, problem: Problem, bases: Sequence[Basis]) -> dict[Index, Tensor]:
    """Every derivative that the operator reads."""
    indices = dict.fromkeys(((0,) * len(bases), *problem.operator.indices))
    return {index: differentiate(values, index, bases) for index in indices}


def collocate(problem: Problem, bases: Sequence[Basis], start: Tensor | None = None) -> Collocated:
    """Solve the equation at the free nodes; `start` is a first guess of the field."""
    operator, free = problem.operator, problem.free
    values = torch.zeros(problem.shape, dtype=torch.float64) if start is None else start.clone()
    values[problem.given] = problem.boundary[problem.given]

    def gap(field: Tensor) -> tuple[Tensor, dict[Index, Tensor]]:
        fields = fields_of(field, problem, bases)
        return operator.apply(fields, problem.coefficients) - problem.source, fields

    residual, fields = gap(values)
    size = _rms(residual[free])
    best, krylov, newton = (size, values, residual, fields), 0, 0
    inverse: _Separable | None = None
    used = 0
    while newton < NEWTON:
        newton += 1
        slopes = operator.slopes(fields, problem.coefficients)
        if len(bases) == 1:
            step = _dense_step(slopes, residual[free], free, bases[0])
        else:
            if inverse is None or (used > FRESH and not operator.linear):
                inverse = _Separable(slopes, free, bases)
            step, used = _krylov_step(slopes, residual, free, bases, inverse)
            krylov += used
        if not torch.isfinite(step).all():
            break
        length, improved = 1.0, False
        while length > 1e-3 and not improved:
            trial = values.clone()
            trial[free] -= length * step
            trial_residual, trial_fields = gap(trial)
            trial_size = _rms(trial_residual[free])
            improved = trial_size < size
            length /= 2
        if not improved:
            break
        before, size = size, trial_size
        values, residual, fields = trial, trial_residual, trial_fields
        best = (size, values, residual, fields)
        scale = _scale(problem, fields)
        # What is left after a refinement that gains little is rounding.
        little = size > 0.2 * before and (operator.linear or size <= MET * scale)
        if size <= ENOUGH * scale or little:
            break
    size, values, residual, fields = best
    scale = _scale(problem, fields)
    return Collocated(
        values,
        _relative(size, scale),
        _relative(_rms(residual[problem.given]), scale),
        newton,
        krylov,
    )


def _rms(field: Tensor) -> float:
    return float(field.square().mean().sqrt()) if field.numel() else 0.0


def _relative(size: float, scale: float) -> float:
    return size / scale if scale > 0 else size


def _scale(problem: Problem, fields: dict[Index, Tensor]) -> float:
    """The largest of the equation's terms, rms; not less than what rounding makes of them."""
    size = _rms(fields[(0,) * len(problem.axes)])
    found = [_rms(problem.source)]
    for index, value in problem.coefficients.items():
        found.append(_rms((value * fields[index])[problem.free]))
        # Such as it is at the highest frequency of the grid.
        steep = math.prod(
            (2 * math.pi * axis.nyquist) ** m for axis, m in zip(problem.axes, index, strict=True)
        )
        found.append(ROUNDING * size * steep * float(torch.as_tensor(value).abs().max()))
    return max(found)


def _dense_step(
    slopes: dict[Index, float | Tensor], residual: Tensor, free: tuple[slice, ...], basis: Basis
) -> Tensor:
    n = len(basis.axis)
    jacobian = torch.zeros((n, n), dtype=torch.float64)
    for (order,), slope in slopes.items():
        matrix = basis.D[order] if order else torch.eye(n, dtype=torch.float64)
        factor = slope[:, None] if isinstance(slope, Tensor) else slope
        jacobian += factor * matrix
    solution, singular = torch.linalg.solve_ex(jacobian[free[0], free[0]], residual)
    return solution if not singular else torch.full_like(residual, torch.nan)


def _krylov_step(
    slopes: dict[Index, float | Tensor],
    residual: Tensor,
    free: tuple[slice, ...],
    bases: Sequence[Basis],
    inverse: _Separable,
) -> tuple[Tensor, int]:
    right = residual[free]
    count = 0

    def apply(flat: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        field = torch.zeros_like(residual)
        field[free] = torch.from_numpy(flat).reshape(right.shape)
        out = torch.zeros_like(residual)
        for index, slope in slopes.items():
            out += slope * differentiate(field, index, bases)
        return out[free].reshape(-1).numpy()

    def precondition(flat: np.ndarray) -> np.ndarray:
        return inverse.solve(flat.reshape(right.shape)).reshape(-1)

    # Left of the system and not right, as SciPy does it: the residual is that of the solved one.
    size = right.numel()
    solution, _ = gmres(
        LinearOperator((size, size), apply, dtype=np.float64),
        right.reshape(-1).numpy(),
        M=LinearOperator((size, size), precondition, dtype=np.float64),
        rtol=KRYLOV_RTOL,
        restart=KRYLOV,
        maxiter=1,
    )
    return torch.from_numpy(solution).reshape(right.shape), count


class _Separable:
    """Inverse of ``A_1 x I x I + I x A_2 x I + I x I x A_3`` on the free nodes, two axes or three.

    A_i holds the derivatives in coordinate i, at the mean of their coefficients; the zero-order
    term goes into A_1, and mixed derivatives are left to the Krylov iterations.
    """

    def __init__(
        self,
        slopes: dict[Index, float | Tensor],
        free: tuple[slice, ...],
        bases: Sequence[Basis],
    ) -> None:
        blocks = [np.zeros((len(basis.axis),) * 2) for basis in bases]
        for index, slope in slopes.items():
            mean = float(slope.mean()) if isinstance(slope, Tensor) else slope
            acting = [dim for dim, order in enumerate(index) if order]
            if not acting:
                blocks[0] += mean * np.eye(len(blocks[0]))
            elif len(acting) == 1:
                blocks[acting[0]] += mean * bases[acting[0]].D[index[acting[0]]].numpy()
        kind = "real" if len(bases) == 2 else "complex"
        self.T, self.Q = zip(
            *(
                scipy.linalg.schur(block[part, part], output=kind, check_finite=False)
                for block, part in zip(blocks, free, strict=True)
            ),
            strict=True,
        )

    def solve(self, right: np.ndarray) -> np.ndarray:
        turned = right
        for dim, Q in enumerate(self.Q):
            turned = np.moveaxis(np.tensordot(Q.conj().T, turned, (1, dim)), 0, dim)
        if right.ndim == 2:
            Y, scale, _ = dtrsyl(self.T[0], self.T[1], turned, tranb="T")
            out = Y / scale
        else:
            out = self._slices(turned)
        for dim, Q in enumerate(self.Q):
            out = np.moveaxis(np.tensordot(Q, out, (1, dim)), 0, dim)
        return np.ascontiguousarray(out.real)

    def _slices(self, right: np.ndarray) -> np.ndarray:
        """Back substitution along the third axis, a Sylvester equation for each slice."""
        T1, T2, T3 = self.T
        # LAPACK has the conjugate transpose only.
        conjugate = np.asfortranarray(T2.conj())
        Y = np.zeros_like(right)
        for k in range(right.shape[2] - 1, -1, -1):
            known = right[:, :, k] - Y[:, :, k + 1 :] @ T3[k, k + 1 :]
            shifted = T1 + T3[k, k] * np.eye(len(T1))
            slab, scale, _ = ztrsyl(shifted, conjugate, known, tranb="C")
            Y[:, :, k] = slab / scale
        return Y
