from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from scipy.integrate import quad
from torch import Tensor

from paperworks.diffusion.integrators import (
    IPNDM,
    SOLVERS,
    AdamsBashforth,
    RungeKutta,
    adams_bashforth_weights,
    solver_named,
)
from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import (
    EDM,
    VE,
    CosineVP,
    DiscreteVP,
    Floats,
    FlowMatching,
    LinearVP,
    Schedule,
)
from paperworks.diffusion.solver import Solver
from paperworks.diffusion.timesteps import power_of_rho, spaced

SCHEDULES = [
    LinearVP(), CosineVP(), DiscreteVP.linear(), VE(), EDM(), FlowMatching(), FlowMatching(3.0),
]  # fmt: skip
MULTISTEP = [AdamsBashforth(order, by) for order in range(4) for by in ("t", "rho")] + [
    IPNDM(order) for order in range(1, 4)
]
SMOOTH = LinearVP(0.1, 8.0, t_min=0.05)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def name(solver: Solver) -> str:
    return solver.name


def equal_steps_of_rho(schedule: Schedule, steps: int) -> Floats:
    return power_of_rho(schedule, steps, exponent=1.0)


# Exactness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_one_point_of_data_is_reached_at_any_step_size(schedule: Schedule, solver: str) -> None:
    """A Gaussian without spread: eps is constant along the flow, the equation linear in x."""
    point = GaussianMixture(torch.ones(1), torch.tensor([[0.5, -2.0]]), torch.zeros(1, 2, 2))
    x = float(schedule.sigma(schedule.t_max)) * torch.randn(3, 2, generator=generator()).double()
    steps = SOLVERS[solver].least_steps
    found = sample(point.model(schedule), schedule, x, solver=solver, steps=steps)
    exact = point.flow(x, schedule, schedule.t_max, schedule.t_min)
    # A stage close to the data divides rounding by its small sigma, and the step is that long.
    low, high = schedule.rho([schedule.t_min, schedule.t_max])
    atol = 1e-14 * high if SOLVERS[solver].stages == 1 else 1e-13 * high**2 / low
    torch.testing.assert_close(found.x, exact, rtol=0, atol=float(atol))
    assert found.evaluations == steps * SOLVERS[solver].stages


@pytest.mark.parametrize("solver", MULTISTEP, ids=name)
@pytest.mark.parametrize("schedule", [LinearVP(), FlowMatching(3.0)], ids=["vp", "flow"])
def test_noise_polynomial_in_the_variable_is_integrated(
    schedule: Schedule, solver: AdamsBashforth | IPNDM
) -> None:
    """Noise that is a polynomial of the solver's degree, and exact values in its history."""
    in_t = solver.name.startswith("tab")
    times = equal_steps_of_rho(schedule, 6) if isinstance(solver, IPNDM) else spaced(schedule, 6)
    polynomial = Polynomial([0.3, -1.2, 0.7, 1.9][: solver.order + 1])

    def noise(t: float) -> float:
        return float(polynomial(t if in_t else schedule.rho(t)))

    def y(step: int) -> float:  # x / alpha, by the integral over rho
        ends = schedule.rho(times[0]), schedule.rho(times[step])
        if not in_t:
            return float(polynomial.integ()(ends[1]) - polynomial.integ()(ends[0]))
        by_rho = lambda r: noise(float(schedule.time_of_rho(np.exp(r)))) * np.exp(r)  # noqa: E731
        return quad(by_rho, *np.log(ends), epsabs=1e-12, epsrel=1e-12, limit=200)[0]

    course = solver.begin(schedule, times)
    for step, t in enumerate(course.times):
        x = torch.tensor([float(schedule.alpha(t)) * y(step)], dtype=torch.float64)
        after = course.advance(torch.full((1,), noise(t), dtype=torch.float64), x)
        if step >= solver.order:
            exact = float(schedule.alpha(times[step + 1])) * y(step + 1)
            scale = max(1.0, abs(exact), abs(float(x)))
            assert float(after) == pytest.approx(exact, abs=2e-9 * scale), step


@pytest.mark.parametrize(("method", "degree"), [("heun", 1), ("kutta3", 3), ("rk4", 3)])
@pytest.mark.parametrize("schedule", [LinearVP(), EDM(0.01, 5.0)], ids=["vp", "edm"])
def test_runge_kutta_integrates_polynomials_of_rho(
    schedule: Schedule, method: str, degree: int
) -> None:
    """Where the noise does not depend on x the tables are quadratures, of known degree."""
    polynomial = Polynomial([0.3, -1.2, 0.07, 0.019, -0.3][: degree + 1])

    def model(x: Tensor, t: float) -> Tensor:
        return torch.full_like(x, float(polynomial(schedule.rho(t))))

    times = schedule.check([schedule.t_max * 0.3, schedule.t_max * 0.2, schedule.t_max * 0.1])
    found = sample(
        model, schedule, torch.zeros(1).double(), solver=f"rho-{method}", times=times
    ).x.item()
    start, end = schedule.rho(times[[0, -1]])
    exact = float(schedule.alpha(times[-1])) * (polynomial.integ()(end) - polynomial.integ()(start))
    assert found == pytest.approx(exact, rel=1e-11)


# Convergence ---------------------------------------------------------------------------------


def slope(
    solver: Solver,
    spacing: Callable[[Schedule, int], Floats],
    steps: int,
    schedule: Schedule = SMOOTH,
) -> float:
    """By which power of the step the error on a mixture falls, with an exact start."""
    mixture = GaussianMixture.random(3, 3, generator(), std=0.5)
    model = mixture.model(schedule)
    start = torch.randn(8, 3, generator=generator(1)).double()
    end = mixture.flow(start, schedule, schedule.t_max, schedule.t_min)
    errors = []
    for count in (steps, 2 * steps):
        times = spacing(schedule, count)
        course = solver.begin(schedule, times)
        x = start
        for step, t in enumerate(course.times.tolist()):
            if 0 < step < solver.least_steps:  # the history that the analysis takes for given
                x = mixture.flow(start, schedule, schedule.t_max, t)
            x = course.advance(model(x, t), x)
        errors.append(float((x - end).norm()))
    return float(np.log2(errors[0] / errors[1]))


@pytest.mark.parametrize(
    ("solver", "steps"),
    [(AdamsBashforth(order, by), 200) for order in range(4) for by in ("t", "rho")]
    + [(RungeKutta("heun"), 20), (RungeKutta("kutta3"), 40), (RungeKutta("rk4"), 20)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_order_on_a_mixture(solver: Solver, steps: int) -> None:
    order = {"rho-heun": 2, "rho-kutta3": 3, "rho-rk4": 4}.get(solver.name, solver.least_steps)
    found = slope(solver, lambda schedule, count: spaced(schedule, count, "quadratic"), steps)
    assert order - 0.1 < found < order + 0.3, found


@pytest.mark.parametrize("order", range(1, 4))
def test_order_of_ipndm(order: int) -> None:
    """In equal steps of rho it is Adams-Bashforth; elsewhere the error falls with the square."""
    narrow = LinearVP(0.1, 3.0, t_min=0.2)
    assert order + 0.7 < slope(IPNDM(order), equal_steps_of_rho, 80, narrow) < order + 1.6
    assert 1.6 < slope(IPNDM(order), lambda s, n: spaced(s, n, "quadratic"), 80) < 2.4


@pytest.mark.parametrize("solver", ["tab1", "tab2", "tab3", "rhoab3", "ipndm"])
def test_order_from_its_own_start(solver: str) -> None:
    """DDIM's first step holds all of them to the second order in the end, and no lower."""
    mixture = GaussianMixture.random(3, 3, generator(), std=0.5)
    x = torch.randn(8, 3, generator=generator(1)).double()
    end = mixture.flow(x, SMOOTH, SMOOTH.t_max, SMOOTH.t_min)
    errors = [
        (sample(mixture.model(SMOOTH), SMOOTH, x, solver=solver, steps=n).x - end).norm()
        for n in (50, 100)
    ]
    assert float((errors[0] / errors[1]).log2()) > 1.75


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_flow_of_a_gaussian_is_approached(solver: str) -> None:
    one = GaussianMixture.random(4, 1, generator(2), std=0.8)
    schedule = CosineVP(t_min=0.01, t_max=0.95)
    x = torch.randn(5, 4, generator=generator(3)).double()
    exact = one.flow(x, schedule, schedule.t_max, schedule.t_min)
    errors = [
        float((sample(one.model(schedule), schedule, x, solver=solver, steps=n).x - exact).norm())
        for n in (10, 120)
    ]
    limit = {"ddim": 0.05, "tab0": 0.05, "rhoab0": 0.05, "ipndm0": 0.05}.get(solver, 2e-3)
    assert errors[1] < limit * float(exact.norm())
    assert errors[1] < errors[0] / 8


# What is what --------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["ddim", "tab0", "rhoab0", "ipndm0"])
def test_order_0_is_ddim(solver: str) -> None:
    """By DDIM's own formula: the data that the noise stands for, with the noise put back."""
    mixture, schedule = GaussianMixture.ring(5), DiscreteVP.linear()
    model = mixture.model(schedule)
    x = torch.randn(4, 2, generator=generator()).double()
    times = spaced(schedule, 7)
    found = sample(model, schedule, x, solver=solver, steps=7).x
    for t, to in pairwise(times.tolist()):
        noise = model(x, t)
        data = (x - float(schedule.sigma(t)) * noise) / float(schedule.alpha(t))
        x = float(schedule.alpha(to)) * data + float(schedule.sigma(to)) * noise
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)


def test_heun_in_rho_is_that_of_karras() -> None:
    """With alpha = 1, algorithm 1 of Karras et al. without its last, shorter step."""
    mixture, schedule = GaussianMixture.ring(5), EDM(0.1, 10.0)
    x = 10 * torch.randn(4, 2, generator=generator()).double()
    times = spaced(schedule, 6, "karras")
    found = sample(mixture.model(schedule), schedule, x, solver="rho-heun", times=times).x
    for t, to in pairwise(times.tolist()):
        slope_ = -t * mixture.score(x, 1.0, t)
        there = x + (to - t) * slope_
        x = x + (to - t) * (slope_ - to * mixture.score(there, 1.0, to)) / 2
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)


def test_the_start_takes_lower_orders() -> None:
    schedule = LinearVP()
    times = tuple(spaced(schedule, 6))
    by_order = [adams_bashforth_weights(schedule, times, order, "t") for order in range(4)]
    for step in range(4):
        assert by_order[3][step] == by_order[step][step]
    assert [len(row) for row in by_order[3]] == [1, 2, 3, 4, 4, 4]
    for row, length in zip(by_order[3], np.diff(schedule.rho(np.array(times))), strict=True):
        assert sum(row) == pytest.approx(length, rel=1e-13)


def test_authors_samplers() -> None:
    """Where eps = sin(3 x) + t ends after ten steps, by the authors' code in float32."""
    schedule, x = LinearVP(), torch.linspace(-1, 1, 5, dtype=torch.float64)
    theirs = {
        ("rhoab2", "quadratic"): [-258.2335, -76.2165, -130.2221, -202.6256, -24.1083],
        ("rho-heun", "quadratic"): [-199.5554, -78.7251, -91.2880, -168.8077, -48.6820],
        ("rho-kutta3", "quadratic"): [-251.0698, -177.9698, -53.9466, 23.3393, -40.3180],
        ("rho-rk4", "quadratic"): [-242.6791, -178.4119, -130.2895, -90.7578, -15.0717],
        ("ipndm", "uniform"): [-328.7936, -161.2843, -168.8360, -186.7951, -21.0674],
    }
    for (solver, spacing), expected in theirs.items():
        found = sample(
            lambda x, t: torch.sin(3 * x) + t, schedule, x, solver=solver, spacing=spacing
        )
        np.testing.assert_allclose(found.x, expected, atol=0.02, err_msg=solver)


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_is_float64_rounded(solver: str) -> None:
    mixture, schedule = GaussianMixture.ring(5, std=0.3), LinearVP()
    x = torch.randn(4, 2, generator=generator())
    found = [
        sample(mixture.model(schedule), schedule, each, solver=solver, steps=12).x
        for each in (x, x.double())
    ]
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), found[1], rtol=0, atol=5e-4)


def test_samples_do_not_depend_on_their_neighbours() -> None:
    mixture, schedule = GaussianMixture.ring(5), LinearVP()
    x = torch.randn(6, 2, generator=generator()).double()
    together = sample(mixture.model(schedule), schedule, x).x
    alone = torch.cat([sample(mixture.model(schedule), schedule, one[None]).x for one in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-13)


def test_a_course_leaves_its_inputs_alone() -> None:
    for solver in SOLVERS.values():
        schedule, x, noise = LinearVP(), torch.ones(2), torch.full((2,), 0.5)
        course = solver.begin(schedule, spaced(schedule, 5))
        for _ in course.times:
            course.advance(noise, x)
        assert x.tolist() == [1, 1]
        assert noise.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: AdamsBashforth(4), "order must be 0, 1, 2 or 3, got 4"),
        (lambda: AdamsBashforth(1, "sigma"), "variable must be 't' or 'rho', got 'sigma'"),
        (lambda: IPNDM(-1), "order must be 0, 1, 2 or 3, got -1"),
        (lambda: RungeKutta("euler"), r"one of heun, kutta3, rk4; got 'euler'"),
        (lambda: solver_named("dpm++"), r"one of ddim, tab0, .*; got 'dpm\+\+'"),
        (lambda: AdamsBashforth(3).check_steps(3), "tab3 needs 4 steps or more, got 3"),
        (lambda: IPNDM(2).check_steps(1), "ipndm2 needs 3 steps or more, got 1"),
    ],
)
def test_bad_settings(call: Callable[[], Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()
