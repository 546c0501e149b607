"""The critical batch: how many steps a larger batch saves, and from where on it saves none.

McCandlish et al., arXiv 1812.06162, equation 2.11: runs of one model that differ in batch reach a
loss after S steps and E = B S tokens with ``(S / S_min - 1)(E / E_min - 1) = 1``, which is the
straight line ``S = S_min + E_min / B`` in 1 / B. The critical batch is ``E_min / S_min``, and Su et
al. fit ``B_crit = B_star / L^(1 / alpha_B)`` to it.

Departure: instead of a line for each loss and then a power law through the slopes, one fit takes
all losses at once, with a free S_min for each and the power law for the rest. Where two batches
only reach some loss, a line of its own would go through both and say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression, nnls

from paperworks.scaling.fitting.law import FloatArray, Law, Parameter
from paperworks.scaling.fitting.result import Estimate, LawFit, expanded_tail
from paperworks.scaling.recipe.equations import Interval
from paperworks.scaling.recipe.log import MissingRunsError, RunLog
from paperworks.scaling.recipe.resample import fit_runs

LEVELS = 12
_SPAN = 4.0  # a ladder of batches that spans less than this says little of where it bends


@dataclass(frozen=True)
class Level:
    """Runs of one size at one loss.

    Attributes
    ----------
    N, loss : float
        The size and the loss.
    batches, steps : tuple of float
        Batches in tokens, and the steps that each took to that loss.
    min_steps, min_tokens : float
        S_min and E_min of the line through these alone; not used by the fit.
    """

    N: float
    loss: float
    batches: tuple[float, ...]
    steps: tuple[float, ...]
    min_steps: float
    min_tokens: float

    @property
    def critical_batch(self) -> float:
        """``E_min / S_min``; inf where the line has no S_min, 0 where no E_min."""
        return self.min_tokens / self.min_steps if self.min_steps > 0 else np.inf


@dataclass(frozen=True)
class CriticalBatch:
    """``B_crit(L) = B_star / L^(1 / alpha_B)`` as :func:`fit_critical_batch` found it.

    Attributes
    ----------
    B_star : Estimate
        Tokens, at a loss of 1.
    alpha_B : Estimate
        Its exponent.
    levels : tuple of Level
        What it was fitted to.
    draws : (R, 2) float
        log B_star and alpha_B of the bootstrap.
    fit : LawFit
        Convergence, residual, warnings.

    Examples
    --------
    >>> from paperworks.scaling.recipe.equations import TrajectoryLaw
    >>> law = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
    >>> S, B = np.meshgrid(np.geomspace(1e3, 1e5, 40), [1e5, 4e5, 1.6e6])
    >>> log = RunLog(B.ravel(), 1e7, B.ravel(), S.ravel(), law.loss(1e7, S, B).ravel())
    >>> found = fit_critical_batch(log, resamples=20)
    >>> round(float(found(4.0).value / law.critical_batch(4.0)), 2)
    1.0
    >>> found.levels[5].batches
    (100000.0, 400000.0, 1600000.0)
    """

    B_star: Estimate
    alpha_B: Estimate
    levels: tuple[Level, ...] = field(repr=False)
    draws: FloatArray = field(repr=False)
    fit: LawFit = field(repr=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the runs cannot say, in sentences."""
        return self.fit.warnings

    def __call__(self, loss: ArrayLike, confidence: float = 0.95) -> Interval:
        """B_crit in tokens at a loss, with its interval over runs.

        ``value``, ``low`` and ``high`` have the shape of ``loss``.
        """
        at = np.asarray(loss, dtype=np.float64)
        if not np.all((at > 0) & np.isfinite(at)):
            raise ValueError(f"loss must be finite and > 0, got {loss!r}")
        theta = np.array([np.log(self.B_star.value), self.alpha_B.value])
        value = theta[0] - np.log(at) / theta[1]
        draws = self.draws[:, 0, None] - np.log(at).ravel() / self.draws[:, 1, None]
        tail = expanded_tail(confidence, self.fit.runs, 2)
        low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
        return Interval(np.exp(value), *(np.exp(each.reshape(at.shape)) for each in (low, high)))


def fit_critical_batch(
    log: RunLog,
    *,
    from_step: float = 1,
    levels: int = LEVELS,
    confidence: float = 0.95,
    resamples: int = 500,
    rng: int = 0,
) -> CriticalBatch:
    """B_star and alpha_B from runs of equal size and different batches.

    Parameters
    ----------
    log : RunLog
        At least one size with three batches that span a factor of four and reach a common loss.
        Further sizes with two batches or more help. Learning rates should suit each batch.
    from_step : float
        The first step that counts, behind the warm-up.
    levels : int
        Losses of each size at which runs are compared, evenly spaced in log L.
    confidence : float
        Level of the intervals.
    resamples : int
        Bootstrap draws of the runs.
    rng : int
        Seed of the bootstrap.

    Returns
    -------
    CriticalBatch

    Raises
    ------
    MissingRunsError
        Which says at which batches, and to which loss.

    Notes
    -----
    Steps to a loss are read off between rows in log L and log S, from the falling curve that is
    nearest to the run's losses (isotonic regression). An error of the loss moves them the more
    the flatter the curve is, so each level counts by its slope: errors are those of log L, about.
    Levels of one run are not independent: the errors of a run are drawn together.

    Examples
    --------
    >>> from paperworks.scaling.recipe.equations import TrajectoryLaw
    >>> law = TrajectoryLaw(8.8e13, 0.076, 2.6e3, 0.67, 1.7e8, 0.205)
    >>> S, B = np.meshgrid(np.geomspace(300, 3e5, 60), [1e5, 4e5, 1.6e6, 6.4e6])
    >>> log = RunLog(B.ravel(), 1e7, B.ravel(), S.ravel(), law.loss(1e7, S, B).ravel())
    >>> found = fit_critical_batch(log, resamples=20)
    >>> round(found.alpha_B.value, 3), round(found.B_star.value / 1e8, 2)
    (0.205, 1.7)
    """
    needs = needs_critical_batch(log, from_step)
    if needs:
        raise MissingRunsError("the critical batch", needs)
    found, rows = _levels(log, from_step, levels)
    batch, loss, steps, slope_of, level, run = map(np.array, zip(*rows, strict=True))
    level = level.astype(np.int64)
    within = np.bincount(level)
    first = np.concatenate([[0], np.cumsum(within)[:-1]])
    worth = (np.bincount(level, slope_of) / within)[level]  # of an error of log S, in log L

    def centred(values: FloatArray) -> FloatArray:
        """Less each level's mean, which takes the free S_min out; in units of log L."""
        sums = np.add.reduceat(values, first, axis=-1)  # rows of a level are together
        return np.asarray((values - (sums / within)[..., level]) * worth)

    def evaluate(theta: FloatArray, logx: FloatArray) -> tuple[FloatArray, FloatArray]:
        b, u = logx[:, 0], logx[:, 1]
        log_m = theta[:, :1] - b - u / theta[:, 1:]
        soft = np.logaddexp(0.0, log_m)
        waste = np.exp(log_m - soft)
        slope = waste * u / theta[:, 1:] ** 2
        return centred(soft), np.stack([centred(waste), centred(slope)], -1)

    def start(logx: FloatArray, y: FloatArray) -> FloatArray:
        u = float(logx[:, 1].mean())
        places = np.quantile(logx[:, 0], [0.0, 0.25, 0.5, 0.75, 1.0])
        return np.array([[b + u / a, a] for a in (0.08, 0.2, 0.5, 2.0) for b in places])

    law = Law(
        name="critical batch",
        formula="S = S_min(L) (1 + B_star / (B L^(1/alpha_B)))",
        variables=("B", "L"),
        parameters=(
            Parameter("B_star", "log", 1e-30, 1e30),
            Parameter("alpha_B", "linear", 0.02, 20.0),
        ),
        evaluate=evaluate,
        start=start,
    )
    relative = np.exp(centred(np.log(steps.astype(np.float64))))
    logx = np.log(np.stack([batch, loss], 1).astype(np.float64))
    fit = fit_runs(
        law,
        logx,
        relative,
        start(logx, relative),
        run,
        absorbed=len(found),
        confidence=confidence,
        resamples=resamples,
        rng=rng,
    )
    # Losses are what they are: that they span little is no fault of the runs.
    fit = replace(fit, warnings=tuple(w for w in fit.warnings if not w.startswith("L spans")))
    constants = fit.parameters
    return CriticalBatch(constants["B_star"], constants["alpha_B"], found, fit.draws, fit)


def needs_critical_batch(log: RunLog, from_step: float = 1) -> list[str]:
    """What :func:`fit_critical_batch` still needs; empty where nothing."""
    best: tuple[int, str] | None = None  # how much is missing at the size that lacks least
    for size in np.unique(log.N):
        some = log.where(np.equal(log.N, size))
        batches = np.unique(some.B)
        listed = ", ".join(f"{b:,.0f}" for b in batches)
        target = float(min(part.loss.min() for part in some.parts().values()))
        if len(batches) < 3:
            more = 3 - len(batches)
            said = (
                f"runs of N = {size:,.0f} at {more} more batch size{'' if more == 1 else 's'} that "
                f"reach loss {target:.3g} (there is B = {listed})"
            )
            lack = more
        elif batches[-1] / batches[0] < _SPAN:
            said = (
                f"a run of N = {size:,.0f} at a batch of {_SPAN * batches[0]:,.0f} tokens or more "
                f"that reaches loss {target:.3g}: B = {listed} spans a factor of "
                f"{batches[-1] / batches[0]:.2g}, {_SPAN:g} is the least"
            )
            lack = 1
        else:
            meet = _common(some, from_step)
            if meet >= 3:
                return []
            worst = max(some.parts().values(), key=lambda part: part.loss.min())
            said = (
                f"longer runs of N = {size:,.0f}: only {meet} batch sizes reach a common loss; "
                f"{worst.run[0]} ends at {worst.loss.min():.3g}, take it to {target:.3g}"
            )
            lack = 1
        if best is None or lack < best[0]:
            best = (lack, said)
    return [] if best is None else [best[1]]


def _curve(part: RunLog, from_step: float) -> tuple[FloatArray, FloatArray]:
    """Log S and log L of the falling curve nearest to a run's losses, without its flats."""
    keep = part.single_pass() & (from_step <= part.S)
    if not keep.any():
        return np.empty(0), np.empty(0)
    s = np.log(part.S[keep])
    u = isotonic_regression(np.log(part.loss[keep]), increasing=False).x
    flats = np.unique(-u, return_inverse=True)[1]
    count = np.bincount(flats)
    return np.bincount(flats, s) / count, np.bincount(flats, u) / count


def _common(some: RunLog, from_step: float) -> int:
    """The most batch sizes whose runs pass through one loss."""
    reached = [
        (float(part.B[0]), u[-1], u[0])
        for part in some.parts().values()
        if (u := _curve(part, from_step)[1]).size > 1
    ]
    return max(
        (len({b for b, low, high in reached if low <= at <= high}) for _, at, _ in reached),
        default=0,
    )


def _levels(
    log: RunLog, from_step: float, count: int
) -> tuple[tuple[Level, ...], list[tuple[float, float, float, float, int, str]]]:
    """Where runs of one size pass the same losses, and a row for each such passing."""
    if count < 2:
        raise ValueError(f"levels must be >= 2, got {count}")
    found: list[Level] = []
    rows: list[tuple[float, float, float, float, int, str]] = []
    for size in np.unique(log.N):
        curves = []
        for name, part in log.where(np.equal(log.N, size)).parts().items():
            s, u = _curve(part, from_step)
            if u.size > 1:
                curves.append((name, float(part.B[0]), s, u))
        if len({b for _, b, _, _ in curves}) < 2:
            continue
        curves.sort(key=lambda each: each[1])
        lowest = sorted(u[-1] for *_, u in curves)[1]  # reached by two at least
        highest = sorted(u[0] for *_, u in curves)[-2]
        for at in np.linspace(highest, lowest, count):
            through = [
                (
                    name,
                    b,
                    float(np.interp(-at, -u, s)),
                    float(np.interp(-at, -u, -np.gradient(u, s))),
                )
                for name, b, s, u in curves
                if u[-1] <= at <= u[0]
            ]
            batches = np.array([b for _, b, *_ in through])
            if len(np.unique(batches)) < 2:
                continue
            steps = np.exp([s for _, _, s, _ in through])
            design = np.stack([1 / steps, 1 / (batches * steps)], 1)  # relative errors
            (s_min, e_min), _ = nnls(design, np.ones_like(steps))
            loss = float(np.exp(at))
            for (name, b, _, slope), s in zip(through, steps, strict=True):
                rows.append((b, loss, float(s), slope, len(found), name))
            found.append(
                Level(
                    float(size),
                    loss,
                    tuple(batches.tolist()),
                    tuple(steps.tolist()),
                    float(s_min),
                    float(e_min),
                )
            )
    return tuple(found), rows
