"""Checks of parameters that the papers of this family share: an error names the value."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np


def whole(name: str, value: Any, least: int) -> int:
    """``value`` as an int, or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
    return int(value)


def positive(name: str, value: Any, *, zero: bool = False) -> float:
    """``value`` as a finite float above zero (or from zero on), or an error that names it."""
    number: Any = value
    good = isinstance(value, Real) and not isinstance(value, bool) and np.isfinite(number)
    if not good or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {'>= 0' if zero else '> 0'} and finite, got {value!r}")
    return float(number)


def probability(name: str, value: Any) -> float:
    """``value`` as a float strictly between 0 and 1, or an error that names it."""
    number: Any = value
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < number < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value!r}")
    return float(number)
