from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import KroghInterpolator

from paperworks.diffusion.schedules import (
    EDM,
    CosineVP,
    DiscreteVP,
    Floats,
    FlowMatching,
    LinearVP,
    Schedule,
)
from paperworks.diffusion.timesteps import spaced
from paperworks.diffusion.usf.coefficients import EQUAL_CORRECTED, function_key, moves
from paperworks.diffusion.usf.decisions import Decisions, Step
from paperworks.diffusion.usf.presets import ddim, deis, dpm_solver, unipc
from paperworks.diffusion.usf.space import Space

SCHEDULES = [LinearVP(), DiscreteVP.linear(), CosineVP(), EDM(0.01, 10.0), FlowMatching(2.0)]


def random(schedule: Schedule, steps: int, seed: int) -> Decisions:
    return Space(schedule, steps).random(np.random.default_rng(seed))


# An oracle: the steps one after another, every integral by quadrature ---------------------------


def scaled(step: Step, h: float, z: float) -> float:
    """Of the first derivative, by the formulas of UniPC and of the authors' code."""
    b = {"bh1": z, "bh2": np.exp(z) - 1}
    if step.scaling in b:
        return 0.5 * b[str(step.scaling)] / ((np.exp(z) - 1) / z - 1)
    signs = {"exp+": 0.5, "exp-": -0.5}
    if step.scaling in signs:
        return 1 + signs[str(step.scaling)] * (np.exp(z) - 1)
    return 1 + (0.0 if isinstance(step.scaling, str) else step.scaling) * h


def moved(
    schedule: Schedule, step: Step, times: Floats, values: Sequence[float], start: int, end: int
) -> float:
    """The integral of the predicted noise (or data) over rho (or 1 / rho)."""
    lam = 0.5 * schedule.log_snr(times)
    noise = step.prediction == "noise"

    def measure(at: float) -> float:
        return -np.exp(-at) if noise else np.exp(at)

    def integral(function: Callable[[float], float]) -> float:
        cuts = (
            lam[0] + np.arange(1, 8) / 8 * (lam[-1] - lam[0])
            if not isinstance(schedule, DiscreteVP)
            else 0.5 * schedule.log_snr(np.arange(times[end], times[start])[::-1])
        )
        edges = [lam[start], *cuts[(cuts > lam[start]) & (cuts < lam[end])], lam[end]]
        return sum(
            quad(lambda at: measure(at) * function(at), a, b, epsabs=1e-12, epsrel=1e-12)[0]
            for a, b in itertools.pairwise(edges)
        )

    corrected = len(values) > end
    newest = end - 1
    if step.estimate == "taylor":
        last = [p for p in range(4) if p != step.start][: step.order - 1]
        points = [[newest - p for p in used] for used in step.points or [last] * len(last)]
        if corrected:
            points = [[*used, end] for used in points] or [[end]]
            if step.order > 1:
                points.append(points[-1])
        h = lam[end] - lam[start]
        factor = scaled(step, h, h if noise else -h)
        total = integral(lambda at: values[start])
        for k, used in enumerate(points, 1):
            nodes = [start, *used]
            slope = float(
                KroghInterpolator(lam[nodes], np.array(values)[nodes]).derivative(lam[start], k)
            )
            if k == 1 and len(points) == 1 + (not corrected) * (step.order - 2):
                slope *= factor
            total += slope * integral(lambda at, k=k: (at - lam[start]) ** k / factorial(k))  # type: ignore[misc]
        return total
    nodes = [*range(newest, newest - step.order, -1), *([end] if corrected else [])]
    inside = np.array(values)[nodes]
    if step.estimate == "adams-equal":
        # For equal steps the polynomial through these nodes, which is what the weights are.
        grid = np.array([-float(newest - node) for node in nodes])
        rho = schedule.rho(times) if noise else 1 / schedule.rho(times)
        polynomial = KroghInterpolator(grid, inside)
        return float(quad(polynomial, 0, 1)[0]) * (rho[end] - rho[start])

    def variable(t: float) -> float:
        if step.estimate == "adams-t":
            return t
        return float(schedule.rho(t)) if noise else 1 / float(schedule.rho(t))

    polynomial = KroghInterpolator([variable(t) for t in times[nodes]], inside)
    return integral(lambda at: float(polynomial(variable(schedule.time_of_log_snr(2 * at)))))  # type: ignore[arg-type]


def followed(schedule: Schedule, decisions: Decisions, noises: Floats, y: float) -> list[float]:
    """``x / alpha`` where the network is asked, and at the end."""
    times = np.array(decisions.times)
    rho = schedule.rho(times)
    asked, known, eps, data = [y], [y], [noises[0]], [y - rho[0] * noises[0]]
    for index, step in enumerate(decisions.steps):
        start, end = index - step.start, index + 1

        def reached(step: Step, start: int, end: int) -> float:
            if step.prediction == "noise":
                return known[start] + moved(schedule, step, times, eps, start, end)
            change = moved(schedule, step, times, data, start, end)
            return rho[end] * (known[start] / rho[start] + change)

        asked.append(reached(step, start, end))
        known.append(asked[-1])
        if end < len(decisions):
            eps.append(noises[end])
            data.append(asked[end] - rho[end] * noises[end])
            if step.corrector:
                known[end] = reached(step, start, end)
    return asked


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: type(each).__name__)
def test_steps_are_the_integrals_that_they_name(schedule: Schedule, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = 2 + seed % 4
    decisions = random(schedule, steps, seed)
    noises = rng.standard_normal(steps)
    rho = schedule.rho(decisions.times)
    y = float(rho[0] * rng.standard_normal())
    found = y + np.concatenate(
        [[0.0], np.cumsum(moves(schedule, decisions.times, decisions.steps) @ noises)]
    )
    np.testing.assert_allclose(
        found, followed(schedule, decisions, noises, y), rtol=1e-8, atol=1e-8 * rho[0]
    )


@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize("prediction", ["noise", "data"])
def test_steps_from_an_earlier_point(prediction: str, start: int) -> None:
    schedule = LinearVP()
    steps = [Step(corrector=True), Step(2, "data"), Step(start + 1, prediction, start=start)]
    decisions = Decisions((1.0, 0.7, 0.5, 0.2), tuple(steps))
    noises = np.array([0.3, -1.0, 0.7])
    found = np.cumsum(moves(schedule, decisions.times, steps) @ noises)
    np.testing.assert_allclose(
        found, followed(schedule, decisions, noises, 0.0)[1:], rtol=1e-9, atol=1e-9
    )


# What must hold for all --------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), steps=st.integers(1, 8), which=st.integers(0, len(SCHEDULES) - 1)
)
def test_noise_that_stays_is_integrated_exactly(seed: int, steps: int, which: int) -> None:
    """Rows sum to the step of rho, and none uses a prediction that is not there."""
    decisions = random(SCHEDULES[which], steps, seed)
    found = moves(SCHEDULES[which], decisions.times, decisions.steps)
    lengths = np.diff(SCHEDULES[which].rho(decisions.times))
    size = np.abs(found).sum(1)
    assert (np.abs(found.sum(1) - lengths) <= 1e-11 * size.max()).all()
    assert (found[np.triu_indices(steps, 1)] == 0).all()


def test_noise_expansions_use_their_own_predictions_alone() -> None:
    times = spaced(LinearVP(), 6)
    assert np.count_nonzero(moves(LinearVP(), times, dpm_solver(times, plus=False).steps)) == 6 + 4
    assert np.count_nonzero(moves(LinearVP(), times, ddim(times).steps)) == 6


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_weights_of_adams_and_moulton(order: int) -> None:
    """Against the integral of the polynomial over one step of equal ones."""
    grid = np.array([*range(0, -order, -1), 1.0])
    for node, weight in enumerate(EQUAL_CORRECTED[order - 1]):
        polynomial = KroghInterpolator(grid, np.eye(order + 1)[node])
        assert weight == pytest.approx(quad(polynomial, 0, 1)[0], abs=1e-12)


# Names of functions ------------------------------------------------------------------------------

SAME = [
    # At order 1 nothing else matters, but for the corrector.
    ([Step()], [Step(1, "data", scaling="bh2")]),
    ([Step(), Step(), Step()], [Step(1, "data"), Step(1, estimate="adams-t"), Step(scaling=0.3)]),
    # A full Taylor expansion is the polynomial, whatever the order of its points.
    ([Step(), Step(2), Step(3)], [Step(), Step(2), Step(3, points=((2, 1), (1, 2)))]),
    # One derivative, halved or not.
    ([Step(), Step(2)], [Step(), Step(2, scaling="3m")]),
    ([Step(), Step(2, scaling=0.0)], [Step(), Step(2, scaling="none")]),
    # The start, named as an earlier one of which nothing happened since.
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_equal_samplers_have_one_name(one: list[Step], two: list[Step]) -> None:
    times = tuple(spaced(LinearVP(), len(one)))
    first, second = Decisions(times, tuple(one)), Decisions(times, tuple(two))
    assert first != second
    assert function_key(LinearVP(), first) == function_key(LinearVP(), second)


def test_solvers_that_are_one_under_two_names() -> None:
    times, schedule = spaced(LinearVP(), 6), LinearVP()
    pairs = [
        (deis(times, 1, variable="t"), ddim(times)),
        (deis(times, 3), unipc(times, 3, data=False, variant="none", corrector=False)),
        (dpm_solver(times, 2), unipc(times, 2, corrector=False)),
    ]
    for one, two in pairs:
        assert function_key(schedule, one) == function_key(schedule, two)


def test_other_times_are_another_sampler() -> None:
    """Though the steps of DDIM, each as a part of its own length, are the same."""
    keys = {
        function_key(LinearVP(), ddim(spaced(LinearVP(), 3, each)))
        for each in ("uniform", "logrho")
    }
    assert len(keys) == 2


def test_low_order_estimates_are_another_sampler() -> None:
    times = spaced(LinearVP(), 3)
    keys = {
        function_key(LinearVP(), Decisions(times.tolist(), [Step(), Step(2), step]))
        for step in (Step(3), Step(3, points=[[1], [1, 2]]), Step(3, points=[[2], [1, 2]]))
    }
    assert len(keys) == 3


def test_other_samplers_have_other_names() -> None:
    times = spaced(LinearVP(), 5)
    base = unipc(times, 3)
    changed = [base, replace(base, times=(*base.times[:2], 0.2, *base.times[3:]))]
    for index in range(5):
        for change in (
            {"order": 1},
            {"prediction": "noise"},
            {"scaling": 0.1},
            {"corrector": index < 4 and not base.steps[index].corrector},
        ):
            step = replace(base.steps[index], **change)  # type: ignore[arg-type]
            changed.append(
                replace(base, steps=(*base.steps[:index], step, *base.steps[index + 1 :]))
            )
    keys = [function_key(LinearVP(), each) for each in changed]
    moved_by = [moves(LinearVP(), each.times, each.steps) for each in changed]
    for i in range(len(keys)):
        for j in range(i):
            same = changed[i].times == changed[j].times and np.allclose(
                moved_by[i], moved_by[j], rtol=1e-9, atol=1e-9
            )
            assert (keys[i] == keys[j]) == same
    assert len(set(keys)) > 12
    assert function_key(LinearVP(), base) != function_key(LinearVP(0.1, 19.0), base)
