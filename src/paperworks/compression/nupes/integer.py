"""A layer on a power law in integers alone.

A power turns products into products, so the integer product ``m`` of a weight's and an input's code
stands for the product of the two numbers: ``(m / full)**(1 / a)``. Sums it does not preserve. So a
layer multiplies codes, reads each product's power from a short table of integers in fixed point,
and adds those up. The next layer's input code is the power ``a`` of the sum, found by Newton's
method on integers, as the papers do in the activation function; a bias, an activation that rises,
and both scales move into the sum. No operation here is on a floating-point number, and every result
is the exact one, held against exact rational arithmetic in the tests.

The exponent must be a fraction: ``Fraction(exponent).limit_denominator(16)``. This is written in
NumPy on Python's integers of any length, as a reference and not for speed: on a CPU with
floating-point units, :class:`PackedWeight` is the fast path.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray


def integer_root(value: ArrayLike, degree: int) -> NDArray[np.object_]:
    """The largest integers whose power is at most the value, by Newton's method.

    Parameters
    ----------
    value : array of int, not negative, of any size
    degree : int
        2 for a square root.

    Returns
    -------
    array of Python's int

    Raises
    ------
    ValueError
        If the degree is below 1 or a value is negative.

    Notes
    -----
    Starts above the root, at a power of two, and falls until it rises again: a number of steps that
    grows with the logarithm of the number of bits.

    Examples
    --------
    >>> integer_root([0, 15, 16, 10**40], 2)
    array([0, 3, 4, 100000000000000000000], dtype=object)
    """
    if degree < 1:
        raise ValueError(f"degree must be >= 1, got {degree}")
    numbers = np.asarray(value, dtype=object)
    if any(number < 0 for number in numbers.flat):
        raise ValueError(f"a root needs values >= 0, got {min(numbers.flat)}")
    if degree == 1 or not numbers.size:
        return numbers
    roots = [_root(int(number), degree) for number in numbers.flat]
    return np.array(roots, dtype=object).reshape(numbers.shape)


def _root(number: int, degree: int) -> int:
    if number == 0:
        return 0
    root = 1 << -(-number.bit_length() // degree)
    while True:
        following = ((degree - 1) * root + number // root ** (degree - 1)) // degree
        if following >= root:
            return root
        root = following


def integer_power(value: ArrayLike, full: int, top: int, exponent: Fraction) -> NDArray[np.int64]:
    """The integers ``top * sign(v) * |v / full|**exponent``, rounded to nearest.

    This is the papers' operator, rounding after the power.

    Parameters
    ----------
    value : array of int
        Clipped to -full .. full.
    full : int
        What ``top`` stands for.
    top : int
        7 at 4 bits.
    exponent : Fraction

    Returns
    -------
    array of int64, -top to top
        A tie goes up in magnitude.

    Raises
    ------
    ValueError
        If ``full``, ``top`` or the exponent is not positive.

    Examples
    --------
    >>> integer_power([-100, -20, 0, 4, 30, 500], full=100, top=7, exponent=Fraction(1, 2))
    array([-7, -3,  0,  1,  4,  7])
    """
    for name, number in (("full", full), ("top", top), ("exponent", exponent)):
        if not number > 0:
            raise ValueError(f"{name} must be > 0, got {number}")
    p, q = Fraction(exponent).as_integer_ratio()
    numbers = np.asarray(value, dtype=object)
    size = np.array([min(abs(int(number)), full) for number in numbers.flat], dtype=object)
    # k - 1/2 <= top (v/full)**(p/q)  if and only if  2k - 1 <= ((2 top)**q v**p / full**p)**(1/q)
    twice = integer_root((2 * top) ** q * size**p // full**p, q)
    rounded = ((twice + 1) // 2).reshape(numbers.shape)
    return np.where(numbers < 0, -rounded, rounded).astype(np.int64)


class IntegerPowerLinear:
    """A linear layer whose weights and inputs are codes on one power law, in integers alone.

    Parameters
    ----------
    codes : (out, fan_in) int
        -top to top of the weights' bits.
    exponent : Fraction
        Of weights and inputs.
    weight_top, input_top : int
        The largest codes.
    fraction_bits : int
        Of the fixed-point numbers that are added up. Their rounding moves an output by at most
        fan_in * 2**-(fraction_bits + 1) of the full scale.

    Raises
    ------
    ValueError
        If a code is beyond its top, or sums could leave 63 bits.

    Notes
    -----
    The table has weight_top * input_top + 1 numbers: 50 for 4 and 4 bits, 890 for 4 and 8.

    Examples
    --------
    >>> layer = IntegerPowerLinear([[7, -3]], Fraction(1, 2), weight_top=7, input_top=7)
    >>> layer([[7, 7]])  # 1 - (3 / 7)**2, times 2**16
    array([[53499]])
    """

    def __init__(
        self,
        codes: ArrayLike,
        exponent: Fraction,
        *,
        weight_top: int,
        input_top: int,
        fraction_bits: int = 16,
    ):
        self.codes = np.asarray(codes, dtype=np.int64)
        self.exponent = Fraction(exponent)
        self.input_top = input_top
        if int(np.abs(self.codes).max(initial=0)) > weight_top:
            raise ValueError(f"weight codes must be -{weight_top} to {weight_top}")
        if fraction_bits < 1 or self.codes.shape[1] << fraction_bits >= 2**62:
            raise ValueError(
                f"sums of {self.codes.shape[1]} products with fraction_bits={fraction_bits} need "
                "more than 63 bits, or none: use 1 to 40"
            )
        full = weight_top * input_top
        one = 1 << fraction_bits
        self.table = integer_power(np.arange(full + 1), full, one, 1 / self.exponent)

    def __call__(self, inputs: ArrayLike) -> NDArray[np.int64]:
        """(rows, fan_in) codes to (rows, out) sums in fixed point.

        Raises
        ------
        ValueError
            If a code is beyond ``input_top``.
        """
        x = np.asarray(inputs, dtype=np.int64)
        if int(np.abs(x).max(initial=0)) > self.input_top:
            raise ValueError(f"input codes must be -{self.input_top} to {self.input_top}")
        sums = np.empty((len(x), len(self.codes)), np.int64)
        for row, codes in enumerate(x):
            products = self.codes * codes
            sums[row] = (np.sign(products) * self.table[np.abs(products)]).sum(1)
        return sums
