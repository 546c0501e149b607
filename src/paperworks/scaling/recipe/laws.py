"""The laws of the recipe as the fitting core wants them: log y with analytic derivatives.

``TRAJECTORY`` is L(N, S, B) with its six constants. The loss is implicit; its derivatives follow
from the implicit function theorem. ``Centred`` is the same law in numbers that a fit moves well,
with some of them held where the fit starts: what a recipe that finds them in turn needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Centred:
    """The law in numbers that a fit moves well: its terms at a point amid the data.

    N_c and S_c lie far outside the runs, so that each moves with its exponent, and B_star is the
    critical batch at a loss of 1. A descent creeps along such valleys. Here the constants are
    ``alpha_N log(N_c / N0)``, ``alpha_S log(S_c / S0)`` and ``log(B_crit(L0) / B0)`` beside the
    three exponents, for medians N0, S0, B0 and L0 of the runs.

    Parameters
    ----------
    n, s, b, u : float
        Logarithms of N0, S0, B0 and L0.
    """

    n: float
    s: float
    b: float
    u: float

    @staticmethod
    def of(logx: FloatArray, y: FloatArray) -> Centred:
        """For data: the medians of their logarithms."""
        n, s, b = (float(v) for v in np.median(logx, 0))
        return Centred(n, s, b, float(np.median(np.log(y))))

    def inward(self, theta: FloatArray) -> FloatArray:
        """From the constants of :data:`TRAJECTORY`, (B, 6), to these."""
        log_nc, alpha_n, log_sc, alpha_s, log_b, alpha_b = theta.T
        return np.stack(
            [
                alpha_n * (log_nc - self.n),
                alpha_n,
                alpha_s * (log_sc - self.s),
                alpha_s,
                log_b - self.b - self.u / alpha_b,
                alpha_b,
            ],
            1,
        )

    def outward(self, theta: FloatArray) -> FloatArray:
        """From these to the constants of :data:`TRAJECTORY`, (B, 6)."""
        size, alpha_n, steps, alpha_s, batch, alpha_b = theta.T
        return np.stack(
            [
                size / alpha_n + self.n,
                alpha_n,
                steps / alpha_s + self.s,
                alpha_s,
                batch + self.b + self.u / alpha_b,
                alpha_b,
            ],
            1,
        )

    def law(self, *held: str) -> Law:
        """The law in these numbers, with some constants held at what a fit starts from.

        ``held`` names constants of :data:`TRAJECTORY`: N_c with alpha_N, and B_star with alpha_B.
        """
        still = [CONSTANTS.index(name) for name in held]

        def evaluate(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
            value, jacobian = _evaluate(self.outward(theta), logx)
            size, alpha_n, steps, alpha_s, _, alpha_b = (theta[:, i : i + 1] for i in range(6))
            jacobian[..., 1] -= jacobian[..., 0] * size / alpha_n**2
            jacobian[..., 0] /= alpha_n
            jacobian[..., 3] -= jacobian[..., 2] * steps / alpha_s**2
            jacobian[..., 2] /= alpha_s
            jacobian[..., 5] -= jacobian[..., 4] * self.u / alpha_b**2
            jacobian[..., still] = 0.0
            return value, jacobian

        def start(logx: FloatArray, y: FloatArray) -> FloatArray:
            return self.inward(_start(logx, y))

        parameters = tuple(
            each
            if each.scale == "linear"
            else Parameter(f"{each.name} centred", "linear", -1e3, 1e3)
            for each in TRAJECTORY.parameters
        )
        return replace(TRAJECTORY, parameters=parameters, evaluate=evaluate, start=start)
