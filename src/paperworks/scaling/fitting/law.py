"""What a scaling law is to the fit: a curve in log y with its derivatives, and places to start.

A law is plain data. Parameters that must be positive (amplitudes, offsets) are fitted as their
logarithms, so that no fit leaves the law's domain and amplitudes of any size are one step away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Evaluate = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
Start = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class Parameter:
    """One constant of a law.

    Parameters
    ----------
    name : str
        As in the law's formula.
    scale : {"log", "linear"}
        ``log``: positive, and fitted as its logarithm.
    low, high : float
        Bounds of its value. A fit that ends on one says that the data do not determine it.
    open_below : bool
        Whether the lower bound only stands for zero: an offset that may vanish, say.
    """

    name: str
    scale: Literal["log", "linear"] = "log"
    low: float = 1e-300
    high: float = 1e300
    open_below: bool = False

    def coordinate(self, value: float) -> float:
        """The number that the fit moves, for a value of the parameter."""
        return math.log(value) if self.scale == "log" else value

    def values(self, coordinates: FloatArray) -> FloatArray:
        """Values of the parameter for the fit's numbers, elementwise."""
        if self.scale == "linear":
            return coordinates
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(coordinates))


@dataclass(frozen=True)
class Law:
    """A law ``y = f(variables)`` with y > 0.

    Parameters
    ----------
    name, formula : str
        For people. The formula names the variables and the parameters.
    variables : tuple of str
        Columns that it takes, all positive.
    parameters : tuple of Parameter
        In the order of the fit's vector ``theta``.
    evaluate : callable
        ``evaluate(theta, logx) -> (log_y, jacobian)`` for ``theta`` (B, p) and ``logx`` (n, v), the
        logarithms of the variables: ``log_y`` (B, n) and its derivatives by theta (B, n, p).
    start : callable
        ``start(logx, y) -> theta`` (S, p): places to start the fit from, made from the data. Those
        outside the bounds are moved to them.
    """

    name: str
    formula: str
    variables: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    evaluate: Evaluate
    start: Start

    def over(self, *variables: str) -> Law:
        """The same law with its variables called otherwise.

        Examples
        --------
        >>> from paperworks.scaling.fitting import LAWS
        >>> LAWS["power"].over("tokens").formula
        'y = A tokens^-alpha'
        """
        if len(variables) != len(self.variables):
            raise ValueError(
                f"{self.name} takes {len(self.variables)} variable(s), {', '.join(self.variables)};"
                f" got {', '.join(variables)}"
            )
        formula = self.formula
        for old, new in zip(self.variables, variables, strict=True):
            formula = formula.replace(f"{old}^", f"{new}^").replace(f"{old}/", f"{new}/")
        return replace(self, variables=variables, formula=formula)

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Least and largest ``theta``, each (p,)."""
        return (
            np.array([each.coordinate(each.low) for each in self.parameters]),
            np.array([each.coordinate(each.high) for each in self.parameters]),
        )

    def theta(self, values: Mapping[str, float]) -> FloatArray:
        """The fit's vector for values of the parameters by name.

        Raises
        ------
        ValueError
            Where a name is missing or unknown, or a value is outside its bounds.
        """
        names = [each.name for each in self.parameters]
        if set(values) != set(names):
            raise ValueError(f"{self.name} has the parameters {', '.join(names)}; got {values}")
        for each in self.parameters:
            if not each.low <= values[each.name] <= each.high:
                raise ValueError(
                    f"{each.name} must be between {each.low:g} and {each.high:g}, "
                    f"got {values[each.name]}"
                )
        return np.array([each.coordinate(values[each.name]) for each in self.parameters])

    def __call__(
        self, values: Mapping[str, float], variables: Mapping[str, ArrayLike]
    ) -> FloatArray:
        """The law's y for given values of its parameters.

        Examples
        --------
        >>> from paperworks.scaling.fitting import LAWS
        >>> LAWS["power-offset"]({"E": 1, "A": 2, "alpha": 0.5}, {"x": [1, 4]}).round(9)
        array([3., 2.])
        """
        logx, shape = log_variables(self, variables)
        log_y, _ = self.evaluate(self.theta(values)[None], logx)
        return np.asarray(np.exp(log_y[0]).reshape(shape))


def log_variables(
    law: Law, variables: Mapping[str, ArrayLike]
) -> tuple[FloatArray, tuple[int, ...]]:
    """Logarithms of a law's variables as (n, v), and the shape that they had together.

    Raises
    ------
    ValueError
        Where one is missing, not positive or not finite, or their shapes do not go together.
    """
    missing = [name for name in law.variables if name not in variables]
    if missing:
        raise ValueError(
            f"{law.name} needs {', '.join(law.variables)}; {', '.join(missing)} is missing from "
            f"{', '.join(variables) or 'nothing'}"
        )
    arrays = [np.asarray(variables[name], dtype=np.float64) for name in law.variables]
    for name, array in zip(law.variables, arrays, strict=True):
        bad = array[~(np.isfinite(array) & (array > 0))]
        if bad.size:
            raise ValueError(f"{name} must be finite and > 0, got {bad.flat[0]}")
    try:
        together = np.broadcast_arrays(*arrays)
    except ValueError:
        shapes = ", ".join(f"{n} {a.shape}" for n, a in zip(law.variables, arrays, strict=True))
        raise ValueError(f"the variables have shapes that do not go together: {shapes}") from None
    return np.log(np.stack([each.ravel() for each in together], 1)), together[0].shape
