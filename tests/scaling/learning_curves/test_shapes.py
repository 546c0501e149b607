"""The shapes against the law written out, numerical derivatives and root finding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.optimize._numdiff import approx_derivative

from paperworks.scaling.fitting.laws import LAWS
from paperworks.scaling.learning_curves.selection import SHAPES
from paperworks.scaling.learning_curves.shapes import Shape

X = np.geomspace(10, 1e6, 9)
FULL = Shape(plateau=True, floor=True, sharpness=True)


def theta_of(shape: Shape, chance: float | None, values: dict[str, float]) -> np.ndarray:
    return shape.law(chance).theta(values)


def written_out(x: np.ndarray, c: float, e: float, alpha: float, d: float, s: float) -> np.ndarray:
    return e + (c - e) * (1 + (x / d) ** (1 / s)) ** (-alpha * s)


def test_the_law_is_the_one_of_the_page() -> None:
    theta = theta_of(FULL, None, {"E": 0.02, "G": 0.88, "alpha": 0.45, "d": 700.0, "s": 0.6})
    expected = written_out(X, 0.9, 0.02, 0.45, 700.0, 0.6)
    np.testing.assert_allclose(FULL.constants(theta).error(X)[0], expected, rtol=1e-12)
    value, _ = FULL.law().evaluate(theta[None], np.log(X)[:, None])
    np.testing.assert_allclose(np.exp(value[0]), expected, rtol=1e-12)


def test_with_sharpness_one_it_is_the_four_parameter_power_law() -> None:
    shape = Shape(plateau=True, floor=True)
    theta = theta_of(shape, 0.9, {"E": 0.05, "alpha": 0.4, "d": 200.0})
    a = 0.85 * 200**0.4
    expected = 0.05 + a * (X + 200) ** -0.4
    np.testing.assert_allclose(shape.constants(theta, 0.9).error(X)[0], expected, rtol=1e-12)


def test_is_the_cores_broken_law_with_a_first_slope_of_zero() -> None:
    theta = theta_of(FULL, None, {"E": 0.02, "G": 0.88, "alpha": 0.45, "d": 700.0, "s": 0.6})
    broken = {"E": 0.02, "A": 0.88, "alpha": 0.0, "beta": 0.45, "d": 700.0, "s": 0.6}
    expected = LAWS["broken"](broken, {"x": X})
    np.testing.assert_allclose(FULL.constants(theta).error(X)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("chance", [None, 0.9])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_derivatives(shape: Shape, chance: float | None) -> None:
    law = shape.law(chance)
    known = {"E": 0.03, "G": 0.7, "A": 3.0, "alpha": 0.4, "d": 500.0, "s": 0.7}
    theta = law.theta({each.name: known[each.name] for each in law.parameters})
    logx = np.log(X)[:, None]
    _, jacobian = law.evaluate(theta[None], logx)
    numeric = approx_derivative(
        lambda t: law.evaluate(t[None], logx)[0][0], theta, method="3-point"
    )
    np.testing.assert_allclose(jacobian[0], numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_size_undoes_error(shape: Shape) -> None:
    law = shape.law()
    known = {"E": 0.03, "G": 0.7, "A": 3.0, "alpha": 0.4, "d": 500.0, "s": 0.7}
    constants = shape.constants(law.theta({each.name: known[each.name] for each in law.parameters}))
    for target in (0.6, 0.2, 0.05):

        def above(u: float, target: float = target) -> float:
            return float(constants.error(np.exp([u]))[0, 0] - target)

        root = brentq(above, -20, 40, xtol=1e-13)
        assert constants.size(target)[0] == pytest.approx(math.exp(root), rel=1e-8)


def test_size_where_there_is_none_to_find() -> None:
    constants = FULL.constants(
        theta_of(FULL, None, {"E": 0.02, "G": 0.88, "alpha": 0.45, "d": 700.0, "s": 0.6})
    )
    assert constants.size(0.02)[0] == math.inf
    assert constants.size(0.01)[0] == math.inf
    assert constants.size(0.95)[0] == 0.0  # guessing does as well
    flat = Shape().constants(np.array([math.log(0.5), 0.0]))
    assert flat.size(0.4)[0] == math.inf


@given(st.floats(0.05, 1.5), st.floats(1.0, 1e5), st.floats(0.2, 3.0), st.floats(1e-4, 0.3))
def test_local_exponents_and_borders(alpha: float, d: float, s: float, floor: float) -> None:
    theta = theta_of(FULL, 0.9, {"E": floor, "alpha": alpha, "d": d, "s": s})
    constants = FULL.constants(theta, 0.9)
    at = np.array([d / 3, d, 20 * d])
    step = 1e-5
    up, down = (np.log(constants.error(at * math.exp(h))[0]) for h in (step, -step))
    np.testing.assert_allclose(
        constants.slope(at)[0], (down - up) / (2 * step), rtol=1e-5, atol=1e-9
    )
    # At its first border the excess over the floor has half of the exponent.
    excess = constants.slope(at)[0][1] * constants.error(at)[0][1]
    excess /= constants.error(at)[0][1] - floor
    assert excess == pytest.approx(alpha / 2, rel=1e-9)
    # At the second the power law alone is as high as the floor.
    border = constants.irreducible_from[0]
    assert math.exp(constants.log_a[0] - alpha * math.log(border)) == pytest.approx(floor, rel=1e-9)


def test_says_what_it_is() -> None:
    assert str(FULL) == "plateau, power law, floor (own sharpness)"
    assert FULL.law(0.9).formula == "y = E + (0.9 - E) (1 + (x/d)^(1/s))^(-alpha s)"
    assert Shape(plateau=True).law().formula == "y = G (1 + x/d)^-alpha"
    with pytest.raises(ValueError, match="set plateau=True too"):
        Shape(sharpness=True)
