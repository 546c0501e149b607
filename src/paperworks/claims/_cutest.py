"""Equality-constrained problems of the CUTEst collection, written out by hand.

Thirty-three small ones: from Hock and Schittkowski (1981), those whose names start with HS;
from Boggs and Tolle (1989), BT; and a few others. All have equality constraints alone, as a
minimiser without bounds needs, and most are among those of the paper's experiments. Values and
derivatives at the start were compared with sif2jax's translation.

A problem is ``(fun, constraints, x0, least)`` with functions for torch; `least` is the best known
value of a local minimum that the start leads to, None where solvers end in different ones.
"""

from __future__ import annotations

from collections.abc import Callable
from math import asin, sqrt
from typing import Any, NamedTuple

import torch


class Problem(NamedTuple):
    """One problem: functions of a torch vector, a start, and the value of the minimum."""

    fun: Callable[[Any], Any]
    constraints: Callable[[Any], Any]
    x0: tuple[float, ...]
    least: float | None


def _several(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: torch.stack([torch.as_tensor(v) for v in function(x)])


def _none(x: Any) -> Any:
    return 0 * x[0]


def _hs100(x: Any) -> Any:
    a, b, c, d, e, f, g = x
    return (
        (a - 10) ** 2 + 5 * (b - 12) ** 2 + c**4 + 3 * (d - 11) ** 2 + 10 * e**6
        + 7 * f**2 + g**4 - 4 * f * g - 10 * f - 8 * g
    )  # fmt: skip


_ENERGIES = (-6.089, -17.164, -34.054, -5.914, -24.721, -14.986, -24.1, -10.708, -26.662, -22.179)


def _hs111(x: Any) -> Any:
    energies = torch.tensor(_ENERGIES, dtype=x.dtype)
    return (x.exp() * (energies + x - x.exp().sum().log())).sum()


def _hs111_balance(x: Any) -> Any:
    e = x.exp()
    return (
        e[0] + 2 * e[1] + 2 * e[2] + e[5] + e[9] - 2,
        e[3] + 2 * e[4] + e[5] + e[6] - 1,
        e[2] + e[6] + e[7] + 2 * e[8] + e[9] - 1,
    )


_Q, _B = asin(sqrt(1 / 4.2)), asin(sqrt(5 / 7.2))
_R2, _R8, _R18 = sqrt(2.0), sqrt(8.0), sqrt(18.0)

# name: (objective, constraints, start, least value); a constraint is zero where it holds.
_TABLE: dict[str, tuple[Any, Any, Any, float | None]] = {
    "HS6": (lambda x: (1 - x[0]) ** 2, lambda x: [10 * (x[1] - x[0] ** 2)], (-1.2, 1.0), 0.0),
    "HS7": (
        lambda x: (1 + x[0] ** 2).log() - x[1],
        lambda x: [(1 + x[0] ** 2) ** 2 + x[1] ** 2 - 4],
        (2.0, 2.0),
        -sqrt(3),
    ),
    "HS8": (
        lambda x: _none(x) - 1,
        lambda x: [x[0] ** 2 + x[1] ** 2 - 25, x[0] * x[1] - 9],
        (2.0, 1.0),
        -1.0,
    ),
    "HS9": (
        lambda x: (torch.pi * x[0] / 12).sin() * (torch.pi * x[1] / 16).cos(),
        lambda x: [4 * x[0] - 3 * x[1]],
        (0.0, 0.0),
        -0.5,
    ),
    "HS26": (
        lambda x: (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 4,
        lambda x: [(1 + x[1] ** 2) * x[0] + x[2] ** 4 - 3],
        (-2.6, 2.0, 2.0),
        0.0,
    ),
    "HS27": (
        lambda x: 0.01 * (x[0] - 1) ** 2 + (x[1] - x[0] ** 2) ** 2,
        lambda x: [x[0] + x[2] ** 2 + 1],
        (2.0, 2.0, 2.0),
        0.04,
    ),
    "HS28": (
        lambda x: (x[0] + x[1]) ** 2 + (x[1] + x[2]) ** 2,
        lambda x: [x[0] + 2 * x[1] + 3 * x[2] - 1],
        (-4.0, 1.0, 1.0),
        0.0,
    ),
    "HS39": (
        lambda x: -x[0],
        lambda x: [x[1] - x[0] ** 3 - x[2] ** 2, x[0] ** 2 - x[1] - x[3] ** 2],
        (2.0,) * 4,
        -1.0,
    ),
    "HS40": (
        lambda x: -x.prod(),
        lambda x: [x[0] ** 3 + x[1] ** 2 - 1, x[0] ** 2 * x[3] - x[2], x[3] ** 2 - x[1]],
        (0.8,) * 4,
        -0.25,
    ),
    "HS42": (
        lambda x: ((x - torch.arange(1.0, 5.0)) ** 2).sum(),
        lambda x: [x[0] - 2, x[2] ** 2 + x[3] ** 2 - 2],
        (1.0,) * 4,
        28 - 10 * _R2,
    ),
    "HS46": (
        lambda x: (x[0] - x[1]) ** 2 + (x[2] - 1) ** 2 + (x[3] - 1) ** 4 + (x[4] - 1) ** 6,
        lambda x: [
            x[0] ** 2 * x[3] + (x[3] - x[4]).sin() - 1,
            x[1] + x[2] ** 4 * x[3] ** 2 - 2,
        ],
        (_R2 / 2, 1.75, 0.5, 2.0, 2.0),
        0.0,
    ),
    "HS47": (
        lambda x: (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 3 + (x[2] - x[3]) ** 4 + (x[3] - x[4]) ** 4,
        lambda x: [
            x[0] + x[1] ** 2 + x[2] ** 3 - 3,
            x[1] - x[2] ** 2 + x[3] - 1,
            x[0] * x[4] - 1,
        ],
        (2.0, _R2, -1.0, 2 - _R2, 0.5),
        None,
    ),
    "HS48": (
        lambda x: (x[0] - 1) ** 2 + (x[1] - x[2]) ** 2 + (x[3] - x[4]) ** 2,
        lambda x: [x.sum() - 5, x[2] - 2 * (x[3] + x[4]) + 3],
        (3.0, 5.0, -3.0, 2.0, -2.0),
        0.0,
    ),
    "HS49": (
        lambda x: (x[0] - x[1]) ** 2 + (x[2] - 1) ** 2 + (x[3] - 1) ** 4 + (x[4] - 1) ** 6,
        lambda x: [x[0] + x[1] + x[2] + 4 * x[3] - 7, x[2] + 5 * x[4] - 6],
        (10.0, 7.0, 2.0, -3.0, 0.8),
        0.0,
    ),
    "HS50": (
        lambda x: (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 2 + (x[2] - x[3]) ** 4 + (x[3] - x[4]) ** 2,
        lambda x: [x[i] + 2 * x[i + 1] + 3 * x[i + 2] - 6 for i in range(3)],
        (35.0, -31.0, 11.0, 5.0, -5.0),
        0.0,
    ),
    "HS51": (
        lambda x: (x[0] - x[1]) ** 2 + (x[1] + x[2] - 2) ** 2 + (x[3] - 1) ** 2 + (x[4] - 1) ** 2,
        lambda x: [x[0] + 3 * x[1] - 4, x[2] + x[3] - 2 * x[4], x[1] - x[4]],
        (2.5, 0.5, 2.0, -1.0, 0.5),
        0.0,
    ),
    "HS52": (
        lambda x: (
            (4 * x[0] - x[1]) ** 2 + (x[1] + x[2] - 2) ** 2 + (x[3] - 1) ** 2 + (x[4] - 1) ** 2
        ),
        lambda x: [x[0] + 3 * x[1], x[2] + x[3] - 2 * x[4], x[1] - x[4]],
        (2.0,) * 5,
        1859 / 349,
    ),
    "HS56": (
        lambda x: -x[0] * x[1] * x[2],
        lambda x: [
            x[0] - 4.2 * x[3].sin() ** 2,
            x[1] - 4.2 * x[4].sin() ** 2,
            x[2] - 4.2 * x[5].sin() ** 2,
            x[0] + 2 * x[1] + 2 * x[2] - 7.2 * x[6].sin() ** 2,
        ],
        (1.0, 1.0, 1.0, _Q, _Q, _Q, _B),
        -3.456,
    ),
    "HS61": (
        lambda x: (
            4 * x[0] ** 2 + 2 * x[1] ** 2 + 2 * x[2] ** 2 - 33 * x[0] + 16 * x[1] - 24 * x[2]
        ),
        lambda x: [3 * x[0] - 2 * x[1] ** 2 - 7, 4 * x[0] - x[2] ** 2 - 11],
        (0.0, 0.0, 0.0),
        -143.6461422,
    ),
    "HS77": (
        lambda x: (
            (x[0] - 1) ** 2 + (x[0] - x[1]) ** 2 + (x[2] - 1) ** 2 + (x[3] - 1) ** 4
            + (x[4] - 1) ** 6
        ),
        lambda x: [
            x[0] ** 2 * x[3] + (x[3] - x[4]).sin() - 2 * _R2,
            x[1] + x[2] ** 4 * x[3] ** 2 - 8 - _R2,
        ],
        (2.0,) * 5,
        0.24150513,
    ),
    "HS78": (
        lambda x: x.prod(),
        lambda x: [
            (x**2).sum() - 10,
            x[1] * x[2] - 5 * x[3] * x[4],
            x[0] ** 3 + x[1] ** 3 + 1,
        ],
        (-2.0, 1.5, 2.0, -1.0, -1.0),
        -2.91970041,
    ),
    "HS79": (
        lambda x: (
            (x[0] - 1) ** 2 + (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 2 + (x[2] - x[3]) ** 4
            + (x[3] - x[4]) ** 4
        ),
        lambda x: [
            x[0] + x[1] ** 2 + x[2] ** 3 - 2 - _R18,
            x[1] - x[2] ** 2 + x[3] + 2 - _R8,
            x[0] * x[4] - 2,
        ],
        (2.0,) * 5,
        0.0787768209,
    ),
    "HS100LNP": (
        _hs100,
        lambda x: [
            2 * x[0] ** 2 + 3 * x[1] ** 4 + x[2] + 4 * x[3] ** 2 + 5 * x[4] - 127,
            4 * x[0] ** 2 + x[1] ** 2 - 3 * x[0] * x[1] + 2 * x[2] ** 2 + 5 * x[5] - 11 * x[6],
        ],
        (1.0, 2.0, 0.0, 4.0, 0.0, 1.0, 1.0),
        680.6300573,
    ),
    "HS111LNP": (_hs111, _hs111_balance, (-2.3,) * 10, -47.76109),
    "BT1": (
        lambda x: 100 * x[0] ** 2 + 100 * x[1] ** 2 - x[0] - 100,
        lambda x: [x[0] ** 2 + x[1] ** 2 - 1],
        (0.08, 0.06),
        -1.0,
    ),
    "BT2": (
        lambda x: (x[0] - 1) ** 2 + (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 4,
        lambda x: [x[0] * (1 + x[1] ** 2) + x[2] ** 4 - 8.2426407],
        (10.0,) * 3,
        0.0325682,
    ),
    "BT3": (
        lambda x: (x[0] - x[1]) ** 2 + (x[1] + x[2] - 2) ** 2 + (x[3] - 1) ** 2 + (x[4] - 1) ** 2,
        lambda x: [x[0] + 3 * x[1], x[2] + x[3] - 2 * x[4], x[1] - x[4]],
        (20.0,) * 5,
        4.0930233,
    ),
    "BT5": (
        lambda x: (
            1000 - x[0] ** 2 - 2 * x[1] ** 2 - x[2] ** 2 - x[0] * x[1] - x[0] * x[2]
        ),
        lambda x: [(x**2).sum() - 25, 8 * x[0] + 14 * x[1] + 7 * x[2] - 56],
        (2.0,) * 3,
        None,
    ),
    "BT10": (lambda x: -x[0], lambda x: [x[1] - x[0] ** 3, x[0] ** 2 - x[1]], (2.0, 2.0), -1.0),
    "BT12": (
        lambda x: 0.01 * x[0] ** 2 + x[1] ** 2,
        lambda x: [
            x[0] + x[1] - x[2] ** 2 - 25,
            x[0] ** 2 + x[1] ** 2 - x[3] ** 2 - 25,
            x[0] - x[4] ** 2 - 2,
        ],
        (15.811, 1.5811, 0.0, 15.083, 3.7164),
        6.18812,
    ),
    "MARATOS": (
        lambda x: -x[0] + 1e-6 * (x[0] ** 2 + x[1] ** 2 - 1),
        lambda x: [x[0] ** 2 + x[1] ** 2 - 1],
        (1.1, 0.1),
        -1.0,
    ),
    "BYRDSPHR": (
        lambda x: -x.sum(),
        lambda x: [(x**2).sum() - 9, (x[0] - 1) ** 2 + x[1] ** 2 + x[2] ** 2 - 9],
        (5.0, 0.0001, -0.0001),
        -4.68330,
    ),
    "GENHS28": (
        lambda x: ((x[:-1] + x[1:]) ** 2).sum(),
        lambda x: [x[i] + 2 * x[i + 1] + 3 * x[i + 2] - 1 for i in range(8)],
        (-4.0, *(1.0,) * 9),
        0.9271737,
    ),
}  # fmt: skip

PROBLEMS = {
    name: Problem(fun, _several(constraints), tuple(map(float, x0)), least)
    for name, (fun, constraints, x0, least) in _TABLE.items()
}
