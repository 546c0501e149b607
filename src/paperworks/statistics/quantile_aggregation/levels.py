"""Quantile levels and tables of predicted quantiles, checked in one place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Levels = Sequence[float] | FloatArray

DEFAULT_LEVELS: FloatArray = np.arange(1, 20) / 20
"""0.05, 0.10, ..., 0.95. The paper takes 99 levels; models that fit one level at a time then
cost five times as much."""


def check_levels(levels: Levels | None) -> FloatArray:
    """Levels as ``(m,)`` float64; the default where ``levels`` is None."""
    if levels is None:
        return DEFAULT_LEVELS.copy()
    try:
        found = np.asarray(levels, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"levels must be numbers such as [0.1, 0.5, 0.9], got {levels!r}"
        ) from error
    if found.ndim != 1 or not len(found):
        raise ValueError(
            f"levels must be a list of numbers such as [0.1, 0.5, 0.9], got shape {found.shape}"
        )
    outside = ~((found > 0) & (found < 1))  # also where NaN
    if outside.any():
        raise ValueError(f"levels must lie strictly between 0 and 1, got {found[outside][0]:g}")
    if (np.diff(found) <= 0).any():
        where = int(np.argmax(np.diff(found) <= 0))
        raise ValueError(
            f"levels must increase, got {found[where + 1]:g} after {found[where]:g}: sort them "
            "and leave out repeats"
        )
    return found


def level_index(levels: FloatArray, level: float) -> int | None:
    """The place of ``level`` among ``levels``, or None; rounding is forgiven."""
    place = int(np.argmin(np.abs(levels - level)))
    return place if abs(levels[place] - level) < 1e-9 else None


def central_intervals(levels: FloatArray) -> list[tuple[float, int, int]]:
    """(coverage, lower, upper) of each symmetric pair of levels, the narrowest first.

    ``lower`` and ``upper`` are places among the levels: 0.8 pairs the levels 0.1 and 0.9.
    """
    found = []
    for lower, level in enumerate(levels):
        upper = level_index(levels, 1 - level)
        if level < 0.5 - 1e-9 and upper is not None:
            found.append((float(levels[upper] - level), lower, upper))
    return found[::-1]


def check_table(q: ArrayLike, levels: FloatArray, name: str = "q") -> FloatArray:
    """Predicted quantiles as ``(n, m)`` float64, finite, one column per level."""
    table = np.asarray(q, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(levels):
        raise ValueError(
            f"{name} must be (n, {len(levels)}), one column for each level, got shape {table.shape}"
        )
    check_finite(table, name)
    return table


def check_target(y: ArrayLike, rows: int) -> FloatArray:
    """Observations as ``(n,)`` float64, finite."""
    target = np.asarray(y, dtype=np.float64)
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.shape != (rows,):
        raise ValueError(f"y must be ({rows},), one value for each row, got shape {target.shape}")
    check_finite(target, "y")
    return target


def check_finite(values: FloatArray, name: str) -> None:
    """Refuse NaN and infinities, and say where the first one is."""
    bad = ~np.isfinite(values)
    if bad.any():
        row = tuple(int(i) for i in np.argwhere(bad)[0])
        place = row[0] if len(row) == 1 else row
        raise ValueError(
            f"{name} holds {values[row]} at {place}: leave such rows out, or fill them in"
        )
