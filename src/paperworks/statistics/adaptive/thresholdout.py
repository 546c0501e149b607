"""Sparse vector, and Thresholdout upon it: a holdout that answers only where the training set errs.

Dwork et al., "Generalization in Adaptive Data Analysis and Holdout Reuse" (arXiv 1506.02629,
figure 1) and "The reusable holdout" (Science 2015). Departures: the noise is discrete and exact;
an answer from the holdout is rounded to a grid about as fine as its own noise, so that the bound
by description length holds too; the total number of queries is a parameter and is enforced, since
every proven bound depends on it.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from paperworks.statistics.adaptive import bounds
from paperworks.statistics.adaptive.mechanisms import (
    BudgetExhausted,
    Mechanism,
    Reply,
    State,
    effective,
    in_units,
)
from paperworks.statistics.adaptive.noise import discrete_laplace
from paperworks.statistics.adaptive.queries import UNIT


@dataclass(frozen=True)
class SparseVector(Mechanism):
    """Answers by a guess while it is near the holdout's mean, and by that mean with noise if not.

    What :class:`Thresholdout` and :class:`MultiplicativeWeights` share. The first costs nothing
    but a query, the second a unit of ``budget``.
    """

    budget: int
    threshold: float
    scale: float

    @property
    def units(self) -> int:
        """How many answers may depend on the holdout."""
        return self.budget

    @property
    def values(self) -> int:
        """How many different answers the holdout can give: a grid of half the noise's scale."""
        return math.ceil(min(2 / self.scale, UNIT)) + 1

    def _error(self, n: int, failure: float) -> float:
        return bounds.sparse_error(
            n,
            self.queries,
            self.budget,
            self.threshold,
            effective(self.scale, n),
            self.values,
            failure,
        )

    def start(self, n: int, draw: random.Random) -> State:
        """Remember the first noisy threshold."""
        return {**super().start(n, draw), "threshold": self._noisy_threshold(n, draw)}

    def _noisy_threshold(self, n: int, draw: random.Random) -> int:
        return round(self.threshold * n * UNIT) + discrete_laplace(
            2 * in_units(self.scale, n), draw
        )

    def check(self, state: State) -> None:
        """Refuse where either budget is spent."""
        super().check(state)
        if state["spent"] >= self.budget:
            raise BudgetExhausted(
                f"the budget of {self.budget:,} answers from the holdout is spent; more of them "
                "could fit the holdout's own accidents, and a new holdout is needed"
            )

    def _reply(
        self, state: State, values: NDArray[np.int64], guess: int | None, draw: random.Random
    ) -> Reply:
        if guess is None:
            raise TypeError(f"{self.name} needs a guess")
        n = len(values)
        total, scale = int(values.sum()), in_units(self.scale, n)
        if abs(total - guess) <= state["threshold"] + discrete_laplace(4 * scale, draw):
            return Reply(guess / (n * UNIT), self.guess, 0)  # type: ignore[arg-type]
        steps = self.values - 1
        # In whole numbers: the nearest of steps + 1 levels.
        noisy = total + discrete_laplace(scale, draw)
        level = (2 * noisy * steps + n * UNIT) // (2 * n * UNIT)
        state["threshold"] = self._noisy_threshold(n, draw)
        return Reply(min(max(level, 0), steps) / steps, "holdout", 1)


@dataclass(frozen=True)
class Thresholdout(SparseVector):
    """The reusable holdout: the training set answers, unless the holdout disagrees.

    While the training set's mean is within about ``threshold`` of the holdout's, it is the answer
    and the holdout tells no more than that. Only a query that overfits the training set costs a
    unit of ``budget``. The choice for model selection, where most candidates generalise.

    Parameters
    ----------
    queries : int
        How many will be answered in all. The bound grows with its logarithm, for each unit.
    budget : int
        How many of them the holdout may answer itself.
    threshold : float
        How far the training set may be off, for values in [0, 1], before the holdout answers.
        Well above the sampling error of both means, else honest queries cost units too.
    scale : float
        Scale of the Laplace noise in the holdout's answers. The threshold's noise has twice that
        scale and the comparisons' four times, as in the paper.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    ``error_bound`` is what is proven. :func:`plan_holdout` finds parameters that keep a promised
    accuracy. The paper's own experiments use ``threshold = 4 / sqrt(n)`` and noise of
    ``1 / sqrt(n)`` for values in [-1, 1]: half that for values in [0, 1]. At n = 10,000 that
    serves well and proves nothing.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import Thresholdout
    >>> mechanism = Thresholdout(queries=1000, budget=20, threshold=0.05, scale=5e-4)
    >>> round(mechanism.error_bound(n=100_000), 3)
    0.117
    """

    name: ClassVar[str] = "thresholdout"
    guess: ClassVar[Literal["none", "train", "model"]] = "train"
