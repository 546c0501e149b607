"""What the data of a fit cannot say, in sentences."""

from __future__ import annotations

import itertools

import numpy as np

from paperworks.scaling.fitting.result import LawFit

_TOGETHER = 0.98  # correlation of two log variables beyond which their terms cannot be told apart
_NARROW = 4.0  # a variable that spans less says little of an exponent
_WIDE = 1.0  # an exponent's interval, in units of the exponent
_VANISHED = 1e-3  # of the smallest y: an offset below this is no different from none
_LOOSE = 1e5  # an amplitude is the curve at a distant 1, so its interval is wide; not this wide
_FAILED = 0.05


def doubts(fit: LawFit, failed: float) -> tuple[str, ...]:
    """The warnings of a fit; ``failed`` is the share of resamples that did not converge."""
    said = []
    if not fit.converged:
        said.append(
            f"the fit did not converge in {fit.iterations} steps: {fit.law.name} may be too rich "
            "for these data"
        )
    if failed > _FAILED:
        said.append(
            f"{failed:.0%} of the resamples did not converge: the intervals are rough, and "
            f"{fit.law.name} may be too rich for these data"
        )
    said += _of_the_design(fit)
    said += _of_the_parameters(fit)
    return tuple(said)


def _of_the_design(fit: LawFit) -> list[str]:
    said = []
    names, logx = fit.law.variables, fit.logx
    for name, column in zip(names, logx.T, strict=True):
        span = float(np.exp(np.ptp(column)))
        if span < _NARROW:
            said.append(
                f"{name} spans a factor of {span:.3g} only; runs over a factor of 10 or more would "
                "determine its exponent"
            )
    for (first, a), (second, b) in itertools.combinations(zip(names, logx.T, strict=True), 2):
        if np.ptp(a) > 0 and np.ptp(b) > 0:
            together = float(np.corrcoef(a, b)[0, 1])
            if abs(together) > _TOGETHER:
                said.append(
                    f"{first} and {second} move together in these runs (correlation "
                    f"{together:.3f}), so their terms cannot be told apart; vary one with the "
                    "other held"
                )
    return said


def _of_the_parameters(fit: LawFit) -> list[str]:
    said = []
    for each, estimate in zip(fit.law.parameters, fit.parameters.values(), strict=True):
        if each.scale == "log" and each.open_below:
            floor = _VANISHED * float(fit.y.min())
            if estimate.value <= floor:
                said.append(
                    f"nothing in the data speaks for {each.name} > 0: they do not show where the "
                    "curve levels off; add larger runs, or use a law without it"
                )
            elif estimate.low <= floor:
                said.append(
                    f"{each.name} is not determined: anything from 0 to {estimate.high:.3g} is as "
                    "likely; add larger runs"
                )
        elif each.scale == "log":
            if estimate.low * _LOOSE < estimate.high:
                said.append(
                    f"{each.name} is not determined: anything from {estimate.low:.3g} to "
                    f"{estimate.high:.3g}; use a law with fewer parameters"
                )
        else:
            wide = estimate.high - estimate.low > _WIDE * abs(estimate.value)
            at_bound = estimate.value <= each.low or estimate.value >= each.high
            if at_bound or (wide and estimate.value != 0):
                where = "ends on its bound" if at_bound else "is not determined"
                said.append(
                    f"{each.name} {where}: {estimate.value:.3g}, from {estimate.low:.3g} to "
                    f"{estimate.high:.3g}"
                )
    return said
