"""Robust fits to designed runs, and their draws.

A recipe's runs are a design: three sizes, a ladder of batches. Resampling whole runs, as the
fitting core does, drops rungs and sizes from one draw in two, and what is left determines nothing.
So runs stay, and the errors of each are turned together by a random weight: the wild cluster
bootstrap of Cameron, Gelbach and Miller 2008, with normal weights, since with so few runs weights
of two or six values leave the tails of a draw empty. Errors that a whole run shares, the luck of a
seed or a law that bends wrongly, stay together in it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.fitting.doubts import doubts
from paperworks.scaling.fitting.fit import best_fit
from paperworks.scaling.fitting.law import FloatArray, Law
from paperworks.scaling.fitting.result import LawFit
from paperworks.scaling.fitting.solve import minimise, residuals
from paperworks.scaling.levels import check_bootstrap

_HUBER = 1.345


def fit_runs(
    law: Law,
    logx: FloatArray,
    y: FloatArray,
    starts: FloatArray,
    run: ArrayLike,
    *,
    held_draws: FloatArray | None = None,
    absorbed: int = 0,
    confidence: float = 0.95,
    resamples: int = 500,
    rng: int = 0,
) -> LawFit:
    """Fit a law by Huber's loss of log y, with draws that keep the design.

    Parameters
    ----------
    law : Law
        What is fitted.
    logx, y : (n, v) and (n,) float
        Logarithms of the variables, and what was measured.
    starts : (S, p) float
        Places to start from. Constants that the law holds stay where the start has them.
    run : (n,) array
        The run of each row.
    held_draws : (R, p) float, optional
        For constants that the law holds: draws of the step that found them. Other columns are nan.
    absorbed : int
        Means that were taken out of y and of the law before, one for each level of a loss, say.
    confidence, resamples, rng
        As for ``fit_law``.

    Returns
    -------
    LawFit
    """
    check_bootstrap(confidence, resamples)
    names, groups = np.unique(np.asarray(run), return_inverse=True)
    # By nearly absolute errors for the noise; then by a loss suited to it.
    theta, _, _ = best_fit(law, logx, y, starts, 1e-3, "log")
    error = np.abs(residuals(law, logx, y, theta[None], "log")[0])
    delta = max(_HUBER * 1.4826 * float(np.median(error)), 1e-6)
    theta, converged, iterations = best_fit(
        law, logx, y, np.concatenate([theta[None], starts]), delta, "log"
    )
    error = residuals(law, logx, y, theta[None], "log")[0]
    first = np.repeat(theta[None], resamples, 0)
    generator = np.random.default_rng(rng)
    if held_draws is not None:
        drawn = held_draws[generator.integers(len(held_draws), size=resamples)]
        first = np.where(np.isnan(drawn), first, drawn)
    wide = math.sqrt(len(y) / max(len(y) - absorbed, 1)) * _as_if_left_out(
        law, logx, theta, error, groups, held_draws
    )
    weights = generator.normal(size=(resamples, len(names)))[:, groups]
    # An error is prediction less measurement: drawn data lie about the fit.
    drawn_y = np.exp(np.log(y) + error - weights * wide)
    found = minimise(law, logx, drawn_y, first, delta=delta, tolerance=1e-7)
    fit = LawFit(
        law, theta, found.theta, logx, y, groups.astype(np.int64),
        delta, "log", converged, iterations, confidence,
    )  # fmt: skip
    return replace(fit, warnings=doubts(fit, 1 - float(found.converged.mean())))


def _as_if_left_out(
    law: Law,
    logx: FloatArray,
    theta: FloatArray,
    error: FloatArray,
    groups: NDArray[np.int64],
    held_draws: FloatArray | None,
) -> FloatArray:
    """The error of each run, had the fit not seen it: to first order, ``(I - H_gg)^-1 e_g``.

    The fit bends towards a run at the end of a ladder, and its error there says little (Bell and
    McCaffrey 2002: CR3). A direction that one run alone determines stays as it is.
    """
    jacobian = law.evaluate(theta[None], logx)[1][0]
    if held_draws is not None:
        jacobian = jacobian[:, np.isnan(held_draws[0])]
    jacobian = jacobian / np.maximum(np.linalg.norm(jacobian, axis=0), 1e-300)
    whole = jacobian.T @ jacobian
    wide = error.copy()
    for g in range(int(groups.max()) + 1):
        mine = groups == g
        own = jacobian[mine]
        without = np.linalg.pinv(whole - own.T @ own, rcond=1e-6, hermitian=True)
        wide[mine] += own @ (without @ (own.T @ error[mine]))
    return wide
