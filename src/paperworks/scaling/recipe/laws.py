"""The laws of the recipe as the fitting core wants them: log y with analytic derivatives.

``TRAJECTORY`` is L(N, S, B) with its six constants. The loss is implicit; its derivatives follow
from the implicit function theorem. ``holding`` gives the same law with some constants held where
the fit starts, which is what a recipe that finds them one after the other needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy.optimize import nnls

from paperworks.scaling.fitting.law import FloatArray, Law, Parameter
from paperworks.scaling.recipe.equations import solve_log_loss

CONSTANTS = ("N_c", "alpha_N", "S_c", "alpha_S", "B_star", "alpha_B")
_SAMPLED = 200


def _evaluate(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
    n, s, b = (logx[None, :, i] for i in range(3))
    log_nc, alpha_n, log_sc, alpha_s, log_b, alpha_b = (theta[:, i : i + 1] for i in range(6))
    size = alpha_n * (log_nc - n)
    u = solve_log_loss(size, alpha_s, log_sc - s, log_b - b, alpha_b)
    log_m = log_b - b - u / alpha_b
    soft = np.logaddexp(0.0, log_m)
    waste = np.exp(log_m - soft)  # the share of the steps that a finite batch costs
    reach = log_sc - s + soft  # log(S_c / S_min)
    share = np.exp(size - u)
    rest = np.exp(alpha_s * reach - u)
    scale = 1 / (1 + rest * alpha_s * waste / alpha_b)
    jacobian = np.empty((*u.shape, 6))
    jacobian[..., 0] = scale * share * alpha_n
    jacobian[..., 1] = scale * share * (log_nc - n)
    jacobian[..., 2] = scale * rest * alpha_s
    jacobian[..., 3] = scale * rest * reach
    jacobian[..., 4] = scale * rest * alpha_s * waste
    jacobian[..., 5] = scale * rest * alpha_s * waste * u / alpha_b**2
    return u, jacobian


def _start(logx: FloatArray, y: FloatArray) -> FloatArray:
    """Given the exponents and B_star the law is linear in two amplitudes."""
    batches = np.quantile(logx[:, 2], 0.5) + np.log([0.1, 1.0, 10.0])
    return linear_starts(
        logx,
        y,
        ((np.log(y).mean() / a + at, a) for a in (0.1, 0.2, 0.5) for at in batches),
    )


def linear_starts(
    logx: FloatArray, y: FloatArray, critical: Iterable[tuple[float, float]]
) -> FloatArray:
    """Starts (S, 6) for given ``(log B_star, alpha_B)`` and a grid of the other exponents."""
    if len(y) > _SAMPLED:
        some = np.linspace(0, len(y) - 1, _SAMPLED).astype(int)
        some = np.lexsort(logx.T)[some]
        logx, y = logx[some], y[some]
    n, s, b = logx.T
    found = []
    for (log_b, alpha_b), alpha_n, alpha_s in itertools.product(
        critical, (0.04, 0.08, 0.15, 0.3), (0.3, 0.6, 1.0)
    ):
        s_min = s - np.logaddexp(0.0, log_b - b - np.log(y) / alpha_b)
        columns = np.stack([-alpha_n * n, -alpha_s * s_min], 1)
        peak = columns.max(0)
        amplitudes, _ = nnls(np.exp(columns - peak) / y[:, None], np.ones_like(y))
        log_nc, log_sc = (np.log(np.maximum(amplitudes, 1e-6 * y.min())) - peak) / (
            alpha_n,
            alpha_s,
        )
        found.append([log_nc, alpha_n, log_sc, alpha_s, log_b, alpha_b])
    return np.array(found)


TRAJECTORY = Law(
    name="trajectory",
    formula=("y = (N_c/N)^alpha_N + (S_c (1 + B_star / (B y^(1/alpha_B))) / S)^alpha_S"),
    variables=("N", "S", "B"),
    parameters=(
        Parameter("N_c"),
        Parameter("alpha_N", "linear", 1e-3, 5.0),
        Parameter("S_c"),
        Parameter("alpha_S", "linear", 1e-2, 5.0),
        Parameter("B_star", "log", 1e-30, 1e30),
        Parameter("alpha_B", "linear", 0.02, 20.0),
    ),
    evaluate=_evaluate,
    start=_start,
)


def holding(*names: str) -> Law:
    """:data:`TRAJECTORY` with these constants held at what a fit starts from."""
    held = [CONSTANTS.index(name) for name in names]

    def evaluate(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
        value, jacobian = _evaluate(theta, logx)
        jacobian[..., held] = 0.0
        return value, jacobian

    return replace(TRAJECTORY, evaluate=evaluate)
