"""What a coverage curve says of k it was or was not measured at."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paperworks.scaling.repeated_sampling.coverage import FloatArray


@dataclass(frozen=True)
class Prediction:
    """Coverage that a law predicts at ``k`` samples, with an interval: arrays of shape (K,)."""

    k: FloatArray
    coverage: FloatArray
    low: FloatArray
    high: FloatArray
    confidence: float


@dataclass(frozen=True)
class Reach:
    """How many samples a target coverage takes.

    Parameters
    ----------
    target : float
        The coverage asked for.
    samples : float
        The least whole number of samples that reaches it; infinity where none does.
    low, high : float
        Ends of its interval; equal to ``samples`` where it was counted and not predicted.
    confidence : float
        Level of the interval.
    measured_to : int
        The largest k that the curve was measured at.
    """

    target: float
    samples: float
    low: float
    high: float
    confidence: float
    measured_to: int

    @property
    def reachable(self) -> bool:
        """Whether any number of samples reaches the target."""
        return math.isfinite(self.samples)

    @property
    def extrapolated(self) -> bool:
        """Whether the answer lies beyond what was measured."""
        return self.samples > self.measured_to
