"""Fit a law to runs: robustly, from many starts, with intervals and with a word where data are few.

The loss is Huber's on the error of log y, as in Hoffmann et al., arXiv 2203.15556, appendix D.3.
Departures: they set its ``delta`` to 0.001 whatever the data, which far from the noise's size is a
fit by absolute errors; here it is 1.345 robust standard deviations of the residuals by default,
which keeps 95 % of least squares' precision where the noise is normal (Huber 1964). They start from
a fixed grid; here starts are made from the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.fitting.doubts import doubts
from paperworks.scaling.fitting.law import FloatArray, Law, log_variables
from paperworks.scaling.fitting.laws import law_named
from paperworks.scaling.fitting.result import LawFit
from paperworks.scaling.fitting.solve import Space, minimise, residuals
from paperworks.scaling.levels import check_bootstrap

_TUNING = 1.345  # Huber's constant for 95 % efficiency under normal noise
_POLISHED = 12  # starts that are followed to the end, the best by their loss after a few steps
_DRAWS_AT_ONCE = 250


def fit_law(
    law: Law | str,
    variables: Mapping[str, ArrayLike],
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    space: Space = "log",
    delta: float | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    rng: int | np.random.Generator = 0,
) -> LawFit:
    """Fit a scaling law to runs.

    Parameters
    ----------
    law : str or Law
        One of :data:`LAWS` by name, or your own. A law of one variable takes the only column that
        ``variables`` has, whatever it is called.
    variables : mapping of str to (n,) float
        Sizes, tokens, samples: positive numbers in any unit. The constants come out in that unit.
    y : (n,) float
        What was measured. Positive in log space.
    groups : (n,) array, optional
        The run of each row, where a run has several: they err together, so whole runs are
        resampled. By default every row is a run.
    space : {"log", "linear"}
        ``log``: errors of log y count, so relative errors. ``linear``: errors of y, which may then
        be 0 (a share of problems solved, say).
    delta : float, optional
        Where Huber's loss turns into a line, in units of the error; ``inf`` is least squares. By
        default 1.345 robust standard deviations of the residuals of a first fit.
    confidence : float
        Level of the intervals.
    resamples : int
        Bootstrap draws of the runs. 1,000 are enough for 95 %.
    rng : int or numpy.random.Generator
        Source of the draws.

    Returns
    -------
    LawFit
        Look at ``converged`` and ``warnings`` before you use it.

    Raises
    ------
    ValueError
        Where values are not positive or not finite, or there are not more runs than parameters.

    Notes
    -----
    Cost O((starts + resamples) n p^2) for each iteration; 10,000 rows with 1,000 resamples take
    some 10 s of one core.

    Examples
    --------
    >>> from paperworks.scaling import LAWS
    >>> rng = np.random.default_rng(0)
    >>> N, D = np.exp(rng.uniform(np.log(1e7), np.log(1e10), (2, 60)))
    >>> loss = LAWS["chinchilla"](
    ...     {"E": 1.8, "A": 480, "alpha": 0.35, "B": 2100, "beta": 0.37}, {"N": N, "D": D}
    ... )
    >>> fit = fit_law("chinchilla", {"N": N, "D": D}, loss * np.exp(rng.normal(0, 0.005, 60)))
    >>> alpha = fit.parameters["alpha"]
    >>> alpha.low < 0.35 < alpha.high, fit.warnings
    (True, ())
    """
    chosen = law_named(law)
    if len(chosen.variables) == 1 and len(variables) == 1:
        chosen = chosen.over(*variables)
    logx, shape = log_variables(chosen, variables)
    measured = _check_y(y, shape, space)
    runs = _check_groups(groups, len(measured))
    check_bootstrap(confidence, resamples)
    count, p = int(runs.max()) + 1, len(chosen.parameters)
    if count <= p:
        raise ValueError(
            f"{chosen.name} has {p} parameters and needs more than {p} runs, got {count}; "
            "choose a law with fewer or add runs"
        )
    if delta is not None and not delta > 0:
        raise ValueError(f"delta must be > 0, got {delta}; use math.inf for least squares")
    starts = chosen.start(logx, measured)
    if delta is None:
        delta = _suited_delta(chosen, logx, measured, starts, space)
    theta, converged, iterations = best_fit(chosen, logx, measured, starts, delta, space)
    draws, failed = _bootstrap(
        chosen, logx, measured, theta, runs, delta, space, resamples, np.random.default_rng(rng)
    )
    fit = LawFit(
        chosen, theta, draws, logx, measured, runs, delta, space, converged, iterations, confidence
    )
    return replace(fit, warnings=doubts(fit, failed / resamples))


def best_fit(
    law: Law, logx: FloatArray, y: FloatArray, starts: FloatArray, delta: float, space: Space
) -> tuple[FloatArray, bool, int]:
    """The best of many starts: a few steps for all, the rest for the most promising."""
    first = minimise(law, logx, y, starts, delta=delta, space=space, max_iterations=8)
    ranked = np.argsort(first.loss)[:_POLISHED]
    last = minimise(law, logx, y, first.theta[ranked], delta=delta, space=space, max_iterations=500)
    if not np.isfinite(last.loss).any():
        raise ValueError(
            f"{law.name} has no finite error at any start; are the variables in sane units?"
        )
    # Of starts that end level, one that met its tolerance.
    level = last.loss <= last.loss.min() * (1 + 1e-9) + 1e-300
    best = int(np.flatnonzero(level)[np.argmax(last.converged[level])])
    return last.theta[best], bool(last.converged[best]), last.iterations


def _suited_delta(
    law: Law, logx: FloatArray, y: FloatArray, starts: FloatArray, space: Space
) -> float:
    """Huber's constant times the noise, from a fit by nearly absolute errors."""
    small = 1e-3 if space == "log" else 1e-3 * float(np.abs(y).mean() or 1.0)
    theta, _, _ = best_fit(law, logx, y, starts, small, space)
    error = np.abs(residuals(law, logx, y, theta[None], space)[0])
    # The law went through p of the points.
    spread = float(np.median(np.sort(error)[min(len(theta), len(error) - 1) :]))
    return max(_TUNING * 1.4826 * spread, small * 1e-3)


def _bootstrap(
    law: Law,
    logx: FloatArray,
    y: FloatArray,
    theta: FloatArray,
    runs: NDArray[np.int64],
    delta: float,
    space: Space,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, int]:
    """Theta of each resample of the runs that converged, and how many did not."""
    count = int(runs.max()) + 1
    draws = np.empty((resamples, len(theta)))
    failed = 0
    for at in range(0, resamples, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, resamples - at)
        times = rng.multinomial(count, np.full(count, 1 / count), size=size)
        found = minimise(
            law,
            logx,
            y,
            np.repeat(theta[None], size, 0),
            weights=times[:, runs].astype(np.float64),
            delta=delta,
            space=space,
            tolerance=1e-7,
        )
        draws[at : at + size] = found.theta
        failed += int((~found.converged).sum())
    return draws, failed


def _check_y(y: ArrayLike, shape: tuple[int, ...], space: Space) -> FloatArray:
    values = np.asarray(y, dtype=np.float64)
    if values.shape != shape or values.ndim != 1:
        raise ValueError(f"y must be (n,) like the variables, got {values.shape} and {shape}")
    if space not in ("log", "linear"):
        raise ValueError(f"space must be 'log' or 'linear', got {space!r}")
    bad = np.flatnonzero(~np.isfinite(values) | ((values <= 0) & (space == "log")))
    if bad.size:
        wanted = "finite and > 0 (space='linear' takes 0)" if space == "log" else "finite"
        raise ValueError(f"y must be {wanted}, got {values[bad[0]]} in row {bad[0]}")
    return values


def _check_groups(groups: ArrayLike | None, n: int) -> NDArray[np.int64]:
    if groups is None:
        return np.arange(n)
    named = np.asarray(groups)
    if named.shape != (n,):
        raise ValueError(f"groups must name the run of each of {n} rows, got shape {named.shape}")
    return np.unique(named, return_inverse=True)[1].astype(np.int64)
