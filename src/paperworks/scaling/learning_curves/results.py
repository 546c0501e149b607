"""What a fitted learning curve says: borders of its regions, and the data that a target takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from paperworks.scaling.fitting import LawPrediction
from paperworks.scaling.learning_curves.shapes import FloatArray

Region = Literal["small-data", "power-law", "irreducible"]


@dataclass(frozen=True)
class Border:
    """The size at which one region ends and the next begins, with its interval.

    ``low`` and ``high`` are 0 or infinity where the interval takes in that there is no such border.
    """

    size: float
    low: float
    high: float


@dataclass(frozen=True)
class Regions:
    """The three regions of a learning curve.

    A border is where the local exponent has fallen to half of the power law's, which is where the
    plateau or the floor crosses it. Both borders may lie outside the sizes that were measured.

    Parameters
    ----------
    small_data_to : Border
        Up to here the error stays near chance. Size 0: the points show no such region.
    irreducible_from : Border
        From here on more than half of the error is irreducible. Size infinity: the points show no
        floor.
    small_data_weight, irreducible_weight : float
        How much the points speak for each, from 0 to 1: the weight of the shapes that have it.
    measured_from, measured_to : float
        The smallest and the largest size in the table.
    confidence : float
        Level of the borders' intervals.

    Examples
    --------
    >>> none = Border(math.inf, 3e5, math.inf)
    >>> regions = Regions(Border(200.0, 150.0, 260.0), none, 1.0, 0.2, 50.0, 1e5, 0.95)
    >>> [regions.at(size) for size in (100, 10_000)]
    ['small-data', 'power-law']
    >>> regions.power_law
    (200.0, 100000.0)
    """

    small_data_to: Border
    irreducible_from: Border
    small_data_weight: float
    irreducible_weight: float
    measured_from: float
    measured_to: float
    confidence: float

    def at(self, size: float) -> Region:
        """The region that a size lies in."""
        if size < self.small_data_to.size:
            return "small-data"
        return "irreducible" if size > self.irreducible_from.size else "power-law"

    @property
    def power_law(self) -> tuple[float, float] | None:
        """The sizes between which a power law was measured; None where there are none."""
        low = max(self.measured_from, self.small_data_to.size)
        high = min(self.measured_to, self.irreducible_from.size)
        return (low, high) if low < high else None


@dataclass(frozen=True)
class DataNeeded:
    """How much data a target error takes.

    Parameters
    ----------
    target : float
        The error asked for.
    size : float
        The size at which the curve comes down to it, in the table's unit: infinity where it never
        does, 0 where chance is as good already.
    low, high : float
        Ends of its interval.
    confidence : float
        Level of the interval.
    measured_to : float
        The largest size in the table.
    never : float
        Share of the draws behind the interval that never come down to the target.
    """

    target: float
    size: float
    low: float
    high: float
    confidence: float
    measured_to: float
    never: float

    @property
    def reachable(self) -> bool:
        """Whether any amount of data reaches the target."""
        return math.isfinite(self.size)

    @property
    def extrapolated(self) -> bool:
        """Whether the answer lies beyond what was measured."""
        return self.size > self.measured_to

    @property
    def more(self) -> float:
        """How many times the largest measured size that is."""
        return self.size / self.measured_to


def prediction(
    size: FloatArray,
    value: FloatArray,
    ends: tuple[FloatArray, FloatArray],
    confidence: float,
    measured: tuple[float, float],
) -> LawPrediction:
    """What a law says at ``size``, in its shape; the other arrays are flat."""
    flat, (first, last) = size.ravel(), measured
    return LawPrediction(
        value.reshape(size.shape),
        np.minimum(ends[0], value).reshape(size.shape),
        np.maximum(ends[1], value).reshape(size.shape),
        confidence,
        np.maximum(np.maximum(flat / last, first / flat), 1.0).reshape(size.shape),
    )
