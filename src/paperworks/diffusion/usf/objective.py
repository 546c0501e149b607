"""What a search looks for: decisions, and an error of the samples that they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from paperworks.diffusion.predictions import Prediction
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import Schedule
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.solver import USFSolver


@dataclass(frozen=True)
class OnSamples:
    """The objective "sample with these decisions, and take an error of the samples".

    Parameters
    ----------
    model : callable
        ``model(x, t)`` as for :func:`paperworks.diffusion.sample`. For more than one job it must
        pickle.
    schedule : Schedule
    noise : (batch, ...) float
        What to start from; the same for all decisions, so that their scores compare.
    error : callable
        From samples (batch, ...) to a number, lower is better: the distance from what many steps
        make of the same noise, say, or the Frechet distance from data. The first needs few samples;
        the second is noisy under some thousands.
    prediction : str
        What the model predicts.

    Notes
    -----
    A sample that grows beyond all bounds on the way scores infinity. A model that returns NaN for
    finite input raises, as it does in sampling.

    Examples
    --------
    >>> from paperworks.diffusion.mixtures import GaussianMixture
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> from paperworks.diffusion.usf.presets import ddim
    >>> schedule = LinearVP()
    >>> noise = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()
    >>> far = OnSamples(
    ...     GaussianMixture.ring(8).model(schedule), schedule, noise,
    ...     lambda x: (x.norm(dim=1) - 1).abs().mean(),
    ... )
    >>> far(ddim([1.0, 0.5, 0.001])) > far(ddim([1.0, 0.5, 0.2, 0.001]))
    True
    """

    model: Callable[[Tensor, Any], Tensor]
    schedule: Schedule
    noise: Tensor
    error: Callable[[Tensor], Tensor | float]
    prediction: Prediction = "epsilon"

    def __call__(self, decisions: Decisions) -> float:
        """The error of the samples that these decisions make."""
        try:
            found = sample(
                self.model,
                self.schedule,
                self.noise,
                solver=USFSolver(decisions),
                times=decisions.times,
                prediction=self.prediction,
                progress=_bounded,
            )
        except _Unbounded:
            return math.inf
        return float(self.error(found.x))


class _Unbounded(Exception):  # noqa: N818 (no error: the worst score)
    """Samples that are no numbers any more."""


def _bounded(step: int, steps: int, x: Tensor) -> None:
    if not bool(torch.isfinite(x).all()):
        raise _Unbounded
