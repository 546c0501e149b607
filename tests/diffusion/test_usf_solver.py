from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import (
    EDM,
    CosineVP,
    DiscreteVP,
    FlowMatching,
    LinearVP,
    Schedule,
)
from paperworks.diffusion.timesteps import log_rho, spaced
from paperworks.diffusion.usf.decisions import Decisions, Step
from paperworks.diffusion.usf.presets import deis, dpm_solver, unipc
from paperworks.diffusion.usf.solver import USFSolver
from paperworks.diffusion.usf.space import Space

SCHEDULE = LinearVP()
MIXTURE = GaussianMixture.ring(5)
MODEL = MIXTURE.model(SCHEDULE)


def noise(seed: int = 0) -> Tensor:
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(seed)).double()


def run(decisions: Decisions, x: Tensor, model: Any = MODEL, **settings: Any) -> Tensor:
    solver = USFSolver(decisions)
    return sample(model, SCHEDULE, x, solver=solver, times=decisions.times, **settings).x


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "schedule",
    [LinearVP(), CosineVP(), DiscreteVP.linear(), EDM(), FlowMatching()],
    ids=lambda each: type(each).__name__,
)
def test_one_point_of_data_is_reached_by_any_schedule(schedule: Schedule, seed: int) -> None:
    """Without spread the noise, and the data, is the same all along the flow."""
    point = GaussianMixture(torch.ones(1), torch.tensor([[0.5, -2.0]]), torch.zeros(1, 2, 2))
    decisions = Space(schedule, 5).random(np.random.default_rng(seed))
    x = float(schedule.sigma(schedule.t_max)) * noise()
    solver = USFSolver(decisions)
    found = sample(point.model(schedule), schedule, x, solver=solver, times=decisions.times)
    exact = point.flow(x, schedule, schedule.t_max, schedule.t_min)
    low, high = schedule.rho([schedule.t_min, schedule.t_max])
    torch.testing.assert_close(found.x, exact, rtol=0, atol=float(1e-13 * high**2 / low))
    assert found.evaluations == 5


def slope(make: Any, counts: tuple[int, int] = (40, 80)) -> float:
    """How the error falls with the steps, on one Gaussian."""
    schedule = LinearVP(0.1, 8.0, t_min=0.05)
    gaussian = GaussianMixture.random(3, 1, torch.Generator().manual_seed(1))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    exact = gaussian.flow(x, schedule, schedule.t_max, schedule.t_min)
    errors = []
    for count in counts:
        decisions = make(log_rho(schedule, count))
        solver = USFSolver(decisions)
        found = sample(gaussian.model(schedule), schedule, x, solver=solver, times=decisions.times)
        errors.append(float((found.x - exact).abs().mean()))
    return float(np.log(errors[0] / errors[1]) / np.log(counts[1] / counts[0]))


def every(step: Step, times: Any) -> Decisions:
    """The same at all steps, as far as it goes."""
    count = len(times) - 1
    steps = [
        step if step.reach <= index + 1 else Step(1, step.prediction) for index in range(count)
    ]
    steps[-1] = Step(1, step.prediction)
    return Decisions(tuple(times), tuple(steps))


@pytest.mark.parametrize(
    ("step", "order"),
    [
        (Step(1), 1),
        (Step(1, "data"), 1),
        (Step(2), 2),
        (Step(2, "data", scaling="bh1"), 2),
        (Step(2, "data", scaling="bh2"), 2),
        (Step(2, "noise", scaling="exp-"), 2),
        (Step(2, "data", "adams-t"), 2),
        (Step(2, "data", "adams-rho"), 2),
        (Step(3, "data", points=((1,), (1, 2))), 2),  # the first derivative's error is that large
        (Step(1, "noise", corrector=True), 2),
        (Step(1, "data", corrector=True), 2),
    ],
    ids=str,
)
def test_orders_are_slopes(step: Step, order: int) -> None:
    assert slope(lambda times: every(step, times)) == pytest.approx(order, abs=0.25)


def test_higher_orders_end_nearer() -> None:
    exact = MIXTURE.flow(noise(), SCHEDULE, SCHEDULE.t_max, SCHEDULE.t_min)
    errors = [
        float((run(make(spaced(SCHEDULE, 40, "logrho")), noise()) - exact).abs().mean())
        for make in (
            lambda times: dpm_solver(times, 1),
            lambda times: dpm_solver(times, 2),
            lambda times: unipc(times, 3),
        )
    ]
    assert errors[0] > 5 * errors[1] > 10 * errors[2]


@pytest.mark.parametrize("prediction", ["sample", "v_prediction", "flow_prediction", "score"])
def test_the_network_may_predict_anything(prediction: Any) -> None:
    decisions = unipc(spaced(SCHEDULE, 6, "logrho"), 3)
    model = MIXTURE.model(SCHEDULE, prediction)
    found = run(decisions, noise(), model, prediction=prediction)
    torch.testing.assert_close(found, run(decisions, noise()), rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_less_precision_is_near(dtype: torch.dtype) -> None:
    decisions = unipc(spaced(SCHEDULE, 8, "logrho"), 3)
    found = run(decisions, noise().to(dtype))
    assert found.dtype == dtype
    atol = 1e-3 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(
        found.double(), run(decisions, noise().to(dtype).double()), rtol=0, atol=atol
    )


def test_a_course_may_begin_later() -> None:
    """With the predictions that are there: the first step of the rest is DDIM's."""
    decisions = unipc(spaced(SCHEDULE, 6), 3, variant="none")
    solver = USFSolver(decisions)
    found = sample(MODEL, SCHEDULE, noise(), solver=solver, times=decisions.times[2:]).x
    rest = unipc(decisions.times[2:], 3, variant="none")
    torch.testing.assert_close(found, run(rest, noise()), rtol=0, atol=1e-12)
    adams = USFSolver(deis(decisions.times, 3, variable="t"))
    found = sample(MODEL, SCHEDULE, noise(), solver=adams, times=decisions.times[2:]).x
    expected = run(deis(decisions.times[2:], 3, variable="t"), noise())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_course_that_begins_later_keeps_its_scalings() -> None:
    """Of a step whose order becomes lower as well: an order 3 with a scaled first derivative."""
    times = list(spaced(SCHEDULE, 5))
    steps = [Step(), Step(2), Step(3), Step(3, scaling=0.4), Step(2, "data", scaling="bh1")]
    solver = USFSolver(Decisions(times, steps))
    found = sample(MODEL, SCHEDULE, noise(), solver=solver, times=times[2:]).x
    rest = [Step(), Step(2, scaling=0.4), Step(2, "data", scaling="bh1")]
    torch.testing.assert_close(found, run(Decisions(times[2:], rest), noise()), rtol=0, atol=1e-12)
    plain = [Step(), Step(2), Step(2, "data", scaling="bh1")]
    assert float((found - run(Decisions(times[2:], plain), noise())).abs().max()) > 1e-4


def test_nan_is_named_with_its_step() -> None:
    count = iter(range(10))

    def model(x: Tensor, t: float) -> Tensor:
        return MODEL(x, t) * (torch.nan if next(count) == 2 else 1.0)

    decisions = unipc(spaced(SCHEDULE, 5), 2)
    with pytest.raises(ValueError, match="8 values that are NaN or infinite at step 3 of 5"):
        run(decisions, noise(), model)


@pytest.mark.parametrize(
    ("times", "match"),
    [
        (None, r"decisions are for the 3 steps .* got 10 steps .*pass times=decisions.times"),
        ([1.0, 0.6, 0.3, 0.001], "decisions are for the 3 steps"),
        ([1.0, 0.5, 0.3], "decisions are for the 3 steps"),
    ],
)
def test_times_that_are_not_the_decisions(times: Any, match: str) -> None:
    solver = USFSolver(Decisions((1.0, 0.5, 0.3, 0.001), (Step(), Step(), Step())))
    with pytest.raises(ValueError, match=match):
        sample(MODEL, SCHEDULE, noise(), solver=solver, times=times)


def test_times_outside_the_schedule() -> None:
    decisions = Decisions((999, 500, 0), (Step(), Step()))
    with pytest.raises(ValueError, match=r"time 999.0, where step 1 begins, is outside 0.001"):
        sample(MODEL, SCHEDULE, noise(), solver=USFSolver(decisions), times=decisions.times)
