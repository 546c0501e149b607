"""From the numbers of the trials to a verdict with an interval.

An effect is counted so that larger is better for ours. Seeds pair ours with each contender, so
the effect is taken within a seed (its mean over the works, in the logarithm for ratios) and the
interval over seeds. A claim must hold against every contender, so its verdict is the worst one;
taking the worst needs no correction for several comparisons (an intersection-union test).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from paperworks.experiment.claim import Claim, TrialResult

Conclusion = Literal["holds", "holds in part", "inconclusive", "does not hold", "not run"]

CONFIDENCE = 0.95
MINIMUM_UNITS = 5
"""Fewer repeats than this give no bootstrap interval that deserves the name."""

_WORST_FIRST: tuple[Conclusion, ...] = ("does not hold", "inconclusive", "holds in part", "holds")


@dataclass(frozen=True)
class Comparison:
    """Ours against one contender: the paired effect, its interval and what follows from it."""

    contender: str
    effect: float
    low: float
    high: float
    conclusion: Conclusion


@dataclass(frozen=True)
class Verdict:
    """What the trials say of a claim.

    ``comparisons`` has one entry per contender, the strongest contender (the smallest effect)
    first; it is empty where nothing ran. ``units`` counts the repeats behind the interval.
    ``reason`` says why a verdict is inconclusive or missing where the intervals do not say it.
    """

    conclusion: Conclusion
    comparisons: tuple[Comparison, ...] = ()
    units: int = 0
    reason: str = ""

    @property
    def strongest(self) -> Comparison | None:
        """The comparison with the strongest contender."""
        return self.comparisons[0] if self.comparisons else None


def judge(
    claim: Claim, results: Mapping[tuple[str, int], TrialResult], *, failed: int = 0
) -> Verdict:
    """Judge a claim by its finished trials.

    Parameters
    ----------
    claim : Claim
    results : mapping of (work, seed) to TrialResult
        The trials that ended with a result.
    failed : int
        How many trials ended without one. Those that failed are not a random sample, so any
        failure makes the verdict inconclusive; the effect of the others is still given.

    Returns
    -------
    Verdict
    """
    if not results and not failed:
        return Verdict("not run", reason="no trial ran")
    if not results:
        return Verdict("inconclusive", reason=f"all {failed} trials failed")
    comparisons = sorted(
        (_compare(claim, results, contender) for contender in claim.contenders),
        key=lambda comparison: comparison.effect,
    )
    units = len(_units(claim, results))
    conclusion = min((c.conclusion for c in comparisons), key=_WORST_FIRST.index)
    reason = ""
    if claim.random and units < MINIMUM_UNITS:
        conclusion, reason = "inconclusive", f"{units} seeds; at least {MINIMUM_UNITS} are needed"
    if failed:
        conclusion = "inconclusive"
        reason = f"{failed} of {failed + len(results)} trials failed"
    return Verdict(conclusion, tuple(comparisons), units, reason)


def _units(
    claim: Claim, results: Mapping[tuple[str, int], TrialResult]
) -> dict[str | int, list[TrialResult]]:
    """The repeats: seeds where the trial is random, works where it is not."""
    units: dict[str | int, list[TrialResult]] = {}
    for (work, seed), result in results.items():
        units.setdefault(seed if claim.random else work, []).append(result)
    return units


def _compare(
    claim: Claim, results: Mapping[tuple[str, int], TrialResult], contender: str
) -> Comparison:
    ratio = claim.effect.scale == "ratio"
    effects = unit_effects(claim, results, contender)
    low, high = _interval(effects)
    mean = float(effects.mean())
    if ratio:
        mean, low, high = math.exp(mean), math.exp(low), math.exp(high)
    return Comparison(contender, mean, low, high, _conclude(claim, low, high))


def unit_effects(
    claim: Claim, results: Mapping[tuple[str, int], TrialResult], contender: str
) -> np.ndarray:
    """The effect within each repeat, ``(units,)`` float; logarithms where it is a ratio."""
    return np.array(
        [
            np.mean([_effect(claim, result, contender) for result in unit])
            for unit in _units(claim, results).values()
        ]
    )


def _effect(claim: Claim, result: TrialResult, contender: str) -> float:
    """How much better ours is in one trial: a logarithm for ratios."""
    ours, theirs = result.values[claim.ours], result.values[contender]
    if claim.effect.scale == "ratio":
        ours, theirs = math.log(ours), math.log(theirs)
    return theirs - ours if claim.better == "lower" else ours - theirs


def _interval(effects: np.ndarray) -> tuple[float, float]:
    """A bootstrap interval of the mean; the range where there are too few values for one.

    Over five repeats an interval that is not expanded misses on each side about three times as
    often as it promises. So its level is expanded as in Hesterberg (2015, "What Teachers Should
    Know About the Bootstrap"): for normal effects it is then about as wide as Student's.
    """
    n = len(effects)
    if n < MINIMUM_UNITS or np.ptp(effects) == 0:
        return float(effects.min()), float(effects.max())
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * math.sqrt(n / (n - 1))
    found = stats.bootstrap(
        (effects,),
        np.mean,
        confidence_level=1 - 2 * stats.norm.sf(quantile),
        method="percentile",
        rng=np.random.default_rng(0),  # the same trials always give the same verdict
    ).confidence_interval
    return float(found.low), float(found.high)


def _conclude(claim: Claim, low: float, high: float) -> Conclusion:
    parity, needed = claim.effect.parity, claim.effect.at_least
    if low >= needed and low > parity:
        return "holds"
    if low > parity:
        return "holds in part"
    # Not beyond parity: either the effect that the paper needs is excluded too, or nothing is.
    return "does not hold" if high < needed or high <= parity else "inconclusive"


def conclusions() -> Sequence[Conclusion]:
    """All conclusions, best first."""
    return (*reversed(_WORST_FIRST), "not run")
