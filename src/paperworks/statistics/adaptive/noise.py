"""Exact discrete noise from an unpredictable source.

Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (arXiv 2004.00010),
algorithms 1 to 3: discrete Laplace and discrete Gaussian noise made of uniform integers alone.

Why not ``scale * rng.laplace()``: the low bits of a floating-point answer can give the noiseless
value away, since not every double can come out of ``log(uniform)`` (Mironov 2012). Here answers
are whole numbers of units, the noise is a whole number with exactly the stated distribution, and
no logarithm is taken. What remains is time: a draw takes longer or shorter with its value.
"""

from __future__ import annotations

import random


def source(random_state: int | None) -> random.Random:
    """Where noise comes from: the operating system, or a seed for simulations.

    Nothing is buffered, so that a forked process never repeats its parent's noise.

    Parameters
    ----------
    random_state : int or None
        None is the operating system's cryptographic source, the only one under which privacy
        may be claimed. An integer makes the noise repeatable, and so known to whoever knows it.

    Returns
    -------
    random.Random
        Its ``randrange`` is exactly uniform.

    Raises
    ------
    ValueError
        If ``random_state`` is neither.
    """
    if random_state is None:
        return random.SystemRandom()
    if isinstance(random_state, bool) or not isinstance(random_state, int):
        raise ValueError(
            f"random_state must be an integer, or None for unpredictable noise, "
            f"got {random_state!r}"
        )
    return random.Random(random_state)


def discrete_laplace(scale: int, draw: random.Random) -> int:
    """A whole number ``x`` with probability proportional to ``exp(-|x| / scale)``.

    Parameters
    ----------
    scale : int
        At least 1.
    draw : random.Random
        See :func:`source`.

    Notes
    -----
    About a dozen uniform integers, whatever the scale.
    """
    while True:
        rest = draw.randrange(scale)
        if not _exp_coin(rest, scale, draw):
            continue
        whole = 0
        while _exp_coin(1, 1, draw):
            whole += 1
        size = rest + scale * whole
        if draw.randrange(2):
            return size
        if size:  # else 0 would be twice as likely as it should be
            return -size


def discrete_gaussian(scale: int, draw: random.Random) -> int:
    """A whole number ``x`` with probability proportional to ``exp(-x^2 / (2 scale^2))``.

    Parameters
    ----------
    scale : int
        At least 1; close to the standard deviation, which is never larger.
    draw : random.Random
        See :func:`source`.

    Notes
    -----
    Laplace noise, rejected; fewer than two tries on average.
    """
    wide, variance = scale + 1, scale * scale
    while True:
        found = discrete_laplace(wide, draw)
        away = abs(found) * wide - variance
        if _exp_coin(away * away, 2 * variance * wide * wide, draw):
            return found


def _exp_coin(numerator: int, denominator: int, draw: random.Random) -> bool:
    """Whether a coin of probability ``exp(-numerator / denominator)`` came up."""
    while numerator > denominator:
        if not _exp_coin(1, 1, draw):
            return False
        numerator -= denominator
    k = 1
    while draw.randrange(denominator * k) < numerator:
        k += 1
    return k % 2 == 1
