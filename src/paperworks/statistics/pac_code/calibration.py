"""How many misses calibration may have, and how many programs it needs.

Section 2 of the paper, after Wilks and Vovk. Of ``n`` independent calibration programs, ``misses``
are not in their sets. If a set misses the true program with probability above ``epsilon``, then
so few misses as

    k(epsilon, delta, n) = max { k : P(Binomial(n, epsilon) <= k) <= delta }

come up with probability ``delta`` at most. It is the same to say that the upper Clopper-Pearson
bound of the miss rate, at level ``1 - delta``, is no more than ``epsilon``.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import beta, binom

from paperworks.statistics.checking import probability


def calibration_size(epsilon: float, delta: float) -> int:
    """The fewest calibration programs that can give the guarantee, with no miss among them.

    Parameters
    ----------
    epsilon : float
        Largest probability of a miss, in (0, 1).
    delta : float
        Largest probability that the guarantee does not hold, in (0, 1).

    Returns
    -------
    int
        The least n with ``(1 - epsilon)**n <= delta``. Sets become much smaller with several
        times as many, for then some misses are allowed.

    Raises
    ------
    ValueError
        For levels out of range.

    Examples
    --------
    >>> calibration_size(0.1, 0.05)
    29
    """
    epsilon, delta = probability("epsilon", epsilon), probability("delta", delta)
    n = max(1, math.ceil(math.log(delta) / math.log1p(-epsilon)))
    # One more or one less where the quotient of logarithms was rounded across a whole number.
    while n > 1 and (1 - epsilon) ** (n - 1) <= delta:
        n -= 1
    while (1 - epsilon) ** n > delta:
        n += 1
    return n


def allowed_misses(n: int, epsilon: float, delta: float) -> int:
    """k(epsilon, delta, n): the most misses among ``n`` with which the guarantee holds.

    Raises
    ------
    ValueError
        For levels out of range, and for an ``n`` too small for any; it says how many are needed.

    Examples
    --------
    >>> allowed_misses(100, 0.1, 0.05)
    4
    """
    epsilon, delta = probability("epsilon", epsilon), probability("delta", delta)
    needed = calibration_size(epsilon, delta)
    if n < needed:
        raise ValueError(
            f"epsilon={epsilon:g} with delta={delta:g} needs at least {needed} calibration "
            f"programs, got {n}; add {needed - n}, or ask for a larger epsilon or delta"
        )
    chances = binom.cdf(np.arange(n + 1), n, epsilon)
    return int(np.flatnonzero(chances <= delta).max(initial=0))


def miss_bound(misses: int, n: int, delta: float) -> float:
    """Upper Clopper-Pearson bound of the probability of a miss, at level ``1 - delta``.

    Examples
    --------
    >>> round(miss_bound(4, 100, 0.05), 4)
    0.0892
    """
    return 1.0 if misses >= n else float(beta.ppf(1 - delta, misses + 1, n - misses))
