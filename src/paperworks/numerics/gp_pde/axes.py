"""Covariance and differentiation matrices of single axes, and their products along a grid.

The covariance of a grid is the Kronecker product of these n_i x n_i matrices. Nothing larger is
formed: a field is an array of the grid's shape, and a product works along one axis at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from paperworks.numerics.gp_pde.kernels import Mixture

# Steps that agree so far count as even: then an axis of n points has n distances, not n^2.
EVEN = 1e-9
# Of the variance, on the diagonal of a covariance that is to be inverted; raised until it can be.
JITTER = 1e-13
ENTRIES = 200_000  # of a temporary array


@dataclass(frozen=True, eq=False)
class Axis:
    """Increasing points of one axis, and the distances between them."""

    points: Tensor
    lags: Tensor = field(init=False)
    index: Tensor = field(init=False)

    def __post_init__(self) -> None:
        x = self.points
        n = len(x)
        steps = x.diff()
        if float(steps.max() - steps.min()) <= EVEN * float(steps.mean()):
            i = torch.arange(n)
            object.__setattr__(self, "lags", (x[-1] - x[0]) / (n - 1) * i.double())
            object.__setattr__(self, "index", (i[:, None] - i).abs())
        else:
            object.__setattr__(self, "lags", (x[:, None] - x).abs().reshape(-1))
            object.__setattr__(self, "index", torch.arange(n * n).reshape(n, n))

    def __len__(self) -> int:
        return len(self.points)

    @property
    def length(self) -> float:
        """From the first point to the last."""
        return float(self.points[-1] - self.points[0])

    @property
    def nyquist(self) -> float:
        """The highest frequency that points at the widest step can tell from a lower one."""
        return 0.5 / float(self.points.diff().max())

    def matrix(self, values: Tensor, order: int = 0) -> Tensor:
        """``values`` of the lags as a matrix; odd derivatives change sign with ``x - x'``."""
        out = values[self.index]
        if order % 2:
            out = out * torch.sign(self.points[:, None] - self.points)
        return out

    def gathered(self, matrix: Tensor) -> Tensor:
        """The adjoint of :meth:`matrix`: entries summed over equal lags."""
        out = torch.zeros_like(self.lags)
        return out.index_add_(0, self.index.reshape(-1), matrix.reshape(-1))


class Basis:
    """An axis under one mixture: its covariance, factored, and its differentiation matrices.

    ``D_m = K_m inv(K)``, with ``K_m`` the covariance of the m-th derivative with the function:
    the conditional mean of the derivative at the points, given the values there.
    """

    def __init__(self, axis: Axis, mixture: Mixture, orders: Sequence[int], jitter: float) -> None:
        self.axis, self.mixture = axis, mixture
        lags = mixture.derivatives(axis.lags, max(orders, default=0))
        K = axis.matrix(lags[0])
        eye = torch.eye(len(axis), dtype=torch.float64)
        while True:
            self.factor, failed = torch.linalg.cholesky_ex(K + jitter * K[0, 0] * eye)
            if not failed:
                break
            if jitter > 1:
                raise ArithmeticError("the covariance of an axis has entries that are not finite")
            jitter *= 10
        self.jitter = jitter
        self.D: dict[int, Tensor] = {}
        for order in orders:
            covariance = axis.matrix(lags[order], order)
            # inv(K) is symmetric, so the transpose of the solution is K_m inv(K).
            self.D[order] = torch.cholesky_solve(covariance.T, self.factor).T.contiguous()

    def solve(self, field: Tensor, dim: int) -> Tensor:
        """``inv(K)`` along the axis `dim` of a field."""
        moved = field.movedim(dim, 0)
        flat = torch.cholesky_solve(moved.reshape(len(moved), -1), self.factor)
        return flat.reshape(moved.shape).movedim(0, dim)

    def cross(self, x: Tensor, order: int) -> Tensor:
        """Covariance of the derivative at `x`, (m,), with the function at the points: (m, n)."""
        out = torch.empty((len(x), len(self.axis)), dtype=torch.float64)
        # Each entry is a sum over components, which are kept for a few rows only.
        step = max(1, ENTRIES // (len(self.axis) * len(self.mixture)))
        for start in range(0, len(x), step):
            difference = x[start : start + step, None] - self.axis.points
            values = self.mixture.derivatives(difference.abs(), order)[order]
            out[start : start + step] = values * torch.sign(difference) if order % 2 else values
        return out

    def variance(self, order: int) -> float:
        """Prior variance of the derivative: ``(-1)^m`` times the 2m-th derivative at zero."""
        zero = torch.zeros(1, dtype=torch.float64)
        return float((-1) ** order * self.mixture.derivatives(zero, 2 * order)[2 * order])


def along(matrix: Tensor, field: Tensor, dim: int) -> Tensor:
    """``matrix`` times a field along its axis `dim`."""
    return torch.tensordot(matrix, field, dims=([1], [dim])).movedim(0, dim)


def differentiate(field: Tensor, index: Sequence[int], bases: Sequence[Basis]) -> Tensor:
    """The derivative with multi-index `index` of a field on the grid of `bases`."""
    for dim, order in enumerate(index):
        if order:
            field = along(bases[dim].D[order], field, dim)
    return field


def mesh(axes: Sequence[Axis]) -> list[np.ndarray]:
    """Coordinates of the grid, each of shape ``(1, .., n_i, .., 1)``."""
    points = [axis.points.numpy() for axis in axes]
    return list(np.meshgrid(*points, indexing="ij", sparse=True))
