r"""The paper's own ascent: field, kernel and precisions together, by Adam.

Section 3 of the paper, and its code. With the residual ``r`` of the equation at all N nodes and
the mismatch ``g`` at the N_b nodes of given values,

    log p = -1/2 sum_i (N / n_i) log det K_i - 1/2 <u, inv(K) u>
            + W (N_b / 2 log tau - tau / 2 |g|^2) + N / 2 log v - v / 2 |r|^2 .

W = 200 and the jitter 1e-6 are the code's; the paper's text has W = 1. The field starts at zero
and both precisions at 1. Neither precision is bounded: the ascent is stopped, it does not end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from paperworks.numerics.gp_pde.axes import along
from paperworks.numerics.gp_pde.collocation import MET
from paperworks.numerics.gp_pde.kernels import Mixture
from paperworks.numerics.gp_pde.learning import PRUNED
from paperworks.numerics.gp_pde.operators import Index
from paperworks.numerics.gp_pde.problem import Problem
from paperworks.numerics.gp_pde.solution import GPSolution, Round

JITTER = 1e-6
BOUNDARY_WEIGHT = 200.0


def log_joint(
    problem: Problem,
    mixtures: Sequence[Mixture],
    field: Tensor,
    log_tau: Tensor,
    log_v: Tensor,
    *,
    jitter: float = JITTER,
    boundary_weight: float = BOUNDARY_WEIGHT,
) -> tuple[Tensor, Tensor, Tensor]:
    """The value above without the constant; ``|g|^2`` and ``|r|^2``. Differentiable in all."""
    operator, axes = problem.operator, problem.axes
    factors, covariances = [], []
    for dim, (axis, mixture) in enumerate(zip(axes, mixtures, strict=True)):
        orders = operator.orders(dim)
        lags = mixture.derivatives(axis.lags, max(orders, default=0), traced=True)
        eye = torch.eye(len(axis), dtype=torch.float64)
        factors.append(torch.linalg.cholesky(axis.matrix(lags[0]) + jitter * eye))
        covariances.append({m: axis.matrix(lags[m], m) for m in orders})

    def solve(value: Tensor, dim: int) -> Tensor:
        moved = value.movedim(dim, 0)
        flat = torch.cholesky_solve(moved.reshape(len(moved), -1), factors[dim])
        return flat.reshape(moved.shape).movedim(0, dim)

    fields: dict[Index, Tensor] = {}
    for index in operator.indices:
        value = field
        for dim, order in enumerate(index):
            if order:
                value = along(covariances[dim][order], solve(value, dim), dim)
        fields[index] = value
    residual = operator.apply(fields, problem.coefficients) - problem.source
    equation = residual.square().sum()
    given = problem.given
    boundary = (field[given] - problem.boundary[given]).square().sum()

    weights = field
    prior = torch.zeros((), dtype=torch.float64)
    for dim, (axis, factor) in enumerate(zip(axes, factors, strict=True)):
        weights = solve(weights, dim)
        prior = prior - field.numel() / len(axis) * factor.diagonal().log().sum()
    prior = prior - 0.5 * (field * weights).sum()
    data = 0.5 * int(given.sum()) * log_tau - 0.5 * log_tau.exp() * boundary
    physics = 0.5 * field.numel() * log_v - 0.5 * log_v.exp() * equation
    return prior + boundary_weight * data + physics, boundary, equation


def ascend(
    problem: Problem,
    start: Sequence[Mixture],
    *,
    steps: int,
    reports: int,
    learning_rate: float,
    callback: Callable[[Round], Any] | None,
) -> GPSolution:
    """Adam on all of it, from the starting mixtures and a field of zeros."""
    mixtures = [
        mixture.replaced(p.clone().requires_grad_(True) for p in mixture.parameters())
        for mixture in start
    ]
    field = torch.zeros(problem.shape, dtype=torch.float64, requires_grad=True)
    log_tau = torch.zeros((), dtype=torch.float64, requires_grad=True)
    log_v = torch.zeros((), dtype=torch.float64, requires_grad=True)
    leaves = [field, log_tau, log_v, *(p for m in mixtures for p in m.parameters())]
    adam = torch.optim.Adam(leaves, lr=learning_rate)
    history: list[Round] = []
    every = max(1, steps // reports)
    given = int(problem.given.sum())
    scale = max(float(problem.source.square().mean().sqrt()), 1e-300)
    with torch.enable_grad():
        for step in range(1, steps + 1):
            adam.zero_grad(set_to_none=True)
            value, boundary, equation = log_joint(problem, mixtures, field, log_tau, log_v)
            (-value).backward()
            adam.step()
            if step % every and step != steps:
                continue
            kept = [_settled(mixture).pruned(PRUNED) for mixture in mixtures]
            history.append(
                Round(
                    step,
                    math.sqrt(float(equation.detach()) / field.numel()) / scale,
                    math.sqrt(float(boundary.detach()) / max(given, 1)),
                    tuple(len(mixture) for mixture in kept),
                    float(value.detach()),
                )
            )
            if callback is not None and callback(history[-1]) is True:
                break
    kernels = tuple(_settled(mixture) for mixture in mixtures)
    return GPSolution(
        values=field.detach().numpy().copy(),
        grid=tuple(axis.points.numpy().copy() for axis in problem.axes),
        converged=history[-1].residual <= MET,
        residual=history[-1].residual,
        withheld=history[-1].withheld,
        rounds=tuple(history),
        method="joint",
        _axes=problem.axes,
        _kernels=kernels,
        _learned=tuple(kernel.pruned(PRUNED) for kernel in kernels),
        _jitter=JITTER,
        _scale=1.0,
    )


def _settled(mixture: Mixture) -> Mixture:
    return mixture.replaced(p.detach().clone() for p in mixture.parameters())
