"""What repeated sampling costs, and which model is cheapest at equal coverage.

Brown et al., arXiv 2407.21787, section 2.3: coverage against FLOPs (the two formulas there) and
against prices (table 1). The prompt of a problem is read once, each completion is paid for.

Departures. The paper plots coverage over cost; here the curve is inverted, so that the models are
compared at one coverage. FLOPs are a crude measure, as the paper says: batching makes many samples
of one prompt cheaper than as many single calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from paperworks.scaling.repeated_sampling.coverage import check_counts, distinct_rows, whole
from paperworks.scaling.repeated_sampling.prediction import Reach


class CoverageCurve(Protocol):
    """Anything that knows how many samples a coverage takes."""

    def samples_to_reach(self, target: float) -> Reach:
        """Least number of samples with coverage ``target``."""
        ...


@dataclass(frozen=True)
class MeasuredCoverage:
    """The measured curve of problems with ``c`` of ``n`` samples correct; it does not extrapolate.

    Parameters
    ----------
    n, c : int or array of int, shape (P,)
        Samples and correct samples of each problem.

    Examples
    --------
    >>> MeasuredCoverage(100, [2, 10, 60]).samples_to_reach(0.5).samples
    5.0
    >>> MeasuredCoverage(100, [0, 10, 60]).samples_to_reach(0.9).reachable
    False
    """

    n: ArrayLike
    c: ArrayLike

    def __post_init__(self) -> None:
        check_counts(self.n, self.c, 1)

    def samples_to_reach(self, target: float) -> Reach:
        """Least k whose coverage is at least ``target``; infinity if that lies beyond the data."""
        if not 0 < target <= 1:
            raise ValueError(
                f"target must be in (0, 1], got {target}; it is a fraction of problems"
            )
        most = int(whole(self.n, "n").min())

        def reaches(k: int) -> bool:
            n, c, ks = check_counts(self.n, self.c, [k])
            values, counts = distinct_rows(n, c, ks)
            return bool((counts @ values)[0] / counts.sum() >= target - 1e-12)

        samples = math.inf
        if reaches(most):
            low, high = 0, most  # coverage rises with k
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if reaches(middle) else (middle, high)
            samples = float(high)
        return Reach(float(target), samples, samples, samples, math.nan, most)


@dataclass(frozen=True)
class SamplingCost:
    """Cost of k samples of one problem: ``fixed + k * per_sample``, in ``unit``."""

    fixed: float
    per_sample: float
    unit: str

    def __post_init__(self) -> None:
        for name in ("fixed", "per_sample"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and >= 0, got {value}")
        if self.fixed == self.per_sample == 0:
            raise ValueError("a cost of 0 compares nothing; give token counts and prices")

    @classmethod
    def from_prices(
        cls,
        prompt_tokens: float,
        completion_tokens: float,
        *,
        prompt_price: float,
        completion_price: float,
        per: float = 1e6,
        prompt_every_time: bool = True,
        unit: str = "USD",
    ) -> SamplingCost:
        """Cost from mean token counts and prices.

        Parameters
        ----------
        prompt_tokens, completion_tokens : float
            Mean tokens of a prompt and of one completion.
        prompt_price, completion_price : float
            Price of ``per`` tokens, in ``unit``.
        per : float
            Tokens that the prices are for; a million by default, as providers quote it.
        prompt_every_time : bool
            True where every request pays for its prompt again (the default, and the safe
            assumption); False where all samples come from one request or from a cached prompt.

        Examples
        --------
        >>> cost = SamplingCost.from_prices(500, 200, prompt_price=1.0, completion_price=4.0)
        >>> round(cost(10), 6)
        0.013
        """
        prompt = prompt_tokens * prompt_price / per
        completion = completion_tokens * completion_price / per
        if prompt_every_time:
            return cls(0.0, prompt + completion, unit)
        return cls(prompt, completion, unit)

    @classmethod
    def from_flops(
        cls,
        prompt_tokens: int,
        completion_tokens: int,
        *,
        parameters: float,
        layers: int = 0,
        width: int = 0,
    ) -> SamplingCost:
        """Inference FLOPs of a dense transformer, the prompt read once (section 2.3).

        A token at position t costs ``2 (parameters + 2 layers width t)``.

        Parameters
        ----------
        prompt_tokens, completion_tokens : int
            Tokens of a prompt and of one completion.
        parameters : float
            Number of parameters. A mixture of experts counts those active for a token.
        layers, width : int
            Depth and token dimension, for the attention term; 0 leaves that term out.

        Examples
        --------
        >>> SamplingCost.from_flops(2, 1, parameters=10, layers=1, width=1)
        SamplingCost(fixed=52.0, per_sample=32.0, unit='FLOP')
        """
        first, new = prompt_tokens, completion_tokens
        positions = first * (first + 1) / 2, new * first + new * (new + 1) / 2
        prompt = 2 * (parameters * first + 2 * layers * width * positions[0])
        completion = 2 * (parameters * new + 2 * layers * width * positions[1])
        return cls(float(prompt), float(completion), "FLOP")

    def __call__(self, k: float) -> float:
        """Cost of ``k`` samples of one problem."""
        return self.fixed + k * self.per_sample


@dataclass(frozen=True)
class Option:
    """One model at the target coverage.

    ``cost`` is per problem and infinite where the target is out of reach; ``low`` and ``high`` are
    the cost at the ends of the interval for ``reach.samples``.
    """

    model: str
    reach: Reach
    cost: float
    low: float
    high: float


@dataclass(frozen=True)
class CostComparison:
    """Models at one coverage, the cheapest first.

    ``best`` is None where no model reaches the target. A best option whose ``high`` passes the next
    one's ``low`` is no clear winner: see ``clear``.
    """

    target: float
    unit: str
    options: tuple[Option, ...]

    @property
    def best(self) -> Option | None:
        """The cheapest option that reaches the target."""
        return self.options[0] if math.isfinite(self.options[0].cost) else None

    @property
    def clear(self) -> bool:
        """Whether the interval of the best option lies below every other's."""
        first, *others = self.options
        return self.best is not None and all(first.high < other.low for other in others)


def cheapest(
    models: Mapping[str, tuple[CoverageCurve, SamplingCost]], target: float
) -> CostComparison:
    """Which model, with how many samples, reaches coverage ``target`` at the lowest cost.

    Parameters
    ----------
    models : mapping of str to (curve, cost)
        For each model its curve, a :class:`CoverageLaw` (which extrapolates) or a
        :class:`MeasuredCoverage` (which does not), and its :class:`SamplingCost`. The curves must
        be over the same problems, the costs in one unit.
    target : float
        Coverage in (0, 1].

    Returns
    -------
    CostComparison

    Raises
    ------
    ValueError
        Where no model is given, units differ, or target is not in (0, 1].

    Examples
    --------
    >>> small = MeasuredCoverage(100, [3, 9, 12, 70]), SamplingCost(0.0, 1.0, "USD")
    >>> large = MeasuredCoverage(100, [40, 50, 60, 99]), SamplingCost(0.0, 20.0, "USD")
    >>> best = cheapest({"small": small, "large": large}, target=0.6).best
    >>> best.model, best.reach.samples, best.cost
    ('small', 8.0, 8.0)
    """
    if not models:
        raise ValueError("no model to compare: give at least one (curve, cost)")
    units = {cost.unit for _, cost in models.values()}
    if len(units) > 1:
        raise ValueError(f"costs must be in one unit, got {', '.join(sorted(units))}")
    options = []
    for name, (curve, cost) in models.items():
        reach = curve.samples_to_reach(target)
        ends = (cost(k) if math.isfinite(k) else math.inf for k in (reach.low, reach.high))
        price = cost(reach.samples) if reach.reachable else math.inf
        options.append(Option(name, reach, price, *ends))
    order = np.argsort([option.cost for option in options], kind="stable")
    return CostComparison(float(target), units.pop(), tuple(options[i] for i in order))
