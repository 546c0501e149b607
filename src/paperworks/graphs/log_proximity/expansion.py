r"""Functions of a sparse matrix, applied to a block of columns without forming them.

Two expansions, for the kernels of this package on large graphs:

- :func:`chebyshev`: f(M) E for any smooth f on an interval that holds the spectrum of M. Few
  products, but its error is absolute: an entry far below the largest drowns in it.
- :func:`geometric_series` and :func:`exponential_series`: sums of non-negative terms, so nothing
  cancels and *every entry*, however small, has its relative accuracy. That is what a logarithm
  of the entries needs.

Neither is in the paper, which works on graphs of at most a few hundred nodes with dense matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.fft import dct

Function = Callable[[np.ndarray], np.ndarray]

_EPS = np.finfo(float).eps
_LARGEST_DEGREE = 2**14


class FloatRangeError(ValueError):
    """Entries are too small or too large for floats at this parameter."""


def chebyshev_coefficients(f: Function, low: float, high: float, tol: float) -> np.ndarray:
    """Coefficients of the Chebyshev interpolant of ``f`` on [low, high].

    Doubles the number of points until the last eighth of the coefficients is below ``tol``
    relative to the largest value of f, then drops what can be dropped.
    """
    size = 16
    while size <= _LARGEST_DEGREE:
        x = np.cos(np.pi * (np.arange(size) + 0.5) / size)
        values = f(low + (high - low) * (x + 1) / 2)
        c = dct(values, type=2) / size
        c[0] /= 2
        top = np.abs(values).max()
        if np.abs(c[-size // 8 :]).max() <= tol * top:
            tail = np.cumsum(np.abs(c[::-1]))[::-1]
            return c[: max(1, int((tail > tol * top).sum()))]
        size *= 2
    raise ValueError(
        f"f has no Chebyshev expansion of degree <= {_LARGEST_DEGREE} to {tol:.0e}: the parameter "
        "is too close to the end of its range"
    )


def chebyshev(
    M: Any, f: Function, low: float, high: float, block: np.ndarray, *, tol: float = 1e-13
) -> tuple[np.ndarray, float]:
    """``f(M) @ block`` for symmetric M with its spectrum in [low, high].

    Parameters
    ----------
    M : (n, n) sparse or dense, symmetric
    f : callable on arrays
    low, high : float
        An interval that holds all eigenvalues.
    block : (n, m) float64
    tol : float
        Truncation error, relative to the largest value of f.

    Returns
    -------
    (n, m) float64, and a bound on the absolute error of its entries (for unit columns).

    Notes
    -----
    Degree products with M; memory for four blocks.
    """
    c = chebyshev_coefficients(f, low, high, tol)
    if high <= low:
        return f(np.array([low]))[0] * block, _EPS
    centre, half = (high + low) / 2, (high - low) / 2
    before, now = block, (M @ block - centre * block) / half
    total = c[0] * block
    if len(c) > 1:
        total = total + c[1] * now
    for weight in c[2:]:
        following = M @ now
        following -= centre * now
        following *= 2 / half
        following -= before
        total += weight * following
        before, now = now, following
    largest = np.abs(f(np.linspace(low, high, 65))).max()
    return total, (tol + 4 * _EPS * len(c)) * largest


def geometric_series(N: Any, block: np.ndarray, radius: float, *, tol: float = 1e-10) -> np.ndarray:
    """``inv(I - N) @ block`` for non-negative N and block, every entry to relative ``tol``.

    Parameters
    ----------
    N : (n, n) sparse or dense, >= 0
    block : (n, m) float64, >= 0, no zero column
    radius : float
        Spectral radius of N, < 1.
    tol : float

    Raises
    ------
    FloatRangeError
        If an entry stays 0: the node is so far off that its entry has no float (or cannot be
        reached at all).

    Notes
    -----
    About log(tol) / log(radius) products, or the diameter of the graph where that is more.
    """

    def tail(k: int) -> float:
        return radius / (1 - radius)

    return _series(lambda term, k: N @ term, block, tail, tol)


def exponential_series(
    N: Any, t: float, block: np.ndarray, radius: float, *, tol: float = 1e-10
) -> tuple[np.ndarray, float]:
    """``exp(t N) @ block`` for non-negative N and block, every entry to relative ``tol``.

    Parameters as in :func:`geometric_series`, with t > 0.

    Returns
    -------
    (n, m) float64 and a number s: the product is the array times exp(s).

    Notes
    -----
    Split into steps with t radius <= 50, so that nothing overflows; some 2 t radius + 40
    products in all.
    """
    steps = max(1, int(np.ceil(t * radius / 50)))
    part = t / steps

    def tail(k: int) -> float:
        # From 2 t radius on the terms at least halve; before that nothing is known.
        return 1.0 if k + 1 >= 2 * part * radius else np.inf

    def advance(term: np.ndarray, k: int) -> np.ndarray:
        following = N @ term
        following *= part / k
        return following

    for _ in range(steps):
        block = _series(advance, block, tail, tol / steps)
        block *= np.exp(-part * radius)
    return block, t * radius


def _series(
    advance: Callable[[np.ndarray, int], np.ndarray],
    block: np.ndarray,
    tail: Callable[[int], float],
    tol: float,
) -> np.ndarray:
    """Add terms until what is left is below ``tol`` of every entry."""
    total, term = block.copy(), block
    k = 0
    while True:
        for _ in range(8):
            k += 1
            before, term = term, advance(term, k)
            total += term
        factor = tail(k)
        # Two terms, for on a bipartite graph every other one is 0.
        if np.isfinite(factor) and (before + term <= (tol / factor) * total).all():
            # Where a walk arrives for the first time the term is the sum, so that the loop goes on
            # until all is reached that can be.
            reached = total > 0
            if not reached.all():
                raise FloatRangeError(
                    f"{int((~reached).sum())} of {reached.size} entries are below the smallest "
                    "float, so that they have no logarithm: take a larger parameter, at which "
                    "walks reach farther, or another measure"
                )
            return total
