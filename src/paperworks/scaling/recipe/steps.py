"""The steps of the recipe: each takes a run log, and says which runs it still needs.

Su et al., arXiv 2403.06563, estimate one pair of constants after the other:

1. ``fit_size_law``: N_c and alpha_N from the losses that models of several sizes end at.
2. ``fit_data_law``: D_c and alpha_D from the least losses on training sets of several sizes.
3. ``fit_critical_batch``: B_star and alpha_B from runs of one size with several batches
   (:mod:`paperworks.scaling.recipe.critical`).
4. ``fit_steps_law``: S_c and alpha_S from whole curves, their steps turned into S_min.

Departures. Small runs seldom converge, and then step 1 has nothing to stand on; step 4 can find N_c
and alpha_N together with S_c and alpha_S, as Kaplan et al. do for table 3 of arXiv 2001.08361, and
does where it is not given a size law. ``fit_trajectory`` moves all six constants together. Step 4
solves ``L(N, S, B)`` for L, so that its errors are those of the prediction; putting the measured
loss into S_min would hide a part of them. Fits are robust, in log L, with intervals over runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from paperworks.scaling.fitting.doubts import doubts
from paperworks.scaling.fitting.law import FloatArray, log_variables
from paperworks.scaling.fitting.laws import LAWS
from paperworks.scaling.fitting.result import LawFit
from paperworks.scaling.recipe.critical import CriticalBatch, needs_critical_batch
from paperworks.scaling.recipe.laws import TRAJECTORY, Centred, linear_starts
from paperworks.scaling.recipe.log import MissingRunsError, RunLog
from paperworks.scaling.recipe.resample import fit_runs

CONVERGED = 0.01  # a run has converged if its second half of steps took less than this off the loss
_CURVE = 3  # rows that make a curve of a run


def fit_size_law(log: RunLog, *, converged: float = CONVERGED, rng: int = 0) -> LawFit:
    """``L(N) = (N_c / N)^alpha_N`` from models trained until their loss stands.

    Parameters
    ----------
    log : RunLog
        At least three sizes, each with a run that has converged. Rows that saw data again are left
        out. Of the runs of one size the lowest last loss counts.
    converged : float
        Share of the loss that the second half of a run's steps may have taken off.
    rng : int
        Seed of the bootstrap.

    Returns
    -------
    LawFit
        Of the law ``power``: its ``alpha`` is alpha_N and its ``A`` is ``N_c^alpha_N``.

    Raises
    ------
    MissingRunsError
        Which says which sizes, or which runs must go on.

    Examples
    --------
    >>> N = np.repeat([1e6, 4e6, 1.6e7, 6.4e7], 2)
    >>> log = RunLog(N, N, 2**19, np.tile([5e4, 1e5], 4), (8.8e13 / N) ** 0.076)
    >>> round(fit_size_law(log).parameters["alpha"].value, 4)
    0.076
    """
    _require("the size law", needs_size_law(log, converged))
    best: dict[float, float] = {}
    for part in _ended(log, converged)[0]:
        best[part.N[0]] = min(part.loss[-1], best.get(part.N[0], math.inf))
    return _power("N", best, rng)


def needs_size_law(log: RunLog, converged: float = CONVERGED) -> list[str]:
    """What :func:`fit_size_law` still needs; empty where nothing."""
    ended, going = _ended(log, converged)
    sizes = {part.N[0] for part in ended}
    if len(sizes) >= 3:
        return []
    said = [f"converged runs of {_more(3 - len(sizes), 'more model size')}"]
    if going:
        said.append(
            "longer runs: "
            + ", ".join(f"{part.run[0]} lost {_fall(part):.1%}" for part in going[:5])
            + (f" and {len(going) - 5} more" if len(going) > 5 else "")
            + f" of its loss in its second half of steps, {converged:.1%} is the most for one that "
            "counts as converged"
        )
    return said


def fit_data_law(log: RunLog, *, rng: int = 0) -> LawFit:
    """``L(D) = (D_c / D)^alpha_D`` from large models on training sets of several sizes.

    Parameters
    ----------
    log : RunLog
        With ``D``: at least three sizes of training set, each with a run that went on until its
        test loss no longer fell. Of each set the least loss of any row counts, as with early
        stopping.
    rng : int
        Seed of the bootstrap.

    Returns
    -------
    LawFit
        Of the law ``power``: its ``alpha`` is alpha_D and its ``A`` is ``D_c^alpha_D``.

    Raises
    ------
    MissingRunsError
        Which says what is missing.

    Examples
    --------
    >>> D = np.repeat([1e7, 1e8, 1e9, 1e10], 3)
    >>> loss = (5.4e13 / D) ** 0.095 * np.tile([1.2, 1.0, 1.1], 4)
    >>> log = RunLog(D, 1e9, 2**19, np.tile([1e3, 1e4, 1e5], 4), loss, D)
    >>> round(fit_data_law(log).parameters["alpha"].value, 4)
    0.095
    """
    _require("the data law", needs_data_law(log))
    best: dict[float, float] = {}
    for part in _bottomed(log)[0]:
        size = float(part.D[0])  # type: ignore[index]
        best[size] = min(float(part.loss.min()), best.get(size, math.inf))
    return _power("D", best, rng)


def needs_data_law(log: RunLog) -> list[str]:
    """What :func:`fit_data_law` still needs; empty where nothing."""
    if log.D is None:
        return ["the column dataset: runs on three training sets or more, of different sizes"]
    done, going = _bottomed(log)
    sizes = {float(part.D[0]) for part in done}  # type: ignore[index]
    if len(sizes) >= 3:
        return []
    said = [f"runs on {_more(3 - len(sizes), 'more size')} of training set"]
    if going:
        names = ", ".join(str(part.run[0]) for part in going[:5])
        said.append(f"longer runs: {names} had not seen all data, or still fell, at the end")
    return said


def fit_steps_law(
    log: RunLog,
    critical: CriticalBatch,
    *,
    size: LawFit | None = None,
    from_step: float = 1,
    confidence: float = 0.95,
    resamples: int = 500,
    rng: int = 0,
) -> LawFit:
    """S_c and alpha_S, and N_c and alpha_N where ``size`` does not give them.

    Parameters
    ----------
    log : RunLog
        Whole curves. Rows before ``from_step`` and rows that saw data again are left out.
    critical : CriticalBatch
        B_star and alpha_B, from :func:`fit_critical_batch`; its draws carry its doubt on.
    size : LawFit, optional
        From :func:`fit_size_law`, of converged runs: the paper's order. By default the curves give
        N_c and alpha_N too.
    from_step : float
        The first step that counts, behind the warm-up, where the law does not hold.
    confidence : float
        Level of the intervals.
    resamples : int
        Bootstrap draws of the runs.
    rng : int
        Seed of the bootstrap.

    Returns
    -------
    LawFit
        Of the law ``trajectory`` in N, S and B, with six constants.

    Raises
    ------
    MissingRunsError
        Which says what is missing.

    Notes
    -----
    Cost O((starts + resamples) n) for each iteration, some 10 passes of a Newton step each.

    Examples
    --------
    >>> from paperworks.scaling import TrajectoryLaw, fit_critical_batch
    >>> law = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
    >>> runs = [(1e6, 2**k) for k in (16, 18, 20, 22)] + [(4e6, 2**19), (1.6e7, 2**19)]
    >>> N, B = np.repeat(runs, 20, axis=0).T
    >>> S = np.tile(np.geomspace(1e3, 1e5, 20), len(runs))
    >>> log = RunLog(np.repeat(np.arange(len(runs)), 20), N, B, S, law.loss(N, S, B))
    >>> critical = fit_critical_batch(log, resamples=20)
    >>> fit = fit_steps_law(log, critical, resamples=20)
    >>> round(fit.parameters["alpha_S"].value, 2), round(fit.parameters["alpha_N"].value, 3)
    (0.76, 0.077)
    """
    _require("the steps law", needs_steps_law(log, size is not None, from_step))
    held = ["B_star", "alpha_B"] + (["N_c", "alpha_N"] if size is not None else [])
    kept = usable(log, from_step)
    logx, _ = log_variables(TRAJECTORY, {"N": kept.N, "S": kept.S, "B": kept.B})
    centre = Centred.of(logx, kept.loss)
    law = centre.law(*held)
    constants = (math.log(critical.B_star.value), critical.alpha_B.value)
    starts = linear_starts(logx, kept.loss, [constants])
    if size is not None:
        starts[:, :2] = _size_constants(size.theta[None])
    draws = np.full((resamples, 6), np.nan)
    generator = np.random.default_rng(rng + 1)
    draws[:, 4:] = critical.draws[generator.integers(len(critical.draws), size=resamples)]
    if size is not None:
        drawn = generator.integers(len(size.draws), size=resamples)
        draws[:, :2] = _size_constants(size.draws[drawn])
    # Held constants alone are turned inward; what is free stays nan.
    held_draws = centre.inward(draws)
    return _outward(
        centre,
        fit_runs(
            law,
            logx,
            kept.loss,
            centre.inward(starts),
            kept.run,
            held_draws=held_draws,
            confidence=confidence,
            resamples=resamples,
            rng=rng,
        ),
    )


def needs_steps_law(log: RunLog, sized: bool = False, from_step: float = 1) -> list[str]:
    """What :func:`fit_steps_law` still needs; ``sized``: whether a size law is given."""
    try:
        kept = usable(log, from_step)
    except ValueError as error:
        return [str(error)]
    said = []
    sizes = len(np.unique(kept.N))
    if not sized and sizes < 3:
        said.append(f"curves of {_more(3 - sizes, 'more model size')}")
    curves = sum(int(np.count_nonzero(kept.run == name) >= _CURVE) for name in kept.runs)
    if curves < 5:
        said.append(f"{_more(5 - curves, 'more run')} with {_CURVE} usable rows or more")
    return said


def fit_trajectory(
    log: RunLog,
    *,
    from_step: float = 1,
    confidence: float = 0.95,
    resamples: int = 500,
    rng: int = 0,
) -> LawFit:
    """All six constants of ``L(N, S, B)`` at once, from whole curves.

    Parameters
    ----------
    log : RunLog
        Five runs or more, of three sizes and three batches or more.
    from_step, confidence, resamples, rng
        As for :func:`fit_steps_law`.

    Returns
    -------
    LawFit
        Of the law ``trajectory`` in N, S and B.

    Raises
    ------
    MissingRunsError
        Which says what is missing.

    Examples
    --------
    >>> from paperworks.scaling import TrajectoryLaw
    >>> law = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
    >>> runs = [(1e6, 2**k) for k in (16, 18, 20, 22)] + [(4e6, 2**19), (1.6e7, 2**19)]
    >>> N, B = np.repeat(runs, 20, axis=0).T
    >>> S = np.tile(np.geomspace(1e3, 1e5, 20), len(runs))
    >>> log = RunLog(np.repeat(np.arange(len(runs)), 20), N, B, S, law.loss(N, S, B))
    >>> fit = fit_trajectory(log, resamples=20)
    >>> [f"{each.value:.3g}" for each in fit.parameters.values()]
    ['6.5e+13', '0.077', '2.1e+03', '0.76', '2.1e+08', '0.21']
    """
    _require("the trajectory", needs_trajectory(log, from_step))
    kept = usable(log, from_step)
    columns = {"N": kept.N, "S": kept.S, "B": kept.B}
    logx, _ = log_variables(TRAJECTORY, columns)
    centre = Centred.of(logx, kept.loss)
    law = centre.law()
    fit = fit_runs(
        law,
        logx,
        kept.loss,
        law.start(logx, kept.loss),
        kept.run,
        confidence=confidence,
        resamples=resamples,
        rng=rng,
    )
    return _outward(centre, fit)


def needs_trajectory(log: RunLog, from_step: float = 1) -> list[str]:
    """What :func:`fit_trajectory` still needs; empty where nothing."""
    return needs_critical_batch(log, from_step) + needs_steps_law(log, from_step=from_step)


def usable(log: RunLog, from_step: float = 1) -> RunLog:
    """The rows behind the warm-up whose data were new."""
    keep = log.single_pass() & (from_step <= log.S)
    if not keep.any():
        raise ValueError(f"rows from step {from_step:g} on whose data were new; there is none")
    return log.where(keep)


def _power(variable: str, best: dict[float, float], rng: int) -> LawFit:
    """A power law through one loss for each size; the sizes are a design, so none is dropped."""
    law = LAWS["power"].over(variable)
    x = np.log(np.array(list(best)))[:, None]
    y = np.array(list(best.values()))
    return fit_runs(law, x, y, law.start(x, y), np.arange(len(y)), rng=rng)


def _outward(centre: Centred, fit: LawFit) -> LawFit:
    """The fit in the constants of the law, with the warnings that these give."""
    failed = [word for word in fit.warnings if "resamples" in word]
    fit = replace(
        fit,
        law=TRAJECTORY,
        theta=centre.outward(fit.theta[None])[0],
        draws=centre.outward(fit.draws),
    )
    return replace(fit, warnings=(*failed, *doubts(fit, 0.0)))


def _size_constants(theta: FloatArray) -> FloatArray:
    """(log N_c, alpha_N) of the power law's (log A, alpha), (B, 2)."""
    return np.stack([theta[:, 0] / theta[:, 1], theta[:, 1]], 1)


def _ended(log: RunLog, most: float) -> tuple[list[RunLog], list[RunLog]]:
    """Runs that have converged, and those that have not."""
    return _split(usable(log), lambda part: bool(part.S.size > 1 and _fall(part) <= most))


def _bottomed(log: RunLog) -> tuple[list[RunLog], list[RunLog]]:
    """Runs through all their data whose loss no longer falls at the end, and the others."""
    return _split(
        log,
        lambda part: bool(
            part.S[-1] * part.B[0] >= part.D[0]  # type: ignore[index]
            and (part.loss.argmin() < part.S.size - 1 or _fall(part) <= CONVERGED)
        ),
    )


def _split(log: RunLog, holds: Callable[[RunLog], bool]) -> tuple[list[RunLog], list[RunLog]]:
    yes: list[RunLog] = []
    no: list[RunLog] = []
    for part in log.parts().values():
        (yes if holds(part) else no).append(part)
    return yes, no


def _fall(part: RunLog) -> float:
    """Share of the loss that the second half of a run's steps took off; 1 where unknown."""
    half = part.S[-1] / 2
    if part.S[0] > half:
        return 1.0
    before = float(np.exp(np.interp(np.log(half), np.log(part.S), np.log(part.loss))))
    return 1 - float(part.loss[-1]) / before


def _more(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _require(step: str, needs: list[str]) -> None:
    if needs:
        raise MissingRunsError(step, needs)
