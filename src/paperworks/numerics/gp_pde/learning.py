r"""Kernel parameters from a field on the grid: the paper's log prior of the field, maximised.

For a field u with the covariance ``K = K_1 x .. x K_d``,

    -log p(u) = 1/2 sum_i (N / n_i) log det K_i + 1/2 <u, inv(K_1) x .. x inv(K_d) u> + const.

Its derivative by ``K_i`` is ``1/2 ((N / n_i) inv(K_i) - a b')``, with ``a`` the field after all
inverses and ``b`` after that of axis i alone, both unfolded along axis i. Summed over equal
distances it meets the derivative of the kernel, which is automatic; so nothing is traced through
a factorisation, and an evaluation costs ``N sum n_i + sum n_i^3``.

Each component that is not needed holds degrees of freedom, down to the jitter, at a price of half
a unit of log likelihood per unit of log weight each. So in the log domain, which is Jeffreys'
prior, weights that nothing calls for fall until they vanish: frequencies are pruned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from paperworks.numerics.gp_pde.axes import Axis
from paperworks.numerics.gp_pde.kernels import Mixture

# A component of a smaller share of an axis' weight is gone.
PRUNED = 1e-8
# Units of the parameters, for the optimiser; frequencies move by parts of a cell.
WIDTH_STEP, FREQUENCY_STEP = 2.0, 0.2


def negative_log_prior(
    field: Tensor, axes: Sequence[Axis], mixtures: Sequence[Mixture], jitter: float
) -> tuple[float, list[tuple[Tensor, ...]]]:
    """The value above, without the constant, and its gradient by each axis' parameters."""
    size, dims = field.numel(), len(axes)
    leaves = [
        mixture.replaced(p.detach().clone().requires_grad_(True) for p in mixture.parameters())
        for mixture in mixtures
    ]
    with torch.enable_grad():
        lags = [leaf.value(axis.lags) for leaf, axis in zip(leaves, axes, strict=True)]
    factors = [_factor(axis, lag.detach(), jitter) for axis, lag in zip(axes, lags, strict=True)]
    single = [_solve(factor, field, dim) for dim, factor in enumerate(factors)]
    full = single[0]
    for dim in range(1, dims):
        full = _solve(factors[dim], full, dim)
    value = 0.5 * float((field * full).sum())
    gradient = []
    for dim, (axis, factor) in enumerate(zip(axes, factors, strict=True)):
        n = len(axis)
        value += size / n * float(factor.diagonal().log().sum())
        a = full.movedim(dim, 0).reshape(n, -1)
        b = single[dim].movedim(dim, 0).reshape(n, -1)
        slope = 0.5 * (size / n * torch.cholesky_inverse(factor) - a @ b.T)
        gathered = axis.gathered(slope)
        gathered[0] += jitter * slope.diagonal().sum()
        gradient.append(torch.autograd.grad(lags[dim], leaves[dim].parameters(), gathered))
    return value, gradient


def _factor(axis: Axis, lags: Tensor, jitter: float) -> Tensor:
    K = axis.matrix(lags)
    eye = torch.eye(len(axis), dtype=torch.float64)
    while True:
        factor, failed = torch.linalg.cholesky_ex(K + jitter * lags[0] * eye)
        if not failed:
            return factor
        if jitter > 1:
            raise ArithmeticError("the covariance of an axis has entries that are not finite")
        jitter *= 10


def _solve(factor: Tensor, field: Tensor, dim: int) -> Tensor:
    moved = field.movedim(dim, 0)
    flat = torch.cholesky_solve(moved.reshape(len(moved), -1), factor)
    return flat.reshape(moved.shape).movedim(0, dim)


def learn(
    field: Tensor,
    axes: Sequence[Axis],
    mixtures: Sequence[Mixture],
    *,
    jitter: float,
    iterations: int,
    weight_step: float,
) -> tuple[list[Mixture], float]:
    """Maximise the log prior of a field of unit size, by L-BFGS; then prune.

    `jitter` is the share of each axis' variance that the field may have beside the mixture. It is
    a share, for else a large weight on one axis would let the jitter of another explain anything.
    `weight_step` is the unit of the log weights: the larger, the sooner are components pruned.
    """
    scales = [
        _scales(axis, mixture, weight_step) for axis, mixture in zip(axes, mixtures, strict=True)
    ]
    scale = np.concatenate(scales)
    start = np.concatenate([torch.cat(m.parameters()).numpy() for m in mixtures]) / scale

    def unpack(x: np.ndarray) -> list[Mixture]:
        out, place = [], 0
        for mixture in mixtures:
            q = len(mixture)
            part = torch.from_numpy(x[place : place + 3 * q] * scale[place : place + 3 * q])
            out.append(mixture.replaced((part[:q], part[q : 2 * q], part[2 * q :])))
            place += 3 * q
        return out

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = negative_log_prior(field, axes, unpack(x), jitter)
        flat = torch.cat([part for axis in gradient for part in axis]).numpy()
        return value, flat * scale

    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        # Beyond, weights overflow or are nothing, and widths are flat or finer than any grid.
        bounds=[
            bound
            for mixture, s in zip(mixtures, scales, strict=True)
            for bound in _bounds(len(mixture), s)
        ],
        options={"maxiter": iterations, "maxfun": iterations * 5 // 4, "maxcor": 20, "ftol": 1e-12},
    )
    return [mixture.pruned(PRUNED) for mixture in unpack(found.x)], float(found.fun)


def _scales(axis: Axis, mixture: Mixture, weight_step: float) -> np.ndarray:
    q = len(mixture)
    cell = min(1 / axis.length, axis.nyquist / 2)
    return np.repeat([weight_step, WIDTH_STEP, FREQUENCY_STEP * cell], q)


def _bounds(q: int, scale: np.ndarray) -> list[tuple[float | None, float | None]]:
    weight, width = (-40.0, 25.0), (-20.0, 20.0)
    out: list[tuple[float | None, float | None]] = [
        (low / s, high / s)
        for (low, high), s in zip([weight] * q + [width] * q, scale[: 2 * q], strict=True)
    ]
    return [*out, *[(None, None)] * q]
