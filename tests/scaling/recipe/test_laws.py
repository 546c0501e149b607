"""The law as the fit sees it: derivatives by differences, and what is held."""

from __future__ import annotations

import numpy as np
import pytest

from paperworks.scaling import TrajectoryLaw
from paperworks.scaling.recipe.laws import CONSTANTS, TRAJECTORY, Centred

THETA = np.array(
    [
        [np.log(6.5e13), 0.077, np.log(2.1e3), 0.76, np.log(2.1e8), 0.21],
        [np.log(1e6), 0.4, np.log(30.0), 0.5, np.log(1e4), 0.9],
    ]
)
LOGX = np.log([[1e6, 1e3, 1e5], [1e9, 1e5, 1e6], [5e4, 20, 256], [1e6, 1e4, 1e8]])


def test_values_are_those_of_the_law() -> None:
    for theta in THETA:
        log_nc, a, log_sc, s, log_b, b = theta
        law = TrajectoryLaw(np.exp(log_nc), a, np.exp(log_sc), s, np.exp(log_b), b)
        found = TRAJECTORY.evaluate(theta[None], LOGX)[0][0]
        np.testing.assert_allclose(found, np.log(law.loss(*np.exp(LOGX.T))), rtol=1e-10)


def test_jacobian_by_differences() -> None:
    _, jacobian = TRAJECTORY.evaluate(THETA, LOGX)
    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-6
        up, down = (TRAJECTORY.evaluate(THETA + sign * step, LOGX)[0] for sign in (1, -1))
        np.testing.assert_allclose(jacobian[..., i], (up - down) / 2e-6, rtol=2e-5, atol=1e-9)


CENTRE = Centred(n=np.log(2e6), s=np.log(3e3), b=np.log(1e5), u=np.log(3.0))


def test_centred_numbers_and_back() -> None:
    inner = CENTRE.inward(THETA)
    np.testing.assert_allclose(CENTRE.outward(inner), THETA, rtol=1e-12)
    first = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
    assert np.exp(inner[0, 0]) == pytest.approx(float(first.minimum_loss(2e6)))
    assert np.exp(inner[0, 4]) == pytest.approx(float(first.critical_batch(3.0)) / 1e5)


def test_centred_jacobian_by_differences() -> None:
    law, inner = CENTRE.law(), CENTRE.inward(THETA)
    value, jacobian = law.evaluate(inner, LOGX)
    np.testing.assert_allclose(value, TRAJECTORY.evaluate(THETA, LOGX)[0], rtol=1e-12)
    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-6
        up, down = (law.evaluate(inner + sign * step, LOGX)[0] for sign in (1, -1))
        np.testing.assert_allclose(jacobian[..., i], (up - down) / 2e-6, rtol=2e-5, atol=1e-9)


def test_held_constants_have_no_derivative() -> None:
    inner = CENTRE.inward(THETA)
    value, free = CENTRE.law().evaluate(inner, LOGX)
    same, held = CENTRE.law("B_star", "alpha_B").evaluate(inner, LOGX)
    np.testing.assert_array_equal(held[..., :4], free[..., :4])
    assert not held[..., 4:].any()
    np.testing.assert_array_equal(value, same)
    assert tuple(p.name for p in TRAJECTORY.parameters) == CONSTANTS
