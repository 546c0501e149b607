from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from paperworks.diffusion.extrapolation import extrapolation_weights
from paperworks.diffusion.integrators import EQUAL_STEPS, adams_bashforth_weights
from paperworks.diffusion.schedules import VE, CosineVP, DiscreteVP, LinearVP, Schedule
from paperworks.diffusion.timesteps import spaced

mpmath.mp.dps = 30


def linear_vp(t: mpmath.mpf) -> mpmath.mpf:
    """Sigma / alpha of LinearVP(0.1, 20), by the paper's formula."""
    low, high = mpmath.mpf(0.1), mpmath.mpf(20)
    return mpmath.sqrt(mpmath.expm1(2 * (t**2 * (high - low) / 4 + t * low / 2)))


def cosine_vp(t: mpmath.mpf) -> mpmath.mpf:
    s = mpmath.mpf(0.008)
    alpha = mpmath.cos(mpmath.pi / 2 * (t + s) / (1 + s)) / mpmath.cos(mpmath.pi / 2 * s / (1 + s))
    return mpmath.sqrt(1 / alpha**2 - 1)


def ve(t: mpmath.mpf) -> mpmath.mpf:
    return mpmath.mpf(0.01) * mpmath.mpf(5000) ** t


def by_mpmath(
    rho: Callable[[mpmath.mpf], mpmath.mpf], nodes: np.ndarray, end: float, cuts: list[float]
) -> list[float]:
    nodes = [mpmath.mpf(float(u)) for u in nodes]
    found = []
    for j, own in enumerate(nodes):
        others = [u for i, u in enumerate(nodes) if i != j]

        def weighted(u: mpmath.mpf, own: mpmath.mpf = own, others: list = others) -> mpmath.mpf:
            lagrange = mpmath.fprod((u - other) / (own - other) for other in others)
            return lagrange * mpmath.diff(rho, u)

        found.append(float(mpmath.quad(weighted, [nodes[0], *cuts, mpmath.mpf(float(end))])))
    return found


@pytest.mark.parametrize(
    ("schedule", "rho"), [(LinearVP(), linear_vp), (CosineVP(), cosine_vp), (VE(), ve)]
)
@pytest.mark.parametrize(("spacing", "order"), [("quadratic", 3), ("uniform", 2), ("logrho", 1)])
def test_weights_in_t_to_the_last_digits(
    schedule: Schedule, rho: Callable, spacing: str, order: int
) -> None:
    times = spaced(schedule, 6, spacing)
    weights = adams_bashforth_weights(schedule, tuple(times), order, "t")
    for step in (order, 5):
        nodes = times[step - order : step + 1][::-1]
        middle = [(times[step] + times[step + 1]) / 2]
        exact = by_mpmath(rho, nodes, times[step + 1], middle)
        scale = np.abs(exact).max()
        np.testing.assert_allclose(weights[step], exact, rtol=0, atol=3e-14 * scale)


def test_weights_of_a_discrete_schedule() -> None:
    """Rho has kinks at the steps of the training; SciPy goes from one to the next."""
    schedule, times = DiscreteVP.linear(1000), (999.0, 850.0, 700.0, 560.0)
    found = adams_bashforth_weights(schedule, times, 2, "t")[2]
    exact = []
    for j in range(3):
        nodes = times[2::-1]
        first, second = np.delete(nodes, j)
        parts = [
            quad(
                lambda t, both=first + second: (2 * t - both) * float(schedule.rho(t)),
                k, k - 1, epsabs=0, epsrel=2e-14,
            )[0]
            for k in range(700, 560, -1)
        ]  # fmt: skip
        ends = [(t - first) * (t - second) * float(schedule.rho(t)) for t in (700, 560)]
        exact.append((ends[1] - ends[0] - sum(parts)) / ((nodes[j] - first) * (nodes[j] - second)))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-13 * np.abs(exact).max())


@pytest.mark.parametrize("order", range(4))
def test_equal_steps_are_adams_and_bashforth(order: int) -> None:
    found = extrapolation_weights(np.asarray, np.arange(0.0, -order - 1, -1), 1.0)
    np.testing.assert_allclose(found, EQUAL_STEPS[order], rtol=1e-13)


def test_authors_numbers() -> None:
    """What the authors' code gives for beta from 0.1 to 20 and ten steps of sqrt(t) from 1 to 1e-3.

    Theirs hold alpha at the step's end, and are Riemann sums of 10,000 points in float32.
    """
    theirs = {
        0: [-4.3343754],
        1: [-3.1959822, 0.81880993],
        2: [-2.2201760, 1.1830654, -0.32454735],
        3: [-1.5387009, 1.2235591, -0.63275534, 0.12855284],
        6: [-0.46462440, 0.34680185, -0.16281995, 0.030185042],
        9: [-0.080063932, 0.033565782, -0.010530793, 0.0014192093],
    }
    schedule = LinearVP()
    times = spaced(schedule, 10, "quadratic")
    weights = adams_bashforth_weights(schedule, tuple(times), 3, "t")
    for step, expected in theirs.items():
        found = float(schedule.alpha(times[step + 1])) * np.array(weights[step])
        np.testing.assert_allclose(found, expected, rtol=2e-4)


@given(
    gaps=st.lists(st.floats(0.2, 2), min_size=1, max_size=4),
    step=st.floats(0.2, 2),
    polynomial=st.lists(st.floats(-2, 2), min_size=4, max_size=4),
)
def test_polynomials_are_integrated_exactly(
    gaps: list[float], step: float, polynomial: list[float]
) -> None:
    """Over rho = exp(u), where the integral of a polynomial is known."""
    nodes = np.cumsum([0, *gaps[1:]])  # the newest is at 0, the older ones above
    coefficients = polynomial[: len(nodes)]
    found = extrapolation_weights(np.exp, nodes, -step) @ np.polynomial.Polynomial(coefficients)(
        nodes
    )
    integral = np.polynomial.Polynomial(coefficients)
    exact, sign = 0.0, 1.0  # integral of p exp = (p - p' + p'' - ...) exp
    while True:
        exact += sign * (integral(-step) * np.exp(-step) - integral(0.0))
        if integral.degree() == 0:
            break
        integral, sign = integral.deriv(), -sign
    assert found == pytest.approx(exact, rel=1e-11, abs=1e-11)


def test_log_rho_is_the_closed_form_of_diffusers() -> None:
    """With the polynomial in log(rho), which diffusers' DEIS has, weights have closed forms."""
    rho = [9.0, 4.0, 2.0]  # the two nodes, the older first, and the end

    def antiderivative(t: float, b: float, c: float) -> float:
        return t * (-np.log(c) + np.log(t) - 1) / (np.log(b) - np.log(c))

    newer = antiderivative(rho[2], rho[1], rho[0]) - antiderivative(rho[1], rho[1], rho[0])
    older = antiderivative(rho[2], rho[0], rho[1]) - antiderivative(rho[1], rho[0], rho[1])
    found = extrapolation_weights(np.exp, np.log([rho[1], rho[0]]), np.log(rho[2]))
    np.testing.assert_allclose(found, [newer, older], rtol=1e-13)


def test_an_end_where_rho_has_a_root() -> None:
    """Close to t = 0 rho goes like sqrt(t): intervals are halved towards it."""
    found = extrapolation_weights(np.sqrt, [1.0, 2.0], 1e-4)
    by_hand = [2 * (0.01 - 1) - (1e-6 - 1) / 3, (1e-6 - 1) / 3 - (0.01 - 1)]
    np.testing.assert_allclose(found, by_hand, rtol=1e-13)


def test_a_rho_that_is_not_finite_is_refused() -> None:
    with np.errstate(invalid="ignore"), pytest.raises(RuntimeError, match=r"1\.0 to 0\.0 do not"):
        extrapolation_weights(lambda u: np.log(np.asarray(u) - 0.1), [1.0, 2.0], 0.0)


def test_weights_are_kept() -> None:
    schedule, times = LinearVP(), tuple(spaced(LinearVP(), 5))
    first = adams_bashforth_weights(schedule, times, 2, "t")
    assert adams_bashforth_weights(schedule, times, 2, "t") is first
    assert adams_bashforth_weights(LinearVP(0.2), times, 2, "t") != first
