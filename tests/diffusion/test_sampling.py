from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.diffusion.integrators import SOLVERS, AdamsBashforth, LinearCourse, Move
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
from paperworks.diffusion.solver import Course, Solver
from paperworks.diffusion.timesteps import SPACINGS, spaced

SCHEDULE, MIXTURE = LinearVP(), GaussianMixture.ring(5)
MODEL = MIXTURE.model(SCHEDULE)


def noise(count: int = 4) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("solver", SOLVERS)
def test_evaluations_and_progress(solver: str) -> None:
    asked: list[float] = []
    seen: list[tuple[int, int]] = []
    trajectory: list[Tensor] = []

    def model(x: Tensor, t: float) -> Tensor:
        assert isinstance(t, float)
        assert not torch.is_grad_enabled()
        asked.append(t)
        return MODEL(x, t)

    def progress(step: int, steps: int, x: Tensor) -> None:
        seen.append((step, steps))
        trajectory.append(x)

    found = sample(model, SCHEDULE, noise(), solver=solver, steps=5, progress=progress)
    assert found.evaluations == len(asked) == 5 * SOLVERS[solver].stages
    assert asked[:: SOLVERS[solver].stages] == found.times[:-1].tolist()
    assert seen == [(step, 5) for step in range(1, 6)]
    assert trajectory[-1] is found.x
    assert torch.is_grad_enabled()


def test_times_in_place_of_steps() -> None:
    times = [1.0, 0.6, 0.2, 0.05]
    found = sample(MODEL, SCHEDULE, noise(), solver=AdamsBashforth(1), times=times, steps=99)
    assert found.times.tolist() == times
    assert found.evaluations == 3


@pytest.mark.parametrize(
    "schedule",
    [EDM(), VE(), LinearVP(), CosineVP(), DiscreteVP.linear(), FlowMatching()],
    ids=lambda each: type(each).__name__,
)
def test_the_usual_spacing_suits_the_schedule(schedule: Schedule) -> None:
    name = "karras" if isinstance(schedule, EDM) else "quadratic"
    x = noise(64) * float(schedule.sigma(schedule.t_max))
    exact = MIXTURE.flow(x, schedule, schedule.t_max, schedule.t_min)
    errors = {
        each: float((sample(MIXTURE.model(schedule), schedule, x, spacing=each).x - exact).norm())
        for each in (None, *SPACINGS)
    }
    assert errors[None] == errors[name]
    assert errors[None] < 3 * min(errors.values())
    assert spaced(schedule, 7).tolist() == spaced(schedule, 7, name).tolist()


@pytest.mark.parametrize(
    "prediction", ["epsilon", "sample", "v_prediction", "flow_prediction", "score"]
)
@pytest.mark.parametrize("solver", ["tab3", "rho-heun"])
def test_all_predictions_are_one(prediction: Any, solver: str) -> None:
    expected = sample(MODEL, SCHEDULE, noise(), solver=solver).x
    model = MIXTURE.model(SCHEDULE, prediction)
    found = sample(model, SCHEDULE, noise(), solver=solver, prediction=prediction).x
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_discrete_models_are_asked_at_whole_steps() -> None:
    schedule, asked = DiscreteVP.linear(100), []

    def model(x: Tensor, t: float) -> Tensor:
        asked.append(t)
        return torch.zeros_like(x)

    sample(model, schedule, noise(), steps=30)
    assert asked == sorted(set(map(round, asked)), reverse=True)


def test_half_precision_is_summed_in_float32() -> None:
    dtypes = set()

    def model(x: Tensor, t: float) -> Tensor:
        dtypes.add(x.dtype)
        return MODEL(x, t)

    x = noise().bfloat16()
    found = sample(model, SCHEDULE, x, steps=20, progress=lambda _, __, x: dtypes.add(x.dtype)).x
    assert found.dtype == torch.bfloat16
    assert dtypes == {torch.bfloat16}
    assert float((found.double().norm(dim=1) - 1).abs().max()) < 0.2


def test_the_model_may_use_gradients() -> None:
    def model(x: Tensor, t: float) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            alpha, sigma = float(SCHEDULE.alpha(t)), float(SCHEDULE.sigma(t))
            (slope,) = torch.autograd.grad(MIXTURE.log_prob(x, alpha, sigma).sum(), x)
        return -sigma * slope

    torch.testing.assert_close(
        sample(model, SCHEDULE, noise()).x, sample(MODEL, SCHEDULE, noise()).x, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(
    ("solver", "evaluation", "where"),
    [("tab3", 0, "step 1 of 6, time 1"), ("tab2", 3, "step 4 of 6"), ("rho-heun", 5, "step 3 of")],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_named_with_its_step(solver: str, evaluation: int, where: str, value: float) -> None:
    count = iter(range(100))

    def model(x: Tensor, t: float) -> Tensor:
        found = MODEL(x, t)
        if next(count) == evaluation:
            found[1, 0] = found[2, 1] = value
        return found

    with pytest.raises(ValueError, match=f"2 values that are NaN or infinite at {where}"):
        sample(model, SCHEDULE, noise(), solver=solver, steps=6)


def test_a_sample_that_left_the_numbers_is_told_even_after_the_last_step() -> None:
    """In float16 it does not fit any more; the model saw none of it."""
    huge: Any = lambda x, t: torch.full_like(x, -3e4)  # noqa: E731
    with pytest.raises(
        ValueError, match=r"sample after the last step, 4 of 4, .* 8 values that are"
    ):
        sample(huge, CosineVP(t_max=0.99), noise().half(), steps=4, solver="ddim")


def test_the_model_is_not_blamed_for_a_sample_of_nan() -> None:
    class Broken(Solver):
        """Of which the second step goes wrong."""

        name = "broken"

        def begin(self, schedule: Schedule, times: Floats) -> Course:
            nan = float("nan")
            return LinearCourse(times[:-1], [Move(True, c, (0.0,)) for c in (1.0, nan, 1.0)])

    with pytest.raises(
        ValueError, match=r"the sample that the model is asked about at step 3 of 3"
    ):
        sample(MODEL, SCHEDULE, noise(), solver=Broken(), steps=3)


@pytest.mark.parametrize("solver", ["tab1", "rho-heun"])
def test_of_half_precision_the_sum_of_the_steps_is_not(solver: str) -> None:
    """The model sees float16, and what it says is summed in float32: rounded once, at the end."""
    start = noise(100).half()

    def model(x: Tensor, t: float) -> Tensor:
        assert x.dtype == torch.float16
        return torch.full_like(x, 0.01)

    found = sample(model, SCHEDULE, start, solver=solver, steps=50).x
    exact = sample(lambda x, t: torch.full_like(x, float(torch.tensor(0.01).half())), SCHEDULE,
                   start.double(), solver=solver, steps=50).x  # fmt: skip
    assert found.dtype == torch.float16
    # Half a unit in the last place, and a little for float32.
    unit = torch.finfo(torch.float16).eps * exact.abs()
    assert bool(((found.double() - exact).abs() <= 0.51 * unit + 1e-5).all())


def test_large_but_finite_values_pass() -> None:
    """Their sum overflows in float16, and they are finite all the same."""

    def model(x: Tensor, t: float) -> Tensor:
        return torch.full_like(x, 6e4)

    found = sample(model, CosineVP(t_max=0.5), noise(100).half(), steps=4, solver="ddim")
    assert found.evaluations == 4


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"solver": "tab4"}, r"solver must be one of .*; got 'tab4'"),
        ({"spacing": "cosine"}, r"spacing must be one of .*; got 'cosine'"),
        ({"prediction": "noise"}, r"prediction must be one of .*; got 'noise'"),
        ({"solver": "tab3", "steps": 3}, "tab3 needs 4 steps or more, got 3"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"times": [1.0, 0.5, 0.6, 0.1]}, "step 2 goes from 0.5 to 0.6"),
        ({"times": [1.0, 0.5, 0.3, 0.0]}, "time 0.0, where step 3 ends, is outside"),
        ({"x": torch.tensor([[1.0, torch.nan]])}, "the sample to start from, x, has 1 values"),
        ({"x": torch.zeros(2, 2, dtype=torch.int64)}, "x must be floating point, got torch.int64"),
        ({"model": lambda x, t: x[:1]}, r"its input \(4, 2\), got \(1, 2\) at step 1 of 10"),
    ],
)
def test_bad_requests(changes: dict[str, Any], match: str) -> None:
    given = {"model": MODEL, "schedule": SCHEDULE, "x": noise(), **changes}
    with pytest.raises(ValueError, match=match):
        sample(given.pop("model"), given.pop("schedule"), given.pop("x"), **given)


def test_a_network_of_diffusers_is_told_how() -> None:
    class Output:
        sample = noise()

    with pytest.raises(TypeError, match=r"got Output at step 1 of 10.*network\(x, t\).sample"):
        sample(lambda x, t: Output(), SCHEDULE, noise())  # type: ignore[arg-type,return-value]


def test_times_are_returned_as_float64() -> None:
    assert sample(MODEL, SCHEDULE, noise()).times.dtype == np.float64
