"""How many rows a sketch needs for a bound on every coordinate.

The promise is ``max_i |x'_i - x_i| <= eps / sqrt(d) * ||A x - b|| * ||pinv(A)||`` with probability
at least ``1 - delta``, x the solution and x' that of the sketched problem.

For a Gaussian sketch the error is known exactly. ``S(b - A x)`` is independent of ``S A``, since
``b - A x`` is orthogonal to the columns, so that, in one coordinate,

    (x'_i - x_i) / (||b - A x|| * sqrt(inv(A'A)_ii)) = t / sqrt(m - d + 1)

with t of Student's law with m - d + 1 degrees of freedom. ``inv(A'A)_ii <= ||pinv(A)||^2`` and a
union over the coordinates give the row count below; about ``d + 2 eps^-2 d log(2 d / delta)``.
"""

from __future__ import annotations

import math

from scipy.special import stdtrit

# What a sketch of a Kronecker product of q factors multiplies the variance of a coordinate by, at
# worst: each factor after the first brings in a fourth moment of random signs, at most 3.
TENSOR_VARIANCE = 3.0


def sketch_rows(
    d: int,
    *,
    eps: float,
    delta: float,
    n: int | None = None,
    rule: str = "student",
    rhs: int = 1,
    factors: int = 1,
) -> int:
    """Rows of a dense sketch that bound every coordinate of a least-squares solution.

    The promise is ``abs(x_sketched - x) <= eps / sqrt(d) * norm(A @ x - b) * norm(pinv(A))`` in
    every coordinate at once, with probability at least ``1 - delta``.

    Parameters
    ----------
    d : int
        Columns of A.
    eps, delta : float
        In (0, 1).
    n : int, optional
        Rows of A; needed by the paper's rule only.
    rule : {"student", "paper"}
        "student" is the count at which the promise holds for a Gaussian sketch by the exact law
        of its error, about ``d + 2 eps**-2 * d * log(2 d / delta)``. Sketches by transforms and
        signs have the same variance in every coordinate, or less. "paper" is the theorem's
        ``eps**-2 * d * log(n / delta)**3`` with the constant 1, natural logarithm. It covers
        all of them, and is some hundred times larger: it exceeds n itself for most n below
        millions, which is why it is not the default.
    rhs : int
        How many right-hand sides the promise is for at once ("student" only).
    factors : int
        Factors of the Kronecker product that a "tensor-srht" is for; 1 for all other sketches.
        Each one after the first multiplies "student" by 3, the most that it can multiply the
        variance of a coordinate by.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        Where an argument is not as said above.

    Examples
    --------
    >>> from paperworks.numerics import sketch_rows
    >>> sketch_rows(50, eps=0.5, delta=0.01)
    2823
    >>> sketch_rows(50, eps=0.5, delta=0.01, rule="paper", n=1_000_000)
    1250107
    """
    check_promise(eps, delta)
    for name, value in (("d", d), ("rhs", rhs), ("factors", factors)):
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}")
    if rule == "paper":
        if n is None:
            raise ValueError('rule "paper" needs n, the number of rows of A; "student" does not')
        if n < 1:
            raise ValueError(f"n must be >= 1, got {n}")
        return max(d + 1, math.ceil(d * math.log(n / delta) ** 3 / eps**2))
    if rule != "student":
        raise ValueError(f"rule must be 'student' or 'paper', got {rule!r}")

    def enough(nu: int) -> bool:
        return quantile(nu, delta, d * rhs) <= eps * math.sqrt(nu / d)

    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return d - 1 + math.ceil(high * TENSOR_VARIANCE ** (factors - 1))


def quantile(nu: int, delta: float, count: int) -> float:
    """What ``count`` Student variables of nu degrees of freedom stay below, but for delta."""
    return float(-stdtrit(nu, delta / (2.0 * count)))


def check_promise(eps: float, delta: float) -> None:
    """Raise a ValueError where eps or delta promises nothing."""
    for name, value in (("eps", eps), ("delta", delta)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must be above 0 and below 1, got {value}")
