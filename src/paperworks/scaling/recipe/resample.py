"""Robust fits to designed runs, and their draws.

A recipe's runs are a design: three sizes, a ladder of batches. Resampling whole runs, as the
fitting core does, drops rungs and sizes from one draw in two, and what is left determines nothing.
So runs stay, and the errors of each are turned together by a random weight (the wild cluster
bootstrap of Cameron, Gelbach and Miller 2008, with the six weights of Webb 2023). Errors that a
whole run shares, the luck of a seed or a law that bends wrongly, stay together in it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from paperworks.scaling.fitting.doubts import doubts
from paperworks.scaling.fitting.fit import LawFit, best_fit
from paperworks.scaling.fitting.law import FloatArray, Law
from paperworks.scaling.fitting.solve import minimise, residuals

_HUBER = 1.345
_WEBB = np.sqrt([0.5, 1.0, 1.5])
_WEBB = np.concatenate([-_WEBB, _WEBB])


def fit_runs(
    law: Law,
    logx: FloatArray,
    y: FloatArray,
    starts: FloatArray,
    run: ArrayLike,
    *,
    held_draws: FloatArray | None = None,
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
    confidence, resamples, rng
        As for ``fit_law``.

    Returns
    -------
    LawFit
    """
    if resamples < 1:
        raise ValueError(f"resamples must be >= 1, got {resamples}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    names, groups = np.unique(np.asarray(run), return_inverse=True)
    # By nearly absolute errors for the noise; then by a loss suited to it.
    theta, _, _ = best_fit(law, logx, y, starts, 1e-3, "log")
    error = np.abs(residuals(law, logx, y, theta[None], "log")[0])
    delta = max(_HUBER * 1.4826 * float(np.median(error)), 1e-6)
    theta, converged, iterations = best_fit(
        law, logx, y, np.concatenate([theta[None], starts]), delta, "log"
    )
    error = residuals(law, logx, y, theta[None], "log")[0]
    free = len(theta)
    first = np.repeat(theta[None], resamples, 0)
    generator = np.random.default_rng(rng)
    if held_draws is not None:
        drawn = held_draws[generator.integers(len(held_draws), size=resamples)]
        first = np.where(np.isnan(drawn), first, drawn)
        free = int(np.isnan(held_draws[0]).sum())
    # Fitted errors are smaller than true ones, by what a cluster-robust variance corrects for.
    n, g = len(y), len(names)
    wider = math.sqrt(g / max(g - 1, 1) * (n - 1) / max(n - free, 1))
    weights = generator.choice(_WEBB, (resamples, g))[:, groups]
    # An error is prediction less measurement: drawn data lie about the fit.
    drawn_y = np.exp(np.log(y) + error - wider * weights * error)
    found = minimise(law, logx, drawn_y, first, delta=delta, tolerance=1e-7)
    if not found.converged.any():
        raise ValueError(f"no resample of the runs could be fitted by {law.name}; add runs")
    fit = LawFit(
        law, theta, found.theta[found.converged], logx, y, groups.astype(np.int64),
        delta, "log", converged, iterations, confidence,
    )  # fmt: skip
    return replace(fit, warnings=doubts(fit, 1 - float(found.converged.mean())))
