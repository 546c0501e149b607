r"""Inductive bias complexity: how many bits a task asks for beyond what its data supply.

Boopathy et al., "Model-agnostic Measure of Generalization Difficulty", ICML 2023, arXiv 2305.01034.
Hypotheses are functions on an m-dimensional manifold up to a frequency ``M``, given by their
coefficients in the eigenfunctions of its Laplacian. Data fix as many coefficients as they have
numbers. Each one left must be known well enough that the error on new points stays below
``target_error``. With C classes (or combinations of them), D outputs and n samples,

    M     = 2 pi R / delta                        the finest detail: classes are delta apart
    E     = eigenfunctions up to frequency M      on the sphere of radius R, or the flat torus
    W     = sqrt(m / 6) (C volume / n)^(1/m)      from a new point to a training point
    L     = K sqrt(D) / R                         how fast a hypothesis may change
    free  = 2 C D E - n D                         coefficients that the data leave free
    each  = log2(bound L W sqrt(C D) / error)     bits for one of them
    bits  = free * each.

On the sphere ``K (K + m - 1) = M^2`` and ``E = (m + K over m) + (m + K - 1 over m)``; on the torus
of side 2 pi R, ``K = M`` and ``E`` is the volume of a ball of radius M. The paper uses the sphere
for images and the torus for states of a controlled system. Only R / delta enters, not the unit.

Everything is computed as logarithms: a task of 800 dimensions does not overflow.

Departures. Where data leave nothing free, or one coefficient needs no bits, the result is 0 bits;
the authors' program multiplies the two numbers whatever their signs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import betaln, gammaln

from paperworks.scaling.levels import check_level

Geometry = Literal["sphere", "torus"]
_LN2, _LN10 = math.log(2), math.log(10)


@dataclass(frozen=True)
class Complexity:
    """An inductive bias complexity; made by :func:`inductive_bias_complexity` and by tasks.

    Attributes
    ----------
    log10_bits : float
        The complexity as a power of ten; -inf where nothing is asked for.
    log10_low, log10_high : float or None
        Its interval, where the task was measured from data.
    log10_hypotheses : float
        How many coefficients a hypothesis has, as a power of ten.
    log10_free : float
        How many of them the data leave free, as a power of ten; -inf for none.
    bits_each : float
        Bits for each free coefficient; 0 or less where any will do.
    frequency : float
        ``M``, the finest detail in turns around the manifold.
    answered_by : str
        Empty; or why there are 0 bits: "data" (they fix every coefficient) or "target" (the error
        asked for is met by any hypothesis that fits the data).

    Examples
    --------
    >>> found = inductive_bias_complexity(100, 10.0, 0.01, 1000, 0.01)
    >>> print(found, round(found.log10_bits, 2))
    5.7e223 bits 223.75
    >>> inductive_bias_complexity(2, 1.0, 1.0, 1000, 0.1).answered_by
    'data'
    """

    log10_bits: float
    log10_hypotheses: float
    log10_free: float
    bits_each: float
    frequency: float
    answered_by: str = ""
    log10_low: float | None = None
    log10_high: float | None = None

    @property
    def bits(self) -> float:
        """The complexity in bits; inf where a float cannot hold it."""
        return _power(self.log10_bits)

    def __str__(self) -> str:
        text = f"{scientific(self.log10_bits)} bits"
        if self.log10_low is not None and self.log10_high is not None:
            text += f" ({scientific(self.log10_low)} to {scientific(self.log10_high)})"
        return text


def scientific(log10: float) -> str:
    """A number given as its logarithm, in figures: ``3.4e32``, also beyond what a float holds."""
    if log10 == -math.inf:
        return "0"
    exponent = math.floor(log10)
    digits = f"{10 ** (log10 - exponent):.1f}"
    if digits == "10.0":
        digits, exponent = "1.0", exponent + 1
    return f"{digits}e{exponent}"


def inductive_bias_complexity(
    dimension: float,
    radius: float,
    class_distance: float,
    samples: int | float,
    target_error: float,
    *,
    outputs: int = 1,
    combinations: int = 1,
    bound: float = 1.0,
    geometry: Geometry = "sphere",
) -> Complexity:
    """Bits of inductive bias that a task asks for, from its numbers.

    Parameters
    ----------
    dimension : float
        Intrinsic dimension ``m`` of the inputs, > 0; need not be whole.
    radius, class_distance : float
        Largest norm of an input, and the distance on which the answer changes: of classes, the
        smallest between two of them. Same unit; only the ratio counts.
    samples : int or float
        Training inputs. A whole number may be of any size.
    target_error : float
        Error to reach on new inputs, > 0 (over the Lipschitz constant of the loss).
    outputs : int
        Numbers that a hypothesis returns: classes - 1, or actions. Default 1.
    combinations : int
        Combinations of discrete features, each with a manifold of its own: the number of classes.
        Default 1.
    bound : float
        Largest absolute value of an output. Default 1.
    geometry : {"sphere", "torus"}
        The manifold that stands for the inputs'. Default "sphere", the paper's for images.

    Returns
    -------
    Complexity

    Raises
    ------
    ValueError
        If a number is not finite and positive.

    Notes
    -----
    O(1). Grows about as ``frequency ** dimension`` while the frequency is far above the dimension:
    exponential in dimension, a power of resolution. On the sphere growth slows down once the
    dimension comes near the frequency, as it does for images. It is an upper bound, through a
    Lipschitz and a covering argument, of the information needed, relative to a very wide class of
    hypotheses; compare tasks by it, not models with tasks.

    Boopathy et al., arXiv 2305.01034.

    Examples
    --------
    CIFAR-10, from the authors' numbers:

    >>> cifar = inductive_bias_complexity(
    ...     27, 54.9157, 2.75064, 50_000, 0.01, outputs=9, combinations=10
    ... )
    >>> print(cifar)
    3.4e32 bits
    """
    numbers = {
        "dimension": dimension,
        "radius": radius,
        "class_distance": class_distance,
        "samples": samples,
        "target_error": target_error,
        "outputs": outputs,
        "combinations": combinations,
        "bound": bound,
    }
    for name, value in numbers.items():
        known = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        # A whole number may be of any size; math.isfinite overflows on the largest.
        if not known or not (isinstance(value, int) or math.isfinite(value)) or value <= 0:
            raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    return complexity_of_logs(
        dimension,
        math.log(radius),
        math.log(class_distance),
        math.log(samples),
        math.log(target_error),
        log_outputs=math.log(outputs),
        log_combinations=math.log(combinations),
        log_bound=math.log(bound),
        geometry=geometry,
    )


def complexity_of_logs(
    m: float,
    log_radius: float,
    log_distance: float,
    log_samples: float,
    log_error: float,
    *,
    log_outputs: float,
    log_combinations: float,
    log_bound: float,
    geometry: Geometry,
) -> Complexity:
    """:func:`inductive_bias_complexity` of numbers given as natural logarithms."""
    log_turns = math.log(2 * math.pi) + log_radius - log_distance
    log_k, log_count = log_eigenfunctions(m, log_turns, geometry)
    log_room = log_volume(m, geometry) / m + log_radius
    log_gap = 0.5 * math.log(m / 6) + log_room + (log_combinations - log_samples) / m
    log_lipschitz = log_k + 0.5 * log_outputs - log_radius

    log_hypotheses = _LN2 + log_outputs + log_combinations + log_count
    fixed = log_samples + log_outputs - log_hypotheses
    log_free = log_hypotheses + math.log1p(-math.exp(fixed)) if fixed < 0 else -math.inf
    each = (
        log_bound
        + 0.5 * (log_outputs + log_combinations)
        + log_lipschitz
        + log_gap
        - log_error
    ) / _LN2  # fmt: skip
    if log_free == -math.inf:
        log10_bits, answered = -math.inf, "data"
    elif each <= 0:
        log10_bits, answered = -math.inf, "target"
    else:
        log10_bits, answered = log_free / _LN10 + math.log10(each), ""
    return Complexity(
        log10_bits=log10_bits,
        log10_hypotheses=log_hypotheses / _LN10,
        log10_free=log_free / _LN10,
        bits_each=each,
        frequency=_power(log_turns / _LN10),
        answered_by=answered,
    )


def log_eigenfunctions(m: float, log_turns: float, geometry: Geometry) -> tuple[float, float]:
    """Logarithms of the highest degree K, and of how many eigenfunctions lie up to it."""
    if geometry == "torus":
        return log_turns, m / 2 * math.log(math.pi) + m * log_turns - _lgamma(m / 2 + 1)
    if geometry != "sphere":
        raise ValueError(f"geometry must be 'sphere' or 'torus', got {geometry!r}")
    # K = (sqrt((m-1)^2 + 4 M^2) - (m-1)) / 2 without the difference, and without overflow.
    log_half = math.log(abs(m - 1) / 2) if m != 1 else -math.inf
    root = 0.5 * np.logaddexp(2 * log_half, 2 * log_turns)
    log_k = (
        2 * log_turns - float(np.logaddexp(root, log_half))
        if m >= 1
        else float(np.logaddexp(root, log_half))
    )
    if log_k > 700:  # K itself overflows; m is small beside it
        return log_k, _LN2 + m * log_k - _lgamma(m + 1)
    k = math.exp(log_k)
    # The two binomials are (m + K) and K parts of Gamma(m + K) / (Gamma(m + 1) Gamma(K + 1)).
    return log_k, math.log(m + 2 * k) - math.log(m) - log_k - float(betaln(m, k))


def log_volume(m: float, geometry: Geometry) -> float:
    """Logarithm of the volume of the unit sphere S^m, or of the torus of side 2 pi."""
    if geometry == "torus":
        return m * math.log(2 * math.pi)
    return _LN2 + (m + 1) / 2 * math.log(math.pi) - _lgamma((m + 1) / 2)


def _lgamma(x: float) -> float:
    return float(gammaln(x))


def _power(log10: float) -> float:
    return math.inf if log10 > 308 else float(10.0**log10)


def with_interval(found: Complexity, draws: Sequence[float], confidence: float) -> Complexity:
    """``found`` with the percentile interval of drawn log10 bits, where there are any."""
    check_level(confidence)
    if not draws:
        return found
    tail = (1 - confidence) / 2
    # No interpolation: a draw may be -inf.
    low, high = np.quantile(draws, [tail, 1 - tail], method="nearest")
    return replace(found, log10_low=float(low), log10_high=float(high))
