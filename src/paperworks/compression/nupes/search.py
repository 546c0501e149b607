"""The exponent without data: the one whose levels lie nearest to the weights.

PowerQuant (arXiv:2301.09858, equation 7) minimises the sum over layers of the norm of the weights'
error, by the simplex method of Nelder and Mead, each step of which rounds every weight. The error
for given levels depends on three moments of the weights between neighbouring middles only. Here
they are gathered once, in narrow bins, and the error for an exponent is then read off running sums.
So the whole range can be looked through and no minimum is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from paperworks.compression.nupes.grid import BOUNDS, power_levels
from paperworks.compression.row_scales import clipped_scale, largest

_BINS = 1 << 14
_COARSE = np.linspace(*BOUNDS, 66)  # in steps of 0.02
_ROUNDS = 2  # of exponent and scale in turn: a third changes the error by less than 0.1 %


class ErrorCurve:
    """The squared error of rounding a weight to a power law, as a function of the exponent.

    Parameters
    ----------
    weight : (rows, columns) float
    scale : (rows, 1) float
        What the level 1 stands for.

    Notes
    -----
    O(weights) once, then O(levels) for each exponent. A weight within 1 / 32768 of a middle may be
    counted on the wrong side of it, where both sides have the same error to that order.
    """

    def __init__(self, weight: Tensor, scale: Tensor):
        size = (weight.abs() / scale).flatten()
        place = (size * _BINS).to(torch.int32).clamp_(max=_BINS - 1)
        square = scale.double().square().expand_as(weight).flatten()
        sums = [
            torch.bincount(place, weights=square * size.double() ** power, minlength=_BINS)
            for power in range(3)
        ]
        running = torch.stack(sums).cumsum(1)
        self._running = torch.nn.functional.pad(running, (1, 0)).numpy()

    def __call__(self, exponent: float, top: int) -> float:
        """The summed squared error with levels ``(k / top)**(1 / exponent)``."""
        levels = power_levels(exponent, top).numpy()
        middles = np.rint((levels[1:] + levels[:-1]) / 2 * _BINS).astype(int)
        edges = np.concatenate([[0], middles, [_BINS]])
        count, first, second = np.diff(self._running[:, edges])
        return float((second - 2 * levels * first + levels**2 * count).sum())


def search_exponent(weights: Sequence[Tensor], top: int, *, clip: bool = True) -> float:
    """The exponent whose levels lie nearest to the weights of one layer, or of several.

    Minimises ``sum over layers of |W - rounded(W)|_2``, with one scale per row.

    Parameters
    ----------
    weights : sequence of (rows, columns) float
    top : int
        The largest integer: 7 at 4 bits.
    clip : bool
        Whether the scale of a row may be below its largest magnitude.

    Returns
    -------
    float
        Within 0.2 and 1.5. With ``top=1`` there is no level to move, and it is 1.

    Notes
    -----
    O(weights) for each of up to three gatherings, and 13 roundings for each of two searches of the
    scales where ``clip``.

    Examples
    --------
    >>> weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    >>> round(search_exponent([weight], 7, clip=False), 1)
    0.7
    """
    if top == 1:
        return 1.0
    exponent = _minimise(weights, [largest(weight) for weight in weights], top)
    for _ in range(_ROUNDS if clip else 0):
        levels = power_levels(exponent, top).float()
        exponent = _minimise(weights, [clipped_scale(each, levels) for each in weights], top)
    return exponent


def _minimise(weights: Sequence[Tensor], scales: Sequence[Tensor], top: int) -> float:
    curves = [ErrorCurve(w, s) for w, s in zip(weights, scales, strict=True)]

    def total(exponent: float) -> float:
        return sum(max(curve(exponent, top), 0.0) ** 0.5 for curve in curves)

    return minimise(total)


def minimise(function: Callable[[float], float]) -> float:
    """Where a function of the exponent is least: on a coarse grid, then around its best point."""
    best = int(np.argmin([function(each) for each in _COARSE]))
    around = (_COARSE[max(best - 1, 0)], _COARSE[min(best + 1, len(_COARSE) - 1)])
    found = minimize_scalar(function, bounds=around, method="bounded", options={"xatol": 1e-4})
    return float(found.x if found.fun < function(_COARSE[best]) else _COARSE[best])
