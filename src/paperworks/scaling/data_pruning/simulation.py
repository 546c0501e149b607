r"""Perceptrons of finite size, drawn and trained: what the theory is held against.

The student of largest margin is the shortest ``w`` with ``label * x . w >= 1`` for every example.
In Lawson and Hanson's form (Solving Least Squares Problems, chapter 23) that is one non-negative
least squares problem, which SciPy solves by an active set, exactly and without a penalty to choose.
Examples enter it as they are violated, since few of them end up on the margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from paperworks.scaling.data_pruning.fields import FloatArray
from paperworks.scaling.data_pruning.theory import _checked

_TOLERANCE = 1e-9
_ROUNDS = 1000


@dataclass(frozen=True)
class SimulatedPerceptron:
    """One drawn data set, pruned and learnt: see :func:`simulate_perceptron`.

    Parameters
    ----------
    test_error : float
        The angle between student and teacher over pi: the share of all inputs labelled wrongly.
    margin : float
        Least ``label * student . x`` on the kept examples, for a student of length 1.
    overlap, probe_overlap : float
        Cosines between the student and the teacher, and the student and the probe.
    kept : int
        Examples trained on.
    """

    test_error: float
    margin: float
    overlap: float
    probe_overlap: float
    kept: int


def simulate_perceptron(
    n: int,
    alpha_tot: float,
    keep: float = 1.0,
    *,
    theta: float = 0.0,
    order: str = "hard",
    rng: int | np.random.Generator = 0,
) -> SimulatedPerceptron:
    """Draw a teacher-student problem in ``n`` dimensions, prune it, and train the student.

    Parameters
    ----------
    n : int
        Dimensions, >= 3. The theory is the limit of many; 200 come within a few per cent.
    alpha_tot, keep, theta, order
        As in :func:`paperworks.scaling.data_pruning.pruned_perceptron`. ``alpha_tot n`` examples
        are drawn and a share ``keep`` of them stays, both rounded.
    rng : int or numpy.random.Generator
        Source of the examples.

    Returns
    -------
    SimulatedPerceptron

    Notes
    -----
    Cost: the draw, O(keep alpha_tot n^2), and some least-squares problems of n by a few n numbers,
    O(n^3) each: 20 ms at n = 200 and 10 kept examples per dimension.

    Examples
    --------
    >>> drawn = simulate_perceptron(50, 4.0, 0.5, rng=0)
    >>> drawn.kept, drawn.margin > 0
    (100, True)
    """
    _checked(alpha_tot, keep, theta, order)
    if n < 3:
        raise ValueError(f"n must be >= 3, got {n}: teacher, probe and something outside")
    total = round(alpha_tot * n)
    kept = round(keep * total)
    if kept < 1:
        raise ValueError(
            f"alpha_tot * keep * n must leave an example, got {alpha_tot * keep * n:g}"
        )
    generator = np.random.default_rng(rng)
    # The first axis is the probe's, which is as good as any. Pruning sees that one alone, so that
    # the others need not be drawn for what is left out.
    z = generator.standard_normal(total)
    ranked = np.argpartition(np.abs(z) if order == "hard" else -np.abs(z), kept - 1)[:kept]
    x = generator.standard_normal((kept, n))
    x[:, 0] = z[ranked]
    teacher = np.zeros(n)
    teacher[:2] = math.cos(theta), math.sin(theta)
    y = np.sign(x @ teacher)
    student = max_margin(x, y)
    across = student - (student @ teacher) * teacher
    angle = math.atan2(float(np.linalg.norm(across)), float(student @ teacher))
    return SimulatedPerceptron(
        test_error=angle / math.pi,
        margin=float((y * (x @ student)).min()),
        overlap=float(student @ teacher),
        probe_overlap=float(student[0]),
        kept=kept,
    )


def max_margin(x: ArrayLike, y: ArrayLike) -> FloatArray:
    """The direction through the origin that separates two classes by the largest margin.

    Parameters
    ----------
    x : (P, n) float
        Examples.
    y : (P,)
        Labels, -1 or 1.

    Returns
    -------
    ndarray, shape (n,)
        Of length 1, and exact to rounding.

    Raises
    ------
    ValueError
        Where no direction separates them.

    Examples
    --------
    >>> abs(max_margin([[2.0, 1.0], [2.0, -1.0], [-9.0, 0.0]], [1, 1, -1])).round(9).tolist()
    [1.0, 0.0]
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or not x.size:
        raise ValueError(f"x must be (P, n) and y (P,), got {x.shape} and {y.shape}")
    if not np.isin(y, (-1, 1)).all():
        raise ValueError(f"labels must be -1 or 1, got {y[~np.isin(y, (-1, 1))][0]:g}")
    signed = x * y[:, None]
    n = signed.shape[1]
    # Those that an average direction does worst come first.
    working = np.argsort(signed @ signed.mean(0))[: 2 * n]
    for _ in range(_ROUNDS):
        w = _shortest(signed[working])
        margins = signed @ w
        margins[working] = np.inf
        missed = np.flatnonzero(margins < 1 - _TOLERANCE)
        if not missed.size:
            return np.asarray(w / np.linalg.norm(w))
        worst = missed[np.argsort(margins[missed])[: max(n // 4, 16)]]
        # Those far from the margin have no say: they may come back if they are missed.
        near = working[signed[working] @ w < 1.5]
        working = np.concatenate([near, worst])
    raise RuntimeError(f"the margin was not found in {_ROUNDS} rounds")  # pragma: no cover


def _shortest(signed: FloatArray) -> FloatArray:
    """The shortest w with ``signed w >= 1``."""
    count, n = signed.shape
    matrix = np.vstack([signed.T, np.ones(count)])
    target = np.zeros(n + 1)
    target[-1] = 1.0
    weights, distance = nnls(matrix, target, maxiter=100 * count)
    # The residual points along (w, -1); it vanishes where zero is a mean of signed examples.
    if distance < 1e-10:
        raise ValueError("no direction through the origin separates these examples")
    residual = matrix @ weights - target
    return np.asarray(-residual[:-1] / residual[-1])
