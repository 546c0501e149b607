"""The whole recipe: all steps that a run log allows, and predictions with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from paperworks.scaling.fitting.law import FloatArray
from paperworks.scaling.fitting.result import Estimate, LawFit, LawPrediction, expanded_tail
from paperworks.scaling.recipe.critical import (
    CriticalBatch,
    fit_critical_batch,
    needs_critical_batch,
)
from paperworks.scaling.recipe.equations import Interval, TrajectoryLaw
from paperworks.scaling.recipe.log import MissingRunsError, RunLog
from paperworks.scaling.recipe.steps import (
    CONVERGED,
    fit_data_law,
    fit_size_law,
    fit_steps_law,
    fit_trajectory,
    needs_data_law,
    needs_size_law,
    needs_steps_law,
    needs_trajectory,
)

Method = Literal["stepwise", "joint"]


@dataclass(frozen=True)
class TrainingPlan:
    """What it takes to bring a model to a loss with one batch.

    Attributes
    ----------
    N, loss : float
        The model and the goal.
    batch : Estimate
        Tokens in a batch; the interval is that of the advice.
    steps, tokens : Estimate
        To the goal at ``batch.value``; inf where the model does not get there.
    min_steps, min_tokens : Estimate
        The least that any batch needs of each, never both at once.
    critical_batch : Estimate
        The batch at which steps and tokens are twice their least.

    Examples
    --------
    >>> law = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
    >>> runs = [(1e6, 2**k) for k in (16, 18, 20, 22)] + [(4e6, 2**19), (1.6e7, 2**19)]
    >>> N, B = np.repeat(runs, 20, axis=0).T
    >>> S = np.tile(np.geomspace(1e3, 1e5, 20), len(runs))
    >>> log = RunLog(np.repeat(np.arange(len(runs)), 20), N, B, S, law.loss(N, S, B))
    >>> plan = estimate_recipe(log, resamples=20).plan(1.5e9, 2.6)
    >>> round(plan.steps.value / plan.min_steps.value, 6)
    2.0
    >>> round(plan.tokens.value / plan.min_tokens.value, 6)
    2.0
    """

    N: float
    loss: float
    batch: Estimate
    steps: Estimate
    tokens: Estimate
    min_steps: Estimate
    min_tokens: Estimate
    critical_batch: Estimate


@dataclass(frozen=True)
class Recipe:
    """Constants of the laws of training, and what they predict.

    Attributes
    ----------
    trajectory : LawFit
        ``L(N, S, B)``: six constants with intervals, residual, warnings.
    critical : CriticalBatch
        Of the step that found B_star and alpha_B by themselves.
    size, data : LawFit, or None
        ``L(N)`` of converged runs and ``L(D)``, where the log had the runs.
    missing : dict of str to tuple of str
        For each step that could not be taken what it still needs.
    method : {"stepwise", "joint"}
        How ``trajectory`` was found.
    confidence : float
        Level of the intervals.

    Examples
    --------
    >>> law = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
    >>> runs = [(1e6, 2**k) for k in (16, 18, 20, 22)] + [(4e6, 2**19), (1.6e7, 2**19)]
    >>> N, B = np.repeat(runs, 20, axis=0).T
    >>> S = np.tile(np.geomspace(1e3, 1e5, 20), len(runs))
    >>> log = RunLog(np.repeat(np.arange(len(runs)), 20), N, B, S, law.loss(N, S, B))
    >>> recipe = estimate_recipe(log, method="joint", resamples=20)
    >>> round(float(recipe.minimum_loss(1.5e9).value), 2)
    2.28
    >>> float(recipe.steps_to(2.0, 1.5e9, 2**19).value)  # below its minimum
    inf
    """

    trajectory: LawFit
    critical: CriticalBatch
    size: LawFit | None
    data: LawFit | None
    missing: dict[str, tuple[str, ...]]
    method: Method
    confidence: float = 0.95
    _laws: tuple[TrajectoryLaw, TrajectoryLaw] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        theta = np.concatenate([self.trajectory.theta[None], self.trajectory.draws])
        values = [
            each.values(column)
            for each, column in zip(self.trajectory.law.parameters, theta.T, strict=True)
        ]
        laws = (
            TrajectoryLaw(*(float(v[0]) for v in values)),
            TrajectoryLaw(*(np.clip(v[1:], 1e-300, 1e300) for v in values)),
        )
        object.__setattr__(self, "_laws", laws)

    @property
    def law(self) -> TrajectoryLaw:
        """The law with the constants found."""
        return self._laws[0]

    @property
    def constants(self) -> dict[str, Estimate]:
        """N_c, alpha_N, S_c, alpha_S, B_star and alpha_B with their intervals over runs."""
        return self.trajectory.parameters

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the runs cannot say, in sentences."""
        return tuple(dict.fromkeys((*self.critical.warnings, *self.trajectory.warnings)))

    def predict_curve(
        self,
        N: float,
        B: float,
        steps: ArrayLike,
        *,
        confidence: float | None = None,
        new_run: bool = False,
    ) -> LawPrediction:
        """The loss curve of a model before it is trained.

        Parameters
        ----------
        N, B : float
            Its parameters without embeddings, and tokens in a batch.
        steps : (n,) float
            Steps at which to predict.
        confidence : float, optional
            Level of the intervals; the recipe's by default.
        new_run : bool
            Whether the interval holds the scatter of runs about the law too.

        Returns
        -------
        LawPrediction
            ``value``, ``low``, ``high`` and ``beyond``, how many times outside the runs a point
            lies. The interval holds the luck of the runs, not that the law may be wrong there.
        """
        S = np.asarray(steps, dtype=np.float64)
        return self.trajectory.predict(
            {"N": N, "S": S, "B": B},
            confidence=self.confidence if confidence is None else confidence,
            new_run=new_run,
        )

    def minimum_loss(self, N: ArrayLike, steps: ArrayLike | None = None) -> Interval:
        """What models of N parameters end at, or the least after so many steps at any batch.

        ``value``, ``low`` and ``high`` have the shape of the arguments.
        """
        if steps is None:
            return self._interval(lambda law, n: law.minimum_loss(n), N)
        return self._interval(lambda law, n, s: law.minimum_loss_after(n, s), N, steps)

    def critical_batch(self, loss: ArrayLike) -> Interval:
        """B_crit in tokens at a loss."""
        return self._interval(lambda law, at: law.critical_batch(at), loss)

    def steps_to(self, loss: ArrayLike, N: ArrayLike, B: ArrayLike) -> Interval:
        """Steps to a loss; inf where the model does not get there."""
        return self._interval(lambda law, *at: law.steps_to(*at), loss, N, B)

    def tokens_to(self, loss: ArrayLike, N: ArrayLike, B: ArrayLike) -> Interval:
        """Tokens to a loss; inf where the model does not get there."""
        return self._interval(lambda law, *at: law.tokens_to(*at), loss, N, B)

    def plan(
        self,
        N: float,
        loss: float,
        *,
        batch: float | None = None,
        time_weight: float | None = None,
        max_steps: float | None = None,
    ) -> TrainingPlan:
        """The batch for a trade-off of time and compute, and what it then takes.

        Parameters
        ----------
        N, loss : float
            The model and the loss that it is to reach.
        batch : float, optional
            Take this batch.
        time_weight : float, optional
            Take the batch that minimises ``steps^w tokens^(1 - w)``, w between 0 (tokens, that is
            compute, alone) and 1 (steps, that is time, alone).
        max_steps : float, optional
            Take the smallest batch that gets there within so many steps.

            At most one of the three; by default the critical batch, which is ``time_weight=0.5``.

        Returns
        -------
        TrainingPlan

        Raises
        ------
        ValueError
            Where N does not reach the loss, or no batch within ``max_steps``.
        """
        given = [each for each in (batch, time_weight, max_steps) if each is not None]
        if len(given) > 1:
            raise ValueError("give at most one of batch, time_weight and max_steps")
        floor = float(self.law.minimum_loss(N))
        if not loss > floor:
            raise ValueError(
                f"a model of {N:,.0f} parameters ends at {floor:.4g} and does not reach {loss:g}; "
                "take a larger model or a higher loss"
            )
        if max_steps is not None:
            least = float(self.law.min_steps_to(loss, N))
            if not max_steps > least:
                raise ValueError(
                    f"no batch brings {N:,.0f} parameters to {loss:g} within {max_steps:,.0f} "
                    f"steps, {least:,.0f} is the least"
                )
            advised = self._interval(lambda law, *at: law.batch_for_steps(*at), loss, N, max_steps)
        elif batch is not None:
            if not batch > 0:
                raise ValueError(f"batch must be > 0 tokens, got {batch}")
            advised = Interval(*(np.asarray(float(batch)),) * 3)
        else:
            weight = 0.5 if time_weight is None else time_weight
            advised = self._interval(lambda law, at: law.best_batch(at, weight), loss)
        chosen = _plain(advised)
        return TrainingPlan(
            float(N),
            float(loss),
            chosen,
            _plain(self.steps_to(loss, N, chosen.value)),
            _plain(self.tokens_to(loss, N, chosen.value)),
            _plain(self._interval(lambda law, *at: law.min_steps_to(*at), loss, N)),
            _plain(self._interval(lambda law, *at: law.min_tokens_to(*at), loss, N)),
            _plain(self.critical_batch(loss)),
        )

    def _interval(self, of: Callable[..., FloatArray], *arguments: ArrayLike) -> Interval:
        """A function of the law, and the quantiles of it over the draws."""
        arrays = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in arguments))
        value = of(self._laws[0], *arrays)
        over = of(self._laws[1], *(each.reshape(-1, 1) for each in arrays))
        tail = expanded_tail(self.confidence, self.trajectory.runs, self._free)
        # Order statistics: between a number and infinity there is nothing to interpolate.
        low = np.quantile(over, tail, axis=1, method="lower").reshape(value.shape)
        high = np.quantile(over, 1 - tail, axis=1, method="higher").reshape(value.shape)
        return Interval(value, np.minimum(low, value), np.maximum(high, value))

    @property
    def _free(self) -> int:
        return len(self.trajectory.theta)


def estimate_recipe(
    log: RunLog,
    *,
    method: Method = "stepwise",
    from_step: float = 1,
    converged: float = CONVERGED,
    confidence: float = 0.95,
    resamples: int = 500,
    rng: int = 0,
) -> Recipe:
    """Take every step of the recipe that the runs allow.

    Parameters
    ----------
    log : RunLog
        The runs. Three sizes or more at one batch, and a ladder of three batches or more at one
        size, are what the trajectory needs.
    method : {"stepwise", "joint"}
        ``stepwise``, the paper's: B_star and alpha_B from the ladder, then the rest from all
        curves, and N_c and alpha_N before that where three sizes have converged. ``joint``: all six
        from all curves at once, which is more precise where the law holds.
    from_step : float
        The first step that counts, behind the warm-up.
    converged : float
        Share of its loss that a converged run may lose in its second half of steps.
    confidence : float
        Level of the intervals.
    resamples : int
        Bootstrap draws of the runs.
    rng : int
        Seed of the bootstrap.

    Returns
    -------
    Recipe

    Raises
    ------
    MissingRunsError
        Where the trajectory cannot be had. ``L(N)`` of converged runs and ``L(D)`` may be missing:
        ``missing`` then says what they need.

    Examples
    --------
    Runs made from the constants that Kaplan et al. print:

    >>> law = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
    >>> runs = [(1e6, 2**k) for k in (16, 18, 20, 22)] + [(4e6, 2**19), (1.6e7, 2**19)]
    >>> N, B = np.repeat(runs, 20, axis=0).T
    >>> S = np.tile(np.geomspace(1e3, 1e5, 20), len(runs))
    >>> log = RunLog(np.repeat(np.arange(len(runs)), 20), N, B, S, law.loss(N, S, B))
    >>> recipe = estimate_recipe(log, resamples=50)
    >>> curve = recipe.predict_curve(1.5e9, 2**19, [1e4, 1e5])
    >>> curve.value.round(2).tolist(), law.loss(1.5e9, [1e4, 1e5], 2**19).round(2).tolist()
    ([3.0, 2.49], [3.0, 2.49])
    >>> sorted(recipe.missing)
    ['data', 'size']
    """
    if method not in ("stepwise", "joint"):
        raise ValueError(f"method must be 'stepwise' or 'joint', got {method!r}")
    missing = missing_runs(log, method=method, from_step=from_step, converged=converged)
    for step in ("critical", "steps", "trajectory"):
        if step in missing:
            raise MissingRunsError(_SAID[step], missing[step])
    size = None if "size" in missing else fit_size_law(log, converged=converged, rng=rng)
    data = None if "data" in missing else fit_data_law(log, rng=rng)
    critical = fit_critical_batch(
        log, from_step=from_step, confidence=confidence, resamples=resamples, rng=rng
    )
    if method == "joint":
        trajectory = fit_trajectory(
            log, from_step=from_step, confidence=confidence, resamples=resamples, rng=rng
        )
    else:
        trajectory = fit_steps_law(
            log,
            critical,
            size=size,
            from_step=from_step,
            confidence=confidence,
            resamples=resamples,
            rng=rng,
        )
    return Recipe(trajectory, critical, size, data, missing, method, confidence)


def missing_runs(
    log: RunLog,
    *,
    method: Method = "stepwise",
    from_step: float = 1,
    converged: float = CONVERGED,
) -> dict[str, tuple[str, ...]]:
    """For each step of the recipe that cannot be taken, which runs it still needs.

    Parameters
    ----------
    log, method, from_step, converged
        As for :func:`estimate_recipe`.

    Returns
    -------
    dict of str to tuple of str
        Keys among ``size``, ``data``, ``critical``, ``steps`` and, for ``joint``, ``trajectory``.
        Empty where all can be taken.

    Examples
    --------
    >>> log = RunLog(["a", "a", "b", "b"], 1e6, [512, 512, 2048, 2048], [10, 20] * 2, [5, 4, 5, 3])
    >>> print(*missing_runs(log)["critical"])
    runs of N = 1,000,000 at 1 more batch size that reach loss 3 (there is B = 512, 2,048)
    """
    sized = not needs_size_law(log, converged)
    found = {
        "size": needs_size_law(log, converged),
        "data": needs_data_law(log),
        "critical": needs_critical_batch(log, from_step),
        "steps": needs_steps_law(log, sized and method == "stepwise", from_step),
    }
    if method == "joint":
        found["trajectory"] = needs_trajectory(log, from_step)
    return {step: tuple(needs) for step, needs in found.items() if needs}


_SAID = {
    "critical": "the critical batch",
    "steps": "the steps law",
    "trajectory": "the trajectory",
}


def _plain(found: Interval) -> Estimate:
    return Estimate(float(found.value), float(found.low), float(found.high))
