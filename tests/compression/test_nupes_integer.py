"""Integers alone, against rational arithmetic that is exact."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks.compression.nupes import (
    IntegerPowerLinear,
    integer_power,
    integer_root,
    power_grid,
)
from paperworks.compression.nupes.grid import sign_magnitude

exponents = st.builds(Fraction, st.integers(1, 16), st.integers(1, 16))


@given(st.lists(st.integers(0, 10**60), min_size=1, max_size=5), st.integers(1, 20))
def test_root_is_the_largest_whose_power_fits(values: list[int], degree: int) -> None:
    for value, root in zip(values, integer_root(values, degree), strict=True):
        assert root**degree <= value < (root + 1) ** degree
        if degree == 2:
            assert root == math.isqrt(value)


@given(st.integers(0, 10**9), st.integers(1, 12))
def test_root_of_a_power_is_exact(root: int, degree: int) -> None:
    assert integer_root([root**degree], degree)[0] == root
    if root:
        assert integer_root([root**degree - 1], degree)[0] == root - 1


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**9), st.integers(1, 300), exponents)
@settings(max_examples=100, deadline=None)
def test_power_is_rounded_exactly(value: int, full: int, top: int, exponent: Fraction) -> None:
    k = int(integer_power(value, full, top, exponent))
    assert (k > 0) - (k < 0) in (0, (value > 0) - (value < 0))
    ratio = Fraction(min(abs(value), full), full)
    p, q = exponent.numerator, exponent.denominator
    # k - 1/2 <= top * ratio**(p / q) < k + 1/2, with both sides to the power q.
    inner = (top**q) * ratio**p
    if k:
        assert (abs(k) - Fraction(1, 2)) ** q <= inner
    assert inner < (abs(k) + Fraction(1, 2)) ** q


@given(st.integers(2, 8), exponents)
def test_power_undoes_the_levels(bits: int, exponent: Fraction) -> None:
    top = 2 ** (bits - 1) - 1
    one = 10**40  # fine enough for the smallest level of any of these
    levels = [
        int(
            integer_root(
                [one**exponent.numerator * k**exponent.denominator // top**exponent.denominator],
                exponent.numerator,
            )[0]
        )
        for k in range(top + 1)
    ]
    assert integer_power(levels, one, top, exponent).tolist() == list(range(top + 1))


@given(st.integers(0, 2**31), exponents, st.sampled_from([(7, 7), (3, 7), (7, 127)]))
@settings(max_examples=40, deadline=None)
def test_a_product_of_codes_stands_for_the_product(
    seed: int, exponent: Fraction, tops: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    weight_top, input_top = tops
    codes = rng.integers(-weight_top, weight_top + 1, (4, 9))
    inputs = rng.integers(-input_top, input_top + 1, (3, 9))
    layer = IntegerPowerLinear(
        codes, exponent, weight_top=weight_top, input_top=input_top, fraction_bits=24
    )
    power = float(1 / exponent)
    w = np.sign(codes) * (np.abs(codes) / weight_top) ** power
    x = np.sign(inputs) * (np.abs(inputs) / input_top) ** power
    # Each of the nine products is off by half a unit at most.
    assert np.abs(layer(inputs) / 2**24 - x @ w.T).max() <= 9 * 2.0**-25 * (1 + 1e-6)


def test_table_is_exact_for_the_square() -> None:
    layer = IntegerPowerLinear([[1]], Fraction(1, 2), weight_top=7, input_top=7, fraction_bits=10)
    wanted = [math.floor(Fraction(1024 * m * m, 49**2) + Fraction(1, 2)) for m in range(50)]
    assert layer.table.tolist() == wanted


def test_two_layers_agree_with_the_packed_grid() -> None:
    # The whole chain in integers, beside the same levels in floating point.
    rng = np.random.default_rng(0)
    exponent, top = Fraction(1, 2), 7
    first, second = rng.integers(-7, 8, (16, 32)), rng.integers(-7, 8, (5, 16))
    inputs = rng.integers(-7, 8, (20, 32))
    layers = [
        IntegerPowerLinear(each, exponent, weight_top=7, input_top=7, fraction_bits=20)
        for each in (first, second)
    ]
    sums = np.maximum(layers[0](inputs), 0)  # a ReLU
    full = int(sums.max())
    codes = integer_power(sums, full, top, exponent)
    result = layers[1](codes) / 2**20
    grid = power_grid(4, float(exponent))
    decode = lambda k: grid.decode(sign_magnitude(torch.from_numpy(k).float(), 4)).double()  # noqa: E731
    hidden = torch.relu(decode(inputs) @ decode(first).T)
    hidden = (7 * (hidden / hidden.max()) ** 0.5).round()
    assert np.array_equal(hidden.numpy().astype(int), codes)
    wanted = decode(codes) @ decode(second).T
    np.testing.assert_allclose(result, wanted.numpy(), atol=16 * 2.0**-20)


def test_refuses_what_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="degree must be >= 1, got 0"):
        integer_root([4], 0)
    with pytest.raises(ValueError, match="values >= 0, got -4"):
        integer_root([9, -4], 2)
    with pytest.raises(ValueError, match="full must be > 0, got 0"):
        integer_power([1], 0, 7, Fraction(1, 2))
    with pytest.raises(ValueError, match="exponent must be > 0, got -1/2"):
        integer_power([1], 9, 7, Fraction(-1, 2))
    with pytest.raises(ValueError, match="weight codes must be -7 to 7"):
        IntegerPowerLinear([[8]], Fraction(1, 2), weight_top=7, input_top=7)
    with pytest.raises(ValueError, match="fraction_bits=62"):
        IntegerPowerLinear([[1]], Fraction(1, 2), weight_top=7, input_top=7, fraction_bits=62)
    layer = IntegerPowerLinear([[1]], Fraction(1, 2), weight_top=7, input_top=7)
    with pytest.raises(ValueError, match="input codes must be -7 to 7"):
        layer([[9]])
