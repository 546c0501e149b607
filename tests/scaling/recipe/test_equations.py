"""The law itself, against root finding, minimisation and what Kaplan et al. say of it in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from paperworks.scaling import TrajectoryLaw

LAW = TrajectoryLaw(6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)

sizes = st.floats(1e4, 1e12)
steps = st.floats(10, 1e7)
batches = st.floats(1e2, 1e8)


def by_root_finding(law: TrajectoryLaw, N: float, S: float, B: float) -> float:
    """Written from the paper's equations, with no logarithm in sight."""

    def off(loss: float) -> float:
        critical = law.B_star / loss ** (1 / law.alpha_B)
        s_min = S / (1 + critical / B)
        return loss - (law.N_c / N) ** law.alpha_N - (law.S_c / s_min) ** law.alpha_S

    return brentq(off, 1e-6, 1e12, xtol=1e-12, rtol=1e-14)


@given(sizes, steps, batches)
def test_loss_is_the_root(N: float, S: float, B: float) -> None:
    assert float(LAW.loss(N, S, B)) == pytest.approx(by_root_finding(LAW, N, S, B), rel=1e-9)


@given(
    st.floats(0.02, 1.0), st.floats(0.1, 2.0), st.floats(0.05, 3.0), sizes, steps, batches,
)  # fmt: skip
def test_loss_is_the_root_for_other_constants(
    a: float, b: float, c: float, N: float, S: float, B: float
) -> None:
    law = TrajectoryLaw(1e9, a, 50.0, b, 1e5, c)
    assert float(law.loss(N, S, B)) == pytest.approx(by_root_finding(law, N, S, B), rel=1e-8)


@given(sizes, steps, batches)
def test_steps_to_undoes_loss(N: float, S: float, B: float) -> None:
    loss = LAW.loss(N, S, B)
    floor = float(LAW.minimum_loss(N))
    if float(loss) / floor - 1 < 1e-4:  # what is left over has lost its digits
        return
    assert float(LAW.steps_to(loss, N, B)) == pytest.approx(S, rel=1e-7)
    assert float(LAW.tokens_to(loss, N, B)) == pytest.approx(S * B, rel=1e-7)


@given(sizes, st.floats(1.01, 3.0), batches)
def test_steps_and_tokens_lie_on_the_hyperbola(N: float, over: float, B: float) -> None:
    """(S / S_min - 1)(E / E_min - 1) = 1, equation 5.1 of Kaplan et al."""
    loss = over * float(LAW.minimum_loss(N))
    s = float(LAW.steps_to(loss, N, B)) / float(LAW.min_steps_to(loss, N))
    e = float(LAW.tokens_to(loss, N, B)) / float(LAW.min_tokens_to(loss, N))
    if min(s, e) - 1 > 1e-6:
        assert (s - 1) * (e - 1) == pytest.approx(1, rel=1e-5)


def test_kaplan_in_words() -> None:
    """Section 5.1: the critical batch about doubles for each 13 % that the loss falls."""
    ratio = float(LAW.critical_batch(0.87 * 3.0) / LAW.critical_batch(3.0))
    assert 1.9 < ratio < 2.05
    # At the critical batch, both steps and tokens are twice their least.
    loss, N = 3.0, 1e9
    B = LAW.critical_batch(loss)
    assert float(LAW.steps_to(loss, N, B) / LAW.min_steps_to(loss, N)) == pytest.approx(2)
    assert float(LAW.tokens_to(loss, N, B) / LAW.min_tokens_to(loss, N)) == pytest.approx(2)


def test_limits() -> None:
    assert float(LAW.minimum_loss(6.5e13)) == 1
    assert float(LAW.loss(1e9, 1e30, 1e6)) == pytest.approx(float(LAW.minimum_loss(1e9)))
    endless = float(LAW.loss(1e9, 1e4, 1e25))
    assert endless == pytest.approx(float(LAW.minimum_loss_after(1e9, 1e4)))
    assert float(LAW.min_steps_to(0.9 * float(LAW.minimum_loss(1e9)), 1e9)) == math.inf


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.8])
def test_best_batch_is_the_minimum(weight: float) -> None:
    loss, N = 2.8, 1e9

    def cost(log_batch: float) -> float:
        B = math.exp(log_batch)
        s, e = float(LAW.steps_to(loss, N, B)), float(LAW.tokens_to(loss, N, B))
        return weight * math.log(s) + (1 - weight) * math.log(e)

    found = minimize_scalar(cost, bounds=(0, 40), method="bounded", options={"xatol": 1e-9})
    assert float(LAW.best_batch(loss, weight)) == pytest.approx(math.exp(found.x), rel=1e-5)


def test_batch_for_steps() -> None:
    loss, N = 2.8, 1e9
    least = float(LAW.min_steps_to(loss, N))
    batch = float(LAW.batch_for_steps(loss, N, 1.3 * least))
    assert float(LAW.steps_to(loss, N, batch)) == pytest.approx(1.3 * least)
    assert float(LAW.batch_for_steps(loss, N, 0.9 * least)) == math.inf


def test_constants_broadcast_as_draws() -> None:
    N_c = np.array([5e13, 6.5e13, 8e13])
    many = TrajectoryLaw(N_c, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
    S = np.array([1e3, 1e4])
    together = many.loss(1e9, S[:, None], 1e6)
    assert together.shape == (2, 3)
    for i, each in enumerate(N_c):
        alone = TrajectoryLaw(each, 0.077, 2.1e3, 0.76, 2.1e8, 0.21)
        np.testing.assert_allclose(together[:, i], alone.loss(1e9, S, 1e6), rtol=1e-12)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"alpha_S must be finite and > 0, got -1.0"):
        TrajectoryLaw(1, 1, 1, -1, 1, 1)
    with pytest.raises(ValueError, match=r"N must be finite and > 0, got 0.0"):
        LAW.minimum_loss([1e6, 0])
    with pytest.raises(ValueError, match=r"S must be finite and > 0, got nan"):
        LAW.loss(1e6, math.nan, 1e5)
    with pytest.raises(ValueError, match=r"time_weight must be between 0 and 1, got 1"):
        LAW.best_batch(3.0, 1)
