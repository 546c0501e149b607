"""Sampling by any solver of the family, as one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from paperworks.diffusion.integrators import solver_named
from paperworks.diffusion.predictions import Prediction
from paperworks.diffusion.schedules import Floats, Schedule
from paperworks.diffusion.solver import Solver, check_sample, predicted_noise
from paperworks.diffusion.timesteps import spaced


@dataclass(frozen=True)
class Samples:
    """What :func:`sample` returns.

    Attributes
    ----------
    x : (batch, ...) Tensor
        The samples at the last time.
    evaluations : int
        How often the model was asked.
    times : (steps + 1,) float64
        Where the steps began and ended.
    """

    x: Tensor
    evaluations: int
    times: Floats


def sample(
    model: Callable[[Tensor, float], Tensor],
    schedule: Schedule,
    x: Tensor,
    *,
    solver: Solver | str = "tab3",
    steps: int = 10,
    spacing: str | None = None,
    times: ArrayLike | None = None,
    prediction: Prediction = "epsilon",
    progress: Callable[[int, int, Tensor], None] | None = None,
) -> Samples:
    """Follow the probability flow from noise to data.

    Parameters
    ----------
    model : callable
        ``model(x, t)`` of a (batch, ...) tensor and the schedule's time, a float, to a tensor of
        the same shape. Run without gradients. A new tensor at every call: multistep solvers keep
        the last ones as they are, so of a buffer that is filled anew (a CUDA graph's, say) return a
        ``clone()``.
    schedule : Schedule
        The noise schedule that the model was trained with.
    x : (batch, ...) float
        The noise to start from: standard normal times ``schedule.sigma(schedule.t_max)``. Of half
        precision, the model sees half precision and the sum of the steps is kept in float32.
    solver : str or Solver
        See :mod:`paperworks.diffusion.integrators` for the names. The default is the paper's best
        for 10 evaluations or so.
    steps : int
        Of the solver; it takes ``solver.stages`` evaluations for each.
    spacing : {"quadratic", "uniform", "logrho", "karras"}, optional
        See :mod:`paperworks.diffusion.timesteps`. The default is "quadratic", DEIS's for few steps,
        and "karras" for :class:`EDM`.
    times : (steps + 1,) float, optional
        In place of ``steps`` and ``spacing``: falling times within the schedule.
    prediction : {"epsilon", "sample", "v_prediction", "flow_prediction", "score"}
        What the model predicts.
    progress : callable, optional
        ``progress(step, steps, x)`` after every step, with the sample there.

    Returns
    -------
    Samples

    Raises
    ------
    ValueError
        For times that do not fall, fewer steps than the solver's order needs, an unknown name, an
        ``x`` of integers or with NaN, a schedule that is not monotone, a model that returns NaN,
        infinity or another shape, or samples that have left the numbers of ``x``'s dtype at the
        end; the step is named.

    Notes
    -----
    Besides the model, O(order) passes over ``x`` a step.

    Examples
    --------
    >>> from paperworks.diffusion.mixtures import GaussianMixture
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> mixture, schedule = GaussianMixture.ring(8), LinearVP()
    >>> noise = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> samples = sample(mixture.model(schedule), schedule, noise, steps=10)
    >>> samples.evaluations, bool(((samples.x.norm(dim=1) - 1).abs() < 0.15).all())
    (10, True)
    """
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}")
    check_sample(x, "to start from, x,")
    chosen = solver_named(solver)
    along = schedule.check(spaced(schedule, steps, spacing) if times is None else times)
    steps = len(along) - 1
    chosen.check_steps(steps)
    course = chosen.begin(schedule, along)
    alphas, sigmas = schedule.alpha(course.times), schedule.sigma(course.times)
    seen, state = x.dtype, x.float() if x.dtype.itemsize < 4 else x
    with torch.no_grad():
        for index, t in enumerate(course.times.tolist()):
            step = index // chosen.stages + 1
            noise = predicted_noise(
                model(state.to(seen), t),
                prediction,
                state,
                float(alphas[index]),
                float(sigmas[index]),
                f"at step {step} of {steps}, time {t:g}",
            )
            state = course.advance(noise, state)
            if progress is not None and (index + 1) % chosen.stages == 0:
                progress(step, steps, state.to(seen))
    found = state.to(seen)
    check_sample(found, f"after the last step, {steps} of {steps}, at time {along[-1]:g}")
    return Samples(found, len(course.times), along)
